/* SPDX-License-Identifier: MIT */
/* The formats table and csv: what they show, that it stays in its columns, and that it is harmless. */
#include "fixture.h"
#include "pb_build.h"
#include "people_check.h"

#include <dirent.h>

#include "format/cells.h"
#include "format/table.h"

#define HEAD     "1{1:4 4:130921702131467731 10:708} 13{1{1:7 2:'host'}} "
#define WHEN     "2015-11-16T17:56:53 "
#define NEVER    "-                   "
#define WHO      "host             "
#define REPLACED "\xEF\xBF\xBD"
#define MORE     "\xE2\x80\xA6"

static struct cbt_decoder *decoder;

static int open_all(void **state)
{
    (void)state;
    struct cbt_err err;
    setenv("TZ", "UTC", 1);
    return cbt_decoder_new(&decoder, &fixture_limits, &err);
}

static int close_all(void **state)
{
    (void)state;
    cbt_decoder_free(decoder);
    return 0;
}

static void *opened(const char *format, const struct cbt_format_options *options)
{
    void *self = NULL;
    struct cbt_err err;
    if (cbt_format_find(format)->open(&self, options, &err) != 0)
        fail_msg("%s: %s", format, err.text);
    return self;
}

static struct cbt_event decode(struct cbt_text record)
{
    struct cbt_event event;
    enum cbt_dead_reason reason;
    struct cbt_err err = {0};
    if (cbt_decode_event(decoder, record, NULL, &event, &reason, &err) != 0)
        fail_msg("%s", err.text);
    return event;
}

static struct cbt_event decode_notification(const char *json, const char *key)
{
    struct cbt_event event;
    enum cbt_dead_reason reason;
    struct cbt_err err = {0};
    size_t cursor = 0;
    if (cbt_decode_notification(decoder, text_of(json), text_of(key), &cursor, &event, &reason, &err) != 1)
        fail_msg("%s: %s", json, err.text);
    return event;
}

static struct exact_buf encoded(const char *format, const void *self, const struct cbt_event *event)
{
    struct exact_buf out;
    struct cbt_err err = {0};
    size_t used = event->arena->used;
    exact_init(&out, 0, SIZE_MAX);
    if (cbt_format_find(format)->encode(self, event, &out.buf, &err) != 0)
        fail_msg("%s: %s", format, err.text);
    assert_int_equal(event->arena->used, used);
    return out;
}

static void expect(const char *format, const struct cbt_format_options *options,
                   const struct cbt_event *event, const char *expected)
{
    void *self = opened(format, options);
    struct exact_buf out = encoded(format, self, event);
    if (cbt_buf_len(&out.buf) != strlen(expected) || memcmp(out.buf.begin, expected, strlen(expected)) != 0)
        fail_msg("\n is       %.*s\n expected %s", (int)cbt_buf_len(&out.buf), (char *)out.buf.begin,
                 expected);
    exact_free(&out);
    cbt_format_find(format)->close(self);
}

static void expect_record(const char *format, const struct cbt_format_options *options, const char *text,
                          const char *expected)
{
    struct pb record = pb_parse(text);
    struct cbt_event event = decode(pb_text(&record));
    expect(format, options, &event, expected);
    pb_free(&record);
}

static const struct cbt_format_options plain;

/* --- table --- */

static void a_line_has_time_host_type_and_what_counts_for_the_type(void **state)
{
    (void)state;
    expect_record("table", &plain, HEAD "7{2:2 4:'HKLM\\Run'}",
                  WHEN WHO "regmod         708 writeval HKLM\\Run");
    expect_record("table", &plain, HEAD "20{1:17 2:'a.example' 3:0 8{2:33620418} 9:20480 10{1:1 3:1} 11:0}",
                  WHEN WHO "netconn        708 inbound udp local [::100:0:0:0]:0 remote 194.1.1.2:80 "
                           "a.example");
    /* Of older sensors, by other keys; and without a domain. */
    expect_record("table", &plain, HEAD "6{2:67305985 5:20480}",
                  WHEN WHO "netconn        708 outbound tcp remote 1.2.3.4:80");
    expect_record("table", &plain, "1{1:4} 7{}", NEVER "sensor 0         regmod         0 createkey");
}

static void a_notification_is_known_by_its_rule_and_the_entry_of_its_docs(void **state)
{
    (void)state;
    struct cbt_event event = decode_notification(
        "{\"watchlist_name\":\"evil\",\"hostname\":\"PC-7\",\"event_timestamp\":1447696613.9,"
        "\"docs\":[{\"process_name\":\"a.exe\",\"path\":\"c:\\\\a.exe\","
        "\"cmdline\":\"a -x\"}]}",
        "watchlist.12.hit");
    expect("table", &plain, &event,
           "2015-11-16T17:56:53 PC-7             watchlist.12.hit evil a.exe c:\\a.exe a -x");
}

static void nothing_of_an_endpoint_reaches_the_terminal_as_a_command(void **state)
{
    (void)state;
    /* ESC, BEL, DEL, CSI in one character, bytes that are no UTF-8, a change of direction, line ends. */
    expect_record("table", &plain,
                  "1{1:4 10:1} 13{1{1:7 2:x1B5D303B780768}} 7{2:1 4:x411B5B324A7FC29BFFE280AE0A0D0942}",
                  NEVER REPLACED "]0;x" REPLACED "h"
                                 "          regmod         1 createkey A" REPLACED
                                 "[2J" REPLACED REPLACED REPLACED REPLACED "   B");
    struct cbt_event event = decode_notification(
        "{\"hostname\":\"\\u001b[2J\",\"watchlist_name\":\"\\u009b\\u2028\\ud800\"}", "a.\x1b[31m");
    expect("table", &plain, &event,
           NEVER REPLACED "[2J             a." REPLACED "[31m        " REPLACED REPLACED REPLACED);
    struct cbt_format_options fields = {.fields = "hostname, nothing,watchlist_name"};
    expect("table", &fields, &event, REPLACED "[2J            -               " REPLACED REPLACED REPLACED);
}

static unsigned columns_of(struct cbt_text line)
{
    unsigned columns = 0;
    const uint8_t *at = line.data, *end = at + line.len;
    while (at < end)
        columns += cbt_char_columns((uint32_t)people_char(&at, end));
    return columns;
}

static void a_line_ends_at_the_width(void **state)
{
    (void)state;
    static const char record[] = HEAD "7{2:2 4:'HKLM\\Run'}";
    static const char whole[] = WHEN WHO "regmod         708 writeval HKLM\\Run";
    struct cbt_format_options options = {.width = (unsigned)strlen(whole)};
    expect_record("table", &options, record, whole);
    options.width--;
    expect_record("table", &options, record, WHEN WHO "regmod         708 writeval HKLM\\R" MORE);
    options.width = 1;
    expect_record("table", &options, record, MORE);
    /* A host that is too long for its column. */
    options.width = 70;
    expect_record("table", &options, "1{1:4} 13{1{1:7 2:'a-host-of-20-letters'}} 7{2:2}",
                  NEVER "a-host-of-20-le" MORE " regmod         0 writeval");
    /* U+4E2D takes two columns, U+0301 none. */
    options.width = 67;
    expect_record("table", &options, HEAD "7{2:2 4:x65CC81E4B8AD6162}",
                  WHEN WHO "regmod         708 writeval e\xCC\x81" MORE);
    options.width = 70;
    expect_record("table", &options, HEAD "7{2:2 4:x65CC81E4B8AD6162}",
                  WHEN WHO "regmod         708 writeval e\xCC\x81\xE4\xB8\xAD"
                           "ab");
}

static void colours_are_those_of_the_type_and_end_with_it(void **state)
{
    (void)state;
    struct cbt_format_options options = {.colours = true};
    expect_record("table", &options, HEAD "7{2:2}", WHEN WHO "\033[35mregmod\033[0m         708 writeval");
    /* Cut amid the type, and just behind it: the colour ends all the same. */
    options.width = 40;
    expect_record("table", &options, HEAD "7{2:2}", WHEN WHO "\033[35mre" MORE "\033[0m\033[0m");
    options.width = 43;
    expect_record("table", &options, HEAD "7{2:2}", WHEN WHO "\033[35mregmo" MORE "\033[0m");
}

static void fields_are_the_columns_that_were_asked_for(void **state)
{
    (void)state;
    struct cbt_format_options options = {.fields = " path ,pid,none,type"};
    expect_record("table", &options, HEAD "7{2:2 4:'HKLM\\Run'}",
                  "HKLM\\Run                                         708             -               "
                  "ingress.event.regmod");
    void *self = opened("table", &options);
    struct exact_buf out;
    exact_init(&out, 0, SIZE_MAX);
    cbt_format_find("table")->head(self, &out.buf);
    assert_int_equal(cbt_buf_len(&out.buf), 49 + 16 + 16 + 4);
    assert_memory_equal(out.buf.begin, "path  ", 6);
    exact_free(&out);
    cbt_format_find("table")->close(self);
    self = opened("table", &plain);
    exact_init(&out, 0, SIZE_MAX);
    cbt_format_find("table")->head(self, &out.buf);
    assert_int_equal(cbt_buf_len(&out.buf), 0);
    cbt_format_find("table")->close(self);
}

/* --- csv --- */

static void csv_quotes_what_rfc_4180_wants_quoted(void **state)
{
    (void)state;
    struct cbt_format_options options = {.fields = "path,pid,none,digsig"};
    expect_record("csv", &options, HEAD "7{2:2 4:'a b'}", "a b,708,,\r");
    expect_record("csv", &options, HEAD "7{2:2 4:x612C62}", "\"a,b\",708,,\r");
    expect_record("csv", &options, HEAD "7{2:2 4:x22}", "\"\"\"\",708,,\r");
    expect_record("csv", &options, HEAD "7{2:2 4:x610A62}", "\"a\nb\",708,,\r");
    /* ESC and NUL are no text of CSV; ill-formed UTF-8. */
    expect_record("csv", &options, HEAD "7{2:2 4:x1B00FFC29B}",
                  REPLACED REPLACED REPLACED REPLACED ",708,,\r");
    struct cbt_event event = decode_notification(
        "{\"path\":null,\"pid\":1.50,\"digsig\":{\"a\":\"b\\\\\"},\"none\":[\"x\"]}", "a.b");
    expect("csv", &options, &event, ",1.50,x,\"{\"\"a\"\":\"\"b\\\\\"\"}\"\r");
    options.fields = "digsig.a,digsig.b,path.a";
    expect("csv", &options, &event, "b\\,,\r");
}

static void csv_has_fields_for_the_one_type_or_for_all(void **state)
{
    (void)state;
    static const struct {
        const char *type, *has, *has_not;
    } rows[] = {{"netconn", ",remote_ip,ipv4,remote_port,port,domain\r", "command_line"},
                {"tamper", ",tamper_type\r", "remote_ip"},
                {NULL, ",command_line,", "tamper_type"},
                {"watchlist.*", ",command_line,", "tamper_type"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        void *self = opened("csv", &(struct cbt_format_options){.type = rows[i].type});
        struct exact_buf out;
        exact_init(&out, 0, SIZE_MAX);
        cbt_format_find("csv")->head(self, &out.buf);
        cbt_buf_put(&out.buf, "", 1);
        const char *head = (const char *)out.buf.begin;
        if (strstr(head, rows[i].has) == NULL || strstr(head, rows[i].has_not) != NULL)
            fail_msg("%s: %s", rows[i].type != NULL ? rows[i].type : "all", head);
        assert_memory_equal(head, "timestamp,type,", 15);
        exact_free(&out);
        cbt_format_find("csv")->close(self);
    }
}

static void lists_of_fields_that_cannot_be_meant_are_refused(void **state)
{
    (void)state;
    static const char *const lists[] = {"a,,b", ",", " ", "a,"};
    static const char *const formats[] = {"table", "csv"};
    char many[2 * CBT_FIELDS_MAX + 2];
    struct cbt_err err;
    void *self = NULL;
    for (size_t i = 0; i < sizeof(many) - 1; i++)
        many[i] = i % 2 == 0 ? 'a' : ',';
    many[sizeof(many) - 1] = '\0';
    for (size_t f = 0; f < 2; f++) {
        const struct cbt_format *format = cbt_format_find(formats[f]);
        for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
            assert_int_equal(format->open(&self, &(struct cbt_format_options){.fields = lists[i]}, &err),
                             CBT_EINVAL);
        assert_int_equal(format->open(&self, &(struct cbt_format_options){.fields = many}, &err), CBT_EINVAL);
        many[sizeof(many) - 3] = '\0';
        assert_int_equal(format->open(&self, &(struct cbt_format_options){.fields = many}, &err), 0);
        format->close(self);
        many[sizeof(many) - 3] = ',';
        format->close(NULL);
    }
}

/* --- all types --- */

static bool is_known(struct cbt_text key)
{
#define CBT_BLOCK(block, prefix)
#define CBT_KEY(key, ...)                  key,
#define CBT_KEY_FIRST(key, ...)            key,
#define CBT_KEY_IF(condition, key, ...)    key,
#define CBT_KEY_WHERE(cond, w, key, ...)   key,
#define CBT_KEY_CBEF(name, key, ...)       key,
#define CBT_KEY_NOT_CBEF(key, ...)         key,
#define CBT_KEY_MADE(key, ...)             key,
#define CBT_LINK(part, ...)                #part,
#define CBT_LINK_WHERE(cond, w, part, ...) #part,
    static const char *const keys[] = {
#define CBT_JSON_ALL
#include "format/json_keys.def"
    };
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        if (strlen(keys[i]) == key.len && memcmp(keys[i], key.data, key.len) == 0)
            return true;
    return false;
}

static void every_type_has_columns_of_keys_that_there_are(void **state)
{
    (void)state;
    for (enum cbt_event_type type = 0; type < CBT_TYPES; type++) {
        const char *columns = cbt_table_rows[type].columns;
        struct cbt_text key;
        unsigned count = 0;
        assert_non_null(columns);
        for (; cbt_table_next_key(&columns, &key); count++) {
            const uint8_t *dot = memchr(key.data, '.', key.len);
            if (dot != NULL)
                key.len = (size_t)(dot - key.data);
            if (type != CBT_TYPE_NOTIFICATION && !is_known(key))
                fail_msg("%s: %.*s", cbt_event_type_name(type), (int)key.len, (const char *)key.data);
        }
        assert_true(count > 0);
    }
}

struct people {
    void *table, *narrow, *csv;
    unsigned events;
};

static void check(struct people *people, const struct cbt_event *event)
{
    struct exact_buf out = encoded("table", people->table, event);
    const char *fault = table_fault((struct cbt_text){out.buf.begin, cbt_buf_len(&out.buf)});
    assert_null(fault);
    exact_free(&out);
    out = encoded("table", people->narrow, event);
    assert_true(columns_of((struct cbt_text){out.buf.begin, cbt_buf_len(&out.buf)}) <= 80);
    exact_free(&out);
    out = encoded("csv", people->csv, event);
    fault = csv_fault((struct cbt_text){out.buf.begin, cbt_buf_len(&out.buf)}, 25);
    if (fault != NULL)
        fail_msg("%s: %.*s", fault, (int)cbt_buf_len(&out.buf), (char *)out.buf.begin);
    exact_free(&out);
    people->events++;
}

static void check_folder(struct people *people, const char *folder, struct cbt_walk *walk)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", CORPUS_DIR, folder);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        struct file file;
        struct cbt_part part;
        snprintf(path, sizeof(path), "%s/%s/%s", CORPUS_DIR, folder, entry->d_name);
        if (entry->d_name[0] == '.' || !file_read(path, &file))
            continue;
        cbt_walk_start(walk, file_text(&file), CBT_TEXT(""), CBT_FRAMING_DETECT);
        while (cbt_walk_next(walk, &part)) {
            assert_int_equal(part.kind, CBT_PART_EVENT);
            if (cbt_peek_type(part.data) == CBT_TYPE_stats)
                continue;
            struct cbt_event event = decode(part.data);
            check(people, &event);
        }
        free(file.data);
    }
    closedir(dir);
}

static void real_events_are_lines_of_the_width_and_rows_of_csv(void **state)
{
    (void)state;
    DIR *dir = opendir(CORPUS_DIR);
    if (dir == NULL) {
        print_message("SKIPPED: no corpus at %s: nothing was looked at\n", CORPUS_DIR);
        return;
    }
    closedir(dir);
    struct cbt_walk *walk;
    struct cbt_err err;
    assert_int_equal(cbt_walk_new(&walk, &fixture_limits, &err), 0);
    struct people people = {.table = opened("table", &plain),
                            .narrow = opened("table", &(struct cbt_format_options){.width = 80}),
                            .csv = opened("csv", &plain)};
    check_folder(&people, "events", walk);
    check_folder(&people, "zip", walk);
    assert_true(people.events > 100);
    cbt_format_find("table")->close(people.table);
    cbt_format_find("table")->close(people.narrow);
    cbt_format_find("csv")->close(people.csv);
    cbt_walk_free(walk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_host_type_and_what_counts_for_the_type),
        cmocka_unit_test(a_notification_is_known_by_its_rule_and_the_entry_of_its_docs),
        cmocka_unit_test(nothing_of_an_endpoint_reaches_the_terminal_as_a_command),
        cmocka_unit_test(a_line_ends_at_the_width),
        cmocka_unit_test(colours_are_those_of_the_type_and_end_with_it),
        cmocka_unit_test(fields_are_the_columns_that_were_asked_for),
        cmocka_unit_test(csv_quotes_what_rfc_4180_wants_quoted),
        cmocka_unit_test(csv_has_fields_for_the_one_type_or_for_all),
        cmocka_unit_test(lists_of_fields_that_cannot_be_meant_are_refused),
        cmocka_unit_test(every_type_has_columns_of_keys_that_there_are),
        cmocka_unit_test(real_events_are_lines_of_the_width_and_rows_of_csv),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
