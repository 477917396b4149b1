/* SPDX-License-Identifier: MIT */
/* JSON texts to tokens, by jsmn: see json_tokens.h. */
#define CBT_JSMN_CODE /* the one place where jsmn's code, not its declarations, is compiled */
#include "cbtap/json_tokens.h"

#include <limits.h>

int cbt_json_tokens(struct cbt_text json, struct cbt_arena *arena, struct cbt_json_tokens *ret_tokens,
                    struct cbt_err *err)
{
    const char *text = (const char *)json.data;
    jsmn_parser parser;
    jsmn_init(&parser);
    int count = json.len <= INT_MAX ? jsmn_parse(&parser, text, json.len, NULL, 0) : JSMN_ERROR_INVAL;
    if (count < 0)
        return cbt_err_set(err, CBT_EINVAL, "%zu bytes that are no JSON", json.len);
    jsmntok_t *token = cbt_arena_alloc(arena, (size_t)count * sizeof(*token));
    if (token == NULL)
        return cbt_err_set(err, CBT_ELIMIT,
                           "a JSON text of %d parts needs more than decode.arena_max_bytes (%zu)", count,
                           arena->capacity);
    jsmn_init(&parser);
    if (jsmn_parse(&parser, text, json.len, token, (unsigned)count) != count)
        return cbt_err_set(err, CBT_EINVAL, "%zu bytes that are no JSON", json.len);
    *ret_tokens = (struct cbt_json_tokens){.json = json, .token = token, .count = (unsigned)count};
    return CBT_OK;
}
