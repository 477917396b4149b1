/* SPDX-License-Identifier: MIT */
/* Loading a configuration: defaults, sections, overrides, maps, what is equal whatever the case. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config_file.h"
#include "core/config_internal.h"

static void every_default_of_the_contract(void **state)
{
    (void)state;
    struct cbt_config *c =
        must_load("[source.bus]\ntype=amqp\n[source.pubsub]\ntype=redis\n[sink.kafka]\ntype=kafka\n"
                  "[cbtap]\nserver_name=s\n",
                  NULL, 0);
    assert_string_equal(c->cbtap.server_name, "s");
    assert_string_equal(c->cbtap.server_url, "");
    assert_string_equal(c->cbtap.http_listen, "127.0.0.1:9464");
    assert_int_equal(c->cbtap.workers, 0);
    assert_int_equal(c->cbtap.inflight_bytes, 134217728);
    assert_int_equal(c->cbtap.shutdown_timeout_ms, 30000);
    assert_int_equal(c->cbtap.frame_max_bytes, 67108864);
    assert_string_equal(c->cbtap.log_level, "info");
    assert_string_equal(c->cbtap.log_format, "text");

    assert_int_equal(c->source_count, 2);
    assert_string_equal(c->sources[0].name, "bus");
    assert_string_equal(c->sources[0].type, "amqp");
    const struct cbt_options_amqp *amqp = &c->sources[0].amqp;
    assert_string_equal(amqp->type, "amqp");
    assert_string_equal(amqp->queue, "cbtap");
    assert_string_equal(amqp->queue_declare, "true");
    assert_int_equal(amqp->queue_expires_ms, 86400000);
    assert_int_equal(amqp->queue_max_bytes, 0);
    assert_int_equal(amqp->queue_arguments.count, 0);
    assert_int_equal(amqp->heartbeat_ms, 10000);
    assert_true(amqp->raw);
    assert_string_equal(amqp->events, "watchlist.#,feed.#,alert.#");
    assert_int_equal(amqp->prefetch, 10000);
    assert_int_equal(amqp->receivers, 1);

    assert_string_equal(c->sources[1].type, "redis");
    const struct cbt_options_redis *redis = &c->sources[1].redis;
    assert_string_equal(redis->host, "127.0.0.1");
    assert_int_equal(redis->port, 6379);
    assert_int_equal(redis->db, 1);
    assert_string_equal(redis->username, "");
    assert_string_equal(redis->password, "");
    assert_string_equal(redis->channels, "ingress.event.*");
    assert_int_equal(redis->receivers, 1);

    assert_int_equal(c->decode.arena_max_bytes, 33554432);
    assert_int_equal(c->decode.record_max_bytes, 16777216);
    assert_int_equal(c->decode.zip_entries_max, 1000);
    assert_int_equal(c->decode.zip_inflated_max_bytes, 67108864);
    assert_int_equal(c->decode.zip_ratio_max, 1000);
    assert_int_equal(c->decode.records_max, 524288);
    assert_string_equal(c->filter.types, "*");
    assert_string_equal(c->filter.drop, "");
    assert_false(c->filter.float_time);

    assert_int_equal(c->sink_count, 1);
    const struct cbt_options_kafka *kafka = &c->sinks[0].kafka;
    assert_string_equal(kafka->topic, "cb-events");
    assert_string_equal(kafka->key, "sensor_id");
    assert_string_equal(kafka->format, "json");
    assert_string_equal(kafka->json_profile, "documented");
    assert_string_equal(kafka->kafka_timestamp, "produce");
    assert_string_equal(kafka->dead_letter_topic, "cb-events-dlq");
    assert_string_equal(kafka->dead_letter_dir, "/var/lib/cbtap/dead-letters");
    assert_int_equal(kafka->kafka.count, 0);
    cbt_config_free(c);
}

static void every_row_of_the_table_has_a_default_within_its_range(void **state)
{
    (void)state;
    union {
        uint64_t num;
        bool flag;
        const char *text;
    } field;
    for (size_t i = 0; i < cbt_option_count; i++) {
        const struct cbt_option *option = &cbt_options[i];
        struct cbt_err err = {0};
        assert_true(option->help[0] != '\0');
        if (option->kind == CBT_KIND_map || strcmp(option->key, "type") == 0)
            continue;
        if (cbt_option_parse(option, option->deflt, &field, &err) != 0)
            fail_msg("%s: %s", option->key, err.text);
    }
}

static void server_name_is_the_hosts_where_none_is_given(void **state)
{
    (void)state;
    char host[256] = "";
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    struct cbt_config *c = must_load(BOTH_ENDS, NULL, 0);
    assert_string_equal(c->cbtap.server_name, host);
    cbt_config_free(c);
}

static void values_are_taken_as_they_stand(void **state)
{
    (void)state;
    struct cbt_config *c = must_load("# comment\n"
                                     "; comment\n"
                                     "\n"
                                     "[cbtap]\r\n"
                                     "server_name =   a b  c\t \r\n"
                                     "server_url=https://h/?a=b;c=d\n"
                                     "   workers\t=\t3\n"
                                     "[source.bus]\n"
                                     "type = amqp\n"
                                     "url = amqp://u:a;b@h:1/x\n"
                                     "queue = \"quoted\"\n"
                                     "[sink.k]\n"
                                     "type = kafka\n"
                                     "topic = t\\\n"
                                     "dead_letter_topic = /* d\n"
                                     "dead_letter_dir =\n",
                                     NULL, 0);
    assert_string_equal(c->cbtap.server_name, "a b  c");
    assert_string_equal(c->cbtap.server_url, "https://h/?a=b;c=d");
    assert_int_equal(c->cbtap.workers, 3);
    assert_string_equal(c->sources[0].amqp.url, "amqp://u:a;b@h:1/x");
    assert_string_equal(c->sources[0].amqp.queue, "\"quoted\"");
    assert_string_equal(c->sinks[0].kafka.topic, "t\\");
    assert_string_equal(c->sinks[0].kafka.dead_letter_topic, "/* d");
    assert_string_equal(c->sinks[0].kafka.dead_letter_dir, "");
    cbt_config_free(c);
}

static void case_of_keys_and_sections_does_not_matter(void **state)
{
    (void)state;
    struct cbt_config *c =
        must_load("[CbTap]\nWorkers=2\nLOG.level=debug\n"
                  "[Source.Bus]\nTYPE=amqp\nQueue.Arguments.x-a=1\n[SINK.k]\ntype=kafka\nKafka.Linger.ms=5\n",
                  (const char *const[]){"CBTAP.WORKERS=4", "source.bus.PREFETCH=9"}, 2);
    assert_int_equal(c->cbtap.workers, 4);
    assert_string_equal(c->cbtap.log_level, "debug");
    assert_string_equal(c->sources[0].name, "Bus");
    assert_int_equal(c->source_count, 1);
    assert_int_equal(c->sources[0].amqp.prefetch, 9);
    assert_string_equal(cbt_map_get(&c->sources[0].amqp.queue_arguments, "x-a"), "1");
    assert_string_equal(c->sinks[0].kafka.kafka.entries[0].key, "Linger.ms");
    cbt_config_free(c);
}

static void maps_keep_the_order_of_the_file(void **state)
{
    (void)state;
    struct cbt_config *c =
        must_load("[source.bus]\ntype=amqp\n[sink.k]\ntype=kafka\n"
                  "kafka.bootstrap.servers=a:1,b:2\ntopic=t\nkafka.linger.ms=5\nkafka.acks=all\n",
                  NULL, 0);
    const struct cbt_map *map = &c->sinks[0].kafka.kafka;
    assert_int_equal(map->count, 3);
    assert_string_equal(map->entries[0].key, "bootstrap.servers");
    assert_string_equal(map->entries[1].key, "linger.ms");
    assert_string_equal(map->entries[2].key, "acks");
    assert_string_equal(cbt_map_get(map, "bootstrap.servers"), "a:1,b:2");
    assert_null(cbt_map_get(map, "nope"));
    cbt_config_free(c);
}

static void overrides_win_over_the_file_and_the_last_over_the_first(void **state)
{
    (void)state;
    struct cbt_config *c =
        must_load("[cbtap]\nworkers=1\nserver_name=file\n" BOTH_ENDS,
                  (const char *const[]){"cbtap.workers=2", "cbtap.workers = 5 ", "cbtap.log.level=error",
                                        "source.bus.queue=a=b", "sink.k.kafka.bootstrap.servers=h:1",
                                        "sink.k.dead_letter_dir="},
                  6);
    assert_int_equal(c->cbtap.workers, 5);
    assert_string_equal(c->cbtap.server_name, "file");
    assert_string_equal(c->cbtap.log_level, "error");
    assert_string_equal(c->sources[0].amqp.queue, "a=b");
    assert_string_equal(cbt_map_get(&c->sinks[0].kafka.kafka, "bootstrap.servers"), "h:1");
    assert_string_equal(c->sinks[0].kafka.dead_letter_dir, "");
    cbt_config_free(c);
}

static void overrides_alone_make_a_configuration(void **state)
{
    (void)state;
    struct cbt_config *c = NULL;
    struct cbt_err err = {0};
    static const char *const overrides[] = {"source.r.type=redis", "source.r.port=7000", "sink.k.type=kafka",
                                            "filter.drop=netconn"};
    assert_int_equal(cbt_config_load(&c, NULL, overrides, 4, &err), 0);
    assert_int_equal(c->source_count, 1);
    assert_string_equal(c->sources[0].name, "r");
    assert_int_equal(c->sources[0].redis.port, 7000);
    assert_string_equal(c->sinks[0].name, "k");
    assert_string_equal(c->filter.drop, "netconn");
    cbt_config_free(c);
}

static void without_ends_the_rest_must_still_be_right(void **state)
{
    (void)state;
    struct cbt_config *c = NULL;
    struct cbt_err err = {0};
    assert_int_equal(cbt_config_load(&c, NULL, NULL, 0, &err), CBT_EINVAL);
    assert_int_equal(cbt_config_load_without_ends(&c, NULL, NULL, 0, &err), 0);
    assert_int_equal(c->source_count + c->sink_count, 0);
    assert_int_equal(c->cbtap.frame_max_bytes, 67108864);
    cbt_config_free(c);
    static const char *const one_end[] = {"sink.k.type=kafka", "cbtap.server_name=x"};
    assert_int_equal(cbt_config_load_without_ends(&c, NULL, one_end, 2, &err), 0);
    assert_int_equal(c->sink_count, 1);
    cbt_config_free(c);
    static const char *const wrong[] = {"source.r.type=redis", "source.r.channels="};
    assert_int_equal(cbt_config_load_without_ends(&c, NULL, wrong, 2, &err), CBT_EINVAL);
}

static void override_of_a_broken_value_saves_the_file(void **state)
{
    (void)state;
    unsetenv("CBTAP_TEST_NOT_SET");
    struct cbt_config *c = must_load("[cbtap]\nworkers=many\nserver_name=${CBTAP_TEST_NOT_SET}\n" BOTH_ENDS,
                                     (const char *const[]){"cbtap.workers=2", "cbtap.server_name=x"}, 2);
    assert_int_equal(c->cbtap.workers, 2);
    cbt_config_free(c);
}

static void many_sources_and_sinks(void **state)
{
    (void)state;
    char text[8192] = "";
    for (int i = 0; i < 20; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "[source.s%d]\ntype=amqp\nqueue=q%d\n", i,
                 i);
    for (int i = 0; i < 8; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "[sink.s%d]\ntype=kafka\n", i);
    struct cbt_config *c = must_load(text, NULL, 0);
    assert_int_equal(c->source_count, 20);
    assert_int_equal(c->sink_count, 8);
    assert_string_equal(c->sources[19].name, "s19");
    assert_string_equal(c->sources[19].amqp.queue, "q19");
    cbt_config_free(c);
}

static void byte_order_mark_and_missing_newline_are_fine(void **state)
{
    (void)state;
    struct cbt_config *c =
        must_load("\xEF\xBB\xBF[source.bus]\ntype=amqp\n[sink.k]\ntype=kafka\ntopic=last", NULL, 0);
    assert_string_equal(c->sinks[0].kafka.topic, "last");
    cbt_config_free(c);
}

static void free_takes_null(void **state)
{
    (void)state;
    cbt_config_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_of_the_contract),
        cmocka_unit_test(every_row_of_the_table_has_a_default_within_its_range),
        cmocka_unit_test(server_name_is_the_hosts_where_none_is_given),
        cmocka_unit_test(values_are_taken_as_they_stand),
        cmocka_unit_test(case_of_keys_and_sections_does_not_matter),
        cmocka_unit_test(maps_keep_the_order_of_the_file),
        cmocka_unit_test(overrides_win_over_the_file_and_the_last_over_the_first),
        cmocka_unit_test(overrides_alone_make_a_configuration),
        cmocka_unit_test(without_ends_the_rest_must_still_be_right),
        cmocka_unit_test(override_of_a_broken_value_saves_the_file),
        cmocka_unit_test(many_sources_and_sinks),
        cmocka_unit_test(byte_order_mark_and_missing_newline_are_fine),
        cmocka_unit_test(free_takes_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
