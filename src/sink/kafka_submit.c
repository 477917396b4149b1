/* SPDX-License-Identifier: MIT */
/*
 * The workers' side. Records are sorted by partition, in order, and each partition's are handed to librdkafka
 * in one call; the partition of a run of equal key is computed once.
 *
 * The gate: a worker announces itself in `inside`, then looks at `gate`; who closes the gate sets it, then
 * waits for every `inside` to be 0. Both stores come before both loads (sequentially consistent), so either
 * the worker sees the gate closed or the closer sees the worker. No lock, and nothing shared is written on
 * the open way but the worker's own line.
 *
 * A record that was handed over is not touched again: it may be delivered and its memory gone.
 */
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "sink/kafka.h"

#define WAIT_MS 100

/* Sleeps until something changes (gate, room, partitions), at most WAIT_MS. */
static void wait_for_change(struct kafka *k)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += WAIT_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_mutex_lock(&k->lock);
    k->waiting++;
    if (!atomic_load(&k->abandoned))
        pthread_cond_timedwait(&k->changed, &k->lock, &until);
    k->waiting--;
    pthread_mutex_unlock(&k->lock);
}

/* Waits for the gate. False: the sink is abandoned. */
static bool enter(struct kafka *k, struct kafka_scratch *s)
{
    for (;;) {
        atomic_store(&s->inside, 1);
        if (atomic_load(&k->gate) == 0 && !atomic_load(&k->abandoned))
            return true;
        atomic_store(&s->inside, 0);
        if (atomic_load(&k->abandoned))
            return false;
        wait_for_change(k);
    }
}

static void leave(struct kafka_scratch *s)
{
    atomic_store(&s->inside, 0);
}

uint32_t kafka_record_bytes(const struct cbt_record *record)
{
    return record->value_len + record->key_len + KAFKA_RECORD_HEAD_BYTES;
}

int32_t kafka_partition_of(struct kafka_topic *topic, const struct cbt_record *record, int32_t partitions,
                           uint64_t *random)
{
    if (record->key != NULL)
        return rd_kafka_msg_partitioner_murmur2(topic->handle, record->key, record->key_len, partitions, NULL,
                                                NULL);
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (int32_t)((*random >> 33) % (uint64_t)partitions);
}

/* Gives a record that cannot be handed over to the delivery thread. */
static void give_to_delivery(struct kafka *k, struct cbt_record **list, struct cbt_record *record)
{
    pthread_mutex_lock(&k->lock);
    record->next = *list;
    *list = record;
    atomic_store(&k->handed, true);
    pthread_mutex_unlock(&k->lock);
}

static bool stamped(const struct kafka *k)
{
    return k->options->kafka_timestamp[0] != 'p'; /* produce is librdkafka's own way */
}

rd_kafka_resp_err_t kafka_produce_stamped(struct kafka *k, struct kafka_topic *topic, int32_t partition,
                                          struct cbt_record *record)
{
    int64_t now = cbt_wall_ms();
    int64_t timestamp = record->frame->arrived_wall_ms;
    if (k->options->kafka_timestamp[0] == 'e') {
        /* A clock that is ahead would be refused by the broker. */
        timestamp = record->unix_ms > now ? now : record->unix_ms;
        if (timestamp <= 0)
            timestamp = now;
    }
    return rd_kafka_producev(k->producer, RD_KAFKA_V_RKT(topic->handle), RD_KAFKA_V_PARTITION(partition),
                             RD_KAFKA_V_VALUE((void *)(uintptr_t)record->value, record->value_len),
                             RD_KAFKA_V_KEY(record->key, record->key_len), RD_KAFKA_V_TIMESTAMP(timestamp),
                             RD_KAFKA_V_OPAQUE(record), RD_KAFKA_V_END);
}

/* What is true of the topics at the moment: where each topic's buckets begin. Partition counts only grow, and
 * they are read once a round. */
struct layout {
    uint32_t topics;
    uint32_t base[KAFKA_TOPICS_MAX + 1];
};

static bool make_layout(struct kafka *k, struct kafka_scratch *s, struct layout *layout)
{
    layout->topics = atomic_load_explicit(&k->topic_count, memory_order_acquire);
    layout->base[0] = 0;
    for (uint32_t i = 0; i < layout->topics; i++)
        layout->base[i + 1] = layout->base[i] + (uint32_t)atomic_load(&k->topics[i].partitions);
    size_t needed = (size_t)layout->base[layout->topics] + 1;
    if (needed > s->starts_size) {
        uint32_t *starts = realloc(s->starts, needed * sizeof(*starts));
        if (starts == NULL)
            return false;
        s->starts = starts;
        s->starts_size = needed;
    }
    memset(s->starts, 0, needed * sizeof(*s->starts));
    return true;
}

/* Finds the bucket of each pending record and counts them. Dead letters, and what is too large, go their own
 * way; records of a topic that is not known yet stay. Returns how many records have a bucket; the others that
 * stay are moved to the front of `pending`, in *ret_kept. */
static size_t choose_buckets(struct kafka *k, struct kafka_scratch *s, const struct layout *layout, size_t n,
                             size_t *ret_kept)
{
    const uint8_t *key = NULL;
    uint32_t key_len = 0;
    struct kafka_topic *run_topic = NULL;
    uint32_t bucket = 0;
    size_t count = 0, kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct cbt_record *record = s->pending[i];
        if (record->dead != NULL) {
            rd_kafka_resp_err_t failed = kafka_produce_dead(k, record);
            if (failed == RD_KAFKA_RESP_ERR__QUEUE_FULL || failed == RD_KAFKA_RESP_ERR__FATAL)
                s->pending[kept++] = record;
            else if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
                give_to_delivery(k, &k->undelivered_dead, record);
            continue;
        }
        struct kafka_topic *topic = kafka_topic_of(k, record);
        uint32_t index = (uint32_t)(topic - k->topics);
        int32_t partitions =
            index < layout->topics ? (int32_t)(layout->base[index + 1] - layout->base[index]) : 0;
        if (partitions == 0) {
            s->pending[kept++] = record;
            continue;
        }
        if (kafka_record_bytes(record) >
            atomic_load_explicit(&topic->record_max_bytes, memory_order_relaxed)) {
            give_to_delivery(k, &k->refused, record);
            continue;
        }
        bool same = run_topic != NULL && topic == run_topic && key_len == record->key_len &&
                    (record->key == key ||
                     (key != NULL && record->key != NULL && memcmp(key, record->key, key_len) == 0));
        if (!same) {
            bucket =
                layout->base[index] + (uint32_t)kafka_partition_of(topic, record, partitions, &s->random);
            run_topic = topic;
            key = record->key;
            key_len = record->key_len;
        }
        s->ready[count] = record;
        s->bucket[count++] = bucket;
        s->starts[bucket + 1]++;
    }
    *ret_kept = kept;
    return count;
}

/* Hands one bucket over; what the queue has no room for stays pending, in order. */
static size_t produce_bucket(struct kafka *k, struct kafka_scratch *s, struct kafka_topic *topic,
                             int32_t partition, uint32_t from, uint32_t to, size_t kept)
{
    if (stamped(k)) {
        bool full = false; /* then so for the rest, or the order would break */
        for (uint32_t i = from; i < to; i++) {
            s->messages[i].err = full ? RD_KAFKA_RESP_ERR__QUEUE_FULL
                                      : kafka_produce_stamped(k, topic, partition, s->messages[i]._private);
            full = full || s->messages[i].err == RD_KAFKA_RESP_ERR__QUEUE_FULL;
        }
    } else if (rd_kafka_produce_batch(topic->handle, partition, 0, &s->messages[from], (int)(to - from)) ==
               (int)(to - from)) {
        return kept;
    }
    for (uint32_t i = from; i < to; i++) {
        if (s->messages[i].err == RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        if (s->messages[i].err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
            give_to_delivery(k, &k->refused, s->messages[i]._private);
        else
            s->pending[kept++] = s->messages[i]._private;
    }
    return kept;
}

/* One round: what can be handed over now is. Returns how many records are left in `pending`. */
static size_t hand_over(struct kafka *k, struct kafka_scratch *s, size_t n)
{
    struct layout layout;
    if (!make_layout(k, s, &layout))
        return n;
    size_t kept = 0;
    size_t count = choose_buckets(k, s, &layout, n, &kept);
    uint32_t buckets = layout.base[layout.topics];
    for (uint32_t b = 0; b < buckets; b++)
        s->starts[b + 1] += s->starts[b];
    /* A counting sort: starts[b] moves to the end of its bucket while the bucket is filled. */
    for (size_t i = 0; i < count; i++) {
        struct cbt_record *record = s->ready[i];
        s->messages[s->starts[s->bucket[i]]++] =
            (rd_kafka_message_t){.payload = (void *)(uintptr_t)record->value,
                                 .len = record->value_len,
                                 .key = (void *)(uintptr_t)record->key,
                                 .key_len = record->key_len,
                                 ._private = record};
    }
    uint32_t from = 0, topic = 0;
    for (uint32_t b = 0; b < buckets && from < count; b++) {
        while (b >= layout.base[topic + 1])
            topic++;
        uint32_t to = s->starts[b];
        if (to > from)
            kept = produce_bucket(k, s, &k->topics[topic], (int32_t)(b - layout.base[topic]), from, to, kept);
        from = to;
    }
    return kept;
}

void kafka_submit(void *self, unsigned worker, struct cbt_record *const recs[], size_t n)
{
    struct kafka *k = self;
    struct kafka_scratch *s = &k->scratch[worker];
    uint64_t seq = atomic_fetch_add(&k->seq, n);
    for (size_t i = 0; i < n; i++) {
        recs[i]->seq = seq + i;
        s->pending[i] = recs[i];
    }
    while (n > 0) {
        if (!enter(k, s))
            return;
        n = hand_over(k, s, n);
        leave(s);
        if (n > 0) {
            atomic_fetch_add_explicit(&k->queue_full, 1, memory_order_relaxed);
            wait_for_change(k);
        }
    }
}

rd_kafka_resp_err_t kafka_produce_one(struct kafka *k, struct cbt_record *record)
{
    struct kafka_topic *topic = kafka_topic_of(k, record);
    int32_t partitions = atomic_load(&topic->partitions);
    if (partitions == 0)
        return RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    int32_t partition = kafka_partition_of(topic, record, partitions, &k->random);
    if (stamped(k))
        return kafka_produce_stamped(k, topic, partition, record);
    if (rd_kafka_produce(topic->handle, partition, 0, (void *)(uintptr_t)record->value, record->value_len,
                         record->key, record->key_len, record) == 0)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    return rd_kafka_last_error();
}
