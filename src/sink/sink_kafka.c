/* SPDX-License-Identifier: MIT */
/*
 * The Kafka sink's life. Workers hand records over (kafka_submit.c); one delivery thread serves librdkafka's
 * reports, settles frames, and puts right what goes wrong.
 *
 * Happy path: an idempotent producer with acks=all and no message time-out delivers everything in order,
 * however long Kafka is away. Failure: what librdkafka gives back undelivered is sent again in its place by a
 * new producer (kafka_recover.c); what Kafka refuses for good becomes a dead letter (kafka_dead_letter.c).
 * Nothing is dropped. Owns: the producer. The records belong to their frames, which live until they are
 * settled.
 */
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/kafka.h"

#define PROBE_MS          500
#define FLUSH_STEP_MS     50
#define BATCH_BYTES_FIRST 1000000

int kafka_make_producer(struct kafka *k, struct cbt_err *err)
{
    rd_kafka_conf_t *conf =
        kafka_make_conf(k->context.config, k->context.options->inflight_bytes, k->batch_bytes, err);
    if (conf == NULL)
        return err != NULL ? (int)err->rc : CBT_EINVAL;
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_conf_set_dr_msg_cb(conf, kafka_report_cb);
    rd_kafka_conf_set_log_cb(conf, kafka_log_cb);
    rd_kafka_conf_set_error_cb(conf, kafka_error_cb);
    char text[CBT_ERR_TEXT_BYTES];
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (producer == NULL) {
        rd_kafka_conf_destroy(conf);
        return cbt_err_set(err, CBT_EINVAL, "%s", text);
    }
    k->producer = producer;
    uint32_t count = atomic_load(&k->topic_count);
    for (uint32_t i = 0; i < count; i++) {
        k->topics[i].handle = rd_kafka_topic_new(producer, k->topics[i].name, NULL);
        if (k->topics[i].handle == NULL)
            return cbt_err_set(err, CBT_EINVAL, "topic %s: %s", k->topics[i].name,
                               rd_kafka_err2str(rd_kafka_last_error()));
    }
    k->dead_letter_topic = NULL;
    if (k->options->dead_letter_topic[0] != '\0')
        k->dead_letter_topic = rd_kafka_topic_new(producer, k->options->dead_letter_topic, NULL);
    return CBT_OK;
}

void kafka_drop_producer(struct kafka *k)
{
    if (k->producer == NULL)
        return;
    uint32_t count = atomic_load(&k->topic_count);
    for (uint32_t i = 0; i < count; i++) {
        if (k->topics[i].handle != NULL)
            rd_kafka_topic_destroy(k->topics[i].handle);
        k->topics[i].handle = NULL;
    }
    if (k->dead_letter_topic != NULL)
        rd_kafka_topic_destroy(k->dead_letter_topic);
    k->dead_letter_topic = NULL;
    rd_kafka_destroy(k->producer);
    k->producer = NULL;
}

/* While no broker answers, ask now and then, so that /readyz tells when one does again. */
static void probe_when_down(struct kafka *k, int64_t now_ns)
{
    if (!atomic_load(&k->down) || now_ns < k->probe_at_ns)
        return;
    k->probe_at_ns = now_ns + PROBE_MS * INT64_C(1000000);
    const struct rd_kafka_metadata *metadata = NULL;
    if (rd_kafka_metadata(k->producer, 0, k->topics[0].handle, &metadata, FLUSH_STEP_MS) ==
        RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_metadata_destroy(metadata);
        kafka_set_down(k, false, "");
    }
}

static void update_gauges(struct kafka *k, int64_t now_ns)
{
    struct cbt_stats *stats = k->context.stats;
    bool connected = !atomic_load(&k->down) && !k->recovering && kafka_topics_known(k);
    atomic_store_explicit(&stats->gauge_connected, connected, memory_order_relaxed);
    atomic_store_explicit(&stats->waiting_for_peer, !connected, memory_order_relaxed);
    atomic_store_explicit(&stats->moved_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&stats->counters[CBT_COUNT_queue_full], atomic_load(&k->queue_full),
                          memory_order_relaxed);
    atomic_store_explicit(&stats->has_work, atomic_load(&k->seq) != atomic_load(&k->finished),
                          memory_order_relaxed);
}

static void *delivery_main(void *arg)
{
    struct kafka *k = arg;
    pthread_setname_np(pthread_self(), "kafka-delivery");
    while (!atomic_load(&k->quit)) {
        int64_t now;
        if (k->producer == NULL) { /* a recovery could not make one: nothing but trying again is possible */
            nanosleep(&(struct timespec){.tv_nsec = KAFKA_POLL_MS * 1000000L}, NULL);
            now = cbt_now_ns();
        } else {
            rd_kafka_poll(k->producer, KAFKA_POLL_MS);
            now = cbt_now_ns();
            kafka_settle_run(k);
            kafka_topics_refresh(k);
            probe_when_down(k, now);
            kafka_serve_dead(k, now);
        }
        kafka_recover(k, now);
        update_gauges(k, now);
        int64_t busy = cbt_now_ns() - now;
        cbt_count(k->context.stats, CBT_COUNT_busy_ns, (uint64_t)busy);
    }
    return NULL;
}

static void kafka_close(void *self)
{
    struct kafka *k = self;
    if (k == NULL)
        return;
    atomic_store(&k->abandoned, true);
    atomic_store(&k->quit, true);
    if (k->started)
        pthread_join(k->thread, NULL);
    if (k->producer != NULL) {
        rd_kafka_purge(k->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        /* The reports of what is purged: nothing of it is settled, so it comes again. */
        while (rd_kafka_outq_len(k->producer) > 0)
            rd_kafka_poll(k->producer, FLUSH_STEP_MS);
    }
    struct cbt_record *lists[] = {k->refused, k->undelivered_dead, k->dead_waiting};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        for (struct cbt_record *record = lists[i]; record != NULL; record = record->next)
            kafka_free_dead(record);
    kafka_drop_producer(k);
    for (unsigned i = 0; k->scratch != NULL && i < k->context.workers; i++) {
        free(k->scratch[i].pending);
        free(k->scratch[i].ready);
        free(k->scratch[i].bucket);
        free(k->scratch[i].messages);
        free(k->scratch[i].starts);
    }
    free(k->scratch);
    pthread_cond_destroy(&k->changed);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

static int make_scratch(struct kafka *k, struct cbt_err *err)
{
    size_t bytes = k->context.workers * sizeof(struct kafka_scratch);
    k->scratch = aligned_alloc(_Alignof(struct kafka_scratch), bytes);
    if (k->scratch == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for %u workers", k->context.workers);
    memset(k->scratch, 0, bytes);
    size_t n = k->context.records_max;
    for (unsigned i = 0; i < k->context.workers; i++) {
        struct kafka_scratch *s = &k->scratch[i];
        s->pending = calloc(n, sizeof(struct cbt_record *));
        s->ready = calloc(n, sizeof(struct cbt_record *));
        s->bucket = calloc(n, sizeof(*s->bucket));
        s->messages = calloc(n, sizeof(*s->messages));
        s->random = (uint64_t)cbt_now_ns() + i;
        if (s->pending == NULL || s->ready == NULL || s->bucket == NULL || s->messages == NULL)
            return cbt_err_set(err, CBT_ENOMEM, "no memory for a worker's records");
    }
    return CBT_OK;
}

static int kafka_open(void **ret_self, const struct cbt_sink_context *context, struct cbt_err *err)
{
    struct kafka *k = calloc(1, sizeof(*k));
    if (k == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the Kafka sink");
    k->context = *context;
    k->options = &context->config->kafka;
    k->batch_bytes = BATCH_BYTES_FIRST;
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&k->changed, &attr);
    pthread_condattr_destroy(&attr);
    int rc;
    if ((rc = make_scratch(k, err)) != 0 || (rc = kafka_topics_init(k, err)) != 0 ||
        (rc = kafka_make_producer(k, err)) != 0)
        goto fail;
    int failed = pthread_create(&k->thread, NULL, delivery_main, k);
    if (failed != 0) {
        rc = cbt_err_set(err, CBT_EIO, "cannot start the delivery thread: %s", strerror(failed));
        goto fail;
    }
    k->started = true;
    *ret_self = k;
    return CBT_OK;
fail:
    kafka_close(k);
    return rc;
}

static int kafka_drain(void *self, int timeout_ms, struct cbt_err *err)
{
    struct kafka *k = self;
    int64_t deadline = cbt_now_ns() + (int64_t)timeout_ms * 1000000;
    uint64_t left;
    while ((left = atomic_load(&k->seq) - atomic_load(&k->finished)) != 0) {
        if (cbt_now_ns() >= deadline)
            return cbt_err_set(err, CBT_ELIMIT, "%llu records are not delivered", (unsigned long long)left);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return CBT_OK;
}

static void kafka_abandon(void *self)
{
    struct kafka *k = self;
    atomic_store(&k->abandoned, true);
    pthread_mutex_lock(&k->lock);
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

static bool kafka_ready(void *self, char *ret_reason, size_t reason_bytes)
{
    struct kafka *k = self;
    const char *reason = NULL;
    if (atomic_load(&k->down))
        reason = "no Kafka broker is reachable";
    else if (!kafka_topics_known(k))
        reason = "the topic's partitions are not known yet";
    else if (atomic_load(&k->gate) != 0)
        reason = "records are being sent again";
    if (reason == NULL)
        return true;
    snprintf(ret_reason, reason_bytes, "%s", reason);
    return false;
}

const struct cbt_sink cbt_sink_kafka = {
    .type = "kafka",
    .open = kafka_open,
    .submit = kafka_submit,
    .drain = kafka_drain,
    .abandon = kafka_abandon,
    .close = kafka_close,
    .ready = kafka_ready,
    .probe = kafka_probe,
    .check = kafka_check,
};
