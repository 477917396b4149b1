/* SPDX-License-Identifier: MIT */
/*
 * One record to one event, in the arena, which is reset for the next.
 *
 * Happy path: the record is copied into the arena, where all texts of the event then lie (with the slack that
 * encoders read behind them), and each member of the top level is unpacked as it comes. Failure: CBT_EINVAL
 * for what does not parse (malformed) or has no header (no_header), CBT_ELIMIT for what outgrows the arena or
 * has too many strings (too_complex). Owns: the arena.
 */
#include <stdlib.h>

#include "decode/decoder.h"
#include "decode/record.h"
#include "decode/unpack.h"
#include "sensor_events.pb-c.h"

#define HEADER_VERSION 1 /* required, as is the header */

int cbt_decoder_new(struct cbt_decoder **ret_decoder, const struct cbt_decode_limits *limits,
                    struct cbt_err *err)
{
    struct cbt_decoder *decoder = calloc(1, sizeof(*decoder));
    if (decoder == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a decoder");
    int rc = cbt_arena_init(&decoder->arena, limits->arena_max_bytes, err);
    if (rc != 0) {
        free(decoder);
        return rc;
    }
    decoder->record_max_bytes = limits->record_max_bytes;
    decoder->members = cbt_unpack_shapes()->rows;
    *ret_decoder = decoder;
    return CBT_OK;
}

void cbt_decoder_free(struct cbt_decoder *decoder)
{
    if (decoder == NULL)
        return;
    cbt_arena_free(&decoder->arena);
    free(decoder);
}

size_t cbt_decoder_held_bytes(const struct cbt_decoder *decoder)
{
    return cbt_arena_held_bytes(&decoder->arena);
}

void cbt_decoder_stop(struct cbt_decoder *decoder)
{
    cbt_arena_reset(&decoder->arena);
}

static int too_complex(const struct cbt_decoder *decoder, enum cbt_dead_reason *ret_reason,
                       struct cbt_err *err)
{
    *ret_reason = CBT_DEAD_too_complex;
    if (!decoder->arena.exhausted)
        return cbt_err_set(err, CBT_ELIMIT, "the record repeats a sub-message more than %u times",
                           CBT_UNPACK_REPEATS_MAX);
    return cbt_err_set(err, CBT_ELIMIT, "the record needs more than decode.arena_max_bytes (%zu) to decode",
                       decoder->arena.capacity);
}

static int malformed(const char *member, enum cbt_dead_reason *ret_reason, struct cbt_err *err)
{
    *ret_reason = CBT_DEAD_malformed;
    return cbt_err_set(err, CBT_EINVAL, "the record's %s does not parse as protobuf", member);
}

static int no_header(const char *what, enum cbt_dead_reason *ret_reason, struct cbt_err *err)
{
    *ret_reason = CBT_DEAD_no_header;
    return cbt_err_set(err, CBT_EINVAL, "the record has no %s", what);
}

/* One level of `env`, over what is there; the last of several counts, field by field, which is what merging
 * gives. False where it is malformed. */
static bool read_endpoint(struct cbt_environment *env, struct cbt_text endpoint)
{
    struct cbt_wire wire = cbt_wire_of(endpoint);
    struct cbt_field field;
    int rc;
    while ((rc = cbt_wire_next(&wire, &field)) > 0) {
        if (field.number < 1 || field.number > 3)
            continue;
        if (field.type != (field.number == 2 ? CBT_WIRE_LEN : CBT_WIRE_VARINT))
            return false;
        if (field.number == 1) {
            env->sensor_id = (int32_t)(uint32_t)field.varint;
            env->has_sensor_id = true;
        } else if (field.number == 2) {
            env->host_name = field.bytes;
            env->has_host_name = true;
        } else {
            env->host_id = (int64_t)field.varint;
            env->has_host_id = true;
        }
    }
    return rc == 0;
}

static bool read_server(struct cbt_environment *env, struct cbt_text server)
{
    struct cbt_wire wire = cbt_wire_of(server);
    struct cbt_field field;
    int rc;
    while ((rc = cbt_wire_next(&wire, &field)) > 0) {
        if (field.number != 1)
            continue;
        if (field.type != CBT_WIRE_VARINT)
            return false;
        env->node_id = (int32_t)(uint32_t)field.varint;
        env->has_node_id = true;
    }
    return rc == 0;
}

static bool read_env(struct cbt_environment *env, struct cbt_text own)
{
    struct cbt_wire wire = cbt_wire_of(own);
    struct cbt_field field;
    int rc;
    while ((rc = cbt_wire_next(&wire, &field)) > 0) {
        if (field.number != 1 && field.number != 2)
            continue;
        if (field.type != CBT_WIRE_LEN ||
            !(field.number == 1 ? read_endpoint(env, field.bytes) : read_server(env, field.bytes)))
            return false;
    }
    return rc == 0;
}

static int unpack_member(struct cbt_decoder *decoder, const struct cbt_field *field, CbEventMsg *msg,
                         uint32_t *seen, enum cbt_dead_reason *ret_reason, struct cbt_err *err)
{
    int rc = cbt_unpack(&decoder->arena, &decoder->members[field->number], field->bytes, msg, seen);
    if (rc == CBT_OK)
        return rc;
    if (rc == CBT_ELIMIT)
        return too_complex(decoder, ret_reason, err);
    return malformed(protobuf_c_message_descriptor_get_field(msg->base.descriptor, field->number)->name,
                     ret_reason, err);
}

/* All members of the record into a CbEventMsg, but `env`: that is read where it lies, over the frame's. */
static int unpack(struct cbt_decoder *decoder, struct cbt_text record, CbEventMsg *msg,
                  struct cbt_environment *env, uint32_t *ret_present, enum cbt_dead_reason *ret_reason,
                  struct cbt_err *err)
{
    struct cbt_wire wire = cbt_wire_of(record);
    struct cbt_field field;
    uint32_t present = 0, in_header = 0, elsewhere = 0;
    int rc, failed;
    while ((rc = cbt_wire_next(&wire, &field)) > 0) {
        if (field.number >= CBT_MEMBERS)
            continue;
        if (field.type != CBT_WIRE_LEN)
            return malformed("top level", ret_reason, err);
        present |= CBT_MEMBER_BIT(field.number);
        if (field.number == CBT_MEMBER_env)
            failed = read_env(env, field.bytes) ? CBT_OK : malformed("env", ret_reason, err);
        else
            failed =
                unpack_member(decoder, &field, msg,
                              field.number == CBT_MEMBER_header ? &in_header : &elsewhere, ret_reason, err);
        if (failed != CBT_OK)
            return failed;
    }
    if (rc < 0)
        return malformed("top level", ret_reason, err);
    if (msg->header == NULL)
        return no_header("header", ret_reason, err);
    if ((in_header & UINT32_C(1) << HEADER_VERSION) == 0)
        return no_header("header.version", ret_reason, err);
    *ret_present = present;
    return CBT_OK;
}

static const struct {
    struct cbt_text type, event_type;
} type_names[] = {
#define TEXT(literal)                                                                                        \
    {                                                                                                        \
        (const uint8_t *)(literal), sizeof(literal) - 1                                                      \
    }
#define CBT_EVENT_TYPE(id, name, event_type) {TEXT("ingress.event." name), TEXT(event_type)},
#include "cbtap/event_types.def"
#undef TEXT
};

/* Windows FILETIME (100 ns since 1601) to Unix milliseconds, rounded down; 0 stays 0. */
static int64_t unix_ms(int64_t filetime)
{
    if (filetime == 0)
        return 0;
    int64_t ms = filetime / 10000 - (filetime % 10000 < 0);
    return ms - INT64_C(11644473600000);
}

int cbt_decode_event(struct cbt_decoder *decoder, struct cbt_text record,
                     const struct cbt_environment *frame_env, struct cbt_event *ret_event,
                     enum cbt_dead_reason *ret_reason, struct cbt_err *err)
{
    struct cbt_arena *arena = &decoder->arena;
    cbt_arena_reset(arena);
    CbEventMsg *msg = cbt_arena_alloc(arena, sizeof(*msg));
    uint8_t *copy = cbt_arena_alloc(arena, record.len);
    if (msg == NULL || copy == NULL)
        return too_complex(decoder, ret_reason, err);
    cb_event_msg__init(msg);
    if (record.len > 0)
        memcpy(copy, record.data, record.len);
    struct cbt_environment env = {0};
    if (frame_env != NULL)
        env = *frame_env;
    uint32_t present = 0;
    int rc = unpack(decoder, (struct cbt_text){copy, record.len}, msg, &env, &present, ret_reason, err);
    if (rc != 0)
        return rc;
    enum cbt_event_type type = cbt_record_type(present, record);
    *ret_event = (struct cbt_event){.type = type,
                                    .type_name = type_names[type].type,
                                    .event_type_name = type_names[type].event_type,
                                    .env = env,
                                    .msg = msg,
                                    .raw = record,
                                    .unix_ms = unix_ms(msg->header->timestamp),
                                    .arena = arena};
    return CBT_OK;
}
