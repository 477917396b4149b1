/* SPDX-License-Identifier: MIT */
/* One record to one event: types, environment, reasons, limits, and repeated members. */
#include "fixture.h"
#include "pb_build.h"

#include "sensor_events.pb-c.h"

static struct cbt_decoder *decoder_new(size_t arena_max_bytes)
{
    struct cbt_decode_limits limits = fixture_limits;
    struct cbt_decoder *decoder = NULL;
    struct cbt_err err;
    limits.arena_max_bytes = arena_max_bytes;
    assert_int_equal(cbt_decoder_new(&decoder, &limits, &err), 0);
    return decoder;
}

static void expect_event(struct cbt_decoder *decoder, const struct pb *record, struct cbt_event *ret_event)
{
    struct cbt_err err = {0};
    enum cbt_dead_reason reason = CBT_DEAD_COUNT;
    if (cbt_decode_event(decoder, pb_text(record), NULL, ret_event, &reason, &err) != 0)
        fail_msg("not decoded: %s (%s)", err.text, cbt_dead_reason_name(reason));
    assert_int_equal(cbt_peek_type(pb_text(record)), ret_event->type);
    assert_int_equal(ret_event->raw.len, record->len);
}

static void expect_dead(struct cbt_decoder *decoder, struct cbt_text record, enum cbt_dead_reason reason)
{
    struct cbt_err err = {0};
    struct cbt_event event;
    enum cbt_dead_reason is = CBT_DEAD_COUNT;
    int rc = cbt_decode_event(decoder, record, NULL, &event, &is, &err);
    if (rc == 0 || is != reason)
        fail_msg("rc %d, reason %s, expected %s", rc, cbt_dead_reason_name(is), cbt_dead_reason_name(reason));
    assert_int_equal(rc, reason == CBT_DEAD_too_complex ? CBT_ELIMIT : CBT_EINVAL);
    assert_true(err.text[0] != '\0');
}

/* --- types --- */

struct type_row {
    unsigned member;
    enum cbt_event_type type;
    const char *payload;
    size_t len;
};

/* In the order that counts. */
static const struct type_row types[] = {
    {3, CBT_TYPE_procend, "", 0},
    {4, CBT_TYPE_moduleload, "", 0},
    {5, CBT_TYPE_filemod, "", 0},
    {20, CBT_TYPE_netconn, "", 0},
    {6, CBT_TYPE_netconn, "", 0},
    {7, CBT_TYPE_regmod, "", 0},
    {12, CBT_TYPE_childproc, "", 0},
    {14, CBT_TYPE_crossprocopen, "\x0A\0", 2},
    {17, CBT_TYPE_emetmitigation, "", 0},
    {23, CBT_TYPE_filelessscriptload, "", 0},
    {24, CBT_TYPE_filebackedscriptload, "", 0},
    {21, CBT_TYPE_netconnblocked, "", 0},
    {18, CBT_TYPE_netconnblocked, "", 0},
    {15, CBT_TYPE_tamper, "", 0},
    {16, CBT_TYPE_processblock, "", 0},
    {9, CBT_TYPE_module, "", 0},
    {10, CBT_TYPE_vtwrite, "", 0},
    {11, CBT_TYPE_vtload, "", 0},
    {19, CBT_TYPE_processmeta, "", 0},
    {8, CBT_TYPE_stats, "", 0},
    {22, CBT_TYPE_unknown, "", 0},
};
#define TYPES (sizeof(types) / sizeof(types[0]))

static void type_is_that_of_the_first_member_in_the_order_that_counts(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(1 << 20);
    for (size_t i = 0; i < TYPES; i++) {
        for (size_t k = i; k < TYPES; k++) {
            struct pb record = {0};
            struct cbt_event event;
            /* The later one in the order comes first on the wire. */
            if (k != i)
                pb_bytes(&record, types[k].member, types[k].payload, types[k].len);
            pb_header(&record, 1);
            pb_bytes(&record, types[i].member, types[i].payload, types[i].len);
            expect_event(decoder, &record, &event);
            if (event.type != types[i].type)
                fail_msg("member %u with %u: type %s", types[i].member, types[k].member,
                         cbt_event_type_name(event.type));
            char name[64];
            snprintf(name, sizeof(name), "ingress.event.%s", cbt_event_type_name(event.type));
            assert_int_equal(event.type_name.len, strlen(name));
            assert_memory_equal(event.type_name.data, name, strlen(name));
            pb_free(&record);
        }
    }
    cbt_decoder_free(decoder);
}

static enum cbt_event_type type_with(struct cbt_decoder *decoder, unsigned member, const char *payload,
                                     size_t len)
{
    struct pb record = {0};
    struct cbt_event event;
    pb_header(&record, 1);
    pb_bytes(&record, member, payload, len);
    expect_event(decoder, &record, &event);
    pb_free(&record);
    return event.type;
}

static void process_and_crossproc_are_told_by_what_is_inside(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(1 << 20);
    assert_int_equal(type_with(decoder, 3, "\x10\1", 2), CBT_TYPE_procstart);
    assert_int_equal(type_with(decoder, 3, "\x10\0", 2), CBT_TYPE_procend);
    assert_int_equal(type_with(decoder, 3, "\x10\1\x10\0", 4), CBT_TYPE_procend);
    assert_int_equal(type_with(decoder, 3, "\x10\x80\x80\x01", 4), CBT_TYPE_procstart);
    assert_int_equal(type_with(decoder, 14, "", 0), CBT_TYPE_unknown);
    assert_int_equal(type_with(decoder, 14, "\x18\1", 2), CBT_TYPE_unknown);
    assert_int_equal(type_with(decoder, 14, "\x12\0", 2), CBT_TYPE_remotethread);
    assert_int_equal(type_with(decoder, 14, "\x12\0\x0A\0", 4), CBT_TYPE_crossprocopen);
    cbt_decoder_free(decoder);
}

static void unknown_record_keeps_its_header_and_raw_bytes(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(1 << 20);
    struct pb record = {0};
    struct cbt_event event;
    pb_header(&record, 130921702131467731);
    pb_str(&record, 99, "a member of the future");
    expect_event(decoder, &record, &event);
    assert_int_equal(event.type, CBT_TYPE_unknown);
    assert_int_equal(event.msg->header->timestamp, 130921702131467731);
    assert_int_equal(event.unix_ms, 1447696613146);
    assert_ptr_equal(event.raw.data, record.data);
    pb_free(&record);
    cbt_decoder_free(decoder);
}

/* --- reasons --- */

#define TEXT(literal) ((struct cbt_text){(const uint8_t *)(literal), sizeof(literal) - 1})

static void reasons_tell_malformed_from_no_header(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(1 << 20);
    expect_dead(decoder, TEXT(""), CBT_DEAD_no_header);
    expect_dead(decoder, TEXT("\x1A\0"), CBT_DEAD_no_header);             /* a process only */
    expect_dead(decoder, TEXT("\x0A\0"), CBT_DEAD_no_header);             /* an empty header */
    expect_dead(decoder, TEXT("\x0A\2\x20\1"), CBT_DEAD_no_header);       /* a header without version */
    expect_dead(decoder, TEXT("\x0A\2\x20\1\x0A\0"), CBT_DEAD_no_header); /* two of them */
    expect_dead(decoder, TEXT("\x0A\2\x08"), CBT_DEAD_malformed);         /* cut in the header */
    expect_dead(decoder, TEXT("\x0A\1\x08"), CBT_DEAD_malformed);         /* cut inside the header */
    expect_dead(decoder, TEXT("\x0A\2\x0D\4"), CBT_DEAD_malformed); /* version of another wire type, cut */
    expect_dead(decoder, TEXT("\x08\4"), CBT_DEAD_malformed);       /* the header is a number */
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x1A\2\x08"), CBT_DEAD_malformed);
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x1A\1\x08"), CBT_DEAD_malformed);
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x1B\x1C"), CBT_DEAD_malformed); /* a group */
    expect_dead(decoder, TEXT("\x0A\2\x08\4\xFF\xFF\xFF\xFF\xFF\xFF"), CBT_DEAD_malformed);
    expect_dead(decoder, TEXT("\x0A\xFF\xFF\xFF\xFF\x07\x08\4"), CBT_DEAD_malformed);
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x6A\3\x0A\2\x08"),
                CBT_DEAD_malformed);                                            /* cut in env's endpoint */
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x6A\2\x08\1"), CBT_DEAD_malformed); /* env's endpoint a number */
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x6A\4\x0A\2\x10\1"),
                CBT_DEAD_malformed); /* the host's name a number */
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x6A\4\x0A\2\x0A\0"),
                CBT_DEAD_malformed); /* the sensor's id a text */
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x6A\4\x12\2\x0A\0"),
                CBT_DEAD_malformed);                                                /* the node's id a text */
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x6A\3\x12\1\x08"), CBT_DEAD_malformed); /* cut in env's server */
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x6A\1\x0A"), CBT_DEAD_malformed);       /* cut in env */
    /* The numbers of parent_pid and of proxyIpAddress as text and as number: of another wire type. */
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x1A\2\x1A\0"), CBT_DEAD_malformed);
    expect_dead(decoder, TEXT("\x0A\2\x08\4\xA2\1\2\x28\1"), CBT_DEAD_malformed);
    expect_dead(decoder, TEXT("this is no protobuf"), CBT_DEAD_malformed);
    cbt_decoder_free(decoder);
}

/* Field numbers 0, and beyond 2^29 - 1 with the low bits of one that is known: what only the peek would see
 * would be missing from the message. */
static void field_number_that_protobuf_does_not_have_is_malformed(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(1 << 20);
    const struct cbt_text records[] = {
        TEXT("\x0A\2\x08\4\x80\0\0"),                             /* 0 at the top */
        TEXT("\x0A\5\x08\4\x80\0\0"),                             /* in the header */
        TEXT("\x0A\2\x08\4\x8A\x80\x80\x80\x10\2\x08\4"),         /* the header's at the top */
        TEXT("\x0A\2\x08\4\x72\6\x8A\x80\x80\x80\x10\0"),         /* open's in a crossproc */
        TEXT("\x0A\2\x08\4\x72\6\x92\x80\x80\x80\x40\0"),         /* remotethread's */
        TEXT("\x0A\2\x08\4\x1A\6\x90\x80\x80\x80\x10\1"),         /* created's in a process */
        TEXT("\x0A\2\x08\4\x6A\x08\x0A\6\x88\x80\x80\x80\x10\1"), /* the sensor id's in an env */
    };
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
        expect_dead(decoder, records[i], CBT_DEAD_malformed);
    int32_t sensor_id;
    assert_false(cbt_peek_sensor_id(records[6], (struct cbt_text){0}, CBT_FRAMING_EVENT, &sensor_id));
    cbt_decoder_free(decoder);
}

/* Joined, the pieces would read as one field: 7, that hides the `open` which the peek sees, or `open` itself.
 */
static void repeated_member_whose_pieces_are_broken_is_malformed(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(1 << 20);
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x72\2\x3A\2\x72\2\x0A\0"), CBT_DEAD_malformed);
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x72\1\x0A\x72\1\0"), CBT_DEAD_malformed);
    expect_dead(decoder, TEXT("\x0A\1\x08\x0A\1\4"), CBT_DEAD_malformed); /* the header */
    /* One level down: the pieces of crossproc's open, and of env's endpoint. */
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x72\6\x0A\1\x10\x0A\1\5"), CBT_DEAD_malformed);
    expect_dead(decoder, TEXT("\x0A\2\x08\4\x6A\6\x0A\1\x08\x0A\1\7"), CBT_DEAD_malformed);
    cbt_decoder_free(decoder);
}

static void record_cut_anywhere_never_crashes(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(1 << 20);
    struct pb record = {0}, member = {0}, sub = {0};
    pb_header(&record, 1447696613);
    pb_number(&sub, 1, 77);
    pb_str(&sub, 2, "c:\\windows\\system32\\lsass.exe");
    pb_message(&record, 2, &sub);
    pb_number(&sub, 2, 708);
    pb_str(&sub, 5, "path");
    pb_message(&member, 1, &sub);
    pb_message(&record, 14, &member);
    for (size_t cut = 0; cut <= record.len; cut++) {
        uint8_t *bytes = malloc(cut + 1);
        assert_non_null(bytes);
        memcpy(bytes, record.data, cut);
        struct cbt_event event;
        struct cbt_err err = {0};
        enum cbt_dead_reason reason;
        int rc = cbt_decode_event(decoder, (struct cbt_text){bytes, cut}, NULL, &event, &reason, &err);
        cbt_peek_type((struct cbt_text){bytes, cut});
        assert_true(rc == 0 || reason == CBT_DEAD_malformed || reason == CBT_DEAD_no_header);
        free(bytes);
    }
    pb_free(&record);
    pb_free(&member);
    pb_free(&sub);
    cbt_decoder_free(decoder);
}

static void record_that_outgrows_the_arena_is_too_complex_and_the_next_one_decodes(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(65536);
    struct pb large = {0}, small = {0}, member = {0};
    struct cbt_event event;
    uint8_t *path = calloc(1, 70000);
    assert_non_null(path);
    pb_header(&large, 1);
    pb_bytes(&member, 4, path, 70000);
    pb_message(&large, 7, &member);
    pb_header(&small, 1);
    expect_dead(decoder, pb_text(&large), CBT_DEAD_too_complex);
    expect_dead(decoder, text_of("\x0A\1\x08"), CBT_DEAD_malformed);
    expect_event(decoder, &small, &event);
    /* Unknown fields cost nothing but their bytes; strings cost more than they have. */
    large.len = 0;
    pb_header(&large, 1);
    for (unsigned i = 0; i < 3000; i++)
        pb_number(&member, 200, 1);
    pb_message(&large, 3, &member);
    expect_event(decoder, &large, &event);
    large.len = 0;
    pb_header(&large, 1);
    for (unsigned i = 0; i < 3000; i++)
        pb_message(&large, 2, &member);
    expect_dead(decoder, pb_text(&large), CBT_DEAD_too_complex);
    expect_event(decoder, &small, &event);
    cbt_decoder_free(decoder);
    decoder = decoder_new(32 << 20);
    expect_event(decoder, &large, &event);
    assert_int_equal(event.msg->n_strings, 3000);
    for (unsigned i = 0; i < 63000; i++)
        pb_message(&large, 2, &member);
    expect_dead(decoder, pb_text(&large), CBT_DEAD_too_complex);
    cbt_decoder_free(decoder);
    cbt_decoder_free(NULL);
    free(path);
    pb_free(&large);
    pb_free(&small);
    pb_free(&member);
}

/* 1 MiB of tiny `process` members, and as many of tiny `proxyIpAddress` in one networkv2: merged one by one
 * they take quadratic time and more memory than there is. */
static void repeated_members_cost_no_more_than_their_bytes(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(32 << 20);
    struct pb record = {0}, member = {0};
    struct cbt_event event;
    pb_header(&record, 1);
    for (unsigned i = 0; i < 1 << 17; i++)
        pb_bytes(&record, 3, "\x08\1\x10\1", 4);
    expect_event(decoder, &record, &event);
    assert_int_equal(event.type, CBT_TYPE_procstart);
    record.len = 0;
    pb_header(&record, 1);
    for (unsigned i = 0; i < 1 << 17; i++)
        pb_bytes(&member, 5, "\x10\7", 2);
    pb_message(&record, 20, &member);
    expect_event(decoder, &record, &event);
    assert_int_equal(event.msg->networkv2->proxyipaddress->ipv4address, 7);
    pb_free(&record);
    pb_free(&member);
    cbt_decoder_free(decoder);
}

/* --- merging --- */

static void expect_same_message(struct cbt_decoder *decoder, const struct pb *a, const struct pb *b)
{
    static uint8_t packed_a[4096], packed_b[4096];
    struct cbt_event event;
    expect_event(decoder, a, &event);
    assert_true(protobuf_c_message_get_packed_size(&event.msg->base) <= sizeof(packed_a));
    size_t len_a = protobuf_c_message_pack(&event.msg->base, packed_a);
    enum cbt_event_type type = event.type;
    struct cbt_environment env = event.env;
    char host[64] = "";
    snprintf(host, sizeof(host), "%.*s", (int)env.host_name.len, (const char *)env.host_name.data);
    expect_event(decoder, b, &event);
    assert_int_equal(event.type, type);
    assert_int_equal(event.env.has_sensor_id, env.has_sensor_id);
    assert_int_equal(event.env.sensor_id, env.sensor_id);
    assert_int_equal(event.env.has_host_id, env.has_host_id);
    assert_int_equal(event.env.host_id, env.host_id);
    assert_int_equal(event.env.has_node_id, env.has_node_id);
    assert_int_equal(event.env.node_id, env.node_id);
    assert_int_equal(event.env.has_host_name, env.has_host_name);
    assert_int_equal(event.env.host_name.len, env.host_name.len);
    if (env.host_name.len > 0)
        assert_memory_equal(event.env.host_name.data, host, env.host_name.len);
    size_t len_b = protobuf_c_message_pack(&event.msg->base, packed_b);
    assert_int_equal(len_a, len_b);
    assert_memory_equal(packed_a, packed_b, len_a);
}

static void repeated_singular_members_are_merged_as_protobuf_says(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(1 << 20);
    struct pb split = {0}, whole = {0};
    /* The last of two scalars counts, an empty text too; the version may be in either header. */
    pb_bytes(&split, 1, "\x08\4\x62\1a", 5);
    pb_bytes(&split, 3, "\x08\5\x10\1\x4A\3cmd\x5A\1p", 12);
    pb_bytes(&split, 1, "\x62\0\x20\x07", 4);
    pb_bytes(&split, 3, "\x08\6\x4A\0\x82\1\2\x08\3", 9);
    pb_bytes(&split, 3, "\x82\1\2\x08\4", 5);
    pb_bytes(&whole, 1, "\x08\4\x62\0\x20\x07", 6);
    pb_bytes(&whole, 3, "\x08\6\x10\1\x4A\0\x5A\1p\x82\1\2\x08\3\x82\1\2\x08\4", 19);
    expect_same_message(decoder, &split, &whole);
    /* Sub-messages of members: env.endpoint in two envs, and twice in one. */
    split.len = whole.len = 0;
    pb_bytes(&split, 1, "\x08\4", 2);
    pb_bytes(&split, 13, "\x0A\2\x08\7\x12\2\x08\1\x0A\6\x12\4host", 16);
    pb_bytes(&split, 13, "\x0A\2\x18\x09", 4);
    pb_bytes(&split, 20, "\x2A\2\x10\1\x08\6\x42\2\x10\2\x2A\2\x08\1\x52\0\x52\0", 18);
    pb_bytes(&whole, 1, "\x08\4", 2);
    pb_bytes(&whole, 13, "\x0A\x0A\x08\7\x12\4host\x18\x09\x12\2\x08\1", 16);
    pb_bytes(&whole, 20, "\x08\6\x2A\4\x10\1\x08\1\x42\2\x10\2\x52\0", 14);
    expect_same_message(decoder, &split, &whole);
    split.len = whole.len = 0;
    pb_bytes(&split, 1, "\x08\4", 2);
    pb_bytes(&split, 13, "\x0A\3\x12\1a\x0A\2\x12\0", 9);
    pb_bytes(&whole, 1, "\x08\4", 2);
    pb_bytes(&whole, 13, "\x0A\2\x12\0", 4);
    expect_same_message(decoder, &split, &whole);
    /* The same of an address's scope, where protobuf-c's own merging would keep the first text. */
    split.len = whole.len = 0;
    pb_bytes(&split, 1, "\x08\4", 2);
    pb_bytes(&split, 20, "\x2A\3\x2A\1a\x2A\2\x2A\0", 9);
    pb_bytes(&whole, 1, "\x08\4", 2);
    pb_bytes(&whole, 20, "\x2A\2\x2A\0", 4);
    expect_same_message(decoder, &split, &whole);
    pb_free(&split);
    pb_free(&whole);
    cbt_decoder_free(decoder);
}

static void strings_stay_in_order_among_other_members(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(1 << 20);
    struct pb record = {0};
    struct cbt_event event;
    pb_bytes(&record, 2, "\x08\1", 2);
    pb_header(&record, 1);
    pb_bytes(&record, 2, "\x08\2", 2);
    pb_bytes(&record, 7, "", 0);
    pb_bytes(&record, 2, "\x08\3", 2);
    expect_event(decoder, &record, &event);
    assert_int_equal(event.msg->n_strings, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(event.msg->strings[i]->guid, i + 1);
    pb_free(&record);
    cbt_decoder_free(decoder);
}

/* --- environment --- */

static void environment_is_taken_field_by_field(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(1 << 20);
    static const uint8_t frame_host[] = "frame";
    const struct cbt_environment frame = {.sensor_id = 7,
                                          .node_id = 3,
                                          .host_id = 11,
                                          .host_name = {frame_host, 5},
                                          .has_sensor_id = true,
                                          .has_host_name = true,
                                          .has_node_id = true};
    struct pb record = {0};
    struct cbt_event event;
    struct cbt_err err;
    enum cbt_dead_reason reason;
    pb_header(&record, 1);
    assert_int_equal(cbt_decode_event(decoder, pb_text(&record), &frame, &event, &reason, &err), 0);
    assert_int_equal(event.env.sensor_id, 7);
    assert_int_equal(event.env.host_name.len, 5);
    assert_false(event.env.has_host_id);
    pb_bytes(&record, 13, "\x0A\2\x12\0", 4); /* an empty host name is one */
    assert_int_equal(cbt_decode_event(decoder, pb_text(&record), &frame, &event, &reason, &err), 0);
    assert_int_equal(event.env.sensor_id, 7);
    assert_int_equal(event.env.node_id, 3);
    assert_int_equal(event.env.host_name.len, 0);
    pb_bytes(&record, 13, "\x0A\4\x08\0\x18\x0C\x12\2\x08\x04", 10);
    assert_int_equal(cbt_decode_event(decoder, pb_text(&record), &frame, &event, &reason, &err), 0);
    assert_int_equal(event.env.sensor_id, 0);
    assert_true(event.env.has_sensor_id);
    assert_int_equal(event.env.host_id, 12);
    assert_true(event.env.has_host_id);
    assert_int_equal(event.env.node_id, 4);
    assert_int_equal(cbt_decode_event(decoder, pb_text(&record), NULL, &event, &reason, &err), 0);
    assert_true(event.env.has_sensor_id);
    assert_true(event.env.has_node_id);
    pb_free(&record);
    cbt_decoder_free(decoder);
}

static void event_time_is_rounded_down(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(1 << 20);
    const struct {
        int64_t filetime, unix_ms;
    } rows[] = {
        {0, 0},
        {1, -11644473600000},
        {-1, -11644473600001},
        {116444736000000000, 0},
        {116444735999999999, -1},
        {116444736000010000, 1},
        {INT64_MIN, -922337203685478 - 11644473600000},
        {INT64_MAX, 922337203685477 - 11644473600000},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pb record = {0};
        struct cbt_event event;
        pb_header(&record, rows[i].filetime);
        expect_event(decoder, &record, &event);
        assert_int_equal(event.unix_ms, rows[i].unix_ms);
        pb_free(&record);
    }
    cbt_decoder_free(decoder);
}

/* --- random records: the peek never disagrees with the decoding --- */

static uint32_t rng_state = 1;
static uint32_t rng(uint32_t below)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 17;
    rng_state ^= rng_state << 5;
    return rng_state % below;
}

static void put_random(struct pb *pb, unsigned depth)
{
    struct pb sub = {0};
    for (uint32_t fields = rng(6); fields > 0; fields--) {
        unsigned field = rng(26);
        switch (rng(depth > 0 ? 4 : 3)) {
        case 0:
            pb_number(pb, field, rng(3));
            break;
        case 1:
            pb_str(pb, field, "text\x08\x01");
            break;
        case 2:
            pb_byte(pb, rng(256));
            break;
        default:
            put_random(&sub, depth - 1);
            pb_message(pb, field, &sub);
        }
    }
    pb_free(&sub);
}

static void peeks_agree_with_decoding_on_random_records(void **state)
{
    (void)state;
    struct cbt_decoder *decoder = decoder_new(1 << 20);
    unsigned decoded = 0;
    for (unsigned i = 0; i < 200000; i++) {
        struct pb record = {0};
        struct cbt_event event;
        struct cbt_err err;
        enum cbt_dead_reason reason;
        int32_t id = 0;
        if (rng(8) > 0)
            pb_header(&record, 1);
        put_random(&record, 3);
        enum cbt_event_type type = cbt_peek_type(pb_text(&record));
        bool has_id = cbt_peek_sensor_id(pb_text(&record), (struct cbt_text){0}, CBT_FRAMING_EVENT, &id);
        if (cbt_decode_event(decoder, pb_text(&record), NULL, &event, &reason, &err) == 0) {
            assert_int_equal(type, event.type);
            assert_int_equal(has_id, event.env.has_sensor_id);
            assert_int_equal(id, event.env.sensor_id);
            decoded++;
        }
        pb_free(&record);
    }
    assert_true(decoded > 10000);
    cbt_decoder_free(decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(type_is_that_of_the_first_member_in_the_order_that_counts),
        cmocka_unit_test(process_and_crossproc_are_told_by_what_is_inside),
        cmocka_unit_test(unknown_record_keeps_its_header_and_raw_bytes),
        cmocka_unit_test(reasons_tell_malformed_from_no_header),
        cmocka_unit_test(field_number_that_protobuf_does_not_have_is_malformed),
        cmocka_unit_test(repeated_member_whose_pieces_are_broken_is_malformed),
        cmocka_unit_test(record_cut_anywhere_never_crashes),
        cmocka_unit_test(record_that_outgrows_the_arena_is_too_complex_and_the_next_one_decodes),
        cmocka_unit_test(repeated_members_cost_no_more_than_their_bytes),
        cmocka_unit_test(repeated_singular_members_are_merged_as_protobuf_says),
        cmocka_unit_test(strings_stay_in_order_among_other_members),
        cmocka_unit_test(environment_is_taken_field_by_field),
        cmocka_unit_test(event_time_is_rounded_down),
        cmocka_unit_test(peeks_agree_with_decoding_on_random_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
