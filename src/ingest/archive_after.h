/* SPDX-License-Identifier: MIT */
/* What becomes of a file when all of it is delivered: kept, removed, or moved into the same tree elsewhere.
 */
#ifndef CBTAP_INGEST_ARCHIVE_AFTER_H
#define CBTAP_INGEST_ARCHIVE_AFTER_H

#include "cbtap/err.h"
#include "ingest/archive_checkpoint.h"

enum cbt_archive_after_kind { CBT_ARCHIVE_KEEP, CBT_ARCHIVE_REMOVE, CBT_ARCHIVE_MOVE };

struct cbt_archive_after {
    enum cbt_archive_after_kind kind;
    const char *dir; /* of move; outlives this */
    int dir_fd;      /* -1: none */
};

/* "keep", "remove", "move:DIR". CBT_EINVAL: none of these. */
int cbt_archive_after_parse(const char *text, struct cbt_archive_after *ret_after, struct cbt_err *err);
/* Opens DIR, which is made where it is missing. CBT_EINVAL: it lies in the tree at `root`, or where
 * nothing can be renamed to from there. */
int cbt_archive_after_open(struct cbt_archive_after *after, const char *root, struct cbt_err *err);
/* Does it to the file at `path`, if that is still the file of this key: 1; 0: it is gone or another one now;
 * CBT_EIO: it cannot be done. */
int cbt_archive_after_do(const struct cbt_archive_after *after, int root_fd, const char *path,
                         struct cbt_archive_key key, struct cbt_err *err);
void cbt_archive_after_close(struct cbt_archive_after *after);

#endif
