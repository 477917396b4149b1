/* SPDX-License-Identifier: MIT */
/* Files of an archive that vanish, change, are links, or may not be read; a tree that is not there. */
#include "archive_bed.h"

#include "ingest/archive_checkpoint_file.h"

static void links_are_not_followed_and_what_vanishes_is_no_error(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    struct captured captured;
    char link[256];
    bed_write(bed, "7/a.log", bundle, 1);
    bed_write(bed, "7/b.log", bundle, 2);
    snprintf(link, sizeof link, "%s/7/link.log", bed->tree);
    assert_int_equal(symlink("a.log", link), 0);
    snprintf(link, sizeof link, "%s/8", bed->tree);
    assert_int_equal(symlink("7", link), 0);
    snprintf(link, sizeof link, "%s/7/pipe", bed->tree);
    assert_int_equal(mkfifo(link, 0600), 0);
    bed_open(bed);
    capture_begin(&captured);
    bed->receiver.room = 0;
    bed_read(bed); /* it has found both, and has the first one open */
    snprintf(link, sizeof link, "%s/7/b.log", bed->tree);
    assert_int_equal(unlink(link), 0);
    bed->receiver.room = 10;
    bed_read(bed);
    char *said = capture_end(&captured);
    assert_int_equal(bed->receiver.count, 1);
    bed_assert_file(bed, 0, "7/a.log");
    assert_non_null(
        strstr(said, "warning symbolic links in the archive are not followed source=old links=2"));
    assert_null(strstr(said, "error"));
    free(said);
    bed_free_text(bundle);
}

/* A whole folder that vanishes is passed over in steps, between which what is delivered can be settled. */
static void what_vanishes_does_not_hold_up_a_turn(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(1, 50);
    struct cbt_err err = {0};
    char path[64], folder[256], aside[256];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(path, sizeof path, "7/%u.log", i);
        bed_write(bed, path, bundle, 0);
    }
    bed_open(bed);
    struct cbt_archive *archive = bed_archive(bed);
    while (archive->queue.count < 1000 || archive->queue.filling)
        assert_true(cbt_archive_find(archive, cbt_now_ns(), &err) == 1);
    snprintf(folder, sizeof folder, "%s/7", bed->tree);
    snprintf(aside, sizeof aside, "%s/aside", bed->dir);
    assert_int_equal(rename(folder, aside), 0);
    for (size_t count = 1000; count > 0; count = archive->queue.count) {
        assert_true(cbt_source_archive.read(bed->source, 1024, &err) > 0);
        assert_in_range(count - archive->queue.count, 1, 100);
    }
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 0);
    assert_int_equal(atomic_load(&bed->receiver.stats.gauge_archive_files), 0);
    bed_free_text(bundle);
}

/* Half of it is delivered, then it is cut off: it comes again from its beginning, and the checkpoint keeps
 * nothing of what it was before. */
static void a_file_that_is_changed_while_it_is_read_comes_again_whole(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(2000, 271), shorter = {bundle.data, 275 * 1000};
    struct captured captured;
    bed_write(bed, "7/a.log", bundle, 1);
    bed_open(bed);
    struct cbt_archive *archive = bed_archive(bed);
    bed->receiver.room = 1;
    bed_read(bed);
    bed_settle(bed, 0, 1);
    bed_checkpoint(bed);
    bed_write(bed, "7/a.log", shorter, 2);
    bed->receiver.room = BED_FRAMES_MAX;
    capture_begin(&captured);
    bed_read(bed);
    char *said = capture_end(&captured);
    assert_non_null(strstr(said, "warning a file was changed while it was read"));
    free(said);
    bed_settle(bed, 1, bed->receiver.count);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_files), 0);
    assert_int_equal(archive->checkpoint->progress_count, 0);

    bed_forget_frames(bed);
    archive->rescan_at_ns = 0;
    bed_read(bed);
    assert_true(bed->receiver.count > 0 && bed->receiver.frames[0].file_offset == 0);
    size_t bytes = 0;
    for (size_t i = 0; i < bed->receiver.count; i++)
        bytes += bed->receiver.frames[i].body.len;
    assert_int_equal(bytes, shorter.len);
    bed_settle(bed, 0, bed->receiver.count);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_files), 1);
    bed_free_text(bundle);
}

/* The folder is moved out of the tree, and a link leads to it: through that nothing is read, and nothing
 * removed. */
static void a_folder_that_becomes_a_link_is_not_entered(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    struct captured captured;
    static const char *const names[] = {"7/a.log", "7/b.log", "7/c.log"};
    char folder[256], outside[256];
    bed->config.archive.after = "remove";
    for (unsigned i = 0; i < 3; i++)
        bed_write(bed, names[i], bundle, 1 + (time_t)i);
    bed_open(bed);
    bed->receiver.room = 1;
    bed_read(bed); /* the first is a frame, the second open, the third waits */
    snprintf(folder, sizeof folder, "%s/7", bed->tree);
    snprintf(outside, sizeof outside, "%s/outside", bed->dir);
    assert_int_equal(rename(folder, outside), 0);
    assert_int_equal(symlink(outside, folder), 0);
    bed->receiver.room = 10;
    capture_begin(&captured);
    bed_read(bed);
    bed_settle(bed, 0, bed->receiver.count);
    bed_checkpoint(bed);
    free(capture_end(&captured));
    assert_int_equal(bed->receiver.count, 2);
    for (unsigned i = 0; i < 3; i++)
        assert_true(bed_has(bed, names[i])); /* by the link */
    bed_free_text(bundle);
}

static void what_cannot_be_read_is_told_once_and_tried_again(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    struct captured captured;
    char path[256];
    if (geteuid() == 0 && seteuid(65534) != 0)
        skip();
    (void)!seteuid(0);
    bed_write(bed, "7/a.log", bundle, 1);
    bed_write(bed, "7/b.log", bundle, 2);
    bed_write(bed, "7/c.log", bundle, 3);
    bed_write(bed, "8/a.log", bundle, 3);
    snprintf(path, sizeof path, "%s/7/a.log", bed->tree);
    chmod(path, 0);
    snprintf(path, sizeof path, "%s/7/b.log", bed->tree);
    chmod(path, 0);
    bool root = geteuid() == 0;
    for (unsigned i = 0; root && i < 5; i++) {
        static const char *const names[] = {"", "/tree", "/tree/7", "/tree/7/c.log", "/tree/8"};
        snprintf(path, sizeof path, "%s%s", bed->dir, names[i]);
        if (i != 4)
            assert_int_equal(chown(path, 65534, 65534), 0);
        else
            assert_int_equal(chmod(path, 0), 0);
    }
    if (!root) {
        snprintf(path, sizeof path, "%s/8", bed->tree);
        chmod(path, 0);
    }
    if (root)
        assert_int_equal(seteuid(65534), 0);
    capture_begin(&captured);
    bed_open(bed);
    bed_read(bed);
    char *said = capture_end(&captured);
    if (root)
        assert_int_equal(seteuid(0), 0);
    chmod(path, 0700);
    assert_int_equal(bed->receiver.count, 1);
    bed_assert_file(bed, 0, "7/c.log");
    const char *first = strstr(said, "error ");
    assert_non_null(first);
    assert_non_null(strstr(said, "Permission denied"));
    assert_null(strstr(first + 1, "error "));
    free(said);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_unreadable_files), 2);

    /* All is found when it may be read. */
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/7/%c.log", bed->tree, 'a' + (int)i);
        assert_int_equal(chmod(path, 0600), 0);
    }
    bed_archive(bed)->rescan_at_ns = 0;
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 4);
    bed_free_text(bundle);
}

/* The tree is not there yet, comes, goes, comes again: nothing is read twice. */
static void a_tree_that_is_not_there_is_waited_for(void **state)
{
    struct bed *bed = *state;
    struct cbt_err err = {0};
    struct cbt_text bundle = bed_bundle(1, 50);
    char aside[256];
    bed_write(bed, "7/a.log", bundle, 1);
    snprintf(aside, sizeof aside, "%s/aside", bed->dir);
    assert_int_equal(rename(bed->tree, aside), 0);
    assert_int_equal(bed_try_open(bed, &err), 0);
    assert_int_equal(cbt_source_archive.connect(bed->source, &err), CBT_EREFUSED);
    cbt_source_archive.disconnect(bed->source);
    assert_int_equal(rename(aside, bed->tree), 0);
    assert_int_equal(cbt_source_archive.connect(bed->source, &err), 0);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 1);
    cbt_source_archive.disconnect(bed->source);
    bed_settle(bed, 0, 1);
    assert_int_equal(cbt_source_archive.connect(bed->source, &err), 0);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 1);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_files), 1);
    bed_free_text(bundle);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)
    const struct CMUnitTest tests[] = {
        TEST(links_are_not_followed_and_what_vanishes_is_no_error),
        TEST(what_vanishes_does_not_hold_up_a_turn),
        TEST(a_file_that_is_changed_while_it_is_read_comes_again_whole),
        TEST(a_folder_that_becomes_a_link_is_not_entered),
        TEST(what_cannot_be_read_is_told_once_and_tried_again),
        TEST(a_tree_that_is_not_there_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
