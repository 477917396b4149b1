/* SPDX-License-Identifier: MIT */
/* The spool and what can go wrong with its files: torn and damaged ones, a full disk, the end of the process
 * at any moment. */
#include "spool_bed.h"

#include <signal.h>
#include <sys/resource.h>

#include "captured.h"

static void a_torn_tail_is_cut_wherever_it_was_torn(void **state)
{
    struct bed *bed = *state;
    open_spool(bed);
    write_down(bed, 0, 100);
    size_t whole = (size_t)bed->spool->last->bytes;
    write_down(bed, 1, 100);
    size_t both = (size_t)bed->spool->last->bytes;
    close_spool(bed);
    char backup[80];
    snprintf(backup, sizeof backup, "%s-backup", bed->dir);
    copy_dir(bed->dir, backup);
    for (size_t bytes = 0; bytes < both; bytes++) {
        remove_tree(bed->dir);
        copy_dir(backup, bed->dir);
        assert_int_equal(truncate(segment_path(bed, 0), (off_t)bytes), 0);
        struct captured captured;
        capture_begin(&captured);
        open_spool(bed);
        char *log = capture_end(&captured);
        bool torn = bytes > CBT_SPOOL_SEGMENT_HEAD_BYTES && bytes != whole;
        assert_int_equal(strstr(log, "torn") != NULL, torn);
        if (torn) {
            char told[32];
            snprintf(told, sizeof told, "bytes=%zu",
                     bytes - (bytes > whole ? whole : CBT_SPOOL_SEGMENT_HEAD_BYTES));
            assert_non_null(strstr(log, told));
        }
        free(log);
        if (bytes >= whole)
            take(bed, 0, 100);
        nothing_to_take(bed);
        assert_int_equal(cbt_spool_counts(bed->spool)->damaged, 0);
        assert_int_equal(count_files(bed->dir, ".damaged"), 0);
        /* It goes on as if nothing had been, and the next process finds the new ones, too. */
        write_down(bed, 2, 50);
        close_spool(bed);
        open_spool(bed);
        if (bytes >= whole)
            take(bed, 0, 100);
        take(bed, 2, 50);
        nothing_to_take(bed);
        close_spool(bed);
    }
    remove_tree(backup);
}

static void a_tail_of_zeros_is_torn_too(void **state)
{
    struct bed *bed = *state;
    open_spool(bed);
    write_down(bed, 0, 100);
    size_t whole = (size_t)bed->spool->last->bytes;
    close_spool(bed);
    assert_int_equal(truncate(segment_path(bed, 0), (off_t)whole + 20000), 0);
    open_spool(bed);
    take(bed, 0, 100);
    nothing_to_take(bed);
    assert_int_equal(cbt_spool_counts(bed->spool)->damaged, 0);
    assert_int_equal(file_bytes(segment_path(bed, 0)), whole);
}

/* Segments of ten messages of 100 bytes each; three of them. */
static void fill_three_segments(struct bed *bed)
{
    size_t record = 100 + CBT_SPOOL_RECORD_BYTES + strlen("ingress.event.0");
    bed->options.segment_bytes = CBT_SPOOL_SEGMENT_HEAD_BYTES + 10 * record + 5;
    open_spool(bed);
    for (uint64_t i = 0; i < 30; i++)
        write_down(bed, i % 10, 100);
    assert_int_equal(count_files(bed->dir, ".spool"), 3);
    close_spool(bed);
}

static size_t record_at(unsigned index)
{
    return CBT_SPOOL_SEGMENT_HEAD_BYTES + index * (100 + CBT_SPOOL_RECORD_BYTES + strlen("ingress.event.0"));
}

/* Flips a byte of the middle or the last segment's record 4, and expects `passed_over` messages to be
 * missing. */
static void damage(struct bed *bed, uint64_t segment, size_t offset, unsigned passed_over, unsigned told)
{
    struct cbt_spool_message message;
    fill_three_segments(bed);
    flip_byte(segment_path(bed, segment), record_at(4) + offset);
    open_spool(bed);
    for (unsigned i = 0; i < 30; i++) {
        if (i == segment + 4) {
            /* A damaged body is noticed when it is taken. */
            uint64_t ticket;
            if (passed_over == 1 && cbt_spool_next(bed->spool, &message) == 1)
                assert_int_equal(cbt_spool_take(bed->spool, bed->taken, &ticket), CBT_EIO);
            i += passed_over;
            if (i >= 30)
                break;
        }
        cbt_spool_settle(bed->spool, take(bed, i % 10, 100));
    }
    nothing_to_take(bed);
    assert_int_equal(cbt_spool_counts(bed->spool)->damaged, told);
    assert_int_equal(cbt_spool_counts(bed->spool)->messages, 0);
    assert_int_equal(count_files(bed->dir, ".damaged"), 1);
    assert_int_equal(count_files(bed->dir, ".spool"), 0);
    close_spool(bed);
    open_spool(bed);
    nothing_to_take(bed);
    write_down(bed, 7, 10);
    take(bed, 7, 10);
}

static void a_damaged_body_is_passed_over_alone(void **state)
{
    damage(*state, 10, CBT_SPOOL_RECORD_HEAD_BYTES + 40, 1, 1);
}
static void a_damaged_channel_is_passed_over_alone(void **state)
{
    damage(*state, 10, CBT_SPOOL_RECORD_HEAD_BYTES + 1, 1, 1);
}
static void a_damaged_body_in_the_last_segment_is_passed_over_alone(void **state)
{
    damage(*state, 20, CBT_SPOOL_RECORD_HEAD_BYTES + 40, 1, 1);
}
static void behind_a_damaged_head_the_rest_of_the_segment_is_passed_over(void **state)
{
    damage(*state, 10, 1, 6, 6);
}
static void behind_a_damaged_head_the_rest_of_the_last_segment_is_passed_over(void **state)
{
    damage(*state, 20, 1, 6, 1); /* how many there were nobody knows */
}

/* As the end of the process leaves it that had just made the file. */
static void a_last_segment_without_a_record_is_made_anew(void **state)
{
    struct bed *bed = *state;
    fill_three_segments(bed);
    assert_int_equal(truncate(segment_path(bed, 20), CBT_SPOOL_SEGMENT_HEAD_BYTES), 0);
    open_spool(bed);
    write_down(bed, 7, 10);
    for (unsigned i = 0; i < 20; i++)
        take(bed, i % 10, 100);
    take(bed, 7, 10);
    nothing_to_take(bed);
    assert_int_equal(count_files(bed->dir, ".spool"), 3);
}

static void a_segment_with_a_broken_head_is_set_aside(void **state)
{
    struct bed *bed = *state;
    fill_three_segments(bed);
    flip_byte(segment_path(bed, 10), 3);
    open_spool(bed);
    for (unsigned i = 0; i < 20; i++)
        cbt_spool_settle(bed->spool, take(bed, i % 10, 100));
    nothing_to_take(bed);
    assert_int_equal(cbt_spool_counts(bed->spool)->damaged, 10);
    assert_int_equal(count_files(bed->dir, ".damaged"), 1);
}

static void a_broken_checkpoint_delivers_all_again(void **state)
{
    struct bed *bed = *state;
    char path[100];
    open_spool(bed);
    for (uint64_t i = 0; i < 5; i++)
        write_down(bed, i, 10);
    for (uint64_t i = 0; i < 3; i++)
        cbt_spool_settle(bed->spool, take(bed, i, 10));
    close_spool(bed);
    snprintf(path, sizeof path, "%s/checkpoint", bed->dir);
    flip_byte(path, 9);
    open_spool(bed);
    for (uint64_t i = 0; i < 5; i++)
        take(bed, i, 10);
}

/* ---- a disk that takes no more ---- */

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Files end at 2,000 bytes: as a disk that is full at a moment that the test chooses. */
static void a_full_disk_leaves_what_was_not_written_to_the_owner(void **state)
{
    struct bed *bed = *state;
    struct cbt_spool_message message;
    const uint8_t *body = NULL;
    struct cbt_err err = {0};
    char channel[64];
    signal(SIGXFSZ, SIG_IGN);
    bed->options.segment_bytes = 1 << 20;
    open_spool(bed);
    for (uint64_t i = 0; i < 10; i++)
        write_down(bed, i, 100);
    limit_files(2000);
    for (uint64_t i = 10; i < 20; i++)
        assert_int_equal(append(bed, i, 100), 0);
    struct cbt_spool_message half = describe(20, 100, channel);
    assert_int_equal(cbt_spool_begin(bed->spool, &half, NULL), 0); /* amid the next one */
    make_body(bed, 20, 100);
    assert_int_equal(cbt_spool_put(bed->spool, bed->body, 30, NULL), 0);
    assert_int_equal(cbt_spool_flush(bed->spool, &err), CBT_EIO);
    limit_files(RLIM_INFINITY);
    assert_non_null(strstr(err.text, bed->dir));
    assert_int_equal(cbt_spool_counts(bed->spool)->appended, 10);
    for (uint64_t i = 10; i < 20; i++) {
        assert_true(cbt_spool_unwritten(bed->spool, &message, &body));
        assert_int_equal(message.body_bytes, 100);
        make_body(bed, i, 100);
        assert_memory_equal(body, bed->body, 100);
    }
    assert_false(cbt_spool_unwritten(bed->spool, &message, &body));
    assert_false(cbt_spool_all_taken(bed->spool));
    make_body(bed, 20, 100);
    assert_int_equal(cbt_spool_put(bed->spool, bed->body + 30, 70, NULL), 0);
    assert_int_equal(cbt_spool_commit(bed->spool, NULL), 0);
    write_down(bed, 21, 100);
    for (uint64_t i = 0; i < 22; i += i == 9 ? 11 : 1)
        take(bed, i, 100);
    nothing_to_take(bed);
    kill_spool(bed);
    open_spool(bed);
    for (uint64_t i = 0; i < 22; i += i == 9 ? 11 : 1)
        take(bed, i, 100);
    nothing_to_take(bed);
}

static void a_disk_that_is_full_amid_a_large_message_takes_the_next(void **state)
{
    struct bed *bed = *state;
    signal(SIGXFSZ, SIG_IGN);
    bed->options.segment_bytes = 8 << 20;
    open_spool(bed);
    write_down(bed, 0, 100);
    limit_files(CBT_SPOOL_BUFFER_BYTES + 5000);
    assert_int_equal(append(bed, 1, 3 * CBT_SPOOL_BUFFER_BYTES), CBT_EIO);
    /* Its end alone does not fit. */
    assert_int_equal(append(bed, 2, CBT_SPOOL_BUFFER_BYTES + 4970), CBT_EIO);
    limit_files(RLIM_INFINITY);
    write_down(bed, 3, 100);
    take(bed, 0, 100);
    take(bed, 3, 100);
    nothing_to_take(bed);
    kill_spool(bed);
    open_spool(bed);
    take(bed, 0, 100);
    take(bed, 3, 100);
    nothing_to_take(bed);
}

/* The disk is full of what is delivered already: that goes, and the next message finds room. */
static void a_full_disk_is_relieved_by_what_is_delivered(void **state)
{
    struct bed *bed = *state;
    struct cbt_spool_message message;
    const uint8_t *body = NULL;
    unsigned failed = 0;
    signal(SIGXFSZ, SIG_IGN);
    bed->options.segment_bytes = 1 << 20;
    open_spool(bed);
    limit_files(2000);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(append(bed, i, 100), 0);
        if (cbt_spool_flush(bed->spool, NULL) == 0) {
            cbt_spool_settle(bed->spool, take(bed, i, 100));
            continue;
        }
        failed++;
        assert_true(cbt_spool_unwritten(bed->spool, &message, &body));
        assert_false(cbt_spool_unwritten(bed->spool, &message, &body));
        assert_int_equal(count_files(bed->dir, ".spool"), 0);
    }
    limit_files(RLIM_INFINITY);
    assert_in_range(failed, 5, 10); /* 14 messages fill a file */
    nothing_to_take(bed);
    assert_int_equal(cbt_spool_counts(bed->spool)->messages, 0);
}

static void a_segment_that_cannot_be_made_is_made_later(void **state)
{
    struct bed *bed = *state;
    struct cbt_spool_message message;
    const uint8_t *body = NULL;
    signal(SIGXFSZ, SIG_IGN);
    open_spool(bed);
    limit_files(10);
    assert_int_equal(append(bed, 0, 100), 0);
    assert_int_equal(cbt_spool_flush(bed->spool, NULL), CBT_EIO);
    limit_files(RLIM_INFINITY);
    assert_true(cbt_spool_all_taken(bed->spool));
    assert_true(cbt_spool_unwritten(bed->spool, &message, &body));
    assert_false(cbt_spool_unwritten(bed->spool, &message, &body));
    assert_int_equal(count_files(bed->dir, ".spool"), 0);
    write_down(bed, 1, 100);
    take(bed, 1, 100);
    nothing_to_take(bed);
}

static void a_segment_that_cannot_be_opened_is_no_damage(void **state)
{
    struct bed *bed = *state;
    struct cbt_spool_message message;
    struct rlimit limit;
    fill_three_segments(bed);
    open_spool(bed);
    for (unsigned i = 0; i < 10; i++)
        take(bed, i, 100);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int rc = cbt_spool_next(bed->spool, &message);
    limit.rlim_cur = before;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(rc, CBT_EIO);
    for (unsigned i = 10; i < 30; i++)
        take(bed, i % 10, 100);
    nothing_to_take(bed);
    assert_int_equal(cbt_spool_counts(bed->spool)->damaged, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_torn_tail_is_cut_wherever_it_was_torn),
        CASE(a_tail_of_zeros_is_torn_too),
        CASE(a_damaged_body_is_passed_over_alone),
        CASE(a_damaged_channel_is_passed_over_alone),
        CASE(a_damaged_body_in_the_last_segment_is_passed_over_alone),
        CASE(behind_a_damaged_head_the_rest_of_the_segment_is_passed_over),
        CASE(behind_a_damaged_head_the_rest_of_the_last_segment_is_passed_over),
        CASE(a_last_segment_without_a_record_is_made_anew),
        CASE(a_segment_with_a_broken_head_is_set_aside),
        CASE(a_broken_checkpoint_delivers_all_again),
        CASE(a_full_disk_leaves_what_was_not_written_to_the_owner),
        CASE(a_disk_that_is_full_amid_a_large_message_takes_the_next),
        CASE(a_full_disk_is_relieved_by_what_is_delivered),
        CASE(a_segment_that_cannot_be_made_is_made_later),
        CASE(a_segment_that_cannot_be_opened_is_no_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
