/* SPDX-License-Identifier: MIT */
/*
 * What came back undelivered: what its error means, and in which order it is sent again.
 *
 * Happy path: none. Every failed report ends here. An error that a record may be to blame for makes it one to
 * be sent alone; alone once more, it makes it a dead letter. Any other is the cluster's or the producer's
 * end: the record keeps its place. Nothing here allocates: the lists go through the records.
 */
#include <stdio.h>

#include "sink/kafka.h"

#define LASTS_MAX 32

/* Errors that are the record's own, if it was alone in its batch. */
static bool is_the_records(rd_kafka_resp_err_t failed)
{
    switch (failed) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR__BAD_MSG:
        return true;
    default:
        return false;
    }
}

/* The end of the producer, not of the record. */
static bool is_the_producers(rd_kafka_resp_err_t failed)
{
    switch (failed) {
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE:
    case RD_KAFKA_RESP_ERR__DESTROY:
        return true;
    default:
        return false;
    }
}

/* Kafka is there and says no: no use in asking often. */
static bool is_refusal(rd_kafka_resp_err_t failed)
{
    switch (failed) {
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
        return true;
    default:
        return false;
    }
}

void kafka_give_reason(struct kafka_recovery *r, const char *reason)
{
    if (r->reason[0] == '\0')
        snprintf(r->reason, sizeof(r->reason), "%s", reason);
}

void kafka_want_recovery(struct kafka *k, rd_kafka_resp_err_t code, const char *reason)
{
    k->recovery.wanted = true;
    k->recovery.refused = k->recovery.refused || is_refusal(code);
    kafka_give_reason(&k->recovery, reason);
}

static void keep(struct kafka_recovery *r, struct cbt_record *record)
{
    record->next = r->unconfirmed;
    r->unconfirmed = record;
    r->unconfirmed_count++;
}

/* A batch was refused for its size although it kept to what is known: the next ones are smaller, and the
 * limit is asked for again. */
static void shrink_batches(struct kafka *k, uint16_t topic)
{
    uint32_t half = atomic_load(&k->batch_bytes) / 2;
    pthread_mutex_lock(&k->lock);
    if (half >= KAFKA_BATCH_MIN_BYTES && half < k->batch_cap_bytes)
        k->batch_cap_bytes = half;
    if (k->batch_cap_bytes < atomic_load(&k->wanted_batch_bytes))
        atomic_store(&k->wanted_batch_bytes, k->batch_cap_bytes);
    k->topics[topic].due_ns = 0;
    pthread_cond_signal(&k->ask);
    pthread_mutex_unlock(&k->lock);
}

void kafka_keep(struct kafka *k, struct cbt_record *record, rd_kafka_resp_err_t failed)
{
    struct kafka_recovery *r = &k->recovery;
    if (is_the_records(failed)) {
        if (record->state == KAFKA_ALONE) {
            kafka_dead_refuse(k, record, rd_kafka_err2str(failed));
            return;
        }
        record->state = KAFKA_ALONE;
        r->quiet = false;
        if (failed == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE && !r->shrunk)
            shrink_batches(k, record->topic);
        r->shrunk = r->shrunk || failed == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    } else if (!is_the_producers(failed)) {
        r->quiet = false;
        r->failed = true;
        r->refused = r->refused || is_refusal(failed);
        if (failed == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || failed == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
            failed == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            kafka_topic_lost(k, record->topic);
    }
    keep(r, record);
    r->wanted = true;
    if (!is_the_producers(failed))
        kafka_give_reason(r, rd_kafka_err2str(failed));
}

/* ---- the sorted lists ---- */

static struct cbt_record *merge(struct cbt_record *a, struct cbt_record *b)
{
    struct cbt_record *merged = NULL, **end = &merged;
    while (a != NULL && b != NULL) {
        struct cbt_record **first = a->seq < b->seq ? &a : &b;
        *end = *first;
        end = &(*first)->next;
        *first = (*first)->next;
    }
    *end = a != NULL ? a : b;
    return merged;
}

/* Merge sort, bottom up: parts[i] is empty or has 2^i records. No memory, and the list may be long. */
static struct cbt_record *sort(struct cbt_record *list)
{
    struct cbt_record *parts[64] = {NULL};
    while (list != NULL) {
        struct cbt_record *one = list;
        list = list->next;
        one->next = NULL;
        size_t i = 0;
        for (; parts[i] != NULL; i++) {
            one = merge(parts[i], one);
            parts[i] = NULL;
        }
        parts[i] = one;
    }
    struct cbt_record *sorted = NULL;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        sorted = merge(parts[i], sorted);
    return sorted;
}

/* The last record to be sent alone in each of some partitions. */
struct lasts {
    struct {
        uint16_t topic;
        int32_t partition;
        uint64_t seq;
    } of[LASTS_MAX];
    size_t count;
    uint64_t seq; /* of all, where there are more partitions than that */
};

static void note_last(struct lasts *lasts, const struct cbt_record *record)
{
    lasts->seq = record->seq;
    for (size_t i = 0; i < lasts->count && i < LASTS_MAX; i++)
        if (lasts->of[i].topic == record->topic && lasts->of[i].partition == record->partition) {
            lasts->of[i].seq = record->seq;
            return;
        }
    if (lasts->count < LASTS_MAX) {
        lasts->of[lasts->count].topic = record->topic;
        lasts->of[lasts->count].partition = record->partition;
        lasts->of[lasts->count].seq = record->seq;
    }
    lasts->count++;
}

/* True where a later record of the partition is to be sent alone, and so before all others: it must not
 * overtake this one. */
static bool comes_before_last(const struct lasts *lasts, const struct cbt_record *record)
{
    if (lasts->count > LASTS_MAX)
        return record->seq < lasts->seq;
    for (size_t i = 0; i < lasts->count; i++)
        if (lasts->of[i].topic == record->topic && lasts->of[i].partition == record->partition)
            return record->seq < lasts->of[i].seq;
    return false;
}

void kafka_sort_unconfirmed(struct kafka_recovery *r)
{
    struct lasts lasts = {.count = 0};
    struct cbt_record *sorted = sort(r->unconfirmed), **alone_end = &r->alone, **rest_end = &r->rest;
    for (const struct cbt_record *record = sorted; record != NULL; record = record->next)
        if (record->state == KAFKA_ALONE)
            note_last(&lasts, record);
    for (struct cbt_record *record = sorted, *next; record != NULL; record = next) {
        next = record->next;
        record->next = NULL;
        bool alone = record->state == KAFKA_ALONE || comes_before_last(&lasts, record);
        struct cbt_record ***end = alone ? &alone_end : &rest_end;
        **end = record;
        *end = &record->next;
    }
    r->unconfirmed = NULL;
    r->unconfirmed_count = 0;
}

void kafka_keep_list(struct kafka_recovery *r, struct cbt_record **list)
{
    while (*list != NULL) {
        struct cbt_record *record = *list;
        *list = record->next;
        keep(r, record);
    }
}
