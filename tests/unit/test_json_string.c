/* SPDX-License-Identifier: MIT */
/* The characters of JSON strings: escapes, what is not valid Unicode, comparison, and that nothing is read
 * beyond the end, also of what is no valid JSON. */
#include "fixture.h"

#include "cbtap/json_string.h"

#define FFFD "\xEF\xBF\xBD"

static const struct {
    const char *source, *decoded;
    size_t chars;
} rows[] = {
    {"", "", 0},
    {"abc", "abc", 3},
    {"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t", 8},
    {"\\u0041\\u00e9\\u20AC", "A\xC3\xA9\xE2\x82\xAC", 3},
    {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 3},
    {"\\ud83d\\ude00\\uDBFF\\uDFFF", "\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF", 2},
    {"\\ud800", FFFD, 1},
    {"\\ude00\\ud83d", FFFD FFFD, 2},
    {"\\ud83d\\ud83d\\ude00", FFFD "\xF0\x9F\x98\x80", 2},
    {"\\ud83dx\\ude00", FFFD "x" FFFD, 3},
    {"\\ud83d\\n", FFFD "\n", 2},
    {"\xFF\xFE", FFFD FFFD, 2},
    {"\xF0\x9F\x98", FFFD, 1},
    {"\xED\xA0\x80", FFFD FFFD FFFD, 3},
    {"\xC3\\u00a9", FFFD "\xC2\xA9", 2},
    /* no valid JSON */
    {"a\\", "a\\", 2},
    {"\\u12", "u12", 3},
    {"\\u12G4", "u12G4", 5},
    {"\\ud83d\\u", FFFD "u", 2},
    {"\\u\x11\x12\x13\x14", "u\x11\x12\x13\x14", 5},
};

static struct cbt_text exact(const char *text)
{
    size_t len = strlen(text);
    uint8_t *copy = malloc(len + !len);
    if (copy == NULL)
        abort();
    memcpy(copy, text, len);
    return (struct cbt_text){copy, len};
}

static void free_text(struct cbt_text text)
{
    free((void *)(uintptr_t)text.data);
}

static void strings_are_decoded_to_valid_utf8(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cbt_text source = exact(rows[i].source);
        struct cbt_json_string_size size = cbt_json_string_size(source);
        uint8_t *out = malloc(size.bytes + 1);
        assert_non_null(out);
        if (size.bytes != strlen(rows[i].decoded) || size.chars != rows[i].chars)
            fail_msg("%s: %zu bytes, %zu characters", rows[i].source, size.bytes, size.chars);
        assert_ptr_equal(cbt_json_string_decode(source, out), out + size.bytes);
        assert_memory_equal(out, rows[i].decoded, size.bytes);
        free(out);
        free_text(source);
    }
}

static void strings_are_compared_by_what_they_mean(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        int order;
    } pairs[] = {
        {"", "", 0},
        {"a", "a", 0},
        {"a", "\\u0061", 0},
        {"\\/", "\\u002F", 0},
        {"\xF0\x9F\x98\x80", "\\uD83D\\uDE00", 0},
        {"\xFF", "\\udfff", 0},
        {"", "a", -1},
        {"a", "aa", -1},
        {"a", "b", -1},
        {"\\uffff", "\\ud800\\udc00", -1}, /* by characters, not by UTF-16 units */
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct cbt_text a = exact(pairs[i].a), b = exact(pairs[i].b);
        assert_int_equal(cbt_json_string_compare(a, b), pairs[i].order);
        assert_int_equal(cbt_json_string_compare(b, a), -pairs[i].order);
        free_text(a);
        free_text(b);
    }
}

static void a_string_is_a_plain_text_or_is_not(void **state)
{
    (void)state;
    static const char *const same[] = {"md5", "\\u006dd5", "m\\u00645"};
    static const char *const other[] = {"",      "m",       "md",        "md55",   "Md5",
                                        "md\\n", "\\\\md5", "md\\u0105", "\xFFmd5"};
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        assert_true(cbt_json_string_is(text_of(same[i]), CBT_TEXT("md5")));
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
        assert_false(cbt_json_string_is(text_of(other[i]), CBT_TEXT("md5")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_decoded_to_valid_utf8),
        cmocka_unit_test(strings_are_compared_by_what_they_mean),
        cmocka_unit_test(a_string_is_a_plain_text_or_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
