/* SPDX-License-Identifier: MIT */
/*
 * The files that wait to be read, oldest first (by modification time, then by path). It holds the oldest so
 * many of a scan and leaves out the others, which a later scan finds again: so memory is bounded, whatever
 * there is in the tree, and order is kept.
 */
#ifndef CBTAP_INGEST_ARCHIVE_QUEUE_H
#define CBTAP_INGEST_ARCHIVE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cbt_archive_entry {
    int64_t mtime_ns;
    uint64_t size;
    char *path;    /* below the root; the queue's */
    bool is_whole; /* else whoever is to read it has to wait until it is quiet */
};

struct cbt_archive_queue {
    size_t entries_max;                /* and so many paths of usual length */
    struct cbt_archive_entry *entries; /* a heap */
    size_t count, capacity;
    size_t path_bytes;
    bool filling;  /* amid a scan: the youngest is at entries[0], else the oldest */
    bool left_out; /* something younger than all of it is in the tree */
};

/* An empty queue begins to take what a scan finds: of more than it holds, the oldest. */
void cbt_archive_queue_fill(struct cbt_archive_queue *queue);
/* The scan is over: what comes now is taken if there is room for it, in its place by age. */
void cbt_archive_queue_seal(struct cbt_archive_queue *queue);
/* Takes a copy of an entry, or leaves it out. */
void cbt_archive_queue_offer(struct cbt_archive_queue *queue, const struct cbt_archive_entry *offered);
/* The oldest, or NULL; valid until the next call of another function. */
const struct cbt_archive_entry *cbt_archive_queue_head(const struct cbt_archive_queue *queue);
void cbt_archive_queue_pop(struct cbt_archive_queue *queue);
void cbt_archive_queue_free(struct cbt_archive_queue *queue);

#endif
