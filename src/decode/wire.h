/* SPDX-License-Identifier: MIT */
/*
 * The protobuf wire, field by field, without decoding: what peeks and pre-scans need. Takes what protobuf-c
 * takes (tags and lengths of at most five bytes, varints of at most ten) and refuses what it refuses
 * (groups), and besides the field numbers that protobuf does not have: protobuf-c calls such fields unknown,
 * where a reader of the low bits would see one that it knows.
 */
#ifndef CBTAP_DECODE_WIRE_H
#define CBTAP_DECODE_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "cbtap/text.h"

enum cbt_wire_type {
    CBT_WIRE_VARINT = 0,
    CBT_WIRE_64BIT = 1,
    CBT_WIRE_LEN = 2,
    CBT_WIRE_32BIT = 5,
};

/* Field numbers are 1 to 2^29 - 1. */
#define CBT_WIRE_TAG_MIN (UINT64_C(1) << 3)

#define CBT_WIRE_SHORT_BYTES_MAX 5 /* of tags and lengths */
#define CBT_WIRE_VALUE_BYTES_MAX 10

struct cbt_wire {
    const uint8_t *pos;
    const uint8_t *end;
};

struct cbt_field {
    uint32_t number;
    enum cbt_wire_type type;
    uint64_t varint;       /* of a varint, else 0 */
    struct cbt_text bytes; /* payload of a length-delimited field, else empty */
};

static inline struct cbt_wire cbt_wire_of(struct cbt_text text)
{
    /* An empty text may be NULL, to which not even 0 may be added. */
    return (struct cbt_wire){text.data, text.len > 0 ? text.data + text.len : text.data};
}

static inline uint64_t cbt_wire_le64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

/* A varint's end and value; at its end NULL: it is cut off, too long or too much. */
struct cbt_wire_varint {
    const uint8_t *end;
    uint64_t value;
};

/* A varint of at most `bytes_max` and no more than `value_max`, byte by byte (peek.c). By value, so that a
 * reader's pos stays in a register where this is never called. */
struct cbt_wire_varint cbt_wire_long_varint(const uint8_t *at, const uint8_t *end, unsigned bytes_max,
                                            uint64_t value_max);

/* A tag or a length, which nearly always has one byte, and five at most. */
static inline struct cbt_wire_varint cbt_wire_short(const uint8_t *at, const uint8_t *end, uint64_t value_max)
{
    if (__builtin_expect(at < end && at[0] < 0x80, 1))
        return (struct cbt_wire_varint){at + 1, at[0]};
    return cbt_wire_long_varint(at, end, CBT_WIRE_SHORT_BYTES_MAX, value_max);
}

/* A value, which has up to ten bytes: times and process ids nearly always have eight or nine, so eight are
 * taken at once where ten are there to be read. */
static inline struct cbt_wire_varint cbt_wire_value(const uint8_t *at, const uint8_t *end)
{
    if (at < end && at[0] < 0x80)
        return (struct cbt_wire_varint){at + 1, at[0]};
    if (end - at < CBT_WIRE_VALUE_BYTES_MAX)
        return cbt_wire_long_varint(at, end, CBT_WIRE_VALUE_BYTES_MAX, UINT64_MAX);
    uint64_t group = cbt_wire_le64(at), last = ~group & UINT64_C(0x8080808080808080), value;
    unsigned len = 8;
    if (last != 0) {
        len = ((unsigned)__builtin_ctzll(last) + 1) / 8;
        group &= last ^ (last - 1);
    }
    /* The eight groups of seven bits come together, in pairs, fours, eights. */
    value = (group & UINT64_C(0x007f007f007f007f)) | (group & UINT64_C(0x7f007f007f007f00)) >> 1;
    value = (value & UINT64_C(0x00003fff00003fff)) | (value & UINT64_C(0x3fff00003fff0000)) >> 2;
    value = (value & UINT64_C(0x000000000fffffff)) | (value & UINT64_C(0x0fffffff00000000)) >> 4;
    if (last == 0) {
        value |= (uint64_t)at[len++] << 56;
        if (at[8] >= 0x80) {
            value = (value & (UINT64_MAX >> 1)) | (uint64_t)at[len++] << 63;
            if (at[9] >= 0x80)
                return (struct cbt_wire_varint){NULL, 0};
        }
    }
    return (struct cbt_wire_varint){at + len, value};
}

/* The next field: 1, 0 at the end, -1 where the wire is malformed. */
static inline __attribute__((always_inline)) int cbt_wire_next(struct cbt_wire *wire,
                                                               struct cbt_field *ret_field)
{
    const uint8_t *end = wire->end;
    size_t skip = 0;
    if (wire->pos == end)
        return 0;
    struct cbt_wire_varint tag = cbt_wire_short(wire->pos, end, UINT32_MAX), next = tag;
    if (tag.end == NULL || tag.value < CBT_WIRE_TAG_MIN)
        return -1;
    ret_field->number = (uint32_t)tag.value >> 3;
    ret_field->type = (enum cbt_wire_type)(tag.value & 7);
    ret_field->varint = 0;
    ret_field->bytes = (struct cbt_text){0};
    if (ret_field->type == CBT_WIRE_LEN) {
        next = cbt_wire_short(tag.end, end, INT32_MAX);
        skip = (size_t)next.value;
        ret_field->bytes = (struct cbt_text){next.end, skip};
    } else if (ret_field->type == CBT_WIRE_VARINT) {
        next = cbt_wire_value(tag.end, end);
        ret_field->varint = next.value;
    } else if (ret_field->type == CBT_WIRE_64BIT) {
        skip = 8;
    } else if (ret_field->type == CBT_WIRE_32BIT) {
        skip = 4;
    } else {
        return -1;
    }
    if (next.end == NULL || skip > (size_t)(end - next.end))
        return -1;
    wire->pos = next.end + skip;
    return 1;
}

#endif
