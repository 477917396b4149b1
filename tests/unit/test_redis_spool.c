/* SPDX-License-Identifier: MIT */
/* The Redis source with a spool_dir: what is read waits on disk while there is no room, what one process
 * leaves the next hands on, and what the disk does not take is accounted for. */
#include "redis_bed.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "captured.h"

static char spool_dir[80];

static int set_up(void **state)
{
    if (setup(state) != 0)
        return 1;
    struct fixture *f = *state;
    snprintf(spool_dir, sizeof spool_dir, "%s-spool", f->dir);
    f->kind = &cbt_source_redis_spool;
    f->config.redis.spool_dir = spool_dir;
    f->config.redis.spool_max_bytes = 1 << 20;
    f->config.redis.spool_segment_bytes = 64 << 10;
    f->config.redis.spool_fsync = "none";
    f->config.redis.frames_max = 1024;
    return 0;
}

static int tear_down(void **state)
{
    int rc = teardown(state);
    DIR *dir = opendir(spool_dir);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(spool_dir);
    return rc;
}

static int feed(struct fixture *f)
{
    return f->kind->feed(f->source, FRAMES_MAX);
}

/* Settles what was pushed, from there to there. */
static void settle(struct fixture *f, size_t from, size_t to)
{
    struct cbt_frame frame = {0}, *done[] = {&frame};
    struct cbt_err err = {0};
    for (size_t i = from; i < to; i++) {
        frame.token = f->receiver.pushed[i].token;
        assert_int_equal(f->kind->settle(f->source, done, 1, &err), 0);
    }
}

static int64_t waiting(const struct fixture *f)
{
    return f->receiver.stats.gauge_spool_messages;
}

static void publish_numbers(struct fixture *f, unsigned from, unsigned to, size_t bytes)
{
    char *body = calloc(1, bytes);
    assert_non_null(body);
    for (unsigned i = from; i < to; i++) {
        memcpy(body, &i, sizeof i);
        publish(f, "ingress.event.filemod", body, bytes);
        read_messages(f, 1);
    }
    free(body);
}

static void assert_number(const struct fixture *f, size_t pushed, unsigned number)
{
    unsigned have;
    memcpy(&have, f->receiver.pushed[pushed].body, sizeof have);
    assert_int_equal(have, number);
}

static void it_says_what_it_guarantees(void **state)
{
    struct fixture *f = *state;
    f->config.redis.spool_dir = "";
    assert_ptr_equal(cbt_source_of(&f->config), &cbt_source_redis);
    f->config.redis.spool_dir = spool_dir;
    assert_ptr_equal(cbt_source_of(&f->config), &cbt_source_redis_spool);
    assert_true(cbt_source_redis_spool.redelivers);
    assert_non_null(strstr(cbt_source_redis_spool.guarantee, "at-least-once from its spool"));
}

static void message_goes_by_way_of_the_spool(void **state)
{
    struct fixture *f = *state;
    connect_source(f);
    publish(f, "ingress.event.procstart", "a\0b\r\n", 5);
    publish(f, "ingress.event.netconn", "", 0);
    read_messages(f, 2);
    assert_int_equal(f->receiver.pushed_count, 0);
    assert_int_equal(counter(f, CBT_COUNT_spool_appended), 2);
    assert_int_equal(waiting(f), 2);
    assert_int_equal(feed(f), 2);
    assert_int_equal(feed(f), 0);
    assert_int_equal(f->receiver.pushed[0].body_len, 5);
    assert_memory_equal(f->receiver.pushed[0].body, "a\0b\r\n", 5);
    assert_string_equal(f->receiver.pushed[0].channel, "ingress.event.procstart");
    assert_int_equal(f->receiver.pushed[1].body_len, 0);
    assert_string_equal(f->receiver.pushed[1].channel, "ingress.event.netconn");
    settle(f, 0, 2);
    assert_int_equal(feed(f), 0);
    assert_int_equal(waiting(f), 0);
    assert_int_equal(counter(f, CBT_COUNT_settled_frames), 2);
    assert_int_equal(counter(f, CBT_COUNT_spool_replayed), 0);
}

static void without_room_it_waits_on_disk_and_reading_goes_on(void **state)
{
    struct fixture *f = *state;
    char *body = pattern_bytes(50000);
    connect_source(f);
    f->receiver.no_room = true;
    publish_numbers(f, 0, 300, 700);
    publish_large(f, "ingress.event.regmod", body, 50000);
    assert_int_equal(feed(f), CBT_ELIMIT);
    assert_int_equal(f->receiver.pushed_count, 0);
    assert_int_equal(waiting(f), 301);
    f->receiver.no_room = false;
    assert_int_equal(feed(f), 301);
    for (unsigned i = 0; i < 300; i++)
        assert_number(f, i, i);
    assert_memory_equal(f->receiver.pushed[300].body, body, 50000);
    assert_int_equal(f->receiver.dropped[CBT_DROPPED_budget], 0);
    free(body);
}

static void a_full_spool_drops_whole_messages_and_counts_them(void **state)
{
    struct fixture *f = *state;
    connect_source(f);
    f->receiver.no_room = true;
    publish_numbers(f, 0, 1200, 1000);
    size_t dropped = f->receiver.dropped[CBT_DROPPED_spool_full];
    assert_in_range(dropped, 150, 300);
    assert_int_equal(f->receiver.dropped_bytes, dropped * 1000);
    assert_int_equal(counter(f, CBT_COUNT_spool_appended), 1200 - dropped);
    assert_true(f->receiver.stats.gauge_spool_bytes <= 1 << 20);
    f->receiver.no_room = false;
    assert_int_equal(feed(f), 1200 - dropped);
    settle(f, 0, 1200 - dropped);
    publish_numbers(f, 5000, 5001, 1000);
    assert_int_equal(feed(f), 1);
    assert_number(f, 1200 - dropped, 5000);
}

static void what_one_process_leaves_the_next_hands_on_first(void **state)
{
    struct fixture *f = *state;
    connect_source(f);
    publish_numbers(f, 0, 20, 100);
    assert_int_equal(feed(f), 20);
    settle(f, 0, 7);
    f->kind->close(f->source);
    f->source = NULL;
    redis_hang_up(&f->redis);
    open_source(f);
    /* Without any connection. */
    assert_int_equal(feed(f), 13);
    for (unsigned i = 0; i < 13; i++)
        assert_number(f, 20 + i, 7 + i);
    assert_int_equal(counter(f, CBT_COUNT_spool_replayed), 13);
    connect_source(f);
    publish_numbers(f, 20, 21, 100);
    assert_int_equal(feed(f), 1);
    assert_int_equal(counter(f, CBT_COUNT_spool_replayed), 13);
}

static void a_message_that_was_cut_off_is_not_in_the_spool(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    size_t len = 0;
    char *body = pattern_bytes(20000);
    char *message = make_message("ingress.event.filemod", body, 20000, &len);
    connect_source(f);
    publish(f, "c", "whole", 5);
    write_all(f->redis.fd, message, 12000);
    redis_hang_up(&f->redis);
    int n = 0;
    while ((n = read_source(f, FRAMES_MAX, &err)) >= 0)
        if (n == 0)
            wait_readable(f);
    f->kind->disconnect(f->source);
    assert_int_equal(feed(f), 1);
    assert_string_equal(f->receiver.pushed[0].body, "whole");
    connect_source(f);
    publish(f, "c", "next", 4);
    read_messages(f, 1);
    assert_int_equal(feed(f), 1);
    assert_string_equal(f->receiver.pushed[1].body, "next");
    free(body);
    free(message);
}

static void above_frame_max_bytes_it_is_a_file_and_takes_its_turn(void **state)
{
    struct fixture *f = *state;
    char *body = pattern_bytes(200000);
    f->receiver.dead_letter_dir = f->dir;
    connect_source(f);
    publish(f, "c", "before", 6);
    read_messages(f, 1);
    publish_large(f, "c", body, 200000);
    publish(f, "c", "after", 5);
    read_messages(f, 1);
    assert_int_equal(feed(f), 3);
    assert_true(f->receiver.pushed[1].spilled);
    assert_int_equal(f->receiver.pushed[1].body_len, 0);
    assert_string_equal(f->receiver.pushed[2].body, "after");
    free(body);
}

/* ---- a disk that takes nothing ---- */

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static unsigned count_of(const char *text, const char *part)
{
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

static void without_the_disk_messages_go_on_and_it_is_told_once(void **state)
{
    struct fixture *f = *state;
    struct captured captured;
    connect_source(f);
    publish_numbers(f, 0, 3, 100);
    assert_int_equal(feed(f), 3);
    FILE *log = tmpfile(); /* before the limit, for standard error is a file now */
    assert_non_null(log);
    fclose(log);
    capture_begin(&captured);
    limit_files(10);
    publish_numbers(f, 3, 40, 100);
    limit_files(RLIM_INFINITY);
    int64_t end_ns = cbt_now_ns() + 1100000000; /* a second of success ends the condition */
    while (cbt_now_ns() < end_ns)
        poll(NULL, 0, 50);
    publish_numbers(f, 40, 41, 100);
    char *text = capture_end(&captured);
    assert_int_equal(feed(f), 1);
    assert_int_equal(f->receiver.pushed_count, 41);
    for (unsigned i = 0; i < 41; i++)
        assert_number(f, i, i);
    uint64_t bypassed = counter(f, CBT_COUNT_spool_bypassed);
    assert_in_range(bypassed, 30, 37);
    assert_int_equal(counter(f, CBT_COUNT_spool_appended), 41 - bypassed);
    assert_int_equal(count_of(text, "the spool's disk takes messages again"), 1);
    settle(f, 0, 41);
    assert_int_equal(feed(f), 0);
    assert_int_equal(waiting(f), 0);
    free(text);
}

static void without_the_disk_nothing_overtakes_what_waits_there(void **state)
{
    struct fixture *f = *state;
    /* There is room for frames; what waits on disk does so because as many are unsettled as may be. */
    f->config.redis.frames_max = 2;
    connect_source(f);
    publish_numbers(f, 0, 3, 100);
    assert_int_equal(feed(f), 2);
    limit_files(10);
    publish_numbers(f, 3, 20, 100);
    limit_files(RLIM_INFINITY);
    assert_int_equal(f->receiver.pushed_count, 2);
    size_t dropped = f->receiver.dropped[CBT_DROPPED_spool_failed];
    assert_in_range(dropped, 10, 17);
    assert_int_equal(counter(f, CBT_COUNT_spool_bypassed), 0);
    publish_numbers(f, 20, 21, 100);
    for (size_t settled = 0; settled < 21 - dropped; settled++) {
        settle(f, settled, settled + 1);
        (void)feed(f);
    }
    assert_int_equal(f->receiver.pushed_count, 21 - dropped);
    for (unsigned i = 0; i < 20 - dropped; i++)
        assert_number(f, i, i);
    assert_number(f, 20 - dropped, 20);
}

static void a_directory_that_cannot_be_used_is_a_fault_of_the_configuration(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    void *second = NULL;
    open_source(f);
    /* `check` may look while the daemon runs: opening alone touches nothing. */
    assert_int_equal(f->kind->open(&second, &f->config, &f->receiver, &err), 0);
    assert_int_equal(f->kind->start(second, &err), CBT_EINVAL);
    assert_non_null(strstr(err.text, "in use"));
    f->config.redis.spool_dir = "/dev/null";
    assert_int_equal(f->kind->start(second, &err), CBT_EINVAL);
    assert_non_null(strstr(err.text, "spool_dir = /dev/null"));
    f->kind->close(second);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(it_says_what_it_guarantees),
        CASE(message_goes_by_way_of_the_spool),
        CASE(without_room_it_waits_on_disk_and_reading_goes_on),
        CASE(a_full_spool_drops_whole_messages_and_counts_them),
        CASE(what_one_process_leaves_the_next_hands_on_first),
        CASE(a_message_that_was_cut_off_is_not_in_the_spool),
        CASE(above_frame_max_bytes_it_is_a_file_and_takes_its_turn),
        CASE(without_the_disk_messages_go_on_and_it_is_told_once),
        CASE(without_the_disk_nothing_overtakes_what_waits_there),
        CASE(a_directory_that_cannot_be_used_is_a_fault_of_the_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
