/* SPDX-License-Identifier: MIT */
/* JSON values as the values of LEEF's pairs: scalars as they are, what is larger as compact JSON text. */
#include "format/leef.h"

static void put_json(struct cbt_buf *out, const struct cbt_json_tokens *tokens, unsigned index,
                     struct cbt_arena *arena);

static void put_literal(struct cbt_buf *out, const char *text)
{
    cbt_buf_put(out, text, strlen(text));
}

/* A string or key of JSON text, spelt as it is. */
static void put_quoted(struct cbt_buf *out, const struct cbt_json_tokens *tokens, unsigned index)
{
    put_literal(out, "\"");
    cbt_leef_put_text(out, cbt_json_token_text(tokens, index), cbt_leef_in_pair);
    put_literal(out, "\"");
}

static void put_object(struct cbt_buf *out, const struct cbt_json_tokens *tokens, unsigned index,
                       struct cbt_arena *arena)
{
    struct cbt_leef_pairs pairs = {0};
    size_t mark = arena->used;
    if (!cbt_leef_collect(&pairs, tokens, index, arena) || !cbt_leef_sort(&pairs, arena))
        return;
    put_literal(out, "{");
    for (size_t i = 0; i < pairs.count; i++) {
        put_literal(out, i == 0 ? "" : ",");
        put_quoted(out, tokens, pairs.pair[i].value - 1);
        put_literal(out, ":");
        put_json(out, tokens, pairs.pair[i].value, arena);
    }
    put_literal(out, "}");
    cbt_arena_rewind(arena, mark);
}

static void put_array(struct cbt_buf *out, const struct cbt_json_tokens *tokens, unsigned index,
                      struct cbt_arena *arena)
{
    unsigned element = index + 1;
    put_literal(out, "[");
    for (int i = 0; i < tokens->token[index].size; i++) {
        put_literal(out, i == 0 ? "" : ",");
        put_json(out, tokens, element, arena);
        element = cbt_json_token_end(tokens, element);
    }
    put_literal(out, "]");
}

/* Compact JSON text, its keys sorted, escaped for LEEF. Calls itself for what is nested, which the decoder
 * has bounded (so deep does no notification nest, nor what ioc_attr holds as a string). */
static void put_json(struct cbt_buf *out, const struct cbt_json_tokens *tokens, unsigned index,
                     struct cbt_arena *arena)
{
    switch (tokens->token[index].type) {
    case JSMN_OBJECT:
        put_object(out, tokens, index, arena);
        break;
    case JSMN_ARRAY:
        put_array(out, tokens, index, arena);
        break;
    case JSMN_STRING:
        put_quoted(out, tokens, index);
        break;
    default:
        cbt_leef_put_text(out, cbt_json_token_text(tokens, index), cbt_leef_in_pair);
    }
}

bool cbt_leef_string_of(const struct cbt_json_tokens *tokens, unsigned index, struct cbt_text *ret_span)
{
    if (tokens->token[index].type == JSMN_ARRAY && tokens->token[index].size == 1)
        index++;
    if (tokens->token[index].type != JSMN_STRING)
        return false;
    *ret_span = cbt_json_token_text(tokens, index);
    return true;
}

void cbt_leef_put_value(struct cbt_buf *out, const struct cbt_json_tokens *tokens, unsigned index,
                        struct cbt_arena *arena)
{
    const jsmntok_t *token = &tokens->token[index];
    struct cbt_text span;
    if (cbt_leef_string_of(tokens, index, &span))
        cbt_leef_put_string(out, span, cbt_leef_in_pair);
    else if (token->size > 0 || token->type == JSMN_PRIMITIVE)
        put_json(out, tokens, index, arena);
}
