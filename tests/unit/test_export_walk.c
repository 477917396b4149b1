/* SPDX-License-Identifier: MIT */
/* What export makes of paths: folders, their order, patterns, what is in the way; its filters; where it
 * writes. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>
#include <libdeflate.h>

#include "config_file.h"
#include "pb_build.h"
#include "program.h"

#define FILETIME_1970  116444736000000000
#define TICKS_A_SECOND 10000000

/* A folder for the test, and where it is. */
struct tree {
    char path[64];
};

static void tree_make(struct tree *tree)
{
    snprintf(tree->path, sizeof tree->path, "/tmp/cbtap-export-XXXXXX");
    assert_non_null(mkdtemp(tree->path));
}

static void tree_remove(const struct tree *tree)
{
    char command[256];
    assert_memory_equal(tree->path, "/tmp/cbtap-export-", 18);
    snprintf(command, sizeof command, "chmod -R u+rwx %s && rm -r %s", tree->path, tree->path);
    assert_int_equal(system(command), 0);
}

/* The path of `name` in the tree; the next eight calls leave it alone. */
static const char *in(const struct tree *tree, const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, 256, "%s/%s", tree->path, name);
    return path;
}

static void make_folder(const struct tree *tree, const char *name)
{
    assert_int_equal(mkdir(in(tree, name), 0700), 0);
}

static void write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

/* A bundle of one event of that second, as old as `age` says. */
static void make_log(const struct tree *tree, const char *name, int64_t second, int64_t age)
{
    struct pb bundle = {0}, record = {0};
    pb_header(&record, FILETIME_1970 + second * TICKS_A_SECOND);
    pb_record(&bundle, pb_text(&record));
    write_file(in(tree, name), bundle.data, bundle.len);
    pb_free(&record);
    pb_free(&bundle);
    struct timespec times[2] = {{.tv_sec = 1700000000 - age}, {.tv_sec = 1700000000 - age}};
    assert_int_equal(utimensat(AT_FDCWD, in(tree, name), times, 0), 0);
}

static char *read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    char *text = contents(fd);
    close(fd);
    return text;
}

/* The seconds of the events, as "3 1 2". */
static const char *seconds_of(const char *text)
{
    static char seconds[4096];
    size_t len = 0;
    seconds[0] = '\0';
    for (const char *at = text; (at = strstr(at, "\"timestamp\":")) != NULL; at++)
        len += (size_t)snprintf(seconds + len, sizeof seconds - len, "%s%ld", len > 0 ? " " : "",
                                strtol(at + 12, NULL, 10));
    return seconds;
}

static void expect_events(const struct program *p, const char *seconds)
{
    if (strcmp(seconds_of(p->out), seconds) != 0)
        fail_msg("\"%s\" instead of \"%s\"; %s", seconds_of(p->out), seconds, p->err);
}

/* ---- folders ---- */

static void folders_are_walked_oldest_files_first(void **state)
{
    (void)state;
    struct tree tree;
    struct program p;
    tree_make(&tree);
    make_folder(&tree, "7");
    make_folder(&tree, "7/deeper");
    make_folder(&tree, "empty");
    make_log(&tree, "7/b.log", 1, 300);
    make_log(&tree, "7/a.log", 2, 200);
    make_log(&tree, "7/z same time", 4, 100);
    make_log(&tree, "7/c same\ntime", 3, 100);
    make_log(&tree, "7/deeper/x.log", 5, 1000);
    RUN(&p, "export", "--jobs", "1", tree.path);
    expect_exit(&p, 0);
    expect_events(&p, "1 2 3 4 5");
    expect_text(p.err, "info exported files=5 unreadable=0 events=5 ");
    release(&p);
    tree_remove(&tree);
}

static void the_folder_names_the_sensor_of_records_that_do_not(void **state)
{
    (void)state;
    struct tree tree;
    struct program p;
    tree_make(&tree);
    make_folder(&tree, "41");
    make_folder(&tree, "99999999999");
    make_log(&tree, "41/a", 1, 1);
    make_log(&tree, "99999999999/a", 1, 1);
    RUN(&p, "export", in(&tree, "41"));
    expect_text(p.out, "\"sensor_id\":41,");
    release(&p);
    RUN(&p, "export", in(&tree, "41/a"));
    expect_text(p.out, "\"sensor_id\":41,");
    release(&p);
    RUN(&p, "export", "--header", "sensorId=7", in(&tree, "41"));
    expect_text(p.out, "\"sensor_id\":7,");
    release(&p);
    RUN(&p, "export", in(&tree, "99999999999"));
    expect_text(p.out, "\"sensor_id\":0,");
    release(&p);
    tree_remove(&tree);
}

static void the_working_folder_names_the_sensor_too(void **state)
{
    (void)state;
    static const struct {
        const char *path, *expected;
    } rows[] = {
        {".", "\"sensor_id\":41,"},      {"./", "\"sensor_id\":41,"},   {"a", "\"sensor_id\":41,"},
        {"./a", "\"sensor_id\":41,"},    {"b/..", "\"sensor_id\":41,"}, {"./b/.././a", "\"sensor_id\":41,"},
        {"../41/", "\"sensor_id\":41,"}, {"../7", "\"sensor_id\":7,"},  {"-", "\"sensor_id\":0,"},
    };
    struct tree tree;
    struct program p;
    tree_make(&tree);
    make_folder(&tree, "41");
    make_folder(&tree, "41/b");
    make_folder(&tree, "7");
    make_log(&tree, "41/a", 1, 1);
    make_log(&tree, "7/a", 1, 1);
    int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), in_fd;
    assert_true(before >= 0);
    assert_int_equal(chdir(in(&tree, "41")), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true((in_fd = open("a", O_RDONLY | O_CLOEXEC)) >= 0);
        start_between(&p, (const char *const[]){"export", rows[i].path, NULL}, in_fd, -1);
        close(in_fd);
        finish(&p);
        expect_exit(&p, 0);
        expect_text(p.out, rows[i].expected);
        release(&p);
    }
    assert_int_equal(fchdir(before), 0);
    close(before);
    tree_remove(&tree);
}

/* Each folder's events are in order however many jobs there are, and each event is there once and whole. */
static void jobs_keep_the_order_within_a_folder(void **state)
{
    (void)state;
    struct tree tree;
    struct program p;
    char name[32];
    tree_make(&tree);
    for (int folder = 1; folder <= 20; folder++) {
        snprintf(name, sizeof name, "%d", folder);
        make_folder(&tree, name);
        for (int file = 0; file < 20; file++) {
            snprintf(name, sizeof name, "%d/%d", folder, file);
            make_log(&tree, name, 100 * folder + file, 100 - file);
        }
    }
    RUN(&p, "export", "--jobs", "8", tree.path);
    expect_exit(&p, 0);
    int next[21] = {0}, count = 0;
    for (const char *line = p.out; *line; line = strchr(line, '\n') + 1, count++) {
        long second = strtol(strstr(line, "\"timestamp\":") + 12, NULL, 10);
        long sensor_id = strtol(strstr(line, "\"sensor_id\":") + 12, NULL, 10);
        assert_int_equal(sensor_id, second / 100);
        assert_int_equal(second % 100, next[sensor_id]++);
        assert_int_equal(line[0], '{');
    }
    assert_int_equal(count, 400);
    release(&p);
    tree_remove(&tree);
}

static void named_files_of_a_folder_stay_in_order_wherever_they_stand(void **state)
{
    (void)state;
    struct tree tree;
    struct program p;
    tree_make(&tree);
    make_folder(&tree, "7");
    make_folder(&tree, "8");
    make_log(&tree, "7/a", 1, 1);
    make_log(&tree, "8/a", 3, 1);
    make_log(&tree, "7/b", 2, 2);
    RUN(&p, "export", "--jobs", "1", in(&tree, "7/a"), in(&tree, "8/a"), in(&tree, "7/b"));
    expect_events(&p, "1 2 3");
    release(&p);
    tree_remove(&tree);
}

static void patterns_are_taken_where_no_file_has_such_a_name(void **state)
{
    (void)state;
    struct tree tree;
    struct program p;
    tree_make(&tree);
    make_log(&tree, "a1", 1, 1);
    make_log(&tree, "a2", 2, 1);
    make_log(&tree, "b?", 3, 1);
    make_log(&tree, "b1", 4, 1);
    RUN(&p, "export", in(&tree, "a*"), in(&tree, "b?"));
    expect_exit(&p, 0);
    expect_events(&p, "1 2 3");
    release(&p);
    RUN(&p, "export", in(&tree, "c*"));
    expect_exit(&p, 1);
    expect_text(p.err, "reason=\"no file matches\"");
    release(&p);
    tree_remove(&tree);
}

static void what_is_in_the_way_is_told_and_passed_by(void **state)
{
    (void)state;
    struct tree tree;
    struct program p;
    tree_make(&tree);
    make_folder(&tree, "1");
    make_log(&tree, "1/a", 1, 1);
    make_log(&tree, "2", 2, 1);
    assert_int_equal(symlink("..", in(&tree, "1/loop")), 0);
    assert_int_equal(symlink("../2", in(&tree, "1/link")), 0);
    assert_int_equal(mkfifo(in(&tree, "1/pipe"), 0600), 0);
    RUN(&p, "export", "--jobs", "1", tree.path);
    expect_exit(&p, 0);
    expect_events(&p, "2 1");
    expect_text(p.err, " symbolic_links=2 others=1\n");
    release(&p);
    /* What is named is followed. */
    RUN(&p, "export", in(&tree, "1/link"));
    expect_events(&p, "2");
    release(&p);
    write_file(in(&tree, "1/empty"), "", 0);
    RUN(&p, "export", tree.path);
    expect_exit(&p, 1);
    expect_text(p.err, "1/empty entry=0 record=0 offset=0 reason=empty");
    release(&p);
    tree_remove(&tree);
}

/* ---- gz ---- */

static struct pb gz_of(const void *data, size_t len)
{
    struct pb gz = {0};
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(6);
    size_t room = libdeflate_gzip_compress_bound(compressor, len);
    uint8_t *out = malloc(room);
    assert_non_null(out);
    pb_raw(&gz, out, libdeflate_gzip_compress(compressor, data, len, out, room));
    libdeflate_free_compressor(compressor);
    free(out);
    return gz;
}

static void gz_files_are_inflated_up_to_the_limit(void **state)
{
    (void)state;
    struct tree tree;
    struct program p;
    tree_make(&tree);
    make_log(&tree, "plain", 5, 1);
    char *plain = read_file(in(&tree, "plain"));
    struct stat info;
    assert_int_equal(stat(in(&tree, "plain"), &info), 0);
    struct pb gz = gz_of(plain, (size_t)info.st_size), two = {0};
    /* Members one behind the other are one file. */
    pb_raw(&two, gz.data, gz.len);
    pb_raw(&two, gz.data, gz.len);
    write_file(in(&tree, "two"), two.data, two.len);
    RUN(&p, "export", in(&tree, "two"));
    expect_exit(&p, 0);
    expect_events(&p, "5 5");
    release(&p);
    write_file(in(&tree, "two"), two.data, two.len - 1);
    RUN(&p, "export", "--remove", in(&tree, "two"));
    expect_exit(&p, 1);
    expect_events(&p, "5 5");
    expect_text(p.err, "reason=\"the gz file is broken at byte ");
    expect_text(p.err, " unreadable=1 events=2 ");
    assert_int_equal(access(in(&tree, "two"), F_OK), 0);
    release(&p);
    uint8_t *zeros = calloc(1, 5000000);
    struct pb bomb = gz_of(zeros, 5000000);
    write_file(in(&tree, "bomb"), bomb.data, bomb.len);
    RUN(&p, "export", "-s", "cbtap.frame_max_bytes=1000000", in(&tree, "bomb"));
    expect_exit(&p, 1);
    expect_text(p.err, "reason=\"more than 1000000 bytes: ");
    release(&p);
    free(zeros);
    free(plain);
    pb_free(&bomb);
    pb_free(&gz);
    pb_free(&two);
    tree_remove(&tree);
}

/* ---- filters ---- */

static void events_are_filtered_by_type_host_and_time(void **state)
{
    (void)state;
    struct tree tree;
    struct program p;
    char since[32];
    tree_make(&tree);
    time_t now = time(NULL);
    make_log(&tree, "1", 1000, 3);
    make_log(&tree, "2", 2000, 2);
    make_log(&tree, "3", now - 60, 1);
    RUN(&p, "export", "--since", "1970-01-01T00:16:41Z", "--until", "1970-01-02", tree.path);
    expect_events(&p, "2000");
    expect_text(p.err, " events=1 dead_letters=0 filtered=2\n");
    release(&p);
    RUN(&p, "export", "--until", "1970-01-01T00:33:20Z", tree.path);
    expect_events(&p, "1000");
    release(&p);
    snprintf(since, sizeof since, "%lld", (long long)now - 60);
    RUN(&p, "export", "--since", "-2h", tree.path);
    expect_events(&p, since);
    release(&p);
    RUN(&p, "export", "--type", "net*", tree.path);
    expect_events(&p, "");
    release(&p);
    RUN(&p, "export", "--header", "sensorHostName=DC-7", "--host", "dc-*", in(&tree, "1"));
    expect_events(&p, "1000");
    release(&p);
    RUN(&p, "export", "--header", "sensorHostName=web-7", "--host", "dc-*", in(&tree, "1"));
    expect_exit(&p, 0);
    expect_events(&p, "");
    release(&p);
    tree_remove(&tree);
}

static void wrong_values_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value, *expected;
    } rows[] = {
        {"--since", "yesterday", "option=--since reason=\"is a time"},
        {"--until", "1h30", "option=--until reason=\"is a time"},
        {"--jobs", "0", "option=--jobs reason=\"is a number from 1 to 256\""},
        {"--jobs", "many", "option=--jobs reason=\"is a number from 1 to 256\""},
        {"--type", "netcon", "'netcon' is no event type"},
    };
    struct program p;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        RUN(&p, "export", rows[i].option, rows[i].value, "/nonexistent/file");
        expect_exit(&p, 2);
        expect_text(p.err, rows[i].expected);
        release(&p);
    }
    RUN(&p, "export", "--since", "-1h", "--until", "-2h", "/nonexistent/file");
    expect_exit(&p, 2);
    expect_text(p.err, "is not later than --since");
    release(&p);
}

/* ---- files out ---- */

static void a_file_has_its_name_only_when_it_is_whole(void **state)
{
    (void)state;
    struct tree tree;
    struct program p;
    tree_make(&tree);
    make_log(&tree, "log", 3, 1);
    RUN(&p, "export", "--to", in(&tree, "out"), in(&tree, "log"));
    expect_exit(&p, 0);
    assert_string_equal(p.out, "");
    char *out = read_file(in(&tree, "out"));
    assert_string_equal(seconds_of(out), "3");
    free(out);
    release(&p);
    RUN(&p, "export", "--to", in(&tree, "nowhere/out"), in(&tree, "log"));
    expect_exit(&p, 1);
    expect_text(p.err, "cannot create ");
    release(&p);
    /* A link leads to what is replaced; a device is written to. */
    assert_int_equal(symlink("out", in(&tree, "link")), 0);
    RUN(&p, "export", "--to", in(&tree, "link"), in(&tree, "log"));
    expect_exit(&p, 0);
    release(&p);
    struct stat info;
    assert_int_equal(lstat(in(&tree, "link"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(symlink("/dev/full", in(&tree, "full")), 0);
    RUN(&p, "export", "--to", in(&tree, "full"), in(&tree, "log"));
    expect_exit(&p, 1);
    expect_text(p.err, "error cannot write file=");
    release(&p);
    assert_int_equal(lstat("/dev/full", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
    RUN(&p, "export", "--to", tree.path, in(&tree, "log"));
    expect_exit(&p, 1);
    expect_text(p.err, "cannot write to ");
    release(&p);
    /* Ended before its end: what was there stays, and nothing else. */
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    start_between(&p, (const char *const[]){"export", "--to", in(&tree, "out"), "-", NULL}, ends[0], -1);
    char pattern[128];
    snprintf(pattern, sizeof pattern, "ls %s/out.part-* >/dev/null 2>&1", tree.path);
    for (int i = 0; i < 2000 && system(pattern) != 0; i++)
        poll(NULL, 0, 5);
    kill(p.pid, SIGTERM);
    finish(&p);
    assert_true(WIFSIGNALED(p.status));
    release(&p);
    close(ends[0]);
    close(ends[1]);
    assert_int_not_equal(system(pattern), 0);
    out = read_file(in(&tree, "out"));
    assert_string_equal(seconds_of(out), "3");
    free(out);
    tree_remove(&tree);
}

static bool is_there(const struct tree *tree, const char *name)
{
    return access(in(tree, name), F_OK) == 0;
}

static void only_what_is_written_whole_is_removed(void **state)
{
    (void)state;
    struct tree tree;
    struct program p;
    tree_make(&tree);
    make_folder(&tree, "7");
    make_log(&tree, "7/good", 1, 2);
    make_log(&tree, "7/broken", 2, 1);
    int fd = open(in(&tree, "7/broken"), O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, "torn", 4), 4);
    close(fd);
    write_file(in(&tree, "7/json"), "{\"a\":1}", 7);
    /* Nothing where the output fails. */
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    start_between(&p, (const char *const[]){"export", "--remove", tree.path, NULL}, -1, full);
    finish(&p);
    close(full);
    expect_exit(&p, 1);
    release(&p);
    assert_true(is_there(&tree, "7/good"));
    RUN(&p, "export", "--remove", "--to", in(&tree, "nowhere/out"), tree.path);
    expect_exit(&p, 1);
    release(&p);
    assert_true(is_there(&tree, "7/good"));

    RUN(&p, "export", "--remove", tree.path);
    expect_exit(&p, 1);
    expect_text(p.err, "info removed files=1 kept=0\n");
    assert_int_equal(strlen(seconds_of(p.out)), 3);
    release(&p);
    assert_false(is_there(&tree, "7/good"));
    assert_true(is_there(&tree, "7/broken"));
    assert_true(is_there(&tree, "7/json"));

    make_log(&tree, "7/good", 1, 2);
    RUN(&p, "export", "--remove", "--to", in(&tree, "out"), in(&tree, "7"));
    expect_exit(&p, 1);
    assert_false(is_there(&tree, "7/good"));
    assert_true(is_there(&tree, "7/broken"));
    char *out = read_file(in(&tree, "out"));
    assert_int_equal(strlen(seconds_of(out)), 3);
    free(out);
    release(&p);
    tree_remove(&tree);
}

static void what_would_lose_events_is_refused(void **state)
{
    (void)state;
    static const char *const filters[][2] = {
        {"--type", "netconn"}, {"--host", "a"}, {"--since", "2h"}, {"--until", "2h"}};
    struct program p;
    for (size_t i = 0; i < 4; i++) {
        RUN(&p, "export", "--remove", filters[i][0], filters[i][1], "/nonexistent/file");
        expect_exit(&p, 2);
        expect_text(p.err, "option=--remove reason=\"would remove what");
        release(&p);
    }
}

/* ---- formats for people ---- */

static void csv_has_its_names_first_and_once(void **state)
{
    (void)state;
    struct tree tree;
    struct program p;
    tree_make(&tree);
    make_folder(&tree, "7");
    make_folder(&tree, "8");
    make_log(&tree, "7/a", 1, 1);
    make_log(&tree, "8/a", 1, 1);
    RUN(&p, "export", "--format", "csv", "--fields", "timestamp,type", "--jobs", "2", tree.path);
    expect_exit(&p, 0);
    assert_string_equal(p.out, "timestamp,type\r\n1,ingress.event.unknown\r\n1,ingress.event.unknown\r\n");
    release(&p);
    RUN(&p, "export", "--format", "table", "--fields", "timestamp", in(&tree, "7"));
    expect_exit(&p, 0);
    expect_text(p.out, "timestamp\n");
    assert_null(strchr(p.out, '\033'));
    release(&p);
    RUN(&p, "export", "--format", "csv", "--to", "kafka:t", in(&tree, "7"));
    expect_exit(&p, 2);
    expect_text(p.err, "csv");
    release(&p);
    tree_remove(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_are_walked_oldest_files_first),
        cmocka_unit_test(the_folder_names_the_sensor_of_records_that_do_not),
        cmocka_unit_test(the_working_folder_names_the_sensor_too),
        cmocka_unit_test(jobs_keep_the_order_within_a_folder),
        cmocka_unit_test(named_files_of_a_folder_stay_in_order_wherever_they_stand),
        cmocka_unit_test(patterns_are_taken_where_no_file_has_such_a_name),
        cmocka_unit_test(what_is_in_the_way_is_told_and_passed_by),
        cmocka_unit_test(gz_files_are_inflated_up_to_the_limit),
        cmocka_unit_test(events_are_filtered_by_type_host_and_time),
        cmocka_unit_test(wrong_values_are_told),
        cmocka_unit_test(only_what_is_written_whole_is_removed),
        cmocka_unit_test(what_would_lose_events_is_refused),
        cmocka_unit_test(csv_has_its_names_first_and_once),
        cmocka_unit_test(a_file_has_its_name_only_when_it_is_whole),
    };
    return cmocka_run_group_tests(tests, find_program, NULL);
}
