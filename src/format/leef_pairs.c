/* SPDX-License-Identifier: MIT */
/* The members of JSON objects as pairs, in the arena: collected, looked up, sorted by the bytes of the key.
 */
#include "format/leef.h"

static bool make_room(struct cbt_leef_pairs *pairs, size_t count, struct cbt_arena *arena)
{
    if (pairs->capacity - pairs->count >= count)
        return true;
    struct cbt_leef_pair *pair = cbt_arena_alloc(arena, (pairs->count + count) * sizeof(*pair));
    if (pair == NULL)
        return false;
    if (pairs->count > 0)
        memcpy(pair, pairs->pair, pairs->count * sizeof(*pair));
    pairs->pair = pair;
    pairs->capacity = pairs->count + count;
    return true;
}

static uint64_t prefix_of(struct cbt_text key)
{
    uint64_t prefix = 0;
    if (key.len > 0)
        memcpy(&prefix, key.data, key.len < sizeof(prefix) ? key.len : sizeof(prefix));
    return __builtin_bswap64(prefix);
}

bool cbt_leef_collect(struct cbt_leef_pairs *pairs, const struct cbt_json_tokens *tokens, unsigned object,
                      struct cbt_arena *arena)
{
    size_t size = (size_t)tokens->token[object].size;
    unsigned key = object + 1;
    if (!make_room(pairs, size + CBT_LEEF_ADDED_MAX, arena))
        return false;
    for (size_t i = 0; i < size; i++) {
        struct cbt_leef_pair *pair = &pairs->pair[pairs->count];
        if (!cbt_leef_decode(cbt_json_token_text(tokens, key), arena, &pair->key))
            return false;
        pair->prefix = prefix_of(pair->key);
        pair->tokens = tokens;
        pair->value = key + 1;
        pairs->count++;
        key = cbt_json_token_end(tokens, key + 1);
    }
    return true;
}

void cbt_leef_add(struct cbt_leef_pairs *pairs, struct cbt_text key, const struct cbt_leef_pair *from)
{
    pairs->pair[pairs->count++] = (struct cbt_leef_pair){
        .prefix = prefix_of(key), .key = key, .tokens = from->tokens, .value = from->value};
}

const struct cbt_leef_pair *cbt_leef_find(const struct cbt_leef_pairs *pairs, struct cbt_text key)
{
    uint64_t prefix = prefix_of(key);
    for (size_t i = pairs->count; i-- > 0;)
        if (pairs->pair[i].prefix == prefix && cbt_leef_equal(pairs->pair[i].key, key))
            return &pairs->pair[i];
    return NULL;
}

void cbt_leef_remove(struct cbt_leef_pairs *pairs, struct cbt_text key)
{
    size_t kept = 0;
    for (size_t i = 0; i < pairs->count; i++)
        if (!cbt_leef_equal(pairs->pair[i].key, key))
            pairs->pair[kept++] = pairs->pair[i];
    pairs->count = kept;
}

static bool precedes(const struct cbt_leef_pair *a, const struct cbt_leef_pair *b)
{
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix;
    size_t len = a->key.len < b->key.len ? a->key.len : b->key.len;
    int order = len > 0 ? memcmp(a->key.data, b->key.data, len) : 0;
    return order != 0 ? order < 0 : a->key.len < b->key.len;
}

/* Merges the sorted [from, middle) and [middle, end) of `in` into `out`; of equals the first comes first. */
static void merge(const struct cbt_leef_pair *in, struct cbt_leef_pair *out, size_t from, size_t middle,
                  size_t end)
{
    size_t a = from, b = middle;
    for (size_t to = from; to < end; to++) {
        bool take_b = b < end && (a == middle || precedes(&in[b], &in[a]));
        out[to] = take_b ? in[b++] : in[a++];
    }
}

bool cbt_leef_sort(struct cbt_leef_pairs *pairs, struct cbt_arena *arena)
{
    size_t count = pairs->count;
    struct cbt_leef_pair *in = pairs->pair, *out = cbt_arena_alloc(arena, count * sizeof(*out));
    if (out == NULL)
        return false;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t from = 0; from < count; from += 2 * width) {
            size_t middle = from + width < count ? from + width : count;
            size_t end = middle + width < count ? middle + width : count;
            merge(in, out, from, middle, end);
        }
        struct cbt_leef_pair *swap = in;
        in = out;
        out = swap;
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (i + 1 == count || !cbt_leef_equal(in[i].key, in[i + 1].key))
            in[kept++] = in[i];
    *pairs = (struct cbt_leef_pairs){.pair = in, .count = kept, .capacity = count};
    return true;
}
