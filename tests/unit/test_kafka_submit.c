/* SPDX-License-Identifier: MIT */
/* The Kafka sink's way of events: partitions, order, completeness, topics, timestamps, a full queue. */
#include "kafka_bed.h"

#define PARTITIONS 8

/* Java's murmur2, as its own unit tests have it (org.apache.kafka.common.utils.UtilsTest). */
static void partitions_are_those_of_java(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int32_t hash;
    } vectors[] = {{"21", -973932308},
                   {"foobar", -790332482},
                   {"a-little-bit-long-string", -985981536},
                   {"a-little-bit-longer-string", -1486304829},
                   {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
                   {"abc", 479470107}};
    struct kafka_topic topic = {.name = "t"};
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct cbt_record record = {.key = (const uint8_t *)vectors[i].key,
                                    .key_len = (uint32_t)strlen(vectors[i].key)};
        for (int32_t partitions = 1; partitions < 100; partitions++)
            assert_int_equal(kafka_partition_of(&topic, partitions, &record, 0),
                             (vectors[i].hash & 0x7fffffff) % partitions);
    }
}

#define SENSORS       48
#define WORKERS       3
#define WORKER_FRAMES 700
#define FRAME_RECORDS 100

struct load {
    struct bed *bed;
    unsigned worker;
    struct bed_frame **frames;
};

/* Bundles of one sensor, and now and then a batch of single messages of many. */
static void *submit_load(void *arg)
{
    struct load *load = arg;
    struct cbt_record *records[BED_BATCH];
    for (unsigned i = 0; i < WORKER_FRAMES;) {
        unsigned frames = i % 3 == 0 && i + 10 <= WORKER_FRAMES ? 10 : 1;
        uint32_t n = 0;
        /* Interleaved, so that a run of equal key is one record long. */
        for (uint32_t r = 0; r < FRAME_RECORDS; r++)
            for (unsigned f = 0; f < frames; f++)
                records[n++] = &load->frames[i + f]->records[r];
        load->bed->sink->submit(load->bed->kafka, load->worker, records, n);
        i += frames;
    }
    return NULL;
}

static struct bed_found run_load(struct bed *bed)
{
    pthread_t threads[WORKERS];
    struct load loads[WORKERS];
    uint32_t next[SENSORS] = {0};
    for (unsigned w = 0; w < WORKERS; w++) {
        loads[w] = (struct load){bed, w, calloc(WORKER_FRAMES, sizeof(struct bed_frame *))};
        assert_non_null(loads[w].frames);
        for (unsigned i = 0; i < WORKER_FRAMES; i++) {
            /* Each sensor belongs to one worker. */
            unsigned sensor = i * 7 % (SENSORS / WORKERS) * WORKERS + w;
            loads[w].frames[i] = bed_frame_new(FRAME_RECORDS, (int32_t)sensor, next[sensor], 40);
            next[sensor] += FRAME_RECORDS;
        }
    }
    for (unsigned w = 0; w < WORKERS; w++)
        assert_int_equal(pthread_create(&threads[w], NULL, submit_load, &loads[w]), 0);
    bed_await_settled(bed, (size_t)WORKERS * WORKER_FRAMES);
    for (unsigned w = 0; w < WORKERS; w++)
        pthread_join(threads[w], NULL);
    bed_drain(bed);
    struct bed_found found = bed_read_events(bed, "events", PARTITIONS);
    for (unsigned s = 0; s < SENSORS; s++)
        assert_int_equal(found.next[s], next[s]);
    for (unsigned w = 0; w < WORKERS; w++) {
        for (unsigned i = 0; i < WORKER_FRAMES; i++)
            bed_frame_free(loads[w].frames[i]);
        free(loads[w].frames);
    }
    return found;
}

static void events_of_several_workers_arrive_complete_in_order_and_where_they_belong(void **state)
{
    (void)state;
    struct bed *bed = bed_new(3);
    rd_kafka_mock_topic_create(bed->cluster, "events", PARTITIONS, 1);
    bed_open(bed, WORKERS);
    struct bed_found found = run_load(bed);
    size_t records = (size_t)WORKERS * WORKER_FRAMES * FRAME_RECORDS;
    assert_int_equal(found.records, records);
    assert_int_equal(found.duplicates, 0);
    assert_int_equal(found.misplaced, 0);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), records);
    assert_int_equal(bed_counter(bed, CBT_COUNT_settled_records), records);
    assert_true(bed_counter(bed, CBT_COUNT_delivered_bytes) > records * 40);
    assert_int_equal(bed_counter(bed, CBT_COUNT_queue_full), 0);
    assert_int_equal(bed_resent(bed, CBT_RESENT_fatal) + bed_resent(bed, CBT_RESENT_failed), 0);
    bed_free(bed);
}

static void a_full_queue_is_waited_for_and_loses_nothing(void **state)
{
    (void)state;
    struct bed *bed = bed_new(1);
    rd_kafka_mock_topic_create(bed->cluster, "events", PARTITIONS, 1);
    bed_property(bed, "queue.buffering.max.messages", "777");
    bed_open(bed, WORKERS);
    struct bed_found found = run_load(bed);
    assert_int_equal(found.records, (size_t)WORKERS * WORKER_FRAMES * FRAME_RECORDS);
    assert_int_equal(found.duplicates, 0);
    BED_AWAIT(bed_counter(bed, CBT_COUNT_queue_full) > 0);
    bed_free(bed);
}

static void records_without_key_of_a_batch_go_to_one_partition(void **state)
{
    (void)state;
    struct bed *bed = bed_new(1);
    rd_kafka_mock_topic_create(bed->cluster, "events", PARTITIONS, 1);
    bed_open(bed, 1);
    struct bed_frame *frames[20];
    bool used[PARTITIONS] = {false};
    unsigned partitions = 0;
    for (unsigned i = 0; i < 20; i++) {
        frames[i] = bed_frame_new(50, (int32_t)i, 0, 40);
        for (unsigned r = 0; r < 50; r++) {
            free(r == 0 ? kafka_bytes(frames[i]->records[r].key) : NULL);
            frames[i]->records[r].key = NULL;
            frames[i]->records[r].key_len = 0;
        }
        bed_submit(bed, 0, frames[i]);
    }
    bed_await_settled(bed, 20);
    struct bed_found found = bed_read_events(bed, "events", PARTITIONS);
    assert_int_equal(found.records, 1000);
    for (unsigned i = 0; i < 20; i++) {
        for (unsigned r = 1; r < 50; r++)
            assert_int_equal(frames[i]->records[r].partition, frames[i]->records[0].partition);
        partitions += !used[frames[i]->records[0].partition];
        used[frames[i]->records[0].partition] = true;
        bed_frame_free(frames[i]);
    }
    assert_true(partitions > 2);
    bed_free(bed);
}

static void a_topic_by_template_is_made_for_each_type(void **state)
{
    (void)state;
    struct bed *bed = bed_new(1);
    bed->config.kafka.topic = "t.{server}.{type}-{event_type}";
    bed_open(bed, 2);
    struct bed_frame *one = bed_frame_new(3, 1, 0, 40), *two = bed_frame_new(3, 2, 0, 40);
    for (unsigned i = 0; i < 3; i++) {
        two->records[i].type_name = CBT_TEXT("watchlist/hit\xff");
        two->records[i].event_type_name = CBT_TEXT("watchlist/hit\xff");
    }
    bed_submit(bed, 0, one);
    bed_submit(bed, 0, two);
    bed_await_settled(bed, 2);
    bed_frame_free(one);
    bed_frame_free(two);
    one = bed_frame_new(3, 1, 3, 40);
    bed_submit(bed, 1, one);
    bed_submit(bed, 1, (two = bed_frame_new(3, 1, 6, 40)));
    bed_await_settled(bed, 4);
    bed_frame_free(one);
    bed_frame_free(two);
    struct bed_found found = bed_read_events(bed, "t.server.1.ingress.event.procstart-proc", 4);
    assert_int_equal(found.next[1], 9);
    assert_int_equal(found.records, 9);
    found = bed_read_events(bed, "t.server.1.watchlist_hit_-watchlist_hit_", 4);
    assert_int_equal(found.next[2], 3);
    assert_int_equal(found.records, 3);
    bed_free(bed);
}

static void topics_beyond_the_table_share_the_one_of_other(void **state)
{
    (void)state;
    struct bed *bed = bed_new(1);
    bed->config.kafka.topic = "x-{type}";
    bed_property(bed, "linger.ms", "0");
    bed_open(bed, 1);
    char names[KAFKA_TOPICS_MAX + 3][8];
    struct bed_frame *frames[KAFKA_TOPICS_MAX + 3];
    for (unsigned i = 0; i < KAFKA_TOPICS_MAX + 3; i++) {
        int len = snprintf(names[i], sizeof(names[i]), "n%u", i);
        frames[i] = bed_frame_new(1, 5, 0, 40);
        frames[i]->records[0].type_name = (struct cbt_text){(const uint8_t *)names[i], (size_t)len};
        bed_submit(bed, 0, frames[i]);
    }
    bed_await_settled(bed, KAFKA_TOPICS_MAX + 3);
    struct bed_found found = bed_read_events(bed, "x-other", 4);
    assert_int_equal(found.records, 4); /* topics[0] is it, so one less has a row */
    for (unsigned i = 0; i < KAFKA_TOPICS_MAX + 3; i++)
        bed_frame_free(frames[i]);
    bed_free(bed);
}

static int64_t timestamp_with(const char *choice, int64_t unix_ms)
{
    struct bed *bed = bed_new(1);
    rd_kafka_mock_topic_create(bed->cluster, "events", 1, 1);
    bed->config.kafka.kafka_timestamp = choice;
    bed_open(bed, 1);
    struct bed_frame *frame = bed_frame_new(500, 1, 0, 40);
    for (unsigned i = 0; i < 500; i++)
        frame->records[i].unix_ms = unix_ms;
    bed_submit(bed, 0, frame);
    bed_await_settled(bed, 1);
    struct bed_found found = bed_read_events(bed, "events", 1);
    assert_int_equal(found.records, 500);
    bed_frame_free(frame);
    bed_free(bed);
    return found.first_timestamp;
}

static void timestamps_are_what_was_asked_for_and_never_ahead(void **state)
{
    (void)state;
    int64_t before = cbt_wall_ms();
    assert_int_equal(timestamp_with("arrival", 1600000000000), 1700000000000);
    assert_int_equal(timestamp_with("event", 1600000000000), 1600000000000);
    int64_t ahead = timestamp_with("event", before + 86400000);
    assert_true(ahead >= before && ahead <= cbt_wall_ms());
    int64_t none = timestamp_with("event", 0);
    assert_true(none >= before && none <= cbt_wall_ms());
    int64_t produce = timestamp_with("produce", 1600000000000);
    assert_true(produce >= before && produce <= cbt_wall_ms());
}

static void it_is_ready_when_the_topic_is_known(void **state)
{
    (void)state;
    char reason[256];
    struct bed *bed = bed_new(1);
    rd_kafka_mock_broker_set_down(bed->cluster, -1);
    bed_open(bed, 1);
    assert_false(bed->sink->ready(bed->kafka, reason, sizeof(reason)));
    BED_AWAIT(!bed->sink->ready(bed->kafka, reason, sizeof(reason)) &&
              strstr(reason, "does not answer") != NULL);
    assert_int_equal(atomic_load(&bed->stats.gauge_connected), 0);
    rd_kafka_mock_broker_set_up(bed->cluster, -1);
    BED_AWAIT(bed->sink->ready(bed->kafka, reason, sizeof(reason)));
    BED_AWAIT(atomic_load(&bed->stats.gauge_connected) == 1);
    bed_free(bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_are_those_of_java),
        cmocka_unit_test(events_of_several_workers_arrive_complete_in_order_and_where_they_belong),
        cmocka_unit_test(a_full_queue_is_waited_for_and_loses_nothing),
        cmocka_unit_test(records_without_key_of_a_batch_go_to_one_partition),
        cmocka_unit_test(a_topic_by_template_is_made_for_each_type),
        cmocka_unit_test(topics_beyond_the_table_share_the_one_of_other),
        cmocka_unit_test(timestamps_are_what_was_asked_for_and_never_ahead),
        cmocka_unit_test(it_is_ready_when_the_topic_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
