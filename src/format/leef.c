/* SPDX-License-Identifier: MIT */
/*
 * The leef format: the event of the json format as LEEF 1.0, a header and sorted key=value pairs.
 *
 * Happy path: the json format encodes into memory of the event's arena; that text is cut into tokens, whose
 * top level becomes pairs; those are promoted, added to and sorted, and written straight into the record's
 * memory. Failure: no more room in the record, or in the arena, is CBT_ELIMIT. The arena is left as it was
 * found. Owns nothing: an instance is one of the json format.
 */
#include <strings.h>

#include "cbtap/format.h"
#include "cbtap/json_judge.h"
#include "format/json_cut.h"
#include "format/leef.h"

extern const struct cbt_format cbt_format_json;

/* Brings the members of the one entry of `docs` to the top. False: the arena is used up. */
static bool promote(struct cbt_leef_pairs *pairs, struct cbt_arena *arena)
{
    const struct cbt_text name = CBT_TEXT("docs");
    const struct cbt_leef_pair *docs = cbt_leef_find(pairs, name);
    if (docs == NULL)
        return true;
    const struct cbt_json_tokens *tokens = docs->tokens;
    const jsmntok_t *array = &tokens->token[docs->value];
    unsigned entry = docs->value + 1;
    bool is_one = array->type == JSMN_ARRAY && array->size == 1 && tokens->token[entry].type == JSMN_OBJECT;
    if (!is_one && (array->type != JSMN_ARRAY || array->size > 0))
        return true;
    if (is_one && !cbt_leef_collect(pairs, tokens, entry, arena))
        return false;
    cbt_leef_remove(pairs, name);
    return true;
}

static bool is_null(const struct cbt_leef_pair *pair)
{
    const jsmntok_t *token = &pair->tokens->token[pair->value];
    return token->type == JSMN_PRIMITIVE && cbt_json_token_text(pair->tokens, pair->value).data[0] == 'n';
}

/* Adds the names that LEEF has for the two ends of a connection, which `from` tells of. */
static void add_connection(struct cbt_leef_pairs *pairs, const struct cbt_leef_pairs *from)
{
    static const struct {
        struct cbt_text key, outbound, inbound;
    } rows[CBT_LEEF_ADDED_MAX] = {
#define ROW(key, outbound, inbound)                                                                          \
    {                                                                                                        \
        {(const uint8_t *)(key), sizeof(key) - 1},                                                           \
        {(const uint8_t *)(outbound), sizeof(outbound) - 1},                                                 \
        {(const uint8_t *)(inbound), sizeof(inbound) - 1},                                                   \
    }
        ROW("local_ip", "src", "dst"),     ROW("local_port", "srcPort", "dstPort"),
        ROW("remote_ip", "dst", "src"),    ROW("remote_port", "dstPort", "srcPort"),
        ROW("protocol", "proto", "proto"),
#undef ROW
    };
    static const char inbound[] = "inbound";
    const struct cbt_leef_pair *direction = cbt_leef_find(from, CBT_TEXT("direction"));
    struct cbt_text text = {0};
    /* Endpoint events say "inbound", notifications "Inbound". */
    bool is_inbound = direction != NULL && cbt_leef_string_of(direction->tokens, direction->value, &text) &&
                      text.len == strlen(inbound) &&
                      strncasecmp((const char *)text.data, inbound, text.len) == 0;
    const struct cbt_leef_pair *found[CBT_LEEF_ADDED_MAX];
    for (size_t i = 0; i < CBT_LEEF_ADDED_MAX; i++)
        found[i] = cbt_leef_find(from, rows[i].key);
    for (size_t i = 0; i < CBT_LEEF_ADDED_MAX; i++)
        if (found[i] != NULL && !is_null(found[i]))
            cbt_leef_add(pairs, is_inbound ? rows[i].inbound : rows[i].outbound, found[i]);
}

/* The same for a notification's ioc_attr, an object or a string that holds one. `ret_inner` must live as long
 * as the pairs. CBT_ELIMIT: the arena is used up. */
static int add_ioc(struct cbt_leef_pairs *pairs, struct cbt_json_tokens *ret_inner, struct cbt_arena *arena,
                   struct cbt_err *err)
{
    const struct cbt_leef_pair *ioc = cbt_leef_find(pairs, CBT_TEXT("ioc_attr"));
    if (ioc == NULL)
        return CBT_OK;
    const struct cbt_json_tokens *tokens = ioc->tokens;
    unsigned object = ioc->value;
    if (tokens->token[object].type == JSMN_STRING) {
        struct cbt_text text;
        if (!cbt_leef_decode(cbt_json_token_text(tokens, object), arena, &text))
            return CBT_ELIMIT;
        enum cbt_json_verdict verdict = cbt_json_judge(&text, arena);
        arena->exhausted |= verdict == CBT_JSON_TOO_LARGE;
        if (verdict != CBT_JSON_OBJECT)
            return arena->exhausted ? CBT_ELIMIT : CBT_OK;
        int rc = cbt_json_tokens(text, arena, ret_inner, err);
        if (rc != 0)
            return rc;
        tokens = ret_inner;
        object = 0;
    }
    struct cbt_leef_pairs members = {0};
    if (tokens->token[object].type != JSMN_OBJECT)
        return CBT_OK;
    if (!cbt_leef_collect(&members, tokens, object, arena))
        return CBT_ELIMIT;
    add_connection(pairs, &members);
    return CBT_OK;
}

/* A field of the header: a string or a number; anything else counts as absent. */
static void put_field(struct cbt_buf *out, const struct cbt_leef_pair *pair, struct cbt_text otherwise)
{
    struct cbt_text text;
    if (pair != NULL && cbt_leef_string_of(pair->tokens, pair->value, &text)) {
        cbt_leef_put_string(out, text, cbt_leef_in_header);
    } else {
        bool is_number = false;
        if (pair != NULL && pair->tokens->token[pair->value].type == JSMN_PRIMITIVE) {
            text = cbt_json_token_text(pair->tokens, pair->value);
            is_number = text.data[0] == '-' || (text.data[0] >= '0' && text.data[0] <= '9');
        }
        cbt_leef_put_text(out, is_number ? text : otherwise, cbt_leef_in_header);
    }
    cbt_buf_put(out, "|", 1);
}

static void put_header(struct cbt_buf *out, const struct cbt_leef_pairs *pairs, const struct cbt_event *event)
{
    static const char head[] = "LEEF:1.0|CB|CB|";
    const struct cbt_leef_pair *type = cbt_leef_find(pairs, CBT_TEXT("type"));
    const struct cbt_text process = CBT_TEXT("ingress.event.process");
    struct cbt_text text;
    cbt_buf_put(out, head, sizeof(head) - 1);
    put_field(out, cbt_leef_find(pairs, CBT_TEXT("cb_version")), CBT_TEXT("5.1"));
    if (type != NULL && cbt_leef_string_of(type->tokens, type->value, &text) &&
        cbt_leef_equal(text, CBT_TEXT("ingress.event.procstart")))
        put_field(out, NULL, process);
    else
        put_field(out, type, event->type_name);
}

static void put_pairs(struct cbt_buf *out, const struct cbt_leef_pairs *pairs, struct cbt_arena *arena)
{
    bool first = true;
    for (size_t i = 0; i < pairs->count; i++) {
        const struct cbt_leef_pair *pair = &pairs->pair[i];
        if (is_null(pair))
            continue;
        if (!first)
            cbt_buf_put(out, "\t", 1);
        first = false;
        cbt_leef_put_text(out, pair->key, cbt_leef_in_pair);
        cbt_buf_put(out, "=", 1);
        cbt_leef_put_value(out, pair->tokens, pair->value, arena);
    }
}

static int encode_in_arena(const void *self, const struct cbt_event *event, struct cbt_buf *out,
                           struct cbt_err *err)
{
    struct cbt_arena *arena = event->arena;
    struct cbt_json_tokens tokens, inner;
    struct cbt_leef_pairs pairs = {0};
    int rc = cbt_json_cut(self, event, &tokens, err);
    if (rc != 0)
        return rc;
    if (!cbt_leef_collect(&pairs, &tokens, 0, arena))
        return CBT_ELIMIT;
    if (event->type == CBT_TYPE_NOTIFICATION) {
        if (!promote(&pairs, arena))
            return CBT_ELIMIT;
        if ((rc = add_ioc(&pairs, &inner, arena, err)) != 0)
            return rc;
    } else if (event->type == CBT_TYPE_netconn || event->type == CBT_TYPE_netconnblocked) {
        add_connection(&pairs, &pairs);
    }
    put_header(out, &pairs, event);
    if (!cbt_leef_sort(&pairs, arena))
        return CBT_ELIMIT;
    put_pairs(out, &pairs, arena);
    return CBT_OK;
}

static int encode(const void *self, const struct cbt_event *event, struct cbt_buf *out, struct cbt_err *err)
{
    struct cbt_arena *arena = event->arena;
    size_t mark = arena->used;
    int rc = encode_in_arena(self, event, out, err);
    cbt_arena_rewind(arena, mark);
    if (arena->exhausted)
        return cbt_err_set(err, CBT_ELIMIT, "as LEEF the event needs more than decode.arena_max_bytes (%zu)",
                           arena->capacity);
    if (out->failed)
        return cbt_err_set(err, CBT_ELIMIT, "the event is larger as LEEF than a record may be");
    return rc;
}

static int open_leef(void **ret_self, const struct cbt_format_options *options, struct cbt_err *err)
{
    return cbt_format_json.open(ret_self, options, err);
}

static void close_leef(void *self)
{
    cbt_format_json.close(self);
}

const struct cbt_format cbt_format_leef = {
    .name = "leef", .open = open_leef, .encode = encode, .close = close_leef};
