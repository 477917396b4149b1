/* SPDX-License-Identifier: MIT */
/* The reader of protobuf's wire format; the numbers of fields are those of proto/sensor_events.proto. */
#include "wire.h"

#include <stddef.h>

enum {
    WIRE_VARINT = 0,
    WIRE_64 = 1,
    WIRE_BYTES = 2,
    WIRE_32 = 5,
};

static bool read_varint(struct cbt_wire *wire, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && wire->pos < wire->end; shift += 7) {
        const uint8_t byte = *wire->pos++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool read_value(struct cbt_wire *wire, struct cbt_wire_field *field)
{
    uint64_t len;
    switch (field->wire_type) {
    case WIRE_VARINT:
        return read_varint(wire, &field->value);
    case WIRE_64:
        len = 8;
        break;
    case WIRE_32:
        len = 4;
        break;
    case WIRE_BYTES:
        if (!read_varint(wire, &len))
            return false;
        break;
    default:
        return false;
    }
    if (len > (uint64_t)(wire->end - wire->pos))
        return false;
    field->bytes = (struct cbt_text){wire->pos, (size_t)len};
    wire->pos += len;
    return true;
}

bool cbt_wire_next(struct cbt_wire *wire, struct cbt_wire_field *ret_field)
{
    if (wire->broken || wire->pos == wire->end)
        return false;
    struct cbt_wire_field field = {.start = wire->pos};
    uint64_t tag;
    if (!read_varint(wire, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff) {
        wire->broken = true;
        return false;
    }
    field.number = (uint32_t)(tag >> 3);
    field.wire_type = (uint32_t)(tag & 7);
    if (!read_value(wire, &field)) {
        wire->broken = true;
        return false;
    }
    *ret_field = field;
    return true;
}

bool cbt_wire_find(struct cbt_text message, uint32_t number, struct cbt_wire_field *ret_field)
{
    struct cbt_wire wire = cbt_wire_of(message);
    struct cbt_wire_field field;
    while (cbt_wire_next(&wire, &field))
        if (field.number == number) {
            *ret_field = field;
            return true;
        }
    return false;
}

/* The members of CbEventMsg in the order in which the first that is set names the event. */
static const struct {
    uint32_t number;
    const char *type;
} members[] = {
    {3, "procend"},
    {4, "moduleload"},
    {5, "filemod"},
    {20, "netconn"},
    {6, "netconn"},
    {7, "regmod"},
    {12, "childproc"},
    {14, "unknown"},
    {17, "emetmitigation"},
    {23, "filelessscriptload"},
    {24, "filebackedscriptload"},
    {21, "netconnblocked"},
    {18, "netconnblocked"},
    {15, "tamper"},
    {16, "processblock"},
    {9, "module"},
    {10, "vtwrite"},
    {11, "vtload"},
    {19, "processmeta"},
    {8, "stats"},
};

const char *cbt_wire_event_type(struct cbt_text record)
{
    struct cbt_wire_field field, inner;
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (!cbt_wire_find(record, members[i].number, &field) || field.wire_type != WIRE_BYTES)
            continue;
        if (members[i].number == 3 && cbt_wire_find(field.bytes, 2, &inner) && inner.value)
            return "procstart";
        if (members[i].number == 14 && cbt_wire_find(field.bytes, 1, &inner))
            return "crossprocopen";
        if (members[i].number == 14 && cbt_wire_find(field.bytes, 2, &inner))
            return "remotethread";
        return members[i].type;
    }
    return "unknown";
}

bool cbt_wire_next_record(struct cbt_text bundle, size_t *offset, struct cbt_text *ret_record)
{
    if (bundle.len - *offset < 4)
        return false;
    const uint8_t *p = bundle.data + *offset;
    const uint32_t len = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    if (len > bundle.len - *offset - 4)
        return false;
    *ret_record = (struct cbt_text){p + 4, len};
    *offset += 4 + (size_t)len;
    return true;
}
