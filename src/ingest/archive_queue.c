/* SPDX-License-Identifier: MIT */
/* The files that wait to be read: see archive_queue.h. */
#include "ingest/archive_queue.h"

#include <stdlib.h>
#include <string.h>

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

static void sift_down(struct cbt_archive_queue *q)
{
    for (size_t i = 0;;) {
        size_t largest = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < q->count; child++)
            if (compare(&q->entries[child], &q->entries[largest]) > 0)
                largest = child;
        if (largest == i)
            return;
        swap(&q->entries[i], &q->entries[largest]);
        i = largest;
    }
}

static void sift_up(struct cbt_archive_queue *q, size_t i)
{
    for (; i > 0 && compare(&q->entries[i], &q->entries[(i - 1) / 2]) > 0; i = (i - 1) / 2)
        swap(&q->entries[i], &q->entries[(i - 1) / 2]);
}

void cbt_archive_queue_fill(struct cbt_archive_queue *q)
{
    q->filling = true;
    q->left_out = false;
    q->first = 0;
}

void cbt_archive_queue_seal(struct cbt_archive_queue *q)
{
    q->filling = false;
    if (q->count > 1)
        qsort(q->entries, q->count, sizeof *q->entries, compare);
}

static bool has_room(const struct cbt_archive_queue *q, size_t path_bytes)
{
    return q->count < q->entries_max && q->path_bytes + path_bytes <= q->path_bytes_max;
}

static void drop_youngest(struct cbt_archive_queue *q)
{
    char *path = q->entries[0].path;
    q->path_bytes -= strlen(path) + 1;
    q->count--;
    swap(&q->entries[0], &q->entries[q->count]);
    sift_down(q);
    free(path);
}

static bool grow(struct cbt_archive_queue *q)
{
    if (q->first > 0 && q->first + q->count == q->capacity) {
        memmove(q->entries, q->entries + q->first, q->count * sizeof *q->entries);
        q->first = 0;
    }
    if (q->first + q->count < q->capacity)
        return true;
    size_t capacity = q->capacity > 0 ? 2 * q->capacity : 256;
    struct cbt_archive_entry *grown = realloc(q->entries, capacity * sizeof *grown);
    if (!grown)
        return false;
    q->entries = grown;
    q->capacity = capacity;
    return true;
}

/* Its place from the end: what is new is young. */
static void insert(struct cbt_archive_queue *q, const struct cbt_archive_entry *entry)
{
    struct cbt_archive_entry *entries = q->entries + q->first;
    size_t i = q->count++;
    for (; i > 0 && compare(&entries[i - 1], entry) > 0; i--)
        entries[i] = entries[i - 1];
    entries[i] = *entry;
}

void cbt_archive_queue_offer(struct cbt_archive_queue *q, const struct cbt_archive_entry *offered)
{
    size_t bytes = strlen(offered->path) + 1;
    struct cbt_archive_entry entry = *offered;
    /* After something was left out nothing may overtake it. */
    if (!q->filling && (q->left_out || !has_room(q, bytes))) {
        q->left_out = true;
        return;
    }
    while (q->filling && !has_room(q, bytes)) {
        q->left_out = true;
        if (q->count == 0 || compare(&entry, &q->entries[0]) >= 0)
            return;
        drop_youngest(q);
    }
    entry.path = strdup(offered->path);
    if (!entry.path || !grow(q)) {
        free(entry.path);
        q->left_out = true;
        return;
    }
    q->path_bytes += bytes;
    if (!q->filling) {
        insert(q, &entry);
        return;
    }
    q->entries[q->count] = entry;
    sift_up(q, q->count++);
}

const struct cbt_archive_entry *cbt_archive_queue_head(const struct cbt_archive_queue *q)
{
    return q->count > 0 && !q->filling ? &q->entries[q->first] : NULL;
}

void cbt_archive_queue_pop(struct cbt_archive_queue *q)
{
    struct cbt_archive_entry *entry = &q->entries[q->first++];
    q->path_bytes -= strlen(entry->path) + 1;
    free(entry->path);
    if (--q->count == 0)
        q->first = 0;
}

void cbt_archive_queue_free(struct cbt_archive_queue *q)
{
    for (size_t i = 0; i < q->count; i++)
        free(q->entries[q->first + i].path);
    free(q->entries);
    q->entries = NULL;
    q->first = q->count = q->capacity = q->path_bytes = 0;
}
