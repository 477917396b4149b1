/* SPDX-License-Identifier: MIT */
/* The files that wait to be read: see archive_queue.h. */
#include "ingest/archive_queue.h"

#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 256 /* of a usual path, at most */

static int compare(const void *a, const void *b)
{
    const struct cbt_archive_entry *left = a, *right = b;
    if (left->mtime_ns != right->mtime_ns)
        return left->mtime_ns < right->mtime_ns ? -1 : 1;
    int order = strcmp(left->path, right->path);
    /* Who says that a file is whole is heard first. */
    return order != 0 ? order : right->is_whole - left->is_whole;
}

static void swap(struct cbt_archive_entry *a, struct cbt_archive_entry *b)
{
    struct cbt_archive_entry c = *a;
    *a = *b;
    *b = c;
}

/* The top is the youngest while the queue is filled, for that one has to go first; then the oldest. */
static bool is_above(const struct cbt_archive_queue *q, size_t a, size_t b)
{
    int order = compare(&q->entries[a], &q->entries[b]);
    return q->filling ? order > 0 : order < 0;
}

static void sift_down(struct cbt_archive_queue *q)
{
    for (size_t i = 0;;) {
        size_t top = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < q->count; child++)
            if (is_above(q, child, top))
                top = child;
        if (top == i)
            return;
        swap(&q->entries[i], &q->entries[top]);
        i = top;
    }
}

static void sift_up(struct cbt_archive_queue *q, size_t i)
{
    for (; i > 0 && is_above(q, i, (i - 1) / 2); i = (i - 1) / 2)
        swap(&q->entries[i], &q->entries[(i - 1) / 2]);
}

void cbt_archive_queue_fill(struct cbt_archive_queue *q)
{
    q->filling = true;
    q->left_out = false;
}

/* Sorted, it is a heap of the other kind. */
void cbt_archive_queue_seal(struct cbt_archive_queue *q)
{
    q->filling = false;
    if (q->count > 1)
        qsort(q->entries, q->count, sizeof *q->entries, compare);
}

static bool has_room(const struct cbt_archive_queue *q, size_t path_bytes)
{
    return q->count < q->entries_max && q->path_bytes + path_bytes <= q->entries_max * PATH_BYTES;
}

static bool grow(struct cbt_archive_queue *q)
{
    if (q->count < q->capacity)
        return true;
    size_t capacity = q->capacity > 0 ? 2 * q->capacity : 256;
    struct cbt_archive_entry *grown = realloc(q->entries, capacity * sizeof *grown);
    if (!grown)
        return false;
    q->entries = grown;
    q->capacity = capacity;
    return true;
}

static bool is_youngest(const struct cbt_archive_queue *q, const struct cbt_archive_entry *entry)
{
    return q->count == 0 || compare(entry, &q->entries[0]) >= 0;
}

static bool make_room(struct cbt_archive_queue *q, const struct cbt_archive_entry *entry, size_t bytes)
{
    /* Nothing may overtake what was left out, also where there is room again. */
    if (q->left_out && (!q->filling || is_youngest(q, entry)))
        return false;
    while (!has_room(q, bytes)) {
        q->left_out = true;
        if (!q->filling || is_youngest(q, entry))
            return false;
        cbt_archive_queue_pop(q);
    }
    return true;
}

void cbt_archive_queue_offer(struct cbt_archive_queue *q, const struct cbt_archive_entry *offered)
{
    size_t bytes = strlen(offered->path) + 1;
    struct cbt_archive_entry entry = *offered;
    if (!make_room(q, &entry, bytes))
        return;
    entry.path = strdup(offered->path);
    if (!entry.path || !grow(q)) {
        free(entry.path);
        q->left_out = true;
        return;
    }
    q->path_bytes += bytes;
    q->entries[q->count] = entry;
    sift_up(q, q->count++);
}

const struct cbt_archive_entry *cbt_archive_queue_head(const struct cbt_archive_queue *q)
{
    return q->count > 0 && !q->filling ? &q->entries[0] : NULL;
}

void cbt_archive_queue_pop(struct cbt_archive_queue *q)
{
    char *path = q->entries[0].path;
    q->path_bytes -= strlen(path) + 1;
    q->count--;
    swap(&q->entries[0], &q->entries[q->count]);
    sift_down(q);
    free(path);
}

void cbt_archive_queue_free(struct cbt_archive_queue *q)
{
    for (size_t i = 0; i < q->count; i++)
        free(q->entries[i].path);
    free(q->entries);
    q->entries = NULL;
    q->count = q->capacity = q->path_bytes = 0;
}
