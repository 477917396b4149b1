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
    size_t entries_max, path_bytes_max;
    struct cbt_archive_entry *entries;
    size_t first, count, capacity; /* entries[first], ... [first + count - 1] */
    size_t path_bytes;
    bool filling;  /* amid a scan: a heap, the youngest at entries[0] */
    bool left_out; /* something younger than all of it is in the tree */
};

/* An empty queue begins to take what a scan finds. */
void cbt_archive_queue_fill(struct cbt_archive_queue *queue);
/* The scan is over: sorts it. */
void cbt_archive_queue_seal(struct cbt_archive_queue *queue);
/* Takes a copy of an entry, or leaves it out; also after the scan. */
void cbt_archive_queue_offer(struct cbt_archive_queue *queue, const struct cbt_archive_entry *offered);
/* The oldest, or NULL; valid until the next call of another function. */
const struct cbt_archive_entry *cbt_archive_queue_head(const struct cbt_archive_queue *queue);
void cbt_archive_queue_pop(struct cbt_archive_queue *queue);
void cbt_archive_queue_free(struct cbt_archive_queue *queue);

#endif
