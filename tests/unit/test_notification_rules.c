/* SPDX-License-Identifier: MIT */
/* The rules for server notifications, one table each, applied to the notification and to an entry of docs. */
#include "notification_bed.h"

#define MD5   "28228c7068de998d9251c82e61d13a4f"
#define UPPER "28228C7068DE998D9251C82E61D13A4F"
#define GUID  "00000007-0000-0fd4-01d1-209aa22a57ee"
#define FFFD  "\xEF\xBF\xBD"
#define TEN   "aaaaaaaaaa"

static void type_and_server_are_the_events_own(void **state)
{
    (void)state;
    static const struct rule_row rows[] = {
        {"{\"type\":\"old\",\"cb_server\":\"old\",\"a\":1}", "\"a\":1"},
        {"{\"a\":1,\"type\":{\"x\":[1,2]},\"cb_server\":null}", "\"a\":1"},
        {"{\"\\u0074ype\":1,\"cb\\u005Fserver\":2}", ""},
        {"{\"typ\":1,\"types\":2,\"a\":{\"type\":3}}", "\"typ\":1,\"types\":2,\"a\":{\"type\":3}"},
    };
    expect_rows(json, "a.b", rows, COUNT(rows));
    expect_events(json, "a.b", "{\"docs\":[{\"type\":\"t\",\"cb_server\":\"c\"}]}",
                  (const char *const[]){"\"docs\":[{\"type\":\"t\",\"cb_server\":\"c\"}]", NULL});
}

static void names_are_changed_values_are_not(void **state)
{
    (void)state;
    static const struct rule_row rows[] = {
        {"{\"event_timestamp\":1447697629.0710}", "\"timestamp\":1447697629.0710"},
        {"{\"event_timestamp\":1e3,\"a\":1}", "\"timestamp\":1e3,\"a\":1"},
        {"{\"event_timestamp\":\"x\"}", "\"timestamp\":\"x\""},
        {"{\"event_timestamp\":null}", "\"timestamp\":null"},
        {"{\"event_timestamp\":{\"a\":1,\"a\":2}}", "\"timestamp\":{\"a\":2}"},
        {"{\"event_timest\\u0061mp\":18446744073709551616}", "\"timestamp\":18446744073709551616"},
        {"{\"timestamp\":1,\"event_timestamp\":2}", "\"timestamp\":2"},
        {"{\"event_timestamp\":2,\"timestamp\":1}", "\"timestamp\":2"},
        {"{\"timestamp\":1}", "\"timestamp\":1"},
        {"{\"hostname\":\"h\"}", "\"hostname\":\"h\",\"computer_name\":\"h\""},
        {"{\"hostname\":\"\\ud800\xFF\\u0041\"}",
         "\"hostname\":\"" FFFD FFFD "A\",\"computer_name\":\"" FFFD FFFD "A\""},
        {"{\"computer_name\":\"c\",\"hostname\":\"h\"}", "\"hostname\":\"h\",\"computer_name\":\"h\""},
        {"{\"hostname\":\"h\",\"computer_name\":\"c\"}", "\"hostname\":\"h\",\"computer_name\":\"h\""},
        {"{\"computer_name\":\"c\"}", "\"computer_name\":\"c\""},
        {"{\"hostname\":[1]}", "\"hostname\":[1],\"computer_name\":[1]"},
        {"{\"highlights\":[1,{\"a\":2}]}", ""},
        {"{\"highlights\":1,\"a\":2}", "\"a\":2"},
        {"{\"a\":2,\"highlights\":1}", "\"a\":2"},
        {"{\"a\":2,\"highlights\":1,\"b\":3}", "\"a\":2,\"b\":3"},
        {"{\"a\":{\"highlights\":1}}", "\"a\":{\"highlights\":1}"},
    };
    EXPECT_EVERYWHERE(json, "a.b", rows);
}

static void hashes_are_upper_cased(void **state)
{
    (void)state;
    static const struct rule_row rows[] = {
        {"{\"md5\":\"" MD5 "\"}", "\"md5\":\"" UPPER "\""},
        {"{\"parent_md5\":\"" MD5 "\"}", "\"parent_md5\":\"" UPPER "\""},
        {"{\"process_md5\":\"" MD5 "\"}", "\"process_md5\":\"" UPPER "\""},
        {"{\"file_md5\":\"" MD5 "\"}", "\"file_md5\":\"" MD5 "\""},
        {"{\"a\":{\"md5\":\"" MD5 "\"}}", "\"a\":{\"md5\":\"" MD5 "\"}"},
        /* 31 and 33 bytes, and what is no string */
        {"{\"md5\":\"" TEN TEN TEN "b\"}", "\"md5\":\"" TEN TEN TEN "b\""},
        {"{\"md5\":\"" TEN TEN TEN "bbb\"}", "\"md5\":\"" TEN TEN TEN "bbb\""},
        {"{\"md5\":[\"" MD5 "\"]}", "\"md5\":[\"" MD5 "\"]"},
        {"{\"md5\":12345678901234567890123456789012}", "\"md5\":12345678901234567890123456789012"},
        /* 32 bytes once escapes are decoded, and once U+FFFD stands for what is ill-formed */
        {"{\"md5\":\"" TEN TEN TEN "\\u0061\\u0062\"}", "\"md5\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB\""},
        {"{\"md5\":\"" TEN TEN TEN "\\n\\u00e9\"}", "\"md5\":\"" TEN TEN TEN "\\n\\u00e9\""},
        {"{\"md5\":\"" TEN TEN TEN "\\u00e9\"}", "\"md5\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\xC3\xA9\""},
        {"{\"md5\":\"" TEN TEN "aaaaaa\\ud83d\\ude00\\n\\\\\"}",
         "\"md5\":\"AAAAAAAAAAAAAAAAAAAAAAAAAA\xF0\x9F\x98\x80\\n\\\\\""},
        {"{\"md5\":\"" TEN TEN "aaaaaaaaa\xFF\"}", "\"md5\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAA" FFFD "\""},
        {"{\"md5\":\"" TEN TEN "aaaaaaaaa\\ud800\"}", "\"md5\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAA" FFFD "\""},
        {"{\"md5\":1,\"md5\":\"" MD5 "\"}", "\"md5\":\"" UPPER "\""},
        {"{\"md5\":\"" MD5 "\",\"md5\":1}", "\"md5\":1"},
    };
    EXPECT_EVERYWHERE(json, "a.b", rows);
}

static void the_md5_of_an_ioc_type_is_upper_cased(void **state)
{
    (void)state;
    static const struct rule_row rows[] = {
        {"{\"ioc_type\":{\"md5\":\"abc\"}}", "\"ioc_type\":{\"md5\":\"ABC\"}"},
        {"{\"ioc_type\":{ \"b\" : [1.0] , \"md5\" : \"a\\u0062\\nc\\u00e9\" ,\"c\":\"d\"},\"z\":1}",
         "\"ioc_type\":{\"b\":[1.0],\"md5\":\"AB\\nC\\u00e9\",\"c\":\"d\"},\"z\":1"},
        {"{\"ioc_type\":{\"md5\":\"a\",\"x\":{\"y\":1,\"y\":2},\"md5\":\"b\",\"x\":{\"z\":1,\"z\":\"a\"}}}",
         "\"ioc_type\":{\"md5\":\"B\",\"x\":{\"z\":\"a\"}}"},
        {"{\"ioc_type\":{\"\\u006dd5\":\"a\"}}", "\"ioc_type\":{\"md5\":\"A\"}"},
        {"{\"ioc_type\":{\"md5\":\"a\",\"md5\":5}}", "\"ioc_type\":{\"md5\":5}"},
        {"{\"ioc_type\":{\"md5\":[\"a\"]}}", "\"ioc_type\":{\"md5\":[\"a\"]}"},
        {"{\"ioc_type\":{\"a\":{\"md5\":\"a\"}}}", "\"ioc_type\":{\"a\":{\"md5\":\"a\"}}"},
        {"{\"ioc_type\":[\"md5\",\"a\"]}", "\"ioc_type\":[\"md5\",\"a\"]"},
        {"{\"ioc_type\":{\"md5\":\"\"}}", "\"ioc_type\":{\"md5\":\"\"}"},
        {"{\"ioc_type\":{}}", "\"ioc_type\":{}"},
        {"{\"ioc_type\":\"md5\"}", "\"ioc_type\":\"md5\""},
    };
    EXPECT_EVERYWHERE(json, "a.b", rows);
}

/* A notification with that search_query (as JSON text within a string) and what its string is. */
static void expect_query(const char *search_query, const char *string)
{
    static char text[4096], expected[4096];
    char value[2048];
    snprintf(value, sizeof(value), "{\\\"index_type\\\":\\\"events\\\",\\\"search_query\\\":\\\"%s\\\"}",
             search_query);
    snprintf(text, sizeof(text), "{\"ioc_type\":\"query\",\"ioc_value\":\"%s\"}", value);
    snprintf(expected, sizeof(expected),
             "\"ioc_type\":\"query\",\"ioc_value\":\"%s\",\"ioc_query_index\":\"events\"%s%s%s", value,
             string != NULL ? ",\"ioc_query_string\":\"" : "", string != NULL ? string : "",
             string != NULL ? "\"" : "");
    const struct rule_row rows[] = {{text, expected}};
    EXPECT_EVERYWHERE(json, "a.b", rows);
}

static void a_query_string_is_form_decoded(void **state)
{
    (void)state;
    expect_query("cb.urlver=1&q=process_name%3Anotepad.exe%20-digsig_result%3AUnsigned",
                 "process_name:notepad.exe -digsig_result:Unsigned");
    expect_query("q=a+b%2Bc", "a b+c");
    expect_query("q=1&q=2", "1");
    expect_query("x=q=1&q=a=b", "a=b");
    expect_query("q=a;b&c", "a;b");
    expect_query("q=%zz%4%", "%zz%4%");
    expect_query("q=%4", "%4");
    expect_query("q=100%&x", "100%");
    expect_query("q=%2525%4a%4A", "%25JJ");
    expect_query("q", "");
    expect_query("q=", "");
    expect_query("%71=a", "a");
    expect_query("&&q=a&", "a");
    expect_query("qq=1&q%20=2&+q=3&Q=4", NULL);
    expect_query("", NULL);
    expect_query("q=%C3%A9%FF%F0%9F%98", "\xC3\xA9" FFFD FFFD);
    expect_query("q=%00%22%5C%0a", "\\u0000\\\"\\\\\\n");
    expect_query("q=\\\\u0061\\\\u0026x\\\\n", "a");
    expect_query("q=\\\\ud800\\\\ud83d\\\\ude00", FFFD "\xF0\x9F\x98\x80");
}

#define QUERY(value) "{\"ioc_type\":\"query\",\"ioc_value\":" value "}"
#define SAME(value)  "\"ioc_type\":\"query\",\"ioc_value\":" value

static void what_is_no_query_stays_as_it_came(void **state)
{
    (void)state;
    static const char *const values[] = {
        "\"\"",
        "\"[]\"",
        "\"{}\"",
        "\"{\"",
        "5",
        "null",
        "{\"index_type\":\"a\",\"search_query\":\"q=1\"}",
        "\"{\\\"index_type\\\":\\\"a\\\"}\"",
        "\"{\\\"search_query\\\":\\\"q=1\\\"}\"",
        "\"{\\\"index_type\\\":1,\\\"search_query\\\":\\\"q=1\\\"}\"",
        "\"{\\\"index_type\\\":\\\"a\\\",\\\"search_query\\\":[\\\"q=1\\\"]}\"",
        "\"{\\\"index_type\\\":\\\"a\\\",\\\"search_query\\\":\\\"q=1\\\",}\"",
        "\"{\\\"a\\\":{\\\"index_type\\\":\\\"a\\\",\\\"search_query\\\":\\\"q=1\\\"}}\"",
        "\"{\\\"index_type\\\":\\\"a\\\",\\\"search_query\\\":\\\"q=1\\\",\\\"search_query\\\":1}\"",
        "\"{\\\"index_type\\\":\\\"a\\\",\\\"search_query\\\":\\\"q=1\\\"} 1\"",
    };
    static char text[1024], expected[1024];
    const struct rule_row row = {text, expected};
    for (size_t i = 0; i < COUNT(values); i++) {
        snprintf(text, sizeof(text), QUERY("%s"), values[i]);
        snprintf(expected, sizeof(expected), SAME("%s"), values[i]);
        expect_rows(json, "a.b", &row, 1);
        expect_rows_in_docs(json, "a.b", &row, 1);
    }
    static const struct rule_row others[] = {
        {"{\"ioc_type\":\"Query\",\"ioc_value\":\"{\\\"index_type\\\":\\\"a\\\",\\\"search_query\\\":"
         "\\\"q\\\"}\"}",
         "\"ioc_type\":\"Query\",\"ioc_value\":\"{\\\"index_type\\\":\\\"a\\\",\\\"search_query\\\":"
         "\\\"q\\\"}\""},
        {"{\"ioc_value\":\"{\\\"index_type\\\":\\\"a\\\",\\\"search_query\\\":\\\"q\\\"}\"}",
         "\"ioc_value\":\"{\\\"index_type\\\":\\\"a\\\",\\\"search_query\\\":\\\"q\\\"}\""},
        {"{\"ioc_query_index\":1,\"ioc_query_string\":2}", "\"ioc_query_index\":1,\"ioc_query_string\":2"},
    };
    EXPECT_EVERYWHERE(json, "a.b", others);
}

#define VALUE                                                                                                \
    "\"{\\\"search_query\\\":\\\"q=z\\\", \\\"search_query\\\":\\\"q=s\\\",\\\"index_type\\\":\\\"i\\\"}\""

static void a_query_overwrites_what_came(void **state)
{
    (void)state;
    static const struct rule_row rows[] = {
        {"{\"ioc_query_index\":1,\"ioc_query_string\":[2],\"ioc_type\":\"quer\\u0079\",\"ioc_value\":" VALUE
         "}",
         "\"ioc_type\":\"query\",\"ioc_value\":" VALUE
         ",\"ioc_query_index\":\"i\",\"ioc_query_string\":\"s\""},
        {"{\"ioc_type\":\"query\",\"ioc_value\":1,\"ioc_value\":" VALUE "}",
         "\"ioc_type\":\"query\",\"ioc_value\":" VALUE
         ",\"ioc_query_index\":\"i\",\"ioc_query_string\":\"s\""},
        {"{\"ioc_type\":\"query\",\"ioc_value\":" VALUE ",\"ioc_type\":\"x\"}",
         "\"ioc_type\":\"x\",\"ioc_value\":" VALUE},
        /* no q: an index, and the string that came */
        {"{\"ioc_query_string\":5,\"ioc_type\":\"query\",\"ioc_value\":"
         "\"{\\\"index_type\\\":\\\"\\\",\\\"search_query\\\":\\\"\\\"}\"}",
         "\"ioc_query_string\":5,\"ioc_type\":\"query\",\"ioc_query_index\":\"\",\"ioc_value\":"
         "\"{\\\"index_type\\\":\\\"\\\",\\\"search_query\\\":\\\"\\\"}\""},
    };
    EXPECT_EVERYWHERE(json, "a.b", rows);
    /* The top's query is each event's, an entry's is its own. */
    expect_events(json, "a.b",
                  "{\"ioc_type\":\"query\",\"ioc_value\":" VALUE
                  ",\"docs\":[1,{\"ioc_type\":\"query\",\"ioc_value\":" VALUE
                  "},{\"ioc_type\":\"query\"},{\"ioc_value\":" VALUE ",\"ioc_type\":\"query\"}]}",
                  (const char *const[]){
                      SAME(VALUE) ",\"ioc_query_index\":\"i\",\"ioc_query_string\":\"s\",\"docs\":[1]",
                      SAME(VALUE) ",\"ioc_query_index\":\"i\",\"ioc_query_string\":\"s\",\"docs\":[{" SAME(
                          VALUE) ",\"ioc_query_index\":\"i\",\"ioc_query_string\":\"s\"}]",
                      SAME(VALUE) ",\"ioc_query_index\":\"i\",\"ioc_query_string\":\"s\",\"docs\":[{\"ioc_"
                                  "type\":\"query\"}]",
                      SAME(VALUE) ",\"ioc_query_index\":\"i\",\"ioc_query_string\":\"s\",\"docs\":[{" SAME(
                          VALUE) ",\"ioc_query_index\":\"i\",\"ioc_query_string\":\"s\"}]",
                      NULL});
}

static void integer_addresses_become_dotted_quads(void **state)
{
    (void)state;
    static const struct rule_row rows[] = {
        {"{\"comms_ip\":-1399941394}", "\"comms_ip\":\"172.142.150.238\""},
        {"{\"interface_ip\":16909060}", "\"interface_ip\":\"1.2.3.4\""},
        {"{\"comms_ip\":0,\"interface_ip\":-1}",
         "\"comms_ip\":\"0.0.0.0\",\"interface_ip\":\"255.255.255.255\""},
        {"{\"comms_ip\":-0}", "\"comms_ip\":\"0.0.0.0\""},
        {"{\"comms_ip\":2147483647,\"interface_ip\":-2147483648}",
         "\"comms_ip\":\"127.255.255.255\",\"interface_ip\":\"128.0.0.0\""},
        {"{\"comms_ip\":2147483648,\"interface_ip\":-2147483649}",
         "\"comms_ip\":2147483648,\"interface_ip\":-2147483649"},
        {"{\"comms_ip\":18446744073709551617,\"interface_ip\":-18446744073709551617}",
         "\"comms_ip\":18446744073709551617,\"interface_ip\":-18446744073709551617"},
        {"{\"comms_ip\":99999999999999999999999999}", "\"comms_ip\":99999999999999999999999999"},
        {"{\"comms_ip\":1.0,\"interface_ip\":1e3}", "\"comms_ip\":1.0,\"interface_ip\":1e3"},
        {"{\"comms_ip\":\"1.2.3.4\",\"interface_ip\":\"16909060\"}",
         "\"comms_ip\":\"1.2.3.4\",\"interface_ip\":\"16909060\""},
        {"{\"comms_ip\":true,\"interface_ip\":null}", "\"comms_ip\":true,\"interface_ip\":null"},
        {"{\"remote_ip\":1}", "\"remote_ip\":1"},
    };
    EXPECT_EVERYWHERE(json, "a.b", rows);
}

static void guids_and_segments_come_from_unique_ids(void **state)
{
    (void)state;
    static const struct rule_row rows[] = {
        {"{\"unique_id\":\"" GUID "\"}",
         "\"unique_id\":\"" GUID "\",\"process_guid\":\"" GUID "\",\"segment_id\":\"1\""},
        {"{\"unique_id\":\"" GUID "-0000000a\"}",
         "\"unique_id\":\"" GUID "-0000000a\",\"process_guid\":\"" GUID "\",\"segment_id\":\"10\""},
        {"{\"unique_id\":\"" GUID "-FFFFFFFF\"}",
         "\"unique_id\":\"" GUID "-FFFFFFFF\",\"process_guid\":\"" GUID "\",\"segment_id\":\"4294967295\""},
        {"{\"unique_id\":\"" GUID "-ffffffffffff\"}",
         "\"unique_id\":\"" GUID "-ffffffffffff\",\"process_guid\":"
         "\"" GUID "\",\"segment_id\":\"281474976710655\""},
        {"{\"unique_id\":\"" GUID "-0000000g\"}",
         "\"unique_id\":\"" GUID "-0000000g\",\"process_guid\":\"" GUID "\",\"segment_id\":\"1\""},
        {"{\"unique_id\":\"" GUID "/00000002\"}",
         "\"unique_id\":\"" GUID "/00000002\",\"process_guid\":\"" GUID "\",\"segment_id\":\"1\""},
        /* other lengths, and what is no string: process_id counts, where it is one */
        {"{\"unique_id\":\"" GUID "-0000002\"}", "\"unique_id\":\"" GUID "-0000002\""},
        {"{\"unique_id\":\"\"}", "\"unique_id\":\"\""},
        {"{\"unique_id\":\"x\",\"process_id\":\"" GUID "\"}",
         "\"unique_id\":\"x\",\"process_id\":\"" GUID "\",\"process_guid\":\"" GUID
         "\",\"segment_id\":\"1\""},
        {"{\"unique_id\":5,\"process_id\":\"" GUID "-00000003\"}",
         "\"unique_id\":5,\"process_id\":\"" GUID "-00000003\",\"process_guid\":\"" GUID
         "\",\"segment_id\":\"3\""},
        {"{\"process_id\":\"" GUID "\",\"unique_id\":\"" GUID "-00000004\"}",
         "\"unique_id\":\"" GUID "-00000004\",\"process_id\":\"" GUID "\",\"process_guid\":\"" GUID
         "\",\"segment_id\":\"4\""},
        {"{\"process_id\":\"short\"}",
         "\"process_id\":\"short\",\"process_guid\":\"short\",\"segment_id\":\"1\""},
        {"{\"process_id\":\"" GUID "-0000002\"}",
         "\"process_id\":\"" GUID "-0000002\",\"process_guid\":\"" GUID "\",\"segment_id\":\"1\""},
        {"{\"process_id\":\"\"}", "\"process_id\":\"\",\"process_guid\":\"\",\"segment_id\":\"1\""},
        {"{\"process_id\":7}", "\"process_id\":7"},
        /* they overwrite, wherever it stands */
        {"{\"segment_id\":9,\"process_guid\":\"x\",\"unique_id\":\"" GUID "-00000002\"}",
         "\"unique_id\":\"" GUID "-00000002\",\"process_guid\":\"" GUID "\",\"segment_id\":\"2\""},
        {"{\"process_id\":\"" GUID "\",\"segment_id\":9,\"process_guid\":null}",
         "\"process_id\":\"" GUID "\",\"process_guid\":\"" GUID "\",\"segment_id\":\"1\""},
        {"{\"segment_id\":9,\"process_guid\":\"x\"}", "\"segment_id\":9,\"process_guid\":\"x\""},
        /* characters are counted and cut, not bytes */
        {"{\"unique_id\":\"0000000\\u0037-0000-0fd4-01d1-209aa22a57e\xC3\xA9\\u002d0000000\\u0032\"}",
         "\"unique_id\":\"00000007-0000-0fd4-01d1-209aa22a57e\xC3\xA9-00000002\",\"process_guid\":"
         "\"00000007-0000-0fd4-01d1-209aa22a57e\xC3\xA9\",\"segment_id\":\"2\""},
        {"{\"process_id\":\"00000007-0000-0fd4-01d1-209aa22a57e\\ud800x\"}",
         "\"process_id\":\"00000007-0000-0fd4-01d1-209aa22a57e" FFFD "x\",\"process_guid\":"
         "\"00000007-0000-0fd4-01d1-209aa22a57e" FFFD "\",\"segment_id\":\"1\""},
    };
    EXPECT_EVERYWHERE(json, "watchlist.hit.process", rows);
}

static void parents_have_guids_and_segments_too(void **state)
{
    (void)state;
    static const struct rule_row rows[] = {
        {"{\"parent_unique_id\":\"" GUID "-0000000b\"}",
         "\"parent_unique_id\":\"" GUID "-0000000b\",\"parent_guid\":\"" GUID
         "\",\"parent_segment_id\":\"11\""},
        {"{\"parent_unique_id\":\"" GUID "\",\"parent_guid\":5,\"parent_segment_id\":6}",
         "\"parent_unique_id\":\"" GUID "\",\"parent_guid\":\"" GUID "\",\"parent_segment_id\":\"1\""},
        {"{\"parent_unique_id\":\"x\",\"process_id\":5,\"parent_guid\":5}",
         "\"parent_unique_id\":\"x\",\"process_id\":5,\"parent_guid\":5"},
        {"{\"parent_unique_id\":7}", "\"parent_unique_id\":7"},
        {"{\"parent_id\":\"" GUID "\"}", "\"parent_id\":\"" GUID "\""},
    };
    EXPECT_EVERYWHERE(json, "watchlist.hit.process", rows);
    EXPECT_EVERYWHERE(json, "alert.watchlist.hit", rows);
}

static void the_unique_id_of_an_alert_is_its_own(void **state)
{
    (void)state;
    static const struct rule_row rows[] = {
        {"{\"unique_id\":\"" GUID "\"}", "\"unique_id\":\"" GUID "\""},
        {"{\"unique_id\":\"" GUID "\",\"process_id\":\"p\",\"segment_id\":2}",
         "\"unique_id\":\"" GUID "\",\"process_id\":\"p\",\"process_guid\":\"p\",\"segment_id\":\"1\""},
    };
    static const struct rule_row not_alerts[] = {
        {"{\"unique_id\":\"" GUID "\",\"process_id\":\"p\"}",
         "\"unique_id\":\"" GUID "\",\"process_id\":\"p\",\"process_guid\":\"" GUID
         "\",\"segment_id\":\"1\""},
    };
    EXPECT_EVERYWHERE(json, "alert.watchlist.hit.query.process", rows);
    EXPECT_EVERYWHERE(json, "alert.", rows);
    EXPECT_EVERYWHERE(json, "alert", not_alerts);
    EXPECT_EVERYWHERE(json, "alerts.x", not_alerts);
    EXPECT_EVERYWHERE(json, "x.alert.y", not_alerts);
}

static void links_are_made_where_there_is_a_server_url(void **state)
{
    (void)state;
    static const struct rule_row rows[] = {
        {"{\"sensor_id\":7}", "\"sensor_id\":7,\"link_sensor\":\"https://e/#/host/7\""},
        {"{\"sensor_id\":-18446744073709551616,\"link_sensor\":1}",
         "\"sensor_id\":-18446744073709551616,\"link_sensor\":\"https://e/#/host/-18446744073709551616\""},
        {"{\"sensor_id\":\"7\",\"link_sensor\":1}", "\"sensor_id\":\"7\",\"link_sensor\":1"},
        {"{\"sensor_id\":7.0}", "\"sensor_id\":7.0"},
        {"{\"sensor_id\":7e0}", "\"sensor_id\":7e0"},
        {"{\"sensor_id\":true}", "\"sensor_id\":true"},
        {"{\"md5\":\"" MD5 "\",\"link_md5\":\"x\"}",
         "\"md5\":\"" UPPER "\",\"link_md5\":\"https://e/#/binary/" UPPER "\""},
        {"{\"parent_md5\":\"" MD5 "\",\"process_md5\":\"" UPPER "\"}",
         "\"parent_md5\":\"" UPPER "\",\"link_parent_md5\":\"https://e/#/binary/" UPPER
         "\",\"process_md5\":\"" UPPER "\",\"link_process_md5\":\"https://e/#/binary/" UPPER "\""},
        {"{\"md5\":\"" TEN TEN TEN "\",\"link_md5\":\"x\"}",
         "\"md5\":\"" TEN TEN TEN "\",\"link_md5\":\"x\""},
        /* 32 characters are not 32 bytes */
        {"{\"md5\":\"" TEN TEN TEN "a\xC3\xA9\"}",
         "\"md5\":\"" TEN TEN TEN "a\xC3\xA9\",\"link_md5\":\"https://e/#/binary/" TEN TEN TEN "a\xC3\xA9\""},
        {"{\"md5\":\"" TEN TEN TEN "\xC3\xA9\"}", "\"md5\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\xC3\xA9\""},
        {"{\"unique_id\":\"" GUID "-00000002\",\"link_process\":[],\"segment_id\":5}",
         "\"unique_id\":\"" GUID "-00000002\",\"process_guid\":\"" GUID
         "\",\"segment_id\":\"2\",\"link_process\":\"https://e/#analyze/" GUID "/2\""},
        {"{\"process_guid\":\"g\\n\"}",
         "\"process_guid\":\"g\\n\",\"link_process\":\"https://e/#analyze/g\\n/0\""},
        {"{\"process_guid\":-12.50,\"segment_id\":3}",
         "\"process_guid\":-12.50,\"segment_id\":3,\"link_process\":\"https://e/#analyze/-12.50/3\""},
        {"{\"process_guid\":\"\",\"segment_id\":\"\"}",
         "\"process_guid\":\"\",\"segment_id\":\"\",\"link_process\":\"https://e/#analyze//\""},
        {"{\"process_guid\":\"g\",\"segment_id\":null}",
         "\"process_guid\":\"g\",\"segment_id\":null,\"link_process\":\"https://e/#analyze/g/0\""},
        {"{\"process_guid\":\"g\",\"segment_id\":[1]}",
         "\"process_guid\":\"g\",\"segment_id\":[1],\"link_process\":\"https://e/#analyze/g/0\""},
        {"{\"process_guid\":null,\"link_process\":1}", "\"process_guid\":null,\"link_process\":1"},
        {"{\"process_guid\":{\"a\":1}}", "\"process_guid\":{\"a\":1}"},
        {"{\"segment_id\":\"1\"}", "\"segment_id\":\"1\""},
        {"{\"parent_guid\":\"g\"}", "\"parent_guid\":\"g\",\"link_parent\":\"https://e/#analyze/g/1\""},
        {"{\"parent_guid\":5,\"parent_segment_id\":\"7\",\"link_parent\":0}",
         "\"parent_guid\":5,\"parent_segment_id\":\"7\",\"link_parent\":\"https://e/#analyze/5/7\""},
        {"{\"parent_unique_id\":\"" GUID "-0000000c\"}",
         "\"parent_unique_id\":\"" GUID "-0000000c\",\"parent_guid\":\"" GUID
         "\",\"parent_segment_id\":\"12\",\"link_parent\":\"https://e/#analyze/" GUID "/12\""},
        {"{\"parent_guid\":true,\"link_parent\":0}", "\"parent_guid\":true,\"link_parent\":0"},
    };
    static const struct rule_row without[] = {
        {"{\"sensor_id\":7,\"process_guid\":\"g\",\"parent_guid\":\"h\",\"md5\":\"" UPPER
         "\",\"link_sensor\":1,\"link_md5\":2,\"link_process\":3,\"link_parent\":4}",
         "\"sensor_id\":7,\"process_guid\":\"g\",\"parent_guid\":\"h\",\"md5\":\"" UPPER
         "\",\"link_sensor\":1,\"link_md5\":2,\"link_process\":3,\"link_parent\":4"},
    };
    EXPECT_EVERYWHERE(json_links, "a.b", rows);
    EXPECT_EVERYWHERE(json, "a.b", without);
}

/* The parser of the expected output refuses a key that comes twice, so each of these proves that none does.
 */
static void of_equal_keys_the_last_counts(void **state)
{
    (void)state;
    static const struct rule_row rows[] = {
        {"{\"a\":1,\"a\":2}", "\"a\":2"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "\"b\":2,\"a\":3"},
        {"{\"a\":1,\"a\":2,\"a\":[3]}", "\"a\":[3]"},
        {"{\"a\":1,\"\\u0061\":2}", "\"a\":2"},
        {"{\"/\":1,\"\\/\":2,\"\\u002f\":3}", "\"/\":3"},
        {"{\"\xC3\xA9\":1,\"\\u00E9\":2}", "\"\xC3\xA9\":2"},
        {"{\"\xF0\x9F\x98\x80\":1,\"\\uD83d\\ude00\":2}", "\"\xF0\x9F\x98\x80\":2"},
        /* all that is ill-formed is U+FFFD, so these are the same key */
        {"{\"\xFF\":1,\"\\ud800\":2,\"\\udfff\":3,\"\xF0\x9F\":4,\"\\uFFFD\":5}", "\"" FFFD "\":5"},
        {"{\"\":1,\"\":2}", "\"\":2"},
        {"{\"\\u0000\":1,\"\":2}", "\"\\u0000\":1,\"\":2"},
        {"{\"a\":1,\"ab\":2,\"A\":3}", "\"a\":1,\"ab\":2,\"A\":3"},
        {"{\"x\":{\"a\":1,\"a\":{\"b\":1,\"b\":2}},\"y\":[{\"a\":1,\"a\":2},{\"a\":3}]}",
         "\"x\":{\"a\":{\"b\":2}},\"y\":[{\"a\":2},{\"a\":3}]"},
        {"{\"x\":{\"a\":{\"b\":1,\"b\":2,\"c\":{\"c\":1,\"c\":2}},\"a\":{\"b\":3}},\"a\":1}",
         "\"x\":{\"a\":{\"b\":3}},\"a\":1"},
        {"{ \"a\" : { \"b\" : 1 , \"b\" : [ ] } , \"a\" : { \"c\" : 1 ,\n \"c\" : 2 } , \"d\" : 1 }",
         "\"a\":{\"c\":2},\"d\":1"},
        {"{\"highlights\":1,\"highlights\":2}", ""},
        {"{\"highlights\":1,\"a\":1,\"highlights\":2,\"a\":5}", "\"a\":5"},
        {"{\"event_timestamp\":1,\"timestamp\":2,\"event_timestamp\":3,\"timestamp\":4}", "\"timestamp\":3"},
        {"{\"hostname\":1,\"computer_name\":2,\"hostname\":\"h\",\"computer_name\":4}",
         "\"hostname\":\"h\",\"computer_name\":\"h\""},
        {"{\"comms_ip\":1,\"comms_ip\":\"x\"}", "\"comms_ip\":\"x\""},
        {"{\"comms_ip\":\"x\",\"comms_ip\":1}", "\"comms_ip\":\"0.0.0.1\""},
        {"{\"process_id\":\"a\",\"process_guid\":1,\"process_guid\":2,\"process_id\":\"b\",\"segment_id\":1}",
         "\"process_id\":\"b\",\"process_guid\":\"b\",\"segment_id\":\"1\""},
        {"{\"process_id\":\"a\",\"process_id\":5}", "\"process_id\":5"},
    };
    EXPECT_EVERYWHERE(json, "a.b", rows);
    static const struct rule_row links[] = {
        {"{\"sensor_id\":\"x\",\"sensor_id\":1,\"link_sensor\":1,\"link_sensor\":2}",
         "\"sensor_id\":1,\"link_sensor\":\"https://e/#/host/1\""},
        {"{\"sensor_id\":1,\"sensor_id\":\"x\",\"link_sensor\":1,\"link_sensor\":2}",
         "\"sensor_id\":\"x\",\"link_sensor\":2"},
    };
    EXPECT_EVERYWHERE(json_links, "a.b", links);
    static const struct rule_row tops[] = {
        {"{\"type\":1,\"type\":2,\"cb_server\":3,\"cb_server\":4}", ""},
    };
    expect_rows(json, "a.b", tops, COUNT(tops));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(type_and_server_are_the_events_own),
        cmocka_unit_test(names_are_changed_values_are_not),
        cmocka_unit_test(hashes_are_upper_cased),
        cmocka_unit_test(the_md5_of_an_ioc_type_is_upper_cased),
        cmocka_unit_test(a_query_string_is_form_decoded),
        cmocka_unit_test(what_is_no_query_stays_as_it_came),
        cmocka_unit_test(a_query_overwrites_what_came),
        cmocka_unit_test(integer_addresses_become_dotted_quads),
        cmocka_unit_test(guids_and_segments_come_from_unique_ids),
        cmocka_unit_test(parents_have_guids_and_segments_too),
        cmocka_unit_test(the_unique_id_of_an_alert_is_its_own),
        cmocka_unit_test(links_are_made_where_there_is_a_server_url),
        cmocka_unit_test(of_equal_keys_the_last_counts),
    };
    return cmocka_run_group_tests(tests, bed_open, bed_close);
}
