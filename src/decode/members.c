/* SPDX-License-Identifier: MIT */
/*
 * Members that come more than once. A parser must merge repeated singular sub-messages; protobuf-c does so in
 * quadratic time and drops empty bytes on the way. Joining their payloads first is linear and exact, so that
 * protobuf-c never sees a repeat. The schema nests no deeper than member, sub-message: two levels are all.
 *
 * What is joined must be whole on its own: the end of one payload and the beginning of the next could make a
 * field that neither has, and hide one that the peek has seen.
 */
#include "decode/members.h"

#include "sensor_events.pb-c.h"

void cbt_members_init(struct cbt_member_row rows[CBT_MEMBERS])
{
    const ProtobufCMessageDescriptor *event = &cb_event_msg__descriptor;
    for (unsigned i = 0; i < event->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &event->fields[i];
        if (field->id >= CBT_MEMBERS)
            continue;
        struct cbt_member_row *row = &rows[field->id];
        row->descriptor = field->descriptor;
        row->offset = field->offset;
        row->name = field->name;
        row->singular = 0;
        for (unsigned k = 0; k < row->descriptor->n_fields; k++) {
            const ProtobufCFieldDescriptor *sub = &row->descriptor->fields[k];
            if (sub->type == PROTOBUF_C_TYPE_MESSAGE && sub->label != PROTOBUF_C_LABEL_REPEATED)
                row->singular |= 1u << sub->id;
        }
    }
}

/* Joins the payloads of all fields `number` of a message into `out`, or only counts where `out` is NULL. */
static size_t join(struct cbt_text message, uint32_t number, uint8_t *out)
{
    struct cbt_wire wire = cbt_wire_of(message);
    struct cbt_field field;
    size_t len = 0;
    while (cbt_wire_next(&wire, &field) > 0) {
        if (field.number != number || field.type != CBT_WIRE_LEN)
            continue;
        if (out != NULL)
            memcpy(out + len, field.bytes.data, field.bytes.len);
        len += field.bytes.len;
    }
    return len;
}

static bool all_sound(struct cbt_text message, uint32_t number)
{
    struct cbt_wire wire = cbt_wire_of(message);
    struct cbt_field field;
    while (cbt_wire_next(&wire, &field) > 0)
        if (field.number == number && field.type == CBT_WIRE_LEN && !cbt_wire_sound(field.bytes))
            return false;
    return true;
}

int cbt_member_join(struct cbt_arena *arena, struct cbt_text record, uint32_t number,
                    struct cbt_text *ret_payload)
{
    if (!all_sound(record, number))
        return CBT_EINVAL;
    size_t len = join(record, number, NULL);
    uint8_t *joined = cbt_arena_alloc(arena, len);
    if (joined == NULL)
        return CBT_ELIMIT;
    join(record, number, joined);
    *ret_payload = (struct cbt_text){joined, len};
    return CBT_OK;
}

int cbt_member_repeats(const struct cbt_member_row *row, struct cbt_text payload)
{
    struct cbt_wire wire = cbt_wire_of(payload);
    struct cbt_field field;
    uint32_t seen = 0, repeated = 0;
    int rc;
    while ((rc = cbt_wire_next(&wire, &field)) > 0) {
        if (field.number >= 32 || (row->singular >> field.number & 1) == 0)
            continue;
        if (field.type != CBT_WIRE_LEN)
            return -1;
        repeated |= seen & 1u << field.number;
        seen |= 1u << field.number;
    }
    return rc < 0 ? -1 : repeated != 0;
}

static uint8_t *put_varint(uint8_t *out, size_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

int cbt_member_flatten(struct cbt_arena *arena, const struct cbt_member_row *row, struct cbt_text *payload)
{
    /* Each joined field costs at most a tag and a length more than what it replaces: 31 times 2 and 5 bytes.
     */
    uint8_t *flat = cbt_arena_alloc(arena, payload->len + 256);
    if (flat == NULL)
        return CBT_ELIMIT;
    struct cbt_wire wire = cbt_wire_of(*payload);
    struct cbt_field field;
    uint8_t *out = flat;
    while (cbt_wire_next(&wire, &field) > 0) {
        if (field.number < 32 && (row->singular >> field.number & 1) != 0)
            continue;
        memcpy(out, field.whole, (size_t)(wire.pos - field.whole));
        out += wire.pos - field.whole;
    }
    for (uint32_t number = 1; number < 32; number++) {
        if ((row->singular >> number & 1) == 0)
            continue;
        struct cbt_text joined;
        int rc = cbt_member_join(arena, *payload, number, &joined);
        if (rc != 0)
            return rc;
        bool present = joined.len > 0;
        if (!present) {
            wire = cbt_wire_of(*payload);
            while (!present && cbt_wire_next(&wire, &field) > 0)
                present = field.number == number;
        }
        if (!present)
            continue;
        out = put_varint(out, (size_t)number << 3 | CBT_WIRE_LEN);
        out = put_varint(out, joined.len);
        memcpy(out, joined.data, joined.len);
        out += joined.len;
    }
    *payload = (struct cbt_text){flat, (size_t)(out - flat)};
    return CBT_OK;
}
