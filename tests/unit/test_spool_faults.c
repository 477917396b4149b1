/* SPDX-License-Identifier: MIT */
/* The spool and what can go wrong with its files: torn and damaged ones, a full disk, the end of the process
 * at any moment. */
#include "spool_bed.h"

#include <signal.h>
#include <sys/resource.h>

#include "captured.h"
#include "cbtap/log.h"

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
    assert_int_equal(append(bed, 2, CBT_SPOOL_BUFFER_BYTES + 4900), CBT_EIO);
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

/* ---- the end of the process at any moment ---- */

#define OPERATIONS 3000

struct model {
    unsigned seed;
    uint64_t appended;  /* messages given to the spool, by number */
    uint64_t written;   /* of these, surely on disk */
    uint64_t next;      /* number that the next take must give */
    uint64_t settled;   /* all before are settled */
    uint64_t done[256]; /* taken, number by position in the ring of tickets */
    uint64_t ticket[256];
    unsigned open;
};

static unsigned roll(struct model *m, unsigned sides)
{
    return (unsigned)rand_r(&m->seed) % sides;
}

/* Sizes follow from the number, so that a process that comes later knows them. */
static size_t size_of(uint64_t number)
{
    uint64_t hash = (number + 1) * UINT64_C(0x9E3779B97F4A7C15) >> 40;
    return hash % 97 == 0 ? 1200000 + hash % 5000 : hash % 900;
}

/* As if the process had ended at this instant, perhaps amid a write: a new one works on a copy of the files,
 * whose last one may have lost bytes that were not yet told to be written. */
static void begin_anew(struct bed *bed, struct model *m, char *other)
{
    uint64_t whole = bed->spool->writing ? bed->spool->last->bytes : 0;
    uint64_t first_seq = bed->spool->writing ? bed->spool->last->first_seq : 0;
    copy_dir(bed->dir, other);
    kill_spool(bed);
    char swapped[64];
    memcpy(swapped, bed->dir, sizeof swapped);
    memcpy(bed->dir, other, sizeof swapped);
    memcpy(other, swapped, sizeof swapped);
    bed->options.dir = bed->dir;
    if (whole > 0 && roll(m, 2) == 0) {
        /* A write that was under way left part of itself behind. */
        const char *path = segment_path(bed, first_seq);
        uint8_t head[CBT_SPOOL_RECORD_HEAD_BYTES + 30] = {0};
        struct cbt_spool_record record = {.body_bytes = 500, .channel_bytes = 10};
        cbt_spool_record_encode(&record, head);
        int fd = open(path, O_WRONLY);
        size_t torn = 1 + roll(m, sizeof head - 1);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, head, torn, (off_t)whole), (ssize_t)torn);
        close(fd);
    }
    open_spool(bed);
    /* All that was surely written is there, and of what was settled only what no checkpoint told comes again.
     */
    uint64_t begin = bed->spool->settled_seq, end = bed->spool->next_seq;
    assert_true(begin <= m->settled);
    assert_true(end >= m->written && end <= m->appended);
    m->next = begin;
    m->settled = begin;
    m->appended = m->written = end;
    m->open = 0;
}

static void settle_one(struct bed *bed, struct model *m)
{
    unsigned i = roll(m, m->open);
    cbt_spool_settle(bed->spool, m->ticket[i]);
    m->open--;
    m->done[i] = m->done[m->open];
    m->ticket[i] = m->ticket[m->open];
    m->settled = m->next;
    for (unsigned k = 0; k < m->open; k++)
        if (m->done[k] < m->settled)
            m->settled = m->done[k];
    assert_int_equal(bed->spool->settled_seq, m->settled);
}

static void step(struct bed *bed, struct model *m, char *other)
{
    unsigned choice = roll(m, 100);
    if (choice < 35) {
        assert_int_equal(append(bed, m->appended, size_of(m->appended)), 0);
        m->appended++;
    } else if (choice < 50) {
        assert_int_equal(cbt_spool_flush(bed->spool, NULL), 0);
        m->written = m->appended;
    } else if (choice < 75) {
        if (m->open < 256 && m->next < bed->spool->next_seq) {
            m->done[m->open] = m->next;
            m->ticket[m->open++] = take(bed, m->next, size_of(m->next));
            m->next++;
        }
    } else if (choice < 96) {
        if (m->open > 0)
            settle_one(bed, m);
    } else if (choice < 98) {
        assert_int_equal(cbt_spool_write_checkpoint(bed->spool, NULL), 0);
    } else {
        begin_anew(bed, m, other);
    }
}

static void whenever_the_process_ends_nothing_written_is_lost_and_order_holds(void **state)
{
    struct bed *bed = *state;
    char other[64];
    bed->options.segment_bytes = 20000;
    cbt_log_configure(CBT_LOG_ERROR, CBT_LOG_TEXT);
    for (unsigned round = 0; round < 6; round++) {
        struct model m = {.seed = 4711 + round};
        snprintf(other, sizeof other, "%.60s-b", bed->dir);
        open_spool(bed);
        for (unsigned i = 0; i < OPERATIONS; i++)
            step(bed, &m, other);
        assert_int_equal(cbt_spool_flush(bed->spool, NULL), 0);
        while (m.open > 0)
            settle_one(bed, &m);
        for (; m.next < m.appended; m.next++)
            cbt_spool_settle(bed->spool, take(bed, m.next, size_of(m.next)));
        nothing_to_take(bed);
        assert_int_equal(cbt_spool_counts(bed->spool)->damaged, 0);
        close_spool(bed);
        remove_tree(other);
        remove_tree(bed->dir);
        assert_int_equal(mkdir(bed->dir, 0700), 0);
    }
    cbt_log_configure(CBT_LOG_INFO, CBT_LOG_TEXT);
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
        CASE(a_segment_with_a_broken_head_is_set_aside),
        CASE(a_broken_checkpoint_delivers_all_again),
        CASE(a_full_disk_leaves_what_was_not_written_to_the_owner),
        CASE(a_disk_that_is_full_amid_a_large_message_takes_the_next),
        CASE(a_segment_that_cannot_be_made_is_made_later),
        CASE(whenever_the_process_ends_nothing_written_is_lost_and_order_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
