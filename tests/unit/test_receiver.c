/* SPDX-License-Identifier: MIT */
/*
 * The loop that every source shares, with a source that does as the test says and with the test in the place
 * of the workers: what it does while there is no connection, or no connection that lasts, when it has
 * acknowledgements written, and when it has stopped reading.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "captured.h"
#include "cbtap/clock.h"
#include "ingest/receiver.h"

#define FRAMES      64
#define NS_PER_MS   INT64_C(1000000)
#define DEADLINE_NS (INT64_C(30) * 1000000000)

/* ---- the source ---- */

static struct {
    struct cbt_receiver *receiver;
    _Atomic unsigned to_push;         /* frames that the next read brings */
    _Atomic bool in_read, read_hangs; /* until the test lets it go on */
    _Atomic int read_fails;           /* what a read returns instead of frames, 0: nothing */
    _Atomic int connect_fails;        /* the same of connect */
    _Atomic unsigned connects, flushes, settled;
    _Atomic unsigned to_feed; /* frames that the source itself keeps */
} script;

static uint32_t script_frames_max(const struct cbt_source_config *config)
{
    (void)config;
    return FRAMES;
}
static int script_open(void **ret_self, const struct cbt_source_config *config, struct cbt_receiver *receiver,
                       struct cbt_err *err)
{
    (void)config, (void)err;
    script.receiver = receiver;
    *ret_self = &script;
    return 0;
}
static int script_connect(void *self, struct cbt_err *err)
{
    (void)self;
    atomic_fetch_add(&script.connects, 1);
    int rc = atomic_load(&script.connect_fails);
    return rc != 0 ? cbt_err_set(err, rc, "no") : 0;
}
static int script_fd(void *self)
{
    (void)self;
    return -1;
}
static int script_read(void *self, unsigned frames_max, struct cbt_err *err)
{
    (void)self, (void)frames_max;
    int rc = atomic_load(&script.read_fails);
    if (rc != 0)
        return cbt_err_set(err, rc, "the peer is gone");
    atomic_store(&script.in_read, true);
    while (atomic_load(&script.read_hangs))
        sched_yield();
    unsigned count = atomic_exchange(&script.to_push, 0);
    for (unsigned i = 0; i < count; i++) {
        struct cbt_frame *frame = cbt_receiver_take(script.receiver, 100);
        assert_non_null(frame);
        cbt_receiver_push(script.receiver, frame);
    }
    return (int)count;
}
static int script_feed(void *self, unsigned frames_max)
{
    (void)self;
    unsigned count = 0;
    while (count < frames_max && atomic_load(&script.to_feed) > 0) {
        struct cbt_frame *frame = cbt_receiver_take(script.receiver, 100);
        if (frame == NULL)
            return count > 0 ? (int)count : CBT_ELIMIT;
        /* Before whoever waits for the frame can have it. */
        atomic_fetch_sub(&script.to_feed, 1);
        cbt_receiver_push(script.receiver, frame);
        count++;
    }
    return (int)count;
}
static int script_tick(void *self, int64_t now_ns, struct cbt_err *err)
{
    (void)self, (void)now_ns, (void)err;
    return 0;
}
static int script_settle(void *self, struct cbt_frame *const done[], size_t count, struct cbt_err *err)
{
    (void)self, (void)done, (void)err;
    atomic_fetch_add(&script.settled, (unsigned)count);
    return 0;
}
static int script_settle_flush(void *self, struct cbt_err *err)
{
    (void)self, (void)err;
    atomic_fetch_add(&script.flushes, 1);
    return 0;
}
static void script_nothing(void *self)
{
    (void)self;
}

static const struct cbt_source script_source = {.type = "script",
                                                .guarantee = "none",
                                                .redelivers = true,
                                                .frames_max = script_frames_max,
                                                .open = script_open,
                                                .connect = script_connect,
                                                .fd = script_fd,
                                                .read = script_read,
                                                .feed = script_feed,
                                                .tick = script_tick,
                                                .settle = script_settle,
                                                .settle_flush = script_settle_flush,
                                                .disconnect = script_nothing,
                                                .close = script_nothing};

/* ---- the receiver, and the test as its worker ---- */

static struct {
    struct cbt_source_config config;
    struct cbt_budget budget;
    struct cbt_metrics *metrics;
    struct cbt_stats *stats;
    struct cbt_receiver *receiver;
    struct cbt_alarm worker_alarm, *worker_alarms, *receiver_alarm;
    struct cbt_ring ring;
    bool touched;
    struct cbt_settler settler;
} bed;

static int set_up(void **state)
{
    (void)state;
    memset(&script, 0, sizeof(script));
    memset(&bed, 0, sizeof(bed));
    bed.config = (struct cbt_source_config){.name = "script", .type = "amqp"};
    cbt_budget_init(&bed.budget, 1 << 20, false);
    bed.worker_alarms = &bed.worker_alarm;
    if (cbt_alarm_init(&bed.worker_alarm, NULL) != 0 || cbt_metrics_new(&bed.metrics) != 0)
        return 1;
    bed.stats = cbt_metrics_add(bed.metrics, CBT_STATS_SOURCE, "rx-script-0", "script");
    const struct cbt_receiver_context context = {.source = &script_source,
                                                 .config = &bed.config,
                                                 .stats = bed.stats,
                                                 .budget = &bed.budget,
                                                 .block_bytes = 16384,
                                                 .blocks_cached_max = 4,
                                                 .frame_max_bytes = 1 << 16,
                                                 .workers = 1,
                                                 .worker_alarms = &bed.worker_alarms,
                                                 .settlers = 1};
    if (cbt_receiver_new(&bed.receiver, &context, NULL) != 0 || cbt_ring_init(&bed.ring, FRAMES, NULL) != 0)
        return 1;
    bed.receiver_alarm = cbt_receiver_alarm(bed.receiver);
    bed.settler = (struct cbt_settler){
        .receivers = 1, .rings = &bed.ring, .alarms = &bed.receiver_alarm, .touched = &bed.touched};
    cbt_receiver_set_settle_ring(bed.receiver, 0, &bed.ring);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cbt_receiver_stop(bed.receiver);
    cbt_receiver_free(bed.receiver);
    cbt_ring_free(&bed.ring);
    cbt_metrics_free(bed.metrics);
    cbt_alarm_free(&bed.worker_alarm);
    return 0;
}

static void start(void)
{
    assert_int_equal(cbt_receiver_start(bed.receiver, NULL), 0);
}

#define WAIT_FOR(condition)                                                                                  \
    do {                                                                                                     \
        int64_t deadline_ns = cbt_now_ns() + DEADLINE_NS;                                                    \
        while (!(condition)) {                                                                               \
            assert_true(cbt_now_ns() < deadline_ns);                                                         \
            sched_yield();                                                                                   \
        }                                                                                                    \
    } while (0)

static struct cbt_frame *pop(void)
{
    struct cbt_frame *frame = NULL;
    WAIT_FOR((frame = cbt_ring_pop(cbt_receiver_lane(bed.receiver, 0))) != NULL);
    return frame;
}

static void settle(struct cbt_frame *frame)
{
    cbt_settle(&bed.settler, frame, 1);
    cbt_settle_flush(&bed.settler);
}

static bool connected(void)
{
    return atomic_load(&bed.stats->gauge_connected) != 0;
}

static void pass(int64_t ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS}, NULL);
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- tests ---- */

static void without_a_connection_it_sleeps_though_frames_of_the_old_one_came_back(void **state)
{
    (void)state;
    atomic_store(&script.to_push, 1);
    start();
    struct cbt_frame *frame = pop();
    atomic_store(&script.connect_fails, CBT_EREFUSED);
    atomic_store(&script.read_fails, CBT_EREFUSED);
    WAIT_FOR(!connected());
    settle(frame);
    WAIT_FOR(atomic_load(&script.settled) == 1);
    /* The next try to connect is seconds away, so that a second of its time shows what it does meanwhile. */
    int64_t before = cpu_ns();
    pass(1000);
    assert_true(cpu_ns() - before < 100 * NS_PER_MS);
    assert_int_equal(atomic_load(&script.flushes), 0);
}

static void acknowledgements_do_not_wait_for_the_end_of_a_trickle(void **state)
{
    (void)state;
    atomic_store(&script.to_push, 40);
    start();
    for (unsigned i = 0; i < 40; i++) {
        settle(pop());
        pass(25);
    }
    /* One in 100 ms and a turn of the loop, while a settlement comes every 25. */
    assert_true(atomic_load(&script.flushes) >= 3);
}

static void it_reads_until_the_read_under_way_has_ended(void **state)
{
    (void)state;
    assert_false(cbt_receiver_reads(bed.receiver)); /* not yet started */
    atomic_store(&script.read_hangs, true);
    start();
    WAIT_FOR(atomic_load(&script.in_read));
    cbt_receiver_stop_reading(bed.receiver);
    assert_true(cbt_receiver_reads(bed.receiver));
    atomic_store(&script.to_push, 1);
    atomic_store(&script.read_hangs, false);
    WAIT_FOR(!cbt_receiver_reads(bed.receiver));
    assert_int_equal(cbt_receiver_inflight(bed.receiver), 1);
    settle(pop());
    WAIT_FOR(cbt_receiver_inflight(bed.receiver) == 0);
    atomic_store(&script.to_push, 1);
    cbt_receiver_stop(bed.receiver);
    assert_int_equal(atomic_load(&script.to_push), 1); /* nobody has read it */
}

static void what_the_source_keeps_goes_on_without_a_connection_as_room_comes_back(void **state)
{
    (void)state;
    atomic_store(&script.connect_fails, CBT_EREFUSED);
    atomic_store(&script.to_feed, 3 * FRAMES);
    start();
    struct cbt_frame *frames[FRAMES];
    for (unsigned i = 0; i < FRAMES; i++)
        frames[i] = pop();
    assert_int_equal(atomic_load(&script.to_feed), 2 * FRAMES);
    for (unsigned i = 0; i < FRAMES; i++)
        settle(frames[i]);
    for (unsigned i = 0; i < 2 * FRAMES; i++)
        settle(pop());
    WAIT_FOR(atomic_load(&script.settled) == 3 * FRAMES);
    assert_false(connected());
}

static unsigned count_of(const char *text, const char *part)
{
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

static void a_peer_that_ends_every_connection_is_tried_ever_more_slowly_and_told_of_once(void **state)
{
    (void)state;
    struct captured captured;
    atomic_store(&script.read_fails, CBT_EIO);
    capture_begin(&captured);
    start();
    pass(2000);
    unsigned connects = atomic_load(&script.connects);
    WAIT_FOR(atomic_load(&script.connects) > connects);
    cbt_receiver_stop(bed.receiver);
    char *log = capture_end(&captured);
    /* Pauses of 50 ms, then of half of 100, 200, 400, 500 ms at least: 11 in 2 s. */
    assert_in_range(connects, 1, 12);
    assert_int_equal(count_of(log, "connection lost"), 1);
    assert_int_equal(count_of(log, "info connected"), 2);
    free(log);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(without_a_connection_it_sleeps_though_frames_of_the_old_one_came_back),
        CASE(acknowledgements_do_not_wait_for_the_end_of_a_trickle),
        CASE(a_peer_that_ends_every_connection_is_tried_ever_more_slowly_and_told_of_once),
        CASE(it_reads_until_the_read_under_way_has_ended),
        CASE(what_the_source_keeps_goes_on_without_a_connection_as_room_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
