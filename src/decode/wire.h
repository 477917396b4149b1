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

struct cbt_wire {
    const uint8_t *pos;
    const uint8_t *end;
};

struct cbt_field {
    uint32_t number;
    enum cbt_wire_type type;
    uint64_t varint;       /* of a varint */
    struct cbt_text bytes; /* payload of a length-delimited field */
    const uint8_t *whole;  /* where the field's tag begins; it ends at the reader's pos */
};

static inline struct cbt_wire cbt_wire_of(struct cbt_text text)
{
    /* An empty text may be NULL, to which not even 0 may be added. */
    return (struct cbt_wire){text.data, text.len > 0 ? text.data + text.len : text.data};
}

/* A varint of at most `max_bytes`; false where it is cut off or longer. */
static inline bool cbt_wire_varint(struct cbt_wire *wire, unsigned max_bytes, uint64_t *ret_value)
{
    if (__builtin_expect(wire->pos < wire->end && wire->pos[0] < 0x80, 1)) {
        *ret_value = *wire->pos++;
        return true;
    }
    uint64_t value = 0;
    for (unsigned i = 0; i < max_bytes && wire->pos + i < wire->end; i++) {
        value |= (uint64_t)(wire->pos[i] & 0x7f) << (7 * i);
        if (wire->pos[i] < 0x80) {
            wire->pos += i + 1;
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static inline bool cbt_wire_skip(struct cbt_wire *wire, uint64_t bytes)
{
    if (bytes > (uint64_t)(wire->end - wire->pos))
        return false;
    wire->pos += bytes;
    return true;
}

/* The next field: 1, 0 at the end, -1 where the wire is malformed. */
static inline int cbt_wire_next(struct cbt_wire *wire, struct cbt_field *ret_field)
{
    uint64_t tag, len;
    *ret_field = (struct cbt_field){.whole = wire->pos};
    if (wire->pos == wire->end)
        return 0;
    if (!cbt_wire_varint(wire, 5, &tag) || tag < CBT_WIRE_TAG_MIN || tag > UINT32_MAX)
        return -1;
    ret_field->number = (uint32_t)tag >> 3;
    ret_field->type = (enum cbt_wire_type)(tag & 7);
    switch (tag & 7) {
    case CBT_WIRE_LEN:
        if (!cbt_wire_varint(wire, 5, &len) || len > INT32_MAX)
            return -1;
        ret_field->bytes = (struct cbt_text){wire->pos, (size_t)len};
        return cbt_wire_skip(wire, len) ? 1 : -1;
    case CBT_WIRE_VARINT:
        return cbt_wire_varint(wire, 10, &ret_field->varint) ? 1 : -1;
    case CBT_WIRE_64BIT:
        return cbt_wire_skip(wire, 8) ? 1 : -1;
    case CBT_WIRE_32BIT:
        return cbt_wire_skip(wire, 4) ? 1 : -1;
    default:
        return -1;
    }
}

/* Whether the message can be read to its end. */
static inline bool cbt_wire_sound(struct cbt_text message)
{
    struct cbt_wire wire = cbt_wire_of(message);
    struct cbt_field field;
    int rc = 1;
    while (rc > 0)
        rc = cbt_wire_next(&wire, &field);
    return rc == 0;
}

#endif
