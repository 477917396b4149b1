/* SPDX-License-Identifier: MIT */
/*
 * Server notifications: judged (syntax and depth; what its strings hold is for the format to mend), cut into
 * tokens once, and given out as one event, or one for each entry of docs. The sensor, the time and the type
 * are picked out for the record's key, lag and topic.
 *
 * Failure, before the first event: CBT_EINVAL, not_json, for what is no JSON object; CBT_ELIMIT, too_complex,
 * for what nests too deep, is larger than the arena can hold, or whose entries would repeat the rest of it
 * beyond measure. Owns the arena from the first call for a text to the next one's.
 */
#include <string.h>

#include "cbtap/json_judge.h"
#include "cbtap/json_string.h"
#include "decode/decoder.h"
#include "decode/notification.h"

/* What stands beside docs comes out once for each entry: a text of 8 MB could ask for terabytes. So much in
 * all, in capacities of the arena (256 MiB where that is not configured), is as much as other input asks for
 * at most, and a thousand times what servers send. */
#define REPEATED_ARENAS_MAX 8u

#define ALL_GIVEN SIZE_MAX

/* A decimal integer in the range of int32_t, and nothing else. */
static bool parse_int32(const char *text, size_t len, int32_t *ret_value)
{
    size_t i = len > 0 && text[0] == '-';
    int64_t value = 0;
    if (i == len || len - i > 16)
        return false;
    for (; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (text[i] - '0');
    }
    if (text[0] == '-')
        value = -value;
    if (value < INT32_MIN || value > INT32_MAX)
        return false;
    *ret_value = (int32_t)value;
    return true;
}

/* Seconds with decimals to milliseconds; 0, unknown, for what is written with an exponent or is out of range.
 */
static int64_t parse_ms(const char *text, size_t len)
{
    bool negative = len > 0 && text[0] == '-';
    int64_t ms = 0;
    int decimals = -1;
    for (size_t i = negative; i < len; i++) {
        if (text[i] == '.' && decimals < 0) {
            decimals = 0;
        } else if (text[i] < '0' || text[i] > '9' || ms > INT64_MAX / 20) {
            return 0;
        } else if (decimals < 3) {
            ms = ms * 10 + (text[i] - '0');
            decimals += decimals >= 0;
        }
    }
    for (decimals = decimals < 0 ? 0 : decimals; decimals < 3; decimals++) {
        if (ms > INT64_MAX / 20)
            return 0;
        ms *= 10;
    }
    return negative ? -ms : ms;
}

/* The sensor of an object: an integer, or a string that holds one. */
static bool sensor_of(const struct cbt_notification *note, const struct cbt_note_object *object,
                      int32_t *ret_sensor_id)
{
    unsigned value = object->value[CBT_NOTE_sensor_id];
    if (cbt_note_is_number(note, value)) {
        struct cbt_text number = cbt_json_token_text(&note->tokens, value);
        return parse_int32((const char *)number.data, number.len, ret_sensor_id);
    }
    char digits[32];
    struct cbt_text source = cbt_json_token_text(&note->tokens, value);
    if (!cbt_note_is_string(note, value) || cbt_json_string_size(source).bytes > sizeof(digits))
        return false;
    const uint8_t *end = cbt_json_string_decode(source, (uint8_t *)digits);
    return parse_int32(digits, (size_t)((const char *)end - digits), ret_sensor_id);
}

static int64_t time_of(const struct cbt_notification *note, const struct cbt_note_object *object)
{
    unsigned value = object->value[CBT_NOTE_event_timestamp];
    struct cbt_text number = cbt_json_token_text(&note->tokens, value);
    return cbt_note_is_number(note, value) ? parse_ms((const char *)number.data, number.len) : 0;
}

/* "feed.24.ingress.hit.process" is of type "feed.ingress.hit.process"; every other key is the type. */
static bool type_of(struct cbt_arena *arena, struct cbt_text key, struct cbt_text *ret_type)
{
    static const char feed[] = "feed.";
    const size_t feed_len = sizeof(feed) - 1;
    size_t digits = 0;
    *ret_type = key;
    if (key.len <= feed_len || memcmp(key.data, feed, feed_len) != 0)
        return true;
    while (feed_len + digits < key.len && key.data[feed_len + digits] >= '0' &&
           key.data[feed_len + digits] <= '9')
        digits++;
    if (digits == 0 || feed_len + digits == key.len || key.data[feed_len + digits] != '.')
        return true;
    size_t rest = key.len - feed_len - digits - 1;
    uint8_t *type = cbt_arena_alloc(arena, feed_len + rest);
    if (type == NULL)
        return false;
    memcpy(type, feed, feed_len);
    memcpy(type + feed_len, key.data + feed_len + digits + 1, rest);
    *ret_type = (struct cbt_text){type, feed_len + rest};
    return true;
}

bool cbt_notification_type(struct cbt_decoder *decoder, struct cbt_text routing_key,
                           struct cbt_text *ret_type)
{
    cbt_arena_reset(&decoder->arena);
    return type_of(&decoder->arena, routing_key, ret_type);
}

static int too_complex(const struct cbt_arena *arena, enum cbt_dead_reason *ret_reason, struct cbt_err *err)
{
    *ret_reason = CBT_DEAD_too_complex;
    return cbt_err_set(err, CBT_ELIMIT, "the notification needs more than decode.arena_max_bytes (%zu)",
                       arena->capacity);
}

static int judge(struct cbt_arena *arena, struct cbt_text *text, enum cbt_dead_reason *ret_reason,
                 struct cbt_err *err)
{
    switch (cbt_json_judge(text, arena)) {
    case CBT_JSON_OBJECT:
        return CBT_OK;
    case CBT_JSON_NONE:
        break;
    case CBT_JSON_TOO_DEEP:
        *ret_reason = CBT_DEAD_too_complex;
        return cbt_err_set(err, CBT_ELIMIT, "the notification nests deeper than %u", CBT_JSON_DEPTH_MAX);
    case CBT_JSON_TOO_LARGE:
        *ret_reason = CBT_DEAD_too_complex;
        return cbt_err_set(
            err, CBT_ELIMIT,
            "a notification of %zu bytes is more than a decode.arena_max_bytes of %zu can judge", text->len,
            arena->capacity);
    }
    *ret_reason = CBT_DEAD_not_json;
    return cbt_err_set(err, CBT_EINVAL, "%s", cbt_dead_reason_text(CBT_DEAD_not_json));
}

/* Reads an object's query and puts it behind the others. */
static bool add_query(struct cbt_decoder *decoder, const struct cbt_note_object *object,
                      const struct cbt_note_query ***tail)
{
    struct cbt_note_query *query;
    if (!cbt_note_read_query(&decoder->note, object, &decoder->arena, &query))
        return false;
    if (query != NULL) {
        **tail = query;
        *tail = &query->next;
    }
    return true;
}

/* Takes in the top and, for all events at once, so that none fails after others are out, the entries. */
static int read_objects(struct cbt_decoder *decoder, uint8_t *marks, enum cbt_dead_reason *ret_reason,
                        struct cbt_err *err)
{
    struct cbt_notification *note = &decoder->note;
    const struct cbt_note_query *top_query = NULL, **tail = &top_query;
    cbt_note_mark(note, marks, 0);
    cbt_note_collect(note, 0, &note->top);
    if (!add_query(decoder, &note->top, &tail))
        return too_complex(&decoder->arena, ret_reason, err);
    note->top.query = top_query;
    decoder->next_query = NULL;
    unsigned docs = note->top.value[CBT_NOTE_docs];
    const jsmntok_t *array = &note->tokens.token[docs];
    if (docs == 0 || array->type != JSMN_ARRAY || array->size == 0)
        return CBT_OK;
    uint64_t beside = note->tokens.json.len - (uint64_t)(array->end - array->start);
    if (beside * (uint64_t)array->size > (uint64_t)REPEATED_ARENAS_MAX * decoder->arena.capacity) {
        *ret_reason = CBT_DEAD_too_complex;
        return cbt_err_set(
            err, CBT_ELIMIT,
            "%d entries of docs, each to be sent with the %llu bytes beside docs, are more than "
            "%u times decode.arena_max_bytes (%zu)",
            array->size, (unsigned long long)beside, REPEATED_ARENAS_MAX, decoder->arena.capacity);
    }
    note->entry = docs + 1;
    note->docs_end = cbt_json_token_end(&note->tokens, docs);
    tail = &decoder->next_query;
    for (unsigned entry = note->entry; entry < note->docs_end;
         entry = cbt_json_token_end(&note->tokens, entry)) {
        struct cbt_note_object object;
        if (note->tokens.token[entry].type != JSMN_OBJECT)
            continue;
        cbt_note_mark(note, marks, entry);
        cbt_note_collect(note, entry, &object);
        if (!add_query(decoder, &object, &tail))
            return too_complex(&decoder->arena, ret_reason, err);
    }
    return CBT_OK;
}

static int begin(struct cbt_decoder *decoder, struct cbt_text json, struct cbt_text routing_key,
                 enum cbt_dead_reason *ret_reason, struct cbt_err *err)
{
    struct cbt_arena *arena = &decoder->arena;
    struct cbt_notification *note = &decoder->note;
    *note = (struct cbt_notification){0};
    cbt_arena_reset(arena);
    int rc = judge(arena, &json, ret_reason, err);
    if (rc != 0)
        return rc;
    if (!type_of(arena, routing_key, &decoder->note_type))
        return too_complex(arena, ret_reason, err);
    rc = cbt_json_tokens(json, arena, &note->tokens, err);
    if (rc != 0) {
        *ret_reason = rc == CBT_ELIMIT ? CBT_DEAD_too_complex : CBT_DEAD_not_json;
        return rc;
    }
    uint8_t *marks = cbt_note_find_twice(note, arena);
    if (marks == NULL)
        return too_complex(arena, ret_reason, err);
    rc = read_objects(decoder, marks, ret_reason, err);
    decoder->note_used = arena->used;
    return rc;
}

/* Makes note->entry this event's. */
static void take_entry(struct cbt_decoder *decoder)
{
    struct cbt_notification *note = &decoder->note;
    note->entry_is_object = note->tokens.token[note->entry].type == JSMN_OBJECT;
    if (!note->entry_is_object)
        return;
    cbt_note_collect(note, note->entry, &note->entry_object);
    if (decoder->next_query != NULL && decoder->next_query->object == note->entry) {
        note->entry_object.query = decoder->next_query;
        decoder->next_query = decoder->next_query->next;
    }
}

static void make_event(struct cbt_decoder *decoder, struct cbt_text routing_key, struct cbt_event *ret_event)
{
    const struct cbt_notification *note = &decoder->note;
    int32_t sensor_id = 0;
    bool has_sensor_id = sensor_of(note, &note->top, &sensor_id) ||
                         (note->entry_is_object && sensor_of(note, &note->entry_object, &sensor_id));
    int64_t unix_ms = time_of(note, &note->top);
    if (unix_ms == 0 && note->entry_is_object)
        unix_ms = time_of(note, &note->entry_object);
    *ret_event = (struct cbt_event){.type = CBT_TYPE_NOTIFICATION,
                                    .type_name = decoder->note_type,
                                    .event_type_name = decoder->note_type,
                                    .env = {.sensor_id = sensor_id, .has_sensor_id = has_sensor_id},
                                    .notification = note,
                                    .raw = note->tokens.json,
                                    .routing_key = routing_key,
                                    .unix_ms = unix_ms,
                                    .arena = &decoder->arena};
}

int cbt_decode_notification(struct cbt_decoder *decoder, struct cbt_text json, struct cbt_text routing_key,
                            size_t *cursor, struct cbt_event *ret_event, enum cbt_dead_reason *ret_reason,
                            struct cbt_err *err)
{
    struct cbt_notification *note = &decoder->note;
    if (*cursor == ALL_GIVEN)
        return 0;
    if (*cursor == 0) {
        int rc = begin(decoder, json, routing_key, ret_reason, err);
        if (rc != 0)
            return rc;
    } else {
        /* What a format put there for the event before is no longer needed. */
        cbt_arena_rewind(&decoder->arena, decoder->note_used);
        decoder->arena.exhausted = false;
        note->entry = (unsigned)*cursor;
    }
    *cursor = ALL_GIVEN;
    if (note->entry != 0) {
        take_entry(decoder);
        unsigned next = cbt_json_token_end(&note->tokens, note->entry);
        if (next < note->docs_end)
            *cursor = next;
    }
    make_event(decoder, routing_key, ret_event);
    return 1;
}
