/* SPDX-License-Identifier: MIT */
/*
 * The keys of a notification: which of those that come twice counts, and which are known to a rule.
 *
 * All keys of all objects are sorted at once, by their object and a hash, and where those are equal by their
 * text: so a text made of equal hashes, of long equal keys or of deep nesting takes no more than n log n.
 */
#include <string.h>

#include "cbtap/json_string.h"
#include "decode/notification.h"

struct slot {
    uint64_t order; /* the object's token above, a hash of the key below */
    unsigned token;
};

static bool is_key(const struct cbt_json_tokens *tokens, unsigned i)
{
    int parent = tokens->token[i].parent;
    return parent >= 0 && tokens->token[parent].type == JSMN_OBJECT;
}

/* Whether a key has others beside it. */
static bool is_key_of_many(const struct cbt_json_tokens *tokens, unsigned i)
{
    return is_key(tokens, i) && tokens->token[tokens->token[i].parent].size > 1;
}

static struct slot slot_of(const struct cbt_json_tokens *tokens, unsigned i)
{
    struct cbt_text key = cbt_json_token_text(tokens, i);
    uint32_t hash = 2166136261u;
    for (const uint8_t *s = key.data, *end = s + key.len; s < end;)
        hash = (hash ^ cbt_json_char(&s, end)) * 16777619u;
    return (struct slot){(uint64_t)(unsigned)tokens->token[i].parent << 32 | hash, i};
}

static int compare(const struct cbt_json_tokens *tokens, const struct slot *a, const struct slot *b)
{
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    return cbt_json_string_compare(cbt_json_token_text(tokens, a->token),
                                   cbt_json_token_text(tokens, b->token));
}

/* A stable merge sort between two halves of memory; returns the one that holds the result. */
static struct slot *sort(const struct cbt_json_tokens *tokens, struct slot *from, struct slot *to, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t low = 0; low < n; low += 2 * width) {
            size_t middle = low + width < n ? low + width : n;
            size_t high = middle + width < n ? middle + width : n;
            size_t a = low, b = middle;
            for (size_t i = low; i < high; i++) {
                bool first = b == high || (a < middle && compare(tokens, &from[a], &from[b]) <= 0);
                to[i] = first ? from[a++] : from[b++];
            }
        }
        struct slot *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

/* Marks every key that the same one follows in its object. Returns their number, -1 where the arena is full.
 */
static int64_t mark_superseded(const struct cbt_json_tokens *tokens, struct cbt_arena *arena, uint8_t *marks)
{
    size_t n = 0, used = arena->used;
    int64_t superseded = 0;
    for (unsigned i = 1; i < tokens->count; i++)
        n += is_key_of_many(tokens, i);
    struct slot *slots = cbt_arena_alloc(arena, 2 * n * sizeof(*slots));
    if (slots == NULL)
        return -1;
    struct slot *next = slots;
    for (unsigned i = 1; i < tokens->count; i++)
        if (is_key_of_many(tokens, i))
            *next++ = slot_of(tokens, i);
    const struct slot *sorted = sort(tokens, slots, slots + n, n);
    for (size_t i = 1; i < n; i++) {
        if (compare(tokens, &sorted[i - 1], &sorted[i]) == 0) {
            marks[sorted[i - 1].token] = CBT_NOTE_SUPERSEDED;
            superseded++;
        }
    }
    cbt_arena_rewind(arena, used);
    return superseded;
}

uint8_t *cbt_note_find_twice(struct cbt_notification *note, struct cbt_arena *arena)
{
    const struct cbt_json_tokens *tokens = &note->tokens;
    uint8_t *marks = cbt_arena_alloc(arena, tokens->count);
    if (marks == NULL)
        return NULL;
    memset(marks, CBT_NOTE_OTHER, tokens->count);
    int64_t superseded = mark_superseded(tokens, arena, marks);
    struct cbt_note_cut *cuts =
        superseded < 0 ? NULL : cbt_arena_alloc(arena, (size_t)superseded * sizeof(*cuts));
    if (cuts == NULL)
        return NULL;
    note->marks = marks;
    note->cuts = cuts;
    note->cut_count = 0;
    unsigned next;
    for (unsigned i = 1; superseded > 0 && i < tokens->count; i = next) {
        next = i + 1;
        if (marks[i] != CBT_NOTE_SUPERSEDED)
            continue;
        /* What lies in it goes with it; a key that counts stands behind it, for the last one does. */
        next = cbt_json_token_end(tokens, i + 1);
        cuts[note->cut_count++] =
            (struct cbt_note_cut){cbt_note_span(note, i).data, cbt_note_span(note, next).data};
    }
    return marks;
}

static enum cbt_note_key known_key(struct cbt_text key)
{
    static const struct cbt_text names[CBT_NOTE_KEYS] = {
#define X(name) [CBT_NOTE_##name] = {(const uint8_t *)#name, sizeof(#name) - 1},
        CBT_NOTIFICATION_KEYS(X)
#undef X
    };
    bool escaped = key.len > 0 && memchr(key.data, '\\', key.len) != NULL;
    for (int i = CBT_NOTE_OTHER + 1; i < CBT_NOTE_KEYS; i++)
        if (escaped ? cbt_json_string_is(key, names[i])
                    : key.len == names[i].len && memcmp(key.data, names[i].data, key.len) == 0)
            return (enum cbt_note_key)i;
    return CBT_NOTE_OTHER;
}

void cbt_note_mark(const struct cbt_notification *note, uint8_t *marks, unsigned object)
{
    unsigned end = cbt_json_token_end(&note->tokens, object);
    for (unsigned key = object + 1; key < end; key = cbt_json_token_end(&note->tokens, key + 1))
        if (marks[key] != CBT_NOTE_SUPERSEDED)
            marks[key] = (uint8_t)known_key(cbt_json_token_text(&note->tokens, key));
}

void cbt_note_collect(const struct cbt_notification *note, unsigned object, struct cbt_note_object *ret)
{
    *ret = (struct cbt_note_object){.token = object, .end = cbt_json_token_end(&note->tokens, object)};
    for (unsigned key = object + 1; key < ret->end; key = cbt_json_token_end(&note->tokens, key + 1))
        if (note->marks[key] != CBT_NOTE_OTHER && note->marks[key] != CBT_NOTE_SUPERSEDED)
            ret->value[note->marks[key]] = key + 1;
}
