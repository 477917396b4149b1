/* SPDX-License-Identifier: MIT */
/*
 * The workers' side: partitioning and hand-over.
 *
 * Happy path: the partition of a run of equal key is computed once; a counting sort brings the records of
 * each partition together, in order; each partition's are handed over in one call, without a copy. Failure:
 * where librdkafka has no room, or a topic's partitions are not known, or a recovery goes on, the worker
 * steps out, waits, and goes on with the rest, in order. What is larger than its topic takes is set aside for
 * the delivery thread, which makes a dead letter of it.
 *
 * A record that was handed over is not touched again: it may be delivered and its memory gone.
 */
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/kafka.h"

/* A batch of format 2 (Kafka protocol, "Record Batch"): its head, and what a record has besides lengths and
 * contents: attributes, timestamp delta, offset delta, number of headers. */
#define BATCH_HEAD_BYTES   61
#define RECORD_FIXED_BYTES 4

/* The names of the headers. */
#define TYPE      "type"
#define SENSOR_ID "sensor_id"
#define HOST      "host"

#define WAIT_MS 1000

enum outcome {
    ALL_TAKEN,
    NO_ROOM,
    NOT_NOW, /* a topic is not known, or the producer is at its end */
};

static uint64_t varint_bytes(uint64_t n)
{
    uint64_t bytes = 1;
    for (n *= 2; n >= 0x80; n >>= 7) /* zigzag of a length doubles it */
        bytes++;
    return bytes;
}

static uint64_t header_bytes(size_t name_len, size_t value_len)
{
    return varint_bytes(name_len) + name_len + varint_bytes(value_len) + value_len;
}

uint64_t kafka_record_bytes(const struct cbt_record *record, bool headers)
{
    uint64_t body = RECORD_FIXED_BYTES + varint_bytes(record->key_len) + record->key_len +
                    varint_bytes(record->value_len) + record->value_len;
    uint8_t sensor_id[CBT_DECIMAL_BYTES];
    if (headers)
        body += header_bytes(strlen(TYPE), record->type_name.len) +
                header_bytes(strlen(SENSOR_ID), cbt_put_decimal(sensor_id, record->sensor_id)) +
                header_bytes(strlen(HOST), record->host_len);
    return BATCH_HEAD_BYTES + varint_bytes(body) + body;
}

int32_t kafka_partition_of(const struct kafka_topic *topic, int32_t partitions,
                           const struct cbt_record *record, uint64_t random)
{
    if (record->key == NULL)
        return (int32_t)((random >> 33) % (uint64_t)partitions);
    return rd_kafka_msg_partitioner_murmur2(topic->handle, record->key, record->key_len, partitions, NULL,
                                            NULL);
}

/* 0: librdkafka's own, the time of the hand-over. */
static int64_t timestamp_of(const struct kafka *k, int64_t now_ms, const struct cbt_record *record)
{
    if (!k->stamped)
        return 0;
    int64_t timestamp = k->stamp_event ? record->unix_ms : record->frame->arrived_wall_ms;
    /* Brokers refuse what lies ahead of their own clock. */
    return timestamp <= 0 || timestamp > now_ms ? now_ms : timestamp;
}

static rd_kafka_vu_t header(const char *name, const void *value, size_t len)
{
    return (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADER,
                           .u.header = {.name = name, .val = value, .size = (ssize_t)len}};
}

rd_kafka_resp_err_t kafka_produce_one(const struct kafka *k, int64_t now_ms, struct cbt_record *record)
{
    uint8_t sensor_id[CBT_DECIMAL_BYTES];
    rd_kafka_vu_t parts[9] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = k->topics[record->topic].handle},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = record->partition},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {kafka_bytes(record->value), record->value_len}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {kafka_bytes(record->key), record->key_len}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = timestamp_of(k, now_ms, record)},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = record},
    };
    size_t count = 6;
    if (k->headers) {
        parts[count++] = header(TYPE, record->type_name.data, record->type_name.len);
        parts[count++] = header(SENSOR_ID, sensor_id, cbt_put_decimal(sensor_id, record->sensor_id));
        parts[count++] = header(HOST, record->value + record->value_len, record->host_len);
    }
    rd_kafka_error_t *error = rd_kafka_produceva(k->producer->rk, parts, count);
    if (error == NULL)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_resp_err_t failed = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    return failed;
}

static void set_aside(struct kafka_scratch *s, struct cbt_record *record)
{
    record->next = NULL;
    *s->aside_end = record;
    s->aside_end = &record->next;
}

/* Gives what was set aside to the delivery thread. */
static void hand_aside(struct kafka *k, struct kafka_scratch *s)
{
    if (s->aside == NULL)
        return;
    pthread_mutex_lock(&k->lock);
    *k->inbox_end = s->aside;
    k->inbox_end = s->aside_end;
    rd_kafka_queue_yield(k->producer->reports);
    pthread_mutex_unlock(&k->lock);
    s->aside = NULL;
    s->aside_end = &s->aside;
}

/* The bucket of (topic, partition), new where there is none yet. */
static uint16_t find_bucket(struct kafka_scratch *s, uint32_t *bucket_count, uint16_t topic,
                            int32_t partition)
{
    uint32_t hash = ((uint32_t)topic << 20 ^ (uint32_t)partition) * 2654435769u;
    for (uint32_t slot = hash >> 16 & s->slots_mask;; slot = (slot + 1) & s->slots_mask) {
        uint32_t found = s->slots[slot];
        if (found == 0) {
            s->buckets[*bucket_count] = (struct kafka_bucket){.topic = topic, .partition = partition};
            s->slots[slot] = (uint16_t)++ * bucket_count;
            return (uint16_t)(*bucket_count - 1);
        }
        if (s->buckets[found - 1].topic == topic && s->buckets[found - 1].partition == partition)
            return (uint16_t)(found - 1);
    }
}

static bool same_key(const struct cbt_record *a, const struct cbt_record *b)
{
    return a->key_len == b->key_len && (a->key == b->key || (a->key != NULL && b->key != NULL &&
                                                             memcmp(a->key, b->key, a->key_len) == 0));
}

/* Finds the bucket of each of `count` pending records, sets aside those that are too large. Returns how many
 * are left in pending and have a bucket; where a topic's partitions are not known, 0 and *ret_unknown:
 * nothing is changed. */
static uint32_t find_buckets(struct kafka *k, struct kafka_scratch *s, uint32_t count, uint32_t *ret_buckets,
                             bool *ret_unknown)
{
    const struct cbt_record *previous = NULL;
    uint32_t max_bytes = 0, buckets = 0, kept = 0;
    uint16_t topic = 0, bucket = 0;
    memset(s->slots, 0, (s->slots_mask + 1) * sizeof(*s->slots));
    for (uint32_t i = 0; i < count; i++) {
        struct cbt_record *record = s->pending[i];
        uint16_t its_topic = kafka_topic_of(k, s, record);
        if (previous == NULL || its_topic != topic || !same_key(previous, record)) {
            topic = its_topic;
            int32_t partitions = atomic_load_explicit(&k->topics[topic].partitions, memory_order_relaxed);
            if (partitions == 0) {
                *ret_unknown = true;
                return 0;
            }
            max_bytes = atomic_load_explicit(&k->topics[topic].max_bytes, memory_order_relaxed);
            int32_t partition = kafka_partition_of(&k->topics[topic], partitions, record, s->random);
            bucket = find_bucket(s, &buckets, topic, partition);
        }
        previous = record;
        record->topic = topic;
        record->partition = s->buckets[bucket].partition;
        record->state = KAFKA_FRESH;
        s->bucket_of[i] = bucket;
        uint64_t about = record->value_len + (uint64_t)record->key_len + 256;
        if (k->headers)
            about += record->host_len + record->type_name.len;
        if (__builtin_expect(about > max_bytes, 0) && kafka_record_bytes(record, k->headers) > max_bytes)
            record->state = KAFKA_TOO_LARGE;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct cbt_record *record = s->pending[i];
        if (__builtin_expect(record->state == KAFKA_TOO_LARGE, 0)) {
            set_aside(s, record);
            continue;
        }
        s->buckets[s->bucket_of[i]].count++;
        s->bucket_of[kept] = s->bucket_of[i];
        s->pending[kept++] = record;
    }
    *ret_buckets = buckets;
    return kept;
}

/* The counting sort: messages by bucket, each bucket's in order. */
static void fill_messages(struct kafka_scratch *s, uint32_t count, uint32_t buckets)
{
    uint32_t start = 0;
    for (uint32_t b = 0; b < buckets; b++) {
        s->buckets[b].end = start;
        start += s->buckets[b].count;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct cbt_record *record = s->pending[i];
        rd_kafka_message_t *message = &s->messages[s->buckets[s->bucket_of[i]].end++];
        message->err = RD_KAFKA_RESP_ERR_NO_ERROR;
        message->payload = kafka_bytes(record->value);
        message->len = record->value_len;
        message->key = kafka_bytes(record->key);
        message->key_len = record->key_len;
        message->_private = record;
    }
}

/* One by one, for timestamps and headers do not go with a batch; stops where one does not go in, for the
 * order's sake. */
static int produce_one_by_one(struct kafka *k, rd_kafka_message_t *messages, uint32_t count)
{
    int64_t now_ms = cbt_wall_ms();
    int taken = 0;
    rd_kafka_resp_err_t stopped = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (uint32_t i = 0; i < count; i++) {
        messages[i].err = stopped != 0 ? stopped : kafka_produce_one(k, now_ms, messages[i]._private);
        if (messages[i].err == RD_KAFKA_RESP_ERR_NO_ERROR)
            taken++;
        else if (messages[i].err != RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
            stopped = messages[i].err;
    }
    return taken;
}

static enum outcome outcome_of(struct kafka *k, rd_kafka_resp_err_t failed, uint16_t topic)
{
    switch (failed) {
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        return NO_ROOM;
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        kafka_topic_lost(k, topic);
        return NOT_NOW;
    default:
        kafka_wake(k); /* fatal, most likely: the delivery thread sees */
        return NOT_NOW;
    }
}

/* Hands one bucket over. What stays is moved to the front of pending, behind the `kept` that are there. */
static uint32_t produce_bucket(struct kafka *k, struct kafka_scratch *s, const struct kafka_bucket *bucket,
                               uint32_t kept, enum outcome *ret_outcome)
{
    rd_kafka_message_t *messages = &s->messages[bucket->end - bucket->count];
    int taken = k->one_by_one ? produce_one_by_one(k, messages, bucket->count)
                              : rd_kafka_produce_batch(k->topics[bucket->topic].handle, bucket->partition, 0,
                                                       messages, (int)bucket->count);
    if (__builtin_expect(taken == (int)bucket->count, 1))
        return kept;
    for (uint32_t i = 0; i < bucket->count; i++) {
        struct cbt_record *record = messages[i]._private;
        rd_kafka_resp_err_t failed = messages[i].err;
        if (failed == RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        if (failed == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) {
            record->state = KAFKA_TOO_LARGE;
            set_aside(s, record);
            continue;
        }
        if (*ret_outcome == ALL_TAKEN)
            *ret_outcome = outcome_of(k, failed, bucket->topic);
        s->pending[kept++] = record;
    }
    return kept;
}

/* Hands over what it can. Returns how many records are left in pending, in order for each partition. */
static uint32_t hand_over(struct kafka *k, struct kafka_scratch *s, uint32_t count, enum outcome *ret_outcome)
{
    uint32_t buckets = 0, kept = 0;
    bool unknown = false;
    uint32_t left = find_buckets(k, s, count, &buckets, &unknown);
    if (unknown) {
        *ret_outcome = NOT_NOW;
        return count;
    }
    fill_messages(s, left, buckets);
    *ret_outcome = ALL_TAKEN;
    for (uint32_t b = 0; b < buckets; b++) {
        const struct kafka_bucket *bucket = &s->buckets[b];
        if (bucket->count == 0)
            continue;
        if (*ret_outcome == ALL_TAKEN) {
            kept = produce_bucket(k, s, bucket, kept, ret_outcome);
            continue;
        }
        for (uint32_t i = bucket->end - bucket->count; i < bucket->end; i++)
            s->pending[kept++] = s->messages[i]._private;
    }
    return kept;
}

void kafka_submit(void *self, unsigned worker, struct cbt_record *const recs[], size_t count)
{
    struct kafka *k = self;
    struct kafka_scratch *s = &k->scratch[worker];
    uint64_t seq = atomic_fetch_add_explicit(&k->taken, count, memory_order_relaxed);
    uint32_t left = 0, changes = 0;
    s->random = s->random * 6364136223846793005u + 1442695040888963407u;
    for (size_t i = 0; i < count; i++) {
        recs[i]->seq = seq + i;
        recs[i]->state = KAFKA_FRESH;
        if (__builtin_expect(recs[i]->dead != NULL, 0))
            set_aside(s, recs[i]);
        else
            s->pending[left++] = recs[i];
    }
    while (left > 0) {
        enum outcome outcome = ALL_TAKEN;
        if (!kafka_enter(k, s, &changes))
            break;
        left = hand_over(k, s, left, &outcome);
        kafka_leave(k, s);
        if (left == 0)
            break;
        hand_aside(k, s); /* what comes before it need not wait for room */
        if (outcome == NO_ROOM)
            atomic_fetch_add_explicit(&k->queue_full, 1, memory_order_relaxed);
        kafka_wait(k, changes, WAIT_MS);
    }
    hand_aside(k, s);
}
