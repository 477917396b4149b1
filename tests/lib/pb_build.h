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

#endif
