/* SPDX-License-Identifier: MIT */
/*
 * Server notifications: yajl judges the text (syntax and depth; what its strings hold is for the format to
 * mend), and the sensor, the time and the type are picked out for the record's key, lag and topic.
 *
 * Failure: CBT_EINVAL, not_json, for what is no JSON object; CBT_ELIMIT, too_complex, for what nests deeper
 * than DEPTH_MAX or is larger than the arena can judge. Allocates in the decoder's arena only.
 */
#include <string.h>
#include <yajl/yajl_parse.h>

#include "decode/decoder.h"

#define DEPTH_MAX 100u

/* yajl does not expect memory to run out. It needs its state, and while it decodes a string up to four times
 * its length (a buffer that doubles, in an arena that does not reuse): so much must be there beforehand. */
#define YAJL_STATE_BYTES 8192u

struct block_head {
    size_t bytes;
};

static void *arena_malloc(void *arena, size_t bytes)
{
    struct block_head *head = cbt_arena_alloc(arena, sizeof(*head) + bytes);
    if (head == NULL)
        return NULL;
    head->bytes = bytes;
    return head + 1;
}

static void arena_free(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

static void *arena_realloc(void *arena, void *memory, size_t bytes)
{
    void *moved = arena_malloc(arena, bytes);
    if (moved == NULL || memory == NULL)
        return moved;
    size_t old = ((struct block_head *)memory - 1)->bytes;
    memcpy(moved, memory, old < bytes ? old : bytes);
    return moved;
}

enum wanted {
    NOTHING,
    SENSOR_ID,
    EVENT_TIMESTAMP,
};

struct reader {
    unsigned depth;
    bool done; /* an object has ended at the top */
    bool too_deep;
    enum wanted wanted; /* the key, at the top level, whose value comes next */
    bool has_sensor_id;
    int32_t sensor_id;
    int64_t unix_ms;
};

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

static int take_scalar(struct reader *reader, const char *text, size_t len, bool number)
{
    if (reader->depth == 0)
        return 0;
    if (reader->depth == 1 && reader->wanted == SENSOR_ID)
        reader->has_sensor_id = parse_int32(text, len, &reader->sensor_id);
    if (reader->depth == 1 && reader->wanted == EVENT_TIMESTAMP)
        reader->unix_ms = number ? parse_ms(text, len) : 0;
    return 1;
}

static int on_number(void *self, const char *text, size_t len)
{
    return take_scalar(self, text, len, true);
}

static int on_string(void *self, const unsigned char *text, size_t len)
{
    return take_scalar(self, (const char *)text, len, false);
}

static int on_boolean(void *self, int value)
{
    (void)value;
    return take_scalar(self, "", 0, false);
}

static int on_null(void *self)
{
    return take_scalar(self, "", 0, false);
}

static int on_map_key(void *self, const unsigned char *key, size_t len)
{
    struct reader *reader = self;
    reader->wanted = NOTHING;
    if (reader->depth != 1)
        return 1;
    if (len == strlen("sensor_id") && memcmp(key, "sensor_id", len) == 0)
        reader->wanted = SENSOR_ID;
    else if (len == strlen("event_timestamp") && memcmp(key, "event_timestamp", len) == 0)
        reader->wanted = EVENT_TIMESTAMP;
    return 1;
}

static int open_container(struct reader *reader)
{
    /* As a value of a wanted key it is none that can be read; the last of two equal keys counts. */
    if (reader->depth == 1)
        take_scalar(reader, "", 0, false);
    if (++reader->depth > DEPTH_MAX) {
        reader->too_deep = true;
        return 0;
    }
    return 1;
}

static int on_start_map(void *self)
{
    return open_container(self);
}

static int on_start_array(void *self)
{
    struct reader *reader = self;
    return reader->depth == 0 ? 0 : open_container(reader);
}

/* The end of the object is the end of parsing: yajl would take the beginning of a token behind it for white
 * space. */
static int on_end(void *self)
{
    struct reader *reader = self;
    reader->done = --reader->depth == 0;
    return !reader->done;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_map_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

static bool judge(struct cbt_arena *arena, struct cbt_text json, struct reader *reader)
{
    yajl_alloc_funcs memory = {arena_malloc, arena_realloc, arena_free, arena};
    yajl_handle yajl = yajl_alloc(&callbacks, &memory, reader);
    if (yajl == NULL)
        return false;
    yajl_config(yajl, yajl_dont_validate_strings, 1);
    return yajl_parse(yajl, json.data, json.len) == yajl_status_client_canceled && reader->done &&
           yajl_get_bytes_consumed(yajl) == json.len;
}

static struct cbt_text trim(struct cbt_text text)
{
    static const char space[] = " \t\r\n";
    while (text.len > 0 && text.data[0] != 0 && strchr(space, text.data[0]) != NULL) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && text.data[text.len - 1] != 0 && strchr(space, text.data[text.len - 1]) != NULL)
        text.len--;
    return text;
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

int cbt_decode_notification(struct cbt_decoder *decoder, struct cbt_text json, struct cbt_text routing_key,
                            size_t *cursor, struct cbt_event *ret_event, enum cbt_dead_reason *ret_reason,
                            struct cbt_err *err)
{
    struct cbt_arena *arena = &decoder->arena;
    if (*cursor > 0)
        return 0;
    cbt_arena_reset(arena);
    struct cbt_text text = trim(json);
    struct cbt_text type;
    if (text.len > arena->capacity / 4 ||
        arena->capacity - 4 * text.len < YAJL_STATE_BYTES + routing_key.len) {
        *ret_reason = CBT_DEAD_too_complex;
        return cbt_err_set(
            err, CBT_ELIMIT,
            "a notification of %zu bytes is more than a decode.arena_max_bytes of %zu can judge", text.len,
            arena->capacity);
    }
    struct reader reader = {0};
    if (!judge(arena, text, &reader)) {
        *ret_reason = reader.too_deep ? CBT_DEAD_too_complex : CBT_DEAD_not_json;
        if (reader.too_deep)
            return cbt_err_set(err, CBT_ELIMIT, "the notification nests deeper than %u", DEPTH_MAX);
        return cbt_err_set(err, CBT_EINVAL, "%s", cbt_dead_reason_text(CBT_DEAD_not_json));
    }
    if (!type_of(arena, routing_key, &type)) {
        *ret_reason = CBT_DEAD_too_complex;
        return cbt_err_set(err, CBT_ELIMIT, "decode.arena_max_bytes (%zu) is used up", arena->capacity);
    }
    *cursor = 1;
    *ret_event =
        (struct cbt_event){.type = CBT_TYPE_NOTIFICATION,
                           .type_name = type,
                           .event_type_name = type,
                           .env = {.sensor_id = reader.sensor_id, .has_sensor_id = reader.has_sensor_id},
                           .raw = text,
                           .routing_key = routing_key,
                           .unix_ms = reader.unix_ms,
                           .arena = arena};
    return 1;
}
