/* SPDX-License-Identifier: MIT */
/*
 * One worker, one message at a time: what is walked is delivered, filtered or a dead letter, exactly; and a
 * dead letter that is sent again by itself is as broken as it was.
 */
#include "walk_expect.h"

#include <sched.h>

#include "cbtap/clock.h"
#include "decode/record.h"
#include "decode/worker.h"

#define DEADLINE_NS  (INT64_C(30) * 1000000000)
#define RECORDS_KEPT 256
#define RECORD_MAX   2000

/* ---- a sink that keeps its records, and delivers them at once ---- */

struct kept {
    struct cbt_dead_letter dead;
    bool is_dead;
    int32_t sensor_id;
    struct pb value;
};

struct bed {
    struct cbt_metrics *metrics;
    struct cbt_stats *stats;
    struct cbt_budget budget;
    struct cbt_filter *filter;
    void *json;
    struct cbt_outlet outlet;
    struct cbt_ring lane, settled;
    struct cbt_alarm alarm, *alarms[1];
    bool touched[1];
    struct cbt_settler settler;
    struct cbt_worker *worker;
    struct kept kept[RECORDS_KEPT];
    unsigned count;
};

static void submit(void *self, unsigned worker, struct cbt_record *const recs[], size_t n)
{
    struct bed *bed = self;
    (void)worker;
    for (size_t i = 0; i < n; i++) {
        if (bed->count == RECORDS_KEPT)
            abort();
        struct kept *kept = &bed->kept[bed->count++];
        *kept = (struct kept){.is_dead = recs[i]->dead != NULL, .sensor_id = recs[i]->sensor_id};
        if (kept->is_dead)
            kept->dead = *recs[i]->dead;
        pb_raw(&kept->value, recs[i]->value, recs[i]->value_len);
        cbt_settle(&bed->settler, recs[i]->frame, 1);
    }
}

static const struct cbt_sink sink = {.type = "kept", .submit = submit};

static void bed_forget(struct bed *bed)
{
    for (unsigned i = 0; i < bed->count; i++)
        pb_free(&bed->kept[i].value);
    bed->count = 0;
}

static struct bed *bed_new_with(uint32_t records_max)
{
    struct bed *bed = calloc(1, sizeof(*bed));
    assert_non_null(bed);
    const struct cbt_format_options options = {.server_name = "cb"};
    struct cbt_decode_limits limits = fixture_limits;
    limits.record_max_bytes = RECORD_MAX;
    limits.records_max = records_max;
    cbt_budget_init(&bed->budget, 16 << 20, false);
    assert_int_equal(cbt_metrics_new(&bed->metrics), 0);
    assert_int_equal(cbt_filter_new(&bed->filter, "*", "filemod", NULL), 0);
    assert_int_equal(cbt_ring_init(&bed->lane, 4, NULL), 0);
    assert_int_equal(cbt_ring_init(&bed->settled, 4, NULL), 0);
    assert_int_equal(cbt_alarm_init(&bed->alarm, NULL), 0);
    bed->stats = cbt_metrics_add(bed->metrics, CBT_STATS_WORKER, "worker", "");
    bed->json = json_open(&options);
    bed->outlet = (struct cbt_outlet){.sink = &sink,
                                      .sink_self = bed,
                                      .format = cbt_format_find("json"),
                                      .format_self = bed->json,
                                      .takes_dead_letters = true};
    bed->alarms[0] = &bed->alarm;
    bed->settler = (struct cbt_settler){
        .receivers = 1, .rings = &bed->settled, .alarms = bed->alarms, .touched = bed->touched};
    const struct cbt_worker_context context = {.stats = bed->stats,
                                               .budget = &bed->budget,
                                               .block_bytes = 32768,
                                               .blocks_cached_max = 4,
                                               .limits = limits,
                                               .value_max_bytes = 1 << 20,
                                               .settler = &bed->settler,
                                               .outlets = &bed->outlet,
                                               .outlet_count = 1,
                                               .receivers = 1,
                                               .filter = bed->filter};
    assert_int_equal(cbt_worker_new(&bed->worker, &context, NULL), 0);
    cbt_worker_set_lane(bed->worker, 0, &bed->lane);
    assert_int_equal(cbt_worker_start(bed->worker, NULL), 0);
    return bed;
}

static struct bed *bed_new(void)
{
    return bed_new_with(fixture_limits.records_max);
}

static void bed_free(struct bed *bed)
{
    cbt_worker_stop(bed->worker);
    cbt_worker_free(bed->worker);
    assert_int_equal(cbt_budget_used(&bed->budget), 0);
    bed_forget(bed);
    json_close(bed->json);
    cbt_alarm_free(&bed->alarm);
    cbt_ring_free(&bed->lane);
    cbt_ring_free(&bed->settled);
    cbt_filter_free(bed->filter);
    cbt_metrics_free(bed->metrics);
    free(bed);
}

/* Has the worker do one message, to its settlement. */
static void bed_do(struct bed *bed, struct cbt_text body, enum cbt_framing framing)
{
    struct cbt_frame frame = {
        .body = body, .framing = framing, .env = {.sensor_id = 7, .has_sensor_id = true}, .pending = 1};
    struct cbt_frame *done = NULL;
    bed_forget(bed);
    assert_true(cbt_ring_push(&bed->lane, &frame));
    cbt_alarm_wake(cbt_worker_alarm(bed->worker));
    int64_t deadline = cbt_now_ns() + DEADLINE_NS;
    while ((done = cbt_ring_pop(&bed->settled)) == NULL) {
        assert_true(cbt_now_ns() < deadline);
        sched_yield();
    }
    assert_ptr_equal(done, &frame);
    struct cbt_block *block = frame.first_block;
    for (uint32_t left = frame.record_blocks; left > 0; left--) {
        struct cbt_block *next = left > 1 ? block->next : NULL;
        cbt_block_unref(block);
        block = next;
    }
    cbt_budget_give(&bed->budget, CBT_ACCOUNT_WORKER, (size_t)frame.records * CBT_RECORD_OVERHEAD_BYTES);
}

static uint64_t sum(const _Atomic uint64_t *counters, unsigned count)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < count; i++)
        all += atomic_load(&counters[i]);
    return all;
}

/* ---- records and bundles ---- */

enum record { GOOD, DROPPED, DEPRECATED, MALFORMED, NO_HEADER, LARGE };

static void put_record(struct pb *bundle, enum record record)
{
    struct pb out = {0}, member = {0};
    static uint8_t filler[RECORD_MAX];
    if (record == MALFORMED)
        pb_bytes(&out, CBT_MEMBER_header, "\x08", 1);
    else if (record != NO_HEADER)
        pb_header(&out, 1);
    pb_bytes(&out, CBT_MEMBER_env, "\x0A\2\x08\5", 4); /* sensor 5 */
    if (record == DROPPED)
        pb_message(&out, CBT_MEMBER_filemod, &member);
    else if (record == DEPRECATED)
        pb_message(&out, CBT_MEMBER_stats, &member);
    else
        pb_message(&out, CBT_MEMBER_modload, &member);
    if (record == LARGE)
        pb_bytes(&out, 2000, filler, sizeof(filler));
    pb_record(bundle, pb_text(&out));
    pb_free(&out);
    pb_free(&member);
}

/* Of each kind one, and good ones around them: 9 records, 4 good, 1 dropped, 1 deprecated, 3 broken. */
static struct pb mixed_bundle(void)
{
    static const enum record order[] = {GOOD,      DROPPED, GOOD, MALFORMED, GOOD,
                                        NO_HEADER, LARGE,   GOOD, DEPRECATED};
    struct pb bundle = {0};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        put_record(&bundle, order[i]);
    return bundle;
}

/* ---- the accounts ---- */

struct expected {
    unsigned delivered, filtered;
    unsigned dead[CBT_DEAD_COUNT];
};

static unsigned dead_of(const struct expected *expected)
{
    unsigned all = 0;
    for (unsigned i = 0; i < CBT_DEAD_COUNT; i++)
        all += expected->dead[i];
    return all;
}

/* Sends what became a dead letter again, by itself: it must become one for the same reason, and no event. */
static void expect_dead_again(struct bed *bed, const struct kept *kept)
{
    struct kept again = *kept;
    again.value = (struct pb){0};
    pb_raw(&again.value, kept->value.data, kept->value.len);
    bed_do(bed, pb_text(&again.value), again.dead.framing);
    assert_int_equal(bed->count, 1);
    assert_true(bed->kept[0].is_dead);
    assert_int_equal(bed->kept[0].dead.reason, again.dead.reason);
    assert_int_equal(bed->kept[0].value.len, again.value.len);
    assert_memory_equal(bed->kept[0].value.data, again.value.data, again.value.len);
    pb_free(&again.value);
}

static void expect_accounts(struct bed *bed, struct cbt_text body, const struct expected *expected)
{
    const struct cbt_stats *stats = bed->stats;
    uint64_t events = sum(stats->events, CBT_TYPES), filtered = sum(stats->filtered, CBT_FILTERED_COUNT);
    uint64_t dead[CBT_DEAD_COUNT];
    for (unsigned i = 0; i < CBT_DEAD_COUNT; i++)
        dead[i] = atomic_load(&stats->dead[i]);
    bed_do(bed, body, CBT_FRAMING_BUNDLE);
    unsigned delivered = 0;
    for (unsigned i = 0; i < bed->count; i++)
        delivered += !bed->kept[i].is_dead;
    assert_int_equal(delivered, expected->delivered);
    assert_int_equal(bed->count - delivered, dead_of(expected));
    assert_int_equal(sum(stats->filtered, CBT_FILTERED_COUNT) - filtered, expected->filtered);
    assert_int_equal(sum(stats->events, CBT_TYPES) - events,
                     expected->delivered + expected->filtered + dead_of(expected));
    for (unsigned i = 0; i < CBT_DEAD_COUNT; i++)
        if (atomic_load(&stats->dead[i]) - dead[i] != expected->dead[i])
            fail_msg("%s: not %u", cbt_dead_reason_name(i), expected->dead[i]);
    assert_int_equal(sum(stats->filtered_types, CBT_TYPES), sum(stats->filtered, CBT_FILTERED_COUNT));
    assert_int_equal(sum(stats->dead_types, CBT_TYPES), sum(stats->dead, CBT_DEAD_COUNT));
}

static void expect_all_dead_again(struct bed *bed)
{
    static struct kept kept[RECORDS_KEPT];
    unsigned count = bed->count;
    memcpy(kept, bed->kept, sizeof(kept[0]) * count);
    bed->count = 0; /* their memory is ours now */
    for (unsigned i = 0; i < count; i++) {
        if (kept[i].is_dead)
            expect_dead_again(bed, &kept[i]);
        pb_free(&kept[i].value);
    }
}

static const struct expected mixed = {
    .delivered = 4,
    .filtered = 2,
    .dead = {[CBT_DEAD_malformed] = 1, [CBT_DEAD_no_header] = 1, [CBT_DEAD_record_too_large] = 1},
};

static void every_record_of_a_bundle_is_accounted_for(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct pb bundle = mixed_bundle();
    expect_accounts(bed, pb_text(&bundle), &mixed);
    for (unsigned i = 0; i < bed->count; i++) /* the record's own, also of those that cannot be decoded */
        assert_int_equal(bed->kept[i].sensor_id, 5);
    expect_all_dead_again(bed);
    /* Cut off within the last record, whose place is told. */
    struct expected cut = mixed;
    cut.filtered--;
    cut.dead[CBT_DEAD_truncated] = 1;
    expect_accounts(bed, (struct cbt_text){bundle.data, bundle.len - 1}, &cut);
    const struct kept *rest = &bed->kept[bed->count - 1];
    assert_int_equal(rest->dead.index, 8);
    assert_int_equal(rest->dead.offset, bundle.len - 1 - rest->value.len);
    assert_int_equal(rest->sensor_id, 7); /* there is only the message's */
    expect_all_dead_again(bed);
    pb_free(&bundle);
    bed_free(bed);
}

static void every_entry_of_a_zip_is_accounted_for(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct pb bundle = mixed_bundle();
    struct cbt_text all = pb_text(&bundle), most = {bundle.data, bundle.len - 1};
    struct zb_entry entries[] = {{.name = "a", .content = all, .method = 8},
                                 {.name = "d/", .content = all},
                                 {.name = "b", .content = all, .method = 8, .crc_error = 1},
                                 {.name = "c", .content = most},
                                 {.name = "e"},
                                 {.name = "f", .content = all, .method = 8, .flags = 1},
                                 {.name = "g", .content = all, .method = 12},
                                 {.name = "h", .content = all, .method = 8, .size_error = 1},
                                 {.name = "i", .content = all}};
    struct expected expected = {
        .delivered = 3 * 4,
        .filtered = 3 * 2 - 1,
        .dead = {[CBT_DEAD_malformed] = 3,
                 [CBT_DEAD_no_header] = 3,
                 [CBT_DEAD_record_too_large] = 3,
                 [CBT_DEAD_truncated] = 1,
                 [CBT_DEAD_zip_crc] = 1,
                 [CBT_DEAD_zip_unsupported] = 2,
                 [CBT_DEAD_zip_malformed] = 1},
    };
    struct pb zip = zb_build((struct zb){0}, entries, sizeof(entries) / sizeof(entries[0]));
    expect_accounts(bed, pb_text(&zip), &expected);
    expect_all_dead_again(bed);
    pb_free(&zip);
    /* One entry alone, deflated and stored; and none. */
    for (unsigned i = 0; i < 2; i++) {
        zip = zb_build((struct zb){0}, &entries[i == 0 ? 0 : 8], 1);
        expect_accounts(bed, pb_text(&zip), &mixed);
        expect_all_dead_again(bed);
        pb_free(&zip);
    }
    zip = zb_build((struct zb){0}, NULL, 0);
    expect_accounts(bed, pb_text(&zip), &(struct expected){0});
    pb_free(&zip);
    pb_free(&bundle);
    bed_free(bed);
}

/* 100 dead letters, and the rest as one: of a bundle what is left of it, of a zip the whole. */
static void rest_behind_a_hundred_broken_parts_is_one_dead_letter(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct pb bundle = {0};
    for (unsigned i = 0; i < 103; i++)
        put_record(&bundle, i == 0 || i == 102 ? GOOD : MALFORMED);
    struct expected expected = {.delivered = 1,
                                .dead = {[CBT_DEAD_malformed] = 100, [CBT_DEAD_too_many_broken] = 1}};
    expect_accounts(bed, pb_text(&bundle), &expected);
    struct kept *rest = &bed->kept[bed->count - 1];
    assert_int_equal(rest->dead.index, 101);
    assert_int_equal(rest->value.len, bundle.len - rest->dead.offset);
    assert_memory_equal(rest->value.data, bundle.data + rest->dead.offset, rest->value.len);
    assert_int_equal(rest->dead.framing, CBT_FRAMING_BUNDLE);
    struct pb again = rest->value; /* one broken, one good */
    rest->value = (struct pb){0};
    expect_accounts(bed, pb_text(&again),
                    &(struct expected){.delivered = 1, .dead = {[CBT_DEAD_malformed] = 1}});
    pb_free(&again);
    struct zb_entry entries[] = {{.name = "a", .content = pb_text(&bundle), .method = 8},
                                 {.name = "b", .content = pb_text(&bundle)}};
    for (unsigned i = 0; i < 3; i++) { /* both; deflated; stored, which lies in the body */
        struct pb zip = zb_build((struct zb){0}, &entries[i / 2], i == 0 ? 2 : 1);
        expect_accounts(bed, pb_text(&zip), &expected);
        rest = &bed->kept[bed->count - 1];
        assert_int_equal(rest->dead.framing, CBT_FRAMING_BUNDLE);
        assert_int_equal(rest->value.len, zip.len);
        assert_memory_equal(rest->value.data, zip.data, zip.len);
        pb_free(&zip);
    }
    pb_free(&bundle);
    bed_free(bed);
}

/* A zip of 25 KB can hold two million records, whose outputs would all be in memory at once. */
static void rest_behind_the_records_that_are_allowed_is_one_dead_letter(void **state)
{
    (void)state;
    struct bed *bed = bed_new_with(9);
    struct pb bundle = mixed_bundle();
    expect_accounts(bed, pb_text(&bundle), &mixed); /* just as many */
    put_record(&bundle, GOOD);
    put_record(&bundle, GOOD);
    struct expected expected = mixed;
    expected.dead[CBT_DEAD_too_many_records] = 1;
    expect_accounts(bed, pb_text(&bundle), &expected);
    const struct kept *rest = &bed->kept[bed->count - 1];
    assert_int_equal(rest->dead.index, 9);
    assert_int_equal(rest->value.len, bundle.len - rest->dead.offset);
    assert_memory_equal(rest->value.data, bundle.data + rest->dead.offset, rest->value.len);
    struct zb_entry entry = {.name = "a", .content = pb_text(&bundle), .method = 8};
    struct pb zip = zb_build((struct zb){0}, &entry, 1);
    expect_accounts(bed, pb_text(&zip), &expected);
    rest = &bed->kept[bed->count - 1];
    assert_int_equal(rest->value.len, zip.len);
    assert_memory_equal(rest->value.data, zip.data, zip.len);
    pb_free(&zip);
    pb_free(&bundle);
    bed_free(bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_record_of_a_bundle_is_accounted_for),
        cmocka_unit_test(every_entry_of_a_zip_is_accounted_for),
        cmocka_unit_test(rest_behind_a_hundred_broken_parts_is_one_dead_letter),
        cmocka_unit_test(rest_behind_the_records_that_are_allowed_is_one_dead_letter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
