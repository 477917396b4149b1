/* SPDX-License-Identifier: MIT */
/* The log's lines, and the errors that they show. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <yajl/yajl_tree.h>

#include "captured.h"
#include "cbtap/err.h"
#include "cbtap/log.h"

static struct captured captured;

static void begin(enum cbt_log_level level, enum cbt_log_format format)
{
    cbt_log_configure(level, format);
    capture_begin(&captured);
}

static void expect(const char *expected)
{
    char *out = capture_end(&captured);
    assert_string_equal(out, expected);
    free(out);
}

static void text_lines_quote_what_needs_it(void **state)
{
    (void)state;
    begin(CBT_LOG_DEBUG, CBT_LOG_TEXT);
    cbt_log_info("plain");
    cbt_log_warning("connected", CBT_S("source", "bus"), CBT_I("port", 5004), CBT_D("ratio", 0.25));
    cbt_log_error("x", CBT_S("a", ""), CBT_S("b", NULL), CBT_S("c", "two words"), CBT_S("d", "say \"hi\" \\"),
                  CBT_S("e", "k=v"), CBT_I("f", INT64_MIN), CBT_D("g", NAN));
    cbt_log_debug("a \"message\" is not quoted");
    expect("info plain\n"
           "warning connected source=bus port=5004 ratio=0.25\n"
           "error x a=\"\" b=\"\" c=\"two words\" d=\"say \\\"hi\\\" \\\\\" e=\"k=v\" f=-9223372036854775808 "
           "g=nan\n"
           "debug a \"message\" is not quoted\n");
}

static void no_control_reaches_the_terminal(void **state)
{
    (void)state;
    begin(CBT_LOG_DEBUG, CBT_LOG_TEXT);
    cbt_log_info("line\nbreak \x1b[31mred", CBT_S("a", "tab\tbell\a"), CBT_S("b", "c1 \xC2\x9B"),
                 CBT_S("c", "\x7f"), CBT_S("d", "bidi \xE2\x80\xAE"), CBT_S("e", "\xC3\xBC"),
                 CBT_S("f", "\xFF\xC0\xAF\xED\xA0\x80\xE2\x82"));
    expect("info line\\nbreak \\u001b[31mred a=\"tab\\u0009bell\\u0007\" b=\"c1 \\u009b\" c=\"\\u007f\" "
           "d=\"bidi \\u202e\" e=\"\xC3\xBC\" f=\"\\xff\\xc0\\xaf\\xed\\xa0\\x80\\xe2\\x82\"\n");
}

static void level_leaves_out_what_is_less_important(void **state)
{
    (void)state;
    begin(CBT_LOG_WARNING, CBT_LOG_TEXT);
    cbt_log_debug("no");
    cbt_log_info("no");
    cbt_log_warning("yes");
    cbt_log_error("yes");
    expect("warning yes\nerror yes\n");
    begin(CBT_LOG_ERROR, CBT_LOG_TEXT);
    cbt_log_warning("no");
    cbt_log_error("yes");
    expect("error yes\n");
}

static const char *member(yajl_val object, const char *name)
{
    const char *path[] = {name, NULL};
    yajl_val value = yajl_tree_get(object, path, yajl_t_any);
    return YAJL_IS_STRING(value)   ? YAJL_GET_STRING(value)
           : YAJL_IS_NUMBER(value) ? YAJL_GET_NUMBER(value)
                                   : NULL;
}

static void json_lines_are_json(void **state)
{
    (void)state;
    char big[9000];
    memset(big, '"', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    begin(CBT_LOG_DEBUG, CBT_LOG_JSON);
    cbt_log_info("a \"b\"\n\x01", CBT_S("k", "\xFF\x80\\ \xE2\x80\xA8"), CBT_I("n", -7), CBT_D("d", 1.5),
                 CBT_D("inf", INFINITY));
    cbt_log_error("cut", CBT_S("big", big), CBT_S("gone", "x"));
    cbt_log_error(big);
    char *out = capture_end(&captured);
    char *line = out;
    char message[256];
    yajl_val object[3];
    for (int i = 0; i < 3; i++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        assert_true(strlen(line) < 4096);
        object[i] = yajl_tree_parse(line, message, sizeof message);
        if (!object[i])
            fail_msg("%s in %s", message, line);
        line = end + 1;
    }
    assert_string_equal(line, "");
    assert_string_equal(member(object[0], "level"), "info");
    assert_string_equal(member(object[0], "message"), "a \"b\"\n\x01");
    assert_string_equal(member(object[0], "k"), "\xEF\xBF\xBD\xEF\xBF\xBD\\ \xE2\x80\xA8");
    assert_string_equal(member(object[0], "n"), "-7");
    assert_string_equal(member(object[0], "d"), "1.5");
    assert_int_equal(strlen(member(object[0], "time")), strlen("2024-01-01T00:00:00.000Z"));
    assert_string_equal(member(object[1], "message"), "cut");
    assert_null(member(object[1], "gone"));
    const char *cut[] = {"cut", NULL};
    assert_true(YAJL_IS_TRUE(yajl_tree_get(object[1], cut, yajl_t_any)));
    assert_true(YAJL_IS_TRUE(yajl_tree_get(object[2], cut, yajl_t_any)));
    for (int i = 0; i < 3; i++)
        yajl_tree_free(object[i]);
    free(out);
}

static void line_that_is_too_long_is_cut_and_says_so(void **state)
{
    (void)state;
    char big[9000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    begin(CBT_LOG_DEBUG, CBT_LOG_TEXT);
    cbt_log_info(big);
    cbt_log_info("m", CBT_S("k", big), CBT_I("n", 1));
    /* As many fields as there is room for, none of them half. */
    struct cbt_log_field fields[400];
    for (int i = 0; i < 400; i++)
        fields[i] = CBT_I("number", 1234567890);
    cbt_log_fields(CBT_LOG_INFO, "many", fields, 400);
    char *out = capture_end(&captured);
    char *line = out;
    for (int i = 0; i < 3; i++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        assert_true(end - line < 4096);
        assert_memory_equal(end - strlen(" cut=true"), " cut=true", strlen(" cut=true"));
        line = end + 1;
    }
    assert_non_null(strstr(out, "number=1234567890 cut=true\n"));
    free(out);
}

static void errno_survives(void **state)
{
    (void)state;
    begin(CBT_LOG_DEBUG, CBT_LOG_TEXT);
    close(STDERR_FILENO);
    errno = ENOTTY;
    cbt_log_error("nobody reads this");
    assert_int_equal(errno, ENOTTY);
    free(capture_end(&captured));
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < 500; i++)
        cbt_log_info("thread", CBT_S("name", arg), CBT_I("i", i));
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    (void)state;
    pthread_t threads[4];
    char names[4][200];
    begin(CBT_LOG_DEBUG, CBT_LOG_TEXT);
    /* Appending, so that the offset that the threads share is the kernel's. */
    fcntl(STDERR_FILENO, F_SETFL, O_APPEND);
    for (int i = 0; i < 4; i++) {
        memset(names[i], 'a' + i, 199);
        names[i][199] = '\0';
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    char *out = capture_end(&captured);
    size_t lines = 0;
    for (char *line = out; *line; lines++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        assert_memory_equal(line, "info thread name=", 17);
        for (int i = 1; i < 199; i++)
            assert_int_equal(line[17 + i], line[17]);
        line = end + 1;
    }
    assert_int_equal(lines, 2000);
    free(out);
}

static void errors_are_set_prefixed_and_cut(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    assert_int_equal(cbt_err_set(&err, CBT_EREFUSED, "port %d", 5), CBT_EREFUSED);
    assert_string_equal(err.text, "port 5");
    assert_int_equal(cbt_err_prefix(&err, "host %s", "h"), CBT_EREFUSED);
    assert_string_equal(err.text, "host h: port 5");
    /* Its own text as an argument. */
    assert_int_equal(cbt_err_set(&err, CBT_EIO, "again: %s", err.text), CBT_EIO);
    assert_string_equal(err.text, "again: host h: port 5");
    assert_int_equal(cbt_err_set(NULL, CBT_EINVAL, "nobody"), CBT_EINVAL);
    assert_int_equal(cbt_err_prefix(NULL, "nobody"), CBT_EIO);

    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    cbt_err_set(&err, CBT_EIO, "%s", big);
    assert_int_equal(strlen(err.text), CBT_ERR_TEXT_BYTES - 1);
    cbt_err_prefix(&err, "p");
    assert_int_equal(strlen(err.text), CBT_ERR_TEXT_BYTES - 1);
    assert_memory_equal(err.text, "p: xxx", 6);
    cbt_err_prefix(&err, "%s", big);
    assert_int_equal(strlen(err.text), CBT_ERR_TEXT_BYTES - 1);
    for (size_t len = CBT_ERR_TEXT_BYTES - 4; len < CBT_ERR_TEXT_BYTES + 2; len++) {
        cbt_err_set(&err, CBT_EIO, "tail");
        cbt_err_prefix(&err, "%.*s", (int)len, big);
        assert_true(strlen(err.text) < CBT_ERR_TEXT_BYTES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_lines_quote_what_needs_it),
        cmocka_unit_test(no_control_reaches_the_terminal),
        cmocka_unit_test(level_leaves_out_what_is_less_important),
        cmocka_unit_test(json_lines_are_json),
        cmocka_unit_test(line_that_is_too_long_is_cut_and_says_so),
        cmocka_unit_test(errno_survives),
        cmocka_unit_test(lines_of_several_threads_do_not_mix),
        cmocka_unit_test(errors_are_set_prefixed_and_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
