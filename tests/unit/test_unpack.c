/* SPDX-License-Identifier: MIT */
/* The unpacker beside protobuf-c's own, on random messages of every shape. */
#include "fixture.h"
#include "pb_build.h"

#include "decode/unpack.h"
#include "decode/wire.h"
#include "sensor_events.pb-c.h"

#define ROUNDS 20000

static struct cbt_arena arena;

static int make_arena(void **state)
{
    (void)state;
    struct cbt_err err;
    return cbt_arena_init(&arena, 1 << 22, &err);
}

static int free_arena(void **state)
{
    (void)state;
    cbt_arena_free(&arena);
    return 0;
}

static uint64_t rng_state = 88172645463325252u;
static uint64_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state;
}
static uint64_t below(uint64_t n)
{
    return n > 0 ? rng() % n : 0;
}

/* Of any length, at times longer than it need be. */
static void put_value(struct pb *pb, uint64_t value, bool may_pad)
{
    size_t begin = pb->len;
    pb_varint(pb, value);
    for (unsigned pad = may_pad ? (unsigned)below(3) : 0; pad > 0 && pb->len - begin < 10; pad--) {
        pb->data[pb->len - 1] |= 0x80;
        pb_byte(pb, 0);
    }
}

static uint64_t any_value(void)
{
    return below(4) == 0 ? below(3) : rng() >> below(64);
}

static void put_unknown(struct pb *pb)
{
    unsigned number = 40 + (unsigned)below(300);
    switch (below(4)) {
    case 0:
        pb_number(pb, number, any_value());
        break;
    case 1:
        pb_bytes(pb, number, "unknown", below(8));
        break;
    case 2:
        pb_varint(pb, number << 3 | 1);
        pb_raw(pb, "12345678", 8);
        break;
    default:
        pb_varint(pb, number << 3 | 5);
        pb_raw(pb, "1234", 4);
    }
}

/*
 * A message of that shape into `pb`, and the same without unknown fields into `known`. No singular
 * sub-message comes twice: protobuf-c would merge those wrongly (test_decode.c has them).
 */
static void put_message(struct pb *pb, struct pb *known, const ProtobufCMessageDescriptor *descriptor)
{
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        bool is_message = field->type == PROTOBUF_C_TYPE_MESSAGE;
        unsigned times = field->label == PROTOBUF_C_LABEL_REQUIRED ? 1 : (unsigned)below(3);
        if (is_message && field->label != PROTOBUF_C_LABEL_REPEATED && times > 1)
            times = 0;
        for (; times > 0; times--) {
            struct pb sub = {0}, known_sub = {0};
            if (below(6) == 0)
                put_unknown(pb);
            if (is_message) {
                put_message(&sub, &known_sub, field->descriptor);
                pb_message(pb, field->id, &sub);
                pb_message(known, field->id, &known_sub);
            } else if (field->type == PROTOBUF_C_TYPE_BYTES) {
                char text[200];
                size_t len = below(8) == 0 ? 0 : below(sizeof(text));
                memset(text, (int)('a' + below(26)), sizeof(text));
                pb_bytes(pb, field->id, text, len);
                pb_bytes(known, field->id, text, len);
            } else {
                uint64_t value = any_value();
                pb_varint(pb, field->id << 3);
                put_value(pb, value, true);
                pb_number(known, field->id, value);
            }
            pb_free(&sub);
            pb_free(&known_sub);
        }
    }
}

/* A copy behind which nothing may be read. */
static struct cbt_text exact(const struct pb *pb)
{
    uint8_t *copy = malloc(pb->len > 0 ? pb->len : 1);
    assert_non_null(copy);
    if (pb->len > 0)
        memcpy(copy, pb->data, pb->len);
    return (struct cbt_text){copy, pb->len};
}

static int unpack_event(struct cbt_text payload, CbEventMsg **ret_event)
{
    const struct cbt_unpack_row whole = {.kind = CBT_UNPACK_MESSAGE};
    uint32_t seen = 0;
    cbt_arena_reset(&arena);
    cbt_unpack_shapes();
    *ret_event = NULL;
    return cbt_unpack(&arena, &whole, payload, ret_event, &seen);
}

static void every_message_is_what_protobuf_c_makes_of_it(void **state)
{
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct pb pb = {0}, known = {0};
        CbEventMsg *event;
        put_message(&pb, &known, &cb_event_msg__descriptor);
        struct cbt_text payload = exact(&pb);
        CbEventMsg *expected = cb_event_msg__unpack(NULL, known.len, known.data);
        assert_non_null(expected);
        assert_int_equal(unpack_event(payload, &event), CBT_OK);
        size_t len = cb_event_msg__get_packed_size(expected);
        assert_int_equal(cb_event_msg__get_packed_size(event), len);
        uint8_t *packed = malloc(2 * len);
        assert_non_null(packed);
        assert_int_equal(cb_event_msg__pack(expected, packed), len);
        assert_int_equal(cb_event_msg__pack(event, packed + len), len);
        assert_memory_equal(packed, packed + len, len);
        free(packed);
        cb_event_msg__free_unpacked(expected, NULL);
        free((void *)(uintptr_t)payload.data);
        pb_free(&pb);
        pb_free(&known);
    }
}

/* Changed and cut off anywhere, an event is taken only where protobuf-c takes it too. */
static void what_protobuf_c_refuses_is_refused(void **state)
{
    (void)state;
    struct cbt_decoder *decoder;
    struct cbt_err err;
    unsigned taken = 0;
    assert_int_equal(cbt_decoder_new(&decoder, &fixture_limits, &err), CBT_OK);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct pb pb = {0}, known = {0};
        struct cbt_event event;
        enum cbt_dead_reason reason;
        put_message(&pb, &known, &cb_event_msg__descriptor);
        for (unsigned changes = (unsigned)below(3); changes > 0 && pb.data != NULL; changes--)
            pb.data[below(pb.len)] = (uint8_t)rng();
        if (below(4) == 0)
            pb.len = below(pb.len);
        struct cbt_text payload = exact(&pb);
        CbEventMsg *other = cb_event_msg__unpack(NULL, payload.len, payload.data);
        if (cbt_decode_event(decoder, payload, NULL, &event, &reason, &err) == CBT_OK) {
            assert_non_null(other);
            taken++;
        }
        if (other != NULL)
            cb_event_msg__free_unpacked(other, NULL);
        free((void *)(uintptr_t)payload.data);
        pb_free(&pb);
        pb_free(&known);
    }
    assert_true(taken > ROUNDS / 10 && taken < ROUNDS * 9 / 10);
    cbt_decoder_free(decoder);
}

static void values_of_every_length_are_read_wherever_they_end(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits <= 64; bits++) {
        for (unsigned behind = 0; behind < 12; behind++) {
            uint64_t value = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - (bits % 2);
            struct pb pb = {0};
            struct cbt_field field = {0};
            pb_number(&pb, 5, value);
            size_t len = pb.len;
            for (unsigned i = 0; i < behind; i++)
                pb_byte(&pb, 0xFF);
            struct cbt_text text = exact(&pb);
            struct cbt_wire wire = cbt_wire_of(text);
            assert_int_equal(cbt_wire_next(&wire, &field), 1);
            assert_true(field.varint == value);
            assert_ptr_equal(wire.pos, text.data + len);
            free((void *)(uintptr_t)text.data);
            pb_free(&pb);
        }
    }
}

static void varint_of_eleven_bytes_or_cut_off_is_malformed(void **state)
{
    (void)state;
    for (unsigned len = 0; len <= 12; len++) {
        struct pb pb = {0};
        struct cbt_field field;
        pb_byte(&pb, 5 << 3);
        for (unsigned i = 0; i < len; i++)
            pb_byte(&pb, 0x80);
        struct cbt_text text = exact(&pb);
        struct cbt_wire wire = cbt_wire_of(text);
        assert_int_equal(cbt_wire_next(&wire, &field), -1);
        free((void *)(uintptr_t)text.data);
        pb_free(&pb);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_is_what_protobuf_c_makes_of_it),
        cmocka_unit_test(what_protobuf_c_refuses_is_refused),
        cmocka_unit_test(values_of_every_length_are_read_wherever_they_end),
        cmocka_unit_test(varint_of_eleven_bytes_or_cut_off_is_malformed),
    };
    return cmocka_run_group_tests(tests, make_arena, free_arena);
}
