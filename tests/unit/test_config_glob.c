/* SPDX-License-Identifier: MIT */
/* Overlap of Redis patterns, against trying every short text; topic patterns that match endpoint events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/config_internal.h"

static struct cbt_text text_of(const char *s)
{
    return (struct cbt_text){(const uint8_t *)s, strlen(s)};
}

static bool overlap(const char *a, const char *b)
{
    bool ab = false, ba = false;
    struct cbt_err err = {0};
    assert_int_equal(cbt_globs_overlap(text_of(a), text_of(b), &ab, &err), 0);
    assert_int_equal(cbt_globs_overlap(text_of(b), text_of(a), &ba, &err), 0);
    assert_int_equal(ab, ba);
    return ab;
}

static void overlaps_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool overlap;
    } rows[] = {
        {"ingress.event.*", "ingress.event.*", true},
        {"ingress.event.*", "ingress.event.procstart", true},
        {"ingress.event.*", "ingress.*.procstart", true},
        {"ingress.event.procstart", "ingress.event.procend", false},
        {"ingress.event.*", "other.*", false},
        {"*", "x", true},
        {"*", "", true},
        {"", "", true},
        {"", "x", false},
        {"a*", "*b", true},
        {"a*b", "a*c", false},
        {"a*b*c", "a*c*b*c", true},
        {"a?", "a", false},
        {"a?", "?b", true},
        {"[abc]x", "[cde]x", true},
        {"[abc]x", "[def]x", false},
        {"[a-c]x", "[c-a]x", true},
        {"[^a]", "a", false},
        {"[^a]", "b", true},
        {"[^a]", "[^b]", true},
        {"[]", "x", false},
        {"[abc", "c", true},
        {"[abc", "d", false},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"\\*", "\\*", true},
        {"[\\]]", "]", true},
        {"a\\", "a\\\\", true},
        {"**a**", "b*a", true},
        {"**a**", "b*", true},
        {"*a*", "[^a][^a]", false},
        {"ingress.event.[np]*", "ingress.event.[a-m]*", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (overlap(rows[i].a, rows[i].b) != rows[i].overlap)
            fail_msg("%s and %s", rows[i].a, rows[i].b);
}

/* One pattern against one text, the plain way. */
static bool matches(const char *pattern, const char *text)
{
    if (!*pattern)
        return !*text;
    if (*pattern == '*')
        return matches(pattern + 1, text) || (*text && matches(pattern, text + 1));
    if (!*text)
        return false;
    if (*pattern == '[') {
        bool negated = pattern[1] == '^', found = false;
        const char *s = pattern + 1 + negated;
        for (; *s && *s != ']'; s++)
            found |= *s == *text;
        return found != negated && matches(*s ? s + 1 : s, text + 1);
    }
    return (*pattern == '?' || *pattern == *text) && matches(pattern + 1, text + 1);
}

/* Whether some text of at most `left` bytes over a, b, c matches both. */
static bool some_text(const char *a, const char *b, char *text, size_t len, size_t left)
{
    text[len] = '\0';
    if (matches(a, text) && matches(b, text))
        return true;
    for (char c = 'a'; left > 0 && c <= 'c'; c++) {
        text[len] = c;
        if (some_text(a, b, text, len + 1, left - 1))
            return true;
    }
    return false;
}

/* Patterns of three pieces and fewer: where they overlap, a text of six bytes or fewer shows it (a star in
 * one needs no more bytes than the other has pieces). */
static void overlap_is_what_trying_all_texts_says(void **state)
{
    (void)state;
    static const char *const pieces[] = {"", "a", "b", "?", "*", "[ab]", "[^a]"};
    enum { PIECES = sizeof pieces / sizeof pieces[0], PATTERNS = PIECES * PIECES * PIECES };
    static char patterns[PATTERNS][16];
    for (size_t i = 0; i < PATTERNS; i++)
        snprintf(patterns[i], sizeof patterns[i], "%s%s%s", pieces[i / PIECES / PIECES],
                 pieces[i / PIECES % PIECES], pieces[i % PIECES]);
    size_t overlapping = 0;
    for (size_t i = 0; i < PATTERNS; i++) {
        for (size_t j = i; j < PATTERNS; j++) {
            char text[16];
            bool expected = some_text(patterns[i], patterns[j], text, 0, 6);
            if (overlap(patterns[i], patterns[j]) != expected)
                fail_msg("\"%s\" and \"%s\"", patterns[i], patterns[j]);
            overlapping += expected;
        }
    }
    assert_true(overlapping > 1000);
}

static void topics_that_match_endpoint_events(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        bool matches;
    } rows[] = {
        {"#", true},
        {"ingress.#", true},
        {"ingress.event.#", true},
        {"ingress.event.procstart", true},
        {"*.*.*", true},
        {"*.event.*", true},
        {"#.netconn", true},
        {"#.event.#", true},
        {"ingress.#.x", true},
        {"ingress.event", false},
        {"ingress.*", false},
        {"*.*", false},
        {"alert.#", false},
        {"ingress.event.a.b", false},
        {"*.*.*.*", false},
        {"watchlist.hit.process", false},
        {"#.#.#.#", true},
        {"", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (cbt_topic_matches_events(text_of(rows[i].pattern)) != rows[i].matches)
            fail_msg("%s", rows[i].pattern);
    /* Many # end in time. */
    char pattern[256] = "#";
    size_t len = 1;
    for (; len < 241; len += 2)
        memcpy(pattern + len, ".#", 3);
    assert_true(cbt_topic_matches_events(text_of(pattern)));
    memcpy(pattern + len - 1, "x.y.z.w", 8);
    assert_false(cbt_topic_matches_events(text_of(pattern)));
}

static void lists(void **state)
{
    (void)state;
    const char *cursor = " a , b,c d ,, e ";
    static const char *const expected[] = {"a", "b", "c d", "", "e"};
    struct cbt_text item;
    for (size_t i = 0; i < 5; i++) {
        assert_true(cbt_list_next(&cursor, &item));
        assert_int_equal(item.len, strlen(expected[i]));
        assert_memory_equal(item.data, expected[i], item.len);
    }
    assert_false(cbt_list_next(&cursor, &item));
    cursor = "  ";
    assert_false(cbt_list_next(&cursor, &item));
    cursor = "a,";
    assert_true(cbt_list_next(&cursor, &item));
    assert_false(cbt_list_next(&cursor, &item));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlaps_are_found),
        cmocka_unit_test(overlap_is_what_trying_all_texts_says),
        cmocka_unit_test(topics_that_match_endpoint_events),
        cmocka_unit_test(lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
