/* SPDX-License-Identifier: MIT */
/*
 * Receivers and workers between a source and a sink of the test's own: every frame is settled exactly once
 * and only after its last record is delivered, order is kept for each sensor, the budget holds, and all
 * memory comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "decode/worker.h"
#include "ingest/receiver.h"

#define SENSORS     50
#define WORKERS     3
#define RECORDS_MAX 2000000
#define POOL        700
#define DEADLINE_NS (INT64_C(60) * 1000000000)

/* ---- a source that makes bundles of `per_frame` records, whose header.timestamp counts up for each sensor
 * ---- */

struct fake_source {
    struct cbt_receiver *receiver;
    uint32_t frames_left, per_frame;
    uint32_t next_frame;
    uint32_t sequence[SENSORS];
    bool broken_every_seventh;
    _Atomic uint32_t settled;
    uint8_t *settled_tokens;     /* one for each frame: how often it was settled */
    _Atomic uint32_t *delivered; /* of each frame, by the sink */
    uint32_t early;              /* frames settled before all their records were delivered */
    uint32_t records_of_frame;
};

static struct fake_source source_state;

static size_t put_varint(uint8_t *out, uint64_t value)
{
    size_t len = 0;
    do {
        out[len++] = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
    } while (value != 0);
    return len;
}

/* One record: header { version 4, timestamp n }, with its length before it. */
static size_t put_record(uint8_t *out, uint64_t timestamp, bool broken)
{
    uint8_t header[24];
    size_t len = 0;
    header[len++] = 0x08;
    header[len++] = 4;
    header[len++] = 0x20;
    len += put_varint(header + len, timestamp);
    uint32_t size = (uint32_t)len + 2;
    memcpy(out, &size, 4);
    out[4] = 0x0a;
    out[5] = (uint8_t)(broken ? len + 100 : len);
    memcpy(out + 6, header, len);
    return 4 + size;
}

static uint32_t fake_frames_max(const struct cbt_source_config *config)
{
    (void)config;
    return POOL;
}
static int fake_open(void **ret_self, const struct cbt_source_config *config, struct cbt_receiver *receiver,
                     struct cbt_err *err)
{
    (void)config;
    (void)err;
    source_state.receiver = receiver;
    *ret_self = &source_state;
    return 0;
}
static int fake_connect(void *self, struct cbt_err *err)
{
    (void)self;
    (void)err;
    return 0;
}
static int fake_fd(void *self)
{
    (void)self;
    return -1;
}
static int fake_read(void *self, unsigned frames_max, struct cbt_err *err)
{
    struct fake_source *s = self;
    (void)err;
    unsigned count = 0;
    for (; count < frames_max && s->frames_left > 0; count++) {
        struct cbt_frame *frame = cbt_receiver_take(s->receiver, (size_t)s->per_frame * 32);
        if (frame == NULL)
            return count > 0 ? (int)count : CBT_ELIMIT;
        uint32_t sensor = s->next_frame % SENSORS;
        uint8_t *at = (uint8_t *)(uintptr_t)frame->body.data;
        size_t len = 0;
        for (uint32_t i = 0; i < s->per_frame; i++)
            len += put_record(at + len, 1 + s->sequence[sensor]++, s->broken_every_seventh && i % 7 == 6);
        frame->body.len = len;
        frame->framing = CBT_FRAMING_BUNDLE;
        frame->env.sensor_id = (int32_t)sensor;
        frame->env.has_sensor_id = true;
        frame->token = s->next_frame++;
        s->frames_left--;
        cbt_receiver_push(s->receiver, frame);
    }
    return (int)count;
}
static int fake_tick(void *self, int64_t now_ns, struct cbt_err *err)
{
    (void)self;
    (void)now_ns;
    (void)err;
    return 0;
}
static int fake_settle(void *self, struct cbt_frame *const done[], size_t count, struct cbt_err *err)
{
    struct fake_source *s = self;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        s->settled_tokens[done[i]->token]++;
        if (atomic_load(&s->delivered[done[i]->token]) != s->records_of_frame)
            s->early++;
    }
    cbt_count(cbt_receiver_stats(s->receiver), CBT_COUNT_settled_frames, count);
    atomic_fetch_add(&s->settled, (uint32_t)count);
    return 0;
}
static int fake_settle_flush(void *self, struct cbt_err *err)
{
    (void)self;
    (void)err;
    return 0;
}
static void fake_nothing(void *self)
{
    (void)self;
}

static const struct cbt_source fake_source = {.type = "fake",
                                              .guarantee = "all",
                                              .redelivers = true,
                                              .frames_max = fake_frames_max,
                                              .open = fake_open,
                                              .connect = fake_connect,
                                              .fd = fake_fd,
                                              .read = fake_read,
                                              .tick = fake_tick,
                                              .settle = fake_settle,
                                              .settle_flush = fake_settle_flush,
                                              .disconnect = fake_nothing,
                                              .close = fake_nothing};

/* ---- a sink that keeps what it gets, and a thread that delivers it in a shuffled order ---- */

struct fake_sink {
    pthread_mutex_t lock;
    struct cbt_record **records;
    size_t count, taken;
    uint64_t last[SENSORS]; /* timestamp last submitted of each sensor */
    uint32_t out_of_order, dead, wrong_key, blamed;
    _Atomic uint32_t blamed_after;
    int64_t waited_ns; /* what a submit makes believe that it took */
    struct cbt_stats **worker_stats;
    _Atomic bool hold, quit;
    struct cbt_settler *settler;
};

static struct fake_sink sink_state;
static _Thread_local struct cbt_stats *submitter; /* a worker's own, after its first submit */

static void fake_submit(void *self, unsigned worker, struct cbt_record *const recs[], size_t n)
{
    struct fake_sink *s = self;
    pthread_mutex_lock(&s->lock);
    /* /healthz must not blame a worker that waits in here for a peer that is away. */
    if (atomic_load(&s->worker_stats[worker]->waiting_for_peer) != 1)
        s->blamed++;
    if (s->waited_ns != 0) {
        submitter = s->worker_stats[worker];
        atomic_store(&submitter->moved_ns, cbt_now_ns() - s->waited_ns);
    }
    for (size_t i = 0; i < n; i++) {
        s->records[s->count++] = recs[i];
        if (recs[i]->dead != NULL) {
            s->dead++;
            continue;
        }
        uint64_t timestamp;
        memcpy(&timestamp, recs[i]->value, sizeof(timestamp));
        if (timestamp <= s->last[recs[i]->sensor_id])
            s->out_of_order++;
        s->last[recs[i]->sensor_id] = timestamp;
        char key[16];
        int len = snprintf(key, sizeof(key), "%d", recs[i]->sensor_id);
        if ((int)recs[i]->key_len != len || memcmp(recs[i]->key, key, (size_t)len) != 0)
            s->wrong_key++;
    }
    pthread_mutex_unlock(&s->lock);
}

static void *deliver(void *arg)
{
    struct fake_sink *s = arg;
    unsigned seed = 7;
    while (!atomic_load(&s->quit)) {
        if (atomic_load(&s->hold)) {
            sched_yield();
            continue;
        }
        pthread_mutex_lock(&s->lock);
        size_t from = s->taken, count = s->count - s->taken;
        for (size_t i = 0; i + 1 < count; i++) {
            size_t j = i + (size_t)rand_r(&seed) % (count - i);
            struct cbt_record *swap = s->records[from + i];
            s->records[from + i] = s->records[from + j];
            s->records[from + j] = swap;
        }
        s->taken = s->count;
        pthread_mutex_unlock(&s->lock);
        for (size_t i = 0; i < count; i++) {
            struct cbt_frame *frame = s->records[from + i]->frame;
            atomic_fetch_add(&source_state.delivered[frame->token], 1);
            cbt_settle(s->settler, frame, 1);
        }
        cbt_settle_flush(s->settler);
        sched_yield();
    }
    return NULL;
}

static const struct cbt_sink fake_sink = {.type = "fake", .submit = fake_submit};

static int fake_encode(const void *self, const struct cbt_event *event, struct cbt_buf *out,
                       struct cbt_err *err)
{
    (void)self;
    (void)err;
    /* Back from a wait: what /healthz looks at. */
    if (submitter != NULL && atomic_load(&submitter->waiting_for_peer) == 0 &&
        cbt_now_ns() - atomic_load(&submitter->moved_ns) > sink_state.waited_ns / 2)
        atomic_fetch_add(&sink_state.blamed_after, 1);
    /* The timestamp is the varint at the end of the record; 200 bytes more make records that fill blocks. */
    uint64_t timestamp = 0;
    for (size_t i = 5; i < event->raw.len; i++)
        timestamp |= (uint64_t)(event->raw.data[i] & 0x7f) << (7 * (i - 5));
    cbt_buf_put(out, &timestamp, sizeof(timestamp));
    for (unsigned i = 0; i < 200; i++)
        cbt_buf_put(out, "x", 1);
    return out->failed ? CBT_ELIMIT : CBT_OK;
}
static const struct cbt_format fake_format = {.name = "fake", .encode = fake_encode};

/* ---- the wiring ---- */

struct flow {
    struct cbt_metrics *metrics;
    struct cbt_budget budget;
    struct cbt_filter *filter;
    struct cbt_outlet outlet;
    struct cbt_settler settlers[WORKERS + 1];
    struct cbt_alarm *receiver_alarm, *worker_alarms[WORKERS];
    struct cbt_worker *workers[WORKERS];
    struct cbt_stats *worker_stats[WORKERS], *receiver_stats;
    struct cbt_receiver *receiver;
    struct cbt_source_config config;
    struct cbt_ring rings[WORKERS + 1];
    bool touched[WORKERS + 1];
    pthread_t delivery;
    size_t most_used;
};

static void flow_start(struct flow *f, uint32_t frames, uint32_t per_frame, size_t limit_bytes,
                       uint32_t records_if_broken)
{
    *f = (struct flow){.config = {.name = "fake", .type = "amqp"}};
    source_state = (struct fake_source){
        .frames_left = frames, .per_frame = per_frame, .broken_every_seventh = records_if_broken != 0};
    source_state.settled_tokens = calloc(frames, 1);
    source_state.delivered = calloc(frames, sizeof(_Atomic uint32_t));
    source_state.records_of_frame = records_if_broken != 0 ? records_if_broken : per_frame;
    bool hold = atomic_load(&sink_state.hold);
    int64_t waited_ns = sink_state.waited_ns;
    sink_state = (struct fake_sink){.lock = PTHREAD_MUTEX_INITIALIZER, .hold = hold, .waited_ns = waited_ns};
    sink_state.records = calloc(RECORDS_MAX, sizeof(struct cbt_record *));
    cbt_budget_init(&f->budget, limit_bytes, false);
    assert_int_equal(cbt_metrics_new(&f->metrics), 0);
    assert_int_equal(cbt_filter_new(&f->filter, "*", "", NULL), 0);
    f->outlet = (struct cbt_outlet){.sink = &fake_sink,
                                    .sink_self = &sink_state,
                                    .format = &fake_format,
                                    .key = CBT_KEY_SENSOR_ID,
                                    .takes_dead_letters = true};
    for (unsigned i = 0; i < WORKERS; i++) {
        f->worker_stats[i] = cbt_metrics_add(f->metrics, CBT_STATS_WORKER, "worker", "");
        struct cbt_worker_context context = {
            .index = i,
            .stats = f->worker_stats[i],
            .budget = &f->budget,
            .block_bytes = 32768,
            .blocks_cached_max = 4,
            .limits = {.arena_max_bytes = 1 << 20, .record_max_bytes = 1 << 20},
            .value_max_bytes = 1 << 20,
            .settler = &f->settlers[i],
            .outlets = &f->outlet,
            .outlet_count = 1,
            .receivers = 1,
            .filter = f->filter};
        assert_int_equal(cbt_worker_new(&f->workers[i], &context, NULL), 0);
        f->worker_alarms[i] = cbt_worker_alarm(f->workers[i]);
    }
    f->receiver_stats = cbt_metrics_add(f->metrics, CBT_STATS_SOURCE, "rx", "fake");
    struct cbt_receiver_context context = {.source = &fake_source,
                                           .config = &f->config,
                                           .stats = f->receiver_stats,
                                           .budget = &f->budget,
                                           .block_bytes = 32768,
                                           .blocks_cached_max = 4,
                                           .frame_max_bytes = 1 << 20,
                                           .workers = WORKERS,
                                           .worker_alarms = f->worker_alarms,
                                           .settlers = WORKERS + 1};
    assert_int_equal(cbt_receiver_new(&f->receiver, &context, NULL), 0);
    f->receiver_alarm = cbt_receiver_alarm(f->receiver);
    for (unsigned i = 0; i <= WORKERS; i++) {
        assert_int_equal(cbt_ring_init(&f->rings[i], POOL, NULL), 0);
        f->settlers[i] = (struct cbt_settler){.index = i,
                                              .receivers = 1,
                                              .rings = &f->rings[i],
                                              .alarms = &f->receiver_alarm,
                                              .touched = &f->touched[i]};
        cbt_receiver_set_settle_ring(f->receiver, i, &f->rings[i]);
    }
    sink_state.settler = &f->settlers[WORKERS];
    sink_state.worker_stats = f->worker_stats;
    assert_int_equal(pthread_create(&f->delivery, NULL, deliver, &sink_state), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        cbt_worker_set_lane(f->workers[i], 0, cbt_receiver_lane(f->receiver, i));
        assert_int_equal(cbt_worker_start(f->workers[i], NULL), 0);
    }
    assert_int_equal(cbt_receiver_start(f->receiver, NULL), 0);
}

/* Waits until `frames` are settled, watching the budget meanwhile. */
static void flow_wait(struct flow *f, uint32_t frames)
{
    int64_t deadline = cbt_now_ns() + DEADLINE_NS;
    while (atomic_load(&source_state.settled) < frames || cbt_receiver_inflight(f->receiver) != 0 ||
           cbt_budget_used(&f->budget) != 0) {
        size_t used = cbt_budget_used(&f->budget);
        f->most_used = used > f->most_used ? used : f->most_used;
        assert_true(cbt_now_ns() < deadline);
        sched_yield();
    }
}

static void flow_stop(struct flow *f)
{
    for (unsigned i = 0; i < WORKERS; i++)
        cbt_worker_stop(f->workers[i]);
    cbt_receiver_stop(f->receiver);
    atomic_store(&sink_state.quit, true);
    pthread_join(f->delivery, NULL);
    cbt_receiver_free(f->receiver);
    for (unsigned i = 0; i < WORKERS; i++)
        cbt_worker_free(f->workers[i]);
    for (unsigned i = 0; i <= WORKERS; i++)
        cbt_ring_free(&f->rings[i]);
    assert_int_equal(cbt_budget_used(&f->budget), 0);
    cbt_filter_free(f->filter);
    cbt_metrics_free(f->metrics);
    free(source_state.settled_tokens);
    free(source_state.delivered);
    free(sink_state.records);
}

static void check_all_settled_once(uint32_t frames)
{
    for (uint32_t i = 0; i < frames; i++)
        assert_int_equal(source_state.settled_tokens[i], 1);
    assert_int_equal(source_state.early, 0);
    assert_int_equal(sink_state.out_of_order, 0);
    assert_int_equal(sink_state.wrong_key, 0);
    assert_int_equal(sink_state.blamed, 0);
}

static uint64_t sum_events(const struct flow *f)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        for (unsigned t = 0; t < CBT_TYPES; t++)
            sum += atomic_load(&f->worker_stats[i]->events[t]);
    return sum;
}

static void every_frame_is_settled_once_after_its_last_delivery(void **state)
{
    (void)state;
    struct flow f;
    flow_start(&f, 20000, 17, 16 << 20, 0);
    flow_wait(&f, 20000);
    check_all_settled_once(20000);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(atomic_load(&f.worker_stats[i]->waiting_for_peer), 0);
    assert_int_equal(sink_state.count, 20000 * 17);
    assert_int_equal(sum_events(&f), 20000 * 17);
    flow_stop(&f);
}

static void single_messages_flow_and_the_budget_holds(void **state)
{
    (void)state;
    struct flow f;
    flow_start(&f, 50000, 1, 4 << 20, 0);
    flow_wait(&f, 50000);
    check_all_settled_once(50000);
    assert_true(f.most_used <= 4 << 20);
    flow_stop(&f);
}

static void broken_records_become_dead_letters_and_their_neighbours_go_on(void **state)
{
    (void)state;
    struct flow f;
    flow_start(&f, 300, 70, 16 << 20, 70);
    flow_wait(&f, 300);
    check_all_settled_once(300);
    assert_int_equal(sink_state.dead, 300 * 10);
    assert_int_equal(sink_state.count, 300 * 70);
    flow_stop(&f);
}

static void after_a_hundred_broken_parts_the_rest_is_one(void **state)
{
    (void)state;
    struct flow f;
    /* 100 broken ones are reached with the 700th record; the rest is one dead letter. */
    flow_start(&f, 1, 1400, 16 << 20, 701);
    flow_wait(&f, 1);
    check_all_settled_once(1);
    assert_int_equal(sink_state.dead, 101);
    assert_int_equal(sink_state.count, 701);
    flow_stop(&f);
}

static void a_sink_that_stands_still_stops_the_source_and_loses_nothing(void **state)
{
    (void)state;
    struct flow f;
    atomic_store(&sink_state.hold, true);
    flow_start(&f, 4000, 200, 8 << 20, 0);
    /* Still until nothing moves any more: the budget is full, the source is not read. */
    uint64_t before = UINT64_MAX;
    int64_t deadline = cbt_now_ns() + DEADLINE_NS;
    for (int64_t quiet_since = cbt_now_ns(); cbt_now_ns() - quiet_since < 1000000000;) {
        uint64_t now = sum_events(&f) + cbt_receiver_inflight(f.receiver);
        if (now != before)
            quiet_since = cbt_now_ns();
        before = now;
        assert_true(cbt_now_ns() < deadline);
        sched_yield();
    }
    /* Over the limit at most: what each worker needs to finish its frame. */
    size_t frame_bytes = 200 * (208 + 200 + CBT_RECORD_OVERHEAD_BYTES) + 2 * 32768;
    assert_true(cbt_budget_used(&f.budget) <= (8 << 20) + WORKERS * frame_bytes);
    assert_true(source_state.frames_left > 0);
    assert_int_equal(atomic_load(&source_state.settled), 0);
    atomic_store(&sink_state.hold, 0);
    flow_wait(&f, 4000);
    check_all_settled_once(4000);
    flow_stop(&f);
}

static void nobody_is_blamed_after_a_long_wait_in_a_sink(void **state)
{
    (void)state;
    struct flow f;
    sink_state.waited_ns = INT64_C(600000000000);
    /* Frames of several hand-overs: the worker goes on with the next record right after one. */
    flow_start(&f, 30, 3000, 16 << 20, 0);
    flow_wait(&f, 30);
    check_all_settled_once(30);
    assert_int_equal(atomic_load(&sink_state.blamed_after), 0);
    flow_stop(&f);
    sink_state.waited_ns = 0;
}

static void stopping_amid_the_flow_frees_everything_and_settles_nothing_early(void **state)
{
    (void)state;
    struct flow f;
    flow_start(&f, 20000, 100, 8 << 20, 0);
    while (atomic_load(&source_state.settled) < 1000)
        sched_yield();
    flow_stop(&f);
    assert_int_equal(source_state.early, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_frame_is_settled_once_after_its_last_delivery),
        cmocka_unit_test(single_messages_flow_and_the_budget_holds),
        cmocka_unit_test(broken_records_become_dead_letters_and_their_neighbours_go_on),
        cmocka_unit_test(after_a_hundred_broken_parts_the_rest_is_one),
        cmocka_unit_test(a_sink_that_stands_still_stops_the_source_and_loses_nothing),
        cmocka_unit_test(nobody_is_blamed_after_a_long_wait_in_a_sink),
        cmocka_unit_test(stopping_amid_the_flow_frees_everything_and_settles_nothing_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
