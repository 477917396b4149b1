/* SPDX-License-Identifier: MIT */
/*
 * Delivery reports. A delivered record counts down on its frame; a run of records of one frame in one step.
 * What was not delivered is kept, in a list, to be sent again by a recovery.
 */
#include "cbtap/log.h"
#include "sink/kafka.h"

void kafka_settle_run(struct kafka *k)
{
    if (k->run_count != 0) {
        atomic_store_explicit(&k->finished,
                              atomic_load_explicit(&k->finished, memory_order_relaxed) + k->run_count,
                              memory_order_release);
        cbt_settle(k->context.settler, k->run_frame, k->run_count);
    }
    k->run_count = 0;
    k->run_frame = NULL;
    cbt_settle_flush(k->context.settler);
    if (k->waiting_seen != 0) {
        /* Reports are what makes room in the queue. */
        pthread_mutex_lock(&k->lock);
        if (k->waiting != 0)
            pthread_cond_broadcast(&k->changed);
        pthread_mutex_unlock(&k->lock);
        k->waiting_seen = 0;
    }
}

void kafka_settle_one(struct kafka *k, struct cbt_record *record)
{
    if (record->frame != k->run_frame && k->run_count != 0) {
        atomic_store_explicit(&k->finished,
                              atomic_load_explicit(&k->finished, memory_order_relaxed) + k->run_count,
                              memory_order_release);
        cbt_settle(k->context.settler, k->run_frame, k->run_count);
        k->run_count = 0;
    }
    k->run_frame = record->frame;
    k->run_count++;
}

/* Errors that are the record's own, if it was alone in its batch. */
static bool is_refusal(rd_kafka_resp_err_t failed)
{
    switch (failed) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
        return true;
    default:
        return false;
    }
}

static bool is_purge(rd_kafka_resp_err_t failed)
{
    return failed == RD_KAFKA_RESP_ERR__PURGE_QUEUE || failed == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT;
}

static void keep_unconfirmed(struct kafka *k, struct cbt_record *record)
{
    record->next = k->unconfirmed;
    k->unconfirmed = record;
    k->unconfirmed_count++;
}

static void report_event(struct kafka *k, struct cbt_record *record, const rd_kafka_message_t *message)
{
    struct cbt_stats *stats = k->context.stats;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        cbt_count(stats, CBT_COUNT_delivered_records, 1);
        cbt_count(stats, CBT_COUNT_delivered_bytes, message->len + message->key_len);
        cbt_count(stats, CBT_COUNT_settled_records, 1);
        kafka_settle_one(k, record);
        return;
    }
    if (is_refusal(message->err)) {
        if (record == k->alone) {
            kafka_refuse(k, record, rd_kafka_err2str(message->err));
            return;
        }
        record->state = KAFKA_ALONE;
    }
    keep_unconfirmed(k, record);
    if (!is_purge(message->err))
        kafka_want_recovery(k, rd_kafka_err2str(message->err), message->err == RD_KAFKA_RESP_ERR__FATAL);
}

void kafka_report_cb(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    (void)producer;
    struct kafka *k = opaque;
    struct cbt_record *record = message->_private;
    k->waiting_seen = 1;
    if (atomic_load_explicit(&k->quit, memory_order_relaxed))
        return; /* unsettled: it comes again */
    if (record->dead == NULL) {
        report_event(k, record, message);
    } else if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        cbt_count(k->context.stats, CBT_COUNT_delivered_dead_letters, 1);
        kafka_free_dead(record);
        kafka_settle_one(k, record);
    } else if (is_purge(message->err) || message->err == RD_KAFKA_RESP_ERR__FATAL) {
        record->next = k->dead_waiting; /* the producer's end, not the letter's */
        k->dead_waiting = record;
        k->dead_retry_ns = 0;
    } else {
        kafka_store_dead(k, record, rd_kafka_err2str(message->err));
    }
}
