/* SPDX-License-Identifier: MIT */
/* export as people use it: files in, events out, what is said of what is broken, and how it ends. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cbtap/format.h"
#include "config_file.h"
#include "program.h"
#include "zip_build.h"

#define FILETIME_1970  116444736000000000
#define TICKS_A_SECOND 10000000

/* ---- what goes in ---- */

/* A filemod event of that second. */
static void add_filemod(struct pb *bundle, int64_t second)
{
    struct pb record = {0}, filemod = {0};
    pb_header(&record, FILETIME_1970 + second * TICKS_A_SECOND);
    pb_number(&filemod, 2, 1);
    pb_message(&record, 5, &filemod);
    pb_record(bundle, pb_text(&record));
    pb_free(&filemod);
    pb_free(&record);
}

/* A regmod event of that second with a path of that length. */
static void add_regmod(struct pb *bundle, int64_t second, size_t path_len)
{
    struct pb record = {0}, regmod = {0};
    uint8_t *path = malloc(path_len);
    assert_non_null(path);
    memset(path, 'p', path_len);
    pb_header(&record, FILETIME_1970 + second * TICKS_A_SECOND);
    pb_bytes(&regmod, 4, path, path_len);
    pb_message(&record, 7, &regmod);
    pb_record(bundle, pb_text(&record));
    free(path);
    pb_free(&regmod);
    pb_free(&record);
}

static void add_text(struct pb *bundle, const char *text)
{
    struct pb record = pb_parse(text);
    pb_record(bundle, pb_text(&record));
    pb_free(&record);
}

/* A record that has no header; as a netconn by its type. */
#define BROKEN_NETCONN "6{1:1}"

static struct pb bundle_of(int64_t first_second, int64_t count)
{
    struct pb bundle = {0};
    for (int64_t i = 0; i < count; i++)
        add_filemod(&bundle, first_second + i);
    return bundle;
}

static struct config_file file_of(struct pb *contents)
{
    struct config_file file;
    config_file_write(&file, contents->data, contents->len);
    pb_free(contents);
    return file;
}

static struct config_file file_of_text(const char *text)
{
    struct config_file file;
    config_file_write(&file, text, strlen(text));
    return file;
}

/* A descriptor that reads `contents`. */
static int stdin_of(struct pb *contents)
{
    struct config_file file = file_of(contents);
    int fd = open(file.path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    config_file_remove(&file);
    return fd;
}

/* ---- what comes out ---- */

/* Line by line an event of each second. */
static void expect_seconds(const char *text, int64_t first, int64_t count)
{
    char expected[64];
    for (int64_t i = 0; i < count; i++) {
        size_t len = strcspn(text, "\n");
        snprintf(expected, sizeof expected, "\"timestamp\":%lld,", (long long)(first + i));
        if (text[len] != '\n' || !memmem(text, len, expected, strlen(expected)))
            fail_msg("no %s in line %lld: %.*s", expected, (long long)i + 1, (int)len, text);
        text += len + (text[len] == '\n');
    }
    assert_string_equal(text, "");
}

static unsigned count_of(const char *text, const char *part)
{
    unsigned count = 0;
    for (const char *s = text; (s = strstr(s, part)) != NULL; s++)
        count++;
    return count;
}

/* "FILE" in `expected` stands for the path. */
static void expect_said(const struct program *p, const char *expected, const struct config_file *file)
{
    char text[1024];
    const char *at = strstr(expected, "FILE");
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - expected), expected, file->path, at + 4);
    expect_text(p->err, text);
}

/* ---- the ordinary ---- */

static void events_of_all_files_come_in_order(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(1000, 3), in_zip = bundle_of(1003, 4), piped = bundle_of(1007, 2);
    struct pb single = {0};
    pb_header(&single, FILETIME_1970 + 1009LL * TICKS_A_SECOND);
    struct zb_entry entry = {.name = "log", .content = pb_text(&in_zip), .method = 8};
    struct pb zip = zb_build((struct zb){0}, &entry, 1);
    pb_free(&in_zip);
    struct config_file files[] = {file_of(&bundle), file_of(&zip), file_of(&single)};
    int in_fd = stdin_of(&piped);
    struct program p;
    start_between(&p, (const char *const[]){"export", files[0].path, files[1].path, "-", files[2].path, NULL},
                  in_fd, -1);
    finish(&p);
    close(in_fd);
    expect_exit(&p, 0);
    expect_seconds(p.out, 1000, 10);
    assert_string_equal(p.err, "info exported files=4 unreadable=0 events=10 dead_letters=0 filtered=0\n"
                               "info exported type=filemod events=9 dead_letters=0 filtered=0\n"
                               "info exported type=unknown events=1 dead_letters=0 filtered=0\n");
    release(&p);
    for (size_t i = 0; i < 3; i++)
        config_file_remove(&files[i]);
}

static void more_than_a_block_is_written_whole(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(0, 9000);
    struct config_file file = file_of(&bundle);
    struct program p;
    RUN(&p, "export", "--quiet", file.path);
    expect_exit(&p, 0);
    assert_true(p.out_len > 3u * 256 * 1024);
    expect_seconds(p.out, 0, 9000);
    assert_string_equal(p.err, "");
    release(&p);
    config_file_remove(&file);
}

static void an_event_larger_than_a_block_keeps_its_neighbours(void **state)
{
    (void)state;
    const size_t path_len = 2u << 20;
    struct pb bundle = bundle_of(1, 1);
    add_regmod(&bundle, 2, path_len);
    add_filemod(&bundle, 3);
    struct config_file file = file_of(&bundle);
    struct program p;
    RUN(&p, "export", file.path);
    expect_exit(&p, 0);
    expect_seconds(p.out, 1, 3);
    assert_true(p.out_len > path_len);
    release(&p);
    config_file_remove(&file);
}

static void headers_say_what_records_do_not(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(1, 1);
    struct config_file file = file_of(&bundle);
    struct program p;
    RUN(&p, "export", file.path);
    expect_text(p.out, "\"sensor_id\":0,\"computer_name\":\"\"");
    release(&p);
    RUN(&p, "export", "--header", "sensorId=7", "--header", "sensorHostName=host-7", "--header", "hostId=0",
        "--header=nodeId=0", file.path);
    expect_exit(&p, 0);
    expect_text(p.out, "\"sensor_id\":7,\"computer_name\":\"host-7\"");
    assert_null(strstr(p.err, "warning"));
    release(&p);
    RUN(&p, "export", "--header", "sensorId=7x", "--header", "sensorHostName=a=b", file.path);
    expect_exit(&p, 0);
    expect_text(p.out, "\"sensor_id\":0,\"computer_name\":\"a=b\"");
    expect_text(p.err, "warning the header's value cannot be read: the events go on without it "
                       "header=sensorId value=7x\n");
    release(&p);
    config_file_remove(&file);
}

static void configuration_counts_and_needs_no_source_or_sink(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(1, 2);
    add_text(&bundle, "1{1:4 4:116444736030009999} 7{4:'key'}");
    add_text(&bundle, "1{1:4} 8{1:1}"); /* stats */
    struct config_file file = file_of(&bundle);
    struct config_file config = file_of_text("[cbtap]\nserver_name = from-file\nserver_url = https://edr\n"
                                             "[filter]\ndrop = filemod\n");
    struct program p;
    RUN(&p, "export", "-c", config.path, "-s", "filter.float_time=true", file.path);
    expect_exit(&p, 0);
    assert_int_equal(count_of(p.out, "\n"), 1);
    expect_text(p.out, "\"cb_server\":\"from-file\"");
    expect_text(p.out, "\"timestamp\":3.000,");
    expect_text(p.out, "\"link_process\":\"https://edr/#analyze/");
    expect_text(p.err, " events=1 dead_letters=0 filtered=3\n");
    expect_text(p.err, "info exported type=filemod events=0 dead_letters=0 filtered=2\n");
    expect_text(p.err, "info exported type=stats events=0 dead_letters=0 filtered=1\n");
    release(&p);
    RUN(&p, "export", "-s", "filter.types=regmod", "-s", "cbtap.log.format=json", file.path);
    assert_int_equal(count_of(p.out, "\n"), 1);
    expect_text(p.err, "\"message\":\"exported\"");
    release(&p);
    config_file_remove(&config);
    config_file_remove(&file);
}

static void words_behind_two_dashes_are_files(void **state)
{
    (void)state;
    struct program p;
    RUN(&p, "export", "--", "--quiet", "/nonexistent/a");
    expect_exit(&p, 1);
    expect_text(p.err, "error cannot read file=--quiet reason=\"No such file or directory\"\n");
    expect_text(p.err, "error cannot read file=/nonexistent/a reason=\"No such file or directory\"\n");
    release(&p);
    RUN(&p, "check", "--", "word");
    expect_exit(&p, 2);
    expect_text(p.err, "an argument too many command=check argument=word");
    release(&p);
}

/* ---- notifications ---- */

static void notifications_are_read_line_by_line(void **state)
{
    (void)state;
    struct config_file file = file_of_text("{\"event_timestamp\":1,\"sensor_id\":7}\n"
                                           "\n \t\r\n"
                                           "[1]\n"
                                           "{\"event_timestamp\":2.50}\r\n"
                                           "{\"event_timestamp\":3}");
    struct program p;
    RUN(&p, "export", "--notification", "feed.24.storage.hit.process", file.path);
    expect_exit(&p, 1);
    assert_int_equal(count_of(p.out, "\n"), 3);
    assert_int_equal(count_of(p.out, "\"type\":\"feed.storage.hit.process\""), 3);
    assert_true(strstr(p.out, "2.50") < strrchr(p.out, '3'));
    expect_said(&p,
                "error left out file=FILE line=4 offset=41 reason=not_json text=\"the notification is not a "
                "JSON object\"\n",
                &file);
    expect_text(p.err, "info exported type=feed.storage.hit.process events=3 dead_letters=1 filtered=0\n");
    release(&p);
    RUN(&p, "export", "--notification", "feed.24.storage.hit.process", "-s", "filter.drop=feed.*", file.path);
    assert_string_equal(p.out, "");
    expect_exit(&p, 0);
    expect_text(p.err, " events=0 dead_letters=0 filtered=4\n");
    release(&p);
    config_file_remove(&file);
}

static void notifications_are_of_the_hosts_that_they_name(void **state)
{
    (void)state;
    struct config_file file =
        file_of_text("{\"hostname\":\"DC-7\",\"a\":1}\n"
                     "{\"docs\":[{\"hostname\":\"dc-8\",\"a\":2},{\"hostname\":\"web-7\"}]}\n"
                     "{\"a\":3}\n");
    struct program p;
    RUN(&p, "export", "--notification", "watchlist.hit", "--host", "dc-*", file.path);
    expect_exit(&p, 0);
    assert_int_equal(count_of(p.out, "\n"), 2);
    expect_text(p.out, "\"a\":1");
    expect_text(p.out, "\"a\":2");
    expect_text(p.err, "info exported type=watchlist.hit events=2 dead_letters=0 filtered=2\n");
    release(&p);
    config_file_remove(&file);
}

static void each_notification_is_a_message_of_its_own(void **state)
{
    (void)state;
    struct pb lines = {0};
    for (int i = 0; i < 150; i++)
        pb_raw(&lines, "x\n", 2);
    pb_raw(&lines, "{\"a\":1}\n", 8);
    struct config_file file = file_of(&lines);
    struct program p;
    RUN(&p, "export", "--notification", "alert.x", file.path);
    expect_exit(&p, 1);
    assert_int_equal(count_of(p.out, "\n"), 1);
    assert_int_equal(count_of(p.err, "error left out"), 150);
    release(&p);
    config_file_remove(&file);
}

static void json_without_a_routing_key_is_told_apart(void **state)
{
    (void)state;
    struct config_file file = file_of_text("{\"a\":1}\n");
    struct program p;
    RUN(&p, "export", file.path);
    expect_exit(&p, 1);
    assert_string_equal(p.out, "");
    expect_said(&p, "looks like JSON: --notification KEY reads one notification a line file=FILE\n", &file);
    release(&p);
    config_file_remove(&file);
}

/* '{' is also the length of a record of 123 bytes. */
static void a_bundle_that_begins_like_json_is_a_bundle(void **state)
{
    (void)state;
    struct pb bundle = {0};
    add_regmod(&bundle, 5, 105);
    assert_int_equal(bundle.data[0], '{');
    struct config_file file = file_of(&bundle);
    struct program p;
    RUN(&p, "export", file.path);
    expect_exit(&p, 0);
    expect_seconds(p.out, 5, 1);
    release(&p);
    config_file_remove(&file);
}

/* ---- the broken ---- */

static void what_is_broken_is_said_and_its_neighbours_go_on(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(1, 1);
    size_t first_len = bundle.len;
    add_text(&bundle, BROKEN_NETCONN);
    add_filemod(&bundle, 2);
    size_t whole = bundle.len;
    pb_raw(&bundle, "\xff\xff\0\0rest", 8);
    struct config_file file = file_of(&bundle);
    struct program p;
    char expected[256];
    RUN(&p, "export", file.path, "/nonexistent/log", file.path);
    expect_exit(&p, 1);
    char *second = strchr(strchr(p.out, '\n') + 1, '\n') + 1;
    char *copy = strdup(second);
    *second = '\0';
    expect_seconds(p.out, 1, 2);
    expect_seconds(copy, 1, 2);
    free(copy);
    snprintf(expected, sizeof expected,
             "error left out file=FILE entry=0 record=1 offset=%zu reason=no_header text=\"", first_len);
    expect_said(&p, expected, &file);
    snprintf(expected, sizeof expected,
             "error left out file=FILE entry=0 record=3 offset=%zu reason=truncated "
             "text=\"a record's length goes beyond the end of its bundle\"\n",
             whole);
    expect_said(&p, expected, &file);
    expect_text(p.err, "error cannot read file=/nonexistent/log reason=\"No such file or directory\"\n");
    expect_text(p.err, "info exported files=3 unreadable=1 events=4 dead_letters=4 filtered=0\n"
                       "info exported type=filemod events=4 dead_letters=0 filtered=0\n"
                       "info exported type=netconn events=0 dead_letters=2 filtered=0\n"
                       "info exported type=other events=0 dead_letters=2 filtered=0\n");
    release(&p);
    /* The filter acts before validity is judged. */
    RUN(&p, "export", "-s", "filter.drop=netconn", file.path);
    expect_text(p.err, " events=2 dead_letters=1 filtered=1\n");
    release(&p);
    config_file_remove(&file);
}

static void broken_entries_of_a_zip_are_said_by_their_number(void **state)
{
    (void)state;
    struct pb good = bundle_of(1, 2), bad = bundle_of(9, 1);
    struct zb_entry entries[] = {
        {.name = "a", .content = pb_text(&bad), .method = 8, .crc_error = 1},
        {.name = "b", .content = pb_text(&good), .method = 8},
    };
    struct pb zip = zb_build((struct zb){0}, entries, 2);
    pb_free(&good);
    pb_free(&bad);
    struct config_file file = file_of(&zip);
    struct program p;
    RUN(&p, "export", file.path);
    expect_exit(&p, 1);
    expect_seconds(p.out, 1, 2);
    expect_said(&p, "error left out file=FILE entry=0 record=0 offset=0 reason=zip_crc", &file);
    release(&p);
    config_file_remove(&file);
}

static void after_100_broken_parts_the_rest_of_a_piece_is_one(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(1, 1);
    char expected[64];
    snprintf(expected, sizeof expected, "record=101 offset=%zu reason=too_many_broken", bundle.len + 100 * 8);
    for (int i = 0; i < 150; i++)
        add_text(&bundle, BROKEN_NETCONN);
    struct config_file file = file_of(&bundle);
    struct pb good = bundle_of(2, 1);
    struct config_file next = file_of(&good);
    struct program p;
    RUN(&p, "export", file.path, next.path, file.path);
    expect_exit(&p, 1);
    assert_int_equal(count_of(p.out, "\n"), 3);
    expect_text(p.out, "\"timestamp\":2,");
    assert_int_equal(count_of(p.err, "reason=no_header"), 200);
    assert_int_equal(count_of(p.err, expected), 2);
    expect_text(p.err, " events=3 dead_letters=202 filtered=0\n");
    release(&p);
    config_file_remove(&file);
    config_file_remove(&next);
}

static void limits_of_decode_hold(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(1, 1);
    add_regmod(&bundle, 2, 1100);
    struct config_file file = file_of(&bundle);
    struct program p;
    RUN(&p, "export", "--quiet", file.path);
    expect_exit(&p, 0);
    release(&p);
    RUN(&p, "export", "--quiet", "-s", "decode.record_max_bytes=1024", file.path);
    expect_exit(&p, 1);
    expect_seconds(p.out, 1, 1);
    expect_text(p.err, "reason=record_too_large");
    release(&p);
    config_file_remove(&file);
}

/* Both through a file and a pipe, in pieces that are far smaller. */
static void a_bundle_may_be_larger_than_the_limit(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(0, 9000);
    size_t middle = bundle.len;
    add_text(&bundle, BROKEN_NETCONN);
    for (int64_t i = 0; i < 2000; i++)
        add_filemod(&bundle, 9000 + i);
    size_t whole = bundle.len;
    pb_raw(&bundle, "\7\0\0\0rest", 8);
    assert_true(middle > 100u * 1024);
    struct pb piped = {0};
    pb_raw(&piped, bundle.data, bundle.len);
    struct config_file file = file_of(&bundle);
    int in_fd = stdin_of(&piped);
    for (int i = 0; i < 2; i++) {
        struct program p;
        char expected[128];
        const char *name = i == 0 ? file.path : "-";
        start_between(&p, (const char *const[]){"export", "-s", "cbtap.frame_max_bytes=1024", name, NULL},
                      in_fd, -1);
        finish(&p);
        expect_exit(&p, 1);
        expect_seconds(p.out, 0, 11000);
        snprintf(expected, sizeof expected, "file=%s entry=0 record=9000 offset=%zu reason=no_header", name,
                 middle);
        expect_text(p.err, expected);
        snprintf(expected, sizeof expected, "file=%s entry=0 record=11001 offset=%zu reason=truncated", name,
                 whole);
        expect_text(p.err, expected);
        release(&p);
    }
    close(in_fd);
    config_file_remove(&file);
}

static void what_is_read_whole_and_beyond_the_limit_is_named_with_the_key_to_raise(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(1, 2), small = bundle_of(9, 1), in_zip = bundle_of(5, 2000);
    char expected[256];
    size_t before = bundle.len;
    add_regmod(&bundle, 3, 2000);
    size_t record = bundle.len - before;
    add_filemod(&bundle, 3);
    struct zb_entry entry = {.name = "log", .content = pb_text(&in_zip)};
    struct pb zip = zb_build((struct zb){0}, &entry, 1);
    size_t zip_len = zip.len;
    pb_free(&in_zip);
    struct config_file files[] = {file_of(&bundle), file_of(&zip), file_of(&small)};
    struct program p;
    RUN(&p, "export", "-s", "cbtap.frame_max_bytes=1500", files[0].path, files[1].path, files[2].path);
    expect_exit(&p, 1);
    assert_int_equal(count_of(p.out, "\n"), 4);
    expect_text(p.out, "\"timestamp\":9,");
    snprintf(
        expected, sizeof expected,
        "error left out file=FILE entry=0 record=2 offset=%zu reason=frame_too_large text=\"%zu bytes: a "
        "record is read whole, and cbtap.frame_max_bytes is 1500; -s cbtap.frame_max_bytes=NUMBER "
        "raises it\"\n",
        before, record);
    expect_said(&p, expected, &files[0]);
    snprintf(expected, sizeof expected,
             "error cannot read file=FILE reason=\"%zu bytes: what is no bundle is read whole, and ",
             zip_len);
    expect_said(&p, expected, &files[1]);
    expect_text(p.err, "info exported files=3 unreadable=1 events=4 dead_letters=1 filtered=0\n");
    release(&p);
    snprintf(expected, sizeof expected, "cbtap.frame_max_bytes=%zu", record);
    RUN(&p, "export", "-s", expected, files[0].path);
    expect_exit(&p, 0);
    release(&p);
    for (size_t i = 0; i < 3; i++)
        config_file_remove(&files[i]);
}

static void a_line_beyond_the_limit_is_named_and_the_next_come(void **state)
{
    (void)state;
    struct pb lines = {0};
    pb_raw(&lines, "{\"a\":1}\n{\"b\":\"", 14);
    for (int i = 0; i < 5000; i++)
        pb_byte(&lines, 'b');
    pb_raw(&lines, "\"}\n{\"c\":2}", 10);
    struct config_file file = file_of(&lines);
    struct program p;
    RUN(&p, "export", "--notification", "alert.x", "-s", "cbtap.frame_max_bytes=1024", file.path);
    expect_exit(&p, 1);
    assert_int_equal(count_of(p.out, "\n"), 2);
    expect_said(
        &p,
        "error left out file=FILE line=2 offset=8 reason=frame_too_large text=\"more than 1024 bytes: a "
        "line is read whole",
        &file);
    release(&p);
    config_file_remove(&file);
}

/* A pipe has no size that could be asked for. */
static void standard_input_is_bounded_and_may_be_empty(void **state)
{
    (void)state;
    struct program p;
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    start_between(&p, (const char *const[]){"export", "-s", "cbtap.frame_max_bytes=100000", "-", NULL}, zero,
                  -1);
    finish(&p);
    expect_exit(&p, 1);
    expect_text(p.err, "error cannot read file=- reason=\"more than 100000 bytes: ");
    release(&p);
    start_between(&p, (const char *const[]){"export", "-", NULL}, null, -1);
    finish(&p);
    expect_exit(&p, 0);
    assert_string_equal(p.out, "");
    release(&p);
    close(zero);
    close(null);
    struct config_file empty = file_of_text("");
    RUN(&p, "export", empty.path);
    expect_exit(&p, 1);
    expect_said(&p, "error left out file=FILE entry=0 record=0 offset=0 reason=empty", &empty);
    release(&p);
    config_file_remove(&empty);
}

/* ---- the output's end ---- */

static void a_closed_pipe_ends_it_quietly(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(0, 3000);
    struct config_file file = file_of(&bundle);
    struct program p;
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    close(pipe_fds[0]);
    start_between(&p, (const char *const[]){"export", file.path, "/tmp/nonexistent-never-reached", NULL}, -1,
                  pipe_fds[1]);
    finish(&p);
    close(pipe_fds[1]);
    expect_exit(&p, 0);
    assert_string_equal(p.err, "");
    release(&p);
    config_file_remove(&file);
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(0, 1);
    struct config_file file = file_of(&bundle);
    struct program p;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    start_between(&p, (const char *const[]){"export", file.path, NULL}, -1, full);
    finish(&p);
    close(full);
    expect_exit(&p, 1);
    assert_string_equal(p.err, "error cannot write to standard output reason=\"No space left on device\"\n");
    release(&p);
    config_file_remove(&file);
}

static void a_non_blocking_pipe_is_waited_for(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(0, 3000);
    struct config_file file = file_of(&bundle);
    struct program p;
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(fcntl(pipe_fds[1], F_SETFL, O_NONBLOCK), 0);
    start_between(&p, (const char *const[]){"export", file.path, NULL}, -1, pipe_fds[1]);
    close(pipe_fds[1]);
    struct pb got = {0};
    uint8_t chunk[4096];
    ssize_t n;
    while ((n = read(pipe_fds[0], chunk, sizeof chunk)) > 0)
        pb_raw(&got, chunk, (size_t)n);
    close(pipe_fds[0]);
    finish(&p);
    expect_exit(&p, 0);
    pb_byte(&got, 0);
    expect_seconds((const char *)got.data, 0, 3000);
    pb_free(&got);
    release(&p);
    config_file_remove(&file);
}

/* ---- formats, usage ---- */

static void raw_reads_back(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(1, 5);
    add_text(&bundle, "99:1"); /* no header */
    struct config_file file = file_of(&bundle);
    struct config_file lines = file_of_text("{\"a\":1.0}\n\n{\"b\" : 2}");
    struct program raw, json, again;
    RUN(&raw, "export", "--quiet", "--format", "raw", file.path);
    if (!cbt_format_find("raw")) {
        expect_exit(&raw, 2);
        expect_text(raw.err, "--format raw is not built in this version");
    } else {
        struct pb piped = {0};
        pb_raw(&piped, raw.out, raw.out_len);
        int in_fd = stdin_of(&piped);
        start_between(&again, (const char *const[]){"export", "-", NULL}, in_fd, -1);
        finish(&again);
        expect_exit(&again, 0);
        RUN(&json, "export", file.path);
        assert_string_equal(again.out, json.out);
        expect_seconds(again.out, 1, 5);
        close(in_fd);
        release(&json);
        release(&again);
        release(&raw);
        RUN(&raw, "export", "--quiet", "--format", "raw", "--notification", "alert.x", lines.path);
        assert_string_equal(raw.out, "{\"a\":1.0}\n{\"b\" : 2}\n");
    }
    release(&raw);
    config_file_remove(&file);
    config_file_remove(&lines);
}

static void leef_is_a_line_an_event(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(1, 2);
    struct config_file file = file_of(&bundle);
    struct program p;
    RUN(&p, "export", "--format", "leef", file.path);
    if (!cbt_format_find("leef")) {
        expect_exit(&p, 2);
        expect_text(p.err, "--format leef is not built in this version");
    } else {
        expect_exit(&p, 0);
        assert_int_equal(count_of(p.out, "LEEF:1.0|"), 2);
        assert_int_equal(count_of(p.out, "\n"), 2);
    }
    release(&p);
    config_file_remove(&file);
}

static void wrong_usage_exits_2_and_says_what_was_meant(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[6];
        const char *expected;
    } rows[] = {
        {{"export"}, "error wrong usage option=PATH reason=\"none is named; - is standard input\""},
        {{"export", "--formt", "json", "-"},
         "error unknown option option=--formt hint=\"did you mean \\\"--format\\\"?\""},
        {{"export", "--heder=a=b", "-"}, "option=--heder hint=\"did you mean \\\"--header\\\"?\""},
        {{"export", "-x", "-"}, "error unknown option option=-x"},
        {{"export", "--print", "-"}, "error unknown option option=--print"},
        {{"run", "--format", "json"}, "error unknown option option=--format"},
        {{"export", "-", "--format"}, "the option needs a value option=--format"},
        {{"export", "--fields", "pid", "-"}, "option=--fields reason=\"has no effect but with"},
        {{"export", "--format", "jsn", "-"},
         "option=--format reason=\"\\\"jsn\\\" is none of json, leef, raw, table, csv; did you mean "
         "\\\"json\\\"?\""},
        {{"export", "--profile", "cbef", "-"}, "\\\"cbef\\\" is none of documented, cbef-3.8; "},
        {{"export", "--header", "sensorid=7", "-"},
         "\\\"sensorid\\\" is none of sensorId, sensorHostName, hostId, nodeId; did you mean "
         "\\\"sensorId\\\"?"},
        {{"export", "--header", "sensorId", "-"}, "option=--header reason=\"is not NAME=VALUE\""},
        {{"export", "--header", "=7", "-"}, "option=--header reason=\"\\\"\\\" is none of sensorId"},
        {{"export", "--notification", "", "-"}, "option=--notification reason=\"a routing key has"},
        {{"export", "--notification=a.b", "--header", "hostId=1", "-"},
         "option=--header reason=\"has no effect on notifications"},
        {{"export", "-s", "cbtap.workesr=1", "-"}, "error -s: [cbtap] workesr: unknown key; did you mean"},
        {{"export", "-s", "filter.types=procstrat", "-"}, "error filter.types: 'procstrat' is no event type"},
        {{"export", "-s", "cbtap.server_url=edr", "-"}, "does not begin with https:// or http://"},
        {{"export", "-c", "/nonexistent/cbtap.conf", "-"}, "No such file or directory"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct program p;
        start(&p, rows[i].arguments);
        finish(&p);
        expect_exit(&p, 2);
        expect_text(p.err, rows[i].expected);
        assert_string_equal(p.out, "");
        release(&p);
    }
}

static void help_teaches_by_examples(void **state)
{
    (void)state;
    static const char *const words[] = {"--format", "--profile",  "--header",  "--notification", "--quiet",
                                        "-c FILE",  "-s SECTION", "Examples:", "Exit status"};
    struct program p;
    RUN(&p, "export", "--help");
    expect_exit(&p, 0);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        expect_text(p.out, words[i]);
    release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_of_all_files_come_in_order),
        cmocka_unit_test(more_than_a_block_is_written_whole),
        cmocka_unit_test(an_event_larger_than_a_block_keeps_its_neighbours),
        cmocka_unit_test(headers_say_what_records_do_not),
        cmocka_unit_test(configuration_counts_and_needs_no_source_or_sink),
        cmocka_unit_test(words_behind_two_dashes_are_files),
        cmocka_unit_test(notifications_are_read_line_by_line),
        cmocka_unit_test(notifications_are_of_the_hosts_that_they_name),
        cmocka_unit_test(each_notification_is_a_message_of_its_own),
        cmocka_unit_test(json_without_a_routing_key_is_told_apart),
        cmocka_unit_test(a_bundle_that_begins_like_json_is_a_bundle),
        cmocka_unit_test(what_is_broken_is_said_and_its_neighbours_go_on),
        cmocka_unit_test(broken_entries_of_a_zip_are_said_by_their_number),
        cmocka_unit_test(after_100_broken_parts_the_rest_of_a_piece_is_one),
        cmocka_unit_test(limits_of_decode_hold),
        cmocka_unit_test(a_bundle_may_be_larger_than_the_limit),
        cmocka_unit_test(what_is_read_whole_and_beyond_the_limit_is_named_with_the_key_to_raise),
        cmocka_unit_test(a_line_beyond_the_limit_is_named_and_the_next_come),
        cmocka_unit_test(standard_input_is_bounded_and_may_be_empty),
        cmocka_unit_test(a_closed_pipe_ends_it_quietly),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(a_non_blocking_pipe_is_waited_for),
        cmocka_unit_test(raw_reads_back),
        cmocka_unit_test(leef_is_a_line_an_event),
        cmocka_unit_test(wrong_usage_exits_2_and_says_what_was_meant),
        cmocka_unit_test(help_teaches_by_examples),
    };
    return cmocka_run_group_tests(tests, find_program, NULL);
}
