/* SPDX-License-Identifier: MIT */
/* dead_letter_dir: dead letters that Kafka does not take, and messages too large to hold, as files. */
#ifndef CBTAP_DEAD_LETTER_DIR_H
#define CBTAP_DEAD_LETTER_DIR_H

#include <stddef.h>
#include <stdint.h>

#include "cbtap/err.h"
#include "cbtap/event.h"
#include "cbtap/reason.h"
#include "cbtap/text.h"

/* What is needed to understand and to replay a dead letter; the same as the headers in the dead-letter topic.
 */
struct cbt_dead_letter_info {
    const char *reason; /* cbt_dead_reason_name */
    const char *detail;
    const char *source;  /* section name */
    const char *framing; /* cbt_framing_name, "" for what is encoded already */
    struct cbt_text routing_key, content_type;
    struct cbt_text file;       /* that it was cut from; empty: none */
    struct cbt_environment env; /* the frame's */
    int32_t sensor_id;
    uint32_t entry, index;
    uint64_t offset;
    uint32_t replays; /* how often it has been replayed already */
};

/* A dead letter that is being written: DIR/<time>-<pid>-<number>.part, then .bin (the raw bytes) beside .json
 * (the info). */
struct cbt_dead_letter_file;

/* Creates the directory where it is missing (mode 0700) and opens the file (0600). @thread any */
int cbt_dead_letter_begin(struct cbt_dead_letter_file **ret_file, const char *dir,
                          const struct cbt_dead_letter_info *info, struct cbt_err *err);
int cbt_dead_letter_append(struct cbt_dead_letter_file *file, const void *data, size_t len,
                           struct cbt_err *err);
/* Flushes file, info and directory to the disk and gives them their names; after 0 the dead letter is kept.
 * Frees `file` in any case; on failure nothing is left behind. */
int cbt_dead_letter_commit(struct cbt_dead_letter_file *file, struct cbt_err *err);
/* Drops it. NULL is fine. */
void cbt_dead_letter_abort(struct cbt_dead_letter_file *file);

#endif
