/* SPDX-License-Identifier: MIT */
/*
 * The Kafka sink's life: it opens without waiting for Kafka, drains, is abandoned, closes.
 *
 * Happy path: workers hand records over (kafka_submit.c) to an idempotent producer that never gives up on
 * time; the delivery thread settles what is confirmed. Failure: see kafka_recover.c and kafka_dead_letter.c;
 * nothing is dropped, and what is not confirmed when the sink closes is not settled, so it comes again. Owns:
 * the producers, both threads. The records belong to their frames, which live until they are settled.
 */
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/format.h"
#include "sink/kafka.h"

#define CLOSE_STEP_MS   20
#define DRAIN_STEP_MS   100
#define RECORDS_MAX_MAX 32768 /* bucket numbers are 16 bits, the hash of buckets twice as large */

static int make_scratch(struct kafka *k, struct cbt_err *err)
{
    size_t n = k->context.records_max, slots = 2;
    if (n == 0 || n > RECORDS_MAX_MAX)
        return cbt_err_set(err, CBT_EINVAL, "%zu records in a hand-over: 1 to %d", n, RECORDS_MAX_MAX);
    while (slots < 2 * n)
        slots *= 2;
    size_t bytes = k->context.workers * sizeof(struct kafka_scratch);
    k->scratch = aligned_alloc(_Alignof(struct kafka_scratch), bytes);
    if (k->scratch == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for %u workers", k->context.workers);
    memset(k->scratch, 0, bytes);
    for (unsigned i = 0; i < k->context.workers; i++) {
        struct kafka_scratch *s = &k->scratch[i];
        s->pending = calloc(n, sizeof(struct cbt_record *));
        s->bucket_of = calloc(n, sizeof(*s->bucket_of));
        s->messages = calloc(n, sizeof(*s->messages));
        s->buckets = calloc(n, sizeof(*s->buckets));
        s->slots = calloc(slots, sizeof(*s->slots));
        s->memos = calloc(KAFKA_MEMOS, sizeof(*s->memos));
        s->slots_mask = (uint32_t)(slots - 1);
        s->random = (uint64_t)cbt_now_ns() * (i + 1);
        s->aside_end = &s->aside;
        if (s->pending == NULL || s->bucket_of == NULL || s->messages == NULL || s->buckets == NULL ||
            s->slots == NULL || s->memos == NULL)
            return cbt_err_set(err, CBT_ENOMEM, "no memory for a worker's records");
    }
    return CBT_OK;
}

static void free_scratch(struct kafka *k)
{
    for (unsigned i = 0; k->scratch != NULL && i < k->context.workers; i++) {
        free(k->scratch[i].pending);
        free(k->scratch[i].bucket_of);
        free(k->scratch[i].messages);
        free(k->scratch[i].buckets);
        free(k->scratch[i].slots);
        free(k->scratch[i].memos);
    }
    free(k->scratch);
}

static void kafka_abandon(void *self)
{
    struct kafka *k = self;
    atomic_fetch_or(&k->gate, KAFKA_GATE_ABANDONED);
    kafka_announce(k);
}

static void stop_threads(struct kafka *k)
{
    atomic_store(&k->quit, true);
    kafka_wake(k);
    pthread_mutex_lock(&k->lock);
    pthread_cond_signal(&k->ask);
    pthread_mutex_unlock(&k->lock);
    if (k->delivery_started)
        pthread_join(k->delivery, NULL);
    if (k->metadata_started)
        pthread_join(k->metadata, NULL);
}

static void kafka_close(void *self)
{
    struct kafka *k = self;
    if (k == NULL)
        return;
    kafka_abandon(k);
    stop_threads(k);
    kafka_dead_close(k);
    if (k->producer != NULL) {
        /* Only what has its report is out of librdkafka's hands; a report always comes. What was confirmed is
         * settled. */
        while (rd_kafka_outq_len(k->producer->rk) > 0) {
            rd_kafka_purge(k->producer->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
            rd_kafka_poll(k->producer->rk, CLOSE_STEP_MS);
        }
        kafka_settle_flush(k);
        kafka_producer_install(k, NULL, NULL);
    }
    free_scratch(k);
    kafka_gate_free(k);
    free(k);
}

static struct kafka *make(const struct cbt_sink_context *context)
{
    struct kafka *k = calloc(1, sizeof(*k));
    if (k == NULL)
        return NULL;
    k->context = *context;
    k->options = &context->config->kafka;
    k->name = context->config->name;
    k->stamped = strcmp(k->options->kafka_timestamp, "produce") != 0;
    k->stamp_event = strcmp(k->options->kafka_timestamp, "event") == 0;
    const struct cbt_format *format = cbt_format_find(k->options->format);
    k->headers = format != NULL && format->headers;
    k->one_by_one = k->stamped || k->headers;
    k->inbox_end = &k->inbox;
    k->dead.waiting_end = &k->dead.waiting;
    k->recovery.random = (uint64_t)cbt_now_ns();
    k->reach_due_ns = INT64_MAX;
    k->batch_cap_bytes = UINT32_MAX;
    k->own_message_max_bytes = (uint32_t)kafka_own_number(context->config, "message.max.bytes");
    uint64_t batch = kafka_own_number(context->config, "batch.size");
    uint32_t message = k->own_message_max_bytes != 0 ? k->own_message_max_bytes : KAFKA_TOPIC_MAX_BYTES;
    batch = batch != 0 ? batch : KAFKA_BATCH_BYTES;
    atomic_store(&k->wanted_batch_bytes, batch < message ? (uint32_t)batch : message);
    atomic_store(&k->wanted_message_max_bytes, message);
    kafka_gate_init(k);
    return k;
}

static int kafka_open(void **ret_self, const struct cbt_sink_context *context, struct cbt_err *err)
{
    struct kafka *k = make(context);
    if (k == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the Kafka sink");
    struct kafka_producer *producer = NULL;
    int rc, failed;
    k->files_sum = kafka_files_sum(context->config);
    if ((rc = make_scratch(k, err)) != 0 || (rc = kafka_topics_init(k, err)) != 0 ||
        (rc = kafka_producer_new(k, KAFKA_ROLE_EVENTS, &producer, err)) != 0 ||
        (rc = kafka_producer_install(k, producer, err)) != 0)
        goto fail;
    if ((failed = pthread_create(&k->delivery, NULL, kafka_delivery_main, k)) != 0)
        goto no_thread;
    k->delivery_started = true;
    if ((failed = pthread_create(&k->metadata, NULL, kafka_metadata_main, k)) != 0)
        goto no_thread;
    k->metadata_started = true;
    *ret_self = k;
    return CBT_OK;
no_thread:
    rc = cbt_err_set(err, CBT_EIO, "cannot start a thread: %s", strerror(failed));
fail:
    kafka_close(k);
    return rc;
}

static int kafka_drain(void *self, int timeout_ms, struct cbt_err *err)
{
    struct kafka *k = self;
    int64_t deadline = cbt_now_ns() + timeout_ms * KAFKA_NS_PER_MS;
    for (;;) {
        uint32_t changes = atomic_load(&k->changes);
        uint64_t left = atomic_load(&k->taken) - atomic_load(&k->done);
        int64_t left_ms = (deadline - cbt_now_ns()) / KAFKA_NS_PER_MS;
        if (left == 0)
            return CBT_OK;
        if (left_ms <= 0)
            return cbt_err_set(err, CBT_ELIMIT, "%llu records are not delivered", (unsigned long long)left);
        kafka_wait(k, changes, left_ms < DRAIN_STEP_MS ? (int)left_ms : DRAIN_STEP_MS);
    }
}

static bool kafka_ready(void *self, char *ret_reason, size_t reason_bytes)
{
    struct kafka *k = self;
    const char *servers = cbt_map_get(&k->options->kafka, "bootstrap.servers");
    bool ready = true;
    pthread_mutex_lock(&k->lock);
    if (atomic_load(&k->down)) {
        ready = false;
        snprintf(ret_reason, reason_bytes, "Kafka at %s does not answer: %s",
                 servers != NULL ? servers : "its default address", k->fault);
    } else if (atomic_load(&k->recovering)) {
        ready = false;
        snprintf(ret_reason, reason_bytes, "events that were not delivered are being sent again");
    }
    uint32_t count = atomic_load(&k->topic_count);
    for (uint32_t i = 0; ready && i < count; i++) {
        const struct kafka_topic *topic = &k->topics[i];
        if (!topic->in_use || atomic_load(&topic->partitions) != 0)
            continue;
        ready = false;
        snprintf(ret_reason, reason_bytes, "topic %s is not known yet%s%s", topic->name,
                 topic->fault[0] != '\0' ? ": " : "", topic->fault);
    }
    pthread_mutex_unlock(&k->lock);
    return ready;
}

extern const struct cbt_sink cbt_sink_kafka;
const struct cbt_sink cbt_sink_kafka = {
    .type = "kafka",
    .open = kafka_open,
    .submit = kafka_submit,
    .drain = kafka_drain,
    .abandon = kafka_abandon,
    .close = kafka_close,
    .ready = kafka_ready,
    .reload = kafka_reload,
    .probe = kafka_probe,
    .check = kafka_check,
};
