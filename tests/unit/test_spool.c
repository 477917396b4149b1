/* SPDX-License-Identifier: MIT */
/* The spool as a queue: what goes in comes out once, in order, from memory or from disk, and leaves when it
 * is settled; what was not is there for the next process. */
#include "spool_bed.h"

static void what_is_appended_comes_out_in_order(void **state)
{
    struct bed *bed = *state;
    bed->options.segment_bytes = 1 << 20;
    open_spool(bed);
    nothing_to_take(bed);
    for (uint64_t i = 0; i < 50; i++)
        assert_int_equal(append(bed, i, i * 7), 0);
    nothing_to_take(bed); /* not on disk yet */
    assert_int_equal(cbt_spool_flush(bed->spool, NULL), 0);
    for (uint64_t i = 0; i < 50; i++)
        assert_int_equal(take(bed, i, i * 7), i);
    nothing_to_take(bed);
    assert_true(cbt_spool_all_taken(bed->spool));
    assert_int_equal(cbt_spool_counts(bed->spool)->messages, 50);
    assert_int_equal(cbt_spool_counts(bed->spool)->appended, 50);
}

static void a_backlog_is_read_back_from_its_segments(void **state)
{
    struct bed *bed = *state;
    open_spool(bed);
    for (uint64_t i = 0; i < 5000; i++)
        write_down(bed, i, 300 + i % 200);
    assert_true(count_files(bed->dir, ".spool") > 400);
    for (uint64_t i = 0; i < 5000; i++)
        cbt_spool_settle(bed->spool, take(bed, i, 300 + i % 200));
    nothing_to_take(bed);
    assert_int_equal(count_files(bed->dir, ".spool"), 1);
    assert_int_equal(cbt_spool_counts(bed->spool)->messages, 0);
    assert_true(cbt_spool_counts(bed->spool)->bytes <= 4096);
}

static void a_message_larger_than_the_buffer_and_than_a_segment_goes_through(void **state)
{
    struct bed *bed = *state;
    static const size_t sizes[] = {CBT_SPOOL_BUFFER_BYTES - 50,     CBT_SPOOL_BUFFER_BYTES - 24,
                                   CBT_SPOOL_BUFFER_BYTES,          3 * CBT_SPOOL_BUFFER_BYTES + 17,
                                   2 * CBT_SPOOL_BUFFER_BYTES - 38, 0};
    open_spool(bed);
    for (uint64_t i = 0; i < 6; i++) {
        write_down(bed, i, sizes[i]);
        write_down(bed, 10 + i, 5);
    }
    for (uint64_t i = 0; i < 6; i++) {
        take(bed, i, sizes[i]);
        take(bed, 10 + i, 5);
    }
    nothing_to_take(bed);
}

static void an_aborted_message_leaves_no_trace(void **state)
{
    struct bed *bed = *state;
    static const size_t sizes[] = {10, 3 * CBT_SPOOL_BUFFER_BYTES};
    char channel[64];
    open_spool(bed);
    for (unsigned i = 0; i < 2; i++) {
        write_down(bed, i, 100);
        struct cbt_spool_message message = describe(9, sizes[i], channel);
        assert_int_equal(cbt_spool_begin(bed->spool, &message, NULL), 0);
        assert_int_equal(cbt_spool_put(bed->spool, bed->body, sizes[i] - 1, NULL), 0);
        assert_int_equal(cbt_spool_flush(bed->spool, NULL), 0); /* amid it */
        cbt_spool_abort(bed->spool);
    }
    write_down(bed, 2, 100);
    close_spool(bed);
    open_spool(bed);
    for (uint64_t i = 0; i < 3; i++)
        take(bed, i, 100);
    nothing_to_take(bed);
    assert_int_equal(cbt_spool_counts(bed->spool)->damaged, 0);
    assert_int_equal(count_files(bed->dir, ".damaged"), 0);
}

static void what_is_not_settled_is_taken_first_by_the_next_process(void **state)
{
    struct bed *bed = *state;
    struct cbt_spool_message message;
    open_spool(bed);
    for (uint64_t i = 0; i < 100; i++)
        write_down(bed, i, 200);
    for (uint64_t i = 0; i < 40; i++)
        cbt_spool_settle(bed->spool, take(bed, i, 200));
    close_spool(bed);
    open_spool(bed);
    assert_int_equal(cbt_spool_counts(bed->spool)->messages, 60);
    write_down(bed, 100, 200);
    assert_int_equal(cbt_spool_next(bed->spool, &message), 1);
    assert_true(message.replayed);
    for (uint64_t i = 40; i < 100; i++)
        cbt_spool_settle(bed->spool, take(bed, i, 200));
    assert_int_equal(cbt_spool_next(bed->spool, &message), 1);
    assert_false(message.replayed);
    cbt_spool_settle(bed->spool, take(bed, 100, 200));
    close_spool(bed);
    open_spool(bed);
    nothing_to_take(bed);
    assert_int_equal(count_files(bed->dir, ".spool"), 0);
}

static void a_killed_process_loses_nothing_that_was_written(void **state)
{
    struct bed *bed = *state;
    open_spool(bed);
    for (uint64_t i = 0; i < 30; i++)
        write_down(bed, i, 200);
    for (uint64_t i = 0; i < 30; i++)
        cbt_spool_settle(bed->spool, take(bed, i, 200));
    assert_int_equal(append(bed, 30, 200), 0);
    kill_spool(bed); /* before the checkpoint, and before the write */
    open_spool(bed);
    /* Only whole segments are gone, so some come again; none is missing between. */
    uint64_t first = bed->spool->settled_seq;
    assert_true(first > 0 && first < 30);
    for (uint64_t i = first; i < 30; i++)
        take(bed, i, 200);
    nothing_to_take(bed);
}

static void settled_out_of_order_only_the_prefix_is_forgotten(void **state)
{
    struct bed *bed = *state;
    uint64_t tickets[10];
    open_spool(bed);
    for (uint64_t i = 0; i < 10; i++)
        write_down(bed, i, 10);
    for (uint64_t i = 0; i < 10; i++)
        tickets[i] = take(bed, i, 10);
    for (uint64_t i = 9; i >= 4; i--)
        cbt_spool_settle(bed->spool, tickets[i]);
    for (uint64_t i = 0; i < 3; i++)
        cbt_spool_settle(bed->spool, tickets[i]);
    assert_int_equal(cbt_spool_counts(bed->spool)->messages, 7);
    close_spool(bed);
    open_spool(bed);
    take(bed, 3, 10);
}

static void no_more_than_the_window_is_unsettled(void **state)
{
    struct bed *bed = *state;
    struct cbt_spool_message message;
    bed->options.window = 4;
    open_spool(bed);
    for (uint64_t i = 0; i < 6; i++)
        write_down(bed, i, 10);
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(take(bed, i, 10), i);
    assert_int_equal(cbt_spool_next(bed->spool, &message), CBT_ELIMIT);
    cbt_spool_settle(bed->spool, 1);
    assert_int_equal(cbt_spool_next(bed->spool, &message), CBT_ELIMIT);
    cbt_spool_settle(bed->spool, 0);
    take(bed, 4, 10);
    take(bed, 5, 10);
}

static void the_checkpoint_is_written_when_it_is_due(void **state)
{
    struct bed *bed = *state;
    bool broken = true;
    open_spool(bed);
    for (uint64_t i = 0; i < 3; i++) {
        write_down(bed, i, 10);
        cbt_spool_settle(bed->spool, take(bed, i, 10));
    }
    int64_t now_ns = INT64_C(1000000000);
    assert_int_equal(cbt_spool_tick(bed->spool, now_ns, NULL), 0);
    assert_int_equal(cbt_spool_read_checkpoint(bed->spool->checkpoint_fd, &broken), 3);
    assert_false(broken);
    write_down(bed, 3, 10);
    cbt_spool_settle(bed->spool, take(bed, 3, 10));
    assert_int_equal(cbt_spool_tick(bed->spool, now_ns + 99999999, NULL), 0);
    assert_int_equal(cbt_spool_read_checkpoint(bed->spool->checkpoint_fd, &broken), 3);
    assert_int_equal(cbt_spool_tick(bed->spool, now_ns + 100000000, NULL), 0);
    assert_int_equal(cbt_spool_read_checkpoint(bed->spool->checkpoint_fd, &broken), 4);
}

static void a_full_spool_refuses_and_takes_again_when_a_segment_is_settled(void **state)
{
    struct bed *bed = *state;
    bed->options.max_bytes = 16384;
    uint64_t count = 0;
    open_spool(bed);
    while (append(bed, count, 500) == 0) {
        assert_int_equal(cbt_spool_flush(bed->spool, NULL), 0);
        count++;
    }
    assert_in_range(count, 25, 31);
    assert_int_equal(append(bed, count, 500), CBT_ELIMIT);
    assert_true(cbt_spool_counts(bed->spool)->bytes <= 16384);
    for (uint64_t i = 0; i < 8; i++)
        cbt_spool_settle(bed->spool, take(bed, i, 500));
    write_down(bed, count, 500);
    for (uint64_t i = 8; i <= count; i++)
        take(bed, i, 500);
    nothing_to_take(bed);
}

static void a_number_that_is_settled_is_never_given_again(void **state)
{
    struct bed *bed = *state;
    open_spool(bed);
    for (uint64_t i = 0; i < 20; i++)
        write_down(bed, i, 100);
    for (uint64_t i = 0; i < 20; i++)
        cbt_spool_settle(bed->spool, take(bed, i, 100));
    assert_int_equal(cbt_spool_tick(bed->spool, INT64_C(1) << 40, NULL), 0);
    /* A power failure: the checkpoint came to the disk, the last of the messages did not. */
    const char *path = segment_path(bed, bed->spool->last->first_seq);
    close_spool(bed);
    if (access(path, F_OK) == 0)
        assert_int_equal(truncate(path, CBT_SPOOL_SEGMENT_HEAD_BYTES), 0);
    open_spool(bed);
    nothing_to_take(bed);
    write_down(bed, 20, 100);
    kill_spool(bed);
    open_spool(bed);
    take(bed, 20, 100);
}

static void each_policy_keeps_what_it_promises(void **state)
{
    struct bed *bed = *state;
    bed->options.fsync = CBT_SPOOL_FSYNC_ALWAYS;
    open_spool(bed);
    write_down(bed, 0, 100);
    assert_false(bed->spool->unsynced);
    close_spool(bed);

    bed->options.fsync = CBT_SPOOL_FSYNC_INTERVAL;
    open_spool(bed);
    int64_t now_ns = INT64_C(1) << 40;
    assert_int_equal(cbt_spool_tick(bed->spool, now_ns, NULL), 0);
    write_down(bed, 1, 100);
    assert_true(bed->spool->unsynced);
    bed->spool->synced_ns = now_ns;
    assert_int_equal(cbt_spool_tick(bed->spool, now_ns + 999999999, NULL), 0);
    assert_true(bed->spool->unsynced);
    assert_int_equal(cbt_spool_tick(bed->spool, now_ns + 1000000000, NULL), 0);
    assert_false(bed->spool->unsynced);
    close_spool(bed);

    bed->options.fsync = CBT_SPOOL_FSYNC_NONE;
    open_spool(bed);
    write_down(bed, 2, 100);
    assert_int_equal(cbt_spool_tick(bed->spool, now_ns * 2, NULL), 0);
    assert_true(bed->spool->unsynced);
    for (uint64_t i = 0; i < 3; i++)
        take(bed, i, 100);
}

static void a_directory_is_for_one_spool_at_a_time(void **state)
{
    struct bed *bed = *state;
    struct cbt_spool *second = NULL;
    struct cbt_err err = {0};
    open_spool(bed);
    assert_int_equal(cbt_spool_open(&second, &bed->options, &err), CBT_EINVAL);
    assert_non_null(strstr(err.text, "in use by another cbtap"));
    assert_non_null(strstr(err.text, bed->dir));
    close_spool(bed);
    assert_int_equal(cbt_spool_open(&second, &bed->options, &err), 0);
    cbt_spool_close(second);
}

static void a_place_that_cannot_be_used_is_told_with_what_to_do(void **state)
{
    struct bed *bed = *state;
    struct cbt_err err = {0};
    static const char *const places[] = {"/proc/no-such-place", "/dev/null", "/no/such/parent/spool"};
    for (unsigned i = 0; i < 3; i++) {
        bed->options.dir = places[i];
        assert_int_equal(cbt_spool_open(&bed->spool, &bed->options, &err), CBT_EINVAL);
        assert_non_null(strstr(err.text, places[i]));
        assert_non_null(strstr(err.text, "make it a directory"));
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_appended_comes_out_in_order),
        CASE(a_backlog_is_read_back_from_its_segments),
        CASE(a_message_larger_than_the_buffer_and_than_a_segment_goes_through),
        CASE(an_aborted_message_leaves_no_trace),
        CASE(what_is_not_settled_is_taken_first_by_the_next_process),
        CASE(a_killed_process_loses_nothing_that_was_written),
        CASE(settled_out_of_order_only_the_prefix_is_forgotten),
        CASE(no_more_than_the_window_is_unsettled),
        CASE(the_checkpoint_is_written_when_it_is_due),
        CASE(a_full_spool_refuses_and_takes_again_when_a_segment_is_settled),
        CASE(a_number_that_is_settled_is_never_given_again),
        CASE(each_policy_keeps_what_it_promises),
        CASE(a_directory_is_for_one_spool_at_a_time),
        CASE(a_place_that_cannot_be_used_is_told_with_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
