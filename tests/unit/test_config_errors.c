/* SPDX-License-Identifier: MIT */
/* Every error of the configuration, word by word: where it is, what is wrong, what was meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "config_file.h"
#include "core/config_internal.h"

struct row {
    const char *text;     /* of the file */
    const char *override; /* NULL: none */
    enum cbt_rc rc;
    const char *expected;
};

static void expect(const struct row *row)
{
    struct cbt_config *config = NULL;
    struct cbt_err err = {0};
    int rc = load_bytes(&config, row->text, strlen(row->text), &row->override, row->override ? 1 : 0, &err);
    assert_null(config);
    assert_string_equal(err.text, row->expected);
    assert_int_equal(rc, row->rc);
    assert_int_equal(err.rc, row->rc);
}

static void expect_all(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        expect(&rows[i]);
}
#define EXPECT_ALL(rows) expect_all(rows, sizeof(rows) / sizeof((rows)[0]))

static void unknown_names_come_with_the_nearest(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[cbtap]\nworkesr=2\n", NULL, CBT_EINVAL,
         "FILE:2: [cbtap] workesr: unknown key; did you mean \"workers\"?"},
        {BOTH_ENDS "\n[source.b2]\ntype=amqp\nquue=q\n", NULL, CBT_EINVAL,
         "FILE:8: [source.b2] quue: unknown key; did you mean \"queue\"?"},
        {"[source.r]\ntype=redis\nchanels=x\n", NULL, CBT_EINVAL,
         "FILE:3: [source.r] chanels: unknown key; did you mean \"channels\"?"},
        {"[decode]\nzip.entry_max=5\n", NULL, CBT_EINVAL,
         "FILE:2: [decode] zip.entry_max: unknown key; did you mean \"zip.entries_max\"?"},
        {"[filter]\ntypse=*\n", NULL, CBT_EINVAL,
         "FILE:2: [filter] typse: unknown key; did you mean \"types\"?"},
        {"[filter]\nabcdefghij=*\n", NULL, CBT_EINVAL,
         "FILE:2: [filter] abcdefghij: unknown key; the nearest known one is \"types\""},
        {"[source.b]\ntype=amqp\ninflight_bytes=5\n", NULL, CBT_EINVAL,
         "FILE:3: [source.b] inflight_bytes: unknown key; it belongs into [cbtap]"},
        {"[cbtap]\nprefetch=5\n", NULL, CBT_EINVAL,
         "FILE:2: [cbtap] prefetch: unknown key; it belongs into a [source.NAME] of type amqp"},
        {"[sink.k]\ntype=kafka\nbootstrap.servers=x\n", NULL, CBT_EINVAL,
         "FILE:3: [sink.k] bootstrap.servers: unknown key; a librdkafka property is written "
         "\"kafka.bootstrap.servers\""},
        {"[sink.k]\ntype=kafka\nkafka.=x\n", NULL, CBT_EINVAL,
         "FILE:3: [sink.k] kafka.: unknown key; the nearest known one is \"key\""},
        {"[cbtab]\n", NULL, CBT_EINVAL, "FILE:1: [cbtab]: unknown section; did you mean \"cbtap\"?"},
        {"\n[surce.bus]\ntype=amqp\n", NULL, CBT_EINVAL,
         "FILE:2: [surce.bus]: unknown section; did you mean \"source.NAME\"?"},
        {"[snik.k]\n", NULL, CBT_EINVAL, "FILE:1: [snik.k]: unknown section; did you mean \"sink.NAME\"?"},
        {"[source]\n", NULL, CBT_EINVAL, "FILE:1: [source]: unknown section; did you mean \"source.NAME\"?"},
        {"[default]\nx=1\n", NULL, CBT_EINVAL,
         "FILE:1: [default]: unknown section; the nearest known one is \"decode\""},
        {"[source.r]\ntype=reids\n", NULL, CBT_EINVAL,
         "FILE:2: [source.r] type: unknown type \"reids\"; did you mean \"redis\"?"},
        {"[sink.r]\ntype=kafak\n", NULL, CBT_EINVAL,
         "FILE:2: [sink.r] type: unknown type \"kafak\"; did you mean \"kafka\"?"},
        {"[source.r]\nport=1\n", NULL, CBT_EINVAL,
         "FILE:1: [source.r]: has no type; known: amqp, redis, archive"},
        {"[sink.r]\n", NULL, CBT_EINVAL,
         "FILE:1: [sink.r]: has no type; known: kafka, file, stdout, tcp, udp, syslog"},
    };
    EXPECT_ALL(rows);
}

static void values_out_of_kind_or_range(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[cbtap]\nworkers=17\n", NULL, CBT_EINVAL,
         "FILE:2: [cbtap] workers: 17 is out of range: 0 to 16 threads"},
        {"[cbtap]\nworkers=-1\n", NULL, CBT_EINVAL,
         "FILE:2: [cbtap] workers: \"-1\" is not a whole number of threads"},
        {"[cbtap]\nworkers=\n", NULL, CBT_EINVAL,
         "FILE:2: [cbtap] workers: \"\" is not a whole number of threads"},
        {"[cbtap]\nworkers=1.5\n", NULL, CBT_EINVAL,
         "FILE:2: [cbtap] workers: \"1.5\" is not a whole number of threads"},
        {"[cbtap]\nworkers=0x4\n", NULL, CBT_EINVAL,
         "FILE:2: [cbtap] workers: \"0x4\" is not a whole number of threads"},
        {"[cbtap]\nshutdown_timeout_ms=30s\n", NULL, CBT_EINVAL,
         "FILE:2: [cbtap] shutdown_timeout_ms: \"30s\" is not a whole number of ms"},
        {"[cbtap]\ninflight_bytes=1\n", NULL, CBT_EINVAL,
         "FILE:2: [cbtap] inflight_bytes: 1 is out of range: 4194304 to 1099511627776 bytes"},
        {"[cbtap]\ninflight_bytes=99999999999999999999999999\n", NULL, CBT_EINVAL,
         "FILE:2: [cbtap] inflight_bytes: 99999999999999999999999999 is out of range: 4194304 to "
         "1099511627776 bytes"},
        {"[source.b]\ntype=amqp\nprefetch=0\n", NULL, CBT_EINVAL,
         "FILE:3: [source.b] prefetch: 0 is out of range: 1 to 65535 messages"},
        {"[source.b]\ntype=amqp\nprefetch=65536\n", NULL, CBT_EINVAL,
         "FILE:3: [source.b] prefetch: 65536 is out of range: 1 to 65535 messages"},
        {"[source.r]\ntype=redis\nreceivers=2\n", NULL, CBT_EINVAL,
         "FILE:3: [source.r] receivers: 2 is out of range: 1 to 1 connections"},
        {"[source.r]\ntype=redis\nport=65536\n", NULL, CBT_EINVAL,
         "FILE:3: [source.r] port: 65536 is out of range: 1 to 65535"},
        {"[source.r]\ntype=redis\nport=http\n", NULL, CBT_EINVAL,
         "FILE:3: [source.r] port: \"http\" is not a whole number"},
        {"[source.b]\ntype=amqp\nraw=yes\n", NULL, CBT_EINVAL,
         "FILE:3: [source.b] raw: \"yes\" is none of true, false; the nearest known one is \"true\""},
        {"[source.b]\ntype=amqp\nraw=flase\n", NULL, CBT_EINVAL,
         "FILE:3: [source.b] raw: \"flase\" is none of true, false; did you mean \"false\"?"},
        {"[cbtap]\nlog.level=inof\n", NULL, CBT_EINVAL,
         "FILE:2: [cbtap] log.level: \"inof\" is none of error, warning, info, debug; did you mean "
         "\"info\"?"},
        {"[sink.k]\ntype=kafka\nkey=\n", NULL, CBT_EINVAL,
         "FILE:3: [sink.k] key: \"\" is none of sensor_id, process_guid, none; the nearest known one is "
         "\"none\""},
        {"[cbtap]\nhttp_listen=9464\n" BOTH_ENDS, NULL, CBT_EINVAL,
         "FILE:2: [cbtap] http_listen: is not HOST:PORT, e.g. 127.0.0.1:9464 or [::1]:9464; empty turns it "
         "off"},
        {"[cbtap]\nhttp_listen=h:99999\n" BOTH_ENDS, NULL, CBT_EINVAL,
         "FILE:2: [cbtap] http_listen: is not HOST:PORT, e.g. 127.0.0.1:9464 or [::1]:9464; empty turns it "
         "off"},
        {"[cbtap]\nserver_url=edr.example\n" BOTH_ENDS, NULL, CBT_EINVAL,
         "FILE:2: [cbtap] server_url: does not begin with https:// or http://"},
    };
    EXPECT_ALL(rows);
}

static void what_the_parser_finds_has_its_line(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[cbtap]\nworkers=1\n\nWorkers=2\n", NULL, CBT_EINVAL,
         "FILE:4: key \"Workers\" given twice in its section"},
        {"[source.r]\ntype=redis\npassword=a\npassword = secret\n", NULL, CBT_EINVAL,
         "FILE:4: key \"password\" given twice in its section"},
        {"[cbtap]\n[decode]\n[CBTAP]\n", NULL, CBT_EINVAL, "FILE:3: section [CBTAP] given twice"},
        {"[cbtap]\n\nfoo\n", NULL, CBT_EINVAL, "FILE:3: neither [section] nor key = value nor a comment"},
        {"[cbtap]\n=1\n", NULL, CBT_EINVAL, "FILE:2: no key before the equal sign"},
        {"[cbtap\n", NULL, CBT_EINVAL, "FILE:1: a section ends in \"]\", with nothing behind it"},
        {"[cbtap] # x\n", NULL, CBT_EINVAL, "FILE:1: a section ends in \"]\", with nothing behind it"},
        {"[]\n", NULL, CBT_EINVAL, "FILE:1: a section without a name"},
        {"# c\n\nx=1\n[cbtap]\n", NULL, CBT_EINVAL,
         "FILE:3: a key before any section; begin with [cbtap], say"},
        {"[cbtap]\n  # c\n", NULL, CBT_EINVAL,
         "FILE:2: blanks before a comment or a section; begin the line with \"#\""},
        {"[cbtap]\n\t; c\n", NULL, CBT_EINVAL,
         "FILE:2: blanks before a comment or a section; begin the line with \";\""},
        {"[cbtap]\n [decode]\n", NULL, CBT_EINVAL,
         "FILE:2: blanks before a comment or a section; begin the line with \"[\""},
    };
    EXPECT_ALL(rows);
}

static void overrides_have_their_own_errors(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {BOTH_ENDS, "cbtap.workesr=1", CBT_EINVAL,
         "-s: [cbtap] workesr: unknown key; did you mean \"workers\"?"},
        {BOTH_ENDS, "source.bus.kafka.acks=1", CBT_EINVAL,
         "-s: [source.bus] kafka.acks: unknown key; it belongs into a [sink.NAME] of type kafka"},
        {"[cbtap]\nworkers=2\n" BOTH_ENDS, "cbtap.workers=99", CBT_EINVAL,
         "-s: [cbtap] workers: 99 is out of range: 0 to 16 threads"},
        {BOTH_ENDS, "nodot=1", CBT_EINVAL,
         "-s \"nodot\": write -s section.key=value, e.g. -s cbtap.log.level=debug or -s source.bus.queue=q"},
        {BOTH_ENDS, "cbtap.workers", CBT_EINVAL,
         "-s \"cbtap.workers\": write -s section.key=value, e.g. -s cbtap.log.level=debug or -s "
         "source.bus.queue=q"},
        {BOTH_ENDS, "source.bus=x.y", CBT_EINVAL,
         "-s \"source.bus\": write -s section.key=value, e.g. -s cbtap.log.level=debug or -s "
         "source.bus.queue=q"},
        {BOTH_ENDS, ".x=1", CBT_EINVAL, "-s: no section or no key before the equal sign"},
        {BOTH_ENDS, "cbtap.=1", CBT_EINVAL, "-s: no section or no key before the equal sign"},
        {BOTH_ENDS, "source..type=amqp", CBT_EINVAL,
         "-s: [source.]: a NAME is 1 to 48 letters, digits, - and _"},
        {BOTH_ENDS, "cbtap.server_name=a\nb", CBT_EINVAL, "-s: the argument holds a control character"},
        {BOTH_ENDS, "cbtap.server_name=\xFF", CBT_EINVAL, "-s: the argument is not well-formed UTF-8"},
        {BOTH_ENDS, "source.new.queue=q", CBT_EINVAL,
         "-s: [source.new]: has no type; known: amqp, redis, archive"},
    };
    EXPECT_ALL(rows);
}

static void names_of_sections_are_plain(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[source.a b]\n", NULL, CBT_EINVAL,
         "FILE:1: [source.a b]: a NAME is 1 to 48 letters, digits, - and _"},
        {"[source.a.b]\n", NULL, CBT_EINVAL,
         "FILE:1: [source.a.b]: a NAME is 1 to 48 letters, digits, - and _"},
        {"[source.]\n", NULL, CBT_EINVAL, "FILE:1: [source.]: a NAME is 1 to 48 letters, digits, - and _"},
        {"[sink.\xC3\xBC]\n", NULL, CBT_EINVAL, "FILE:1: no name holds such a character (column 7)"},
        {"[sink.a!]\n", NULL, CBT_EINVAL, "FILE:1: no name holds such a character (column 8)"},
        {"[cbtap]\nserver_n\xC3\xA4me=\xC3\xA4\n", NULL, CBT_EINVAL,
         "FILE:2: no name holds such a character (column 9)"},
        {"[cbtap]\nk!=!\n", NULL, CBT_EINVAL, "FILE:2: no name holds such a character (column 2)"},
        {"[sink.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n", NULL, CBT_EINVAL,
         "FILE:1: [sink.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]: a NAME is 1 to 48 letters, "
         "digits, - and _"},
    };
    EXPECT_ALL(rows);
}

static void both_ends_are_needed_and_the_error_shows_how(void **state)
{
    (void)state;
    static const char example[] =
        "\n[source.bus]\ntype = amqp\nurl  = amqp://USER:PASSWORD@127.0.0.1:5004/%2F\n\n"
        "[sink.kafka]\ntype = kafka\nkafka.bootstrap.servers = 127.0.0.1:9092\n";
    char expected[CBT_ERR_TEXT_BYTES];
    snprintf(expected, sizeof expected,
             "FILE: no [source.NAME] section; the shortest configuration that works:\n%s", example);
    expect(&(struct row){"", NULL, CBT_EINVAL, expected});
    expect(&(struct row){"[sink.k]\ntype=kafka\n", NULL, CBT_EINVAL, expected});
    snprintf(expected, sizeof expected,
             "FILE: no [sink.NAME] section; the shortest configuration that works:\n%s", example);
    expect(&(struct row){"[source.b]\ntype=amqp\n", NULL, CBT_EINVAL, expected});
    /* And the example works. */
    cbt_config_free(must_load(example, NULL, 0));
}

static void channels_must_not_overlap(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[source.r]\ntype=redis\nchannels=ingress.event.*, ingress.*.procstart\n[sink.k]\ntype=kafka\n",
         NULL, CBT_EINVAL,
         "FILE:3: [source.r] channels: \"ingress.event.*\" and \"ingress.*.procstart\" overlap: Redis would "
         "deliver each "
         "message that both match twice"},
        {"[source.r]\ntype=redis\nchannels=a,b,a\n[sink.k]\ntype=kafka\n", NULL, CBT_EINVAL,
         "FILE:3: [source.r] channels: \"a\" and \"a\" overlap: Redis would deliver each message that both "
         "match twice"},
        {"[source.r]\ntype=redis\nchannels=\n[sink.k]\ntype=kafka\n", NULL, CBT_EINVAL,
         "FILE:3: [source.r] channels: no pattern, so nothing would be received"},
        {"[source.r]\ntype=redis\nchannels=a,,b\n[sink.k]\ntype=kafka\n", NULL, CBT_EINVAL,
         "FILE:3: [source.r] channels: a pattern has 1 to 128 bytes"},
    };
    EXPECT_ALL(rows);
    cbt_config_free(must_load("[source.r]\ntype=redis\n"
                              "channels=ingress.event.procstart, ingress.event.procend ,ingress.event.[nf]*\n"
                              "[sink.k]\ntype=kafka\n",
                              NULL, 0));
}

static void an_archive_needs_its_places(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[source.a]\ntype=archive\n[sink.k]\ntype=kafka\n", NULL, CBT_EINVAL,
         "FILE:1: [source.a]: path: name the archive's folder by an absolute path"},
        {"[source.a]\ntype=archive\npath=here\n[sink.k]\ntype=kafka\n", NULL, CBT_EINVAL,
         "FILE:3: [source.a] path: name the archive's folder by an absolute path"},
        {"[source.a]\ntype=archive\npath=/a\ncheckpoint=\n[sink.k]\ntype=kafka\n", NULL, CBT_EINVAL,
         "FILE:4: [source.a] checkpoint: name a file by an absolute path"},
        {"[source.a]\ntype=archive\npath=/a\nafter=move:b\n[sink.k]\ntype=kafka\n", NULL, CBT_EINVAL,
         "FILE:4: [source.a] after: is none of keep, remove, move:DIR with DIR an absolute path"},
        {"[source.a]\ntype=archive\npath=/a\nafter=delete\n[sink.k]\ntype=kafka\n", NULL, CBT_EINVAL,
         "FILE:4: [source.a] after: is none of keep, remove, move:DIR with DIR an absolute path"},
    };
    EXPECT_ALL(rows);
    cbt_config_free(
        must_load("[source.a]\ntype=archive\npath=/a\nafter=move:/b\n[sink.k]\ntype=kafka\n", NULL, 0));
}

static void an_amqp_source_must_receive_something(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[source.b]\ntype=amqp\nraw=false\nevents=\n[sink.k]\ntype=kafka\n", NULL, CBT_EINVAL,
         "FILE:4: [source.b] events: is empty and raw is false: nothing would be received"},
        {"[source.b]\ntype=amqp\nevents=a,,b\n[sink.k]\ntype=kafka\n", NULL, CBT_EINVAL,
         "FILE:3: [source.b] events: a routing key has 1 to 255 bytes"},
        {"[source.b]\ntype=amqp\nqueue=\n[sink.k]\ntype=kafka\n", NULL, CBT_EINVAL,
         "FILE:3: [source.b] queue: the queue needs a name of 1 to 255 bytes"},
    };
    EXPECT_ALL(rows);
}

/* ---- hostile files ---- */

static void expect_bytes(const void *data, size_t len, const char *expected)
{
    struct cbt_config *config = NULL;
    struct cbt_err err = {0};
    assert_int_equal(load_bytes(&config, data, len, NULL, 0, &err), CBT_EINVAL);
    assert_null(config);
    assert_string_equal(err.text, expected);
}

static void bytes_that_are_no_text_have_their_line(void **state)
{
    (void)state;
    static const char nul[] = "[cbtap]\nserver_name=a\0b\n" BOTH_ENDS;
    expect_bytes(nul, sizeof nul - 1, "FILE:2: the line holds a NUL byte (column 14)");
    static const struct row rows[] = {
        {"[cbtap]\n\nserver_name=\x1b[1m\n", NULL, CBT_EINVAL,
         "FILE:3: the line holds a control character (column 13)"},
        {"[cbtap]\nserver_name=a\rb\n", NULL, CBT_EINVAL,
         "FILE:2: the line holds a control character (column 14)"},
        {"[cbtap]\nserver_name=a\vb\n", NULL, CBT_EINVAL,
         "FILE:2: the line holds a control character (column 14)"},
        {"[cbtap]\nserver_name=\x7f\n", NULL, CBT_EINVAL,
         "FILE:2: the line holds a control character (column 13)"},
        {"# \xFF\n", NULL, CBT_EINVAL, "FILE:1: the line is not well-formed UTF-8 (column 3)"},
        {"[cbtap]\nserver_name=\xC0\xAF\n", NULL, CBT_EINVAL,
         "FILE:2: the line is not well-formed UTF-8 (column 13)"},
        {"[cbtap]\nserver_name=\xED\xA0\x80\n", NULL, CBT_EINVAL,
         "FILE:2: the line is not well-formed UTF-8 (column 13)"},
        {"[cbtap]\nserver_name=\xF4\x90\x80\x80\n", NULL, CBT_EINVAL,
         "FILE:2: the line is not well-formed UTF-8 (column 13)"},
        {"[cbtap]\nserver_name=\xE2\x82", NULL, CBT_EINVAL,
         "FILE:2: the line is not well-formed UTF-8 (column 13)"},
        {"\xFF\xFE[\0c\0", NULL, CBT_EINVAL, "FILE:1: the line is not well-formed UTF-8 (column 1)"},
    };
    EXPECT_ALL(rows);
}

static void sizes_have_limits(void **state)
{
    (void)state;
    const size_t mebibyte = 1048576;
    size_t bytes = 2 * mebibyte;
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    memset(text, '#', bytes);
    text[bytes] = '\0';
    expect_bytes(text, bytes, "FILE: larger than 1048576 bytes");

    /* A line as long as the file may be. */
    memcpy(text, "[cbtap]\nserver_name=", 20);
    memset(text + 20, 'x', mebibyte - 20);
    expect_bytes(text, mebibyte, "FILE:2: [cbtap] server_name: the value is longer than 65536 bytes");
    memset(text, 'x', mebibyte);
    memcpy(text, "[cbtap]\n", 8);
    memcpy(text + mebibyte - 3, "=1\n", 3);
    expect_bytes(text, mebibyte, "FILE:2: the name is too long");
    memset(text, 'x', mebibyte);
    text[0] = '[';
    text[mebibyte - 1] = ']';
    expect_bytes(text, mebibyte, "FILE:1: the name is too long");

    size_t len = 0;
    for (int i = 0; i < 10001; i++)
        text[len++] = '\n';
    expect_bytes(text, len, "FILE: more than 10000 lines");
    free(text);
}

static void ten_thousand_sections_are_refused_at_once(void **state)
{
    (void)state;
    char *text = malloc(320000);
    assert_non_null(text);
    size_t len = 0;
    for (int i = 0; i < 10000; i++)
        len += (size_t)sprintf(text + len, "[source.s%d]\n", i);
    expect_bytes(text, len, "FILE:129: more than 128 sections");
    free(text);
    struct cbt_config *config = NULL;
    struct cbt_err err = {0};
    const char *overrides[129];
    char words[129][32];
    for (int i = 0; i < 129; i++) {
        snprintf(words[i], sizeof words[i], "source.s%d.type=amqp", i);
        overrides[i] = words[i];
    }
    assert_int_equal(cbt_config_load(&config, NULL, overrides, 129, &err), CBT_EINVAL);
    assert_string_equal(err.text, "more than 128 sections");
}

static void too_many_sinks_and_channels(void **state)
{
    (void)state;
    char text[4096] = "[source.b]\ntype=amqp\n";
    for (int i = 0; i < 9; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "[sink.s%d]\ntype=kafka\n", i);
    expect_bytes(text, strlen(text), "more than 8 [sink.NAME] sections");
    snprintf(text, sizeof text, "[sink.k]\ntype=kafka\n[source.r]\ntype=redis\nchannels=c");
    for (int i = 0; i < 64; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), ",c%d", i);
    expect_bytes(text, strlen(text), "FILE:5: [source.r] channels: more than 64 patterns");
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    struct cbt_config *config = NULL;
    struct cbt_err err = {0};
    assert_int_equal(cbt_config_load(&config, "/nonexistent/cbtap.conf", NULL, 0, &err), CBT_EINVAL);
    assert_string_equal(err.text,
                        "cannot read the configuration \"/nonexistent/cbtap.conf\": No such file or "
                        "directory; name another with -c FILE");
    assert_int_equal(cbt_config_load(&config, "/tmp", NULL, 0, &err), CBT_EINVAL);
    assert_string_equal(err.text, "cannot read the configuration \"/tmp\": Is a directory");
    assert_null(config);
}

/* No text, however long, makes an error that does not end, or one that shows a secret. */
static void errors_never_show_secrets(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[source.r]\ntype=redis\npassword=HIDDEN\npassword=HIDDEN\n",
        "[source.r]\ntype=redis\npassword=HIDDEN${NOT_SET_AT_ALL}\n",
        "[source.r]\ntype=redis\npassword=HIDDEN$\n",
        "[source.r]\ntype=redis\npasword=HIDDEN\n",
        "[source.b]\ntype=amqp\nurll=amqp://u:HIDDEN@h\n",
        "[sink.k]\ntype=kafka\nsasl.password=HIDDEN\n",
        "[source.r]\ntype=redis\npassword HIDDEN\n",
        "[source.r]\ntype=redis\npassword=HIDDEN\x01\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct cbt_config *config = NULL;
        struct cbt_err err = {0};
        assert_int_equal(load_text(&config, texts[i], &err), CBT_EINVAL);
        assert_null(strstr(err.text, "HIDDEN"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_names_come_with_the_nearest),
        cmocka_unit_test(values_out_of_kind_or_range),
        cmocka_unit_test(what_the_parser_finds_has_its_line),
        cmocka_unit_test(overrides_have_their_own_errors),
        cmocka_unit_test(names_of_sections_are_plain),
        cmocka_unit_test(both_ends_are_needed_and_the_error_shows_how),
        cmocka_unit_test(channels_must_not_overlap),
        cmocka_unit_test(an_archive_needs_its_places),
        cmocka_unit_test(an_amqp_source_must_receive_something),
        cmocka_unit_test(bytes_that_are_no_text_have_their_line),
        cmocka_unit_test(sizes_have_limits),
        cmocka_unit_test(ten_thousand_sections_are_refused_at_once),
        cmocka_unit_test(too_many_sinks_and_channels),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(errors_never_show_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
