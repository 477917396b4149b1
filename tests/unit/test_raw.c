/* SPDX-License-Identifier: MIT */
/* The raw format: the very bytes, what headers need beside them, and the same dead letters as with json. */
#include "pb_build.h"
#include "worker_bed.h"

#include "core/config_internal.h"

static const struct cbt_format_options options = {.server_name = "s"};

static void assert_text(struct cbt_text text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.data, expected, text.len);
}

static struct cbt_text host_of(const struct cbt_record *record)
{
    return (struct cbt_text){record->value + record->value_len, record->host_len};
}

/* Records of hosts of their own, whose names lie in the decoded environment only. */
static void value_type_sensor_and_host_outlive_the_event(void **state)
{
    (void)state;
    struct worker_bed *bed = worker_bed_new();
    struct pb records[50], bundle = {0};
    char text[128];
    worker_bed_start(bed, "raw", &options);
    for (int i = 0; i < 50; i++) {
        snprintf(text, sizeof(text), "1{1:4} %d{} 13{1{1:%d 2:'host-%d'}}", i % 2 ? 4 : 3, i - 5, i);
        records[i] = pb_parse(text);
        pb_record(&bundle, pb_text(&records[i]));
    }
    worker_bed_push(bed, pb_text(&bundle), "application/protobuf", "", NULL);
    worker_bed_await(bed, 50);
    for (int i = 0; i < 50; i++) {
        const struct cbt_record *record = bed->records[i];
        assert_null(record->dead);
        assert_int_equal(record->value_len, records[i].len);
        assert_memory_equal(record->value, records[i].data, records[i].len);
        snprintf(text, sizeof(text), "host-%d", i);
        assert_text(host_of(record), text);
        assert_text(record->type_name, i % 2 ? "ingress.event.moduleload" : "ingress.event.procend");
        assert_int_equal(record->sensor_id, i - 5);
        snprintf(text, sizeof(text), "%d", i - 5);
        assert_text((struct cbt_text){record->key, record->key_len}, text);
        pb_free(&records[i]);
    }
    worker_bed_free(bed);
    pb_free(&bundle);
}

static void the_host_is_the_messages_where_the_record_has_none(void **state)
{
    (void)state;
    static const uint8_t name[] = "frame's";
    const struct cbt_environment env = {
        .sensor_id = 7, .has_sensor_id = true, .host_name = {name, 7}, .has_host_name = true};
    struct worker_bed *bed = worker_bed_new();
    struct pb own = pb_parse("1{1:4} 13{1{2:'own'}}"), none = pb_parse("1{1:4}"), bundle = {0};
    pb_record(&bundle, pb_text(&own));
    pb_record(&bundle, pb_text(&none));
    worker_bed_start(bed, "raw", &options);
    worker_bed_push(bed, pb_text(&bundle), "application/protobuf", "", &env);
    worker_bed_push(bed, pb_text(&bundle), "application/protobuf", "", NULL);
    worker_bed_await(bed, 4);
    assert_text(host_of(bed->records[0]), "own");
    assert_text(host_of(bed->records[1]), "frame's");
    assert_text(host_of(bed->records[2]), "own");
    assert_text(host_of(bed->records[3]), "");
    assert_int_equal(bed->records[1]->sensor_id, 7);
    assert_int_equal(bed->records[3]->sensor_id, 0);
    worker_bed_free(bed);
    pb_free(&own);
    pb_free(&none);
    pb_free(&bundle);
}

static void a_host_larger_than_a_block_is_kept(void **state)
{
    (void)state;
    struct worker_bed *bed = worker_bed_new();
    struct pb record = {0}, env = {0}, endpoint = {0};
    static char host[100000];
    memset(host, 'h', sizeof(host));
    host[sizeof(host) - 1] = 'z';
    pb_header(&record, 1);
    pb_bytes(&endpoint, 2, host, sizeof(host));
    pb_message(&env, 1, &endpoint);
    pb_message(&record, 13, &env);
    worker_bed_start(bed, "raw", &options);
    worker_bed_push(bed, pb_text(&record), "application/protobuf", "", NULL);
    worker_bed_await(bed, 1);
    assert_int_equal(bed->records[0]->value_len, record.len);
    assert_memory_equal(bed->records[0]->value, record.data, record.len);
    assert_int_equal(bed->records[0]->host_len, sizeof(host));
    assert_memory_equal(host_of(bed->records[0]).data, host, sizeof(host));
    worker_bed_free(bed);
    pb_free(&record);
    pb_free(&env);
    pb_free(&endpoint);
}

static void headers_are_charged_as_librdkafka_copies_them(void **state)
{
    (void)state;
    enum { RECORDS = 2000, HEADERS_BYTES = 384 };
    struct worker_bed *bed = worker_bed_new();
    struct pb record = pb_parse("1{1:4}"), bundle = {0};
    for (unsigned i = 0; i < RECORDS; i++)
        pb_record(&bundle, pb_text(&record));
    worker_bed_start(bed, "raw", &options);
    worker_bed_push(bed, pb_text(&bundle), "application/protobuf", "", NULL);
    worker_bed_await(bed, RECORDS);
    assert_true(cbt_budget_used(&bed->budget) >
                RECORDS * (CBT_RECORD_OVERHEAD_BYTES + sizeof(struct cbt_record) + HEADERS_BYTES));
    worker_bed_free(bed);
    pb_free(&record);
    pb_free(&bundle);
}

static void a_notification_is_the_text_that_came(void **state)
{
    (void)state;
    struct worker_bed *bed = worker_bed_new();
    worker_bed_start(bed, "raw", &options);
    worker_bed_push(bed, text_of("{ \"sensor_id\" : 3, \"a\":1.0 }"), "application/json", "feed.1.x", NULL);
    worker_bed_push(bed, text_of("{\"b\":[]}"), "application/json", "watchlist.y", NULL);
    worker_bed_await(bed, 2);
    assert_text((struct cbt_text){bed->records[0]->value, bed->records[0]->value_len},
                "{ \"sensor_id\" : 3, \"a\":1.0 }");
    assert_text((struct cbt_text){bed->records[1]->value, bed->records[1]->value_len}, "{\"b\":[]}");
    assert_text(bed->records[0]->type_name, "feed.x");
    assert_text(bed->records[1]->type_name, "watchlist.y");
    assert_int_equal(bed->records[0]->sensor_id, 3);
    assert_text((struct cbt_text){bed->records[0]->key, bed->records[0]->key_len}, "3");
    assert_null(bed->records[1]->key);
    assert_int_equal(bed->records[0]->host_len, 0);
    worker_bed_free(bed);
}

/* Broken in as many ways as there are rows, between good ones. */
static const struct {
    const char *record;
    size_t cut; /* bytes off its end */
} broken[] = {
    {"3{2:1}", 0},        {"1{} 3{2:1}", 0}, {"1:4", 0},
    {"1{1:4} 3{2:1}", 1}, {"1{1:4} 3:5", 0}, {"1{1:4} 13{1:7}", 0},
};
#define BROKEN (sizeof(broken) / sizeof(broken[0]))

static void run_broken(const char *format, enum cbt_dead_reason ret_reasons[BROKEN])
{
    struct worker_bed *bed = worker_bed_new();
    struct pb bundle = {0}, good = pb_parse("1{1:4} 3{2:1}");
    for (size_t i = 0; i < BROKEN; i++) {
        struct pb record = pb_parse(broken[i].record);
        record.len -= broken[i].cut;
        pb_record(&bundle, pb_text(&good));
        pb_record(&bundle, pb_text(&record));
        pb_free(&record);
    }
    worker_bed_start(bed, format, &options);
    worker_bed_push(bed, pb_text(&bundle), "application/protobuf", "", NULL);
    worker_bed_await(bed, 2 * BROKEN);
    for (size_t i = 0; i < BROKEN; i++) {
        assert_null(bed->records[2 * i]->dead);
        assert_non_null(bed->records[2 * i + 1]->dead);
        ret_reasons[i] = bed->records[2 * i + 1]->dead->reason;
    }
    worker_bed_free(bed);
    pb_free(&bundle);
    pb_free(&good);
}

static void what_is_broken_is_so_for_every_format(void **state)
{
    (void)state;
    enum cbt_dead_reason json[BROKEN], raw[BROKEN], leef[BROKEN];
    run_broken("json", json);
    run_broken("raw", raw);
    run_broken("leef", leef);
    for (size_t i = 0; i < BROKEN; i++) {
        assert_int_equal(raw[i], json[i]);
        assert_int_equal(leef[i], json[i]);
    }
}

static void every_format_of_the_configuration_is_there(void **state)
{
    (void)state;
    const struct cbt_option *option = cbt_option_find(CBT_SECTION_kafka, "format");
    assert_non_null(option);
    char copy[64], *rest = copy, *name;
    snprintf(copy, sizeof(copy), "%s", option->choices);
    unsigned count = 0;
    for (; (name = strsep(&rest, "|")) != NULL; count++)
        if (cbt_format_find(name) == NULL)
            fail_msg("format = %s", name);
    assert_int_equal(count, 3);
    assert_null(cbt_format_find("none of these"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(value_type_sensor_and_host_outlive_the_event),
        cmocka_unit_test(the_host_is_the_messages_where_the_record_has_none),
        cmocka_unit_test(a_host_larger_than_a_block_is_kept),
        cmocka_unit_test(headers_are_charged_as_librdkafka_copies_them),
        cmocka_unit_test(a_notification_is_the_text_that_came),
        cmocka_unit_test(what_is_broken_is_so_for_every_format),
        cmocka_unit_test(every_format_of_the_configuration_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
