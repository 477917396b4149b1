/* SPDX-License-Identifier: MIT */
/* The spool under random operations: the process ends between any two of them, or its files hold anything. */
#include "spool_bed.h"

#include "captured.h"
#include "cbtap/log.h"

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

/* ---- files that hold anything ---- */

#define DAMAGED_ROUNDS   400
#define DAMAGED_MESSAGES 60

/* Some bytes changed, some cut off, some appended, in some file of the directory. */
static void damage_something(struct bed *bed, unsigned *seed)
{
    char path[400];
    DIR *dir = opendir(bed->dir);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0 || rand_r(seed) % 3 == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", bed->dir, entry->d_name);
        size_t bytes = file_bytes(path);
        int choice = rand_r(seed) % 4;
        if (choice == 0 && bytes > 0)
            assert_int_equal(truncate(path, rand_r(seed) % (long)bytes), 0);
        else if (choice == 1)
            assert_int_equal(truncate(path, (off_t)bytes + rand_r(seed) % 5000), 0);
        else
            for (int i = rand_r(seed) % 4; i >= 0 && bytes > 0; i--)
                flip_byte(path, (size_t)rand_r(seed) % bytes);
    }
    closedir(dir);
}

/* Takes all that there is: whatever comes out is a message that went in, whole, in the order of its number.
 */
static uint64_t take_what_is_left(struct bed *bed)
{
    struct cbt_spool_message message;
    uint64_t count = 0, number = 0, last = 0, ticket = 0;
    while (cbt_spool_next(bed->spool, &message) == 1) {
        assert_true(message.body_bytes <= 908);
        if (cbt_spool_take(bed->spool, bed->taken, &ticket) != 0)
            continue;
        cbt_spool_settle(bed->spool, ticket);
        memcpy(&number, bed->taken, 8);
        assert_int_equal(message.body_bytes, 8 + number * 31 % 900);
        make_body(bed, number, message.body_bytes);
        assert_memory_equal(bed->taken, bed->body, message.body_bytes);
        assert_true(count == 0 || number > last);
        last = number;
        count++;
    }
    return count;
}

static void whatever_its_files_hold_only_whole_messages_come_out_in_order(void **state)
{
    struct bed *bed = *state;
    unsigned seed = 815;
    uint64_t all = 0;
    bed->options.segment_bytes = 6000;
    struct captured captured;
    capture_begin(&captured);
    for (unsigned round = 0; round < DAMAGED_ROUNDS; round++) {
        open_spool(bed);
        for (uint64_t i = 0; i < DAMAGED_MESSAGES; i++)
            write_down(bed, i, 8 + i * 31 % 900);
        for (uint64_t i = 0; i < round % 10; i++)
            cbt_spool_settle(bed->spool, take(bed, i, 8 + i * 31 % 900));
        close_spool(bed);
        damage_something(bed, &seed);
        open_spool(bed);
        all += take_what_is_left(bed);
        /* It works on, and the next process finds what comes now. */
        write_down(bed, 1000, 8 + 1000 * 31 % 900);
        kill_spool(bed);
        open_spool(bed);
        take_what_is_left(bed);
        assert_int_equal(bed->taken[0] | bed->taken[1] << 8, 1000); /* the last of them */
        close_spool(bed);
        remove_tree(bed->dir);
        assert_int_equal(mkdir(bed->dir, 0700), 0);
    }
    free(capture_end(&captured));
    /* About half is left by such damage: the test reads more than nothing. */
    assert_true(all > (uint64_t)DAMAGED_ROUNDS * DAMAGED_MESSAGES / 4);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(whenever_the_process_ends_nothing_written_is_lost_and_order_holds),
        CASE(whatever_its_files_hold_only_whole_messages_come_out_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
