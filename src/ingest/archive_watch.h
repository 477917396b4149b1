/* SPDX-License-Identifier: MIT */
/* What inotify tells of the archive's tree. It may tell too little (limits, an overflow, a network file
 * system): a scan from time to time is the safety net, and sets the watches again. */
#ifndef CBTAP_INGEST_ARCHIVE_WATCH_H
#define CBTAP_INGEST_ARCHIVE_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cbt_archive_watch {
    /* A file below the root was closed by who wrote it, or renamed to here. */
    void (*whole)(void *arg, const char *path);
    /* A folder came, or something was missed: a scan is needed. */
    void (*rescan)(void *arg, bool overflow);
    void *arg;

    int fd;       /* -1: none */
    char **paths; /* of each watch descriptor; NULL: none */
    size_t path_count;
    bool failed; /* a folder could not be watched (errno), since the start */
    int failed_errno;
};

bool cbt_archive_watch_open(struct cbt_archive_watch *watch);
/* The folder `path` below `root`. */
void cbt_archive_watch_add(struct cbt_archive_watch *watch, const char *root, const char *path);
/* Takes what there is, without blocking. */
void cbt_archive_watch_drain(struct cbt_archive_watch *watch);
void cbt_archive_watch_close(struct cbt_archive_watch *watch);

#endif
