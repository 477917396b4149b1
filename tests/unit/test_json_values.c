/* SPDX-License-Identifier: MIT */
/* The writers of single values: numbers, times, GUIDs, addresses, hexadecimal, base64, text. */
#include "fixture.h"
#include "json_value.h"

#include "format/json_row.h"

static uint8_t place[4096];

static void expect_text(const uint8_t *end, const char *expected)
{
    size_t len = (size_t)(end - place);
    if (len != strlen(expected) || memcmp(place, expected, len) != 0)
        fail_msg("is %.*s, expected %s", (int)len, (char *)place, expected);
}

static void integers_are_written_exactly(void **state)
{
    (void)state;
    char expected[32];
    uint64_t power = 1;
    for (int digits = 0; digits < 20; digits++, power *= 10) {
        const uint64_t around[] = {power - 1, power, power + 1, power * 5 + 7, power * 9};
        for (int i = 0; i < 5; i++) {
            snprintf(expected, sizeof(expected), "%llu", (unsigned long long)around[i]);
            expect_text(cbt_json_u64(place, around[i]), expected);
            snprintf(expected, sizeof(expected), "%lld", (long long)around[i]);
            expect_text(cbt_json_i64(place, (int64_t)around[i]), expected);
        }
    }
    for (uint32_t i = 0; i < 200000; i++) {
        snprintf(expected, sizeof(expected), "%u", i);
        expect_text(cbt_json_u64(place, i), expected);
    }
    expect_text(cbt_json_u64(place, UINT64_MAX), "18446744073709551615");
    expect_text(cbt_json_i64(place, INT64_MAX), "9223372036854775807");
    expect_text(cbt_json_i64(place, INT64_MIN), "-9223372036854775808");
    expect_text(cbt_json_i64(place, -1), "-1");
    expect_text(cbt_json_i64(place, INT32_MIN), "-2147483648");
}

static void times_are_rounded_down_and_zero_stays_zero(void **state)
{
    (void)state;
    const struct {
        int64_t filetime;
        const char *whole, *decimals;
    } rows[] = {
        {0, "0", "0"},
        {1, "-11644473600", "-11644473600.000"},
        {-1, "-11644473601", "-11644473600.001"},
        {9999999, "-11644473600", "-11644473599.001"},
        {116444736000000000, "0", "0.000"},
        {116444736000000001, "0", "0.000"},
        {116444736000009999, "0", "0.000"},
        {116444736000010000, "0", "0.001"},
        {116444735999999999, "-1", "-0.001"},
        {116444735999990000, "-1", "-0.001"},
        {116444735999989999, "-1", "-0.002"},
        {116444735990000000, "-1", "-1.000"},
        {116444736009990000, "0", "0.999"},
        {116444736010000000, "1", "1.000"},
        {130921702131467731, "1447696613", "1447696613.146"},
        {INT64_MIN, "-933981677286", "-933981677285.478"},
        {INT64_MAX, "910692730085", "910692730085.477"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        expect_text(cbt_json_time(place, rows[i].filetime, false), rows[i].whole);
        expect_text(cbt_json_time(place, rows[i].filetime, true), rows[i].decimals);
    }
}

static void guids_are_made_of_sensor_pid_and_time(void **state)
{
    (void)state;
    expect_text(cbt_json_guid(place, 7, 3276, 0x01d1209ab5339f45), "00000007-0000-0ccc-01d1-209ab5339f45");
    expect_text(cbt_json_guid(place, 0, 0, 0), "00000000-0000-0000-0000-000000000000");
    expect_text(cbt_json_guid(place, UINT32_MAX, UINT32_MAX, UINT64_MAX),
                "ffffffff-ffff-ffff-ffff-ffffffffffff");
    expect_text(cbt_json_guid(place, 0x12345678, 0x9abcdef0, 0x0fedcba987654321),
                "12345678-9abc-def0-0fed-cba987654321");
}

static void ip4_has_its_least_significant_byte_first(void **state)
{
    (void)state;
    expect_text(cbt_json_ip4(place, 0), "0.0.0.0");
    expect_text(cbt_json_ip4(place, 0x0100007f), "127.0.0.1");
    expect_text(cbt_json_ip4(place, 0xffffffff), "255.255.255.255");
    expect_text(cbt_json_ip4(place, 0x0a6409c8), "200.9.100.10");
    char expected[32];
    for (uint32_t octet = 0; octet < 256; octet++) {
        snprintf(expected, sizeof(expected), "%u.0.%u.1", octet, octet);
        expect_text(cbt_json_ip4(place, octet | octet << 16 | 1u << 24), expected);
    }
}

/* Eight groups in network order to the two numbers as sensors send them. */
static void expect_ip6(const uint16_t group[8], const char *expected)
{
    uint64_t half[2] = {0, 0};
    for (unsigned i = 0; i < 8; i++)
        half[i / 4] |= (uint64_t)__builtin_bswap16(group[i]) << (16 * (i % 4));
    expect_text(cbt_json_ip6(place, half[0], half[1]), expected);
}

static void ip6_is_written_as_rfc_5952_says(void **state)
{
    (void)state;
    static const struct {
        uint16_t group[8];
        const char *expected;
    } rows[] = {
        {{0}, "::"},
        {{0, 0, 0, 0, 0, 0, 0, 1}, "::1"},
        {{1, 0, 0, 0, 0, 0, 0, 0}, "1::"},
        {{0xfe80, 0, 0, 0, 0x203, 0xbaff, 0xfe01, 0xd}, "fe80::203:baff:fe01:d"},
        {{0x2001, 0xdb8, 0, 0, 1, 0, 0, 1}, "2001:db8::1:0:0:1"},    /* the first of two equal runs */
        {{0x2001, 0, 0, 1, 0, 0, 0, 1}, "2001:0:0:1::1"},            /* the longest */
        {{0x2001, 0xdb8, 0, 1, 1, 1, 1, 1}, "2001:db8:0:1:1:1:1:1"}, /* one group is no run */
        {{0, 1, 0, 1, 0, 1, 0, 1}, "0:1:0:1:0:1:0:1"},
        {{0, 0, 1, 0, 0, 0, 0, 0}, "0:0:1::"},
        {{1, 2, 3, 4, 5, 6, 0, 0}, "1:2:3:4:5:6::"},
        {{0, 0, 3, 4, 5, 6, 7, 8}, "::3:4:5:6:7:8"},
        {{0, 2, 3, 4, 5, 6, 7, 0}, "0:2:3:4:5:6:7:0"},
        {{0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff},
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        {{0xabc, 0x10, 0x1, 0xf000, 0, 0, 0x100, 0}, "abc:10:1:f000::100:0"},
        {{0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0280}, "::ffff:192.0.2.128"},
        {{0, 0, 0, 0, 0, 0xffff, 0, 0}, "::ffff:0.0.0.0"},
        {{0, 0, 0, 0, 0, 0, 0xc000, 0x0280}, "::c000:280"}, /* no other mixed notation */
        {{0x64, 0xff9b, 0, 0, 0, 0, 0xc000, 0x0221}, "64:ff9b::c000:221"},
        {{0, 0, 0, 0, 0xffff, 0, 0xc000, 0x0280}, "::ffff:0:c000:280"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_ip6(rows[i].group, rows[i].expected);
}

/* --- what needs a writer --- */

static uint8_t scratch[JSON_SCRATCH_BYTES];

/* Writes with `put` into a buffer of the least room and compares. */
static void expect_written(uint8_t *(*put)(struct cbt_json_out *, uint8_t *, const uint8_t *, size_t),
                           const uint8_t *text, size_t len, const char *expected, size_t expected_len)
{
    for (size_t step = 0; step < 3; step++) {
        struct exact_buf exact;
        exact_init(&exact, step * 40, SIZE_MAX);
        struct cbt_json_out out = {.buf = &exact.buf, .scratch = scratch, .fixed_bytes = 40};
        uint8_t *p = cbt_json_room(&out, NULL, 0);
        p = put(&out, p, text, len);
        size_t is = (size_t)(p - exact.buf.begin);
        if (is != expected_len || memcmp(exact.buf.begin, expected, is) != 0)
            fail_msg("is %.*s, expected %.*s", (int)is, (char *)exact.buf.begin, (int)expected_len, expected);
        exact_free(&exact);
    }
}

static uint8_t *put_hex(struct cbt_json_out *out, uint8_t *p, const uint8_t *bytes, size_t len)
{
    return cbt_json_hex(out, p, (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)bytes});
}

static uint8_t *put_upper(struct cbt_json_out *out, uint8_t *p, const uint8_t *bytes, size_t len)
{
    return cbt_json_upper(out, p, (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)bytes});
}

static void hexadecimal_of_any_length_is_upper_case(void **state)
{
    (void)state;
    uint8_t bytes[5000];
    static char expected[10003];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 151 + 13);
    for (size_t len = 0; len <= sizeof(bytes); len = len < 100 ? len + 1 : len + 233) {
        char *at = expected;
        *at++ = '"';
        for (size_t i = 0; i < len; i++)
            at += snprintf(at, 3, "%02X", bytes[i]);
        *at++ = '"';
        expect_written(put_hex, bytes, len, expected, 2 * len + 2);
    }
}

static void base64_is_padded(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *expected;
    } rows[] = {{"", "\"\""},
                {"f", "\"Zg==\""},
                {"fo", "\"Zm8=\""},
                {"foo", "\"Zm9v\""},
                {"foob", "\"Zm9vYg==\""},
                {"fooba", "\"Zm9vYmE=\""},
                {"foobar", "\"Zm9vYmFy\""},
                {"\xff\xef\xbf\xfb\xf0", "\"/++/+/A=\""}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_written(cbt_json_base64, (const uint8_t *)rows[i].bytes, strlen(rows[i].bytes),
                       rows[i].expected, strlen(rows[i].expected));
    /* Longer than a piece, of every remainder: each group of three alone gives the same. */
    static uint8_t bytes[4001];
    static char expected[6000];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 89 + 3);
    for (size_t len = 3999; len <= sizeof(bytes); len++) {
        size_t at = 0;
        expected[at++] = '"';
        for (size_t i = 0; i < len; i += 3) {
            struct exact_buf exact;
            exact_init(&exact, 64, SIZE_MAX);
            struct cbt_json_out out = {.buf = &exact.buf, .scratch = scratch};
            uint8_t *p = cbt_json_room(&out, NULL, 64);
            cbt_json_base64(&out, p, bytes + i, len - i < 3 ? len - i : 3);
            memcpy(expected + at, exact.buf.begin + 1, 4);
            at += 4;
            exact_free(&exact);
        }
        expected[at++] = '"';
        expect_written(cbt_json_base64, bytes, len, expected, at);
    }
}

#define FFFD "\xEF\xBF\xBD"

/* Ill-formed UTF-8 and what it becomes: the tables of Unicode 15, chapter 3.9, and their like. */
static const struct {
    const char *text, *expected;
} utf8_rows[] = {
    {"plain", "plain"},
    {"\xC2\x80\xDF\xBF", "\xC2\x80\xDF\xBF"},
    {"\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF", "\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF"},
    {"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"},
    {"\xFF\xFE", FFFD FFFD},
    {"\xF0\x9F\x98", FFFD},
    {"\xF0\x9F\x98x", FFFD "x"},
    {"\xED\xA0\x80", FFFD FFFD FFFD},
    {"\x80", FFFD},
    {"\xBF\xBF", FFFD FFFD},
    {"\xC0\xAF", FFFD FFFD},
    {"\xC1\xBF", FFFD FFFD},
    {"\xC2", FFFD},
    {"\xC2x", FFFD "x"},
    {"\xC2\xC2\x80", FFFD "\xC2\x80"},
    {"\xE0\x80\xBF", FFFD FFFD FFFD},
    {"\xE0\x9F\x80", FFFD FFFD FFFD},
    {"\xE0\xA0", FFFD},
    {"\xE1\x80", FFFD},
    {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", FFFD FFFD FFFD FFFD "\x41"},
    {"\xED\xBF\xBF", FFFD FFFD FFFD},
    {"\xF0\x80\x80\x80", FFFD FFFD FFFD FFFD},
    {"\xF0\x8F\xBF\xBF", FFFD FFFD FFFD FFFD},
    {"\xF4\x90\x80\x80", FFFD FFFD FFFD FFFD},
    {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", FFFD FFFD FFFD FFFD FFFD "\x41" FFFD FFFD "\x42"},
    {"\xF5\x80\x80\x80", FFFD FFFD FFFD FFFD},
    {"\xF8\x88\x80\x80\x80", FFFD FFFD FFFD FFFD FFFD},
    {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "\x41"},
    {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "\x41"},
};

/* Each row alone, behind 0 to 40 other bytes and before as many: every place within a vector. */
static void ill_formed_utf8_becomes_one_replacement_for_each_maximal_subpart(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(utf8_rows) / sizeof(utf8_rows[0]); i++) {
        for (size_t before = 0; before <= 40; before++) {
            for (size_t after = 0; after <= 40; after += 4) {
                uint8_t text[200] = {0};
                char expected[400];
                size_t len = strlen(utf8_rows[i].text), n = 0;
                memset(text, 'a', before);
                memcpy(text + before, utf8_rows[i].text, len);
                memset(text + before + len, 'z', after);
                expected[n++] = '"';
                memset(expected + n, 'a', before);
                n += before;
                memcpy(expected + n, utf8_rows[i].expected, strlen(utf8_rows[i].expected));
                n += strlen(utf8_rows[i].expected);
                memset(expected + n, 'z', after);
                n += after;
                expected[n++] = '"';
                expect_written(cbt_json_string, text, before + len + after, expected, n);
                expect_written(cbt_json_escape, text, before + len + after, expected + 1, n - 2);
            }
        }
    }
}

/* A plain, slow escaper to compare with. */
static size_t escape_slowly(const uint8_t *text, size_t len, char *out)
{
    char *at = out;
    *at++ = '"';
    for (size_t i = 0; i < len; i++) {
        static const char named[] = "\b\t\n\f\r\"\\", names[] = "btnfr\"\\";
        const char *which = text[i] != 0 ? strchr(named, text[i]) : NULL;
        if (which != NULL) {
            *at++ = '\\';
            *at++ = names[which - named];
        } else if (text[i] < 0x20) {
            at += sprintf(at, "\\u%04x", text[i]);
        } else {
            *at++ = (char)text[i];
        }
    }
    *at++ = '"';
    return (size_t)(at - out);
}

static uint32_t rng_state = 1;
static uint32_t rng(uint32_t below)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 17;
    rng_state ^= rng_state << 5;
    return rng_state % below;
}

static void every_control_character_quote_and_backslash_is_escaped_wherever_it_stands(void **state)
{
    (void)state;
    static uint8_t text[6000 + 64];
    static char expected[40000];
    static const uint8_t specials[] = {'\\', '"', 0, 1, 0x1F, '\n', '\t', '\b', '\f', '\r', 0x7F, '/'};
    const size_t lengths[] = {0,  1,  2,  15, 16,  17,   31,   32,   33,  47,
                              48, 49, 63, 64, 100, 1023, 1024, 1025, 5999};
    for (unsigned round = 0; round < 3000; round++) {
        size_t len = round < 1900 ? lengths[round % 19] : rng(6000);
        uint32_t density = 1 + rng(40);
        for (size_t i = 0; i < len; i++)
            text[i] = rng(density) == 0 ? specials[rng(sizeof(specials))] : (uint8_t)(rng(95) + ' ');
        size_t n = escape_slowly(text, len, expected);
        expect_written(cbt_json_string, text, len, expected, n);
        expect_written(cbt_json_escape, text, len, expected + 1, n - 2);
    }
}

static void upper_changes_ascii_letters_only(void **state)
{
    (void)state;
    const char text[] = "abcxyz09\xC3\xA9 `{\n\xFFq";
    const char expected[] = "\"ABCXYZ09\xC3\xA9 `{\\n" FFFD "Q\"";
    expect_written(put_upper, (const uint8_t *)text, sizeof(text) - 1, expected, sizeof(expected) - 1);
}

/* Text of random bytes, whole: the output is one valid JSON string, and of the right number of characters. */
static void random_bytes_give_valid_strings_that_pieces_do_not_change(void **state)
{
    (void)state;
    static uint8_t text[5000 + 64];
    for (unsigned round = 0; round < 2000; round++) {
        size_t len = rng(5000);
        for (size_t i = 0; i < len; i++)
            text[i] = (uint8_t)(rng(3) == 0 ? 0x80 + rng(128) : rng(256));
        struct exact_buf a, b;
        exact_init(&a, 0, SIZE_MAX);
        exact_init(&b, 100000, SIZE_MAX);
        struct cbt_json_out out_a = {.buf = &a.buf, .scratch = scratch};
        struct cbt_json_out out_b = {.buf = &b.buf, .scratch = scratch};
        uint8_t *p = cbt_json_string(&out_a, cbt_json_room(&out_a, NULL, 2), text, len);
        uint8_t *q = cbt_json_room(&out_b, NULL, 2);
        *q++ = '"';
        q = cbt_json_escape(&out_b, q, text, len);
        q = cbt_json_room(&out_b, q, 1);
        *q++ = '"';
        size_t n = (size_t)(p - a.buf.begin);
        assert_int_equal(n, q - b.buf.begin);
        assert_memory_equal(a.buf.begin, b.buf.begin, n);
        struct jv *value = jv_parse(a.buf.begin, n);
        assert_non_null(value);
        assert_int_equal(value->kind, JV_STRING);
        jv_free(value);
        exact_free(&a);
        exact_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_written_exactly),
        cmocka_unit_test(times_are_rounded_down_and_zero_stays_zero),
        cmocka_unit_test(guids_are_made_of_sensor_pid_and_time),
        cmocka_unit_test(ip4_has_its_least_significant_byte_first),
        cmocka_unit_test(ip6_is_written_as_rfc_5952_says),
        cmocka_unit_test(hexadecimal_of_any_length_is_upper_case),
        cmocka_unit_test(base64_is_padded),
        cmocka_unit_test(ill_formed_utf8_becomes_one_replacement_for_each_maximal_subpart),
        cmocka_unit_test(every_control_character_quote_and_backslash_is_escaped_wherever_it_stands),
        cmocka_unit_test(upper_changes_ascii_letters_only),
        cmocka_unit_test(random_bytes_give_valid_strings_that_pieces_do_not_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
