/* SPDX-License-Identifier: MIT */
/* The filter: globs with and without the prefix, notifications, and what is refused. */
#include "fixture.h"

static struct cbt_filter *filter_new(const char *types, const char *drop)
{
    struct cbt_filter *filter = NULL;
    struct cbt_err err = {0};
    if (cbt_filter_new(&filter, types, drop, &err) != 0)
        fail_msg("types %s, drop %s: %s", types, drop, err.text);
    return filter;
}

struct row {
    const char *types, *drop, *name;
    bool takes;
};

static const struct row rows[] = {
    {"*", "", "ingress.event.procstart", true},
    {NULL, NULL, "watchlist.hit.process", true},
    {"procstart", "", "ingress.event.procstart", true},
    {"procstart", "", "ingress.event.procend", false},
    {" procstart ,\tprocend,, ", "", "ingress.event.procend", true},
    {"ingress.event.procstart", "", "ingress.event.procstart", true},
    {"ingress.event.*", "", "ingress.event.filemod", true},
    {"ingress.event.*", "", "alert.watchlist.hit.query.process", false},
    {"proc*", "", "ingress.event.processblock", true},
    {"proc*", "processblock", "ingress.event.processblock", false},
    {"proc*", "processblock", "ingress.event.procend", true},
    {"*", "*mod", "ingress.event.filemod", false},
    {"*", "*mod", "ingress.event.module", true},
    {"*", "ingress.event.reg???", "ingress.event.regmod", false},
    {"[fr]*mod", "", "ingress.event.regmod", true},
    {"[fr]*mod", "", "ingress.event.moduleload", false},
    {"watchlist.*", "", "watchlist.hit.process", true},
    {"watchlist.*", "", "feed.hit.process", false},
    {"*", "watchlist.*", "watchlist.hit.process", false},
    {"*", "*.process", "feed.ingress.hit.process", false},
    {"*", "*.process", "ingress.event.procstart", true},
    {"*", "feed.ingress.hit.process", "feed.ingress.hit.process", false},
    {"procstart", "procstart", "ingress.event.procstart", false},
    {"unknown", "", "ingress.event.unknown", true},
};

static void types_and_names_match_by_glob_with_and_without_prefix(void **state)
{
    (void)state;
    const char prefix[] = "ingress.event.";
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cbt_filter *filter = filter_new(rows[i].types, rows[i].drop);
        if (cbt_filter_takes_name(filter, text_of(rows[i].name)) != rows[i].takes)
            fail_msg("row %zu: %s is not %d", i, rows[i].name, (int)rows[i].takes);
        for (int type = 0; type < CBT_TYPE_NOTIFICATION; type++)
            if (strncmp(rows[i].name, prefix, strlen(prefix)) == 0 &&
                strcmp(rows[i].name + strlen(prefix), cbt_event_type_name((enum cbt_event_type)type)) == 0)
                assert_int_equal(cbt_filter_takes(filter, (enum cbt_event_type)type), rows[i].takes);
        cbt_filter_free(filter);
    }
}

static void names_of_any_length_and_content_are_matched(void **state)
{
    (void)state;
    struct cbt_filter *filter = filter_new("*.x", "");
    char *name = malloc(100000);
    assert_non_null(name);
    memset(name, 'a', 100000);
    memcpy(name + 99998, ".x", 2);
    assert_false(cbt_filter_takes_name(filter, (struct cbt_text){(uint8_t *)name, 100000})); /* cut */
    assert_true(cbt_filter_takes_name(filter, (struct cbt_text){(uint8_t *)name + 99700, 300}));
    assert_false(cbt_filter_takes_name(filter, (struct cbt_text){NULL, 0}));
    memcpy(name, "a\0b.x", 5);
    cbt_filter_takes_name(filter, (struct cbt_text){(uint8_t *)name, 5});
    free(name);
    cbt_filter_free(filter);
    cbt_filter_free(NULL);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *types, *drop, *message;
    } mistakes[] = {
        {"procstrat", "", "filter.types: 'procstrat' is no event type; docs/EVENTS.md lists them"},
        {"*", "filemod,regmods", "filter.drop: 'regmods' is no event type; docs/EVENTS.md lists them"},
        {"ingress.event.process", "",
         "filter.types: 'ingress.event.process' is no event type; docs/EVENTS.md lists them"},
        {"", "", "filter.types: nothing would be forwarded (* is all types)"},
        {" , ", "", "filter.types: nothing would be forwarded (* is all types)"},
    };
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        struct cbt_filter *filter = NULL;
        struct cbt_err err = {0};
        assert_int_equal(cbt_filter_new(&filter, mistakes[i].types, mistakes[i].drop, &err), CBT_EINVAL);
        assert_string_equal(err.text, mistakes[i].message);
        assert_null(filter);
    }
}

static void reasons_and_types_have_names(void **state)
{
    (void)state;
    assert_string_equal(cbt_dead_reason_name(CBT_DEAD_truncated), "truncated");
    assert_string_equal(cbt_dead_reason_name(CBT_DEAD_refused), "refused");
    assert_string_equal(cbt_dead_reason_text(CBT_DEAD_empty), "the message has no body");
    assert_string_equal(cbt_filtered_reason_name(CBT_FILTERED_deprecated), "deprecated");
    assert_string_equal(cbt_dropped_reason_name(CBT_DROPPED_budget), "budget");
    assert_string_equal(cbt_resent_reason_name(CBT_RESENT_fatal), "fatal");
    assert_string_equal(cbt_event_type_name(CBT_TYPE_procstart), "procstart");
    assert_string_equal(cbt_event_type_name(CBT_TYPE_NOTIFICATION), "other");
    assert_string_equal(cbt_event_type_name(CBT_TYPES), "other");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_and_names_match_by_glob_with_and_without_prefix),
        cmocka_unit_test(names_of_any_length_and_content_are_matched),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(reasons_and_types_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
