/* SPDX-License-Identifier: MIT */
/*
 * See unpack.h. A row of a table has eight bytes, where a descriptor's field has 72: those of one message lie
 * in a few cache lines, and its field is found by its number without a search.
 *
 * No message is within itself, which bounds the recursion by the schema's depth; making the tables checks it.
 */
#include "decode/unpack.h"

#include <pthread.h>
#include <stdlib.h>

#include "decode/wire.h"
#include "sensor_events.pb-c.h"

#define SHAPES_MAX   64u
#define REPEATED_MIN 4u

static struct cbt_unpack_shape shapes[SHAPES_MAX];
static unsigned shape_count;
static uint64_t unfinished; /* a bit for each whose rows are being made */

/* ---- the tables ---- */

/* What the schema must be for all this to hold; where it is not, no test passes. */
static void insist(bool holds)
{
    if (!holds)
        abort();
}

static unsigned shape_of(const ProtobufCMessageDescriptor *descriptor);

static enum cbt_unpack_kind kind_of(const ProtobufCFieldDescriptor *field)
{
    bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
    insist(!repeated || field->type == PROTOBUF_C_TYPE_MESSAGE);
    switch (field->type) {
    case PROTOBUF_C_TYPE_BOOL:
        return CBT_UNPACK_BOOL;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_ENUM:
        return CBT_UNPACK_32BIT;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        return CBT_UNPACK_64BIT;
    case PROTOBUF_C_TYPE_BYTES:
        return CBT_UNPACK_BYTES;
    case PROTOBUF_C_TYPE_MESSAGE:
        return repeated ? CBT_UNPACK_MESSAGES : CBT_UNPACK_MESSAGE;
    default:
        insist(false);
        return CBT_UNPACK_UNKNOWN;
    }
}

static void make_rows(struct cbt_unpack_shape *shape)
{
    for (unsigned i = 0; i < shape->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &shape->descriptor->fields[i];
        insist(field->id < CBT_UNPACK_NUMBERS && field->offset <= UINT16_MAX &&
               field->quantifier_offset <= UINT16_MAX);
        struct cbt_unpack_row *row = &shape->rows[field->id];
        row->kind = (uint8_t)kind_of(field);
        row->wire = row->kind < CBT_UNPACK_BYTES ? CBT_WIRE_VARINT : CBT_WIRE_LEN;
        row->offset = (uint16_t)field->offset;
        row->quantifier = (uint16_t)field->quantifier_offset;
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
            row->shape = (uint8_t)shape_of(field->descriptor);
    }
}

static unsigned shape_of(const ProtobufCMessageDescriptor *descriptor)
{
    unsigned index = 0;
    while (index < shape_count && shapes[index].descriptor != descriptor)
        index++;
    insist(index < SHAPES_MAX && (unfinished >> index & 1) == 0);
    if (index == shape_count) {
        shapes[shape_count++].descriptor = descriptor;
        unfinished |= UINT64_C(1) << index;
        make_rows(&shapes[index]);
        unfinished &= ~(UINT64_C(1) << index);
    }
    return index;
}

static void make_tables(void)
{
    shape_of(&cb_event_msg__descriptor);
}

const struct cbt_unpack_shape *cbt_unpack_shapes(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_tables);
    return shapes;
}

/* ---- a message ---- */

static void *new_message(struct cbt_arena *arena, const struct cbt_unpack_shape *shape)
{
    void *message = cbt_arena_alloc(arena, shape->descriptor->sizeof_message);
    if (message != NULL)
        shape->descriptor->message_init(message);
    return message;
}

/* The message that the next payload is of: a new one at the end of the array, which doubles when it is full.
 */
static void *append(struct cbt_arena *arena, const struct cbt_unpack_shape *shape, void ***array,
                    size_t *count)
{
    size_t n = *count;
    bool full = n == 0 || (n >= REPEATED_MIN && (n & (n - 1)) == 0);
    if (n == CBT_UNPACK_REPEATS_MAX)
        return NULL;
    if (full) {
        void **grown = cbt_arena_alloc(arena, (n == 0 ? REPEATED_MIN : 2 * n) * sizeof(*grown));
        if (grown == NULL)
            return NULL;
        if (n > 0)
            memcpy(grown, *array, n * sizeof(*grown));
        *array = grown;
    }
    void *message = new_message(arena, shape);
    if (message != NULL)
        (*array)[(*count)++] = message;
    return message;
}

static void take_value(const struct cbt_unpack_row *row, const struct cbt_field *field, uint8_t *message)
{
    void *member = message + row->offset;
    switch (row->kind) {
    case CBT_UNPACK_BYTES:
        /* protobuf-c's structure is not const; what it points to is never written. */
        *(ProtobufCBinaryData *)member =
            (ProtobufCBinaryData){field->bytes.len, (uint8_t *)(uintptr_t)field->bytes.data};
        break;
    case CBT_UNPACK_64BIT:
        *(uint64_t *)member = field->varint;
        break;
    case CBT_UNPACK_32BIT:
        *(uint32_t *)member = (uint32_t)field->varint;
        break;
    default:
        *(protobuf_c_boolean *)member = field->varint != 0;
    }
    if (row->quantifier != 0)
        *(protobuf_c_boolean *)(void *)(message + row->quantifier) = 1;
}

static int unpack_fields(struct cbt_arena *arena, const struct cbt_unpack_shape *shape,
                         struct cbt_text payload, uint8_t *message, uint32_t *seen)
{
    struct cbt_wire wire = cbt_wire_of(payload);
    struct cbt_field field;
    uint32_t inside = 0, here = 0;
    int rc;
    while ((rc = cbt_wire_next(&wire, &field)) > 0) {
        if (field.number >= CBT_UNPACK_NUMBERS)
            continue;
        const struct cbt_unpack_row *row = &shape->rows[field.number];
        if (row->kind == CBT_UNPACK_UNKNOWN)
            continue;
        if (field.type != row->wire)
            return CBT_EINVAL;
        here |= UINT32_C(1) << field.number;
        if (row->kind < CBT_UNPACK_MESSAGE)
            take_value(row, &field, message);
        else if ((rc = cbt_unpack(arena, row, field.bytes, message, &inside)) != CBT_OK)
            return rc;
    }
    *seen |= here;
    return rc == 0 ? CBT_OK : CBT_EINVAL;
}

int cbt_unpack(struct cbt_arena *arena, const struct cbt_unpack_row *row, struct cbt_text payload,
               void *parent, uint32_t *seen)
{
    const struct cbt_unpack_shape *shape = &shapes[row->shape];
    void **member = (void **)(void *)((uint8_t *)parent + row->offset);
    void *message;
    if (row->kind == CBT_UNPACK_MESSAGES)
        message =
            append(arena, shape, (void ***)member, (size_t *)(void *)((uint8_t *)parent + row->quantifier));
    else
        message = *member != NULL ? *member : (*member = new_message(arena, shape));
    return message != NULL ? unpack_fields(arena, shape, payload, message, seen) : CBT_ELIMIT;
}
