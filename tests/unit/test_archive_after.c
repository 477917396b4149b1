/* SPDX-License-Identifier: MIT */
/* What becomes of a delivered file: when it leaves, and where it cannot; the places that are named for that.
 */
#include "archive_bed.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

static void a_file_leaves_when_all_of_it_is_settled(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(2000, 271);
    bed->config.archive.after = bed->move;
    bed_write(bed, "7/a.log", bundle, 1);
    bed_write(bed, "7/b.log", bundle, 2);
    bed_open(bed);
    bed_read(bed);
    size_t cuts = bed->receiver.count;
    bed_settle(bed, 0, cuts / 2 - 1);
    bed_settle(bed, cuts / 2, cuts);
    bed_checkpoint(bed);
    assert_true(bed_has(bed, "7/a.log"));
    assert_false(bed_has(bed, "7/b.log"));
    assert_true(bed_has(bed, "../moved/7/b.log"));
    bed_settle(bed, cuts / 2 - 1, cuts / 2);
    assert_true(bed_has(bed, "7/a.log")); /* it is not in the checkpoint yet */
    bed_checkpoint(bed);
    assert_true(bed_has(bed, "../moved/7/a.log"));
    bed_close(bed);

    /* A name that is taken is not lost. */
    bed_write(bed, "7/a.log", bundle, 5);
    bed_open(bed);
    bed_read(bed);
    bed_settle(bed, 0, bed->receiver.count);
    bed_checkpoint(bed);
    assert_false(bed_has(bed, "7/a.log"));
    assert_true(bed_has(bed, "../moved/7/a.log") && bed_has(bed, "../moved/7/a.log.1"));
    bed_free_text(bundle);
}

/* Here since something is in its way; without follow no scan was due any more. */
static void what_cannot_be_moved_is_tried_again(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    struct captured captured;
    char path[256];
    bed->config.archive.after = bed->move;
    bed_write(bed, "7/a.log", bundle, 1);
    bed_write(bed, "../moved/7", bundle, 1);
    bed_open(bed);
    bed_read(bed);
    bed_settle(bed, 0, 1);
    capture_begin(&captured);
    bed_read(bed);
    char *said = capture_end(&captured);
    assert_non_null(strstr(said, "error delivered, but cannot be removed or moved"));
    assert_null(strstr(said, "there is nothing more to do"));
    free(said);
    assert_true(bed_has(bed, "7/a.log"));

    snprintf(path, sizeof path, "%s/moved/7", bed->dir);
    assert_int_equal(unlink(path), 0);
    assert_true(bed_archive(bed)->rescan_at_ns != INT64_MAX);
    bed_archive(bed)->rescan_at_ns = 0;
    capture_begin(&captured);
    bed_read(bed);
    said = capture_end(&captured);
    assert_non_null(strstr(said, "there is nothing more to do"));
    free(said);
    assert_true(bed_has(bed, "../moved/7/a.log") && !bed_has(bed, "7/a.log"));
    assert_int_equal(bed->receiver.count, 1);
    bed_free_text(bundle);
}

static void a_file_that_was_changed_is_not_removed(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    bed->config.archive.after = "remove";
    bed_write(bed, "7/a.log", bundle, 1);
    bed_open(bed);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 1);
    bed_write(bed, "7/a.log", bundle, 2);
    bed_settle(bed, 0, 1);
    bed_checkpoint(bed);
    assert_true(bed_has(bed, "7/a.log"));
    bed_close(bed);
    bed_open(bed);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 1);
    bed_free_text(bundle);
}

/* Killed between the checkpoint and the removal: the next life removes it, and does not read it again. */
static void what_was_delivered_before_a_crash_is_removed_after_it(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    bed_write(bed, "7/a.log", bundle, 1);
    bed_open(bed);
    bed_read(bed);
    bed_settle(bed, 0, 1);
    bed_close(bed);
    assert_true(bed_has(bed, "7/a.log"));
    bed->config.archive.after = "remove";
    bed_open(bed);
    bed_read(bed);
    bed_checkpoint(bed);
    assert_int_equal(bed->receiver.count, 0);
    assert_false(bed_has(bed, "7/a.log"));
    bed_free_text(bundle);
}

/* Said once, and once when it is over; files go on, and leave, for they are delivered. */
static void a_checkpoint_that_cannot_be_written_stops_nothing(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    struct captured captured;
    struct rlimit before, none;
    bed->config.archive.after = "remove";
    bed_write(bed, "7/a.log", bundle, 1);
    bed_write(bed, "7/b.log", bundle, 2);
    bed_open(bed);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    bed->receiver.room = 1;
    bed_read(bed);
    char folder[256];
    snprintf(folder, sizeof folder, "%s.new", bed->checkpoint);
    assert_int_equal(mkdir(folder, 0700), 0); /* so that it cannot be written anew either */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    bed_settle(bed, 0, 1);
    struct cbt_err err = {0};
    assert_true(cbt_archive_checkpoint_dirty(bed_archive(bed)->checkpoint));
    assert_int_equal(cbt_archive_checkpoint_write(bed_archive(bed)->checkpoint, &err), CBT_EIO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    capture_begin(&captured);
    bed_checkpoint(bed);
    bed_checkpoint(bed);
    char *said = capture_end(&captured);
    const char *first = strstr(said, "error the checkpoint cannot be written");
    assert_non_null(first);
    assert_null(strstr(first + 1, "error "));
    free(said);
    assert_false(bed_has(bed, "7/a.log"));
    assert_true(bed_has(bed, "7/b.log"));

    assert_int_equal(rmdir(folder), 0);
    bed->receiver.room = 1;
    bed_read(bed);
    bed_settle(bed, 1, 2);
    capture_begin(&captured);
    bed_checkpoint(bed);
    said = capture_end(&captured);
    assert_non_null(strstr(said, "warning the checkpoint is written again"));
    free(said);
    assert_false(bed_has(bed, "7/b.log"));
    bed_free_text(bundle);
}

static void expect_refusal(struct bed *bed, const char *words)
{
    struct cbt_err err = {0};
    assert_int_equal(bed_try_open(bed, &err), CBT_EINVAL);
    if (!strstr(err.text, words))
        fail_msg("%s", err.text);
}

static void places_that_cannot_be_used_are_refused(void **state)
{
    struct bed *bed = *state;
    char text[256];
    snprintf(text, sizeof text, "move:%s/done", bed->tree);
    bed->config.archive.after = text;
    expect_refusal(bed, "lies in the archive itself");
    bed->config.archive.after = "move:/proc/nowhere";
    expect_refusal(bed, "cannot be made");
    bed->config.archive.after = "move:/dev/shm";
    expect_refusal(bed, "another file system");
    bed->config.archive.after = "keep";
    snprintf(text, sizeof text, "%s/checkpoint", bed->tree);
    bed->config.archive.checkpoint = text;
    expect_refusal(bed, "lies in the archive");
    bed->config.archive.checkpoint = "/proc/checkpoint";
    expect_refusal(bed, "name a file");
}

/* As a systemd unit has it that names both folders in ReadWritePaths=. */
static void a_move_from_mount_to_mount_is_refused(void **state)
{
    struct bed *bed = *state;
    char moved[256];
    if (unshare(CLONE_NEWNS) != 0) {
        print_message("SKIPPED: only root may make a mount\n");
        skip();
    }
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    snprintf(moved, sizeof moved, "%s/moved", bed->dir);
    bed->config.archive.after = bed->move;
    bed_open(bed); /* makes the folder */
    bed_close(bed);
    assert_int_equal(mount(moved, moved, NULL, MS_BIND, NULL), 0);
    expect_refusal(bed, "under another mount");
    assert_int_equal(umount(moved), 0);
    bed_open(bed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_leaves_when_all_of_it_is_settled),
        TEST(what_cannot_be_moved_is_tried_again),
        TEST(a_file_that_was_changed_is_not_removed),
        TEST(what_was_delivered_before_a_crash_is_removed_after_it),
        TEST(a_checkpoint_that_cannot_be_written_stops_nothing),
        TEST(places_that_cannot_be_used_are_refused),
        TEST(a_move_from_mount_to_mount_is_refused),
    };
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
