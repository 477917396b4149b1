/* SPDX-License-Identifier: MIT */
/*
 * What was said of what cannot be read, so that the rounds of --follow say it once, and again only after a
 * round in which it could be read. A path is kept as 64 bits: of two that have the same ones the second would
 * not be said.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cli/export.h"

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void note(struct cbt_export_told *told, uint64_t path)
{
    if (told->count == told->capacity) {
        size_t capacity = told->capacity == 0 ? 16 : 2 * told->capacity;
        uint64_t *grown = realloc(told->paths, capacity * sizeof *grown);
        if (grown == NULL)
            return; /* the next round says it again */
        told->paths = grown;
        told->capacity = capacity;
    }
    told->paths[told->count++] = path;
}

bool cbt_export_told_first(struct cbt_export_told *told, const char *path)
{
    uint64_t hash = XXH3_64bits(path, strlen(path));
    pthread_mutex_lock(&told->lock);
    bool first = told->before_count == 0 ||
                 bsearch(&hash, told->before, told->before_count, sizeof hash, compare) == NULL;
    note(told, hash);
    pthread_mutex_unlock(&told->lock);
    return first;
}

void cbt_export_told_next_round(struct cbt_export_told *told)
{
    free(told->before);
    told->before = told->paths;
    told->before_count = told->count;
    told->paths = NULL;
    told->count = told->capacity = 0;
    if (told->before_count > 0)
        qsort(told->before, told->before_count, sizeof *told->before, compare);
}

void cbt_export_told_free(struct cbt_export_told *told)
{
    free(told->before);
    free(told->paths);
}
