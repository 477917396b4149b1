/* SPDX-License-Identifier: MIT */
/* Values: substitution, masking, what is printed and how it reads back, warnings, changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "captured.h"
#include "config_file.h"
#include "core/config_internal.h"

static void expect_substituted(const char *raw, const char *expected)
{
    char *value = NULL;
    struct cbt_err err = {0};
    if (cbt_config_substitute(raw, &value, &err) != 0)
        fail_msg("%s: %s", raw, err.text);
    assert_string_equal(value, expected);
    free(value);
}

static void expect_failure(const char *raw, const char *expected)
{
    char *value = NULL;
    struct cbt_err err = {0};
    assert_int_equal(cbt_config_substitute(raw, &value, &err), CBT_EINVAL);
    assert_string_equal(err.text, expected);
    assert_null(value);
}

static void variables_and_dollars(void **state)
{
    (void)state;
    static const char lone[] = "a $ begins ${NAME}, an environment variable; for a dollar sign write $$";
    setenv("CBTAP_TEST_A", "alpha", 1);
    setenv("CBTAP_TEST_EMPTY", "", 1);
    setenv("CBTAP_TEST_DOLLAR", "$$${CBTAP_TEST_A}@", 1);
    unsetenv("CBTAP_TEST_NONE");
    expect_substituted("", "");
    expect_substituted("plain", "plain");
    expect_substituted("${CBTAP_TEST_A}", "alpha");
    expect_substituted("<${CBTAP_TEST_A}${CBTAP_TEST_A}>", "<alphaalpha>");
    expect_substituted("${CBTAP_TEST_EMPTY}", "");
    expect_substituted("$$", "$");
    expect_substituted("$$$$", "$$");
    expect_substituted("$${CBTAP_TEST_A}", "${CBTAP_TEST_A}");
    /* What a variable holds is not looked at again. */
    expect_substituted("${CBTAP_TEST_DOLLAR}", "$$${CBTAP_TEST_A}@");
    expect_failure("${CBTAP_TEST_NONE}", "the environment variable \"CBTAP_TEST_NONE\" is not set");
    expect_failure("$", lone);
    expect_failure("a$", lone);
    expect_failure("$x", lone);
    expect_failure("${", lone);
    expect_failure("${}", lone);
    expect_failure("${A", lone);
    expect_failure("${A-B}", lone);
    expect_failure("${1A}", lone);
    expect_failure("$$$", lone);
}

static void files_lose_one_newline(void **state)
{
    (void)state;
    static const struct {
        const char *content, *expected;
    } rows[] = {{"secret", "secret"},
                {"secret\n", "secret"},
                {"secret\n\n", "secret\n"},
                {"", ""},
                {"\n", ""},
                {" a b ", " a b "},
                {"two\nlines\n", "two\nlines"},
                {"${NOT_A_VARIABLE} $$ @", "${NOT_A_VARIABLE} $$ @"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config_file file;
        char raw[80];
        config_file_write(&file, rows[i].content, strlen(rows[i].content));
        snprintf(raw, sizeof raw, "@%s", file.path);
        expect_substituted(raw, rows[i].expected);
        /* The path may come from a variable: systemd's credentials, say. */
        setenv("CBTAP_TEST_FILE", file.path, 1);
        expect_substituted("@${CBTAP_TEST_FILE}", rows[i].expected);
        config_file_remove(&file);
    }
    expect_substituted("@@", "@");
    expect_substituted("@@home", "@home");
    expect_substituted("a@b", "a@b");
    expect_failure("@/nonexistent/x", "cannot open the file \"/nonexistent/x\": No such file or directory");
    expect_failure("@/tmp", "cannot read the file \"/tmp\": Is a directory");
    expect_failure("@", "cannot open the file \"\": No such file or directory");
}

static void files_have_limits(void **state)
{
    (void)state;
    struct config_file file;
    char raw[80], expected[160];
    char *content = malloc(CBT_CONFIG_VALUE_MAX_BYTES + 2);
    assert_non_null(content);
    memset(content, 'x', CBT_CONFIG_VALUE_MAX_BYTES + 2);
    config_file_write(&file, content, CBT_CONFIG_VALUE_MAX_BYTES + 2);
    snprintf(raw, sizeof raw, "@%s", file.path);
    snprintf(expected, sizeof expected, "the file \"%s\" is larger than 65536 bytes", file.path);
    expect_failure(raw, expected);
    config_file_remove(&file);

    config_file_write(&file, content, CBT_CONFIG_VALUE_MAX_BYTES);
    snprintf(raw, sizeof raw, "@%s", file.path);
    char *value = NULL;
    struct cbt_err err = {0};
    assert_int_equal(cbt_config_substitute(raw, &value, &err), 0);
    assert_int_equal(strlen(value), CBT_CONFIG_VALUE_MAX_BYTES);
    free(value);
    config_file_remove(&file);

    config_file_write(&file, "a\0b", 3);
    snprintf(raw, sizeof raw, "@%s", file.path);
    snprintf(expected, sizeof expected, "the file \"%s\" holds a NUL byte", file.path);
    expect_failure(raw, expected);
    config_file_remove(&file);

    /* Endless ones, too. */
    expect_failure("@/dev/zero", "the file \"/dev/zero\" is larger than 65536 bytes");
    memset(content, 'y', 40000);
    content[40000] = '\0';
    setenv("CBTAP_TEST_BIG", content, 1);
    expect_failure("${CBTAP_TEST_BIG}${CBTAP_TEST_BIG}", "the value is longer than 65536 bytes");
    unsetenv("CBTAP_TEST_BIG");
    free(content);
}

static void substitution_faults_name_file_line_and_key(void **state)
{
    (void)state;
    struct cbt_config *config = NULL;
    struct cbt_err err = {0};
    unsetenv("CBTAP_TEST_NONE");
    assert_int_equal(load_text(&config, BOTH_ENDS "topic = ${CBTAP_TEST_NONE}\n", &err), CBT_EINVAL);
    assert_string_equal(err.text,
                        "FILE:5: [sink.k] topic: the environment variable \"CBTAP_TEST_NONE\" is not set");
    assert_int_equal(load_text(&config, "[source.r]\ntype=redis\npassword=@/nonexistent/p\n", &err),
                     CBT_EINVAL);
    assert_string_equal(err.text,
                        "FILE:3: [source.r] password: cannot open the file \"/nonexistent/p\": No such file "
                        "or directory");
}

static void secrets_are_masked(void **state)
{
    (void)state;
    struct cbt_config *c =
        must_load("[source.r]\ntype=redis\npassword=HIDDEN\n"
                  "[source.b]\ntype=amqp\nurl=amqp://user:HIDDEN@h:5004/%2F\nraw=false\n"
                  "[sink.k]\ntype=kafka\n"
                  "kafka.sasl.password=HIDDEN\nkafka.ssl.key.pem=HIDDEN\n"
                  "kafka.ssl.keystore.password=HIDDEN\nkafka.sasl.username=shown\n"
                  "kafka.sasl.oauthbearer.client.secret=HIDDEN\nkafka.sasl.jaas.config=HIDDEN\n"
                  "kafka.SSL.Key.Password=HIDDEN\n",
                  NULL, 0);
    char *text = printed(c);
    assert_null(strstr(text, "HIDDEN"));
    assert_non_null(strstr(text, "\npassword = ********\n"));
    assert_non_null(strstr(text, "\nurl = amqp://user:********@h:5004/%2F\n"));
    assert_non_null(strstr(text, "\nkafka.sasl.password = ********\n"));
    assert_non_null(strstr(text, "\nkafka.ssl.key.pem = ********\n"));
    assert_non_null(strstr(text, "\nkafka.sasl.username = shown\n"));
    assert_non_null(strstr(text, "\nkafka.sasl.jaas.config = ********\n"));
    free(text);
    cbt_config_free(c);
}

static void urls_are_masked_however_broken(void **state)
{
    (void)state;
    static const struct {
        const char *url, *shown;
    } rows[] = {
        {"amqp://h:1/x", "amqp://h:1/x"},
        {"amqp://u@h/x", "amqp://u@h/x"},
        {"amqp://u:@h/x", "amqp://u:@h/x"},
        {"amqp://u:HIDDEN@h/x", "amqp://u:********@h/x"},
        {"amqp://u:HID@DEN@h/x", "amqp://u:********@h/x"},
        {"amqp://u:HID:DEN@h:5/x", "amqp://u:********@h:5/x"},
        {"amqp://u:HID/DEN@h/x", "amqp://u:********@h/x"},
        {"u:HIDDEN@h", "u:********@h"},
        {"amqp://:HIDDEN@h", "amqp://:********@h"},
        {"amqp://u:HID$$DEN@h", "amqp://u:********@h"},
        {"@@u:HIDDEN@h", "@@u:********@h"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256], line[128];
        snprintf(text, sizeof text, BOTH_ENDS "[source.x]\ntype=amqp\nurl=%s\n", rows[i].url);
        struct cbt_config *c = must_load(text, NULL, 0);
        char *out = printed(c);
        assert_null(strstr(out, "HID"));
        assert_null(strstr(out, "DEN"));
        snprintf(line, sizeof line, "\nurl = %s\n", rows[i].shown);
        if (!strstr(out, line))
            fail_msg("no %s in %s", line, out);
        free(out);
        cbt_config_free(c);
    }
}

/* Prints, reads that back, prints again: the same, twice over. */
static void expect_round_trip(const char *text)
{
    struct cbt_config *c = must_load(text, NULL, 0);
    char *first = printed(c);
    cbt_config_free(c);
    c = must_load(first, NULL, 0);
    char *second = printed(c);
    assert_string_equal(first, second);
    cbt_config_free(c);
    free(first);
    free(second);
}

static void print_reads_back(void **state)
{
    (void)state;
    setenv("CBTAP_TEST_AT", "@not-a-file $HOME ${x}", 1);
    setenv("CBTAP_TEST_BLANK", " blanks ", 1);
    struct config_file file;
    char text[2048];
    config_file_write(&file, "-----BEGIN-----\nline\n-----END-----\n", 35);
    expect_round_trip(BOTH_ENDS);
    expect_round_trip("[source.r]\ntype=redis\npassword=p\nusername=u\nchannels=a,b\n[sink.k]\ntype=kafka\n");
    snprintf(
        text, sizeof text,
        "[cbtap]\nserver_name=$$x @ # ; = \"q\"\nhttp_listen=\n"
        "[source.b]\ntype=amqp\nqueue=@@at\nqueue.arguments.x-queue-type=quorum\nqueue.arguments.x-empty=\n"
        "events=\nurl=amqp://u:p@h/v\n"
        "[sink.k]\ntype=kafka\ntopic=${CBTAP_TEST_AT}\nkafka.client.id=${CBTAP_TEST_BLANK}\n"
        "kafka.ssl.ca.pem=@%s\nkafka.ssl.key.pem=@%s\n[sink.l]\ntype=kafka\ntopic=t\n",
        file.path, file.path);
    expect_round_trip(text);

    /* And the values themselves come back, not only the text. */
    struct cbt_config *c = must_load(text, NULL, 0);
    char *first = printed(c);
    struct cbt_config *again = must_load(first, NULL, 0);
    assert_string_equal(again->cbtap.server_name, "$x @ # ; = \"q\"");
    assert_string_equal(again->sources[0].amqp.queue, "@at");
    assert_string_equal(again->sinks[0].kafka.topic, "@not-a-file $HOME ${x}");
    assert_string_equal(cbt_map_get(&again->sinks[0].kafka.kafka, "client.id"), " blanks ");
    assert_string_equal(cbt_map_get(&again->sinks[0].kafka.kafka, "ssl.ca.pem"),
                        "-----BEGIN-----\nline\n-----END-----");
    assert_string_equal(cbt_map_get(&again->sinks[0].kafka.kafka, "ssl.key.pem"), "********");
    assert_int_equal(again->sink_count, 2);
    cbt_config_free(c);
    cbt_config_free(again);
    free(first);
    config_file_remove(&file);
}

static void print_shows_every_key(void **state)
{
    (void)state;
    struct cbt_config *c = must_load(BOTH_ENDS "[source.r]\ntype=redis\n[source.f]\ntype=archive\npath=/"
                                               "a\n[sink.f]\ntype=file\n[sink.o]\ntype=stdout\n[sink.t]"
                                               "\ntype=tcp\n[sink.u]\ntype=udp\n[sink.s]\ntype=syslog\n",
                                     NULL, 0);
    char *text = printed(c);
    for (size_t i = 0; i < cbt_option_count; i++) {
        char line[128];
        const struct cbt_option *option = &cbt_options[i];
        snprintf(line, sizeof line, "\n%s = ", option->key);
        if (option->kind == CBT_KIND_map)
            continue;
        if (!strstr(text, line))
            fail_msg("%s is not printed", option->key);
    }
    free(text);
    cbt_config_free(c);
}

static char *warnings_of(const char *text)
{
    struct captured captured;
    capture_begin(&captured);
    struct cbt_config *c = must_load(text, NULL, 0);
    cbt_config_warn(c);
    char *out = capture_end(&captured);
    cbt_config_free(c);
    return out;
}

static void expect_warning(const char *text, const char *expected)
{
    char *out = warnings_of(text);
    if (!expected)
        assert_string_equal(out, "");
    else if (!strstr(out, expected))
        fail_msg("no \"%s\" in \"%s\"", expected, out);
    free(out);
}

static void warnings(void **state)
{
    (void)state;
    static const char twice[] = "every event will be delivered twice";
    expect_warning(BOTH_ENDS, NULL);
    expect_warning(BOTH_ENDS "topic = t # a comment\n", "line=5 section=sink.k key=topic");
    expect_warning(BOTH_ENDS "topic = t#1\n", NULL);
    expect_warning(BOTH_ENDS "[source.b]\ntype=amqp\nevents=ingress.event.#\n", twice);
    expect_warning(BOTH_ENDS "[source.b]\ntype=amqp\nevents=alert.#,ingress.event.procstart\n", twice);
    expect_warning(BOTH_ENDS "[source.b]\ntype=amqp\nevents=#\n", twice);
    expect_warning(BOTH_ENDS "[source.b]\ntype=amqp\nevents=*.*.*\n", twice);
    expect_warning(BOTH_ENDS "[source.b]\ntype=amqp\nevents=#.netconn\n", twice);
    expect_warning(BOTH_ENDS "[source.b]\ntype=amqp\nevents=*.*\n", NULL);
    expect_warning(BOTH_ENDS "[source.b]\ntype=amqp\nraw=false\nevents=ingress.event.#\n", NULL);
    expect_warning(BOTH_ENDS "[source.r]\ntype=redis\n", "redis_source=r");
    expect_warning(BOTH_ENDS "[source.f]\ntype=archive\npath=/a\n", "archive_source=f");
    expect_warning(
        "[sink.k]\ntype=kafka\n[source.b]\ntype=amqp\nraw=false\n[source.f]\ntype=archive\npath=/a\n", NULL);
    expect_warning("[sink.k]\ntype=kafka\n[source.f]\ntype=archive\npath=/a\n[source.r]\ntype=redis\n",
                   twice);
    expect_warning("[sink.k]\ntype=kafka\n[source.b]\ntype=amqp\nraw=false\n[source.r]\ntype=redis\n", NULL);
    expect_warning(
        "[sink.k]\ntype=kafka\n[source.b]\ntype=amqp\nraw=false\nevents=ingress.#\n[source.r]\ntype=redis\n",
        twice);
}

static void warning_shows_no_value(void **state)
{
    (void)state;
    char *out = warnings_of("[source.r]\ntype=redis\npassword=HIDDEN # x\n[sink.k]\ntype=kafka\n");
    assert_non_null(strstr(out, "key=password"));
    assert_null(strstr(out, "HIDDEN"));
    free(out);
}

static void changes_that_need_a_restart_are_said(void **state)
{
    (void)state;
    struct captured captured;
    static const char base[] = "[cbtap]\nserver_name=s\n" BOTH_ENDS "kafka.linger.ms=5\n";
    struct cbt_config *old = must_load(base, NULL, 0);
    static const struct {
        const char *override;
        unsigned changes;
        const char *said;
    } rows[] = {
        {"cbtap.server_name=s", 0, NULL},
        {"cbtap.log.level=debug", 0, NULL},
        {"cbtap.log.format=json", 0, NULL},
        {"filter.types=netconn", 0, NULL},
        {"filter.drop=netconn", 0, NULL},
        {"filter.float_time=true", 1, "section=filter key=float_time"},
        {"cbtap.workers=3", 1, "section=cbtap key=workers"},
        {"decode.zip.ratio_max=7", 1, "section=decode key=zip.ratio_max"},
        {"source.bus.queue=other", 1, "section=bus key=queue"},
        {"source.bus.queue.arguments.x-a=1", 1, "key=queue.arguments."},
        {"sink.k.kafka.linger.ms=6", 1, "section=k key=kafka."},
        {"sink.k.topic=HIDDEN", 1, "section=k key=topic"},
        {"source.two.type=redis", 1, "sources were added or removed"},
        {"sink.two.type=kafka", 1, "sinks were added or removed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct cbt_config *new = must_load(base, &rows[i].override, 1);
        capture_begin(&captured);
        unsigned changes = cbt_config_log_changes(old, new);
        char *out = capture_end(&captured);
        assert_int_equal(changes, rows[i].changes);
        assert_null(strstr(out, "HIDDEN"));
        if (rows[i].said && !strstr(out, rows[i].said))
            fail_msg("no \"%s\" in \"%s\"", rows[i].said, out);
        free(out);
        cbt_config_free(new);
    }
    cbt_config_free(old);
}

static void distance_counts_edits(void **state)
{
    (void)state;
    assert_int_equal(cbt_edit_distance("", ""), 0);
    assert_int_equal(cbt_edit_distance("abc", ""), 3);
    assert_int_equal(cbt_edit_distance("", "abc"), 3);
    assert_int_equal(cbt_edit_distance("workers", "Workers"), 0);
    assert_int_equal(cbt_edit_distance("workers", "worker"), 1);
    assert_int_equal(cbt_edit_distance("workesr", "workers"), 1);
    assert_int_equal(cbt_edit_distance("wrokers", "workers"), 1);
    assert_int_equal(cbt_edit_distance("kitten", "sitting"), 3);
    char a[200], b[200];
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    a[199] = b[199] = '\0';
    assert_int_equal(cbt_edit_distance(a, b), 64);
    assert_null(cbt_nearest("x", NULL, 0));
}

/* The reference that people read is that of this table. */
static void documentation_is_up_to_date(void **state)
{
    (void)state;
    char *text = NULL, *stored = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    assert_int_equal(cbt_config_print_docs(out), 0);
    fclose(out);
    FILE *file = fopen(SOURCE_DIR "/docs/CONFIGURATION.md", "r");
    if (!file)
        fail_msg("docs/CONFIGURATION.md is missing: cbtap help --configuration-md > docs/CONFIGURATION.md");
    stored = calloc(1, len + 2);
    assert_non_null(stored);
    size_t stored_len = fread(stored, 1, len + 1, file);
    fclose(file);
    if (stored_len != len || memcmp(stored, text, len) != 0)
        fail_msg("docs/CONFIGURATION.md is stale: cbtap help --configuration-md > docs/CONFIGURATION.md");
    free(stored);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables_and_dollars),
        cmocka_unit_test(files_lose_one_newline),
        cmocka_unit_test(files_have_limits),
        cmocka_unit_test(substitution_faults_name_file_line_and_key),
        cmocka_unit_test(secrets_are_masked),
        cmocka_unit_test(urls_are_masked_however_broken),
        cmocka_unit_test(print_reads_back),
        cmocka_unit_test(print_shows_every_key),
        cmocka_unit_test(warnings),
        cmocka_unit_test(warning_shows_no_value),
        cmocka_unit_test(changes_that_need_a_restart_are_said),
        cmocka_unit_test(distance_counts_edits),
        cmocka_unit_test(documentation_is_up_to_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
