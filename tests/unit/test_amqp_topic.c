/* SPDX-License-Identifier: MIT */
/* Routing keys against patterns, as AMQP's topic exchange routes; the memory of verdicts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/source_amqp.h"

static struct cbt_text text(const char *s)
{
    return (struct cbt_text){(const uint8_t *)s, strlen(s)};
}

static void topic_matches_as_the_exchange_routes(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *key;
        bool matches;
    } cases[] = {
        {"ingress.event.procstart", "ingress.event.procstart", true},
        {"ingress.event.procstart", "ingress.event.procend", false},
        {"ingress.event.procstart", "ingress.event.procstart.more", false},
        {"ingress.event.procstart", "ingress.event", false},
        {"ingress.event.*", "ingress.event.procstart", true},
        {"ingress.event.*", "ingress.event", false},
        {"ingress.event.*", "ingress.event.", true},
        {"ingress.event.*", "ingress.event.a.b", false},
        {"ingress.event.#", "ingress.event", true},
        {"ingress.event.#", "ingress.event.", true},
        {"ingress.event.#", "ingress.event.a.b.c", true},
        {"ingress.event.#", "ingress.events", false},
        {"watchlist.#", "watchlist.12.storage.hit.process", true},
        {"watchlist.#", "watchlists.hit", false},
        {"#", "", true},
        {"#", "a", true},
        {"#", ".", true},
        {"#", "a.b.c", true},
        {"*", "", false},
        {"*", "a", true},
        {"*", "a.b", false},
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"#.hit", "hit", true},
        {"#.hit", "feed.24.hit", true},
        {"#.hit", "feed.hit.24", false},
        {"#.hit.#", "hit", true},
        {"#.hit.#", "feed.hit.24", true},
        {"#.hit.#", "feed.hits.24", false},
        {"a.#.b", "a.b", true},
        {"a.#.b", "a.b.b", true},
        {"a.#.b", "a.x.y.b", true},
        {"a.#.b", "a.x.y.c", false},
        {"a.#.b.*", "a.b.b.b", true},
        {"a.#.b.#.c", "a.b.x.b.c", true},
        {"a.#.b.#.c", "a.c.b", false},
        {"#.*", "", false},
        {"#.*", "a.b", true},
        {"*.#", "a", true},
        {"*.#.*", "a", false},
        {"*.#.*", "a.b", true},
        {"#.#", "", true},
        {"#.#.a", "b.a", true},
        {"*.*", ".", true},
        {"..", "..", true},
        {"feed*", "feed*", true},
        {"feed*", "feeds", false},
        {"feed#", "feeds.1", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        if (cbt_amqp_topic_matches(text(cases[i].pattern), text(cases[i].key)) != cases[i].matches)
            fail_msg("pattern '%s', key '%s': expected %s", cases[i].pattern, cases[i].key,
                     cases[i].matches ? "a match" : "no match");
}

/* The plain recursive definition, exponential but obvious. */
static bool matches_naively(const char *p, const char *k)
{
    char pattern[64], word[64];
    if (p == NULL)
        return k == NULL;
    const char *p_dot = strchr(p, '.'), *k_dot = k == NULL ? NULL : strchr(k, '.');
    snprintf(pattern, sizeof(pattern), "%.*s", p_dot == NULL ? (int)strlen(p) : (int)(p_dot - p), p);
    const char *p_rest = p_dot == NULL ? NULL : p_dot + 1, *k_rest = k_dot == NULL ? NULL : k_dot + 1;
    if (strcmp(pattern, "#") == 0)
        return matches_naively(p_rest, k) || (k != NULL && matches_naively(p, k_rest));
    if (k == NULL)
        return false;
    snprintf(word, sizeof(word), "%.*s", k_dot == NULL ? (int)strlen(k) : (int)(k_dot - k), k);
    return (strcmp(pattern, "*") == 0 || strcmp(pattern, word) == 0) && matches_naively(p_rest, k_rest);
}

static void append(char *out, size_t size, const char *more)
{
    size_t len = strlen(out);
    snprintf(out + len, size - len, "%s", more);
}

static void make_text(char out[64], uint32_t *seed, const char *const words[], unsigned word_count)
{
    out[0] = '\0';
    *seed = *seed * 1103515245 + 12345;
    unsigned count = (*seed >> 16) % 6;
    for (unsigned i = 0; i < count; i++) {
        *seed = *seed * 1103515245 + 12345;
        if (i > 0)
            append(out, 64, ".");
        append(out, 64, words[(*seed >> 16) % word_count]);
    }
}

static void topic_matches_as_the_naive_definition_does(void **state)
{
    (void)state;
    static const char *const pattern_words[] = {"a", "b", "*", "#", "#"}, *const key_words[] = {"a", "b",
                                                                                                "c"};
    uint32_t seed = 7;
    for (int i = 0; i < 200000; i++) {
        char pattern[64], key[64];
        make_text(pattern, &seed, pattern_words, 5);
        make_text(key, &seed, key_words, 3);
        bool expected = matches_naively(pattern[0] == '\0' ? NULL : pattern, key[0] == '\0' ? NULL : key);
        if (cbt_amqp_topic_matches(text(pattern), text(key)) != expected)
            fail_msg("pattern '%s', key '%s'", pattern, key);
    }
}

static void topic_is_quick_on_hostile_patterns(void **state)
{
    (void)state;
    char pattern[256] = "", key[256] = "";
    for (int i = 0; i < 60; i++)
        append(pattern, sizeof(pattern), "#.a.");
    append(pattern, sizeof(pattern), "b");
    for (int i = 0; i < 120; i++)
        append(key, sizeof(key), "a.");
    append(key, sizeof(key), "c");
    /* Exponential search would not come back. */
    assert_false(cbt_amqp_topic_matches(text(pattern), text(key)));
}

static void wanted_remembers_the_last_keys(void **state)
{
    (void)state;
    static const char *const patterns[] = {"watchlist.#", "feed.#"};
    struct cbt_amqp_verdicts verdicts = {0};
    bool is_new;
    assert_true(cbt_amqp_wanted(&verdicts, patterns, 2, text("feed.1.hit"), &is_new));
    assert_true(is_new);
    assert_true(cbt_amqp_wanted(&verdicts, patterns, 2, text("feed.1.hit"), &is_new));
    assert_false(is_new);
    assert_false(cbt_amqp_wanted(&verdicts, patterns, 2, text("ingress.event.procstart"), &is_new));
    assert_true(is_new);
    assert_false(cbt_amqp_wanted(&verdicts, patterns, 2, text("ingress.event.procstart"), &is_new));
    assert_false(is_new);
    assert_false(cbt_amqp_wanted(&verdicts, patterns, 2, text(""), &is_new));
    assert_true(is_new);
    assert_false(cbt_amqp_wanted(&verdicts, NULL, 0, text(""), &is_new));
    assert_false(is_new);
    for (int i = 0; i < 100; i++) {
        char key[CBT_AMQP_SHORTSTR_BYTES_MAX + 1];
        snprintf(key, sizeof(key), "%s.%0240d", i % 2 == 0 ? "watchlist" : "alert", i);
        assert_int_equal(cbt_amqp_wanted(&verdicts, patterns, 2, text(key), &is_new), i % 2 == 0);
        assert_true(is_new);
    }
    assert_true(cbt_amqp_wanted(&verdicts, patterns, 2, text("feed.1.hit"), &is_new));
    assert_true(is_new);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topic_matches_as_the_exchange_routes),
        cmocka_unit_test(topic_matches_as_the_naive_definition_does),
        cmocka_unit_test(topic_is_quick_on_hostile_patterns),
        cmocka_unit_test(wanted_remembers_the_last_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
