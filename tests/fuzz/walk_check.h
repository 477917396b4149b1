/* SPDX-License-Identifier: MIT */
/*
 * What must hold of a walk over a body, whatever the body: no more parts than the limits allow, each within
 * the body or the memory that the walk says it holds, in order, and every byte of every bundle in one of
 * them. The parts are put together again, so that what the bundles were can be compared with what they should
 * be.
 */
#ifndef TESTS_FUZZ_WALK_CHECK_H
#define TESTS_FUZZ_WALK_CHECK_H

#include <string.h>

#include "cbtap/decode.h"
#include "fuzz.h"

/* Small, so that inputs of a few hundred bytes reach them. */
static const struct cbt_decode_limits walk_limits = {
    .arena_max_bytes = 4096,
    .record_max_bytes = 200,
    .zip_entries_max = 4,
    .zip_inflated_max_bytes = 4096,
    .zip_ratio_max = 20,
};
#define WALK_ENTRIES_MAX 4u

/* One zip entry, or the body where it is no zip. */
struct walked_entry {
    bool bundle; /* gave parts of a bundle */
    bool broken; /* is one broken part */
    bool ended;  /* by a part that is the rest */
    enum cbt_dead_reason reason;
    struct cbt_text part; /* where broken: a copy */
    uint8_t *data;        /* the bundle, put together from its parts */
    size_t len;
    uint32_t records;
};

struct walked {
    struct walked_entry entries[WALK_ENTRIES_MAX + 1];
    struct cbt_part whole; /* where the body is one part that is none of a bundle: its kind and reason */
    size_t parts;
};

static inline struct cbt_walk *walk_open(void)
{
    struct cbt_walk *walk = NULL;
    struct cbt_err err = {0};
    FUZZ_CHECK(cbt_walk_new(&walk, &walk_limits, &err) == 0, "%s", err.text);
    return walk;
}

static inline void walked_free(struct walked *walked)
{
    for (size_t i = 0; i <= WALK_ENTRIES_MAX; i++) {
        free((void *)walked->entries[i].part.data);
        free(walked->entries[i].data);
    }
}

static inline void walk_append(struct walked_entry *entry, const void *bytes, size_t len)
{
    entry->data = realloc(entry->data, entry->len + len + 1);
    FUZZ_CHECK(entry->data != NULL, "out of memory");
    if (len > 0)
        memcpy(entry->data + entry->len, bytes, len);
    entry->len += len;
}

/* A record, or the rest of its bundle. */
static inline void walk_check_record(struct walked_entry *entry, const struct cbt_part *part)
{
    FUZZ_CHECK(!entry->broken && !entry->ended, "a part behind the end of its bundle");
    FUZZ_CHECK(part->offset == entry->len, "offset %llu, expected %zu", (unsigned long long)part->offset,
               entry->len);
    FUZZ_CHECK(part->index == entry->records, "index %u, expected %u", part->index, entry->records);
    entry->bundle = true;
    entry->records++;
    if (part->kind == CBT_PART_BROKEN && part->reason == CBT_DEAD_truncated) {
        const uint8_t *s = part->data.data;
        size_t len = part->data.len;
        FUZZ_CHECK(len > 0, "an empty rest");
        FUZZ_CHECK(len < 4 ||
                       ((size_t)s[0] | (size_t)s[1] << 8 | (size_t)s[2] << 16 | (size_t)s[3] << 24) > len - 4,
                   "a whole record taken for a rest");
        entry->ended = true;
        walk_append(entry, s, len);
        return;
    }
    bool too_large = part->data.len > walk_limits.record_max_bytes;
    FUZZ_CHECK(part->kind == (too_large ? CBT_PART_BROKEN : CBT_PART_EVENT),
               "a record of %zu bytes is kind %d", part->data.len, (int)part->kind);
    FUZZ_CHECK(!too_large || part->reason == CBT_DEAD_record_too_large, "reason %d", (int)part->reason);
    uint8_t length[4];
    for (unsigned i = 0; i < 4; i++)
        length[i] = (uint8_t)(part->data.len >> (8 * i));
    walk_append(entry, length, sizeof length);
    walk_append(entry, part->data.data, part->data.len);
}

/* A record's bytes are read whole, so that a sanitizer sees where they are not the walk's to give. */
static inline void walk_check_memory(const struct cbt_walk *walk, struct cbt_text body,
                                     const struct cbt_part *part)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < part->data.len; i++)
        sum = (uint8_t)(sum + part->data.data[i]);
    *(volatile uint8_t *)&sum = sum;
    bool within = part->data.data >= body.data && part->data.data + part->data.len <= body.data + body.len;
    FUZZ_CHECK(part->in_body == within, "in_body is %d", part->in_body);
    /* An entry's copy is its compressed bytes and headers with its name, twice, around them. */
    FUZZ_CHECK(cbt_walk_held_bytes(walk) <= walk_limits.zip_inflated_max_bytes + 3 * body.len + 128,
               "holds %zu bytes for a body of %zu", cbt_walk_held_bytes(walk), body.len);
    FUZZ_CHECK(within || part->data.len <= cbt_walk_held_bytes(walk), "a part larger than what is held");
}

/* Walks the whole body. `zip`: the body may be one, so a broken part may be an entry. */
static inline void walk_whole(struct cbt_walk *walk, struct cbt_text body, struct cbt_text content_type,
                              enum cbt_framing framing, struct walked *ret_walked)
{
    const size_t parts_max = body.len + walk_limits.zip_inflated_max_bytes / 4 + 2 * WALK_ENTRIES_MAX + 2;
    struct cbt_part part;
    uint32_t last = 0;
    *ret_walked = (struct walked){0};
    cbt_walk_start(walk, body, content_type, framing);
    while (cbt_walk_next(walk, &part)) {
        FUZZ_CHECK(++ret_walked->parts <= parts_max, "more parts than %zu", parts_max);
        /* Only a zip goes on behind the body, which it gives for an entry that cannot be cut out of it. */
        FUZZ_CHECK(ret_walked->whole.data.data == NULL ||
                       (ret_walked->whole.kind == CBT_PART_BROKEN &&
                        ret_walked->whole.reason == CBT_DEAD_zip_malformed),
                   "a part behind the whole body");
        walk_check_memory(walk, body, &part);
        FUZZ_CHECK(part.entry >= last && part.entry <= WALK_ENTRIES_MAX, "entry %u behind %u", part.entry,
                   last);
        last = part.entry;
        struct walked_entry *entry = &ret_walked->entries[part.entry];
        bool of_bundle = part.kind == CBT_PART_EVENT ||
                         (part.kind == CBT_PART_BROKEN &&
                          (part.reason == CBT_DEAD_truncated || part.reason == CBT_DEAD_record_too_large));
        if (part.in_body && part.data.data == body.data && part.data.len == body.len &&
            (part.kind != CBT_PART_BROKEN || part.reason != CBT_DEAD_truncated)) {
            FUZZ_CHECK(ret_walked->whole.data.data == NULL, "the whole body twice");
            ret_walked->whole = part;
            entry->broken = part.kind == CBT_PART_BROKEN;
            continue;
        }
        if (of_bundle) {
            walk_check_record(entry, &part);
            continue;
        }
        FUZZ_CHECK(part.kind == CBT_PART_BROKEN, "kind %d within a body", (int)part.kind);
        FUZZ_CHECK(!entry->bundle && !entry->broken, "an entry broken twice, or after its records");
        entry->broken = true;
        entry->reason = part.reason;
        walk_append(entry, part.data.data, part.data.len);
        entry->part = (struct cbt_text){entry->data, entry->len};
        entry->data = NULL;
        entry->len = 0;
    }
    FUZZ_CHECK(!cbt_walk_next(walk, &part), "a part behind the end");
}

/* Stops in the middle of a walk: the next must not notice. */
static inline void walk_some(struct cbt_walk *walk, struct cbt_text body, struct cbt_text content_type,
                             enum cbt_framing framing, unsigned parts)
{
    struct cbt_part part;
    cbt_walk_start(walk, body, content_type, framing);
    for (unsigned i = 0; i < parts && cbt_walk_next(walk, &part); i++)
        continue;
}

#endif
