/* SPDX-License-Identifier: MIT */
/*
 * The loop that every source shares: settle what is done, connect where there is no connection, read what has
 * arrived, hand it over, wait. One receiver is one thread, one connection, one pool of frames.
 *
 * Happy path: the socket is emptied in one go, frames go to their lanes, each worker is woken once, then the
 * loop pauses for coalesce_ms so that the next go finds a batch again. With nothing to read it parks on its
 * alarm and the socket. Failure: any error of the source drops the connection; it is tried again after 50 to
 * 500 ms with jitter, after 5 s where the peer refused. Frames in flight finish meanwhile; the source knows
 * by their generation that they are stale. No budget: nothing is read, ticks go on (heartbeats), settlements
 * make room.
 */
#include "ingest/receiver_frames.h"

#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"

enum { STOP_NOT, STOP_READING, STOP_NOW };

#define NS_PER_MS             INT64_C(1000000)
#define READ_FRAMES_MAX       1024 /* per turn of the loop, so that settlements are not kept waiting */
#define TICK_MS               250
#define HELD_MS               100 /* acknowledgements are held back no longer */
#define BACKOFF_FIRST_MS      50
#define BACKOFF_LAST_MS       500
#define BACKOFF_REFUSED_MS    5000
#define FAILURE_LOG_PERIOD_MS 30000
#define LASTING_MS            10000 /* a connection that ends sooner counts as another failure to connect */

int cbt_receiver_new(struct cbt_receiver **ret_receiver, const struct cbt_receiver_context *context,
                     struct cbt_err *err)
{
    struct cbt_receiver *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a receiver");
    int rc;
    r->context = *context;
    r->alarm.fd = -1;
    r->frame_count = context->source->frames_max(context->config);
    r->jitter = (uint64_t)cbt_now_ns() ^ ((uint64_t)context->index << 32);
    cbt_block_pool_init(&r->blocks, context->budget,
                        context->source->redelivers ? CBT_ACCOUNT_SOURCE : CBT_ACCOUNT_PUBSUB,
                        context->block_bytes, context->blocks_cached_max);
    r->frames = calloc(r->frame_count, sizeof(*r->frames));
    r->lanes = calloc(context->workers, sizeof(*r->lanes));
    r->lane_touched = calloc(context->workers, sizeof(*r->lane_touched));
    r->settle_rings = calloc(context->settlers, sizeof(struct cbt_ring *));
    r->done = calloc(CBT_SETTLE_BATCH, sizeof(struct cbt_frame *));
    if (r->frames == NULL || r->lanes == NULL || r->lane_touched == NULL || r->settle_rings == NULL ||
        r->done == NULL) {
        rc = cbt_err_set(err, CBT_ENOMEM, "no memory for %u frames", r->frame_count);
        goto fail;
    }
    for (uint32_t i = r->frame_count; i > 0; i--) {
        struct cbt_frame *frame = &r->frames[i - 1];
        frame->receiver = r;
        frame->receiver_index = context->index;
        frame->newer = r->free_frames;
        r->free_frames = frame;
    }
    if ((rc = cbt_alarm_init(&r->alarm, err)) != 0)
        goto fail;
    for (unsigned i = 0; i < context->workers; i++)
        if ((rc = cbt_ring_init(&r->lanes[i], r->frame_count, err)) != 0)
            goto fail;
    if ((rc = context->source->open(&r->source, context->config, r, err)) != 0)
        goto fail;
    *ret_receiver = r;
    return CBT_OK;
fail:
    cbt_receiver_free(r);
    return rc;
}

void cbt_receiver_free(struct cbt_receiver *r)
{
    if (r == NULL)
        return;
    if (r->source != NULL)
        r->context.source->close(r->source);
    /* What the shutdown left in flight: nobody else holds it any more. */
    while (r->oldest != NULL)
        cbt_receiver_recycle(r, r->oldest);
    cbt_block_pool_free(&r->blocks);
    for (unsigned i = 0; r->lanes != NULL && i < r->context.workers; i++)
        cbt_ring_free(&r->lanes[i]);
    cbt_alarm_free(&r->alarm);
    free(r->lanes);
    free(r->lane_touched);
    free(r->settle_rings);
    free(r->done);
    free(r->frames);
    free(r);
}

struct cbt_ring *cbt_receiver_lane(struct cbt_receiver *r, unsigned worker)
{
    return &r->lanes[worker];
}

uint32_t cbt_receiver_frames(const struct cbt_receiver *r)
{
    return r->frame_count;
}

void cbt_receiver_set_settle_ring(struct cbt_receiver *r, unsigned settler, struct cbt_ring *ring)
{
    r->settle_rings[settler] = ring;
}

struct cbt_alarm *cbt_receiver_alarm(struct cbt_receiver *r)
{
    return &r->alarm;
}

uint64_t cbt_receiver_inflight(const struct cbt_receiver *r)
{
    const struct cbt_stats *stats = r->context.stats;
    uint64_t recycled =
        atomic_load_explicit(&stats->counters[CBT_COUNT_recycled_frames], memory_order_acquire);
    uint64_t taken = atomic_load_explicit(&stats->counters[CBT_COUNT_taken_frames], memory_order_acquire);
    return taken - recycled;
}

static unsigned coalesce_ms(const struct cbt_receiver *r)
{
    const struct cbt_source_config *config = r->context.config;
    if (strcmp(config->type, "archive") == 0)
        return 0;
    return (unsigned)(strcmp(config->type, "redis") == 0 ? config->redis.coalesce_ms
                                                         : config->amqp.coalesce_ms);
}

static void set_connected(struct cbt_receiver *r, bool connected)
{
    struct cbt_stats *stats = r->context.stats;
    r->connected = connected;
    /* First that it moves: connecting may have taken as long as makes /healthz blame a thread. */
    atomic_store_explicit(&stats->moved_ns, cbt_now_ns(), memory_order_relaxed);
    atomic_store_explicit(&stats->gauge_connected, connected, memory_order_relaxed);
    atomic_store_explicit(&stats->waiting_for_peer, !connected, memory_order_release);
}

/* When to try again: 50 to 500 ms, doubling, with jitter, or 5 s where the peer refused. */
static void back_off(struct cbt_receiver *r, enum cbt_rc rc)
{
    int64_t ms = BACKOFF_REFUSED_MS;
    if (rc != CBT_EREFUSED) {
        ms = BACKOFF_FIRST_MS << (r->failures < 4 ? r->failures : 4);
        if (ms > BACKOFF_LAST_MS)
            ms = BACKOFF_LAST_MS;
    }
    r->failures++;
    r->jitter = r->jitter * 6364136223846793005u + 1442695040888963407u;
    ms = ms / 2 + (int64_t)((r->jitter >> 33) % (uint64_t)(ms / 2 + 1));
    r->connect_at_ns = cbt_now_ns() + (ms < BACKOFF_FIRST_MS ? BACKOFF_FIRST_MS : ms) * NS_PER_MS;
}

/* Says once why there is no connection, again when the reason changes or half a minute has passed. Its end is
 * told where it was. */
static void log_failure(struct cbt_receiver *r, const char *message, const struct cbt_err *err)
{
    int64_t now = cbt_now_ns();
    if (strcmp(r->failure, err->text) == 0 && now - r->failure_logged_ns < FAILURE_LOG_PERIOD_MS * NS_PER_MS)
        return;
    r->failure_logged_ns = now;
    r->failure_told = true;
    memcpy(r->failure, err->text, sizeof(r->failure));
    cbt_log_warning(message, CBT_S("source", cbt_receiver_name(r)), CBT_S("thread", r->context.stats->thread),
                    CBT_S("reason", err->text));
}

static void lose_connection(struct cbt_receiver *r, const struct cbt_err *err)
{
    r->context.source->disconnect(r->source);
    set_connected(r, false);
    r->held_since_ns = 0;
    /* Where the peer ends each connection at once, it would be tried without a pause, with two lines a try.
     */
    if (cbt_now_ns() - r->connected_at_ns >= LASTING_MS * NS_PER_MS) {
        r->failures = 0;
        r->failure[0] = '\0';
    }
    log_failure(r, "connection lost, reconnecting", err);
    back_off(r, err->rc);
}

static void try_connect(struct cbt_receiver *r)
{
    struct cbt_err err = {0};
    if (r->context.source->connect(r->source, &err) != 0) {
        r->context.source->disconnect(r->source);
        log_failure(
            r, err.rc == CBT_EREFUSED ? "refused, trying again every 5 s" : "cannot connect, trying again",
            &err);
        back_off(r, err.rc);
        return;
    }
    set_connected(r, true);
    cbt_count(r->context.stats, CBT_COUNT_connects, 1);
    bool first = r->connected_at_ns == 0;
    r->connected_at_ns = cbt_now_ns();
    r->tick_at_ns = 0;
    if (first || r->failure_told)
        cbt_log_info("connected", CBT_S("source", cbt_receiver_name(r)),
                     CBT_S("thread", r->context.stats->thread),
                     CBT_S("guarantee", r->context.source->guarantee));
    r->failure_told = false;
}

/* Settles one ring's frames. */
static bool settle_ring(struct cbt_receiver *r, struct cbt_ring *ring, struct cbt_err *err)
{
    bool alive = true;
    size_t count;
    do {
        count = 0;
        struct cbt_frame *frame;
        while (count < CBT_SETTLE_BATCH && (frame = cbt_ring_pop(ring)) != NULL)
            r->done[count++] = frame;
        if (count == 0)
            break;
        /* Before they count as settled, so that no scrape sees a frame twice. */
        cbt_count(r->context.stats, CBT_COUNT_recycled_frames, count);
        if (r->context.source->settle(r->source, r->done, count, err) != 0)
            alive = false;
        for (size_t i = 0; i < count; i++)
            cbt_receiver_recycle(r, r->done[i]);
        /* What belongs to a connection that is gone is never acknowledged. */
        if (r->connected && r->held_since_ns == 0)
            r->held_since_ns = r->now_ns;
    } while (count == CBT_SETTLE_BATCH);
    return alive;
}

static void settle_all(struct cbt_receiver *r)
{
    struct cbt_err err = {0};
    bool alive = true;
    for (unsigned i = 0; i < r->context.settlers; i++)
        alive = settle_ring(r, r->settle_rings[i], &err) && alive;
    if (alive && r->connected && r->held_since_ns != 0 &&
        r->now_ns - r->held_since_ns >= HELD_MS * NS_PER_MS) {
        alive = r->context.source->settle_flush(r->source, &err) == 0;
        r->held_since_ns = 0;
    }
    if (!alive && r->connected)
        lose_connection(r, &err);
    if (atomic_load_explicit(&r->context.budget->waiting, memory_order_relaxed) != 0)
        for (unsigned i = 0; i < r->context.workers; i++)
            cbt_alarm_wake(r->context.worker_alarms[i]);
}

static bool anything_settled(const struct cbt_receiver *r)
{
    for (unsigned i = 0; i < r->context.settlers; i++)
        if (!cbt_ring_empty(r->settle_rings[i]))
            return true;
    return false;
}

/* Parks until the socket (fd, or -1), a settlement, or the time-out. An idle receiver holds no memory. */
static void park(struct cbt_receiver *r, int fd, int timeout_ms)
{
    struct cbt_block *open = r->blocks.open;
    if (open != NULL && atomic_load_explicit(&open->refs, memory_order_relaxed) == 1)
        cbt_block_close(&r->blocks);
    atomic_store_explicit(&r->context.stats->has_work, 0, memory_order_relaxed);
    cbt_alarm_prepare(&r->alarm);
    if (anything_settled(r) || atomic_load(&r->stop) == STOP_NOW)
        cbt_alarm_cancel(&r->alarm);
    else
        cbt_alarm_wait(&r->alarm, fd, timeout_ms);
}

/* Milliseconds until something is due: a tick, held-back acknowledgements, the next try to connect. */
static int wait_ms(const struct cbt_receiver *r)
{
    int64_t due = r->connected ? r->tick_at_ns : r->connect_at_ns;
    if (r->held_since_ns != 0 && r->held_since_ns + HELD_MS * NS_PER_MS < due)
        due = r->held_since_ns + HELD_MS * NS_PER_MS;
    int64_t ms = (due - cbt_now_ns() + NS_PER_MS - 1) / NS_PER_MS;
    return ms < 0 ? 0 : ms > TICK_MS ? TICK_MS : (int)ms;
}

/* What the source keeps itself goes on its way; frames pushed, or CBT_ELIMIT. */
static int feed(struct cbt_receiver *r)
{
    return r->context.source->feed != NULL ? r->context.source->feed(r->source, READ_FRAMES_MAX) : 0;
}

/* The same without a connection: all that there is room for, since a try to connect may take long. */
static void feed_all(struct cbt_receiver *r)
{
    int fed;
    do {
        fed = feed(r);
        cbt_receiver_flush_lanes(r);
        settle_all(r);
    } while (fed == READ_FRAMES_MAX && atomic_load(&r->stop) == STOP_NOT);
}

/* Ticks and reads; parks or pauses where there is nothing more to do. */
static void serve_connection(struct cbt_receiver *r, bool reading)
{
    const struct cbt_source *source = r->context.source;
    struct cbt_err err = {0};
    if (r->now_ns >= r->tick_at_ns) {
        r->tick_at_ns = r->now_ns + TICK_MS * NS_PER_MS;
        if (source->tick(r->source, r->now_ns, &err) != 0) {
            lose_connection(r, &err);
            return;
        }
    }
    int n = reading ? source->read(r->source, READ_FRAMES_MAX, &err) : CBT_ELIMIT;
    int fed = reading ? feed(r) : 0;
    cbt_receiver_flush_lanes(r);
    int64_t end = cbt_now_ns();
    cbt_count(r->context.stats, CBT_COUNT_busy_ns, (uint64_t)(end - r->now_ns));
    if (n < 0 && n != CBT_ELIMIT) {
        lose_connection(r, &err);
        return;
    }
    if (n == READ_FRAMES_MAX || fed == READ_FRAMES_MAX)
        return;
    if (n > 0) {
        /* Not parked: nobody wakes us, the socket fills. */
        if (coalesce_ms(r) != 0)
            cbt_alarm_wait(&r->alarm, -1, (int)coalesce_ms(r));
        return;
    }
    /* Without budget the socket is not looked at; settlements wake us, and ticks notice a hang-up. */
    park(r, n == 0 ? source->fd(r->source) : -1, wait_ms(r));
    if ((n != 0 || fed == CBT_ELIMIT) && reading)
        cbt_count(r->context.stats, CBT_COUNT_blocked_ns, (uint64_t)(cbt_now_ns() - end));
}

static void *receiver_main(void *arg)
{
    struct cbt_receiver *r = arg;
    struct cbt_stats *stats = r->context.stats;
    pthread_setname_np(pthread_self(), stats->thread);
    set_connected(r, false);
    unsigned stop;
    while ((stop = atomic_load(&r->stop)) != STOP_NOW) {
        r->now_ns = cbt_now_ns();
        r->now_wall_ms = cbt_wall_ms();
        atomic_store_explicit(&stats->moved_ns, r->now_ns, memory_order_relaxed);
        atomic_store_explicit(&stats->has_work, 1, memory_order_relaxed);
        settle_all(r);
        atomic_store_explicit(&stats->oldest_frame_ns, r->oldest != NULL ? r->oldest->arrived_ns : 0,
                              memory_order_relaxed);
        if (stop != STOP_NOT)
            atomic_store(&r->done_reading, true);
        if (r->connected) {
            serve_connection(r, stop == STOP_NOT);
        } else {
            if (stop == STOP_NOT)
                feed_all(r);
            if (stop == STOP_NOT && r->now_ns >= r->connect_at_ns)
                try_connect(r);
            if (!r->connected)
                park(r, -1, stop == STOP_NOT ? wait_ms(r) : TICK_MS);
        }
    }
    r->now_ns = cbt_now_ns();
    r->now_wall_ms = cbt_wall_ms();
    settle_all(r);
    struct cbt_err err = {0};
    if (r->connected && r->context.source->settle_flush(r->source, &err) != 0)
        cbt_log_warning("the last acknowledgements were not written", CBT_S("source", cbt_receiver_name(r)),
                        CBT_S("reason", err.text));
    r->context.source->disconnect(r->source);
    set_connected(r, false);
    return NULL;
}

int cbt_receiver_start(struct cbt_receiver *r, struct cbt_err *err)
{
    int rc = r->context.source->start != NULL ? r->context.source->start(r->source, err) : 0;
    if (rc != 0)
        return cbt_err_prefix(err, "[source.%s]", cbt_receiver_name(r)), rc;
    rc = pthread_create(&r->thread, NULL, receiver_main, r);
    if (rc != 0)
        return cbt_err_set(err, CBT_EIO, "cannot start a receiver thread: %s", strerror(rc));
    r->started = true;
    return CBT_OK;
}

void cbt_receiver_stop_reading(struct cbt_receiver *r)
{
    atomic_store(&r->stop, STOP_READING);
    cbt_alarm_wake(&r->alarm);
}

bool cbt_receiver_reads(const struct cbt_receiver *r)
{
    return r->started && !atomic_load(&r->done_reading);
}

void cbt_receiver_stop(struct cbt_receiver *r)
{
    if (!r->started)
        return;
    atomic_store(&r->stop, STOP_NOW);
    cbt_alarm_wake(&r->alarm);
    pthread_join(r->thread, NULL);
    r->started = false;
}
