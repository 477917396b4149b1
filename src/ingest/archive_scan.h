/* SPDX-License-Identifier: MIT */
/*
 * A scan of the archive's tree, a few thousand entries at a time, so that settlements are not kept waiting.
 * Symbolic links are not followed, what is neither file nor folder and what begins with a dot is passed over.
 */
#ifndef CBTAP_INGEST_ARCHIVE_SCAN_H
#define CBTAP_INGEST_ARCHIVE_SCAN_H

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define CBT_ARCHIVE_DEPTH_MAX 32 /* folders within folders; each is an open descriptor */

/* What statx is asked for. */
#define CBT_ARCHIVE_STATX (STATX_BASIC_STATS | STATX_BTIME)

struct cbt_archive_scan {
    /* Of each folder, before it is read, and of each regular file; `path` is below the root, "" the root. */
    void (*folder)(void *arg, const char *path);
    void (*file)(void *arg, const char *path, const struct statx *stx);
    void *arg;

    unsigned depth;
    struct {
        DIR *dir;
        size_t path_len;
    } stack[CBT_ARCHIVE_DEPTH_MAX];
    char path[PATH_MAX];

    uint64_t entries, symlinks, unreadable; /* of this scan */
    char unreadable_path[PATH_MAX];         /* the first, and why: */
    int unreadable_errno;
};

/* Takes `root_fd`, which is closed at its end. False: it cannot be read (errno). */
bool cbt_archive_scan_begin(struct cbt_archive_scan *scan, int root_fd);
/* Goes on for so many entries; false at the end. */
bool cbt_archive_scan_step(struct cbt_archive_scan *scan, unsigned entries_max);
static inline bool cbt_archive_scan_goes_on(const struct cbt_archive_scan *scan)
{
    return scan->depth > 0;
}
void cbt_archive_scan_stop(struct cbt_archive_scan *scan);

/* Opens what is at `path` below the folder, whose every part is no symbolic link; as openat. */
int cbt_archive_open_below(int root_fd, const char *path, int flags);

#endif
