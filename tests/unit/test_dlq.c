/* SPDX-License-Identifier: MIT */
/* dlq as people use it: dead letters in a mock cluster's topic and in a directory, listed, shown, replayed.
 */
#include "kafka_bed.h"

#include <dirent.h>
#include <sys/stat.h>

#include "cbtap/dead_letter_dir.h"
#include "config_file.h"
#include "program.h"
#include "zip_build.h"

#define FILETIME_1970  116444736000000000
#define TICKS_A_SECOND 10000000
#define POISON         "\x0a\xff\xff no record"

struct world {
    struct bed *bed;
    struct config_file config;
    char dir[64];
    rd_kafka_t *producer;
};

static int set_up(void **state)
{
    char text[1024];
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->bed = bed_new(1);
    assert_int_equal(rd_kafka_mock_topic_create(w->bed->cluster, "dead", 1, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(w->bed->cluster, "events", 1, 1), 0);
    snprintf(w->dir, sizeof w->dir, "/tmp/cbtap-dlq-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    int len = snprintf(text, sizeof text,
                       "[sink.k]\ntype = kafka\ntopic = events\ndead_letter_topic = dead\n"
                       "dead_letter_dir = %s\nkafka.bootstrap.servers = %s\n",
                       w->dir, rd_kafka_mock_cluster_bootstraps(w->bed->cluster));
    config_file_write(&w->config, text, (size_t)len);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(w->bed->cluster), text,
                      sizeof text);
    w->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    assert_non_null(w->producer);
    *state = w;
    return find_program(state);
}

static unsigned files_in(const char *path)
{
    unsigned count = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char command[96];
    rd_kafka_destroy(w->producer);
    config_file_remove(&w->config);
    snprintf(command, sizeof command, "rm -r %s", w->dir);
    assert_int_equal(system(command), 0);
    bed_free(w->bed);
    free(w);
    return 0;
}

/* Headers as kafka_dead_letter.c writes them. It is there only after a flush. */
static void queue_letter(struct world *w, struct cbt_text value, const char *reason, const char *framing,
                         const char *routing_key, const char *content_type, int64_t unix_ms)
{
    const char *const headers[][2] = {
        {"reason", reason},   {"detail", "why"},
        {"source", "bus"},    {"routing_key", routing_key},
        {"entry", "0"},       {"index", "3"},
        {"offset", "812"},    {"content_type", content_type},
        {"sensor_id", "7"},   {"host_name", "host-7"},
        {"node_id", "2"},     {"arrived_unix_ms", "1700000000000"},
        {"framing", framing},
    };
    rd_kafka_headers_t *list = rd_kafka_headers_new(16);
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        rd_kafka_header_add(list, headers[i][0], -1, headers[i][1], -1);
    assert_int_equal(rd_kafka_producev(w->producer, RD_KAFKA_V_TOPIC("dead"), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_VALUE(kafka_bytes(value.data), value.len),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(list),
                                       RD_KAFKA_V_TIMESTAMP(unix_ms), RD_KAFKA_V_END),
                     0);
}

static void send_letter(struct world *w, struct cbt_text value, const char *reason, const char *framing,
                        const char *routing_key, const char *content_type, int64_t unix_ms)
{
    queue_letter(w, value, reason, framing, routing_key, content_type, unix_ms);
    assert_int_equal(rd_kafka_flush(w->producer, BED_WAIT_MS), 0);
}

/* A regmod event with a path of that length. */
static struct pb regmod(size_t path_len)
{
    struct pb record = {0}, sub = {0};
    uint8_t *path = malloc(path_len);
    assert_non_null(path);
    memset(path, 'p', path_len);
    pb_header(&record, FILETIME_1970 + 1000LL * TICKS_A_SECOND);
    pb_bytes(&sub, 4, path, path_len);
    pb_message(&record, 7, &sub);
    free(path);
    pb_free(&sub);
    return record;
}

static void send_large(struct world *w)
{
    struct pb record = regmod(4000);
    send_letter(w, pb_text(&record), "record_too_large", "event", "", "application/zip", 1700000001000);
    pb_free(&record);
}

static void send_poison(struct world *w)
{
    send_letter(w, CBT_TEXT(POISON), "malformed", "event", "", "application/protobuf", 1700000002000);
}

static void store_poison(const struct world *w, const char *source)
{
    struct cbt_dead_letter_file *file = NULL;
    const struct cbt_dead_letter_info info = {.reason = "malformed",
                                              .detail = "a \"quoted\" one",
                                              .source = source,
                                              .framing = "event",
                                              .content_type = CBT_TEXT("application/protobuf"),
                                              .sensor_id = 9};
    assert_int_equal(cbt_dead_letter_begin(&file, w->dir, &info, NULL), 0);
    assert_int_equal(cbt_dead_letter_append(file, POISON, sizeof POISON - 1, NULL), 0);
    assert_int_equal(cbt_dead_letter_commit(file, NULL), 0);
}

/* ---- what is in a topic ---- */

struct found {
    unsigned count;
    char values[16384], headers[4096]; /* one behind the other */
};

static void note(void *arg, const rd_kafka_message_t *message)
{
    struct found *f = arg;
    rd_kafka_headers_t *headers;
    const char *name;
    const void *value;
    size_t len, at = strlen(f->values);
    f->count++;
    snprintf(f->values + at, sizeof f->values - at, "%.*s\n", (int)message->len,
             (const char *)message->payload);
    if (rd_kafka_message_headers(message, &headers) != 0)
        return;
    for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &len) == 0; i++) {
        at = strlen(f->headers);
        snprintf(f->headers + at, sizeof f->headers - at, "%s=%.*s ", name, (int)len, (const char *)value);
    }
}

static struct found read_topic(struct world *w, const char *topic)
{
    struct found found = {0};
    bed_read(w->bed, topic, 1, note, &found);
    return found;
}

#define DLQ(w, p, ...) RUN(p, "dlq", "-c", (w)->config.path, __VA_ARGS__)

/* ---- list, show ---- */

static void list_shows_topic_and_directory_newest_last(void **state)
{
    struct world *w = *state;
    struct program p;
    send_large(w);
    send_poison(w);
    store_poison(w, "pubsub");
    DLQ(w, &p, "list");
    expect_exit(&p, 0);
    expect_text(p.out, "WHERE         TIME                      REASON            SOURCE    SENSOR ");
    expect_text(p.out, "0:0           2023-11-14T22:13:21.000Z  record_too_large  bus       7 ");
    expect_text(p.out, "entry 0 record 3 offset 812\n0:1 ");
    const char *file = strstr(p.out, "pubsub");
    assert_true(file != NULL && file > strstr(p.out, "0:1 "));
    release(&p);
    DLQ(w, &p, "list", "--format", "json", "-n", "1");
    expect_exit(&p, 0);
    expect_text(p.out, "\"detail\":\"a \\u0022quoted\\u0022 one\",\"sensor_id\":9,");
    assert_ptr_equal(strchr(p.out, '\n'), p.out + p.out_len - 1);
    release(&p);
    DLQ(w, &p, "list", "--reason", "malformed", "--source", "bus");
    expect_text(p.out, "\n0:1 ");
    assert_null(strstr(p.out, "0:0 "));
    assert_null(strstr(p.out, "pubsub"));
    release(&p);
    DLQ(w, &p, "list", "--since", "2023-11-14T22:13:22Z", "--source", "bus");
    expect_text(p.out, "\n0:1 ");
    assert_null(strstr(p.out, "0:0 "));
    release(&p);
}

static void show_says_all_and_gives_the_very_bytes(void **state)
{
    struct world *w = *state;
    struct program p;
    send_large(w);
    send_poison(w);
    DLQ(w, &p, "show", "0:0");
    expect_exit(&p, 0);
    expect_text(p.out, "host_name: host-7\n");
    expect_text(p.out, "why: the record is larger than decode.record_max_bytes");
    expect_text(p.out, "now: 1 event, 0 filtered, 0 broken\n");
    release(&p);
    DLQ(w, &p, "show", "0:1");
    expect_text(p.out, "now: 0 events, 0 filtered, 1 broken: malformed (");
    expect_text(p.out, "  00000000  0a ff ff 20 6e 6f 20 72 65 63 6f 72 64           |... no record|\n");
    release(&p);
    DLQ(w, &p, "show", "--raw", "0:1");
    expect_exit(&p, 0);
    assert_int_equal(p.out_len, sizeof POISON - 1);
    assert_memory_equal(p.out, POISON, p.out_len);
    release(&p);
    DLQ(w, &p, "show", "0:2");
    expect_exit(&p, 1);
    expect_text(p.err, "there is no such dead letter");
    release(&p);
}

/* ---- replay ---- */

static void replay_delivers_what_is_readable_now(void **state)
{
    static const char hit[] = "{\"docs\":[{\"process_guid\":\"g-1\"}],\"watchlist_id\":3}";
    struct world *w = *state;
    struct program p;
    struct pb record = regmod(10), bundle = {0};
    pb_record(&bundle, pb_text(&record));
    struct zb_entry entry = {.name = "log", .content = pb_text(&bundle), .method = 8};
    struct pb zip = zb_build((struct zb){0}, &entry, 1);
    send_large(w);
    send_letter(w, pb_text(&zip), "zip_ratio", "bundle", "", "application/zip", 1700000001000);
    send_letter(w, CBT_TEXT(hit), "not_json", "detect", "watchlist.hit.process", "application/json",
                1700000001000);
    DLQ(w, &p, "replay", "--all", "--dry-run", "-s", "decode.record_max_bytes=1024");
    expect_exit(&p, 1);
    expect_text(p.out, "0 events, 0 filtered, 1 broken: record_too_large (");
    release(&p);
    assert_int_equal(read_topic(w, "events").count, 0);
    DLQ(w, &p, "replay", "--all");
    expect_exit(&p, 0);
    expect_text(p.err, "replayed delivered=3 filtered=0 broken_still=0 left=0 in_flight=0");
    expect_text(p.err, "option=\"--from 0:3\"");
    release(&p);
    struct found found = read_topic(w, "events");
    assert_int_equal(found.count, 3);
    expect_text(found.values, "\"computer_name\":\"host-7\"");
    expect_text(found.values, "\"sensor_id\":7");
    expect_text(found.values, "\"type\":\"watchlist.hit.process\"");
    assert_int_equal(read_topic(w, "dead").count, 3);
    DLQ(w, &p, "replay", "--from", "0:3");
    expect_exit(&p, 0);
    expect_text(p.err, "there was nothing to replay");
    release(&p);
    DLQ(w, &p, "replay", "0:0", "-s", "filter.drop=regmod");
    expect_exit(&p, 0);
    expect_text(p.err, "replayed delivered=0 filtered=1 ");
    release(&p);
    assert_int_equal(read_topic(w, "events").count, 3);
    pb_free(&record);
    pb_free(&bundle);
    pb_free(&zip);
}

static void poison_stays_poison_and_its_replays_are_counted(void **state)
{
    struct world *w = *state;
    struct program p;
    send_poison(w);
    DLQ(w, &p, "replay", "0:0");
    expect_exit(&p, 1);
    expect_text(p.err, "broken still: it is a dead letter again where=0:0 reason=malformed");
    release(&p);
    struct found found = read_topic(w, "dead");
    assert_int_equal(found.count, 2);
    expect_text(found.headers, "source=bus routing_key= content_type=application/protobuf ");
    expect_text(found.headers, "arrived_unix_ms=1700000000000 replays=1 ");
    DLQ(w, &p, "replay", "0:1");
    expect_exit(&p, 1);
    release(&p);
    found = read_topic(w, "dead");
    assert_int_equal(found.count, 3);
    expect_text(found.headers, "replays=2 ");
    assert_int_equal(read_topic(w, "events").count, 0);
}

static void what_ended_the_daemon_is_tried_only_where_it_is_named(void **state)
{
    struct world *w = *state;
    struct program p;
    struct pb record = regmod(10);
    send_letter(w, pb_text(&record), "poison", "event", "", "application/protobuf", 1700000002000);
    send_letter(w, pb_text(&record), "malformed", "event", "", "application/protobuf", 1700000002000);
    DLQ(w, &p, "show", "0:0");
    expect_exit(&p, 0);
    expect_text(p.out, "why: the process died again and again while it decoded the message\n");
    expect_text(p.out, "now: not tried, for decoding it ended the daemon");
    release(&p);
    DLQ(w, &p, "replay", "--all", "--dry-run");
    expect_exit(&p, 1);
    expect_text(p.out, "0:0           not tried, ");
    expect_text(p.out, "0:1           1 event, ");
    release(&p);
    DLQ(w, &p, "replay", "--all");
    expect_exit(&p, 1);
    expect_text(p.err, "left where it is where=0:0 reason=\"decoding it ended the daemon");
    expect_text(p.err, "replayed delivered=1 filtered=0 broken_still=0 left=1 ");
    release(&p);
    DLQ(w, &p, "replay", "0:0");
    expect_exit(&p, 0);
    expect_text(p.err, "replayed delivered=1 filtered=0 broken_still=0 left=0 ");
    release(&p);
    assert_int_equal(read_topic(w, "events").count, 2);
    pb_free(&record);
}

#define MANY 3000 /* more than there are frames */

static void replay_takes_more_than_it_can_hold(void **state)
{
    struct world *w = *state;
    struct program p;
    struct pb record = regmod(10);
    for (int i = 0; i < MANY; i++)
        queue_letter(w, pb_text(&record), "malformed", "event", "", "", 1700000001000);
    assert_int_equal(rd_kafka_flush(w->producer, BED_WAIT_MS), 0);
    DLQ(w, &p, "replay", "--from", "0:1");
    expect_exit(&p, 0);
    expect_text(p.err, "replayed delivered=2999 filtered=0 broken_still=0 left=0 in_flight=0");
    expect_text(p.err, "option=\"--from 0:3000\"");
    release(&p);
    assert_int_equal(read_topic(w, "events").count, MANY - 1);
    pb_free(&record);
}

static bool has_said(const struct program *p, const char *part)
{
    char *text = contents(p->err_fd);
    bool said = strstr(text, part) != NULL;
    free(text);
    return said;
}

static void a_signal_ends_it_and_says_where_to_go_on(void **state)
{
    struct world *w = *state;
    struct program p;
    struct pb record = regmod(10);
    send_letter(w, pb_text(&record), "malformed", "event", "", "", 1700000001000);
    rd_kafka_mock_topic_set_error(w->bed->cluster, "events", RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);
    start(&p, (const char *const[]){"dlq", "replay", "-c", w->config.path, "--all", "-s",
                                    "cbtap.shutdown_timeout_ms=1000", NULL});
    BED_AWAIT(has_said(&p, "connected source=dlq"));
    kill(p.pid, SIGTERM);
    finish(&p);
    expect_exit(&p, 1);
    expect_text(p.err, "option=\"--from 0:0\"");
    release(&p);
    assert_int_equal(read_topic(w, "dead").count, 1);
    pb_free(&record);
}

/* ---- the directory ---- */

static void a_file_goes_when_all_made_of_it_is_kept(void **state)
{
    struct world *w = *state;
    struct program p;
    store_poison(w, "pubsub");
    assert_int_equal(files_in(w->dir), 2);
    DLQ(w, &p, "replay", "--all", "--dry-run");
    expect_exit(&p, 1);
    release(&p);
    DLQ(w, &p, "replay", "--all", "-s", "cbtap.frame_max_bytes=1024");
    expect_exit(&p, 1); /* broken still, and in the topic now */
    release(&p);
    assert_int_equal(files_in(w->dir), 0);
    struct found found = read_topic(w, "dead");
    assert_int_equal(found.count, 1);
    expect_text(found.headers, "source=pubsub ");
    expect_text(found.headers, "sensor_id=9 ");
    expect_text(found.headers, "replays=1 ");
}

static void what_kafka_refused_is_left_where_it_is(void **state)
{
    struct world *w = *state;
    struct program p;
    send_letter(w, CBT_TEXT("{}"), "refused", "", "", "", 1700000001000);
    DLQ(w, &p, "replay", "--all");
    expect_exit(&p, 1);
    expect_text(p.err, "left where it is");
    expect_text(p.err, " left=1 ");
    release(&p);
    assert_int_equal(read_topic(w, "dead").count, 1);
}

/* ---- what is not there, what is wrong ---- */

static void without_topic_or_kafka_it_says_so(void **state)
{
    struct world *w = *state;
    struct program p;
    store_poison(w, "pubsub");
    DLQ(w, &p, "list", "-s", "sink.k.dead_letter_topic=elsewhere");
    expect_exit(&p, 0);
    expect_text(p.err, "there is no topic elsewhere");
    expect_text(p.out, "pubsub");
    release(&p);
    DLQ(w, &p, "list", "-s", "sink.k.kafka.bootstrap.servers=127.0.0.1:1");
    expect_exit(&p, 1);
    expect_text(p.err, "no answer from Kafka at 127.0.0.1:1");
    expect_text(p.out, "pubsub");
    release(&p);
    DLQ(w, &p, "replay", "--all", "-s", "sink.k.kafka.bootstrap.servers=127.0.0.1:1");
    expect_exit(&p, 1);
    release(&p);
    assert_int_equal(files_in(w->dir), 2);
}

static void wrong_usage_is_said(void **state)
{
    static const struct {
        const char *arguments[3], *said;
    } cases[] = {
        {{NULL}, "say what to do"},
        {{"lst"}, "did you mean \\\"list\\\"?"},
        {{"show"}, "show takes one"},
        {{"show", "../x"}, "neither PARTITION:OFFSET nor the name"},
        {{"replay"}, "say which"},
        {{"replay", "--all", "0:1"}, "say which"},
        {{"list", "--raw"}, "dlq list does not know it"},
        {{"list", "--since", "noon"}, "is a time in UTC"},
        {{"list", "-n", "0"}, "is a number from 1 on"},
        {{"replay", "--from", "12"}, "is PARTITION:OFFSET"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const *a = cases[i].arguments;
        struct program p;
        start(&p, (const char *const[]){"dlq", "-c", w->config.path, a[0], a[0] ? a[1] : NULL,
                                        a[0] && a[1] ? a[2] : NULL, NULL});
        finish(&p);
        expect_exit(&p, 2);
        expect_text(p.err, cases[i].said);
        release(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(list_shows_topic_and_directory_newest_last),
        TEST(show_says_all_and_gives_the_very_bytes),
        TEST(replay_delivers_what_is_readable_now),
        TEST(poison_stays_poison_and_its_replays_are_counted),
        TEST(what_ended_the_daemon_is_tried_only_where_it_is_named),
        TEST(replay_takes_more_than_it_can_hold),
        TEST(a_signal_ends_it_and_says_where_to_go_on),
        TEST(a_file_goes_when_all_made_of_it_is_kept),
        TEST(what_kafka_refused_is_left_where_it_is),
        TEST(without_topic_or_kafka_it_says_so),
        TEST(wrong_usage_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
