/* SPDX-License-Identifier: MIT */
/*
 * The archive source's checkpoint: which files are delivered, and how much of those that are half-way.
 *
 * In memory: a set of 128-bit keys, 16 bytes each, of the files in the tree that are delivered or in flight.
 * On disk: a head and one record of 32 bytes for each change, each with a checksum, appended and synced at
 * every interval; written anew (aside, fsync, rename, fsync of the folder) when more than half of it is out
 * of date. So the file's size follows the number of files in the tree, and an interval costs what changed.
 *
 * A key is made of device, inode, birth time, modification time and size: what is renamed is known, what is
 * changed is another file.
 */
#ifndef CBTAP_INGEST_ARCHIVE_CHECKPOINT_H
#define CBTAP_INGEST_ARCHIVE_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbtap/err.h"

struct statx;

struct cbt_archive_key {
    uint64_t hi, lo;
};

/* Never all zero; the two lowest bits of `lo` are zero. */
struct cbt_archive_key cbt_archive_key_of(const struct statx *stx);

enum cbt_archive_state { CBT_ARCHIVE_NEW, CBT_ARCHIVE_IN_FLIGHT, CBT_ARCHIVE_DONE };

struct cbt_archive_progress {
    struct cbt_archive_key key;
    uint64_t offset; /* everything before it is delivered */
    uint32_t index;  /* records before it */
    bool changed;    /* since it was written */
};

struct cbt_archive_checkpoint;

/* Locks and reads it, or begins one where there is none. CBT_EINVAL: it cannot be used as it is, with what to
 * do. */
int cbt_archive_checkpoint_open(struct cbt_archive_checkpoint **ret_checkpoint, const char *path,
                                const char *source, struct cbt_err *err);
/* Unlocks; writes nothing. NULL is fine. */
void cbt_archive_checkpoint_close(struct cbt_archive_checkpoint *checkpoint);

/* What is known of a file; where it is known it is marked as seen by the scan that goes on. */
enum cbt_archive_state cbt_archive_checkpoint_look(struct cbt_archive_checkpoint *checkpoint,
                                                   struct cbt_archive_key key);
/* It is being read now. Where it was half-way, *ret_progress says how far, else zero. False: no memory. */
bool cbt_archive_checkpoint_begin(struct cbt_archive_checkpoint *checkpoint, struct cbt_archive_key key,
                                  struct cbt_archive_progress *ret_progress);
/* So much of it is delivered. */
void cbt_archive_checkpoint_advance(struct cbt_archive_checkpoint *checkpoint, struct cbt_archive_key key,
                                    uint64_t offset, uint32_t index);
/* All of it is delivered. */
void cbt_archive_checkpoint_done(struct cbt_archive_checkpoint *checkpoint, struct cbt_archive_key key);
/* It is no longer read, and not done: it will be NEW when it is found again, from where it is half-way. */
void cbt_archive_checkpoint_let_go(struct cbt_archive_checkpoint *checkpoint, struct cbt_archive_key key);
/* There is no such file any more: we took it away, or it was changed. */
void cbt_archive_checkpoint_forget(struct cbt_archive_checkpoint *checkpoint, struct cbt_archive_key key);

/* Around a scan of the whole tree: keys of delivered files that it has not seen are forgotten at its end,
 * where it is `complete` and has seen any: a tree in which none is left may be a file system that is not
 * mounted. */
void cbt_archive_checkpoint_scan_begins(struct cbt_archive_checkpoint *checkpoint);
void cbt_archive_checkpoint_scan_ends(struct cbt_archive_checkpoint *checkpoint, bool complete);

/* Something is not on disk yet. */
bool cbt_archive_checkpoint_dirty(const struct cbt_archive_checkpoint *checkpoint);
/* Writes and syncs what has changed. Failure: it is kept in memory and tried again at the next call. */
int cbt_archive_checkpoint_write(struct cbt_archive_checkpoint *checkpoint, struct cbt_err *err);

/* Files that are done, and what the set and the file take. */
size_t cbt_archive_checkpoint_done_count(const struct cbt_archive_checkpoint *checkpoint);
size_t cbt_archive_checkpoint_memory_bytes(const struct cbt_archive_checkpoint *checkpoint);
uint64_t cbt_archive_checkpoint_file_bytes(const struct cbt_archive_checkpoint *checkpoint);

#endif
