/* SPDX-License-Identifier: MIT */
/* A notification with docs: an event for each entry, each with its own sensor and text, within bounds of
 * memory and time whatever the text is made of. */
#include "notification_bed.h"

#include "cbtap/arena.h"
#include "cbtap/clock.h"
#include "cbtap/notification.h"

static void each_entry_of_docs_is_an_event(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *expected[5];
    } rows[] = {
        {"{\"a\":1,\"docs\":[{\"b\":1},{\"b\":2},{}],\"c\":3}",
         {"\"a\":1,\"c\":3,\"docs\":[{\"b\":1}]", "\"a\":1,\"c\":3,\"docs\":[{\"b\":2}]",
          "\"a\":1,\"c\":3,\"docs\":[{}]"}},
        {"{\"docs\":[]}", {"\"docs\":[]"}},
        {"{\"docs\":[ ],\"event_timestamp\":1}", {"\"docs\":[],\"timestamp\":1"}},
        {"{\"docs\":{\"event_timestamp\":1}}", {"\"docs\":{\"event_timestamp\":1}"}},
        {"{\"docs\":\"x\"}", {"\"docs\":\"x\""}},
        {"{\"docs\":null}", {"\"docs\":null"}},
        {"{\"docs\":[1,\"x\\ud800\",null,[{\"highlights\":1,\"highlights\":2}]]}",
         {"\"docs\":[1]", "\"docs\":[\"x\xEF\xBF\xBD\"]", "\"docs\":[null]",
          "\"docs\":[[{\"highlights\":2}]]"}},
        {"{\"docs\":[{\"docs\":[1,2],\"highlights\":3}]}", {"\"docs\":[{\"docs\":[1,2]}]"}},
        {"{\"\\u0064ocs\":[{\"a\":1},2]}", {"\"docs\":[{\"a\":1}]", "\"docs\":[2]"}},
        {"{\"docs\":[1,2,3],\"docs\":[4,5]}", {"\"docs\":[4]", "\"docs\":[5]"}},
        {"{\"docs\":[1,2,3],\"docs\":4}", {"\"docs\":4"}},
        {"{\"docs\":4,\"docs\":[{\"hostname\":5}]}", {"\"docs\":[{\"hostname\":5,\"computer_name\":5}]"}},
        {"{\"docs\":[{\"a\":1,\"a\":2},{\"a\":3,\"b\":{\"a\":1,\"a\":4}}],\"d\":{\"a\":1,\"a\":5}}",
         {"\"d\":{\"a\":5},\"docs\":[{\"a\":2}]", "\"d\":{\"a\":5},\"docs\":[{\"a\":3,\"b\":{\"a\":4}}]"}},
        {"{\"x\":{\"docs\":[1,2]}}", {"\"x\":{\"docs\":[1,2]}"}},
        /* the top's and an entry's rules do not mix */
        {"{\"process_id\":\"p\",\"hostname\":\"h\",\"docs\":[{\"event_timestamp\":2}]}",
         {"\"process_id\":\"p\",\"process_guid\":\"p\",\"segment_id\":\"1\",\"hostname\":\"h\","
          "\"computer_name\":\"h\",\"docs\":[{\"timestamp\":2}]"}},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        expect_events(json, "a.b", rows[i].text, rows[i].expected);
}

static void sensor_and_time_are_the_tops_or_the_entrys(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool has;
        int32_t id;
        int64_t unix_ms;
    } rows[] = {
        {"{\"sensor_id\":7,\"event_timestamp\":1.5,\"docs\":[{\"sensor_id\":8,\"event_timestamp\":2}]}", true,
         7, 1500},
        {"{\"docs\":[{\"sensor_id\":8,\"event_timestamp\":2}]}", true, 8, 2000},
        {"{\"docs\":[{\"sensor_id\":\"\\u0039\"}]}", true, 9, 0},
        {"{\"sensor_id\":null,\"docs\":[{\"sensor_id\":8}]}", true, 8, 0},
        {"{\"sensor_id\":\"x\",\"docs\":[{\"sensor_id\":\"y\"}]}", false, 0, 0},
        {"{\"docs\":[{\"a\":{\"sensor_id\":8}}]}", false, 0, 0},
        {"{\"docs\":[[{\"sensor_id\":8}]]}", false, 0, 0},
        {"{\"docs\":{\"sensor_id\":8}}", false, 0, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cbt_event event;
        enum cbt_dead_reason reason;
        struct cbt_err err;
        size_t cursor = 0;
        assert_int_equal(cbt_decode_notification(decoder, text_of(rows[i].text), text_of("a"), &cursor,
                                                 &event, &reason, &err),
                         1);
        if (event.env.has_sensor_id != rows[i].has || event.env.sensor_id != rows[i].id ||
            event.unix_ms != rows[i].unix_ms)
            fail_msg("%s: sensor %d %d, time %lld", rows[i].text, event.env.has_sensor_id,
                     event.env.sensor_id, (long long)event.unix_ms);
    }
    /* An entry without one does not have that of the entry before it. */
    static const char text[] = "{\"docs\":[{\"sensor_id\":8},{},5,{\"sensor_id\":9}]}";
    static const int32_t ids[] = {8, -1, -1, 9};
    size_t cursor = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct cbt_event event;
        enum cbt_dead_reason reason;
        struct cbt_err err;
        assert_int_equal(
            cbt_decode_notification(decoder, text_of(text), text_of("a"), &cursor, &event, &reason, &err), 1);
        assert_int_equal(event.env.has_sensor_id ? event.env.sensor_id : -1, ids[i]);
    }
}

static bool no_growth(struct cbt_buf *buf, size_t bytes)
{
    (void)buf;
    (void)bytes;
    return false;
}

static void the_text_is_cut_to_the_events_entry(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *expected[4];
    } rows[] = {
        {" {\"a\" : \"\xFF\\ud800\", \"a\":1}\n", {"{\"a\" : \"\xFF\\ud800\", \"a\":1}"}},
        {"{\"docs\": [ {\"a\":\"]\"} , \"b\", 5 ] , \"type\":1}",
         {"{\"docs\": [{\"a\":\"]\"}] , \"type\":1}", "{\"docs\": [\"b\"] , \"type\":1}",
          "{\"docs\": [5] , \"type\":1}"}},
        {"{\"docs\":[1,2],\"docs\":[3,4]}",
         {"{\"docs\":[1,2],\"docs\":[3]}", "{\"docs\":[1,2],\"docs\":[4]}"}},
        {"{\"docs\":[ ]}", {"{\"docs\":[ ]}"}},
        {"{\"docs\":{}}", {"{\"docs\":{}}"}},
        {"{\"docs\":[1,2],\"docs\":{}}", {"{\"docs\":[1,2],\"docs\":{}}"}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t cursor = 0;
        struct cbt_event event;
        enum cbt_dead_reason reason;
        struct cbt_err err;
        unsigned count = 0;
        while (cbt_decode_notification(decoder, text_of(rows[i].text), text_of("a"), &cursor, &event, &reason,
                                       &err) == 1) {
            const char *expected = count < COUNT(rows[i].expected) ? rows[i].expected[count++] : NULL;
            if (expected == NULL) {
                fail_msg("more events than expected of %s", rows[i].text);
                break;
            }
            /* Memory of exactly the size that is told, which does not grow. */
            size_t bytes = cbt_note_text_bytes(event.notification);
            assert_int_equal(bytes, strlen(expected));
            uint8_t *memory = malloc(bytes);
            if (memory == NULL)
                abort();
            struct cbt_buf out = {.begin = memory, .pos = memory, .end = memory + bytes, .grow = no_growth};
            cbt_note_put_text(event.notification, &out);
            assert_false(out.failed);
            assert_int_equal(cbt_buf_len(&out), bytes);
            assert_memory_equal(memory, expected, bytes);
            free(memory);
        }
        assert_null(rows[i].expected[count]);
    }
}

/* --- bounds --- */

static char *big;
static size_t big_len;
#define BIG_MAX (9u << 20)

static void big_begin(const char *text)
{
    if (big == NULL)
        big = malloc(BIG_MAX);
    assert_non_null(big);
    big_len = (size_t)sprintf(big, "%s", text);
}

#define BIG_ADD(...)                                                                                         \
    (assert_true(big_len + 4096 < BIG_MAX), big_len += (size_t)sprintf(big + big_len, __VA_ARGS__))

/* Runs it through decoder and format; how many events, or the negative code of the first call. */
static int64_t run_big(enum cbt_dead_reason *ret_reason, size_t *ret_bytes)
{
    size_t cursor = 0;
    struct cbt_event event;
    struct cbt_err err = {0};
    int64_t events = 0;
    struct exact_buf out;
    exact_init(&out, 65536, SIZE_MAX);
    *ret_bytes = 0;
    for (;; events++) {
        int rc = cbt_decode_notification(decoder, (struct cbt_text){(const uint8_t *)big, big_len},
                                         text_of("a.b"), &cursor, &event, ret_reason, &err);
        if (rc <= 0) {
            exact_free(&out);
            assert_true(rc == 0 || events == 0);
            return rc < 0 ? rc : events;
        }
        assert_int_equal(cbt_format_find("json")->encode(json_links, &event, &out.buf, &err), 0);
        *ret_bytes += cbt_buf_len(&out.buf);
        out.buf.pos = out.buf.begin;
        /* A format that leaves memory in the arena does not take it from the events to come. */
        assert_non_null(cbt_arena_alloc(event.arena, 1000));
    }
}

static void free_big(void)
{
    free(big);
    big = NULL;
}

static int64_t expect_big(int64_t events)
{
    enum cbt_dead_reason reason = CBT_DEAD_COUNT;
    size_t bytes;
    int64_t start = cbt_now_ns(), is = run_big(&reason, &bytes);
    if (is != events)
        fail_msg("%lld events, not %lld (%d)", (long long)is, (long long)events, (int)reason);
    if (events < 0)
        assert_int_equal(reason, CBT_DEAD_too_complex);
    return cbt_now_ns() - start;
}

/* A hundred times what it takes on a slow machine, a hundredth of what looking at every entry for each would.
 */
#define LINEAR_NS (INT64_C(10) * 1000000000)

static void a_hundred_thousand_entries_take_linear_time(void **state)
{
    (void)state;
    big_begin("{\"a\":1,\"docs\":[");
    for (unsigned i = 0; i < 100000; i++)
        BIG_ADD("%s{\"md5\":\"%032x\",\"sensor_id\":%u}", i > 0 ? "," : "", i, i);
    BIG_ADD("],\"z\":2}");
    assert_true(expect_big(100000) < LINEAR_NS);
    /* Others that do not count stand before them. */
    big_begin("{\"docs\":[");
    for (unsigned i = 0; i < 1000; i++)
        BIG_ADD("1,");
    BIG_ADD("1],\"docs\":[");
    for (unsigned i = 0; i < 100000; i++)
        BIG_ADD("%s{\"a\":1,\"a\":2}", i > 0 ? "," : "");
    BIG_ADD("],\"docs\\u0000\":2}");
    assert_true(expect_big(100000) < LINEAR_NS);
    free_big();
}

static void many_equal_keys_take_linear_time(void **state)
{
    (void)state;
    enum cbt_dead_reason reason;
    size_t bytes;
    big_begin("{");
    for (unsigned i = 0; i < 200000; i++)
        BIG_ADD("\"abc\":{\"d\":1},");
    BIG_ADD("\"z\":1}");
    int64_t start = cbt_now_ns();
    assert_int_equal(run_big(&reason, &bytes), 1);
    assert_true(cbt_now_ns() - start < LINEAR_NS);
    assert_int_equal(bytes, strlen("{\"type\":\"a.b\",\"cb_server\":\"s\",\"abc\":{\"d\":1},\"z\":1}"));
    /* Long keys that differ at their ends, and all different ones. */
    big_begin("{\"x\":{");
    for (unsigned i = 0; i < 4000; i++)
        BIG_ADD("%s\"%01000u\":1", i > 0 ? "," : "", i / 2);
    BIG_ADD("}}");
    assert_true(expect_big(1) < LINEAR_NS);
    big_begin("{\"x\":{");
    for (unsigned i = 0; i < 200000; i++)
        BIG_ADD("%s\"%u\":1", i > 0 ? "," : "", i);
    BIG_ADD("}}");
    assert_true(expect_big(1) < LINEAR_NS);
    free_big();
}

static void deep_nesting_of_equal_keys_takes_linear_time(void **state)
{
    (void)state;
    enum cbt_dead_reason reason;
    size_t bytes;
    big_begin("{");
    for (unsigned i = 0; i < 1000; i++) {
        for (unsigned depth = 1; depth < 100; depth++)
            BIG_ADD("\"a\":{");
        for (unsigned depth = 1; depth < 100; depth++)
            BIG_ADD("},\"a\":%s", depth < 99 ? "2" : "");
        BIG_ADD("3,");
    }
    BIG_ADD("\"b\":1}");
    int64_t start = cbt_now_ns();
    assert_int_equal(run_big(&reason, &bytes), 1);
    assert_true(cbt_now_ns() - start < LINEAR_NS);
    assert_int_equal(bytes, strlen("{\"type\":\"a.b\",\"cb_server\":\"s\",\"a\":3,\"b\":1}"));
    free_big();
}

static void what_the_arena_cannot_hold_is_too_complex(void **state)
{
    (void)state;
    /* Tokens beyond it */
    big_begin("{\"a\":[");
    for (unsigned i = 0; i < 2000000; i++)
        BIG_ADD("1,");
    BIG_ADD("1]}");
    expect_big(CBT_ELIMIT);
    /* A query that cannot be judged, of the last entry: nothing comes of the first ones either. */
    big_begin("{\"docs\":[{\"a\":1},{\"ioc_type\":\"query\",\"ioc_value\":\"");
    memset(big + big_len, 'x', 7u << 20);
    big_len += 7u << 20;
    BIG_ADD("\"}]}");
    expect_big(CBT_ELIMIT);
    free_big();
}

static void what_is_repeated_for_each_entry_is_bounded(void **state)
{
    (void)state;
    /* 8 times 32 MiB: 4096 entries with 65,536 bytes beside docs are just as much. */
    for (unsigned more = 0; more < 2; more++) {
        big_begin("{\"a\":\"");
        memset(big + big_len, 'x', 65536 - 16 + more);
        big_len += 65536 - 16 + more;
        BIG_ADD("\",\"docs\":[");
        for (unsigned i = 0; i < 4096; i++)
            BIG_ADD("%s1", i > 0 ? "," : "");
        BIG_ADD("]}");
        size_t docs = 2 * 4096 - 1 + 2;
        assert_int_equal(big_len - docs, 65536 + more);
        expect_big(more == 0 ? 4096 : CBT_ELIMIT);
    }
    free_big();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_entry_of_docs_is_an_event),
        cmocka_unit_test(sensor_and_time_are_the_tops_or_the_entrys),
        cmocka_unit_test(the_text_is_cut_to_the_events_entry),
        cmocka_unit_test(a_hundred_thousand_entries_take_linear_time),
        cmocka_unit_test(many_equal_keys_take_linear_time),
        cmocka_unit_test(deep_nesting_of_equal_keys_takes_linear_time),
        cmocka_unit_test(what_the_arena_cannot_hold_is_too_complex),
        cmocka_unit_test(what_is_repeated_for_each_entry_is_bounded),
    };
    return cmocka_run_group_tests(tests, bed_open, bed_close);
}
