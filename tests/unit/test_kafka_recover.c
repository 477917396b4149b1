/* SPDX-License-Identifier: MIT */
/*
 * What the Kafka sink does when librdkafka gives up: nothing is lost, order holds for each sensor, what Kafka
 * refuses alone is a dead letter and its neighbours are not.
 */
#include <unistd.h>

#include "kafka_bed.h"

#define PARTITIONS    6
#define WORKERS       2
#define SENSORS       20
#define WORKER_FRAMES 1000
#define FRAME_RECORDS 60
#define API_PRODUCE   0

struct load {
    struct bed *bed;
    unsigned worker;
    struct bed_frame *frames[WORKER_FRAMES];
    _Atomic unsigned submitted;
    pthread_t thread;
};

static void *submit_load(void *arg)
{
    struct load *load = arg;
    for (unsigned i = 0; i < WORKER_FRAMES; i++) {
        bed_submit(load->bed, load->worker, load->frames[i]);
        atomic_fetch_add(&load->submitted, 1);
    }
    return NULL;
}

/* Loads from all workers at once; `disturb` is called meanwhile, on the test's thread. */
static struct bed_found run_load(struct bed *bed, void (*disturb)(struct bed *bed, struct load *loads))
{
    struct load *loads = calloc(WORKERS, sizeof(*loads));
    uint32_t next[SENSORS] = {0};
    assert_non_null(loads);
    for (unsigned w = 0; w < WORKERS; w++) {
        loads[w].bed = bed;
        loads[w].worker = w;
        for (unsigned i = 0; i < WORKER_FRAMES; i++) {
            unsigned sensor = i % (SENSORS / WORKERS) * WORKERS + w;
            loads[w].frames[i] = bed_frame_new(FRAME_RECORDS, (int32_t)sensor, next[sensor], 40);
            next[sensor] += FRAME_RECORDS;
        }
    }
    for (unsigned w = 0; w < WORKERS; w++)
        assert_int_equal(pthread_create(&loads[w].thread, NULL, submit_load, &loads[w]), 0);
    disturb(bed, loads);
    bed_await_settled(bed, (size_t)WORKERS * WORKER_FRAMES);
    for (unsigned w = 0; w < WORKERS; w++)
        pthread_join(loads[w].thread, NULL);
    bed_drain(bed);
    struct bed_found found = bed_read_events(bed, "events", PARTITIONS);
    for (unsigned s = 0; s < SENSORS; s++)
        assert_int_equal(found.next[s], next[s]);
    assert_int_equal(found.misplaced, 0);
    assert_int_equal(bed_counter(bed, CBT_COUNT_settled_records), WORKERS * WORKER_FRAMES * FRAME_RECORDS);
    for (unsigned w = 0; w < WORKERS; w++)
        for (unsigned i = 0; i < WORKER_FRAMES; i++)
            bed_frame_free(loads[w].frames[i]);
    free(loads);
    return found;
}

static struct bed *new_bed(void)
{
    struct bed *bed = bed_new(3);
    rd_kafka_mock_topic_create(bed->cluster, "events", PARTITIONS, 1);
    /* The mock cluster does not refuse what is out of sequence, as Kafka does: behind a refused batch there
     * must be nothing under way. */
    bed_property(bed, "max.in.flight.requests.per.connection", "1");
    return bed;
}

static void fail_producer(struct bed *bed)
{
    struct kafka *k = bed->kafka;
    pthread_mutex_lock(&k->lock); /* else it could be replaced meanwhile */
    rd_kafka_test_fatal_error(k->producer->rk, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "a test");
    pthread_mutex_unlock(&k->lock);
}

static void fail_producer_often(struct bed *bed, struct load *loads)
{
    for (unsigned i = 1; i <= 8; i++) {
        BED_AWAIT(atomic_load(&loads[0].submitted) >= i * 100);
        fail_producer(bed);
    }
}

static void fatal_errors_under_load_lose_and_reorder_nothing(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    /* So that there is something in librdkafka's hands each time. */
    bed_property(bed, "queue.buffering.max.messages", "5000");
    bed_open(bed, WORKERS);
    struct bed_found found = run_load(bed, fail_producer_often);
    assert_true(found.records >= (size_t)WORKERS * WORKER_FRAMES * FRAME_RECORDS);
    assert_true(bed_resent(bed, CBT_RESENT_fatal) > 0);
    assert_true(bed_counter(bed, CBT_COUNT_producers_replaced) >= 2);
    assert_int_equal(atomic_load(&bed->stats.dead[CBT_DEAD_refused]), 0);
    bed_free(bed);
}

/* One of librdkafka's properties names it; nobody reads it, for the mock cluster speaks no TLS. */
static char tls_file[] = "/tmp/cbtap-test-ca-XXXXXX";

static void grow_tls_file(void)
{
    FILE *file = fopen(tls_file, "a");
    assert_non_null(file);
    fputc('\n', file);
    assert_int_equal(fclose(file), 0);
}

static void renew_tls_files_often(struct bed *bed, struct load *loads)
{
    for (unsigned i = 1; i <= 8; i++) {
        BED_AWAIT(atomic_load(&loads[0].submitted) >= i * 100);
        grow_tls_file();
        bed->sink->reload(bed->kafka);
        BED_AWAIT(bed_counter(bed, CBT_COUNT_producers_replaced) >= i);
        bed->sink->reload(bed->kafka); /* unchanged: nothing to do */
    }
}

static void renewed_tls_files_under_load_lose_double_and_reorder_nothing(void **state)
{
    (void)state;
    int fd = mkstemp(tls_file);
    assert_true(fd >= 0);
    close(fd);
    struct bed *bed = new_bed();
    bed_property(bed, "queue.buffering.max.messages", "5000");
    bed_property(bed, "ssl.ca.location", tls_file);
    bed_open(bed, WORKERS);
    struct bed_found found = run_load(bed, renew_tls_files_often);
    /* What is under way has its answer before the producer goes. */
    assert_int_equal(found.records, WORKERS * WORKER_FRAMES * FRAME_RECORDS);
    assert_int_equal(bed_counter(bed, CBT_COUNT_producers_replaced), 8);
    bed_free(bed);
    unlink(tls_file);
}

static void refuse_batches(struct bed *bed, struct load *loads)
{
    static const rd_kafka_resp_err_t errors[] = {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                                 RD_KAFKA_RESP_ERR_INVALID_RECORD,
                                                 RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP};
    for (unsigned i = 0; i < 3; i++) {
        BED_AWAIT(atomic_load(&loads[0].submitted) >= 100 + 300 * i);
        rd_kafka_mock_push_request_errors(bed->cluster, API_PRODUCE, 1, errors[i]);
    }
}

static void innocents_of_refused_batches_are_delivered_in_order(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_property(bed, "queue.buffering.max.messages", "5000");
    bed_property(bed, "batch.num.messages", "200");
    bed_open(bed, WORKERS);
    run_load(bed, refuse_batches);
    /* Once, for the one that was too large. */
    assert_int_equal(atomic_load(&bed->kafka->batch_bytes), KAFKA_BATCH_BYTES / 2);
    assert_true(bed_resent(bed, CBT_RESENT_batch_refused) > 0);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), WORKERS * WORKER_FRAMES * FRAME_RECORDS);
    assert_int_equal(atomic_load(&bed->stats.dead[CBT_DEAD_refused]), 0);
    bed_free(bed);
}

static void fail_requests(struct bed *bed, struct load *loads)
{
    BED_AWAIT(atomic_load(&loads[0].submitted) >= 100);
    rd_kafka_mock_push_request_errors(
        bed->cluster, API_PRODUCE, 4, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);
}

static void passing_errors_of_brokers_are_librdkafkas_to_retry(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_open(bed, WORKERS);
    run_load(bed, fail_requests);
    assert_int_equal(bed_counter(bed, CBT_COUNT_producers_replaced), 0);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), WORKERS * WORKER_FRAMES * FRAME_RECORDS);
    bed_free(bed);
}

static void take_brokers_down(struct bed *bed, struct load *loads)
{
    char reason[256];
    for (unsigned i = 0; i < 2; i++) {
        BED_AWAIT(atomic_load(&loads[0].submitted) >= 100 + 300 * i);
        rd_kafka_mock_broker_set_down(bed->cluster, -1);
        BED_AWAIT(!bed->sink->ready(bed->kafka, reason, sizeof(reason)));
        assert_non_null(strstr(reason, "does not answer"));
        rd_kafka_mock_broker_set_up(bed->cluster, -1);
        BED_AWAIT(bed->sink->ready(bed->kafka, reason, sizeof(reason)));
    }
}

static void brokers_that_go_and_come_back_lose_nothing(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_property(bed, "queue.buffering.max.messages", "5000");
    bed_open(bed, WORKERS);
    run_load(bed, take_brokers_down);
    bed_free(bed);
}

static void forbid_the_topic(struct bed *bed, struct load *loads)
{
    char reason[256];
    BED_AWAIT(atomic_load(&loads[0].submitted) >= 100);
    rd_kafka_mock_push_request_errors(bed->cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    BED_AWAIT(!bed->sink->ready(bed->kafka, reason, sizeof(reason)));
    assert_non_null(strstr(reason, "sent again"));
}

static void a_lost_authorization_is_waited_for(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_property(bed, "queue.buffering.max.messages", "5000");
    bed_open(bed, WORKERS);
    int64_t start = cbt_now_ns();
    run_load(bed, forbid_the_topic);
    /* Asked again slowly, as people have to do something. */
    assert_true(cbt_now_ns() - start > 3000 * KAFKA_NS_PER_MS);
    assert_true(bed_counter(bed, CBT_COUNT_busy_ns) < (uint64_t)(2000 * KAFKA_NS_PER_MS)); /* and asleep */
    assert_true(bed_resent(bed, CBT_RESENT_failed) > 0);
    assert_int_equal(atomic_load(&bed->stats.dead[CBT_DEAD_refused]), 0);
    bed_free(bed);
}

static void lose_the_topic(struct bed *bed, struct load *loads)
{
    BED_AWAIT(atomic_load(&loads[0].submitted) >= 100);
    rd_kafka_mock_push_request_errors(bed->cluster, API_PRODUCE, 3, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                                      RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                                      RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
}

static void a_topic_that_is_gone_for_a_while_is_waited_for(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_property(bed, "queue.buffering.max.messages", "5000");
    bed_open(bed, WORKERS);
    run_load(bed, lose_the_topic);
    bed_free(bed);
}

/* ---- one refused record ---- */

struct dead_letter {
    unsigned count;
    char value[64], reason[32], detail[256], topic[32], key[16];
};

static void copy_header(const rd_kafka_headers_t *headers, const char *name, char *out, size_t out_bytes)
{
    const void *value = NULL;
    size_t len = 0;
    if (rd_kafka_header_get_last(headers, name, &value, &len) != 0)
        return;
    len = len < out_bytes ? len : out_bytes - 1;
    memcpy(out, value, len);
    out[len] = '\0';
}

static void read_dead_letter(void *arg, const rd_kafka_message_t *message)
{
    struct dead_letter *dead = arg;
    rd_kafka_headers_t *headers = NULL;
    dead->count++;
    assert_int_equal(rd_kafka_message_headers(message, &headers), 0);
    copy_header(headers, "reason", dead->reason, sizeof(dead->reason));
    copy_header(headers, "detail", dead->detail, sizeof(dead->detail));
    copy_header(headers, "topic", dead->topic, sizeof(dead->topic));
    memcpy(dead->value, message->payload, message->len < 63 ? message->len : 63);
    memcpy(dead->key, message->key, message->key_len < 15 ? message->key_len : 15);
}

static void only_what_is_refused_alone_is_a_dead_letter(void **state)
{
    (void)state;
    struct bed *bed = bed_new(1);
    rd_kafka_mock_topic_create(bed->cluster, "events", 1, 1);
    rd_kafka_mock_topic_create(bed->cluster, "dead", 1, 1);
    bed_property(bed, "linger.ms", "100"); /* all in one batch */
    bed_open(bed, 1);
    /* The batch, then the first record alone. */
    rd_kafka_mock_push_request_errors(bed->cluster, API_PRODUCE, 2, RD_KAFKA_RESP_ERR_INVALID_RECORD,
                                      RD_KAFKA_RESP_ERR_INVALID_RECORD);
    struct bed_frame *refused = bed_frame_new(1, 7, 0, 40), *others = bed_frame_new(99, 1, 0, 40);
    struct cbt_record *records[100] = {&refused->records[0]};
    for (unsigned i = 0; i < 99; i++)
        records[i + 1] = &others->records[i];
    bed->sink->submit(bed->kafka, 0, records, 100);
    bed_await_settled(bed, 2);
    bed_drain(bed);
    struct bed_found found = bed_read_events(bed, "events", 1);
    assert_int_equal(found.records, 99);
    assert_int_equal(found.next[1], 99);
    struct dead_letter dead = {0};
    bed_read(bed, "dead", 1, read_dead_letter, &dead);
    assert_int_equal(dead.count, 1);
    assert_memory_equal(dead.value, "7 0 ", 4);
    assert_string_equal(dead.key, "7");
    assert_string_equal(dead.reason, "refused");
    assert_string_equal(dead.topic, "events");
    assert_non_null(strstr(dead.detail, "Broker failed to validate record"));
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), 99);
    assert_int_equal(bed_counter(bed, CBT_COUNT_settled_records), 100);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_dead_letters), 1);
    assert_int_equal(atomic_load(&bed->stats.dead[CBT_DEAD_refused]), 1);
    assert_int_equal(bed_resent(bed, CBT_RESENT_batch_refused), 100);
    bed_frame_free(refused);
    bed_frame_free(others);
    bed_free(bed);
}

static void what_is_larger_than_the_topic_takes_is_a_dead_letter_unsent(void **state)
{
    (void)state;
    struct bed *bed = bed_new(1);
    rd_kafka_mock_topic_create(bed->cluster, "events", 1, 1);
    rd_kafka_mock_topic_create(bed->cluster, "dead", 1, 1);
    bed_property(bed, "message.max.bytes", "2000"); /* the mock cluster does not tell max.message.bytes */
    bed_open(bed, 1);
    struct bed_frame *large = bed_frame_new(2, 7, 0, 2000), *others = bed_frame_new(98, 1, 0, 1000);
    struct cbt_record *records[100] = {&large->records[0], &large->records[1]};
    large->records[0].value_len = 1500;
    for (unsigned i = 0; i < 98; i++)
        records[i + 2] = &others->records[i];
    bed->sink->submit(bed->kafka, 0, records, 100);
    bed_await_settled(bed,
                      1); /* the other frame waits for its dead letter, which its topic does not take, too */
    struct bed_found found = bed_read_events(bed, "events", 1);
    assert_int_equal(found.next[1], 98);
    assert_int_equal(found.next[7], 1);
    BED_AWAIT(atomic_load(&bed->stats.dead[CBT_DEAD_refused]) == 1);
    assert_int_equal(bed_counter(bed, CBT_COUNT_settled_records), 100);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), 99);
    assert_int_equal(bed_counter(bed, CBT_COUNT_producers_replaced), 0);
    bed_close(bed);
    assert_int_equal(atomic_load(&large->frame.pending), 1);
    bed_frame_free(large);
    bed_frame_free(others);
    bed_free(bed);
}

static void record_sizes_are_those_of_the_format(void **state)
{
    (void)state;
    struct cbt_record record = {0};
    /* 61 of the batch's head; length, attributes, two deltas, two lengths, header count: one byte each. */
    assert_int_equal(kafka_record_bytes(&record, false), 61 + 7);
    record.value_len = 63;
    assert_int_equal(kafka_record_bytes(&record, false), 61 + 8 + 63);
    record.value_len = 64; /* its length takes two bytes, as does the record's */
    assert_int_equal(kafka_record_bytes(&record, false), 61 + 9 + 64);
    record.key_len = 100;
    record.value_len = 1000000;
    assert_int_equal(kafka_record_bytes(&record, false), 61 + 3 + 4 + 2 + 100 + 3 + 1000000);
    /* Headers: lengths and texts of type, sensor_id (-2147483648), host. */
    record.type_name = CBT_TEXT("ingress.event.filemod");
    record.sensor_id = INT32_MIN;
    record.host_len = 100;
    assert_int_equal(kafka_record_bytes(&record, true), 61 + 3 + 4 + 2 + 100 + 3 + 1000000 +
                                                            (1 + 4 + 1 + 21) + (1 + 9 + 1 + 11) +
                                                            (1 + 4 + 2 + 100));
}

/* ---- the end ---- */

static void *submit_one(void *arg)
{
    struct load *load = arg;
    bed_submit(load->bed, 0, load->frames[0]);
    bed_submit(load->bed, 0, load->frames[1]);
    return NULL;
}

static void what_was_not_delivered_is_not_settled_when_it_is_abandoned(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_property(bed, "queue.buffering.max.messages", "1000");
    bed_open(bed, 1);
    char reason[256];
    BED_AWAIT(bed->sink->ready(bed->kafka, reason, sizeof(reason)));
    struct load load = {.bed = bed, .frames = {bed_frame_new(10, 1, 0, 40), bed_frame_new(5000, 2, 0, 40)}};
    rd_kafka_mock_broker_set_down(bed->cluster, -1);
    assert_int_equal(pthread_create(&load.thread, NULL, submit_one, &load), 0);
    BED_AWAIT(bed_counter(bed, CBT_COUNT_queue_full) > 0); /* it waits for room that does not come */
    struct cbt_err err = {0};
    assert_int_equal(bed->sink->drain(bed->kafka, 50, &err), CBT_ELIMIT);
    assert_non_null(strstr(err.text, "records are not delivered"));
    bed->sink->abandon(bed->kafka);
    pthread_join(load.thread, NULL);
    bed_close(bed);
    assert_null(cbt_ring_pop(&bed->ring));
    assert_int_equal(atomic_load(&load.frames[0]->frame.pending), 10);
    assert_int_equal(atomic_load(&load.frames[1]->frame.pending), 5000);
    bed_frame_free(load.frames[0]);
    bed_frame_free(load.frames[1]);
    bed_free(bed);
}

static void it_closes_in_the_middle_of_a_recovery(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_open(bed, 1);
    char reason[256];
    BED_AWAIT(bed->sink->ready(bed->kafka, reason, sizeof(reason)));
    rd_kafka_mock_push_request_errors(bed->cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    struct bed_frame *frame = bed_frame_new(500, 1, 0, 40);
    bed_submit(bed, 0, frame);
    BED_AWAIT(!bed->sink->ready(bed->kafka, reason, sizeof(reason)));
    bed_close(bed);
    assert_int_equal(atomic_load(&frame->frame.pending), 500);
    bed_frame_free(frame);
    bed_free(bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_sizes_are_those_of_the_format),
        cmocka_unit_test(fatal_errors_under_load_lose_and_reorder_nothing),
        cmocka_unit_test(renewed_tls_files_under_load_lose_double_and_reorder_nothing),
        cmocka_unit_test(innocents_of_refused_batches_are_delivered_in_order),
        cmocka_unit_test(passing_errors_of_brokers_are_librdkafkas_to_retry),
        cmocka_unit_test(brokers_that_go_and_come_back_lose_nothing),
        cmocka_unit_test(a_lost_authorization_is_waited_for),
        cmocka_unit_test(a_topic_that_is_gone_for_a_while_is_waited_for),
        cmocka_unit_test(only_what_is_refused_alone_is_a_dead_letter),
        cmocka_unit_test(what_is_larger_than_the_topic_takes_is_a_dead_letter_unsent),
        cmocka_unit_test(what_was_not_delivered_is_not_settled_when_it_is_abandoned),
        cmocka_unit_test(it_closes_in_the_middle_of_a_recovery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
