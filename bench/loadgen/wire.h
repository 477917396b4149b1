/* SPDX-License-Identifier: MIT */
/* Reads protobuf's wire format field by field: enough to find a record's type, its time stamp and its
 * environment. */
#ifndef CBT_LOADGEN_WIRE_H
#define CBT_LOADGEN_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "cbtap/text.h"

struct cbt_wire {
    const uint8_t *pos, *end;
    bool broken; /* the last cbt_wire_next stopped at something that is not protobuf */
};

struct cbt_wire_field {
    uint32_t number;
    uint32_t wire_type;
    uint64_t value;        /* of a varint */
    struct cbt_text bytes; /* of a length-delimited field */
    const uint8_t *start;  /* where its tag begins */
};

static inline struct cbt_wire cbt_wire_of(struct cbt_text message)
{
    return (struct cbt_wire){message.data, message.data + message.len, false};
}

/* The next field; false at the end, or where `broken` says so. */
bool cbt_wire_next(struct cbt_wire *wire, struct cbt_wire_field *ret_field);

/* Finds the first field with that number; false where there is none. */
bool cbt_wire_find(struct cbt_text message, uint32_t number, struct cbt_wire_field *ret_field);

/* The type of a record as routing keys have it ("moduleload"); "unknown" for what has none. */
const char *cbt_wire_event_type(struct cbt_text record);

/* The next record of a bundle (a 32-bit little-endian length, then so many bytes) at *offset, which moves on;
 * false at the end or where the rest is no whole record. */
bool cbt_wire_next_record(struct cbt_text bundle, size_t *offset, struct cbt_text *ret_record);

#endif
