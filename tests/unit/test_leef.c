/* SPDX-License-Identifier: MIT */
/* The leef format, rule by rule. */
#include "leef_chain.h"
#include "pb_build.h"

static void values_are_written_by_their_kind(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{}", ""},
        {"{\"k\":\"v\"}", "k=v"},
        {"{\"k\":\"\"}", "k="},
        {"{\"k\":null}", ""},
        {"{\"k\":true,\"l\":false}", "k=true\tl=false"},
        {"{\"k\":1.0,\"l\":1e3,\"m\":2.50,\"n\":18446744073709551616,\"o\":-0}",
         "k=1.0\tl=1e3\tm=2.50\tn=18446744073709551616\to=-0"},
        {"{\"k\":[],\"l\":{},\"m\": [ ] , \"n\" : { } }", "k=\tl=\tm=\tn="},
        {"{\"k\":[\"one\"]}", "k=one"},
        {"{\"k\":[ \"o=\\n\" ]}", "k=o\\=\\n"},
        {"{\"k\":[\"one\", \"two\"]}", "k=[\"one\",\"two\"]"},
        {"{\"k\":[1],\"l\":[null],\"m\":[[\"x\"]],\"n\":[{}],\"o\":[[]]}",
         "k=[1]\tl=[null]\tm=[[\"x\"]]\tn=[{}]\to=[[]]"},
        {"{\"k\":{ \"b\" : 1 , \"a\" : [ true , null , {} ] }}", "k={\"a\":[true,null,{}],\"b\":1}"},
        {"{\"k\":{\"z\":{\"y\":1,\"x\":2},\"a\":\"s\"}}", "k={\"a\":\"s\",\"z\":{\"x\":2,\"y\":1}}"},
        {"{\"k\":{\"a\":1,\"a\":2},\"l\":1,\"l\":\"last\"}", "k={\"a\":2}\tl=last"},
        {"{\"k\":1,\"k\":null}", ""},
    };
    expect_rows(rows, sizeof(rows) / sizeof(rows[0]));
}

static void characters_are_decoded_then_escaped(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"k\":\"a\\\\b=c\\nd\\re\\tf\"}", "k=a\\\\b\\=c\\nd\\re\\tf"},
        {"{\"k\":\"\\u005c\\u003d\\u000a\\u000D\\u0009\"}", "k=\\\\\\=\\n\\r\\t"},
        {"{\"k\":\"\\/\\\"|\\b\\f\\u0001\"}", "k=/\"|\b\f\001"},
        {"{\"k\":\"\\u00e9\xC3\xA9\\u20AC\\ud83d\\ude00\xF0\x9F\x98\x80\"}",
         "k=\xC3\xA9\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xF0\x9F\x98\x80"},
        {"{\"k\":\"\\ud800\xFF\"}", "k=\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"{\"k\":\"C:\\\\Windows\\\\a.exe\"}", "k=C:\\\\Windows\\\\a.exe"},
        {"{\"k\":[\"a=b\",\"C:\\\\x\\n\"]}", "k=[\"a\\=b\",\"C:\\\\\\\\x\\\\n\"]"},
        {"{\"k\":{\"a=\\tb\":\"\\n\"}}", "k={\"a\\=\\\\tb\":\"\\\\n\"}"},
        {"{\"k=1\":2,\"k\\t\\n\":3,\"k\\\\\":4}", "k\\t\\n=3\tk\\=1=2\tk\\\\=4"},
    };
    expect_rows(rows, sizeof(rows) / sizeof(rows[0]));
    struct cbt_event event = decode_notification(text_of("{\"k\":\"a\\u0000b\"}"), "a.b");
    static const char expected[] = "LEEF:1.0|CB|CB|5.1|a.b|cb_server=s\tk=a\0b\ttype=a.b";
    expect_leef(&event, "NUL", expected, sizeof(expected) - 1);
}

static void pairs_are_sorted_by_the_bytes_of_the_decoded_key(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"k\":1,\"kk\":2,\"k.\":3,\"kA\":4,\"k\\u0000\":5}", ""},
        {"{\"longer_than_eight_b\":1,\"longer_than_eight_a\":2,\"longer_than\":3,\"longer_t\":4}",
         "longer_t=4\tlonger_than=3\tlonger_than_eight_a=2\tlonger_than_eight_b=1"},
        {"{\"k\\u007a\":1,\"ky\":2,\"k\\ud83d\\ude00\":3,\"k\\uffff\":4,\"k\xC3\xA9\":5}",
         "ky=2\tkz=1\tk\xC3\xA9=5\tk\xEF\xBF\xBF=4\tk\xF0\x9F\x98\x80=3"},
        {"{\"k\":1,\"\\u006b\":2}", "k=2"},
    };
    expect_rows(rows + 1, 3);
    struct cbt_event event = decode_notification(text_of(rows[0].json), "a.b");
    static const char expected[] =
        "LEEF:1.0|CB|CB|5.1|a.b|cb_server=s\tk=1\tk\0=5\tk.=3\tkA=4\tkk=2\ttype=a.b";
    expect_leef(&event, rows[0].json, expected, sizeof(expected) - 1);
}

static void the_entry_of_docs_is_promoted(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"k\":1,\"docs\":[{\"l\":2}]}", "k=1\tl=2"},
        {"{\"docs\":[{\"k\":2}],\"k\":1}", "k=2"},
        {"{\"docs\":[{\"k\":null}],\"k\":1}", ""},
        {"{\"k\":1,\"docs\":[]}", "k=1"},
        {"{\"k\":1,\"docs\":[{}]}", "k=1"},
        {"{\"k\":1,\"docs\":null}", "k=1"},
        {"{\"docs\":[{\"docs\":[{\"k\":1}],\"l\":2}]}", "l=2"},
        {"{\"docs\":[{\"k\":1}],\"docs\":[{\"l\":2}]}", "l=2"},
        {"{\"\\u0064ocs\":[{\"k\":1}]}", "k=1"},
        /* What is no array, and an entry that is no object, pass unchanged. */
        {"{\"docs\":\"x\"}", "docs=x"},
        {"{\"docs\":{\"k\":1}}", "docs={\"k\":1}"},
        {"{\"docs\":[\"x\"]}", "docs=x"},
        {"{\"docs\":[7]}", "docs=[7]"},
    };
    expect_rows(rows, sizeof(rows) / sizeof(rows[0]));
}

static void the_header_has_version_and_type(void **state)
{
    (void)state;
    static const struct {
        const char *key, *json, *expected;
    } rows[] = {
        {"a.b", "{}", "LEEF:1.0|CB|CB|5.1|a.b|cb_server=s\ttype=a.b"},
        {"feed.7.a", "{}", "LEEF:1.0|CB|CB|5.1|feed.a|cb_server=s\ttype=feed.a"},
        {"a.b", "{\"cb_version\":\"5.2.0\"}",
         "LEEF:1.0|CB|CB|5.2.0|a.b|cb_server=s\tcb_version=5.2.0\ttype=a.b"},
        {"a.b", "{\"cb_version\":510}", "LEEF:1.0|CB|CB|510|a.b|cb_server=s\tcb_version=510\ttype=a.b"},
        {"a.b", "{\"cb_version\":\"6\",\"docs\":[{\"cb_version\":510}]}",
         "LEEF:1.0|CB|CB|510|a.b|cb_server=s\tcb_version=510\ttype=a.b"},
        {"a.b", "{\"docs\":[{\"type\":\"x\"}]}", "LEEF:1.0|CB|CB|5.1|x|cb_server=s\ttype=x"},
        {"a.b", "{\"cb_version\":[\"6\"],\"docs\":[{\"type\":{}}]}",
         "LEEF:1.0|CB|CB|6|a.b|cb_server=s\tcb_version=6\ttype="},
        {"a.b", "{\"cb_version\":null}", "LEEF:1.0|CB|CB|5.1|a.b|cb_server=s\ttype=a.b"},
        {"a.b", "{\"cb_version\":true}", "LEEF:1.0|CB|CB|5.1|a.b|cb_server=s\tcb_version=true\ttype=a.b"},
        {"a.b", "{\"cb_version\":\"a|b=c\\\\d\\n\"}",
         "LEEF:1.0|CB|CB|a\\|b=c\\\\d\\n|a.b|cb_server=s\tcb_version=a|b\\=c\\\\d\\n\ttype=a.b"},
        {"a|b=\t\\", "{}", "LEEF:1.0|CB|CB|5.1|a\\|b=\\t\\\\|cb_server=s\ttype=a|b\\=\\t\\\\"},
        {"a|\n", "{\"docs\":[{\"type\":null}]}", "LEEF:1.0|CB|CB|5.1|a\\|\\n|cb_server=s"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cbt_event event = decode_notification(text_of(rows[i].json), rows[i].key);
        expect_leef(&event, rows[i].json, rows[i].expected, strlen(rows[i].expected));
    }
}

#define ENDS                                                                                                 \
    "\"local_ip\":\"1.1.1.1\",\"local_port\":11,\"remote_ip\":\"2.2.2.2\",\"remote_port\":22,\"protocol\":"  \
    "\"TCP\""
#define OUTBOUND "dst=2.2.2.2\tdstPort=22\t"
#define INBOUND  "dst=1.1.1.1\tdstPort=11\t"

static void ends_of_a_connection_come_from_ioc_attr(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"ioc_attr\":{\"direction\":\"Outbound\"," ENDS "}}",
         OUTBOUND "ioc_attr={\"direction\":\"Outbound\",\"local_ip\":\"1.1.1.1\",\"local_port\":11,"
                  "\"protocol\":\"TCP\",\"remote_ip\":\"2.2.2.2\",\"remote_port\":22}\t"
                  "proto=TCP\tsrc=1.1.1.1\tsrcPort=11"},
        {"{\"ioc_attr\":{\"direction\":\"Inbound\"," ENDS "}}",
         INBOUND "ioc_attr={\"direction\":\"Inbound\",\"local_ip\":\"1.1.1.1\",\"local_port\":11,"
                 "\"protocol\":\"TCP\",\"remote_ip\":\"2.2.2.2\",\"remote_port\":22}\t"
                 "proto=TCP\tsrc=2.2.2.2\tsrcPort=22"},
        {"{\"ioc_attr\":{\"direction\":\"inbound\",\"local_ip\":\"1.1.1.1\"}}",
         "dst=1.1.1.1\tioc_attr={\"direction\":\"inbound\",\"local_ip\":\"1.1.1.1\"}"},
        {"{\"ioc_attr\":{\"local_ip\":\"1.1.1.1\"}}", "ioc_attr={\"local_ip\":\"1.1.1.1\"}\tsrc=1.1.1.1"},
        {"{\"ioc_attr\":{\"direction\":7,\"local_ip\":\"1.1.1.1\"}}",
         "ioc_attr={\"direction\":7,\"local_ip\":\"1.1.1.1\"}\tsrc=1.1.1.1"},
        {"{\"ioc_attr\":\"{\\\"remote_port\\\": 22, \\\"direction\\\":\\\"INBOUND\\\"}\"}",
         "ioc_attr={\"remote_port\": 22, \"direction\":\"INBOUND\"}\tsrcPort=22"},
        {"{\"ioc_attr\":\"{\\\"local_ip\\\":\\\"\\\\ud800\\\\u003d\\\"}\"}",
         "ioc_attr={\"local_ip\":\"\\\\ud800\\\\u003d\"}\tsrc=\xEF\xBF\xBD\\="},
        /* Its own entry counts, and overwrites keys of the same name. */
        {"{\"ioc_attr\":{\"local_ip\":1},\"docs\":[{\"ioc_attr\":{\"remote_ip\":2}}],\"dst\":3,\"src\":4}",
         "dst=2\tioc_attr={\"remote_ip\":2}\tsrc=4"},
        {"{\"ioc_attr\":{\"local_ip\":null},\"src\":4}", "ioc_attr={\"local_ip\":null}\tsrc=4"},
        {"{\"ioc_attr\":{\"local_ip\":[\"x\"],\"remote_ip\":{\"b\":1,\"a\":2}}}",
         "dst={\"a\":2,\"b\":1}\tioc_attr={\"local_ip\":[\"x\"],\"remote_ip\":{\"a\":2,\"b\":1}}\tsrc=x"},
        {"{\"ioc_attr\":{}}", "ioc_attr="},
        /* What holds no object says nothing of a connection. */
        {"{\"ioc_attr\":\"{\\\"local_ip\\\":1\"}", "ioc_attr={\"local_ip\":1"},
        {"{\"ioc_attr\":\"{\\\"local_ip\\\":1} x\"}", "ioc_attr={\"local_ip\":1} x"},
        {"{\"ioc_attr\":\"[{\\\"local_ip\\\":1}]\"}", "ioc_attr=[{\"local_ip\":1}]"},
        {"{\"ioc_attr\":[{\"local_ip\":1}]}", "ioc_attr=[{\"local_ip\":1}]"},
        {"{\"ioc_attr\":7}", "ioc_attr=7"},
        {"{\"ioc_attr\":\"\"}", "ioc_attr="},
        /* Only there. */
        {"{\"local_ip\":1,\"direction\":\"inbound\"}", "direction=inbound\tlocal_ip=1"},
    };
    expect_rows(rows, sizeof(rows) / sizeof(rows[0]));
}

/* ---- endpoint events ---- */

static struct cbt_event decode_event(const struct pb *record)
{
    struct cbt_event event;
    enum cbt_dead_reason reason;
    struct cbt_err err = {0};
    if (cbt_decode_event(chain.decoder, pb_text(record), NULL, &event, &reason, &err) != 0)
        fail_msg("%s", err.text);
    return event;
}

/* The value of a key in LEEF's text, as it is written there. */
static bool leef_has(const struct exact_buf *out, const char *pair)
{
    char needle[256];
    int len = snprintf(needle, sizeof(needle), "\t%s\t", pair);
    cbt_buf_put((struct cbt_buf *)&out->buf, "\t", 1);
    bool found = memmem(out->buf.begin, cbt_buf_len(&out->buf), needle, (size_t)len) != NULL;
    ((struct cbt_buf *)&out->buf)->pos--;
    return found;
}

static void ends_of_a_connection_come_from_the_event(void **state)
{
    (void)state;
    static const struct {
        const char *record, *type, *present[6], *absent[6];
    } rows[] = {
        {"1{1:4} 20{1:6 3:1 8{2:33686018} 9:5632 10{2:16843009} 11:2816}",
         "netconn",
         {"src=1.1.1.1", "dst=2.2.2.2", "srcPort=11", "dstPort=22", "proto=6"},
         {NULL}},
        {"1{1:4} 20{1:17 3:0 8{2:33686018} 9:5632 10{2:16843009} 11:2816}",
         "netconn",
         {"src=2.2.2.2", "dst=1.1.1.1", "srcPort=22", "dstPort=11", "proto=17"},
         {NULL}},
        {"1{1:4} 21{3:6 5:0 10{2:33686018} 11:5632 12{2:16843009} 13:2816}",
         "netconnblocked",
         {"src=2.2.2.2", "dst=1.1.1.1", "srcPort=22", "dstPort=11", "proto=6"},
         {NULL}},
        /* The old one has no ends but those that are set. */
        {"1{1:4} 6{2:33686018 5:5632 6:17}",
         "netconn",
         {"ipv4=2.2.2.2", "port=22", "proto=17"},
         {"src=", "dst=", "srcPort=", "dstPort="}},
        {"1{1:4} 6{2:33686018 5:5632 6:17 13:33686018 14:5632}",
         "netconn",
         {"dst=2.2.2.2", "dstPort=22", "proto=17"},
         {"src=", "srcPort="}},
        {"1{1:4} 4{1:1}", "moduleload", {"event_type=modload"}, {"src=", "proto=", "dst="}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pb record = pb_parse(rows[i].record);
        struct cbt_event event = decode_event(&record);
        struct exact_buf out;
        char head[64];
        encode("leef", &event, 1, &out);
        int len = snprintf(head, sizeof(head), "LEEF:1.0|CB|CB|5.1|ingress.event.%s|", rows[i].type);
        assert_true(cbt_buf_len(&out.buf) > (size_t)len);
        assert_memory_equal(out.buf.begin, head, (size_t)len);
        for (unsigned k = 0; k < 6; k++) {
            if (rows[i].present[k] != NULL && !leef_has(&out, rows[i].present[k]))
                fail_msg("%s: no %s in %.*s", rows[i].record, rows[i].present[k], (int)cbt_buf_len(&out.buf),
                         (char *)out.buf.begin);
            char key[32] = "\t";
            if (rows[i].absent[k] == NULL)
                continue;
            strncat(key, rows[i].absent[k], sizeof(key) - 2);
            assert_null(memmem(out.buf.begin, cbt_buf_len(&out.buf), key, strlen(key)));
        }
        exact_free(&out);
        pb_free(&record);
    }
}

static void a_started_process_is_a_process_in_the_header_only(void **state)
{
    (void)state;
    struct pb record = pb_parse("1{1:4} 3{2:1}");
    struct cbt_event event = decode_event(&record);
    struct exact_buf out;
    encode("leef", &event, 0, &out);
    if (event.type == CBT_TYPE_procstart) {
        static const char head[] = "LEEF:1.0|CB|CB|5.1|ingress.event.process|";
        assert_memory_equal(out.buf.begin, head, sizeof(head) - 1);
        assert_true(leef_has(&out, "type=ingress.event.procstart"));
    } else {
        fail_msg("not a procstart");
    }
    exact_free(&out);
    pb_free(&record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_written_by_their_kind),
        cmocka_unit_test(characters_are_decoded_then_escaped),
        cmocka_unit_test(pairs_are_sorted_by_the_bytes_of_the_decoded_key),
        cmocka_unit_test(the_entry_of_docs_is_promoted),
        cmocka_unit_test(the_header_has_version_and_type),
        cmocka_unit_test(ends_of_a_connection_come_from_ioc_attr),
        cmocka_unit_test(ends_of_a_connection_come_from_the_event),
        cmocka_unit_test(a_started_process_is_a_process_in_the_header_only),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
