/* SPDX-License-Identifier: MIT */
/*
 * The delivery thread: serves librdkafka's reports, settles frames, and sees to what goes wrong.
 *
 * Happy path: a poll brings the reports of whole batches; a run of records of one frame is counted and
 * settled in one step, receivers and waiting workers are woken once a poll. Failure: an undelivered event is
 * kept for a recovery (kafka_recover.c), one that Kafka does not take becomes a dead letter
 * (kafka_dead_letter.c). It sleeps in rd_kafka_poll and nowhere else; who wants its attention lets that
 * return (kafka_wake).
 */
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/kafka.h"

#define IDLE_MS  1000
#define STALL_MS 10000

/* Counts upstream first (done with, then delivered), as the metrics' reader reads downstream first; then
 * settles. */
static void end_run(struct kafka *k)
{
    struct cbt_stats *stats = k->context.stats;
    if (k->run_count == 0)
        return;
    if (k->run_events != 0) {
        cbt_count(stats, CBT_COUNT_settled_records, k->run_events);
        cbt_count(stats, CBT_COUNT_delivered_records, k->run_events);
        cbt_count(stats, CBT_COUNT_delivered_bytes, k->run_bytes);
    }
    cbt_add(&k->done, k->run_count);
    cbt_settle(k->context.settler, k->run_frame, k->run_count);
    k->run_frame = NULL;
    k->run_count = 0;
    k->run_events = 0;
    k->run_bytes = 0;
}

static inline void add_to_run(struct kafka *k, struct cbt_frame *frame)
{
    if (frame != k->run_frame) {
        end_run(k);
        k->run_frame = frame;
    }
    k->run_count++;
    k->reported = true;
}

void kafka_settle(struct kafka *k, struct cbt_frame *frame)
{
    add_to_run(k, frame);
}

void kafka_settle_flush(struct kafka *k)
{
    end_run(k);
    if (!k->reported)
        return;
    k->reported = false;
    cbt_settle_flush(k->context.settler);
    kafka_announce(k);
}

void kafka_report_cb(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    struct kafka *k = opaque;
    struct cbt_record *record = message->_private;
    if (__builtin_expect(message->err != RD_KAFKA_RESP_ERR_NO_ERROR, 0)) {
        k->reported = true; /* there is room in the queue */
        kafka_keep(k, record, message->err);
        return;
    }
    add_to_run(k, record->frame);
    k->run_events++;
    k->run_bytes += message->len + message->key_len;
}

/* Takes over what workers set aside. */
static void take_inbox(struct kafka *k)
{
    pthread_mutex_lock(&k->lock);
    struct cbt_record *record = k->inbox;
    k->inbox = NULL;
    k->inbox_end = &k->inbox;
    pthread_mutex_unlock(&k->lock);
    while (record != NULL) {
        struct cbt_record *next = record->next;
        if (record->state == KAFKA_TOO_LARGE)
            kafka_dead_refuse(k, record, "larger than the topic takes");
        else
            kafka_dead_add(k, record);
        record = next;
    }
}

/* Errors and limits that ask for another producer, whoever noticed them. */
static void look_at_producer(struct kafka *k)
{
    char text[sizeof(k->recovery.reason)];
    if (k->recovery.phase != KAFKA_RUNNING || k->recovery.wanted)
        return;
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(k->producer->rk, text, sizeof(text));
    if (fatal != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_want_recovery(k, fatal, text);
    } else if (!kafka_limits_fit(k)) {
        k->recovery.quiet = true;
        kafka_want_recovery(k, RD_KAFKA_RESP_ERR_NO_ERROR, "the topic's max.message.bytes");
    } else if (atomic_load(&k->renew_wanted)) {
        k->recovery.quiet = true;
        kafka_want_recovery(k, RD_KAFKA_RESP_ERR_NO_ERROR, "other TLS files");
    }
}

static void update_gauges(struct kafka *k, int64_t now_ns)
{
    struct cbt_stats *stats = k->context.stats;
    bool recovering = k->recovery.phase != KAFKA_RUNNING || k->recovery.told;
    bool ready = !atomic_load(&k->down) && !recovering && kafka_topics_known(k);
    bool work = atomic_load_explicit(&k->taken, memory_order_relaxed) !=
                atomic_load_explicit(&k->done, memory_order_relaxed);
    atomic_store_explicit(&k->recovering, recovering, memory_order_relaxed);
    atomic_store_explicit(&k->ready, ready, memory_order_relaxed);
    atomic_store_explicit(&stats->gauge_connected, ready, memory_order_relaxed);
    atomic_store_explicit(&stats->waiting_for_peer, !ready, memory_order_relaxed);
    atomic_store_explicit(&stats->has_work, work, memory_order_relaxed);
    atomic_store_explicit(&stats->moved_ns, now_ns, memory_order_relaxed);
    uint64_t full = atomic_load_explicit(&k->queue_full, memory_order_relaxed);
    cbt_count(stats, CBT_COUNT_queue_full,
              full - atomic_load_explicit(&stats->counters[CBT_COUNT_queue_full], memory_order_relaxed));
}

/* Brokers that answer and yet confirm nothing: librdkafka tries again for ever, without a word. */
static void watch_progress(struct kafka *k, int64_t now_ns)
{
    struct kafka_progress *progress = &k->progress;
    uint64_t done = atomic_load_explicit(&k->done, memory_order_relaxed);
    bool waits = done != atomic_load_explicit(&k->taken, memory_order_relaxed);
    bool ready = atomic_load_explicit(&k->ready, memory_order_relaxed);
    if (!waits || done != progress->done) {
        if (progress->told)
            cbt_log_info("Kafka confirms events again", CBT_S("sink", k->name),
                         CBT_D("seconds", (double)(now_ns - progress->since_ns) / 1e9));
        *progress = (struct kafka_progress){.done = done, .since_ns = now_ns};
    } else if (!ready) {
        progress->since_ns = now_ns; /* for which there is a line of its own */
    } else if (!progress->told && now_ns - progress->since_ns > STALL_MS * KAFKA_NS_PER_MS) {
        progress->told = true;
        cbt_log_warning(
            "Kafka answers, but has confirmed no event for 10 s; events wait for it (fewer replicas in sync "
            "than min.insync.replicas? a broker that hangs?)",
            CBT_S("sink", k->name));
    }
}

static int sleep_ms(const struct kafka *k, int64_t now_ns)
{
    int64_t ms = kafka_dead_sleep_ms(k, now_ns);
    int64_t due = kafka_recover_due_ns(k);
    if (due != INT64_MAX && (due - now_ns) / KAFKA_NS_PER_MS < ms)
        ms = (due - now_ns) / KAFKA_NS_PER_MS + 1;
    return ms < 0 ? 0 : ms > IDLE_MS ? IDLE_MS : (int)ms;
}

void *kafka_delivery_main(void *arg)
{
    struct kafka *k = arg;
    struct timespec cpu;
    int64_t now = cbt_now_ns();
    pthread_setname_np(pthread_self(), "kafka-delivery");
    while (!atomic_load(&k->quit)) {
        rd_kafka_poll(k->producer->rk, sleep_ms(k, now));
        kafka_settle_flush(k);
        now = cbt_now_ns();
        take_inbox(k);
        kafka_dead_serve(k, now);
        look_at_producer(k);
        kafka_recover(k, now);
        kafka_settle_flush(k);
        update_gauges(k, now);
        watch_progress(k, now);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
        cbt_count(
            k->context.stats, CBT_COUNT_busy_ns,
            (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec -
                atomic_load_explicit(&k->context.stats->counters[CBT_COUNT_busy_ns], memory_order_relaxed));
    }
    return NULL;
}
