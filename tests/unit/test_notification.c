/* SPDX-License-Identifier: MIT */
/* Server notifications: judged, their sensor, time and type found, and what no rule names passed on as it
 * came. The rules are in test_notification_rules.c, docs in test_notification_docs.c. */
#include "notification_bed.h"

/* Decodes a text that lies in memory of exactly its size, which the caller frees. */
static uint8_t *decode(const char *text, size_t len, const char *key, int *ret_rc,
                       struct cbt_event *ret_event, enum cbt_dead_reason *ret_reason)
{
    uint8_t *copy = (uint8_t *)(uintptr_t)exact_copy(text, len).data;
    struct cbt_err err = {0};
    size_t cursor = 0;
    *ret_rc = cbt_decode_notification(decoder, (struct cbt_text){copy, len}, text_of(key), &cursor, ret_event,
                                      ret_reason, &err);
    if (*ret_rc == 1) {
        struct cbt_event none;
        assert_int_equal(ret_event->type, CBT_TYPE_NOTIFICATION);
        assert_int_equal(cbt_decode_notification(decoder, (struct cbt_text){copy, len}, text_of(key), &cursor,
                                                 &none, ret_reason, &err),
                         0);
    }
    return copy;
}

static void expect_output(const char *key, const char *text, size_t len, const char *expected)
{
    struct cbt_event event;
    enum cbt_dead_reason reason;
    struct cbt_err err;
    int rc = 0;
    uint8_t *copy = decode(text, len, key, &rc, &event, &reason);
    if (rc != 1)
        fail_msg("%.*s: rc %d", (int)len, text, rc);
    for (size_t step = 0; step < 2; step++) {
        struct exact_buf out;
        exact_init(&out, step * 70, SIZE_MAX);
        assert_int_equal(cbt_format_find("json")->encode(json, &event, &out.buf, &err), 0);
        size_t n = cbt_buf_len(&out.buf);
        if (n != strlen(expected) || memcmp(out.buf.begin, expected, n) != 0)
            fail_msg("%.*s\n is       %.*s\n expected %s", (int)len, text, (int)n, (char *)out.buf.begin,
                     expected);
        struct jv *value = jv_parse(out.buf.begin, n);
        assert_non_null(value);
        jv_free(value);
        exact_free(&out);
    }
    free(copy);
}

#define BOTH       "{\"type\":\"a.b\",\"cb_server\":\"s\""
#define TEXT(text) text, sizeof(text) - 1

static void text_passes_unchanged_with_type_and_server_set(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"{}", BOTH "}"},
        {" \r\n\t{ } \n", BOTH "}"},
        {"{\"a\":1}", BOTH ",\"a\":1}"},
        {"{\n\t\"a\"\r\n:\n[\n1\t,\n\"\\n\"]\n,\n\"b\":2\n}", BOTH ",\"a\":[1,\"\\n\"],\"b\":2}"},
        {"{ \"a\" : 1.0 , \"b\":1e3,\"c\" :2.50}", BOTH ",\"a\" : 1.0 , \"b\":1e3,\"c\" :2.50}"},
        {"{\"n\":18446744073709551616,\"t\":1447697629.071,\"z\":-0}",
         BOTH ",\"n\":18446744073709551616,\"t\":1447697629.071,\"z\":-0}"},
        {"{\"type\":\"old\",\"a\":[{\"type\":1}],\"cb_server\":{\"x\":\"}\"}}",
         BOTH ",\"a\":[{\"type\":1}]}"},
        {"{\"a\":{\"cb_server\":[1,2,{\"b\":\"]}\\\"\"}]},\"type\":null}",
         BOTH ",\"a\":{\"cb_server\":[1,2,{\"b\":\"]}\\\"\"}]}}"},
        {"{\"type\":1,\"type\":2,\"cb_server\":3}", BOTH "}"},
        {"{\"\\u0074ype\":1,\"cb\\u005Fserver\":2,\"typ\":3,\"types\":4,\"\\u0174ype\":5,\"t\\/pe\":6}",
         BOTH ",\"typ\":3,\"types\":4,\"\\u0174ype\":5,\"t\\/pe\":6}"},
        {"{\"a\":\"/ \\/ \\u00e9 \\\\ \\\" \xC3\xA9\"}", BOTH ",\"a\":\"/ \\/ \\u00e9 \\\\ \\\" \xC3\xA9\"}"},
        {"{\"\":\"\"}", BOTH ",\"\":\"\"}"},
        {"{\"a\\\\\":\"b\\\\\",\"type\":1}", BOTH ",\"a\\\\\":\"b\\\\\"}"},
        {"{\"a\":true,\"b\":false,\"c\":null,\"d\":[],\"e\":{}}",
         BOTH ",\"a\":true,\"b\":false,\"c\":null,\"d\":[],\"e\":{}}"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_output("a.b", rows[i].text, strlen(rows[i].text), rows[i].expected);
}

#define FFFD "\xEF\xBF\xBD"

static void ill_formed_text_is_mended(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"{\"a\":\"\xFF\xFE\"}", BOTH ",\"a\":\"" FFFD FFFD "\"}"},
        {"{\"\xED\xA0\x80\":\"\xF0\x9F\x98\"}", BOTH ",\"" FFFD FFFD FFFD "\":\"" FFFD "\"}"},
        {"{\"a\":\"\xF0\x9F\x98\x80\"}", BOTH ",\"a\":\"\xF0\x9F\x98\x80\"}"},
        {"{\"a\":\"\\ud83d\\ude00\"}", BOTH ",\"a\":\"\\ud83d\\ude00\"}"},
        {"{\"a\":\"\\uD83D\\uDE00\"}", BOTH ",\"a\":\"\\uD83D\\uDE00\"}"},
        {"{\"a\":\"\\ud800\"}", BOTH ",\"a\":\"" FFFD "\"}"},
        {"{\"a\":\"\\udc00\\ud800\"}", BOTH ",\"a\":\"" FFFD FFFD "\"}"},
        {"{\"a\":\"\\ud800\\ud800\\udc00x\"}", BOTH ",\"a\":\"" FFFD "\\ud800\\udc00x\"}"},
        {"{\"a\":\"\\ud800x\\udc00\"}", BOTH ",\"a\":\"" FFFD "x" FFFD "\"}"},
        {"{\"a\":\"\\ud800\\n\"}", BOTH ",\"a\":\"" FFFD "\\n\"}"},
        {"{\"a\":\"\\\\ud800\"}", BOTH ",\"a\":\"\\\\ud800\"}"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_output("a.b", rows[i].text, strlen(rows[i].text), rows[i].expected);
}

static void long_text_is_passed_in_pieces_of_any_cut(void **state)
{
    (void)state;
    static char text[30000], expected[60000];
    static const char *const units[] = {"x",    "\xC3\xA9", "\\ud83d\\ude00",  "\\ud800",
                                        "\xFF", "\\\\",     "\xF0\x9F\x98\x80"};
    static const char *const mended[] = {"x",  "\xC3\xA9", "\\ud83d\\ude00",  FFFD,
                                         FFFD, "\\\\",     "\xF0\x9F\x98\x80"};
    for (unsigned u = 0; u < 7; u++) {
        for (unsigned shift = 0; shift < 13; shift++) {
            size_t n = (size_t)sprintf(text, "{\"%.*s", (int)shift, "aaaaaaaaaaaaaaaa");
            size_t m = (size_t)sprintf(expected, BOTH ",\"%.*s", (int)shift, "aaaaaaaaaaaaaaaa");
            for (unsigned i = 0; i < 2000; i++) {
                n += (size_t)sprintf(text + n, "%s", units[u]);
                m += (size_t)sprintf(expected + m, "%s", mended[u]);
            }
            n += (size_t)sprintf(text + n, "\":1}");
            sprintf(expected + m, "\":1}");
            expect_output("a.b", text, n, expected);
        }
    }
}

static void what_is_no_json_object_is_a_dead_letter(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "[]",
        "[{}]",
        "1",
        "\"a\"",
        "null",
        "{",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":01}",
        "{\"a\":tru}",
        "{\"a\":[1 2]}",
        "{a:1}",
        "{}\"",
        "{}\": 4}",
        "{} tru",
        "{} -",
        "{} 1",
        "{},",
        "{}]",
        "{}:",
        "{}/",
        "{}{}",
        "{} x",
        "{'a':1}",
        "{\"a\":1}}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":\"\n\"}",
        "{\"a",
        "{\"a\":\"",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12G4\"}",
        "{\"a\":\"\\u12\"}",
        "// c\n{}",
        "{/*c*/}",
        "{\"a\":NaN}",
        "{\"a\":0x10}",
        "\xEF\xBB\xBF{}",
        "{,}",
        "{1:2}",
        "{\"a\":1 \"b\":2}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct cbt_event event;
        enum cbt_dead_reason reason = CBT_DEAD_COUNT;
        int rc = 0;
        free(decode(texts[i], strlen(texts[i]), "a.b", &rc, &event, &reason));
        if (rc != CBT_EINVAL || reason != CBT_DEAD_not_json)
            fail_msg("%s: rc %d", texts[i], rc);
    }
    struct cbt_event event;
    enum cbt_dead_reason reason;
    int rc = 0;
    free(decode(TEXT("{\"a\":\"\0\"}"), "a.b", &rc, &event, &reason));
    assert_int_equal(rc, CBT_EINVAL);
    free(decode(TEXT("{}\0"), "a.b", &rc, &event, &reason));
    assert_int_equal(rc, CBT_EINVAL);
}

static void depth_and_size_are_bounded(void **state)
{
    (void)state;
    struct cbt_event event;
    enum cbt_dead_reason reason;
    int rc = 0;
    static char text[100000];
    for (unsigned depth = 99; depth <= 101; depth++) {
        for (unsigned kind = 0; kind < 2; kind++) {
            size_t n = (size_t)sprintf(text, "{\"a\":");
            for (unsigned i = 1; i < depth; i++)
                n += (size_t)sprintf(text + n, "%s", kind ? "[" : "{\"a\":");
            n += (size_t)sprintf(text + n, "1");
            for (unsigned i = 1; i < depth; i++)
                n += (size_t)sprintf(text + n, "%s", kind ? "]" : "}");
            n += (size_t)sprintf(text + n, "}");
            free(decode(text, n, "a.b", &rc, &event, &reason));
            assert_int_equal(rc, depth <= 100 ? 1 : CBT_ELIMIT);
            if (rc < 0)
                assert_int_equal(reason, CBT_DEAD_too_complex);
        }
    }
    memset(text, '[', sizeof(text));
    memcpy(text, "{\"a\":", 5);
    free(decode(text, sizeof(text), "a.b", &rc, &event, &reason));
    assert_int_equal(rc, CBT_ELIMIT);
    /* An arena that cannot judge the text refuses it, one that can takes the largest text of escapes. */
    struct cbt_decode_limits limits = fixture_limits;
    struct cbt_decoder *small = NULL;
    struct cbt_err err;
    limits.arena_max_bytes = 65536;
    assert_int_equal(cbt_decoder_new(&small, &limits, &err), 0);
    unsigned taken = 0;
    for (size_t len = 1000; len < 30000; len += 500) {
        size_t n = (size_t)sprintf(text, "{\"sensor_id\":\"7\",\"a\":\"");
        while (n < len)
            n += (size_t)sprintf(text + n, "\\n");
        n += (size_t)sprintf(text + n, "\"}");
        size_t cursor = 0;
        rc = cbt_decode_notification(small, (struct cbt_text){(uint8_t *)text, n}, text_of("feed.1.x"),
                                     &cursor, &event, &reason, &err);
        assert_true(rc == 1 || (rc == CBT_ELIMIT && reason == CBT_DEAD_too_complex));
        taken += rc == 1;
    }
    assert_in_range(taken, 20, 40);
    cbt_decoder_free(small);
}

static void sensor_id_and_time_are_found_at_the_top(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool has;
        int32_t id;
        int64_t unix_ms;
    } rows[] = {
        {"{}", false, 0, 0},
        {"{\"sensor_id\":7}", true, 7, 0},
        {"{\"sensor_id\":\"7\"}", true, 7, 0},
        {"{\"sensor_id\":-2147483648}", true, INT32_MIN, 0},
        {"{\"sensor_id\":2147483648}", false, 0, 0},
        {"{\"sensor_id\":99999999999999999999}", false, 0, 0},
        {"{\"sensor_id\":7.0}", false, 0, 0},
        {"{\"sensor_id\":7e0}", false, 0, 0},
        {"{\"sensor_id\":\"seven\"}", false, 0, 0},
        {"{\"sensor_id\":\"\"}", false, 0, 0},
        {"{\"sensor_id\":\"-\"}", false, 0, 0},
        {"{\"sensor_id\":\"7 \"}", false, 0, 0},
        {"{\"sensor_id\":null}", false, 0, 0},
        {"{\"sensor_id\":[7]}", false, 0, 0},
        {"{\"sensor_id\":{\"sensor_id\":7}}", false, 0, 0},
        {"{\"a\":{\"sensor_id\":7}}", false, 0, 0},
        {"{\"a\":[{\"sensor_id\":7}],\"sensor_id\":8}", true, 8, 0},
        {"{\"sensor_id\":7,\"sensor_id\":8}", true, 8, 0},
        {"{\"sensor_id\":7,\"sensor_id\":true}", false, 0, 0},
        {"{\"sensor_id\":7,\"sensor_id\":[]}", false, 0, 0},
        {"{\"\\u0073ensor_id\":9}", true, 9, 0},
        {"{\"event_timestamp\":1447697629.071}", false, 0, 1447697629071},
        {"{\"event_timestamp\":1447696887.19}", false, 0, 1447696887190},
        {"{\"event_timestamp\":1447696887}", false, 0, 1447696887000},
        {"{\"event_timestamp\":-1.0019}", false, 0, -1001},
        {"{\"event_timestamp\":1e9}", false, 0, 0},
        {"{\"event_timestamp\":\"1447696887\"}", false, 0, 0},
        {"{\"event_timestamp\":99999999999999999999999}", false, 0, 0},
        {"{\"event_timestamp\":1.5,\"sensor_id\":3}", true, 3, 1500},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cbt_event event;
        enum cbt_dead_reason reason;
        int rc = 0;
        uint8_t *copy = decode(rows[i].text, strlen(rows[i].text), "a.b", &rc, &event, &reason);
        assert_int_equal(rc, 1);
        if (event.env.has_sensor_id != rows[i].has || (rows[i].has && event.env.sensor_id != rows[i].id) ||
            event.unix_ms != rows[i].unix_ms)
            fail_msg("%s: sensor %d %d, time %lld", rows[i].text, event.env.has_sensor_id,
                     event.env.sensor_id, (long long)event.unix_ms);
        free(copy);
    }
}

static void type_is_the_routing_key_without_the_feed_id(void **state)
{
    (void)state;
    static const struct {
        const char *key, *type;
    } rows[] = {
        {"feed.24.ingress.hit.process", "feed.ingress.hit.process"},
        {"feed.ingress.hit.process", "feed.ingress.hit.process"},
        {"feed.synchronized", "feed.synchronized"},
        {"feed.24", "feed.24"},
        {"feed.24.", "feed."},
        {"feed.2a.x", "feed.2a.x"},
        {"feed..x", "feed..x"},
        {"feed.", "feed."},
        {"feed", "feed"},
        {"feed.1.2.x", "feed.2.x"},
        {"watchlist.12.storage.hit.process", "watchlist.12.storage.hit.process"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cbt_event event;
        enum cbt_dead_reason reason;
        int rc = 0;
        uint8_t *copy = decode("{}", 2, rows[i].key, &rc, &event, &reason);
        assert_int_equal(rc, 1);
        assert_int_equal(event.type_name.len, strlen(rows[i].type));
        assert_memory_equal(event.type_name.data, rows[i].type, strlen(rows[i].type));
        assert_int_equal(event.event_type_name.len, event.type_name.len);
        free(copy);
    }
    expect_output("a\"\xFF", TEXT("{}"), "{\"type\":\"a\\\"" FFFD "\",\"cb_server\":\"s\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_passes_unchanged_with_type_and_server_set),
        cmocka_unit_test(ill_formed_text_is_mended),
        cmocka_unit_test(long_text_is_passed_in_pieces_of_any_cut),
        cmocka_unit_test(what_is_no_json_object_is_a_dead_letter),
        cmocka_unit_test(depth_and_size_are_bounded),
        cmocka_unit_test(sensor_id_and_time_are_found_at_the_top),
        cmocka_unit_test(type_is_the_routing_key_without_the_feed_id),
    };
    return cmocka_run_group_tests(tests, bed_open, bed_close);
}
