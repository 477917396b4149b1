/* SPDX-License-Identifier: MIT */
/*
 * Recovery, the one way out of everything that librdkafka gives up on: a fatal producer, a refused batch, a
 * topic that is gone, a lost authorization.
 *
 * The gate is closed and no worker is inside; the producer is purged and polled until every record has its
 * report, so all that is unconfirmed is in one list; that is sorted by submission number and handed to a new
 * producer in order; the gate opens. So the order of each key holds, at the price of repeating what was
 * written but not confirmed. Records of a refused batch are sent alone, one after the other, and only what is
 * refused alone becomes a dead letter.
 */
#include <stdlib.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/kafka.h"

#define BACKOFF_FIRST_MS 50
#define BACKOFF_LAST_MS  5000
#define STEP_MS          20

void kafka_want_recovery(struct kafka *k, const char *reason, bool fatal)
{
    k->recovery_is_fatal = k->recovery_is_fatal || fatal;
    if (k->recovery_wanted)
        return;
    k->recovery_wanted = true;
    k->recovery_reason = reason;
}

static void close_gate(struct kafka *k)
{
    atomic_store(&k->gate, 1);
    for (unsigned i = 0; i < k->context.workers; i++)
        while (atomic_load(&k->scratch[i].inside) != 0)
            nanosleep(&(struct timespec){.tv_nsec = 50000},
                      NULL); /* a hand-over takes well below a millisecond */
}

static void open_gate(struct kafka *k)
{
    atomic_store(&k->gate, 0);
    pthread_mutex_lock(&k->lock);
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

static void poll_until_empty(struct kafka *k)
{
    while (rd_kafka_outq_len(k->producer) > 0 && !atomic_load(&k->quit)) {
        rd_kafka_poll(k->producer, STEP_MS);
        kafka_settle_run(k);
    }
}

static int by_seq(const void *a, const void *b)
{
    const struct cbt_record *left = *(struct cbt_record *const *)a, *right = *(struct cbt_record *const *)b;
    return left->seq < right->seq ? -1 : left->seq > right->seq;
}

/* The unconfirmed records in the order of their submission; NULL without memory. */
static struct cbt_record **sort_unconfirmed(struct kafka *k, size_t *ret_count)
{
    size_t count = k->unconfirmed_count;
    struct cbt_record **sorted = calloc(count + 1, sizeof(struct cbt_record *));
    if (sorted == NULL)
        return NULL;
    size_t i = 0;
    for (struct cbt_record *record = k->unconfirmed; record != NULL; record = record->next)
        sorted[i++] = record;
    qsort(sorted, count, sizeof(struct cbt_record *), by_seq);
    k->unconfirmed = NULL;
    k->unconfirmed_count = 0;
    *ret_count = count;
    return sorted;
}

static void keep(struct kafka *k, struct cbt_record *record)
{
    record->next = k->unconfirmed;
    k->unconfirmed = record;
    k->unconfirmed_count++;
}

/* Produces one record, polling for room. */
static rd_kafka_resp_err_t produce_patiently(struct kafka *k, struct cbt_record *record)
{
    for (;;) {
        rd_kafka_resp_err_t failed = kafka_produce_one(k, record);
        if (failed != RD_KAFKA_RESP_ERR__QUEUE_FULL || atomic_load(&k->quit))
            return failed;
        rd_kafka_poll(k->producer, STEP_MS);
        kafka_settle_run(k);
    }
}

static void resend_one(struct kafka *k, struct cbt_record *record)
{
    bool alone = record->state == KAFKA_ALONE;
    enum cbt_resent_reason reason = alone                  ? CBT_RESENT_batch_refused
                                    : k->recovery_is_fatal ? CBT_RESENT_fatal
                                                           : CBT_RESENT_failed;
    cbt_add(&k->context.stats->resent[reason], 1);
    if (alone) {
        rd_kafka_flush(k->producer, STEP_MS); /* flush also means: do not linger */
        poll_until_empty(k);
        record->state = KAFKA_FRESH;
        k->alone = record;
    }
    rd_kafka_resp_err_t failed = produce_patiently(k, record);
    if (failed == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        kafka_refuse(k, record, rd_kafka_err2str(failed));
    else if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        keep(k, record);
    if (alone) {
        while (rd_kafka_outq_len(k->producer) > 0 && !k->recovery_wanted && !atomic_load(&k->quit))
            rd_kafka_flush(k->producer, STEP_MS);
        k->alone = NULL;
    }
}

/* In order, until one fails: what comes behind it must not overtake it. */
static void resend(struct kafka *k, struct cbt_record **sorted, size_t count)
{
    size_t i = 0;
    for (; i < count && k->unconfirmed == NULL && !atomic_load(&k->quit); i++) {
        resend_one(k, sorted[i]);
        if (i % 1024 == 1023) {
            rd_kafka_poll(k->producer, 0);
            kafka_settle_run(k);
        }
    }
    for (; i < count; i++)
        keep(k, sorted[i]);
}

/* True when the new producer knows every topic, so that records can be sent. */
static bool topics_ready(struct kafka *k)
{
    int64_t deadline = cbt_now_ns() + INT64_C(2000) * 1000000;
    while (!kafka_topics_known(k) && cbt_now_ns() < deadline && !atomic_load(&k->quit)) {
        rd_kafka_poll(k->producer, STEP_MS);
        kafka_topics_refresh(k);
    }
    return kafka_topics_known(k);
}

static void schedule_next(struct kafka *k)
{
    int64_t ms = (int64_t)BACKOFF_FIRST_MS << (k->fruitless < 7 ? k->fruitless : 7);
    if (ms > BACKOFF_LAST_MS)
        ms = BACKOFF_LAST_MS;
    k->random = k->random * 6364136223846793005u + 1442695040888963407u;
    k->recover_at_ns = cbt_now_ns() + (ms / 2 + (int64_t)((k->random >> 33) % (uint64_t)ms)) * 1000000;
}

/* A new producer in place of the purged one. On failure the gate stays closed and it is tried again. */
static bool replace_producer(struct kafka *k)
{
    if (k->producer != NULL) {
        rd_kafka_purge(k->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        poll_until_empty(k);
        kafka_settle_run(k);
        kafka_drop_producer(k);
    }
    struct cbt_err err = {0};
    if (kafka_make_producer(k, &err) != 0) {
        cbt_log_error("cannot make a new Kafka producer, trying again", CBT_S("reason", err.text));
        kafka_drop_producer(k);
        return false;
    }
    cbt_count(k->context.stats, CBT_COUNT_producers_replaced, 1);
    return true;
}

void kafka_recover(struct kafka *k, int64_t now_ns)
{
    if (!k->recovery_wanted || now_ns < k->recover_at_ns)
        return;
    bool quiet = k->recovery_reason == NULL; /* only smaller batches: nothing has failed */
    if (!quiet && !k->recovering)
        cbt_log_warning("records were not delivered and are sent again in order",
                        CBT_S("sink", k->context.config->name), CBT_S("reason", k->recovery_reason),
                        CBT_I("fatal", k->recovery_is_fatal));
    k->recovering = k->recovering || !quiet;
    close_gate(k);
    uint64_t delivered = atomic_load(&k->context.stats->counters[CBT_COUNT_settled_records]);
    bool replaced = replace_producer(k);
    k->recovery_wanted = false;
    k->recovery_reason = NULL;
    size_t count = 0;
    struct cbt_record **sorted = NULL;
    if (replaced && topics_ready(k))
        sorted = sort_unconfirmed(k, &count);
    if (sorted != NULL)
        resend(k, sorted, count);
    free(sorted);
    kafka_settle_run(k);
    if (k->unconfirmed == NULL && replaced && sorted != NULL) {
        k->recovery_is_fatal = false;
        k->fruitless = 0;
        k->recover_at_ns = 0;
        if (k->recovering)
            cbt_log_info("records were sent again", CBT_S("sink", k->context.config->name),
                         CBT_I("records", count));
        k->recovering = false;
        open_gate(k);
        return;
    }
    bool progress = atomic_load(&k->context.stats->counters[CBT_COUNT_settled_records]) != delivered;
    k->fruitless = progress ? 0 : k->fruitless + 1;
    kafka_want_recovery(k, "still not delivered", false);
    schedule_next(k);
}
