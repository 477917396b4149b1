/* SPDX-License-Identifier: MIT */
/*
 * What a row of json_keys.def becomes in the encoder: a literal for the key and a writer for the value. Each
 * kind of value is one function here; a new kind is one more. To be included by the families (json_*.c).
 */
#ifndef CBTAP_FORMAT_JSON_ROW_H
#define CBTAP_FORMAT_JSON_ROW_H

#include "format/json.h"
#include "format/json_names.h"

#define CBT_BLOCK(block, prefix)
#define CBT_KEY(key, kind, meaning, source, ...)                                                             \
    p = JSON_LITERAL(p, ",\"" key "\":");                                                                    \
    p = json_##kind(w, p, __VA_ARGS__);
#define CBT_KEY_FIRST(key, kind, meaning, source, ...)                                                       \
    p = JSON_LITERAL(p, "{\"" key "\":");                                                                    \
    p = json_##kind(w, p, __VA_ARGS__);
#define CBT_KEY_IF(condition, ...)                                                                           \
    if (condition) {                                                                                         \
        CBT_KEY(__VA_ARGS__)                                                                                 \
    }
#define CBT_KEY_WHERE(condition, words, ...) CBT_KEY_IF(condition, __VA_ARGS__)
#define CBT_KEY_CBEF(name, key, kind, meaning, source, ...)                                                  \
    p = __builtin_expect(w->json->cbef, 0) ? JSON_LITERAL(p, ",\"" name "\":")                               \
                                           : JSON_LITERAL(p, ",\"" key "\":");                               \
    p = json_##kind(w, p, __VA_ARGS__);
#define CBT_KEY_NOT_CBEF(...) CBT_KEY_IF(__builtin_expect(!w->json->cbef, 1), __VA_ARGS__)
#define CBT_LINK(part, meaning, key, id, end)                                                                \
    if (w->json->links)                                                                                      \
        p = json_link(p, &w->json->part, id, end "\"", sizeof(end));
#define CBT_LINK_WHERE(condition, words, ...)                                                                \
    if (condition) {                                                                                         \
        CBT_LINK(__VA_ARGS__)                                                                                \
    }

/* --- kinds of values; `w` is not needed by all --- */

static inline uint8_t *json_text(struct cbt_json_writer *w, uint8_t *p, ProtobufCBinaryData text)
{
    return cbt_json_string(&w->out, p, text.data, text.len);
}

/* Text that does not lie in the decoder's arena. */
static inline uint8_t *json_text_anywhere(struct cbt_json_writer *w, uint8_t *p, struct cbt_text text)
{
    *p++ = '"';
    p = cbt_json_escape(&w->out, p, text.data, text.len);
    *p++ = '"';
    return p;
}

static inline uint8_t *json_upper(struct cbt_json_writer *w, uint8_t *p, ProtobufCBinaryData text)
{
    return cbt_json_upper(&w->out, p, text);
}

static inline uint8_t *json_hex(struct cbt_json_writer *w, uint8_t *p, ProtobufCBinaryData bytes)
{
    return cbt_json_hex(&w->out, p, bytes);
}

static inline uint8_t *json_base64_or_null(struct cbt_json_writer *w, uint8_t *p, bool present,
                                           ProtobufCBinaryData bytes)
{
    return present ? cbt_json_base64(&w->out, p, bytes.data, bytes.len) : JSON_LITERAL(p, "null");
}

static inline uint8_t *json_integer(struct cbt_json_writer *w, uint8_t *p, int64_t value)
{
    (void)w;
    return cbt_json_i64(p, value);
}

static inline uint8_t *json_unsigned(struct cbt_json_writer *w, uint8_t *p, uint64_t value)
{
    (void)w;
    return cbt_json_u64(p, value);
}

#define json_bytes json_unsigned

/* As it came, of whichever sign its field has. */
#define json_filetime(w, p, value)                                                                           \
    _Generic((value), int64_t : cbt_json_i64, uint64_t : cbt_json_u64)((p), (value))

/* The number of an enum's value: C may hold it as unsigned, on the wire it is an int32. */
#define json_enum(w, p, value) cbt_json_i64((p), (int32_t)(value))

static inline uint8_t *json_boolean(struct cbt_json_writer *w, uint8_t *p, bool value)
{
    (void)w;
    return cbt_json_bool(p, value);
}

/* Seconds since 1970 of a FILETIME. */
static inline uint8_t *json_time(struct cbt_json_writer *w, uint8_t *p, int64_t filetime)
{
    return cbt_json_time(p, filetime, w->json->float_time);
}

/* The 16 low bits, which arrive in network order. */
static inline uint8_t *json_port(struct cbt_json_writer *w, uint8_t *p, uint32_t port)
{
    (void)w;
    return cbt_json_u64(p, __builtin_bswap16((uint16_t)port));
}

static inline uint8_t *json_ip4(struct cbt_json_writer *w, uint8_t *p, uint32_t address)
{
    (void)w;
    *p++ = '"';
    p = cbt_json_ip4(p, address);
    *p++ = '"';
    return p;
}

static inline uint8_t *json_id(struct cbt_json_writer *w, uint8_t *p, const struct cbt_json_id *id)
{
    (void)w;
    *p++ = '"';
    memcpy(p, id->text, sizeof(id->text));
    p += id->len;
    *p++ = '"';
    return p;
}

/* `end` with the closing quote, of so many bytes. */
static inline uint8_t *json_link(uint8_t *p, const struct cbt_json_part *part, struct cbt_json_id id,
                                 const char *end, size_t end_len)
{
    memcpy(p, part->text, part->len);
    p += part->len;
    memcpy(p, id.text, sizeof(id.text));
    p += id.len;
    memcpy(p, end, end_len);
    return p + end_len;
}

#define json_name(w, p, names, value)                                                                        \
    json_name_of((p), (names), sizeof(names) / sizeof((names)[0]), (int32_t)(value))

static inline uint8_t *json_name_of(uint8_t *p, const struct cbt_json_name *names, size_t count,
                                    int32_t value)
{
    if ((uint32_t)value >= count || names[value].len == 0)
        return cbt_json_unnamed(p, value);
    memcpy(p, names[value].text, sizeof(names[value].text));
    return p + names[value].len;
}

/* A literal of two, by a condition. */
#define json_either(w, p, condition, yes, no)                                                                \
    ((condition) ? JSON_LITERAL(p, "\"" yes "\"") : JSON_LITERAL(p, "\"" no "\""))

#endif
