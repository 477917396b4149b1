/* SPDX-License-Identifier: MIT */
/*
 * Recovery: the one way out of everything that librdkafka gives up on: a fatal error, a refused batch, a
 * topic that is gone, a lost authorization.
 *
 * The producer stops at the first error (enable.gapless.guarantee), so nothing behind a failed batch
 * overtakes it. The gate is closed; when no worker is inside, the queue is purged, and what is under way is
 * waited for, then purged, too. When librdkafka holds nothing more, every record that is not confirmed is in
 * one list; that is sorted by submission number and handed to a new producer, in order; the gate opens. So
 * the order of each key holds. What was written but not confirmed is written twice.
 *
 * Records of a refused batch go first, each alone, with its report waited for; only what is refused alone
 * becomes a dead letter. What came before them in their partition and is not confirmed goes with them.
 *
 * Each step is short, so that reports and dead letters are served in between. Recoveries that deliver nothing
 * follow each other ever more slowly: 50 to 500 ms, 5 s where Kafka says no.
 */
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/kafka.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 500
#define REFUSED_MS     5000
#define IN_FLIGHT_MS   2000 /* how long what is under way is waited for before it is purged, too */
#define HEALED_MS      2000
#define DRAIN_STEP_MS  10
#define TOPICS_STEP_MS 50
#define SINGLE_STEP_MS 20
#define RESEND_RECORDS 4096 /* a step's */

static int64_t backoff_ns(struct kafka *k)
{
    struct kafka_recovery *r = &k->recovery;
    int64_t ms = REFUSED_MS;
    if (!r->refused) {
        if (r->fruitless == 0 && !r->failed)
            return 0;
        ms = (int64_t)BACKOFF_MIN_MS << (r->fruitless < 4 ? r->fruitless : 4);
        ms = ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
    }
    r->random = r->random * 6364136223846793005u + 1442695040888963407u;
    int64_t jitter = (int64_t)((r->random >> 33) % (uint64_t)(ms / 2 + 1));
    return (ms * 3 / 4 + jitter) * KAFKA_NS_PER_MS;
}

static uint64_t delivered(const struct kafka *k)
{
    return atomic_load_explicit(&k->context.stats->counters[CBT_COUNT_delivered_records],
                                memory_order_relaxed);
}

static void start(struct kafka *k, int64_t now_ns)
{
    struct kafka_recovery *r = &k->recovery;
    char text[sizeof(r->reason)];
    if (r->since_ns == 0)
        r->since_ns = now_ns;
    /* Reports may come before the error that they follow from. */
    if (r->reason[0] == '\0' && rd_kafka_fatal_error(k->producer->rk, text, sizeof(text)) != 0)
        kafka_give_reason(r, text);
    kafka_close_gate(k);
    r->phase = KAFKA_DRAINING;
    r->purge_at_ns = now_ns + IN_FLIGHT_MS * KAFKA_NS_PER_MS;
    r->resend_at_ns = 0;
}

/* Until librdkafka holds nothing more. */
static void drain(struct kafka *k, int64_t now_ns)
{
    struct kafka_recovery *r = &k->recovery;
    rd_kafka_t *rk = k->producer->rk;
    if (rd_kafka_outq_len(rk) > 0) {
        int flags = RD_KAFKA_PURGE_F_QUEUE;
        if (now_ns >= r->purge_at_ns)
            flags |= RD_KAFKA_PURGE_F_INFLIGHT;
        rd_kafka_purge(rk, flags);
        return;
    }
    kafka_keep_list(r, &r->alone);
    kafka_keep_list(r, &r->rest);
    if (delivered(k) != r->delivered_before)
        r->fruitless = 0;
    r->delivered_before = delivered(k);
    r->resend_at_ns = now_ns + backoff_ns(k);
    if (!r->quiet)
        r->fruitless++;
    r->renewed = false;
    r->phase = KAFKA_WAITING;
    if (!r->quiet && !r->told) {
        r->told = true;
        cbt_log_warning("events were not delivered: they are sent again, in order", CBT_S("sink", k->name),
                        CBT_S("reason", r->reason), CBT_I("events", r->unconfirmed_count));
    }
}

/* Puts a new producer in place. False: not now. */
static bool renew(struct kafka *k, enum kafka_role role, int64_t now_ns)
{
    struct kafka_producer *producer = NULL;
    struct cbt_err err = {0};
    if (kafka_producer_new(k, role, &producer, &err) != 0 || kafka_producer_install(k, producer, &err) != 0) {
        cbt_log_error("cannot make a new producer; trying again", CBT_S("sink", k->name),
                      CBT_S("reason", err.text));
        k->recovery.resend_at_ns = now_ns + REFUSED_MS * KAFKA_NS_PER_MS;
        return false;
    }
    cbt_count(k->context.stats, CBT_COUNT_producers_replaced, 1);
    return true;
}

/* Those of what is to be sent: another topic that stays away does not hold these up. */
static bool topics_known(const struct kafka *k)
{
    for (const struct cbt_record *record = k->recovery.unconfirmed; record != NULL; record = record->next)
        if (atomic_load_explicit(&k->topics[record->topic].partitions, memory_order_relaxed) == 0)
            return false;
    return true;
}

static void wait_and_begin(struct kafka *k, int64_t now_ns)
{
    struct kafka_recovery *r = &k->recovery;
    if (now_ns < r->resend_at_ns)
        return;
    /* Before the topics are waited for, as they become known only when the limits fit (kafka_metadata.c), and
     * Kafka may answer only who has the new TLS files. */
    if (!kafka_limits_fit(k) || atomic_load(&k->renew_wanted)) {
        bool for_files = atomic_exchange(&k->renew_wanted, false);
        if (!renew(k, KAFKA_ROLE_EVENTS, now_ns)) {
            if (for_files)
                atomic_store(&k->renew_wanted, true);
            return;
        }
        k->dead.renew = k->dead.renew || for_files;
        r->renewed = true;
    }
    if (!topics_known(k)) {
        r->resend_at_ns = now_ns + TOPICS_STEP_MS * KAFKA_NS_PER_MS;
        return;
    }
    kafka_sort_unconfirmed(r);
    if ((r->alone != NULL || !r->renewed) &&
        !renew(k, r->alone != NULL ? KAFKA_ROLE_SINGLE : KAFKA_ROLE_EVENTS, now_ns)) {
        kafka_keep_list(r, &r->alone);
        kafka_keep_list(r, &r->rest);
        return;
    }
    r->resend_at_ns = 0;
    r->wanted = r->shrunk = false;
    r->phase = r->alone != NULL ? KAFKA_SINGLY : KAFKA_RESENDING;
}

/* Produces a record to the partition that its key has now. */
static rd_kafka_resp_err_t produce(struct kafka *k, struct cbt_record *record)
{
    struct kafka_topic *topic = &k->topics[record->topic];
    int32_t partitions = atomic_load(&topic->partitions);
    if (record->key != NULL && partitions != 0)
        record->partition = kafka_partition_of(topic, partitions, record, 0);
    else if (partitions != 0 && record->partition >= partitions)
        record->partition %= partitions;
    if (k->one_by_one)
        return kafka_produce_one(k, cbt_wall_ms(), record);
    if (rd_kafka_produce(topic->handle, record->partition, 0, kafka_bytes(record->value), record->value_len,
                         record->key, record->key_len, record) == 0)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    return rd_kafka_last_error();
}

static enum cbt_resent_reason resent_reason(const struct kafka_recovery *r, bool alone)
{
    return alone ? CBT_RESENT_batch_refused : r->failed ? CBT_RESENT_failed : CBT_RESENT_fatal;
}

/* Sends the first record of a list. False: the list cannot go on now. */
static bool resend_first(struct kafka *k, struct cbt_record **list)
{
    struct kafka_recovery *r = &k->recovery;
    struct cbt_record *record = *list, *next = record->next;
    bool alone = record->state == KAFKA_ALONE; /* once it is produced it may be gone */
    rd_kafka_resp_err_t failed = produce(k, record);
    if (failed == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return false;
    *list = next;
    if (failed == RD_KAFKA_RESP_ERR_NO_ERROR) {
        cbt_add(&k->context.stats->resent[resent_reason(r, alone)], 1);
        r->resent++;
        return true;
    }
    if (failed == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) {
        kafka_dead_refuse(k, record, rd_kafka_err2str(failed));
        return true;
    }
    kafka_keep(k, record, failed);
    return false;
}

/* One record, its report, the next one. */
static void send_singly(struct kafka *k, int64_t now_ns)
{
    struct kafka_recovery *r = &k->recovery;
    int64_t until = now_ns + SINGLE_STEP_MS * KAFKA_NS_PER_MS;
    while (!r->wanted && cbt_now_ns() < until) {
        if (rd_kafka_outq_len(k->producer->rk) > 0) {
            rd_kafka_poll(k->producer->rk, SINGLE_STEP_MS);
            continue;
        }
        if (r->alone == NULL)
            break;
        resend_first(k, &r->alone);
    }
    if (r->wanted || r->alone != NULL || rd_kafka_outq_len(k->producer->rk) > 0)
        return;
    if (renew(k, KAFKA_ROLE_EVENTS, now_ns)) {
        r->phase = KAFKA_RESENDING;
    } else {
        r->phase = KAFKA_DRAINING;
        r->wanted = true;
    }
}

static void end(struct kafka *k, int64_t now_ns)
{
    struct kafka_recovery *r = &k->recovery;
    r->phase = KAFKA_RUNNING;
    r->ended_ns = now_ns;
    r->failed = r->refused = r->quiet = false;
    r->reason[0] = '\0';
    if (!r->told) {
        r->since_ns = 0;
        r->resent = 0;
    }
    kafka_open_gate(k);
}

/* Whether a recovery was of use shows only afterwards: with the first delivery, or when there was nothing to
 * deliver and nothing fails any more. Until then another one is the same trouble still, and the log has been
 * told of it. */
static void look_at_success(struct kafka *k, int64_t now_ns)
{
    struct kafka_recovery *r = &k->recovery;
    bool idle = atomic_load(&k->taken) == atomic_load(&k->done);
    if (!r->told || (delivered(k) == r->delivered_before &&
                     !(idle && now_ns - r->ended_ns > HEALED_MS * KAFKA_NS_PER_MS)))
        return;
    r->told = false;
    cbt_log_info("events are delivered again", CBT_S("sink", k->name), CBT_I("events_sent_again", r->resent),
                 CBT_D("seconds", (double)(now_ns - r->since_ns) / 1e9));
    r->since_ns = 0;
    r->resent = 0;
}

static void resend(struct kafka *k, int64_t now_ns)
{
    struct kafka_recovery *r = &k->recovery;
    r->resend_at_ns = 0;
    for (unsigned i = 0; i < RESEND_RECORDS && r->rest != NULL && !r->wanted; i++) {
        if (!resend_first(k, &r->rest)) {
            r->resend_at_ns =
                now_ns + DRAIN_STEP_MS * KAFKA_NS_PER_MS; /* or sooner, when a report makes room */
            return;
        }
    }
    if (r->rest == NULL && !r->wanted)
        end(k, now_ns);
}

void kafka_recover(struct kafka *k, int64_t now_ns)
{
    struct kafka_recovery *r = &k->recovery;
    bool sending = r->phase == KAFKA_RUNNING || r->phase == KAFKA_SINGLY || r->phase == KAFKA_RESENDING;
    if (sending && r->wanted)
        start(k, now_ns);
    switch (r->phase) {
    case KAFKA_DRAINING:
        drain(k, now_ns);
        break;
    case KAFKA_WAITING:
        wait_and_begin(k, now_ns);
        break;
    case KAFKA_SINGLY:
        send_singly(k, now_ns);
        break;
    case KAFKA_RESENDING:
        resend(k, now_ns);
        break;
    case KAFKA_RUNNING:
        look_at_success(k, now_ns);
        break;
    }
}

int64_t kafka_recover_due_ns(const struct kafka *k)
{
    const struct kafka_recovery *r = &k->recovery;
    switch (r->phase) {
    case KAFKA_RUNNING:
        return r->wanted ? 0 : INT64_MAX;
    case KAFKA_DRAINING:
        return cbt_now_ns() + DRAIN_STEP_MS * KAFKA_NS_PER_MS;
    case KAFKA_WAITING:
        return r->resend_at_ns;
    case KAFKA_RESENDING:
        return r->wanted ? 0 : r->resend_at_ns;
    case KAFKA_SINGLY:
        break; /* it sleeps itself */
    }
    return 0;
}
