/* SPDX-License-Identifier: MIT */
/* JSON texts to tokens, by jsmn: see json_tokens.h. */
#define CBT_JSMN_CODE /* the one place where jsmn's code, not its declarations, is compiled */
#include "cbtap/json_tokens.h"

#include <limits.h>

int cbt_json_tokens(struct cbt_text json, struct cbt_arena *arena, struct cbt_json_tokens *ret_tokens,
                    struct cbt_err *err)
{
    /* Cut straight into the free end of the arena: to count the tokens first would cost as much again. */
    jsmntok_t *token = (jsmntok_t *)(void *)(arena->base + arena->used);
    size_t room = (arena->capacity - arena->used) / sizeof(*token);
    ASAN_UNPOISON_MEMORY_REGION(token, room * sizeof(*token));
    jsmn_parser parser;
    jsmn_init(&parser);
    int count = json.len <= INT_MAX ? jsmn_parse(&parser, (const char *)json.data, json.len, token,
                                                 room < INT_MAX ? (unsigned)room : INT_MAX)
                                    : JSMN_ERROR_INVAL;
    ASAN_POISON_MEMORY_REGION(token, room * sizeof(*token));
    (void)cbt_arena_alloc(arena, parser.toknext * sizeof(*token)); /* what was written, of use or not */
    if (count == JSMN_ERROR_NOMEM) {
        arena->exhausted = true;
        return cbt_err_set(err, CBT_ELIMIT,
                           "a JSON text of %zu bytes needs more than decode.arena_max_bytes (%zu)", json.len,
                           arena->capacity);
    }
    if (count < 0)
        return cbt_err_set(err, CBT_EINVAL, "%zu bytes that are no JSON", json.len);
    *ret_tokens = (struct cbt_json_tokens){.json = json, .token = token, .count = (unsigned)count};
    return CBT_OK;
}
