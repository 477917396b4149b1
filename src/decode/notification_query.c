/* SPDX-License-Identifier: MIT */
/*
 * The query of an indicator: `ioc_value` as a string that holds a JSON object, whose `search_query` is
 * form-urlencoded.
 *
 * What is no such object, or nests deeper than a notification may, is no query, and passes as any other
 * value. Where search_query has no parameter `q` there is an index and no string.
 */
#include <string.h>

#include "cbtap/json_judge.h"
#include "cbtap/json_string.h"
#include "decode/notification.h"

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes form-urlencoded text in place or to a place before it. */
static size_t form_decode(struct cbt_text text, uint8_t *out)
{
    uint8_t *p = out;
    for (const uint8_t *s = text.data, *end = s + text.len; s < end; s++) {
        int high = *s == '%' && end - s > 2 ? hex_digit(s[1]) : -1;
        int low = high >= 0 ? hex_digit(s[2]) : -1;
        if (low >= 0) {
            *p++ = (uint8_t)(high << 4 | low);
            s += 2;
        } else {
            *p++ = *s == '+' ? ' ' : *s;
        }
    }
    return (size_t)(p - out);
}

/* The value of the first parameter `q`, still encoded. */
static bool find_q(struct cbt_text query, struct cbt_text *ret_value)
{
    for (const uint8_t *s = query.data, *end = s + query.len; s < end;) {
        const uint8_t *next = memchr(s, '&', (size_t)(end - s));
        const uint8_t *stop = next != NULL ? next : end;
        const uint8_t *equals = memchr(s, '=', (size_t)(stop - s));
        struct cbt_text name = {s, (size_t)((equals != NULL ? equals : stop) - s)};
        uint8_t decoded[3]; /* %71 */
        if (name.len <= sizeof(decoded) && form_decode(name, decoded) == 1 && decoded[0] == 'q') {
            const uint8_t *value = equals != NULL ? equals + 1 : stop;
            *ret_value = (struct cbt_text){value, (size_t)(stop - value)};
            return true;
        }
        s = stop + (stop < end);
    }
    return false;
}

/* The value of an object's last key of that name, 0 where there is none. */
static unsigned last_value(const struct cbt_json_tokens *tokens, struct cbt_text name)
{
    unsigned value = 0;
    for (unsigned key = 1; key < tokens->count; key = cbt_json_token_end(tokens, key + 1))
        if (cbt_json_string_is(cbt_json_token_text(tokens, key), name))
            value = key + 1;
    return value;
}

/* Fills the query from the tokens of ioc_value; what it says goes to `out`, where there is room for all of
 * it. */
static bool fill(const struct cbt_json_tokens *tokens, uint8_t *out, struct cbt_note_query *query)
{
    unsigned index = last_value(tokens, CBT_TEXT("index_type"));
    unsigned search = last_value(tokens, CBT_TEXT("search_query"));
    if (index == 0 || search == 0 || tokens->token[index].type != JSMN_STRING ||
        tokens->token[search].type != JSMN_STRING)
        return false;
    uint8_t *end = cbt_json_string_decode(cbt_json_token_text(tokens, index), out);
    query->index = (struct cbt_text){out, (size_t)(end - out)};
    out = end;
    end = cbt_json_string_decode(cbt_json_token_text(tokens, search), out);
    struct cbt_text q;
    query->has_string = find_q((struct cbt_text){out, (size_t)(end - out)}, &q);
    if (query->has_string)
        query->string = (struct cbt_text){out, form_decode(q, out)};
    return true;
}

bool cbt_note_read_query(const struct cbt_notification *note, const struct cbt_note_object *object,
                         struct cbt_arena *arena, struct cbt_note_query **ret_query)
{
    unsigned type = object->value[CBT_NOTE_ioc_type], value = object->value[CBT_NOTE_ioc_value];
    size_t before = arena->used;
    *ret_query = NULL;
    if (!cbt_note_is_string(note, type) || !cbt_note_is_string(note, value) ||
        !cbt_json_string_is(cbt_json_token_text(&note->tokens, type), CBT_TEXT("query")))
        return true;
    struct cbt_text source = cbt_json_token_text(&note->tokens, value);
    size_t bytes = cbt_json_string_size(source).bytes;
    /* Both strings lie in the decoded text, which is valid UTF-8, so decoding makes neither longer. */
    struct cbt_note_query *query = cbt_arena_alloc(arena, sizeof(*query) + bytes);
    size_t after = arena->used;
    uint8_t *decoded = query != NULL ? cbt_arena_alloc(arena, bytes) : NULL;
    if (decoded == NULL)
        return false;
    cbt_json_string_decode(source, decoded);
    struct cbt_text json = {decoded, bytes};
    enum cbt_json_verdict verdict = cbt_json_judge(&json, arena);
    struct cbt_json_tokens tokens;
    *query = (struct cbt_note_query){.object = object->token};
    if (verdict == CBT_JSON_TOO_LARGE)
        return false;
    if (verdict == CBT_JSON_OBJECT) {
        int rc = cbt_json_tokens(json, arena, &tokens, NULL);
        if (rc == CBT_ELIMIT)
            return false;
        if (rc == 0 && fill(&tokens, (uint8_t *)(query + 1), query))
            *ret_query = query;
    }
    cbt_arena_rewind(arena, *ret_query != NULL ? after : before);
    return true;
}
