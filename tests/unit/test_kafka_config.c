/* SPDX-License-Identifier: MIT */
/* What `check` says of a Kafka sink: properties refused, weakened promises, faults named by their key; and
 * what `check --connect` finds, without leaving a trace. */
#include "kafka_bed.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "captured.h"

/* Checks the bed's configuration; the error's text is "" where there is none. */
static struct cbt_err check(struct bed *bed)
{
    struct cbt_err err = {0};
    int rc = bed->sink->check(&bed->config, &bed->options, &err);
    assert_int_equal(rc, err.rc);
    return err;
}

static struct cbt_err check_with(const char *key, const char *value)
{
    struct bed *bed = bed_new(1);
    bed_property(bed, key, value);
    struct cbt_err err = check(bed);
    bed_free(bed);
    return err;
}

static void expect(const struct cbt_err *err, const char *part)
{
    if (strstr(err->text, part) == NULL)
        fail_msg("no \"%s\" in \"%s\"", part, err->text);
}

static void the_least_is_enough(void **state)
{
    (void)state;
    struct bed *bed = bed_new(1);
    struct captured log;
    capture_begin(&log);
    struct cbt_err err = check(bed);
    char *text = capture_end(&log);
    assert_string_equal(err.text, "");
    assert_string_equal(text, "");
    free(text);
    bed_free(bed);
}

static void every_profile_of_json_is_built(void **state)
{
    (void)state;
    static const char *const profiles[] = {"documented", "cbef-3.8"};
    for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
        struct bed *bed = bed_new(1);
        bed->config.kafka.json_profile = profiles[i];
        assert_string_equal(check(bed).text, "");
        bed_free(bed);
    }
}

static void properties_that_would_break_a_promise_are_refused(void **state)
{
    (void)state;
    static const char *const refused[][2] = {
        {"delivery.report.only.error", "true"},
        {"transactional.id", "cbtap"},
        {"message.timeout.ms", "300000"},
        {"delivery.timeout.ms", "1"},
        {"dr_cb", "x"},
        {"dr_msg_cb", "x"},
        {"error_cb", "x"},
        {"opaque", "x"},
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct cbt_err err = check_with(refused[i][0], refused[i][1]);
        assert_int_equal(err.rc, CBT_EINVAL);
        expect(&err, "[sink.kafka]");
        expect(&err, refused[i][0]);
        expect(&err, "is refused");
    }
    assert_string_equal(check_with("message.timeout.ms", "0").text, "");
}

static void faults_are_named_by_their_key(void **state)
{
    (void)state;
    static const char *const faults[][3] = {
        {"linger.mss", "5", "kafka.linger.mss"},
        {"linger.ms", "soon", "kafka.linger.ms"},
        {"compression.codec", "brotli", "kafka.compression.codec"},
        /* What librdkafka sees only when it looks at the whole. */
        {"max.in.flight", "100", "max.in.flight"},
        {"ssl.ca.location", "/nonexistent/ca.pem", "ssl.ca.location"},
    };
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct bed *bed = bed_new(1);
        bed_property(bed, faults[i][0], faults[i][1]);
        if (strncmp(faults[i][0], "ssl", 3) == 0)
            bed_property(bed, "security.protocol", "ssl");
        struct cbt_err err = check(bed);
        assert_int_equal(err.rc, CBT_EINVAL);
        expect(&err, "[sink.kafka]");
        expect(&err, faults[i][2]);
        bed_free(bed);
    }
}

static void the_servers_must_be_named(void **state)
{
    (void)state;
    struct bed *bed = bed_new(1);
    bed->config.kafka.kafka.count = 0;
    struct cbt_err err = check(bed);
    assert_int_equal(err.rc, CBT_EINVAL);
    expect(&err, "[sink.kafka]");
    expect(&err, "kafka.bootstrap.servers");
    bed_property(bed, "metadata.broker.list", "127.0.0.1:1"); /* its other name */
    assert_string_equal(check(bed).text, "");
    bed_free(bed);
}

static void names_of_topics_must_be_kafkas(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",          ".",           "..",
                                        "cb events", "cb-{type}/x", "\xc3\xa9v\xc3\xa9nements"};
    char long_name[300];
    memset(long_name, 'x', sizeof(long_name));
    long_name[250] = '\0';
    for (size_t i = 0; i <= sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct bed *bed = bed_new(1);
        bed->config.kafka.topic = i < sizeof(wrong) / sizeof(wrong[0]) ? wrong[i] : long_name;
        struct cbt_err err = check(bed);
        assert_int_equal(err.rc, CBT_EINVAL);
        expect(&err, "topic");
        bed->config.kafka.topic = "events";
        if (i > 0) { /* none: the directory */
            bed->config.kafka.dead_letter_topic = i < sizeof(wrong) / sizeof(wrong[0]) ? wrong[i] : long_name;
            err = check(bed);
            assert_int_equal(err.rc, CBT_EINVAL);
            expect(&err, "dead_letter_topic");
        }
        bed_free(bed);
    }
    struct bed *bed = bed_new(1);
    bed->config.kafka.topic = "cb_Events.{type}.{event_type}-{server}";
    assert_string_equal(check(bed).text, "");
    bed->config.kafka.dead_letter_topic = "";
    bed->config.kafka.dead_letter_dir = "";
    struct cbt_err err = check(bed);
    expect(&err, "dead_letter_dir");
    bed_free(bed);
}

static void weakened_promises_draw_a_warning_and_work(void **state)
{
    (void)state;
    static const char *const weak[][2] = {
        {"acks", "1"}, {"request.required.acks", "0"}, {"enable.idempotence", "false"}};
    for (size_t i = 0; i < sizeof(weak) / sizeof(weak[0]); i++) {
        struct captured log;
        capture_begin(&log);
        struct cbt_err err = check_with(weak[i][0], weak[i][1]);
        char *text = capture_end(&log);
        assert_string_equal(err.text, "");
        if (strstr(text, "weakens a promise") == NULL || strstr(text, weak[i][0]) == NULL)
            fail_msg("%s: no warning in \"%s\"", weak[i][0], text);
        free(text);
    }
    static const char *const strong[][2] = {{"acks", "-1"}, {"acks", "all"}, {"enable.idempotence", "true"}};
    for (size_t i = 0; i < sizeof(strong) / sizeof(strong[0]); i++) {
        struct captured log;
        capture_begin(&log);
        struct cbt_err err = check_with(strong[i][0], strong[i][1]);
        char *text = capture_end(&log);
        assert_string_equal(err.text, "");
        assert_string_equal(text, "");
        free(text);
    }
}

static void events_are_delivered_with_weakened_promises(void **state)
{
    (void)state;
    struct bed *bed = bed_new(1);
    rd_kafka_mock_topic_create(bed->cluster, "events", 1, 1);
    bed_property(bed, "acks", "1");
    bed_open(bed, 1);
    struct bed_frame *f = bed_frame_new(100, 1, 0, 40);
    bed_submit(bed, 0, f);
    bed_await_settled(bed, 1);
    assert_int_equal(bed_read_events(bed, "events", 1).next[1], 100);
    bed_frame_free(f);
    bed_free(bed);
}

static void check_connects_to_nobody(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    char servers[32];
    snprintf(servers, sizeof(servers), "127.0.0.1:%d", ntohs(address.sin_port));
    assert_string_equal(check_with("bootstrap.servers", servers).text, "");
    assert_int_equal(accept(fd, NULL, NULL), -1);
    close(fd);
}

/* ---- check --connect ---- */

static int probe(struct bed *bed, char ret_report[1024], struct cbt_err *err)
{
    ret_report[0] = '\0';
    return bed->sink->probe(&bed->config, &bed->options, ret_report, 1024, err);
}

/* Topics of the cluster, asked for without making any. */
static int count_topics(struct bed *bed)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(bed->cluster), text,
                      sizeof(text));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    assert_non_null(rk);
    const struct rd_kafka_metadata *metadata = NULL;
    assert_int_equal(rd_kafka_metadata(rk, 1, NULL, &metadata, 10000), 0);
    int count = metadata->topic_cnt;
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_destroy(rk);
    return count;
}

static void the_probe_says_what_is_there_and_changes_nothing(void **state)
{
    (void)state;
    struct bed *bed = bed_new(3);
    char report[1024];
    struct cbt_err err = {0};
    rd_kafka_mock_topic_create(bed->cluster, "events", 12, 1);
    assert_int_equal(probe(bed, report, &err), 0);
    assert_non_null(strstr(report, rd_kafka_mock_cluster_bootstraps(bed->cluster)));
    assert_non_null(strstr(report, "3 brokers"));
    assert_non_null(strstr(report, "topic events: 12 partitions"));
    assert_non_null(strstr(report, "dead letters: topic dead: Broker: Unknown topic"));
    assert_non_null(strstr(report, "created with the first dead letter"));
    assert_int_equal(count_topics(bed), 1);
    bed->config.kafka.topic = "cb-{type}";
    bed->config.kafka.dead_letter_topic = "";
    bed->config.kafka.dead_letter_dir = "/tmp/nowhere";
    assert_int_equal(probe(bed, report, &err), 0);
    assert_non_null(strstr(report, "template cb-{type}"));
    assert_non_null(strstr(report, "directory /tmp/nowhere"));
    assert_int_equal(count_topics(bed), 1);
    bed_free(bed);
}

static void the_probe_says_where_nobody_answers(void **state)
{
    (void)state;
    struct bed *bed = bed_new(1);
    char report[1024];
    struct cbt_err err = {0};
    bed_property(bed, "bootstrap.servers", "127.0.0.1:1");
    assert_int_equal(probe(bed, report, &err), CBT_EIO);
    expect(&err, "no answer from Kafka at 127.0.0.1:1");
    expect(&err, "Connection refused");
    bed_free(bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_is_enough),
        cmocka_unit_test(every_profile_of_json_is_built),
        cmocka_unit_test(properties_that_would_break_a_promise_are_refused),
        cmocka_unit_test(faults_are_named_by_their_key),
        cmocka_unit_test(the_servers_must_be_named),
        cmocka_unit_test(names_of_topics_must_be_kafkas),
        cmocka_unit_test(weakened_promises_draw_a_warning_and_work),
        cmocka_unit_test(events_are_delivered_with_weakened_promises),
        cmocka_unit_test(check_connects_to_nobody),
        cmocka_unit_test(the_probe_says_what_is_there_and_changes_nothing),
        cmocka_unit_test(the_probe_says_where_nobody_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
