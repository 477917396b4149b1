/* SPDX-License-Identifier: MIT */
/*
 * The entries of a zip file in memory, in the order of its central directory, each inflated, checked and
 * limited. Zips of one plain entry, as the server sends them, are read directly (zip_single.c); all others by
 * libzip (zip_many.c). Inflating is libdeflate's in either case.
 */
#ifndef CBTAP_DECODE_ZIP_H
#define CBTAP_DECODE_ZIP_H

#include <zip.h>

#include "cbtap/arena.h"
#include "cbtap/decode.h"

struct libdeflate_decompressor;

/* What an entry's directory record says of it; nothing here is to be trusted. */
struct cbt_zip_stat {
    uint32_t method;
    uint32_t crc;
    uint64_t compressed_bytes;
    uint64_t bytes;
    bool encrypted;
    bool directory;
};

enum cbt_zip_rc {
    CBT_ZIP_END,
    CBT_ZIP_CONTENT, /* data is the entry's content */
    CBT_ZIP_BROKEN,  /* data is the entry as a zip of its own; where it cannot be cut out, the whole body */
};

struct cbt_zip_entry {
    struct cbt_text data; /* valid until the next call */
    enum cbt_dead_reason reason;
    uint32_t index;
    bool in_body;
};

struct cbt_zip {
    uint32_t entries_max;
    uint32_t ratio_max;
    size_t inflated_max_bytes;
    struct libdeflate_decompressor *inflater;
    struct cbt_arena inflated;

    /* The zip at hand. */
    struct cbt_text body;
    size_t inflated_bytes;   /* of all entries so far */
    size_t compressed_bytes; /* the same; can only exceed the body where entries overlap */
    uint32_t next;
    uint32_t entries;
    bool single;
    bool body_given;          /* for an entry that cannot be cut out: it is not given twice */
    struct cbt_zip_stat only; /* where single */
    const uint8_t *only_data;
    zip_t *many;
    uint8_t *copy; /* a compressed entry, wrapped as a zip of its own */
    size_t copy_capacity;
};

int cbt_zip_init(struct cbt_zip *zip, const struct cbt_decode_limits *limits, struct cbt_err *err);
void cbt_zip_free(struct cbt_zip *zip);

/* Starts on a body, which must stay until the last cbt_zip_next. */
void cbt_zip_start(struct cbt_zip *zip, struct cbt_text body);
enum cbt_zip_rc cbt_zip_next(struct cbt_zip *zip, struct cbt_zip_entry *ret_entry);
/* Lets go of what belongs to the zip at hand. */
void cbt_zip_finish(struct cbt_zip *zip);
size_t cbt_zip_held_bytes(const struct cbt_zip *zip);

/* zip_single.c: true where the body is a zip of no or one plain entry and every number in it agrees. */
bool cbt_zip_read_single(struct cbt_zip *zip);

/* zip_directory.c: false and *ret_reason where reading the directory would cost more than the limits allow.
 */
bool cbt_zip_check_directory(const struct cbt_zip *zip, enum cbt_dead_reason *ret_reason);

/* zip_many.c: opens with libzip; false and *ret_reason where that is not possible. */
bool cbt_zip_open_many(struct cbt_zip *zip, enum cbt_dead_reason *ret_reason);
enum cbt_zip_rc cbt_zip_next_many(struct cbt_zip *zip, struct cbt_zip_entry *ret_entry);
void cbt_zip_close_many(struct cbt_zip *zip);

/* Makes an entry's content of its compressed bytes, within the limits. False: *ret_reason. */
bool cbt_zip_extract(struct cbt_zip *zip, const struct cbt_zip_stat *stat, const uint8_t *compressed,
                     struct cbt_text *ret_content, enum cbt_dead_reason *ret_reason);

#endif
