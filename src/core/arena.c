/* SPDX-License-Identifier: MIT */
/* The arena's memory: see arena.h. */
#include "cbtap/arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int cbt_arena_init(struct cbt_arena *arena, size_t max_bytes, struct cbt_err *err)
{
    void *base = mmap(NULL, max_bytes + CBT_ARENA_SLACK_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return cbt_err_set(err, CBT_ENOMEM, "no address space for an arena of %zu bytes: %s", max_bytes,
                           strerror(errno));
    *arena = (struct cbt_arena){.base = base, .capacity = max_bytes};
    ASAN_POISON_MEMORY_REGION(base, max_bytes + CBT_ARENA_SLACK_BYTES);
    return CBT_OK;
}

void cbt_arena_free(struct cbt_arena *arena)
{
    if (arena == NULL || arena->base == NULL)
        return;
    /* Whatever is mapped there next must not find it forbidden. */
    ASAN_UNPOISON_MEMORY_REGION(arena->base, arena->capacity + CBT_ARENA_SLACK_BYTES);
    munmap(arena->base, arena->capacity + CBT_ARENA_SLACK_BYTES);
    arena->base = NULL;
}

void cbt_arena_trim(struct cbt_arena *arena)
{
    /* Fails only for addresses that are not mapped; then the pages simply stay. */
    (void)madvise(arena->base, arena->capacity + CBT_ARENA_SLACK_BYTES, MADV_DONTNEED);
    arena->committed = 0;
    arena->used = 0;
}
