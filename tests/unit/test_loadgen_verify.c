/* SPDX-License-Identifier: MIT */
/* cbtap-loadgen verify: what counts as missing, repeated, out of order, split and foreign. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "scan.h"
#include "tally.h"

static struct cbt_text text_of(const char *text)
{
    return (struct cbt_text){(const uint8_t *)text, strlen(text)};
}

static void note_all(struct cbt_sequence *s, const uint64_t *numbers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_true(cbt_sequence_note(s, numbers[i], 0));
}

#define NOTE(sequence, ...)                                                                                  \
    note_all(sequence, (const uint64_t[]){__VA_ARGS__},                                                      \
             sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void a_complete_sequence_has_no_fault(void **state)
{
    struct cbt_sequence s = {.expected = 4};
    (void)state;
    NOTE(&s, 0, 1, 2, 3);
    assert_int_equal(s.first_deliveries, 4);
    assert_int_equal(cbt_sequence_missing(&s), 0);
    assert_int_equal(s.duplicates, 0);
    assert_int_equal(s.out_of_order, 0);
    assert_false(s.split);
    cbt_sequence_free(&s);
}

static void a_gap_and_a_missing_tail_are_missing(void **state)
{
    struct cbt_sequence s = {.expected = 200};
    (void)state;
    for (uint64_t i = 0; i < 150; i++)
        if (i != 70)
            assert_true(cbt_sequence_note(&s, i, 0));
    assert_int_equal(cbt_sequence_missing(&s), 51);
    assert_int_equal(cbt_sequence_first_missing(&s), 70);
    assert_int_equal(s.out_of_order, 0);
    cbt_sequence_free(&s);
}

static void an_open_sequence_misses_only_what_lies_below_its_highest(void **state)
{
    struct cbt_sequence s = {.expected = CBT_SEQUENCE_OPEN}, empty = {.expected = CBT_SEQUENCE_OPEN};
    (void)state;
    NOTE(&s, 0, 1, 5);
    assert_int_equal(cbt_sequence_missing(&s), 3);
    assert_int_equal(cbt_sequence_first_missing(&s), 2);
    assert_int_equal(cbt_sequence_missing(&empty), 0);
    cbt_sequence_free(&s);
}

static void an_endpoint_that_sends_nothing_misses_nothing_and_takes_nothing(void **state)
{
    struct cbt_sequence s = {.expected = 0};
    (void)state;
    assert_int_equal(cbt_sequence_missing(&s), 0);
    assert_false(cbt_sequence_note(&s, 0, 0));
    cbt_sequence_free(&s);
}

static void a_repeated_run_is_duplicates_and_not_out_of_order(void **state)
{
    struct cbt_sequence s = {.expected = 8};
    (void)state;
    NOTE(&s, 0, 1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7);
    assert_int_equal(s.duplicates, 4);
    assert_int_equal(s.out_of_order, 0);
    assert_int_equal(cbt_sequence_missing(&s), 0);
    cbt_sequence_free(&s);
}

static void a_first_delivery_behind_a_higher_one_is_out_of_order(void **state)
{
    struct cbt_sequence s = {.expected = 6};
    (void)state;
    NOTE(&s, 0, 3, 1, 2, 4, 1, 5);
    assert_int_equal(s.out_of_order, 2);
    assert_int_equal(s.first_out_of_order, 1);
    assert_int_equal(s.duplicates, 1);
    assert_int_equal(cbt_sequence_missing(&s), 0);
    cbt_sequence_free(&s);
}

static void a_second_partition_splits_the_sequence(void **state)
{
    struct cbt_sequence s = {.expected = 4};
    (void)state;
    assert_true(cbt_sequence_note(&s, 0, 3));
    assert_true(cbt_sequence_note(&s, 1, 3));
    assert_false(s.split);
    assert_true(cbt_sequence_note(&s, 2, 1));
    assert_true(s.split);
    cbt_sequence_free(&s);
}

static void a_number_beyond_the_sequence_is_refused(void **state)
{
    struct cbt_sequence s = {.expected = 4}, open = {.expected = CBT_SEQUENCE_OPEN};
    (void)state;
    assert_false(cbt_sequence_note(&s, 4, 0));
    assert_false(cbt_sequence_note(&open, CBT_SEQUENCE_MAX, 0));
    assert_int_equal(open.words, 0);
}

static void scan_finds_sensor_and_time(void **state)
{
    static const struct {
        const char *json;
        bool found;
        int64_t sensor_id, timestamp;
    } rows[] = {
        {"{\"sensor_id\":7,\"timestamp\":1704067200}", true, 7, 1704067200},
        {"{\"timestamp\": 1704067200.123 ,\"sensor_id\": 7 }", true, 7, 1704067200},
        {"{\"path\":\"c:\\\\\\\"sensor_id\\\":9\",\"sensor_id\":7,\"timestamp\":-5}", true, 7, -5},
        {"{\"emet_timestamp\":1,\"timestamp\":2,\"sensor_id\":3}", true, 3, 2},
        {"{\"sensor_id\":\"7\",\"timestamp\":2}", false, 0, 0},
        {"{\"sensor_id\":7}", false, 0, 0},
        {"{\"sensor_id\":7,\"timestamp\":", false, 0, 0},
        {"{\"sensor_id\":7,\"timestamp\":12", false, 0, 0},
        {"{\"sensor_id\":12345678901234567890,\"timestamp\":1}", false, 0, 0},
        {"", false, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t sensor_id = 0, timestamp = 0;
        const bool found = cbt_scan_json(text_of(rows[i].json), &sensor_id, &timestamp);
        if (found != rows[i].found ||
            (found && (sensor_id != rows[i].sensor_id || timestamp != rows[i].timestamp)))
            fail_msg("%s: %d, sensor %" PRId64 ", time %" PRId64, rows[i].json, found, sensor_id, timestamp);
    }
}

static const struct cbt_fleet_options two_endpoints = {
    .shape = CBT_SHAPE_EVENT, .seed = 1, .events = 6, .endpoints = 2, .start = 10, .first_sensor_id = 100};

static void note(struct cbt_tally *tally, const char *key, int sensor_id, int64_t number)
{
    char json[128];
    snprintf(json, sizeof(json), "{\"sensor_id\":%d,\"timestamp\":%" PRId64 "}", sensor_id,
             CBT_FLEET_EPOCH_UNIX + number);
    cbt_tally_note(tally, text_of(key), text_of(json), 0);
}

static void tally_books_each_record_on_its_account(void **state)
{
    struct cbt_tally t;
    (void)state;
    cbt_tally_open(&t, &two_endpoints, false);
    for (int64_t number = 10; number < 13; number++) {
        note(&t, "100", 100, number);
        note(&t, "101", 101, number);
    }
    note(&t, "101", 101, 12); /* a duplicate */
    note(&t, "102", 102, 10); /* of another fleet */
    note(&t, "100", 100, 9);  /* of an earlier run */
    note(&t, "100", 100, 13); /* of a later one */
    cbt_tally_note(&t, text_of("x"), text_of("{\"type\":\"watchlist.hit.process\"}"), 0);
    const struct cbt_tally_sums sums = cbt_tally_sum(&t);
    assert_int_equal(t.events, 6);
    assert_int_equal(sums.expected, 6);
    assert_int_equal(sums.missing, 0);
    assert_int_equal(sums.duplicates, 1);
    assert_int_equal(sums.out_of_order, 0);
    assert_int_equal(t.foreign, 3);
    assert_int_equal(t.unreadable, 1);
    assert_int_equal(t.wrong_key, 0);
    assert_int_equal(t.records, 11);
    cbt_tally_close(&t);
}

static void tally_minds_the_key_unless_told_not_to(void **state)
{
    struct cbt_tally t;
    (void)state;
    cbt_tally_open(&t, &two_endpoints, false);
    note(&t, "101", 100, 10);
    note(&t, "", 100, 11);
    note(&t, "100x", 100, 12);
    assert_int_equal(t.wrong_key, 3);
    cbt_tally_close(&t);
    cbt_tally_open(&t, &two_endpoints, true);
    note(&t, "101", 100, 10);
    assert_int_equal(t.wrong_key, 0);
    cbt_tally_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_complete_sequence_has_no_fault),
        cmocka_unit_test(a_gap_and_a_missing_tail_are_missing),
        cmocka_unit_test(an_open_sequence_misses_only_what_lies_below_its_highest),
        cmocka_unit_test(an_endpoint_that_sends_nothing_misses_nothing_and_takes_nothing),
        cmocka_unit_test(a_repeated_run_is_duplicates_and_not_out_of_order),
        cmocka_unit_test(a_first_delivery_behind_a_higher_one_is_out_of_order),
        cmocka_unit_test(a_second_partition_splits_the_sequence),
        cmocka_unit_test(a_number_beyond_the_sequence_is_refused),
        cmocka_unit_test(scan_finds_sensor_and_time),
        cmocka_unit_test(tally_books_each_record_on_its_account),
        cmocka_unit_test(tally_minds_the_key_unless_told_not_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
