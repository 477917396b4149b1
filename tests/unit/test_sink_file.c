/* SPDX-License-Identifier: MIT */
/* The file sink against a real file system: settlement, full disks, rotation, compression, torn lines. */
#include "writer_bed.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "sink/file.h"

static struct bed *new_bed(const char *fsync)
{
    struct bed *bed = bed_new("file");
    bed->config.file = (struct cbt_options_file){.type = "file",
                                                 .path = bed->path,
                                                 .format = "json",
                                                 .json_profile = "documented",
                                                 .dead_letter_dir = bed->dead,
                                                 .queue_records = 65536,
                                                 .fsync = fsync,
                                                 .fsync_interval_ms = 20,
                                                 .mode = "0640"};
    return bed;
}

static void writes_in_order_and_settles(void **state)
{
    (void)state;
    static const char *const modes[] = {"none", "interval", "always"};
    for (size_t m = 0; m < 3; m++) {
        struct bed_frame *frames[20];
        struct bed_found found = {0};
        struct stat st;
        struct bed *bed = new_bed(modes[m]);
        bed_open(bed);
        for (unsigned i = 0; i < 20; i++) {
            frames[i] = bed_frame_new(100, (int)(i % 2), i / 2 * 100, 50 + i);
            bed_submit(bed, frames[i]);
        }
        bed_await_settled(bed, 20);
        bed_judge_file(&found, bed->path);
        assert_int_equal(found.records, 2000);
        assert_int_equal(found.duplicates + found.broken, 0);
        assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), 2000);
        assert_int_equal(bed_counter(bed, CBT_COUNT_settled_records), 2000);
        assert_int_equal(stat(bed->path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        assert_true(bed_ready(bed));
        assert_int_equal(bed->sink->drain(bed->self, BED_WAIT_MS, NULL), 0);
        bed_free(bed);
        for (unsigned i = 0; i < 20; i++)
            bed_frame_free(frames[i]);
    }
}

/* With an interval that never ends nothing may be settled, and what is not settled leaves the file with the
 * sink. */
static void interval_settles_nothing_before_the_sync(void **state)
{
    (void)state;
    struct bed *bed = new_bed("interval");
    struct stat st = {0};
    bed->config.file.fsync_interval_ms = 3600000;
    struct bed_frame *frame = bed_frame_new(10, 0, 0, 100);
    bed_open(bed);
    bed_submit(bed, frame);
    BED_AWAIT(stat(bed->path, &st) == 0 && st.st_size == 10 * 101);
    assert_int_equal(bed->sink->drain(bed->self, 100, NULL), CBT_ELIMIT);
    assert_true(bed_nothing_settled(bed));
    bed_close(bed);
    assert_true(bed_nothing_settled(bed));
    assert_int_equal(stat(bed->path, &st), 0);
    assert_int_equal(st.st_size, 0);
    bed_free(bed);
    bed_frame_free(frame);
}

/* All that may be in flight is: nothing more comes before something is settled. */
static void who_waits_for_the_sync_need_not_wait_for_the_interval(void **state)
{
    (void)state;
    struct bed *bed = new_bed("interval");
    bed->config.file.fsync_interval_ms = 10000;
    struct bed_frame *frame = bed_frame_new(10, 0, 0, 100);
    bed_open(bed);
    int64_t begun_ns = cbt_now_ns();
    bed_submit(bed, frame);
    bed_await_settled(bed, 1);
    assert_in_range((cbt_now_ns() - begun_ns) / 1000000, 1000, 8000);
    bed_free(bed);
    bed_frame_free(frame);
}

static void a_device_has_what_was_written(void **state)
{
    (void)state;
    struct bed *bed = new_bed("interval");
    bed->config.file.path = "/dev/null";
    bed->config.file.fsync_interval_ms = 3600000;
    struct bed_frame *frame = bed_frame_new(10, 0, 0, 100);
    bed_open(bed);
    bed_submit(bed, frame);
    bed_await_settled(bed, 1);
    bed_free(bed);
    bed_frame_free(frame);
}

/* RLIMIT_FSIZE is a disk that is full: what fits is there, whole; the rest comes when there is room. */
static void a_full_disk_is_waited_for(void **state)
{
    (void)state;
    struct rlimit old, small = {.rlim_cur = 10050, .rlim_max = RLIM_INFINITY};
    struct bed_found found = {0};
    struct bed *bed = new_bed("none");
    struct bed_frame *frame = bed_frame_new(300, 3, 0, 100);
    char reason[512] = "";
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bed_open(bed);
    bed_submit(bed, frame);
    BED_AWAIT(!bed->sink->ready(bed->self, reason, sizeof(reason)) &&
              strstr(reason, "File too large") != NULL);
    bed_judge_file(&found, bed->path);
    assert_true(found.records < 100);
    assert_true(bed_nothing_settled(bed));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    bed_await_settled(bed, 1);
    found = (struct bed_found){0};
    bed_judge_file(&found, bed->path);
    assert_int_equal(found.records, 300);
    assert_int_equal(found.duplicates + found.broken, 0);
    BED_AWAIT(bed_ready(bed));
    bed_free(bed);
    bed_frame_free(frame);
}

static size_t judge_closed(struct bed_found *found, const struct bed *bed, const char *end)
{
    struct dirent **names;
    char path[512];
    size_t count = 0;
    int n = scandir(bed->dir, &names, NULL, alphasort);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        size_t len = strlen(names[i]->d_name), end_len = strlen(end);
        if (strncmp(names[i]->d_name, "out.", 4) == 0 && strcmp(names[i]->d_name + len - end_len, end) == 0) {
            snprintf(path, sizeof(path), "%s/%s", bed->dir, names[i]->d_name);
            if (found != NULL)
                bed_judge_file(found, path);
            count++;
        }
        free(names[i]);
    }
    free(names);
    return count;
}

static void rotates_by_size(void **state)
{
    (void)state;
    struct bed *bed = new_bed("interval");
    struct bed_frame *frames[20];
    struct bed_found found = {0};
    bed->config.file.rotate_bytes = 5000;
    bed_open(bed);
    for (unsigned i = 0; i < 20; i++) {
        frames[i] = bed_frame_new(100, 1, i * 100, 99);
        bed_submit(bed, frames[i]);
        bed_await_settled(bed, i + 1);
    }
    assert_true(judge_closed(&found, bed, "Z") >= 19);
    bed_judge_file(&found, bed->path);
    assert_int_equal(found.records, 2000);
    assert_int_equal(found.duplicates + found.broken, 0);
    bed_free(bed);
    for (unsigned i = 0; i < 20; i++)
        bed_frame_free(frames[i]);
}

static void rotates_by_time_and_leaves_an_empty_file_alone(void **state)
{
    (void)state;
    struct bed *bed = new_bed("none");
    struct bed_frame *frame = bed_frame_new(5, 1, 0, 99);
    struct bed_found found = {0};
    struct stat st = {.st_size = -1};
    bed->config.file.rotate_ms = 1;
    bed_open(bed);
    bed_submit(bed, frame);
    bed_await_settled(bed, 1);
    BED_AWAIT(judge_closed(NULL, bed, "Z") == 1 && stat(bed->path, &st) == 0 && st.st_size == 0);
    judge_closed(&found, bed, "Z");
    assert_int_equal(found.records, 5);
    bed_free(bed);
    bed_frame_free(frame);
}

static int run(const char *command)
{
    int status = system(command); /* NOLINT(cert-env33-c): names made here */
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void closed_files_are_compressed(void **state)
{
    (void)state;
    struct bed *bed = new_bed("none");
    struct bed_frame *frames[8];
    char command[512];
    struct bed_found found = {0};
    bed->config.file.rotate_bytes = 1;
    bed->config.file.gzip = true;
    bed_open(bed);
    /* Two of more than a chunk, so that there are several members. */
    for (unsigned i = 0; i < 8; i++) {
        frames[i] = bed_frame_new(100, 1, i * 100, i < 2 ? 30000 : 100);
        bed_submit(bed, frames[i]);
        bed_await_settled(bed, i + 1);
    }
    BED_AWAIT(judge_closed(NULL, bed, "Z") == 0 && judge_closed(NULL, bed, ".part") == 0 &&
              judge_closed(NULL, bed, "Z.gz") >= 7);
    bed_close(bed);
    snprintf(command, sizeof(command), "gzip -t %s/*.gz && gzip -dc %s/*Z.gz > %s/all", bed->dir, bed->dir,
             bed->dir);
    assert_int_equal(run(command), 0);
    snprintf(command, sizeof(command), "%s/all", bed->dir);
    bed_judge_file(&found, command);
    bed_judge_file(&found, bed->path);
    assert_int_equal(found.records, 800);
    bed_free(bed);
    for (unsigned i = 0; i < 8; i++)
        bed_frame_free(frames[i]);
}

/* What logrotate does: mv, then SIGHUP. */
static void a_reload_begins_another_file_where_it_was_moved(void **state)
{
    (void)state;
    struct bed *bed = new_bed("always");
    struct bed_frame *one = bed_frame_new(50, 2, 0, 80), *two = bed_frame_new(50, 2, 50, 80);
    struct bed_found found = {0};
    char moved[128];
    struct stat before, after;
    snprintf(moved, sizeof(moved), "%s.1", bed->path);
    bed_open(bed);
    bed_submit(bed, one);
    bed_await_settled(bed, 1);
    assert_int_equal(stat(bed->path, &before), 0);
    bed->sink->reload(bed->self); /* of no effect: it is where it was */
    assert_int_equal(rename(bed->path, moved), 0);
    bed->sink->reload(bed->self);
    BED_AWAIT(stat(bed->path, &after) == 0);
    assert_true(after.st_ino != before.st_ino);
    bed_submit(bed, two);
    bed_await_settled(bed, 2);
    bed_judge_file(&found, moved);
    assert_int_equal(found.records, 50);
    bed_judge_file(&found, bed->path);
    assert_int_equal(found.records, 100);
    bed_free(bed);
    bed_frame_free(one);
    bed_frame_free(two);
}

static void half_a_line_is_cut_off_at_the_start(void **state)
{
    (void)state;
    struct bed *bed = new_bed("none");
    struct bed_frame *frame = bed_frame_new(1, 0, 1, 40);
    struct bed_found found = {0};
    FILE *file = fopen(bed->path, "w");
    fputs("0 0 ......\n0 1 ...", file);
    for (int i = 0; i < 200000; i++)
        fputc('.', file);
    fclose(file);
    bed_open(bed);
    bed_submit(bed, frame);
    bed_await_settled(bed, 1);
    bed_judge_file(&found, bed->path);
    assert_int_equal(found.records, 2);
    assert_int_equal(found.duplicates + found.broken, 0);
    bed_free(bed);
    bed_frame_free(frame);
}

static void a_file_of_another_process_is_left_alone(void **state)
{
    (void)state;
    struct bed *bed = new_bed("none");
    struct bed_frame *frame = bed_frame_new(1, 0, 0, 40);
    char reason[512] = "";
    int fd = open(bed->path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    bed_open(bed);
    bed_submit(bed, frame);
    BED_AWAIT(!bed->sink->ready(bed->self, reason, sizeof(reason)) &&
              strstr(reason, "another process") != NULL);
    close(fd);
    bed_await_settled(bed, 1);
    bed_free(bed);
    bed_frame_free(frame);
}

struct holder {
    struct bed *bed;
    int fd;
};

/* Lets go of the file when a worker waits. */
static void *hold(void *arg)
{
    struct holder *holder = arg;
    struct writer *w = holder->bed->self;
    while (atomic_load(&w->queue_full) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    close(holder->fd);
    return NULL;
}

static void a_full_queue_makes_submit_wait(void **state)
{
    (void)state;
    struct bed *bed = new_bed("none");
    struct bed_frame *one = bed_frame_new(1024, 0, 0, 40), *two = bed_frame_new(1024, 0, 1024, 40);
    struct holder holder = {bed, open(bed->path, O_WRONLY | O_CREAT, 0600)};
    pthread_t thread;
    assert_int_equal(flock(holder.fd, LOCK_EX), 0);
    bed->config.file.queue_records = 1024;
    bed_open(bed);
    assert_int_equal(pthread_create(&thread, NULL, hold, &holder), 0);
    bed_submit(bed, one);
    bed_submit(bed, two);
    pthread_join(thread, NULL);
    bed_await_settled(bed, 2);
    BED_AWAIT(bed_counter(bed, CBT_COUNT_queue_full) == 1);
    bed_free(bed);
    bed_frame_free(one);
    bed_frame_free(two);
}

static void dead_letters_go_to_the_directory(void **state)
{
    (void)state;
    static const struct cbt_dead_letter dead = {.reason = CBT_DEAD_malformed, .detail = "broken"};
    struct bed *bed = new_bed("none");
    struct bed_frame *frame = bed_frame_new(3, 0, 0, 40);
    frame->records[1].dead = &dead;
    frame->records[2].dead = &dead;
    bed_open(bed);
    bed_submit(bed, frame);
    bed_await_settled(bed, 1);
    assert_int_equal(bed_counter(bed, CBT_COUNT_stored_dead_letters), 2);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), 1);
    bed_free(bed);
    bed_frame_free(frame);
}

static void closed_names_are_known(void **state)
{
    (void)state;
    assert_true(file_is_closed_name("out", "out.20260131T235959.123Z"));
    assert_false(file_is_closed_name("out", "out.20260131T235959.123Z.gz"));
    assert_false(file_is_closed_name("out", "out.20260131T235959.12xZ"));
    assert_false(file_is_closed_name("out", "our.20260131T235959.123Z"));
    assert_false(file_is_closed_name("out", "out"));
}

static void raw_and_wrong_modes_are_refused(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    struct bed *bed = new_bed("none");
    bed->config.format = "raw";
    assert_int_equal(bed->sink->check(&bed->config, &bed->options, &err), CBT_EINVAL);
    assert_non_null(strstr(err.text, "line feeds"));
    bed->config.format = "json";
    bed->config.file.mode = "0777";
    assert_int_equal(bed->sink->check(&bed->config, &bed->options, &err), CBT_EINVAL);
    bed->config.file.mode = "0600";
    bed->config.file.path = "";
    assert_int_equal(bed->sink->check(&bed->config, &bed->options, &err), CBT_EINVAL);
    bed_free(bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_in_order_and_settles),
        cmocka_unit_test(interval_settles_nothing_before_the_sync),
        cmocka_unit_test(who_waits_for_the_sync_need_not_wait_for_the_interval),
        cmocka_unit_test(a_device_has_what_was_written),
        cmocka_unit_test(a_full_disk_is_waited_for),
        cmocka_unit_test(rotates_by_size),
        cmocka_unit_test(rotates_by_time_and_leaves_an_empty_file_alone),
        cmocka_unit_test(closed_files_are_compressed),
        cmocka_unit_test(a_reload_begins_another_file_where_it_was_moved),
        cmocka_unit_test(half_a_line_is_cut_off_at_the_start),
        cmocka_unit_test(a_file_of_another_process_is_left_alone),
        cmocka_unit_test(a_full_queue_makes_submit_wait),
        cmocka_unit_test(dead_letters_go_to_the_directory),
        cmocka_unit_test(closed_names_are_known),
        cmocka_unit_test(raw_and_wrong_modes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
