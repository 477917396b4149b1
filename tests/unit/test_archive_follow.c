/* SPDX-License-Identifier: MIT */
/* What the archive source hears of its tree while it follows it, and what it says of how far it is. */
#include "archive_bed.h"

/* Until `count` frames have come; inotify is what wakes it. */
static void bed_await(struct bed *bed, size_t count)
{
    int64_t end_ns = cbt_now_ns() + INT64_C(20000000000);
    bed_read(bed);
    while (bed->receiver.count < count && cbt_now_ns() < end_ns) {
        struct pollfd fd = {.fd = cbt_source_archive.fd(bed->source), .events = POLLIN};
        assert_true(fd.fd >= 0);
        poll(&fd, 1, 50);
        bed_read(bed);
    }
    assert_int_equal(bed->receiver.count, count);
}

static void followed_files_come_when_they_are_whole(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    char from[256], to[256];
    bed->config.archive.follow = true;
    bed->config.archive.quiet_ms = 2000; /* longer than a busy machine keeps this test waiting */
    bed_open(bed);
    bed_read(bed);
    /* In a folder that is new: only a scan finds it, and until it is quiet nothing younger may overtake it.
     */
    bed_write(bed, "7/a.log", bundle, 0);
    bed_write(bed, "../b.log", bundle, 0);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 0);
    /* The scan that the new folder asks for sets its watch. */
    int64_t end_ns = cbt_now_ns() + INT64_C(20000000000);
    while (bed_archive(bed)->watch.path_count < 64 || !bed_archive(bed)->watch.paths[2]) {
        assert_true(cbt_now_ns() < end_ns);
        poll(NULL, 0, 10);
        bed_read(bed);
    }
    snprintf(from, sizeof from, "%s/b.log", bed->dir);
    snprintf(to, sizeof to, "%s/7/b.log", bed->tree);
    assert_int_equal(rename(from, to), 0);
    bed_await(bed, 2);
    bed_assert_file(bed, 0, "7/a.log");
    bed_assert_file(bed, 1, "7/b.log");

    snprintf(to, sizeof to, "%s/7/c.log", bed->tree);
    int fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, bundle.data, 60), 60);
    poll(NULL, 0, 20);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 2);
    assert_int_equal(write(fd, bundle.data + 60, bundle.len - 60), bundle.len - 60);
    close(fd);
    bed_await(bed, 3);
    bed_assert_file(bed, 2, "7/c.log");
    assert_int_equal(bed->receiver.frames[2].body.len, bundle.len);
    bed_free_text(bundle);
}

/* What inotify does not tell: a file that was there before, and one whose writer does not close it. */
static void a_quiet_file_is_whole(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    bed->config.archive.follow = true;
    bed->config.archive.quiet_ms = 2000;
    bed_write(bed, "7/a.log", bundle, 0);
    bed_open(bed);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 0);
    bed_await(bed, 1);
    bed_free_text(bundle);
}

enum { INOTIFY_QUEUE_MAX = 200000, MORE = 100 };

/* Without a look at what inotify says, until its queue has overflowed. */
static unsigned close_more_than_inotify_holds(const struct bed *bed)
{
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
    struct cbt_text bundle = bed_bundle(1, 50);
    char path[64];
    assert_true(file && fgets(path, sizeof path, file));
    fclose(file);
    unsigned files = (unsigned)strtoul(path, NULL, 10) + MORE;
    if (files > INOTIFY_QUEUE_MAX + MORE) {
        print_message("SKIPPED: fs.inotify.max_queued_events = %s would take as many files\n", path);
        skip();
    }
    for (unsigned i = 0; i < files; i++) {
        snprintf(path, sizeof path, "7/%06u.log", i);
        bed_write(bed, path, bundle, 0);
    }
    bed_free_text(bundle);
    return files;
}

/* Marks the files of the frames that have come, each of which is one of a kind. */
static void tick_off(struct bed *bed, bool *ticked)
{
    for (size_t i = 0; i < bed->receiver.count; i++) {
        struct cbt_text file = bed->receiver.frames[i].file;
        unsigned long number = strtoul((const char *)file.data + file.len - 10, NULL, 10);
        assert_false(ticked[number]);
        ticked[number] = true;
    }
}

/* What the kernel's queue has no room for is found by a scan, that the overflow alone asks for: none is due.
 */
static void an_overflow_of_inotify_loses_nothing(void **state)
{
    struct bed *bed = *state;
    struct captured captured;
    static bool ticked[INOTIFY_QUEUE_MAX + MORE];
    bed->config.archive.follow = true;
    bed_write(bed, "7/first.log", CBT_TEXT("\1"), 1);
    bed_open(bed);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 1);
    bed_settle(bed, 0, 1);
    bed_forget_frames(bed);

    unsigned files = close_more_than_inotify_holds(bed), read = 0;
    int64_t end_ns = cbt_now_ns() + INT64_C(60000000000);
    capture_begin(&captured);
    while (read < files && cbt_now_ns() < end_ns) {
        bed->receiver.room = BED_FRAMES_MAX;
        bed_read(bed);
        tick_off(bed, ticked);
        read += (unsigned)bed->receiver.count;
        bed_settle(bed, 0, bed->receiver.count);
        bed_forget_frames(bed);
    }
    char *said = capture_end(&captured);
    assert_int_equal(read, files);
    const char *first = strstr(said, "warning inotify had more news than its queue holds");
    assert_non_null(first);
    assert_null(strstr(first + 1, "warning "));
    free(said);
}

/* A file that is moved in may be older than those that wait: the oldest is the next all the same. */
static void what_is_moved_in_takes_its_place_by_age(void **state)
{
    enum { FILES = 500 };
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(1, 50);
    char path[64], from[256], to[256];
    bed->config.archive.follow = true;
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s7/%03u.log", i % 2 != 0 ? "../" : "", i);
        bed_write(bed, path, bundle, 1000 + (time_t)i);
    }
    bed_open(bed);
    bed->receiver.room = 1;
    bed_read(bed); /* the first is delivered, the second open */
    for (unsigned i = FILES - 1; i < FILES; i -= 2) {
        snprintf(from, sizeof from, "%s/7/%03u.log", bed->dir, i);
        snprintf(to, sizeof to, "%s/7/%03u.log", bed->tree, i);
        assert_int_equal(rename(from, to), 0);
    }
    snprintf(from, sizeof from, "%s/7", bed->dir);
    assert_int_equal(rmdir(from), 0);
    bed->receiver.room = BED_FRAMES_MAX;
    bed_await(bed, FILES);
    static const unsigned begun[] = {0, 2, 1, 3, 4};
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "7/%03u.log", i < 5 ? begun[i] : i);
        bed_assert_file(bed, i, path);
    }
    bed_free_text(bundle);
}

static int64_t left_files(const struct bed *bed)
{
    return atomic_load(&bed->receiver.stats.gauge_archive_files);
}

static int64_t left_bytes(const struct bed *bed)
{
    return atomic_load(&bed->receiver.stats.gauge_archive_bytes);
}

static int64_t left_seconds(const struct bed *bed)
{
    return atomic_load(&bed->receiver.stats.gauge_archive_seconds);
}

static char *said_by_tick(const struct bed *bed, int64_t now_ns)
{
    struct captured captured;
    struct cbt_err err = {0};
    capture_begin(&captured);
    assert_int_equal(cbt_source_archive.tick(bed->source, now_ns, &err), 0);
    return capture_end(&captured);
}

/* Half of it is delivered in a minute, so the other half takes a minute, too. */
static void progress_is_told_every_minute_and_at_the_end(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    int64_t minute_ns = INT64_C(60000000000);
    char path[64], words[256];
    for (unsigned i = 0; i < 10; i++) {
        snprintf(path, sizeof path, "7/%u.log", i);
        bed_write(bed, path, bundle, 1000 + (time_t)i);
    }
    bed_open(bed);
    bed->receiver.room = 5;
    bed_read(bed);
    bed_settle(bed, 0, 5);
    int64_t begun_ns = bed_archive(bed)->backlog_since_ns;
    char *said = said_by_tick(bed, begun_ns + minute_ns / 2);
    assert_string_equal(said, "");
    free(said);
    assert_int_equal(left_files(bed), 5);
    assert_int_equal(left_bytes(bed), 5 * bundle.len);
    assert_int_equal(left_seconds(bed), 30);

    said = said_by_tick(bed, begun_ns + minute_ns);
    snprintf(words, sizeof words,
             "info the archive has a backlog source=old files_left=5 bytes_left=%zu files_done=5 "
             "bytes_done=%zu records=15 seconds_left=60\n",
             5 * bundle.len, 5 * bundle.len);
    assert_string_equal(said, words);
    free(said);

    bed->receiver.room = 5;
    bed_read(bed);
    bed_settle(bed, 5, 10);
    said = said_by_tick(bed, begun_ns + 2 * minute_ns);
    snprintf(words, sizeof words,
             "info the archive's backlog is delivered source=old files=10 bytes=%zu seconds=120",
             10 * bundle.len);
    assert_non_null(strstr(said, words));
    free(said);
    assert_int_equal(left_files(bed), 0);
    assert_int_equal(left_bytes(bed), 0);
    assert_int_equal(left_seconds(bed), 0);
    bed_free_text(bundle);
}

/* Of more files than the queue holds each scan counts what is left anew; who looks meanwhile sees what there
 * was before. */
static void what_is_left_does_not_vanish_during_a_scan(void **state)
{
    enum { FILES = 5000 };
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(1, 50);
    struct cbt_err err = {0};
    char path[64];
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "7/%u.log", i);
        bed_write(bed, path, bundle, 0);
    }
    bed_open(bed);
    struct cbt_archive *archive = bed_archive(bed);
    archive->queue.entries_max = FILES / 4;
    unsigned read = 0, scans = 0;
    while (read < FILES) {
        bool scanned = cbt_archive_scan_goes_on(&archive->scan);
        assert_true(cbt_source_archive.read(bed->source, 1024, &err) >= 0);
        read += (unsigned)bed->receiver.count;
        bed_settle(bed, 0, bed->receiver.count);
        bed_forget_frames(bed);
        bed->receiver.room = BED_FRAMES_MAX;
        scans += scanned && !cbt_archive_scan_goes_on(&archive->scan);
        if (scans > 0 && read < FILES)
            assert_true(left_files(bed) > 0 && left_bytes(bed) > 0);
    }
    assert_true(scans >= 4);
    bed_read(bed);
    assert_int_equal(left_files(bed), 0);
    bed_free_text(bundle);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)
    const struct CMUnitTest tests[] = {
        TEST(followed_files_come_when_they_are_whole),
        TEST(a_quiet_file_is_whole),
        cmocka_unit_test_setup_teardown(an_overflow_of_inotify_loses_nothing, bed_setup_in_memory,
                                        bed_teardown),
        TEST(what_is_moved_in_takes_its_place_by_age),
        TEST(progress_is_told_every_minute_and_at_the_end),
        TEST(what_is_left_does_not_vanish_during_a_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
