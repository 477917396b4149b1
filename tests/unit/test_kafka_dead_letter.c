/* SPDX-License-Identifier: MIT */
/* Dead letters of the Kafka sink: to the topic with all that is known of them, else to the directory, else
 * they wait; and none of that holds up events. */
#include "kafka_bed.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "captured.h"

#define API_PRODUCE 0
#define RAW_BYTES   9

static const uint8_t raw[RAW_BYTES] = {0, 1, 0xff, '\n', 0x80, 0, '"', 'z', 0};

static const struct cbt_dead_letter letter = {.reason = CBT_DEAD_truncated,
                                              .framing = CBT_FRAMING_BUNDLE,
                                              .detail = "a length beyond the end",
                                              .entry = 3,
                                              .index = 41,
                                              .offset = 123456789012};

/* A frame whose records in [from, count) are dead letters. */
static struct bed_frame *frame_with_dead(uint32_t count, int32_t sensor, uint32_t from)
{
    struct bed_frame *f = bed_frame_new(count, sensor, 0, 40);
    f->frame.routing_key = CBT_TEXT("ingress.event.procstart");
    f->frame.content_type = CBT_TEXT("application/zip");
    f->frame.env = (struct cbt_environment){.has_host_name = true,
                                            .host_name = CBT_TEXT("host-7"),
                                            .has_host_id = true,
                                            .host_id = -1,
                                            .has_node_id = true,
                                            .node_id = 5};
    f->frame.framing = CBT_FRAMING_DETECT; /* the letter has its own */
    for (uint32_t i = from; i < count; i++) {
        f->records[i].dead = &letter;
        f->records[i].value = raw;
        f->records[i].value_len = RAW_BYTES;
        f->records[i].key = NULL;
        f->records[i].key_len = 0;
    }
    return f;
}

/* bed_frame_free wants the first record's memory. */
static struct bed_frame *frame_of_dead(uint32_t count, int32_t sensor)
{
    struct bed_frame *f = frame_with_dead(count + 1, sensor, 1);
    f->frame.pending = count;
    return f;
}

static void submit_dead(struct bed *bed, unsigned worker, struct bed_frame *f)
{
    struct cbt_record *records[BED_BATCH];
    for (uint32_t i = 1; i < f->count; i++)
        records[i - 1] = &f->records[i];
    bed->sink->submit(bed->kafka, worker, records, f->count - 1);
}

/* ---- the directory ---- */

struct folder {
    char parent[32], path[64];
};

static void folder_make(struct folder *folder)
{
    snprintf(folder->parent, sizeof(folder->parent), "/tmp/cbtap-kafka-XXXXXX");
    assert_non_null(mkdtemp(folder->parent));
    snprintf(folder->path, sizeof(folder->path), "%s/dead/letters", folder->parent);
}

static size_t read_file(const char *dir, const char *name, char *out, size_t out_bytes)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t len = fread(out, 1, out_bytes - 1, file);
    out[len] = '\0';
    fclose(file);
    return len;
}

/* Counts the dead letters, checks each one's bytes (where given) and gives the last one's info. */
static unsigned folder_read(const struct folder *folder, const void *bytes, size_t len, char *ret_info,
                            size_t info_bytes)
{
    unsigned count = 0;
    DIR *dir = opendir(folder->path);
    if (dir == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char *dot = strrchr(entry->d_name, '.');
        char text[4096];
        if (dot == NULL || strcmp(dot, ".bin") != 0)
            continue;
        count++;
        size_t found = read_file(folder->path, entry->d_name, text, sizeof(text));
        assert_int_equal(found, len);
        assert_memory_equal(text, bytes, len);
        memcpy(dot, ".json", sizeof(".json"));
        read_file(folder->path, entry->d_name, ret_info, info_bytes);
    }
    closedir(dir);
    return count;
}

static void folder_remove(const struct folder *folder)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", folder->parent);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a path of our own */
}

/* ---- the topic ---- */

struct found {
    unsigned count;
    char headers[16][96]; /* "name=value" */
    size_t header_count;
};

static void read_letter(void *arg, const rd_kafka_message_t *message)
{
    struct found *found = arg;
    rd_kafka_headers_t *headers = NULL;
    assert_int_equal(message->len, RAW_BYTES);
    assert_memory_equal(message->payload, raw, RAW_BYTES);
    assert_int_equal(rd_kafka_message_headers(message, &headers), 0);
    const char *name;
    const void *value;
    size_t len;
    found->header_count = 0;
    for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &len) == 0; i++) {
        assert_true(i < 16);
        snprintf(found->headers[found->header_count++], 96, "%s=%.*s", name, (int)len, (const char *)value);
    }
    found->count++;
}

static void expect_header(const struct found *found, const char *header)
{
    for (size_t i = 0; i < found->header_count; i++)
        if (strcmp(found->headers[i], header) == 0)
            return;
    fail_msg("no header %s", header);
}

static struct bed *new_bed(void)
{
    struct bed *bed = bed_new(1);
    rd_kafka_mock_topic_create(bed->cluster, "events", 4, 1);
    rd_kafka_mock_topic_create(bed->cluster, "dead", 2, 1);
    return bed;
}

static void dead_letters_reach_the_topic_raw_with_all_that_is_known(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_open(bed, 1);
    /* Amid events of the same frame: both kinds settle it. */
    struct bed_frame *f = frame_with_dead(30, 7, 20);
    bed_submit(bed, 0, f);
    bed_await_settled(bed, 1);
    bed_drain(bed);
    assert_int_equal(bed_read_events(bed, "events", 4).next[7], 20);
    struct found found = {0};
    bed_read(bed, "dead", 2, read_letter, &found);
    assert_int_equal(found.count, 10);
    expect_header(&found, "reason=truncated");
    expect_header(&found, "detail=a length beyond the end");
    expect_header(&found, "source=");
    expect_header(&found, "routing_key=ingress.event.procstart");
    expect_header(&found, "content_type=application/zip");
    expect_header(&found, "position=entry 3 record 41 offset 123456789012");
    expect_header(&found, "sensor_id=7");
    expect_header(&found, "host_name=host-7");
    expect_header(&found, "host_id=-1");
    expect_header(&found, "node_id=5");
    expect_header(&found, "framing=bundle");
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_dead_letters), 10);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), 20);
    assert_int_equal(bed_counter(bed, CBT_COUNT_settled_records), 20);
    assert_int_equal(bed_counter(bed, CBT_COUNT_stored_dead_letters), 0);
    bed_frame_free(f);
    bed_free(bed);
}

static void what_the_topic_does_not_take_goes_to_the_directory(void **state)
{
    (void)state;
    struct folder folder;
    folder_make(&folder);
    struct bed *bed = new_bed();
    bed->config.kafka.dead_letter_dir = folder.path;
    bed_open(bed, 1);
    rd_kafka_mock_push_request_errors(bed->cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    struct bed_frame *f = frame_of_dead(1, 7);
    submit_dead(bed, 0, f);
    bed_await_settled(bed, 1);
    char info[2048] = "";
    assert_int_equal(folder_read(&folder, raw, RAW_BYTES, info, sizeof(info)), 1);
    assert_non_null(strstr(info, "\"reason\": \"truncated\""));
    assert_non_null(strstr(info, "\"detail\": \"a length beyond the end\""));
    assert_non_null(strstr(info, "\"routing_key\": \"ingress.event.procstart\""));
    assert_non_null(strstr(info, "\"sensor_id\": 7"));
    assert_non_null(strstr(info, "\"framing\": \"bundle\""));
    assert_non_null(strstr(info, "\"host_id\": -1, \"node_id\": 5"));
    assert_non_null(strstr(info, "\"index\": 41"));
    assert_int_equal(bed_counter(bed, CBT_COUNT_stored_dead_letters), 1);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_dead_letters), 0);
    assert_int_equal(bed_counter(bed, CBT_COUNT_producers_replaced), 0);
    bed_frame_free(f);
    bed_free(bed);
    folder_remove(&folder);
}

static void without_a_topic_the_directory_is_the_place(void **state)
{
    (void)state;
    struct folder folder;
    folder_make(&folder);
    struct bed *bed = new_bed();
    bed->config.kafka.dead_letter_topic = "";
    bed->config.kafka.dead_letter_dir = folder.path;
    bed_open(bed, 1);
    struct bed_frame *f = frame_of_dead(300, 7);
    submit_dead(bed, 0, f);
    bed_await_settled(bed, 1);
    char info[2048] = "";
    assert_int_equal(folder_read(&folder, raw, RAW_BYTES, info, sizeof(info)), 300);
    assert_int_equal(bed_counter(bed, CBT_COUNT_stored_dead_letters), 300);
    bed_frame_free(f);
    bed_free(bed);
    folder_remove(&folder);
}

static unsigned count_lines(const char *text, const char *part)
{
    unsigned count = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        count++;
    return count;
}

static void they_wait_unsettled_where_neither_takes_them(void **state)
{
    (void)state;
    struct folder folder;
    folder_make(&folder);
    /* A file where the directory would be: nobody, not even root, can write there. */
    char obstacle[64];
    snprintf(obstacle, sizeof(obstacle), "%s/dead", folder.parent);
    FILE *file = fopen(obstacle, "wb");
    assert_non_null(file);
    fclose(file);
    struct bed *bed = new_bed();
    bed->config.kafka.dead_letter_topic = "";
    bed->config.kafka.dead_letter_dir = folder.path;
    struct captured log;
    capture_begin(&log);
    bed_open(bed, 2);
    struct bed_frame *dead = frame_of_dead(5, 7), *events = bed_frame_new(200, 1, 0, 40);
    submit_dead(bed, 0, dead);
    bed_submit(bed, 1, events); /* are not held up */
    bed_await_settled(bed, 1);
    assert_int_equal(atomic_load(&events->frame.pending), 0);
    assert_int_equal(bed->sink->drain(bed->kafka, 300, NULL), CBT_ELIMIT);
    assert_int_equal(atomic_load(&dead->frame.pending), 5);
    unlink(obstacle);
    bed_await_settled(bed, 2);
    bed_drain(bed);
    char *text = capture_end(&log);
    char info[2048] = "";
    assert_int_equal(folder_read(&folder, raw, RAW_BYTES, info, sizeof(info)), 5);
    assert_int_equal(count_lines(text, "can be kept nowhere"), 1);
    assert_int_equal(count_lines(text, "dead letters are kept again"), 1);
    free(text);
    bed_frame_free(dead);
    bed_frame_free(events);
    bed_free(bed);
    folder_remove(&folder);
}

static void the_topic_is_tried_again_where_the_directory_fails(void **state)
{
    (void)state;
    struct bed *bed = new_bed(); /* without a directory */
    bed_open(bed, 1);
    rd_kafka_mock_push_request_errors(bed->cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    struct bed_frame *f = frame_of_dead(1, 7);
    submit_dead(bed, 0, f);
    bed_await_settled(bed, 1);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_dead_letters), 1);
    assert_int_equal(bed_counter(bed, CBT_COUNT_stored_dead_letters), 0);
    bed_frame_free(f);
    bed_free(bed);
}

static void an_outage_sends_nothing_to_the_directory(void **state)
{
    (void)state;
    struct folder folder;
    folder_make(&folder);
    struct bed *bed = new_bed();
    bed->config.kafka.dead_letter_dir = folder.path;
    bed_open(bed, 1);
    struct bed_frame *first = frame_of_dead(1, 7), *second = frame_of_dead(50, 7);
    submit_dead(bed, 0, first);
    bed_await_settled(bed, 1);
    char reason[256];
    rd_kafka_mock_broker_set_down(bed->cluster, -1);
    BED_AWAIT(!bed->sink->ready(bed->kafka, reason, sizeof(reason)));
    submit_dead(bed, 0, second);
    assert_int_equal(bed->sink->drain(bed->kafka, 500, NULL), CBT_ELIMIT);
    rd_kafka_mock_broker_set_up(bed->cluster, -1);
    bed_await_settled(bed, 2);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_dead_letters), 51);
    assert_int_equal(bed_counter(bed, CBT_COUNT_stored_dead_letters), 0);
    bed_frame_free(first);
    bed_frame_free(second);
    bed_free(bed);
    folder_remove(&folder);
}

static void a_recovery_does_not_hold_them_up(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_open(bed, 2);
    char reason[256];
    BED_AWAIT(bed->sink->ready(bed->kafka, reason, sizeof(reason)));
    rd_kafka_mock_push_request_errors(bed->cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    struct bed_frame *events = bed_frame_new(100, 1, 0, 40), *dead = frame_of_dead(10, 7);
    bed_submit(bed, 0, events);
    BED_AWAIT(!bed->sink->ready(bed->kafka, reason, sizeof(reason)));
    submit_dead(bed, 1, dead); /* would hang if it had to pass the gate */
    bed_await_settled(bed, 1);
    assert_int_equal(atomic_load(&dead->frame.pending), 0);
    assert_int_equal(atomic_load(&events->frame.pending), 100);
    bed_await_settled(bed, 2);
    bed_frame_free(events);
    bed_frame_free(dead);
    bed_free(bed);
}

static void an_event_too_large_for_either_topic_is_stored_alone(void **state)
{
    (void)state;
    struct folder folder;
    folder_make(&folder);
    struct bed *bed = new_bed();
    bed->config.kafka.dead_letter_dir = folder.path;
    bed_property(bed, "message.max.bytes", "2000");
    bed_open(bed, 1);
    struct bed_frame *large = bed_frame_new(1, 7, 0, 2100), *others = bed_frame_new(99, 1, 0, 1000);
    struct cbt_record *records[100];
    for (unsigned i = 0; i < 99; i++)
        records[i < 50 ? i : i + 1] = &others->records[i];
    records[50] = &large->records[0];
    bed->sink->submit(bed->kafka, 0, records, 100);
    bed_await_settled(bed, 2);
    char info[2048] = "";
    assert_int_equal(folder_read(&folder, large->records[0].value, 2100, info, sizeof(info)), 1);
    assert_non_null(strstr(info, "\"reason\": \"refused\""));
    assert_non_null(strstr(info, "topic events takes 2000"));
    assert_int_equal(bed_read_events(bed, "events", 4).next[1], 99);
    assert_int_equal(atomic_load(&bed->stats.dead[CBT_DEAD_refused]), 1);
    assert_int_equal(bed_counter(bed, CBT_COUNT_settled_records), 100);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), 99);
    bed_frame_free(large);
    bed_frame_free(others);
    bed_free(bed);
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dead_letters_reach_the_topic_raw_with_all_that_is_known),
        cmocka_unit_test(what_the_topic_does_not_take_goes_to_the_directory),
        cmocka_unit_test(without_a_topic_the_directory_is_the_place),
        cmocka_unit_test(they_wait_unsettled_where_neither_takes_them),
        cmocka_unit_test(the_topic_is_tried_again_where_the_directory_fails),
        cmocka_unit_test(an_outage_sends_nothing_to_the_directory),
        cmocka_unit_test(a_recovery_does_not_hold_them_up),
        cmocka_unit_test(an_event_too_large_for_either_topic_is_stored_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
