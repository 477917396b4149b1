/* SPDX-License-Identifier: MIT */
/* The set of keys of the archive's checkpoint: see archive_set.h. */
#include "ingest/archive_set.h"

#include <stdlib.h>

#define CAPACITY_MIN 1024

static bool is_empty(struct cbt_archive_key slot)
{
    return slot.hi == 0 && slot.lo == 0;
}

static bool same(struct cbt_archive_key slot, struct cbt_archive_key key)
{
    return slot.hi == key.hi && ((slot.lo ^ key.lo) & ~CBT_ARCHIVE_SET_BITS) == 0;
}

/* Keys are hashes already. */
static size_t home_of(const struct cbt_archive_set *set, struct cbt_archive_key key)
{
    return (size_t)key.hi & (set->capacity - 1);
}

struct cbt_archive_key *cbt_archive_set_find(const struct cbt_archive_set *set, struct cbt_archive_key key)
{
    if (set->capacity == 0)
        return NULL;
    for (size_t i = home_of(set, key); !is_empty(set->slots[i]); i = (i + 1) & (set->capacity - 1))
        if (same(set->slots[i], key))
            return &set->slots[i];
    return NULL;
}

static struct cbt_archive_key *place(struct cbt_archive_set *set, struct cbt_archive_key slot)
{
    size_t i = home_of(set, slot);
    while (!is_empty(set->slots[i]))
        i = (i + 1) & (set->capacity - 1);
    set->slots[i] = slot;
    set->count++;
    return &set->slots[i];
}

static bool resize(struct cbt_archive_set *set, size_t capacity)
{
    struct cbt_archive_set new = {.slots = calloc(capacity, sizeof *new.slots), .capacity = capacity};
    if (!new.slots)
        return false;
    for (size_t i = 0; i < set->capacity; i++)
        if (!is_empty(set->slots[i]))
            place(&new, set->slots[i]);
    free(set->slots);
    *set = new;
    return true;
}

struct cbt_archive_key *cbt_archive_set_add(struct cbt_archive_set *set, struct cbt_archive_key key)
{
    struct cbt_archive_key *slot = cbt_archive_set_find(set, key);
    if (slot)
        return slot;
    if (set->count >= set->capacity / 3 * 2 &&
        !resize(set, set->capacity > 0 ? 2 * set->capacity : CAPACITY_MIN))
        return NULL;
    return place(set, key);
}

/* What lies behind the hole moves up where its home allows, so that no slot need be marked as deleted. */
void cbt_archive_set_remove(struct cbt_archive_set *set, struct cbt_archive_key key)
{
    struct cbt_archive_key *slot = cbt_archive_set_find(set, key);
    if (!slot)
        return;
    size_t mask = set->capacity - 1, hole = (size_t)(slot - set->slots);
    for (size_t i = (hole + 1) & mask; !is_empty(set->slots[i]); i = (i + 1) & mask) {
        size_t home = home_of(set, set->slots[i]);
        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        set->slots[hole] = set->slots[i];
        hole = i;
    }
    set->slots[hole] = (struct cbt_archive_key){0, 0};
    set->count--;
}

size_t cbt_archive_set_keep(struct cbt_archive_set *set, bool (*keep)(struct cbt_archive_key slot, void *arg),
                            void *arg)
{
    struct cbt_archive_set new = {0};
    size_t kept = 0, gone;
    for (size_t i = 0; i < set->capacity; i++)
        kept += !is_empty(set->slots[i]) && keep(set->slots[i], arg);
    if (kept == set->count)
        return 0;
    new.capacity = CAPACITY_MIN;
    while (kept >= new.capacity / 3 * 2)
        new.capacity *= 2;
    new.slots = calloc(new.capacity, sizeof *new.slots);
    if (!new.slots)
        return 0; /* a set with too much in it is right as well */
    for (size_t i = 0; i < set->capacity; i++)
        if (!is_empty(set->slots[i]) && keep(set->slots[i], arg))
            place(&new, set->slots[i]);
    gone = set->count - new.count;
    free(set->slots);
    *set = new;
    return gone;
}

void cbt_archive_set_free(struct cbt_archive_set *set)
{
    free(set->slots);
    *set = (struct cbt_archive_set){0};
}
