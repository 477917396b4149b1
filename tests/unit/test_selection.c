/* SPDX-License-Identifier: MIT */
/* Which events a selection takes: by host, in endpoint events and in notifications, and by time. */
#include "fixture.h"

#include "decode/selection.h"

static bool host_takes(const char *pattern, struct cbt_text name)
{
    const struct cbt_selection selection = {.host = pattern};
    const struct cbt_event event = {.type = CBT_TYPE_procstart, .env = {.host_name = name}};
    return cbt_selection_takes(&selection, &event);
}

static void hosts_match_by_pattern_in_any_case(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool expected;
    } rows[] = {
        {"dc-*", "DC-7", true}, {"DC-?", "dc-7", true},    {"dc-*", "web-7", false}, {"dc", "dc-7", false},
        {"*-7", "dc-7", true},  {"[dw]c-7", "wc-7", true}, {"*", "", true},          {"", "", true},
        {"dc-*", "", false},    {"\\*", "*", true},        {"\\*", "a", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (host_takes(rows[i].pattern, text_of(rows[i].name)) != rows[i].expected)
            fail_msg("%s of %s: expected %d", rows[i].pattern, rows[i].name, rows[i].expected);
    assert_true(host_takes("", (struct cbt_text){0}));
    assert_true(cbt_selection_takes(&(struct cbt_selection){0}, &(struct cbt_event){0}));
}

static void a_name_of_any_length_is_looked_at(void **state)
{
    (void)state;
    size_t len = 1 << 20;
    char *name = malloc(len);
    assert_non_null(name);
    memset(name, 'a', len);
    struct cbt_text text = {(const uint8_t *)name, len};
    assert_true(host_takes("a*", text));
    assert_false(host_takes("b*", text));
    assert_false(host_takes("aaa", text));
    free(name);
}

/* How many of the notification's events are taken. */
static unsigned taken(const struct cbt_selection *selection, const char *json)
{
    struct cbt_decoder *decoder;
    struct cbt_err err;
    enum cbt_dead_reason reason;
    struct cbt_event event;
    size_t cursor = 0;
    unsigned count = 0;
    int rc;
    assert_int_equal(cbt_decoder_new(&decoder, &fixture_limits, &err), 0);
    while ((rc = cbt_decode_notification(decoder, text_of(json), text_of("watchlist.hit"), &cursor, &event,
                                         &reason, &err)) > 0)
        count += cbt_selection_takes(selection, &event);
    assert_int_equal(rc, 0);
    cbt_decoder_free(decoder);
    return count;
}

static void a_notification_is_of_each_host_that_it_names(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *json;
        unsigned expected;
    } rows[] = {
        {"dc-*", "{\"hostname\":\"DC-7\"}", 1},
        {"dc-*", "{\"computer_name\":\"dc-7\"}", 1},
        {"dc-*", "{\"hostname\":\"web-7\",\"computer_name\":\"dc-7\"}", 1},
        {"dc-*", "{\"hostname\":\"web-7\"}", 0},
        {"dc-*", "{\"hostname\":[\"dc-7\"]}", 1},
        {"dc-*", "{\"hostname\":[\"web-7\",\"dc-7\"]}", 0},
        {"dc-*", "{\"hostname\":\"web-7\",\"hostname\":\"dc-7\"}", 1},
        {"dc-*", "{\"hostname\":\"dc-7\",\"hostname\":\"web-7\"}", 0},
        {"dc-*", "{\"hostname\":\"\\u0064c\\u002d7\"}", 1},
        {"*\xC3\xA9", "{\"hostname\":\"caf\\u00e9\"}", 1},
        {"dc-*", "{\"hostname\":7,\"computer_name\":{\"a\":\"dc-7\"}}", 0},
        {"dc-*", "{\"a\":{\"hostname\":\"dc-7\"}}", 0},
        {"dc-*",
         "{\"docs\":[{\"hostname\":\"dc-7\"},{\"hostname\":\"web-7\"},{\"computer_name\":\"dc-8\"},7]}", 2},
        {"dc-*", "{\"computer_name\":\"dc-7\",\"docs\":[{\"hostname\":\"web-7\"},{}]}", 2},
        {"*", "{}", 1},
        {"", "{\"hostname\":null}", 1},
        {"", "{\"docs\":[{\"hostname\":\"web-7\"},{}]}", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned is = taken(&(struct cbt_selection){.host = rows[i].pattern}, rows[i].json);
        if (is != rows[i].expected)
            fail_msg("%s of %s: %u, expected %u", rows[i].pattern, rows[i].json, is, rows[i].expected);
    }
}

static void times_are_from_then_on_and_before_then(void **state)
{
    (void)state;
    const struct cbt_selection selection = {.timed = true, .since_ms = 1000, .until_ms = 2000};
    static const struct {
        int64_t ms;
        bool expected;
    } rows[] = {{999, false}, {1000, true}, {1999, true}, {2000, false}, {0, false}, {-1500, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(cbt_selection_takes(&selection, &(struct cbt_event){.unix_ms = rows[i].ms}),
                         rows[i].expected);
    /* A time that is not known is in no range, not even one that is open. */
    const struct cbt_selection open = {.timed = true, .since_ms = INT64_MIN, .until_ms = INT64_MAX};
    assert_false(cbt_selection_takes(&open, &(struct cbt_event){0}));
    assert_int_equal(taken(&selection, "{\"event_timestamp\":1.5}"), 1);
    assert_int_equal(taken(&selection, "{\"docs\":[{\"event_timestamp\":1.5},{\"event_timestamp\":2.5}]}"),
                     1);
}

static void host_and_time_must_both_fit(void **state)
{
    (void)state;
    const struct cbt_selection selection = {
        .host = "dc-*", .timed = true, .since_ms = 1000, .until_ms = 2000};
    assert_int_equal(taken(&selection, "{\"hostname\":\"dc-7\",\"event_timestamp\":1.5}"), 1);
    assert_int_equal(taken(&selection, "{\"hostname\":\"dc-7\",\"event_timestamp\":2.5}"), 0);
    assert_int_equal(taken(&selection, "{\"hostname\":\"web-7\",\"event_timestamp\":1.5}"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_match_by_pattern_in_any_case),
        cmocka_unit_test(a_name_of_any_length_is_looked_at),
        cmocka_unit_test(a_notification_is_of_each_host_that_it_names),
        cmocka_unit_test(times_are_from_then_on_and_before_then),
        cmocka_unit_test(host_and_time_must_both_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
