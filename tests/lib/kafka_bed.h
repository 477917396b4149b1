/* SPDX-License-Identifier: MIT */
/*
 * For tests of the Kafka sink: librdkafka's mock cluster, a sink before it, frames made by hand, and a
 * consumer that reads everything back and judges it. Every record's value says who made it: "<sensor>
 * <number> ...", numbers counted for each sensor from 0 on.
 */
#ifndef TESTS_LIB_KAFKA_BED_H
#define TESTS_LIB_KAFKA_BED_H

/* cmocka.h wants the others before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "sink/kafka.h"

#define BED_FRAMES_MAX  20000
#define BED_SENSORS_MAX 256
#define BED_KEYS_MAX    16
#define BED_WAIT_MS     60000
#define BED_BATCH       1024

struct bed {
    rd_kafka_t *mock_handle;
    rd_kafka_mock_cluster_t *cluster;
    struct cbt_map_entry entries[BED_KEYS_MAX];
    struct cbt_sink_config config;
    struct cbt_options_cbtap options;
    struct cbt_ring ring;
    struct cbt_alarm alarm, *alarms[1];
    bool touched[1];
    struct cbt_settler settler;
    struct cbt_stats stats;
    const struct cbt_sink *sink;
    struct kafka *kafka; /* the sink's self */
    size_t settled;      /* frames popped from the ring */
};

/* A frame with its records in memory of its own. */
struct bed_frame {
    struct cbt_frame frame;
    uint32_t count;
    struct cbt_record *records;
};

static inline void bed_property(struct bed *bed, const char *key, const char *value)
{
    struct cbt_map *map = &bed->config.kafka.kafka;
    for (size_t i = 0; i < map->count; i++)
        if (strcmp(map->entries[i].key, key) == 0) {
            bed->entries[i].value = value;
            return;
        }
    assert_true(map->count < BED_KEYS_MAX);
    bed->entries[map->count++] = (struct cbt_map_entry){key, value};
}

static inline struct bed *bed_new(int brokers)
{
    char text[256];
    struct bed *bed = calloc(1, sizeof(*bed));
    assert_non_null(bed);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "log_level", "0", text, sizeof(text));
    bed->mock_handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    assert_non_null(bed->mock_handle);
    bed->cluster = rd_kafka_mock_cluster_new(bed->mock_handle, brokers);
    assert_non_null(bed->cluster);
    bed->config.name = "kafka";
    bed->config.type = "kafka";
    bed->config.kafka = (struct cbt_options_kafka){.type = "kafka",
                                                   .topic = "events",
                                                   .key = "sensor_id",
                                                   .format = "json",
                                                   .json_profile = "documented",
                                                   .kafka_timestamp = "produce",
                                                   .dead_letter_topic = "dead",
                                                   .dead_letter_dir = ""};
    bed->config.kafka.kafka.entries = bed->entries;
    bed->options = (struct cbt_options_cbtap){.server_name = "server.1", .inflight_bytes = 64u << 20};
    bed_property(bed, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(bed->cluster));
    bed_property(bed, "linger.ms", "2");
    assert_int_equal(cbt_ring_init(&bed->ring, BED_FRAMES_MAX, NULL), 0);
    assert_int_equal(cbt_alarm_init(&bed->alarm, NULL), 0);
    bed->alarms[0] = &bed->alarm;
    bed->settler = (struct cbt_settler){
        .receivers = 1, .rings = &bed->ring, .alarms = bed->alarms, .touched = bed->touched};
    bed->sink = cbt_sink_find("kafka");
    assert_non_null(bed->sink);
    return bed;
}

static inline void bed_open(struct bed *bed, unsigned workers)
{
    struct cbt_err err = {0};
    const struct cbt_sink_context context = {.config = &bed->config,
                                             .options = &bed->options,
                                             .settler = &bed->settler,
                                             .stats = &bed->stats,
                                             .workers = workers,
                                             .records_max = BED_BATCH};
    void *self = NULL;
    if (bed->sink->open(&self, &context, &err) != 0)
        fail_msg("open: %s", err.text);
    bed->kafka = self;
}

static inline void bed_close(struct bed *bed)
{
    bed->sink->close(bed->kafka);
    bed->kafka = NULL;
}

static inline void bed_free(struct bed *bed)
{
    if (bed->kafka != NULL)
        bed_close(bed);
    rd_kafka_mock_cluster_destroy(bed->cluster);
    rd_kafka_destroy(bed->mock_handle);
    cbt_ring_free(&bed->ring);
    cbt_alarm_free(&bed->alarm);
    free(bed);
}

static inline uint64_t bed_counter(const struct bed *bed, enum cbt_counter counter)
{
    return atomic_load(&bed->stats.counters[counter]);
}

static inline uint64_t bed_resent(const struct bed *bed, enum cbt_resent_reason reason)
{
    return atomic_load(&bed->stats.resent[reason]);
}

/* ---- frames ---- */

/* `first` is the number of the sensor's first record; `size` is that of each value, at least 24. */
static inline struct bed_frame *bed_frame_new(uint32_t count, int32_t sensor, uint32_t first, uint32_t size)
{
    struct bed_frame *f = calloc(1, sizeof(*f));
    char *keys = calloc(1, 16);
    char *values = calloc(count, size);
    if (f == NULL || keys == NULL || values == NULL)
        abort();
    f->count = count;
    f->records = calloc(count, sizeof(*f->records));
    assert_non_null(f->records);
    snprintf(keys, 16, "%d", sensor);
    atomic_init(&f->frame.pending, count);
    f->frame.arrived_wall_ms = 1700000000000;
    f->frame.env.sensor_id = sensor;
    for (uint32_t i = 0; i < count; i++) {
        char *value = values + (size_t)i * size;
        memset(value, '.', size);
        int len = snprintf(value, size, "%d %u ", sensor, first + i);
        value[len] = '.';
        f->records[i] = (struct cbt_record){.frame = &f->frame,
                                            .value = (const uint8_t *)value,
                                            .value_len = size,
                                            .key = (const uint8_t *)keys,
                                            .key_len = (uint32_t)strlen(keys),
                                            .type_name = CBT_TEXT("ingress.event.procstart"),
                                            .event_type_name = CBT_TEXT("proc"),
                                            .unix_ms = 1600000000000,
                                            .sensor_id = sensor};
    }
    return f;
}

static inline void bed_frame_free(struct bed_frame *f)
{
    free(kafka_bytes(f->records[0].value));
    free(kafka_bytes(f->records[0].key));
    free(f->records);
    free(f);
}

static inline void bed_submit(struct bed *bed, unsigned worker, struct bed_frame *f)
{
    struct cbt_record *records[BED_BATCH];
    for (uint32_t done = 0, n; done < f->count; done += n) {
        n = f->count - done < BED_BATCH ? f->count - done : BED_BATCH;
        for (uint32_t i = 0; i < n; i++)
            records[i] = &f->records[done + i];
        bed->sink->submit(bed->kafka, worker, records, n);
    }
}

/* Takes settled frames off the ring until there were `count` in all. */
static inline void bed_await_settled(struct bed *bed, size_t count)
{
    int64_t deadline = cbt_now_ns() + BED_WAIT_MS * KAFKA_NS_PER_MS;
    while (bed->settled < count) {
        cbt_alarm_prepare(&bed->alarm);
        struct cbt_frame *frame = cbt_ring_pop(&bed->ring);
        if (frame != NULL) {
            cbt_alarm_cancel(&bed->alarm);
            assert_int_equal(atomic_load(&frame->pending), 0);
            bed->settled++;
            continue;
        }
        if (cbt_now_ns() > deadline)
            fail_msg("%zu of %zu frames settled", bed->settled, count);
        cbt_alarm_wait(&bed->alarm, -1, 1000);
    }
}

static inline void bed_drain(struct bed *bed)
{
    struct cbt_err err = {0};
    if (bed->sink->drain(bed->kafka, BED_WAIT_MS, &err) != 0)
        fail_msg("drain: %s", err.text);
}

/* Polls a condition of another thread that has no event of its own. */
#define BED_AWAIT(condition)                                                                                 \
    do {                                                                                                     \
        int64_t await_deadline = cbt_now_ns() + BED_WAIT_MS * KAFKA_NS_PER_MS;                               \
        while (!(condition)) {                                                                               \
            if (cbt_now_ns() > await_deadline)                                                               \
                fail_msg("never true: %s", #condition);                                                      \
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);                                         \
        }                                                                                                    \
    } while (0)

/* ---- reading back ---- */

struct bed_found {
    size_t records, duplicates, misplaced;
    uint32_t next[BED_SENSORS_MAX]; /* of each sensor */
    int64_t first_timestamp;
};

static inline void bed_judge(struct bed_found *found, const rd_kafka_message_t *message, int partitions)
{
    char text[32] = "";
    unsigned sensor, number;
    memcpy(text, message->payload, message->len < sizeof(text) - 1 ? message->len : sizeof(text) - 1);
    if (sscanf(text, "%u %u", &sensor, &number) != 2 || sensor >= BED_SENSORS_MAX)
        fail_msg("not a record of ours: %s", text);
    if (number > found->next[sensor])
        fail_msg("sensor %u: %u where %u was expected: missing or out of order", sensor, number,
                 found->next[sensor]);
    if (number < found->next[sensor])
        found->duplicates++;
    else
        found->next[sensor]++;
    if (found->records++ == 0)
        found->first_timestamp = rd_kafka_message_timestamp(message, NULL);
    if (message->key != NULL &&
        message->partition !=
            rd_kafka_msg_partitioner_murmur2(NULL, message->key, message->key_len, partitions, NULL, NULL))
        found->misplaced++;
}

/* Reads the topic from its beginning to its end, and hands each message to `judge`. */
static inline void bed_read(struct bed *bed, const char *topic, int partitions,
                            void (*judge)(void *arg, const rd_kafka_message_t *message), void *arg)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(bed->cluster), text,
                      sizeof(text));
    rd_kafka_conf_set(conf, "group.id", "bed", text, sizeof(text));
    rd_kafka_conf_set(conf, "enable.partition.eof", "true", text, sizeof(text));
    rd_kafka_conf_set(conf, "auto.offset.reset", "error", text, sizeof(text));
    rd_kafka_conf_set(conf, "fetch.wait.max.ms", "50", text, sizeof(text));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    assert_non_null(rk);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int i = 0; i < partitions; i++)
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = 0;
    assert_int_equal(rd_kafka_assign(rk, list), 0);
    int64_t deadline = cbt_now_ns() + BED_WAIT_MS * KAFKA_NS_PER_MS;
    for (int ended = 0; ended < partitions;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 1000);
        if (cbt_now_ns() > deadline)
            fail_msg("topic %s is not read to its end", topic);
        if (message == NULL)
            continue;
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            ended++;
        else if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            judge(arg, message);
        else if (message->err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN &&
                 message->err != RD_KAFKA_RESP_ERR__TRANSPORT)
            fail_msg("consumer: %s", rd_kafka_message_errstr(message));
        rd_kafka_message_destroy(message);
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

struct bed_reader {
    struct bed_found *found;
    int partitions;
};

static inline void bed_judge_one(void *arg, const rd_kafka_message_t *message)
{
    struct bed_reader *reader = arg;
    bed_judge(reader->found, message, reader->partitions);
}

/* Reads events back; fails where one is missing or out of order. */
static inline struct bed_found bed_read_events(struct bed *bed, const char *topic, int partitions)
{
    struct bed_found found = {0};
    struct bed_reader reader = {&found, partitions};
    bed_read(bed, topic, partitions, bed_judge_one, &reader);
    return found;
}

#endif
