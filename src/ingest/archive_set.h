/* SPDX-License-Identifier: MIT */
/*
 * The set of keys of the archive's checkpoint: open addressing, 16 bytes a slot, at most two thirds full. The
 * two lowest bits of a key's `lo`, which keys leave zero, hold its state in the set.
 */
#ifndef CBTAP_INGEST_ARCHIVE_SET_H
#define CBTAP_INGEST_ARCHIVE_SET_H

#include "ingest/archive_checkpoint.h"

#define CBT_ARCHIVE_SET_DONE UINT64_C(1)
#define CBT_ARCHIVE_SET_MARK UINT64_C(2)
#define CBT_ARCHIVE_SET_BITS UINT64_C(3)

struct cbt_archive_set {
    struct cbt_archive_key *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

/* The key's slot, or NULL. */
struct cbt_archive_key *cbt_archive_set_find(const struct cbt_archive_set *set, struct cbt_archive_key key);
/* Its slot, made where there is none; NULL: no memory. Pointers to slots are good until the next add or
 * remove. */
struct cbt_archive_key *cbt_archive_set_add(struct cbt_archive_set *set, struct cbt_archive_key key);
void cbt_archive_set_remove(struct cbt_archive_set *set, struct cbt_archive_key key);
/* Keeps what keep(slot) says, and shrinks where much is left out; returns how many went. */
size_t cbt_archive_set_keep(struct cbt_archive_set *set, bool (*keep)(struct cbt_archive_key slot, void *arg),
                            void *arg);
void cbt_archive_set_free(struct cbt_archive_set *set);

#endif
