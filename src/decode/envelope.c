/* SPDX-License-Identifier: MIT */
/*
 * One record to one event: protobuf-c decodes each member into the arena, which is reset for the next.
 *
 * Happy path: a scan of the top level says which members there are; each is unpacked by itself, so that
 * protobuf-c neither scans twice nor merges. Failure: CBT_EINVAL for what does not parse (malformed) or has
 * no header (no_header), CBT_ELIMIT for what outgrows the arena or has too many strings (too_complex). Owns:
 * the arena.
 */
#include <stdlib.h>

#include "decode/decoder.h"
#include "sensor_events.pb-c.h"

/* Real records have a handful; each is looked at for each path. */
#define STRINGS_MAX 65536u

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
    cbt_members_init(decoder->members);
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

/* protobuf-c has refused the header: for want of the version that it requires, or is it malformed? */
static bool header_lacks_version(struct cbt_text header)
{
    struct cbt_wire wire = cbt_wire_of(header);
    struct cbt_field field;
    int rc;
    while ((rc = cbt_wire_next(&wire, &field)) > 0)
        if (field.number == 1)
            return false;
    return rc == 0;
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

/* What came of joining a member's occurrences, in the words of this file. */
static int not_joined(const struct cbt_decoder *decoder, unsigned number, int rc,
                      enum cbt_dead_reason *ret_reason, struct cbt_err *err)
{
    return rc == CBT_ELIMIT ? too_complex(decoder, ret_reason, err)
                            : malformed(decoder->members[number].name, ret_reason, err);
}

static int unpack_member(struct cbt_decoder *decoder, unsigned number, struct cbt_text payload,
                         void *ret_member, enum cbt_dead_reason *ret_reason, struct cbt_err *err)
{
    const struct cbt_member_row *row = &decoder->members[number];
    if (row->singular != 0) {
        int repeats = cbt_member_repeats(row, payload);
        if (repeats < 0)
            return malformed(row->name, ret_reason, err);
        int rc = repeats > 0 ? cbt_member_flatten(&decoder->arena, row, &payload) : CBT_OK;
        if (rc != 0)
            return not_joined(decoder, number, rc, ret_reason, err);
    }
    void *member =
        protobuf_c_message_unpack(row->descriptor, &decoder->arena.allocator, payload.len, payload.data);
    const ProtobufCMessage *base = member;
    if (base != NULL && (base->n_unknown_fields == 0 || cbt_wire_sound(payload))) {
        memcpy(ret_member, &member, sizeof(member));
        return CBT_OK;
    }
    if (decoder->arena.exhausted)
        return too_complex(decoder, ret_reason, err);
    if (number == CBT_MEMBER_header && header_lacks_version(payload))
        return no_header("header.version", ret_reason, err);
    return malformed(row->name, ret_reason, err);
}

static int unpack_strings(struct cbt_decoder *decoder, struct cbt_text record, uint32_t count,
                          CbEventMsg *msg, enum cbt_dead_reason *ret_reason, struct cbt_err *err)
{
    if (count > STRINGS_MAX) {
        *ret_reason = CBT_DEAD_too_complex;
        return cbt_err_set(err, CBT_ELIMIT, "the record has %u strings, more than %u", count, STRINGS_MAX);
    }
    msg->strings = cbt_arena_alloc(&decoder->arena, count * sizeof(CbStringMsg *));
    if (msg->strings == NULL)
        return too_complex(decoder, ret_reason, err);
    struct cbt_wire wire = cbt_wire_of(record);
    struct cbt_field field;
    while (msg->n_strings < count && cbt_wire_next(&wire, &field) > 0) {
        if (field.number != CBT_MEMBER_strings)
            continue;
        int rc = unpack_member(decoder, CBT_MEMBER_strings, field.bytes, &msg->strings[msg->n_strings],
                               ret_reason, err);
        if (rc != 0)
            return rc;
        msg->n_strings++;
    }
    return CBT_OK;
}

/* All members of the record into a CbEventMsg, but `env`: that is read where it lies, over the frame's. */
static int unpack(struct cbt_decoder *decoder, struct cbt_text record, const struct cbt_record_scan *scan,
                  CbEventMsg *msg, struct cbt_environment *env, enum cbt_dead_reason *ret_reason,
                  struct cbt_err *err)
{
    uint32_t left = scan->present;
    while (left != 0) {
        unsigned number = (unsigned)__builtin_ctz(left);
        left &= left - 1;
        int rc;
        if (number == CBT_MEMBER_strings) {
            rc = unpack_strings(decoder, record, scan->strings, msg, ret_reason, err);
        } else {
            struct cbt_text payload = scan->payload[number];
            rc = CBT_OK;
            if ((scan->repeated & CBT_MEMBER_BIT(number)) != 0)
                rc = cbt_member_join(&decoder->arena, record, number, &payload);
            if (rc != 0)
                rc = not_joined(decoder, number, rc, ret_reason, err);
            else if (number == CBT_MEMBER_env)
                rc = read_env(env, payload) ? CBT_OK : malformed("env", ret_reason, err);
            else
                rc = unpack_member(decoder, number, payload, (uint8_t *)msg + decoder->members[number].offset,
                                   ret_reason, err);
        }
        if (rc != 0)
            return rc;
    }
    return msg->header != NULL ? CBT_OK : no_header("header", ret_reason, err);
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
    struct cbt_record_scan scan;
    cbt_arena_reset(&decoder->arena);
    if (!cbt_record_scan(record, &scan))
        return malformed("top level", ret_reason, err);
    CbEventMsg *msg = cbt_arena_alloc(&decoder->arena, sizeof(*msg));
    if (msg == NULL)
        return too_complex(decoder, ret_reason, err);
    cb_event_msg__init(msg);
    struct cbt_environment env = {0};
    if (frame_env != NULL)
        env = *frame_env;
    int rc = unpack(decoder, record, &scan, msg, &env, ret_reason, err);
    if (rc != 0)
        return rc;
    enum cbt_event_type type = cbt_record_type(scan.present, record);
    *ret_event = (struct cbt_event){.type = type,
                                    .type_name = type_names[type].type,
                                    .event_type_name = type_names[type].event_type,
                                    .env = env,
                                    .msg = msg,
                                    .raw = record,
                                    .unix_ms = unix_ms(msg->header->timestamp),
                                    .arena = &decoder->arena};
    return CBT_OK;
}
