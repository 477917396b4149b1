/* SPDX-License-Identifier: MIT */
/*
 * How libFuzzer changes records: one field, at any depth, and the lengths around it with it, since a change
 * that is blind to lengths mostly breaks the wire at once. A quarter of the changes are blind all the same.
 */
#include <string.h>

#include "decode/wire.h"
#include "fuzz.h"

#define OPTION_BYTES 3u
#define FIELDS_MAX   256u
#define DEPTH_MAX    4u
#define VARINT_BYTES 10u

/* libFuzzer's: its own mutation, and the hook. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static uint32_t random_state;

static uint32_t below(uint32_t limit)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % limit;
}

struct out {
    uint8_t *data;
    size_t len, max;
    bool full;
};

static void put(struct out *out, const void *bytes, size_t len)
{
    out->full |= len > out->max - out->len;
    if (out->full || len == 0)
        return;
    memcpy(out->data + out->len, bytes, len);
    out->len += len;
}

static void put_varint(struct out *out, uint64_t value)
{
    uint8_t bytes[VARINT_BYTES];
    size_t len = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[len++] = (uint8_t)(value | 0x80);
    bytes[len++] = (uint8_t)value;
    put(out, bytes, len);
}

static bool is_message(struct cbt_text payload)
{
    struct cbt_wire wire = cbt_wire_of(payload);
    struct cbt_field field;
    int rc;
    while ((rc = cbt_wire_next(&wire, &field)) > 0)
        if (field.number == 0)
            return false;
    return rc == 0 && payload.len > 0;
}

static void change_message(struct out *out, struct cbt_text message, unsigned depth);

/* A length-delimited field with another payload. */
static void change_payload(struct out *out, const struct cbt_field *field, unsigned depth)
{
    size_t max = field->bytes.len + 1024;
    struct out payload = {.data = malloc(max), .max = max};
    FUZZ_CHECK(payload.data != NULL, "out of memory");
    if (depth < DEPTH_MAX && is_message(field->bytes) && below(8) != 0) {
        change_message(&payload, field->bytes, depth + 1);
    } else {
        put(&payload, field->bytes.data, field->bytes.len);
        payload.len = LLVMFuzzerMutate(payload.data, payload.len, max);
    }
    put_varint(out, (uint64_t)field->number << 3 | CBT_WIRE_LEN);
    put_varint(out, payload.len);
    put(out, payload.data, payload.len);
    free(payload.data);
}

static void change_number(struct out *out, const struct cbt_field *field)
{
    uint64_t value = field->varint;
    switch (below(4)) {
    case 0:
        value = UINT64_C(1) << below(64);
        break;
    case 1:
        value = UINT64_MAX << below(64);
        break;
    case 2:
        value += below(9) - UINT64_C(4);
        break;
    default:
        value = below(32);
    }
    put_varint(out, (uint64_t)field->number << 3 | CBT_WIRE_VARINT);
    put_varint(out, value);
}

static void change_field(struct out *out, const struct cbt_field *field, const uint8_t *whole, size_t len,
                         unsigned depth)
{
    switch (below(8)) {
    case 0: /* none */
        return;
    case 1: /* twice */
        put(out, whole, len);
        put(out, whole, len);
        return;
    case 2: /* of another number: of the same type, or not */
        put_varint(out, (uint64_t)(1 + below(30)) << 3 | (uint64_t)field->type);
        for (size_t i = 0, tag = 1; i < len; i++) {
            if (!tag)
                put(out, whole + i, 1);
            tag = tag && whole[i] >= 0x80;
        }
        return;
    default:
        if (field->type == CBT_WIRE_LEN)
            change_payload(out, field, depth);
        else if (field->type == CBT_WIRE_VARINT)
            change_number(out, field);
        else
            put(out, whole, len);
    }
}

/* Writes the message with one of its fields changed. */
static void change_message(struct out *out, struct cbt_text message, unsigned depth)
{
    struct cbt_wire wire = cbt_wire_of(message);
    struct cbt_field field;
    uint32_t count = 0;
    while (count < FIELDS_MAX && cbt_wire_next(&wire, &field) > 0)
        count++;
    uint32_t chosen = count > 0 ? below(count) : 0;
    wire = cbt_wire_of(message);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *whole = wire.pos;
        (void)cbt_wire_next(&wire, &field);
        if (i == chosen)
            change_field(out, &field, whole, (size_t)(wire.pos - whole), depth);
        else
            put(out, whole, (size_t)(wire.pos - whole));
    }
    if (wire.pos < wire.end)
        put(out, wire.pos, (size_t)(wire.end - wire.pos));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    random_state = seed;
    if (size <= OPTION_BYTES || below(4) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    struct out out = {.data = malloc(max_size), .max = max_size};
    FUZZ_CHECK(out.data != NULL, "out of memory");
    put(&out, data, OPTION_BYTES);
    change_message(&out, (struct cbt_text){data + OPTION_BYTES, size - OPTION_BYTES}, 0);
    size_t len = out.len;
    if (!out.full)
        memcpy(data, out.data, len);
    free(out.data);
    return out.full ? LLVMFuzzerMutate(data, size, max_size) : len;
}
