/* SPDX-License-Identifier: MIT */
/* Bodies told apart, bundles walked, cut and hostile ones included. Zips: test_zip.c. */
#include "fixture.h"
#include "pb_build.h"

#include "decode/kind.h"

static const struct cbt_text no_type = {NULL, 0};

static struct cbt_walk *walk_new(struct cbt_decode_limits limits)
{
    struct cbt_walk *walk = NULL;
    struct cbt_err err;
    assert_int_equal(cbt_walk_new(&walk, &limits, &err), 0);
    return walk;
}

struct kind_row {
    const char *body;
    size_t len;
    const char *content_type;
    enum cbt_framing framing;
    enum cbt_kind kind;
};

#define BODY(literal) (literal), sizeof(literal) - 1
#define PROTO         "application/protobuf"

static const struct kind_row kinds[] = {
    {BODY(""), "", CBT_FRAMING_DETECT, CBT_KIND_EMPTY},
    {BODY(""), "", CBT_FRAMING_BUNDLE, CBT_KIND_EMPTY},
    {BODY(""), PROTO, CBT_FRAMING_EVENT, CBT_KIND_EMPTY},
    {BODY("PK\3\4rest"), "", CBT_FRAMING_DETECT, CBT_KIND_ZIP},
    {BODY("PK\5\6rest"), "", CBT_FRAMING_DETECT, CBT_KIND_ZIP},
    {BODY("PK\3\4rest"), PROTO, CBT_FRAMING_BUNDLE, CBT_KIND_ZIP},
    {BODY("PK\3\4rest"), "application/zip", CBT_FRAMING_BUNDLE, CBT_KIND_ZIP},
    {BODY("PK\3\4rest"), PROTO, CBT_FRAMING_EVENT, CBT_KIND_EVENT},
    {BODY("PK\1\2rest"), "application/zip", CBT_FRAMING_DETECT, CBT_KIND_EVENT},
    {BODY("PK\3"), "application/zip", CBT_FRAMING_BUNDLE, CBT_KIND_BUNDLE},
    {BODY("\1\0\0\0\x0A"), "application/zip", CBT_FRAMING_BUNDLE, CBT_KIND_BUNDLE},
    {BODY("{}"), "", CBT_FRAMING_BUNDLE, CBT_KIND_BUNDLE},
    {BODY("{}"), "application/json", CBT_FRAMING_BUNDLE, CBT_KIND_BUNDLE},
    {BODY("{}"), "", CBT_FRAMING_DETECT, CBT_KIND_NOTIFICATION},
    {BODY("{}"), "text/plain", CBT_FRAMING_DETECT, CBT_KIND_EVENT},
    {BODY("[]"), "application/json", CBT_FRAMING_DETECT, CBT_KIND_NOTIFICATION},
    {BODY(" {}"), "application/json; charset=utf-8", CBT_FRAMING_DETECT, CBT_KIND_NOTIFICATION},
    {BODY(" {}"), "Application/JSON", CBT_FRAMING_DETECT, CBT_KIND_NOTIFICATION},
    {BODY(" {}"), "application/json\t;charset=utf-8", CBT_FRAMING_DETECT, CBT_KIND_NOTIFICATION},
    {BODY(" {}"), "application/jso", CBT_FRAMING_DETECT, CBT_KIND_EVENT},
    {BODY("{}"), PROTO, CBT_FRAMING_DETECT, CBT_KIND_EVENT},
    {BODY("PK\3\4rest"), "application/json", CBT_FRAMING_DETECT, CBT_KIND_ZIP},
    {BODY("\1\0\0\0\x0A"), "application/json", CBT_FRAMING_DETECT, CBT_KIND_NOTIFICATION},
    {BODY(" {}"), "application/json5", CBT_FRAMING_DETECT, CBT_KIND_EVENT},
    {BODY(" {}"), "", CBT_FRAMING_DETECT, CBT_KIND_EVENT},
    {BODY("{}"), PROTO, CBT_FRAMING_EVENT, CBT_KIND_EVENT},
    /* a bundle: the first number fits, and the first record begins with a header */
    {BODY("\1\0\0\0\x0A"), "", CBT_FRAMING_DETECT, CBT_KIND_BUNDLE},
    {BODY("\0\0\0\0\x0A"), PROTO, CBT_FRAMING_DETECT, CBT_KIND_BUNDLE},
    {BODY("\2\0\0\0\x0A"), "", CBT_FRAMING_DETECT, CBT_KIND_EVENT},
    {BODY("\1\0\0\0\x0B"), "", CBT_FRAMING_DETECT, CBT_KIND_EVENT},
    {BODY("\1\0\0\0"), "", CBT_FRAMING_DETECT, CBT_KIND_EVENT},
    {BODY("\0\0\0\0"), "", CBT_FRAMING_DETECT, CBT_KIND_EVENT},
    {"\0\0\0\0\x0A", 4, "", CBT_FRAMING_DETECT, CBT_KIND_EVENT}, /* what is behind the body does not count */
    {BODY("\xFF\xFF\xFF\xFF\x0A"), "", CBT_FRAMING_DETECT, CBT_KIND_EVENT},
    {BODY("\xFF\xFF\xFF\xFF\x0A"), "", CBT_FRAMING_BUNDLE, CBT_KIND_BUNDLE},
    {BODY("\x0A\2\x08\4"), "", CBT_FRAMING_DETECT, CBT_KIND_EVENT},
    {BODY("\x0A"), "", CBT_FRAMING_DETECT, CBT_KIND_EVENT},
};

/* A record of 123 bytes has a length that begins with a brace. */
static void a_bundle_that_begins_with_a_brace_is_no_json(void **state)
{
    (void)state;
    uint8_t body[4 + 123] = {123, 0, 0, 0, 0x0A};
    const struct cbt_text none = {0};
    assert_int_equal(cbt_kind_of((struct cbt_text){body, sizeof(body)}, none, CBT_FRAMING_DETECT),
                     CBT_KIND_BUNDLE);
    assert_int_equal(cbt_kind_of((struct cbt_text){body, sizeof(body) - 1}, none, CBT_FRAMING_DETECT),
                     CBT_KIND_NOTIFICATION);
}

static void bodies_are_told_apart_by_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const struct kind_row *row = &kinds[i];
        struct cbt_text body = {(const uint8_t *)row->body, row->len};
        enum cbt_kind kind = cbt_kind_of(body, text_of(row->content_type), row->framing);
        if (kind != row->kind)
            fail_msg("row %zu: is %d, expected %d", i, (int)kind, (int)row->kind);
    }
}

/* Three records of 20, 0 and 300 bytes. */
static struct pb three_records(void)
{
    struct pb bundle = {0};
    uint8_t record[300];
    memset(record, 0x0A, sizeof(record));
    pb_record(&bundle, (struct cbt_text){record, 20});
    pb_record(&bundle, (struct cbt_text){record, 0});
    pb_record(&bundle, (struct cbt_text){record, 300});
    return bundle;
}

static void bundle_gives_its_records_in_order_without_copying(void **state)
{
    (void)state;
    struct pb bundle = three_records();
    struct cbt_walk *walk = walk_new(fixture_limits);
    struct cbt_part part = {0};
    const size_t lens[] = {20, 0, 300}, offsets[] = {0, 24, 28};
    cbt_walk_start(walk, pb_text(&bundle), no_type, CBT_FRAMING_DETECT);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(cbt_walk_next(walk, &part));
        assert_int_equal(part.kind, CBT_PART_EVENT);
        assert_int_equal(part.index, i);
        assert_int_equal(part.offset, offsets[i]);
        assert_int_equal(part.data.len, lens[i]);
        assert_ptr_equal(part.data.data, bundle.data + offsets[i] + 4);
        assert_true(part.in_body);
    }
    assert_false(cbt_walk_next(walk, &part));
    assert_false(cbt_walk_next(walk, &part));
    assert_int_equal(cbt_walk_held_bytes(walk), 0);
    cbt_walk_free(walk);
    pb_free(&bundle);
}

/* Cut anywhere: every record that is whole, then one broken part that begins where the next one would. */
static void bundle_cut_at_any_offset_gives_whole_records_and_the_rest(void **state)
{
    (void)state;
    struct pb bundle = three_records();
    struct cbt_walk *walk = walk_new(fixture_limits);
    const size_t ends[] = {24, 28, 332};
    for (size_t cut = 1; cut < bundle.len; cut++) {
        uint8_t *body = malloc(cut);
        assert_non_null(body);
        memcpy(body, bundle.data, cut);
        struct cbt_part part = {0};
        unsigned whole = 0;
        size_t at = 0;
        cbt_walk_start(walk, (struct cbt_text){body, cut}, no_type, CBT_FRAMING_BUNDLE);
        while (whole < 3 && ends[whole] <= cut) {
            assert_true(cbt_walk_next(walk, &part));
            assert_int_equal(part.kind, CBT_PART_EVENT);
            at = ends[whole++];
        }
        if (at < cut) {
            assert_true(cbt_walk_next(walk, &part));
            assert_int_equal(part.kind, CBT_PART_BROKEN);
            assert_int_equal(part.reason, CBT_DEAD_truncated);
            assert_int_equal(part.framing, CBT_FRAMING_BUNDLE);
            assert_int_equal(part.offset, at);
            assert_int_equal(part.index, whole);
            assert_ptr_equal(part.data.data, body + at);
            assert_int_equal(part.data.len, cut - at);
            assert_true(part.in_body);
        }
        assert_false(cbt_walk_next(walk, &part));
        free(body);
    }
    cbt_walk_free(walk);
    pb_free(&bundle);
}

static void hostile_lengths_are_not_believed(void **state)
{
    (void)state;
    const uint32_t lengths[] = {4, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF};
    struct cbt_walk *walk = walk_new(fixture_limits);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint8_t body[7] = {0, 0, 0, 0, 0x0A, 1, 2};
        struct cbt_part part = {0};
        memcpy(body, &lengths[i], 4);
        cbt_walk_start(walk, (struct cbt_text){body, sizeof(body)}, no_type, CBT_FRAMING_BUNDLE);
        assert_true(cbt_walk_next(walk, &part));
        assert_int_equal(part.kind, CBT_PART_BROKEN);
        assert_int_equal(part.reason, CBT_DEAD_truncated);
        assert_int_equal(part.data.len, sizeof(body));
        assert_false(cbt_walk_next(walk, &part));
    }
    cbt_walk_free(walk);
}

static void record_over_the_limit_is_broken_and_its_neighbours_go_on(void **state)
{
    (void)state;
    struct cbt_decode_limits limits = fixture_limits;
    limits.record_max_bytes = 299;
    struct cbt_walk *walk = walk_new(limits);
    struct pb bundle = three_records();
    uint8_t last[299] = {0x0A};
    struct cbt_part part = {0};
    pb_record(&bundle, (struct cbt_text){last, sizeof(last)});
    cbt_walk_start(walk, pb_text(&bundle), no_type, CBT_FRAMING_BUNDLE);
    const enum cbt_part_kind kinds_in_order[] = {CBT_PART_EVENT, CBT_PART_EVENT, CBT_PART_BROKEN,
                                                 CBT_PART_EVENT};
    for (unsigned i = 0; i < 4; i++) {
        assert_true(cbt_walk_next(walk, &part));
        assert_int_equal(part.kind, kinds_in_order[i]);
        if (part.kind == CBT_PART_BROKEN) {
            assert_int_equal(part.reason, CBT_DEAD_record_too_large);
            assert_int_equal(part.framing, CBT_FRAMING_EVENT);
            assert_int_equal(part.data.len, 300);
        }
    }
    assert_false(cbt_walk_next(walk, &part));
    /* A single event, and a notification, over the limit. */
    cbt_walk_start(walk, pb_text(&bundle), no_type, CBT_FRAMING_EVENT);
    assert_true(cbt_walk_next(walk, &part));
    assert_int_equal(part.reason, CBT_DEAD_record_too_large);
    cbt_walk_start(walk, pb_text(&bundle), text_of("application/json"), CBT_FRAMING_DETECT);
    assert_true(cbt_walk_next(walk, &part));
    assert_int_equal(part.reason, CBT_DEAD_record_too_large);
    assert_int_equal(part.data.len, bundle.len);
    cbt_walk_free(walk);
    pb_free(&bundle);
}

static void single_bodies_are_one_part(void **state)
{
    (void)state;
    struct cbt_walk *walk = walk_new(fixture_limits);
    struct cbt_part part = {0};
    cbt_walk_start(walk, (struct cbt_text){NULL, 0}, no_type, CBT_FRAMING_DETECT);
    assert_true(cbt_walk_next(walk, &part));
    assert_int_equal(part.kind, CBT_PART_BROKEN);
    assert_int_equal(part.reason, CBT_DEAD_empty);
    assert_false(cbt_walk_next(walk, &part));

    cbt_walk_start(walk, text_of("\x0A\2\x08\4"), text_of(PROTO), CBT_FRAMING_EVENT);
    assert_true(cbt_walk_next(walk, &part));
    assert_int_equal(part.kind, CBT_PART_EVENT);
    assert_int_equal(part.data.len, 4);
    assert_false(cbt_walk_next(walk, &part));

    cbt_walk_start(walk, text_of("{\"a\":1}"), no_type, CBT_FRAMING_DETECT);
    assert_true(cbt_walk_next(walk, &part));
    assert_int_equal(part.kind, CBT_PART_NOTIFICATION);
    assert_int_equal(part.data.len, 7);
    assert_false(cbt_walk_next(walk, &part));
    cbt_walk_free(walk);
}

static void start_forgets_a_walk_that_was_left_half_way(void **state)
{
    (void)state;
    struct cbt_walk *walk = walk_new(fixture_limits);
    struct pb bundle = three_records();
    struct cbt_part part = {0};
    cbt_walk_start(walk, pb_text(&bundle), no_type, CBT_FRAMING_BUNDLE);
    assert_true(cbt_walk_next(walk, &part));
    cbt_walk_start(walk, text_of("{}"), no_type, CBT_FRAMING_DETECT);
    assert_true(cbt_walk_next(walk, &part));
    assert_int_equal(part.kind, CBT_PART_NOTIFICATION);
    assert_int_equal(part.index, 0);
    assert_false(cbt_walk_next(walk, &part));
    cbt_walk_free(walk);
    cbt_walk_free(NULL);
    pb_free(&bundle);
}

/* env { endpoint { SensorId } } */
static void put_env(struct pb *record, int32_t sensor_id)
{
    struct pb endpoint = {0}, env = {0};
    pb_number(&endpoint, 1, (uint64_t)(int64_t)sensor_id);
    pb_message(&env, 1, &endpoint);
    pb_message(record, 13, &env);
    pb_free(&endpoint);
    pb_free(&env);
}

static void sensor_id_is_peeked_from_the_first_record(void **state)
{
    (void)state;
    struct pb record = {0}, other = {0}, bundle = {0};
    int32_t id = 99;
    pb_header(&record, 1);
    assert_false(cbt_peek_sensor_id(pb_text(&record), no_type, CBT_FRAMING_EVENT, &id));
    assert_int_equal(id, 99);
    put_env(&record, -5);
    assert_true(cbt_peek_sensor_id(pb_text(&record), no_type, CBT_FRAMING_EVENT, &id));
    assert_int_equal(id, -5);
    pb_header(&other, 1);
    put_env(&other, 8);
    pb_record(&bundle, pb_text(&record));
    pb_record(&bundle, pb_text(&other));
    id = 0;
    assert_true(cbt_peek_sensor_id(pb_text(&bundle), no_type, CBT_FRAMING_BUNDLE, &id));
    assert_int_equal(id, -5);
    assert_true(cbt_peek_sensor_id(pb_text(&bundle), no_type, CBT_FRAMING_DETECT, &id));
    put_env(&record, 12); /* the last one counts */
    assert_true(cbt_peek_sensor_id(pb_text(&record), no_type, CBT_FRAMING_EVENT, &id));
    assert_int_equal(id, 12);
    pb_bytes(&record, 13, "\x0A\2\x12\0", 4); /* of those that have one */
    id = 0;
    assert_true(cbt_peek_sensor_id(pb_text(&record), no_type, CBT_FRAMING_EVENT, &id));
    assert_int_equal(id, 12);
    assert_false(cbt_peek_sensor_id(text_of("PK\3\4"), no_type, CBT_FRAMING_BUNDLE, &id));
    assert_false(cbt_peek_sensor_id(text_of("{\"sensor_id\":1}"), no_type, CBT_FRAMING_DETECT, &id));
    assert_false(cbt_peek_sensor_id((struct cbt_text){NULL, 0}, no_type, CBT_FRAMING_BUNDLE, &id));
    for (size_t cut = 0; cut < bundle.len; cut++) {
        uint8_t *body = malloc(cut + 1);
        assert_non_null(body);
        memcpy(body, bundle.data, cut);
        cbt_peek_sensor_id((struct cbt_text){body, cut}, no_type, CBT_FRAMING_BUNDLE, &id);
        cbt_peek_sensor_id((struct cbt_text){body, cut}, no_type, CBT_FRAMING_EVENT, &id);
        free(body);
    }
    pb_free(&record);
    pb_free(&other);
    pb_free(&bundle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_told_apart_by_the_table),
        cmocka_unit_test(a_bundle_that_begins_with_a_brace_is_no_json),
        cmocka_unit_test(bundle_gives_its_records_in_order_without_copying),
        cmocka_unit_test(bundle_cut_at_any_offset_gives_whole_records_and_the_rest),
        cmocka_unit_test(hostile_lengths_are_not_believed),
        cmocka_unit_test(record_over_the_limit_is_broken_and_its_neighbours_go_on),
        cmocka_unit_test(single_bodies_are_one_part),
        cmocka_unit_test(start_forgets_a_walk_that_was_left_half_way),
        cmocka_unit_test(sensor_id_is_peeked_from_the_first_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
