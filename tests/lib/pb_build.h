/* SPDX-License-Identifier: MIT */
/* Protobuf wire by hand, for records that no library would write; and bundles of them. */
#ifndef TESTS_LIB_PB_BUILD_H
#define TESTS_LIB_PB_BUILD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/text.h"

struct pb {
    uint8_t *data;
    size_t len, capacity;
};

static inline void pb_raw(struct pb *pb, const void *bytes, size_t len)
{
    if (pb->len + len > pb->capacity) {
        pb->capacity = 2 * (pb->len + len) + 64;
        pb->data = realloc(pb->data, pb->capacity);
        if (pb->data == NULL)
            abort();
    }
    if (len > 0)
        memcpy(pb->data + pb->len, bytes, len);
    pb->len += len;
}

static inline void pb_byte(struct pb *pb, unsigned byte)
{
    uint8_t one = (uint8_t)byte;
    pb_raw(pb, &one, 1);
}

static inline void pb_varint(struct pb *pb, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        pb_byte(pb, (unsigned)(value & 0x7f) | 0x80);
    pb_byte(pb, (unsigned)value);
}

static inline void pb_number(struct pb *pb, unsigned field, uint64_t value)
{
    pb_varint(pb, (uint64_t)field << 3);
    pb_varint(pb, value);
}

static inline void pb_bytes(struct pb *pb, unsigned field, const void *bytes, size_t len)
{
    pb_varint(pb, (uint64_t)field << 3 | 2);
    pb_varint(pb, len);
    pb_raw(pb, bytes, len);
}

static inline void pb_str(struct pb *pb, unsigned field, const char *text)
{
    pb_bytes(pb, field, text, strlen(text));
}

/* Adds `sub` as a field and empties it. */
static inline void pb_message(struct pb *pb, unsigned field, struct pb *sub)
{
    pb_bytes(pb, field, sub->data, sub->len);
    sub->len = 0;
}

static inline void pb_free(struct pb *pb)
{
    free(pb->data);
    *pb = (struct pb){0};
}

static inline struct cbt_text pb_text(const struct pb *pb)
{
    return (struct cbt_text){pb->data, pb->len};
}

/* A record with its length before it. */
static inline void pb_record(struct pb *bundle, struct cbt_text record)
{
    for (unsigned i = 0; i < 4; i++)
        pb_byte(bundle, (unsigned)(record.len >> (8 * i)) & 0xff);
    pb_raw(bundle, record.data, record.len);
}

/* A header with version 4 and that timestamp. */
static inline void pb_header(struct pb *record, int64_t timestamp)
{
    struct pb header = {0};
    pb_number(&header, 1, 4);
    pb_number(&header, 4, (uint64_t)timestamp);
    pb_message(record, 1, &header);
    pb_free(&header);
}

/* --- a record from a line of text: "1{1:4 4:-5} 7{4:'text' 3:x0AFF} 2{}" --- */

static inline int pb_digit(char c)
{
    return c >= 'A' ? c - 'A' + 10 : c - '0';
}

/* One value after its field number; returns what follows it. */
static inline const char *pb_parse_fields(struct pb *pb, const char *text);

static inline const char *pb_parse_value(struct pb *pb, unsigned field, const char *text)
{
    struct pb value = {0};
    char *end;
    if (*text == '{') {
        text = pb_parse_fields(&value, text + 1);
    } else if (text[1] == '\'') {
        for (text += 2; *text != '\''; text++)
            pb_byte(&value, (uint8_t)*text);
    } else if (text[1] == 'x') {
        for (text += 2; *text != ' ' && *text != '}' && *text != '\0'; text += 2)
            pb_byte(&value, (unsigned)(pb_digit(text[0]) << 4 | pb_digit(text[1])));
        pb_message(pb, field, &value);
        pb_free(&value);
        return text;
    } else {
        pb_number(pb, field,
                  text[1] == '-' ? (uint64_t)strtoll(text + 1, &end, 10) : strtoull(text + 1, &end, 10));
        return end;
    }
    pb_message(pb, field, &value);
    pb_free(&value);
    return text + 1;
}

static inline const char *pb_parse_fields(struct pb *pb, const char *text)
{
    for (;;) {
        text += strspn(text, " \n");
        if (*text == '}' || *text == '\0')
            return text;
        char *end;
        unsigned field = (unsigned)strtoul(text, &end, 10);
        text = pb_parse_value(pb, field, end);
    }
}

static inline struct pb pb_parse(const char *text)
{
    struct pb record = {0};
    pb_parse_fields(&record, text);
    return record;
}

#endif
