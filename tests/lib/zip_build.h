/* SPDX-License-Identifier: MIT */
/* Zip files by hand, right and wrong. */
#ifndef TESTS_LIB_ZIP_BUILD_H
#define TESTS_LIB_ZIP_BUILD_H

#include <libdeflate.h>

#include "pb_build.h"

struct zb_entry {
    const char *name;
    struct cbt_text content;
    unsigned method;           /* 0 stored, 8 deflated; others store */
    int bare;                  /* deflated without a stream, as some writers have it for no bytes */
    unsigned flags;            /* besides the descriptor's */
    unsigned descriptor;       /* bytes of the data descriptor: 0, 12 or 16 */
    int zip64;                 /* sizes in a zip64 extra field */
    uint32_t crc_error;        /* xored to the CRC */
    uint32_t size_error;       /* added to the uncompressed size */
    uint32_t local_error;      /* xored to the local header's CRC only */
    const char *local_name;    /* another name in the local header */
    int64_t overlap;           /* > 0: the directory points to the entry `overlap` - 1 */
    size_t at, compressed_len; /* filled */
};

struct zb {
    const char *comment;
    int zip64_end;
    uint32_t entries_error; /* added to the number of entries */
    size_t prefix;          /* bytes before the first entry */
};

static inline void zb_le(struct pb *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        pb_byte(out, i < 8 ? (unsigned)(value >> (8 * i)) & 0xff : 0);
}

/* From "version needed" to the length of the extra field. */
static inline void zb_common(struct pb *out, const struct zb_entry *e, uint32_t crc, int hide,
                             size_t name_len)
{
    zb_le(out, e->zip64 ? 45 : 20, 2);
    zb_le(out, e->flags | (e->descriptor ? 8u : 0u), 2);
    zb_le(out, e->method, 2);
    zb_le(out, 0x4a32b236, 4);
    zb_le(out, hide ? 0 : crc, 4);
    zb_le(out, hide ? 0 : e->zip64 ? UINT32_MAX : e->compressed_len, 4);
    zb_le(out, hide ? 0 : e->zip64 ? UINT32_MAX : e->content.len + e->size_error, 4);
    zb_le(out, name_len, 2);
    zb_le(out, e->zip64 ? 20 : 0, 2);
}

static inline void zb_extra(struct pb *out, const struct zb_entry *e)
{
    if (!e->zip64)
        return;
    zb_le(out, 1, 2);
    zb_le(out, 16, 2);
    zb_le(out, e->content.len + e->size_error, 8);
    zb_le(out, e->compressed_len, 8);
}

static inline uint32_t zb_crc(const struct zb_entry *e)
{
    return libdeflate_crc32(0, e->content.data, e->content.len) ^ e->crc_error;
}

static inline void zb_local(struct pb *out, struct zb_entry *e)
{
    const char *name = e->local_name != NULL ? e->local_name : e->name;
    struct pb packed = {0};
    if (e->method == 8 && !e->bare) {
        struct libdeflate_compressor *c = libdeflate_alloc_compressor(6);
        packed.capacity = libdeflate_deflate_compress_bound(c, e->content.len) + 16;
        packed.data = malloc(packed.capacity);
        packed.len =
            libdeflate_deflate_compress(c, e->content.data, e->content.len, packed.data, packed.capacity);
        libdeflate_free_compressor(c);
    } else {
        pb_raw(&packed, e->content.data, e->content.len);
    }
    e->at = out->len;
    e->compressed_len = packed.len;
    pb_raw(out, "PK\3\4", 4);
    zb_common(out, e, zb_crc(e) ^ e->local_error, e->descriptor != 0, strlen(name));
    pb_raw(out, name, strlen(name));
    zb_extra(out, e);
    pb_raw(out, packed.data, packed.len);
    if (e->descriptor == 16)
        pb_raw(out, "PK\7\10", 4);
    if (e->descriptor != 0) {
        zb_le(out, zb_crc(e), 4);
        zb_le(out, e->compressed_len, 4);
        zb_le(out, e->content.len, 4);
    }
    pb_free(&packed);
}

static inline void zb_central(struct pb *out, const struct zb_entry *entries, size_t i)
{
    const struct zb_entry *e = &entries[i];
    pb_raw(out, "PK\1\2", 4);
    zb_le(out, 20, 2);
    zb_common(out, e, zb_crc(e), 0, strlen(e->name));
    zb_le(out, 0, 2 + 2 + 2 + 4); /* comment, disk, attributes */
    zb_le(out, e->overlap > 0 ? entries[e->overlap - 1].at : e->at, 4);
    pb_raw(out, e->name, strlen(e->name));
    zb_extra(out, e);
}

static inline struct pb zb_build(struct zb options, struct zb_entry *entries, size_t count)
{
    struct pb out = {0};
    for (size_t i = 0; i < options.prefix; i++)
        pb_byte(&out, 'x');
    for (size_t i = 0; i < count; i++)
        zb_local(&out, &entries[i]);
    size_t directory = out.len;
    for (size_t i = 0; i < count; i++)
        zb_central(&out, entries, i);
    size_t size = out.len - directory, end64 = out.len;
    uint64_t announced = count + options.entries_error;
    if (options.zip64_end) {
        pb_raw(&out, "PK\6\6", 4);
        zb_le(&out, 44, 8);
        zb_le(&out, 45, 2);
        zb_le(&out, 45, 2);
        zb_le(&out, 0, 8);
        zb_le(&out, announced, 8);
        zb_le(&out, announced, 8);
        zb_le(&out, size, 8);
        zb_le(&out, directory, 8);
        pb_raw(&out, "PK\6\7", 4);
        zb_le(&out, 0, 4);
        zb_le(&out, end64, 8);
        zb_le(&out, 1, 4);
    }
    pb_raw(&out, "PK\5\6", 4);
    zb_le(&out, 0, 4);
    zb_le(&out, options.zip64_end ? UINT16_MAX : announced, 2);
    zb_le(&out, options.zip64_end ? UINT16_MAX : announced, 2);
    zb_le(&out, options.zip64_end ? UINT32_MAX : size, 4);
    zb_le(&out, options.zip64_end ? UINT32_MAX : directory, 4);
    zb_le(&out, options.comment != NULL ? strlen(options.comment) : 0, 2);
    if (options.comment != NULL)
        pb_raw(&out, options.comment, strlen(options.comment));
    return out;
}

#endif
