/* SPDX-License-Identifier: MIT */
/*
 * A bump arena of a fixed maximal size: memory for what lives as long as one event or one zip entry.
 * Allocating is an addition, freeing is nothing, resetting is an assignment. The address space is taken once;
 * pages are committed when first touched and given back after something unusually large.
 */
#ifndef CBTAP_ARENA_H
#define CBTAP_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbtap/err.h"

/* AddressSanitizer is to see what is read or written where nothing is allocated, or no longer. Without it the
 * header's own macros do nothing. */
#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes)   ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

/* Bytes behind any allocation that may be read (their content is arbitrary), for vector loads. */
#define CBT_ARENA_SLACK_BYTES 64
/* What stays committed from one reset to the next. */
#define CBT_ARENA_KEEP_BYTES 1048576u

struct cbt_arena {
    uint8_t *base;
    size_t capacity; /* bytes, without the slack */
    size_t used;
    size_t committed; /* the most that was used since pages were given back */
    bool exhausted;   /* an allocation failed since the last reset */
};

/* Takes the address space, no pages. CBT_ENOMEM where there is none. @thread main */
int cbt_arena_init(struct cbt_arena *arena, size_t max_bytes, struct cbt_err *err);
/* NULL, and an arena that was never made, are fine. @thread main */
void cbt_arena_free(struct cbt_arena *arena);

/* Gives pages back to the system; what was allocated is gone. @thread the arena's owner */
void cbt_arena_trim(struct cbt_arena *arena);

static inline void cbt_arena_reset(struct cbt_arena *arena)
{
    ASAN_POISON_MEMORY_REGION(arena->base, arena->used + CBT_ARENA_SLACK_BYTES);
    if (arena->used > arena->committed)
        arena->committed = arena->used;
    if (__builtin_expect(arena->committed > CBT_ARENA_KEEP_BYTES, 0))
        cbt_arena_trim(arena);
    arena->used = 0;
    arena->exhausted = false;
}

/* Gives back what was allocated since `used` was that much; pages stay until the next reset, and so does
 * `exhausted`. */
static inline void cbt_arena_rewind(struct cbt_arena *arena, size_t used)
{
    if (arena->used > arena->committed)
        arena->committed = arena->used;
    ASAN_POISON_MEMORY_REGION(arena->base + used + CBT_ARENA_SLACK_BYTES, arena->used - used);
    arena->used = used;
}

/* Bytes of memory, not only of addresses, that it holds. */
static inline size_t cbt_arena_held_bytes(const struct cbt_arena *arena)
{
    return arena->used > arena->committed ? arena->used : arena->committed;
}

/* Aligned to 8 bytes; NULL, and `exhausted` set, where the arena is full. */
static inline void *cbt_arena_alloc(struct cbt_arena *arena, size_t bytes)
{
    size_t left = arena->capacity - arena->used;
    if (__builtin_expect(bytes > left, 0)) {
        arena->exhausted = true;
        return NULL;
    }
    uint8_t *memory = arena->base + arena->used;
    size_t rounded = (bytes + 7) & ~(size_t)7;
    arena->used += rounded <= left ? rounded : left;
    ASAN_UNPOISON_MEMORY_REGION(memory, bytes + CBT_ARENA_SLACK_BYTES);
    return memory;
}

#endif
