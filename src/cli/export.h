/* SPDX-License-Identifier: MIT */
/* What the files of the command `export` share: its state, whole files as input, blocks as output. */
#ifndef CBTAP_CLI_EXPORT_H
#define CBTAP_CLI_EXPORT_H

#include "cbtap/decode.h"
#include "cbtap/format.h"
#include "cli/cli.h"

/* ---- export_io.c ---- */

/* A file's contents; the memory serves one file after the other. */
struct cbt_export_input {
    uint8_t *data;
    size_t len;
    size_t capacity;
};

/* Reads all of `path` ("-": standard input), at most `max_bytes`, which cbtap.frame_max_bytes sets. CBT_EIO,
 * CBT_ELIMIT or CBT_ENOMEM with a text that does not name the file. */
int cbt_export_read(struct cbt_export_input *in, const char *path, size_t max_bytes, struct cbt_err *err);

/* Standard output, written in blocks. What is not written yet lies in [memory, buf.pos). */
struct cbt_export_output {
    struct cbt_buf buf;
    uint8_t *memory;
    int error; /* errno of the write that failed: from then on everything is dropped */
};

int cbt_export_output_init(struct cbt_export_output *out, struct cbt_err *err);
/* Writes what has gathered: once it is a block, or with `all` in any case. False where writing failed. */
bool cbt_export_write(struct cbt_export_output *out, bool all);

/* ---- export_body.c ---- */

/* What became of the records of one type. */
struct cbt_export_count {
    uint64_t events, dead_letters, filtered;
};

struct cbt_export {
    const struct cbt_args *args;
    struct cbt_config *config;
    struct cbt_environment env;  /* of --header */
    struct cbt_text routing_key; /* of --notification; empty: sensor events */
    const struct cbt_format *format;
    void *format_self;
    bool lengths; /* sensor events are written as a bundle, not as lines */
    struct cbt_filter *filter;
    struct cbt_walk *walk;
    struct cbt_decoder *decoder;
    struct cbt_export_output out;
    struct cbt_export_count counts[CBT_TYPES];
    char notification_type[256]; /* of the first one, for the summary */
    uint64_t unreadable;         /* files */
};

/* Where a body comes from, for messages. */
struct cbt_export_place {
    const char *file;
    uint64_t line; /* of a notification; 0: the body is the whole file */
    uint64_t offset;
};

/* A file of sensor events, or of notifications, one a line: writes its events and reports what cannot be
 * decoded. False: the output failed. */
bool cbt_export_sensor_events(struct cbt_export *x, const char *file, struct cbt_text body);
bool cbt_export_notifications(struct cbt_export *x, const char *file, struct cbt_text lines);

#endif
