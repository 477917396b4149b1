/* SPDX-License-Identifier: MIT */
/*
 * The inside of the leef format, shared by its files:
 *   leef.c        an event: its JSON, what is promoted and added, the header, the pairs
 *   leef_pairs.c  the keys of JSON objects, decoded, found and sorted
 *   leef_text.c   characters: out of JSON's escapes, into LEEF's
 *   leef_value.c  JSON values as values of pairs
 */
#ifndef CBTAP_FORMAT_LEEF_H
#define CBTAP_FORMAT_LEEF_H

#include "cbtap/arena.h"
#include "cbtap/buf.h"
#include "cbtap/json_tokens.h"

/* ---- leef_pairs.c ---- */

/* A key with its value, which is tokens->token[value]; the key's own token comes before that where the pair
 * was collected. */
struct cbt_leef_pair {
    uint64_t prefix; /* of the key: its first eight bytes, to be compared as a number */
    struct cbt_text key;
    const struct cbt_json_tokens *tokens;
    unsigned value;
};

struct cbt_leef_pairs {
    struct cbt_leef_pair *pair;
    size_t count, capacity;
};

/* Adds the members of an object, in the order of the text. False: the arena is used up. */
bool cbt_leef_collect(struct cbt_leef_pairs *pairs, const struct cbt_json_tokens *tokens, unsigned object,
                      struct cbt_arena *arena);
/* Adds one by another name; its room was made by cbt_leef_collect, for CBT_LEEF_ADDED_MAX of them. */
void cbt_leef_add(struct cbt_leef_pairs *pairs, struct cbt_text key, const struct cbt_leef_pair *from);
/* The last pair with that key, or NULL: of equal keys the last counts. */
const struct cbt_leef_pair *cbt_leef_find(const struct cbt_leef_pairs *pairs, struct cbt_text key);
void cbt_leef_remove(struct cbt_leef_pairs *pairs, struct cbt_text key);
/* By the bytes of the key; of equal keys only the last is left. False: the arena is used up. */
bool cbt_leef_sort(struct cbt_leef_pairs *pairs, struct cbt_arena *arena);

#define CBT_LEEF_ADDED_MAX 5u

static inline bool cbt_leef_equal(struct cbt_text a, struct cbt_text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* ---- leef_text.c ---- */

/* What LEEF escapes with a backslash, by byte: the byte behind the backslash, or 0. */
extern const uint8_t cbt_leef_in_pair[256];   /* keys and values */
extern const uint8_t cbt_leef_in_header[256]; /* fields of the header */

/* Text as it is, escaped. */
void cbt_leef_put_text(struct cbt_buf *out, struct cbt_text text, const uint8_t escapes[256]);
/* The characters of a JSON string (its span, without quotes), escaped. */
void cbt_leef_put_string(struct cbt_buf *out, struct cbt_text span, const uint8_t escapes[256]);
/* The same in memory of the arena, nothing escaped; the span itself where it holds no escapes. False: the
 * arena is used up. */
bool cbt_leef_decode(struct cbt_text span, struct cbt_arena *arena, struct cbt_text *ret_text);

/* ---- leef_value.c ---- */

/* The string that a value is, or that is the only element of the array that it is. */
bool cbt_leef_string_of(const struct cbt_json_tokens *tokens, unsigned index, struct cbt_text *ret_span);
/* Writes the value of a pair. Sets arena->exhausted where the arena is used up. */
void cbt_leef_put_value(struct cbt_buf *out, const struct cbt_json_tokens *tokens, unsigned index,
                        struct cbt_arena *arena);

#endif
