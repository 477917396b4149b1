/* SPDX-License-Identifier: MIT */
/*
 * Records whose format wants headers: a consumer sees them, whatever the records went through; key,
 * partition and order are as without.
 */
#include "kafka_bed.h"

#define PARTITIONS 6
#define SIZE       60
#define SENSORS    10

/* A frame whose records end with the name of their host, which is behind their value. */
static struct bed_frame *new_frame(uint32_t count, int32_t sensor, uint32_t first)
{
    struct bed_frame *f = bed_frame_new(count, sensor, first, SIZE);
    for (uint32_t i = 0; i < count; i++) {
        struct cbt_record *record = &f->records[i];
        char *host = (char *)kafka_bytes(record->value) + SIZE - 20;
        record->host_len = (uint32_t)snprintf(host, 20, "host-%d-%u", sensor, first + i);
        record->value_len = SIZE - 20;
        if (sensor % 2 == 1)
            record->type_name = CBT_TEXT("watchlist.hit.process");
    }
    return f;
}

struct reading {
    struct bed_found found;
    size_t headers;
};

static void expect_header(const rd_kafka_headers_t *headers, size_t index, const char *name,
                          const char *expected)
{
    const char *its_name = NULL;
    const void *value = NULL;
    size_t len = 0;
    assert_int_equal(rd_kafka_header_get_all(headers, index, &its_name, &value, &len), 0);
    assert_string_equal(its_name, name);
    assert_non_null(value);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(value, expected, len);
}

static void judge(void *arg, const rd_kafka_message_t *message)
{
    struct reading *reading = arg;
    rd_kafka_headers_t *headers = NULL;
    char text[64], host[64], key[24], *end;
    bed_judge(&reading->found, message, PARTITIONS);
    assert_int_equal(message->len, SIZE - 20);
    memcpy(text, message->payload, message->len);
    text[message->len] = '\0';
    unsigned long sensor = strtoul(text, &end, 10), number = strtoul(end, &end, 10);
    int key_len = snprintf(key, sizeof(key), "%lu", sensor);
    snprintf(host, sizeof(host), "host-%lu-%lu", sensor, number);
    assert_int_equal(message->key_len, key_len);
    assert_memory_equal(message->key, key, message->key_len);
    assert_int_equal(rd_kafka_message_headers(message, &headers), 0);
    assert_int_equal(rd_kafka_header_cnt(headers), 3);
    expect_header(headers, 0, "type", sensor % 2 == 1 ? "watchlist.hit.process" : "ingress.event.procstart");
    expect_header(headers, 1, "sensor_id", key);
    expect_header(headers, 2, "host", host);
    reading->headers++;
}

static struct bed *new_bed(void)
{
    struct bed *bed = bed_new(2);
    rd_kafka_mock_topic_create(bed->cluster, "events", PARTITIONS, 1);
    bed->config.kafka.format = "raw";
    bed_property(bed, "max.in.flight.requests.per.connection", "1");
    return bed;
}

#define FRAMES  200
#define RECORDS 50

/* Submits FRAMES frames of all sensors in turn; `disturb` is called in between. Returns what a consumer sees.
 */
static struct reading run(struct bed *bed, void (*disturb)(struct bed *bed, unsigned frame))
{
    struct bed_frame *frames[FRAMES];
    struct reading reading = {0};
    for (unsigned i = 0; i < FRAMES; i++) {
        frames[i] = new_frame(RECORDS, (int32_t)(i % SENSORS), i / SENSORS * RECORDS);
        bed_submit(bed, 0, frames[i]);
        if (disturb != NULL)
            disturb(bed, i);
    }
    bed_await_settled(bed, FRAMES);
    bed_drain(bed);
    bed_read(bed, "events", PARTITIONS, judge, &reading);
    for (unsigned i = 0; i < SENSORS; i++)
        assert_int_equal(reading.found.next[i], FRAMES / SENSORS * RECORDS);
    assert_int_equal(reading.found.misplaced, 0);
    assert_int_equal(reading.headers, reading.found.records);
    for (unsigned i = 0; i < FRAMES; i++)
        bed_frame_free(frames[i]);
    return reading;
}

static void a_consumer_sees_type_sensor_and_host(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    int64_t before = cbt_wall_ms();
    bed_open(bed, 1);
    struct reading reading = run(bed, NULL);
    assert_int_equal(reading.found.records, FRAMES * RECORDS);
    assert_in_range(reading.found.first_timestamp, before, cbt_wall_ms());
    bed_free(bed);
}

static void headers_and_timestamps_go_together(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed->config.kafka.kafka_timestamp = "event";
    bed_open(bed, 1);
    struct reading reading = run(bed, NULL);
    assert_int_equal(reading.found.records, FRAMES * RECORDS);
    assert_int_equal(reading.found.first_timestamp, 1600000000000);
    bed_free(bed);
}

static void fail_producer(struct bed *bed, unsigned frame)
{
    struct kafka *k = bed->kafka;
    if (frame % 50 != 49)
        return;
    pthread_mutex_lock(&k->lock); /* else it could be replaced meanwhile */
    rd_kafka_test_fatal_error(k->producer->rk, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "a test");
    pthread_mutex_unlock(&k->lock);
}

static void records_sent_again_have_them_again(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_property(bed, "linger.ms", "200"); /* so that there is something in librdkafka's hands each time */
    bed_open(bed, 1);
    run(bed, fail_producer);
    assert_true(bed_resent(bed, CBT_RESENT_fatal) > 0);
    bed_free(bed);
}

static void refuse_batch(struct bed *bed, unsigned frame)
{
    if (frame == 20)
        rd_kafka_mock_push_request_errors(bed->cluster, 0, 1, RD_KAFKA_RESP_ERR_INVALID_RECORD);
}

static void records_of_a_refused_batch_have_them_when_sent_alone(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_open(bed, 1);
    run(bed, refuse_batch);
    assert_true(bed_resent(bed, CBT_RESENT_batch_refused) > 0);
    assert_int_equal(atomic_load(&bed->stats.dead[CBT_DEAD_refused]), 0);
    bed_free(bed);
}

static void a_full_queue_keeps_the_order(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_property(bed, "queue.buffering.max.messages", "77");
    bed_open(bed, 1);
    struct reading reading = run(bed, NULL);
    assert_int_equal(reading.found.duplicates, 0);
    BED_AWAIT(bed_counter(bed, CBT_COUNT_queue_full) > 0);
    bed_free(bed);
}

/* A record with a value of that size and a long host. */
static struct bed_frame *new_large(uint32_t value)
{
    struct bed_frame *f = bed_frame_new(1, 1, 0, value + 1000);
    f->records[0].value_len = value;
    f->records[0].host_len = 1000;
    return f;
}

/* With its headers a record is as large as its topic takes, or larger by a byte: then it is a dead letter,
 * not a batch that is refused again and again. */
static void header_bytes_count(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    rd_kafka_mock_topic_create(bed->cluster, "dead", 1, 1);
    bed_open(bed, 1);
    struct bed_frame *fits = new_large(KAFKA_TOPIC_MAX_BYTES - 2000);
    uint32_t value = KAFKA_TOPIC_MAX_BYTES - 2000 + KAFKA_TOPIC_MAX_BYTES -
                     (uint32_t)kafka_record_bytes(&fits->records[0], true);
    bed_frame_free(fits);
    fits = new_large(value);
    struct bed_frame *large = new_large(value + 1);
    assert_int_equal(kafka_record_bytes(&fits->records[0], true), KAFKA_TOPIC_MAX_BYTES);
    bed_submit(bed, 0, fits);
    bed_submit(bed, 0, large);
    bed_await_settled(bed, 2);
    assert_int_equal(atomic_load(&bed->stats.dead[CBT_DEAD_refused]), 1);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_dead_letters), 1);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), 1);
    assert_int_equal(bed_resent(bed, CBT_RESENT_batch_refused), 0);
    bed_frame_free(fits);
    bed_frame_free(large);
    bed_free(bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_consumer_sees_type_sensor_and_host),
        cmocka_unit_test(headers_and_timestamps_go_together),
        cmocka_unit_test(records_sent_again_have_them_again),
        cmocka_unit_test(records_of_a_refused_batch_have_them_when_sent_alone),
        cmocka_unit_test(a_full_queue_keeps_the_order),
        cmocka_unit_test(header_bytes_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
