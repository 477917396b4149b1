/* SPDX-License-Identifier: MIT */
/* What a section of type amqp may say, and that its errors never tell the password. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/source_amqp.h"

static struct cbt_source_config config_with_url(const char *url)
{
    return (struct cbt_source_config){
        .name = "bus",
        .type = "amqp",
        .amqp = {.type = "amqp",
                 .url = url,
                 .cb_conf = "",
                 .queue = "cbtap",
                 .queue_declare = "true",
                 .queue_expires_ms = 86400000,
                 .raw = true,
                 .events = "watchlist.#,feed.#,alert.#",
                 .prefetch = 10000,
                 .receivers = 1,
                 .heartbeat_ms = 10000,
                 .connect_timeout_ms = 5000,
                 .sasl = "plain",
                 .tls_ca = "",
                 .tls_cert = "",
                 .tls_key = "",
                 .tls_server_name = "",
                 .tls_verify = true},
    };
}

static void url_is_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *url, *user, *password, *host, *vhost;
        int port;
    } cases[] = {
        {"amqp://u:p@h:5004/%2F", "u", "p", "h", "/", 5004},
        {"amqp://u:p@h:5004/%2f", "u", "p", "h", "/", 5004},
        {"amqp://u:p@h:5004", "u", "p", "h", "/", 5004},
        {"amqp://u:p@h/edr", "u", "p", "h", "edr", 5672},
        {"amqp://u%40x:p%3A%2F%40@127.0.0.1:5004/a%2Fb", "u@x", "p:/@", "127.0.0.1", "a/b", 5004},
        {"amqp://[::1]:5004/%2F", "guest", "guest", "::1", "/", 5004},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct cbt_source_config config = config_with_url(cases[i].url);
        struct cbt_amqp_settings settings;
        assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), 0);
        assert_string_equal(settings.broker.user, cases[i].user);
        assert_string_equal(settings.broker.password, cases[i].password);
        assert_string_equal(settings.broker.host, cases[i].host);
        assert_string_equal(settings.broker.vhost, cases[i].vhost);
        assert_int_equal(settings.broker.port, cases[i].port);
        cbt_amqp_settings_free(&settings);
    }
}

static void bad_url_is_refused_without_the_password(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        int rc;
        const char *hint;
    } cases[] = {
        {"amqp://user:s3cret@h:5004/", CBT_EINVAL, "%2F"},
        {"amqps://user:s3cret@h:5004/", CBT_EINVAL, "%2F"},
        {"http://user:s3cret@h", CBT_EINVAL, "amqp://USER:PASSWORD@HOST:PORT/VHOST"},
        {"user:s3cret@h", CBT_EINVAL, "amqp://"},
        {"amqp://user:s3cret@h:port/%2F", CBT_EINVAL, "amqp://"},
        {"amqp://user:s3cret@h:99999/%2F", CBT_EINVAL, "amqp://"},
        {"amqp://user:s3cret@h/%2", CBT_EINVAL, "amqp://"},
        {"amqp://user:s3cret@h/a/b", CBT_EINVAL, "amqp://"},
        {"amqp://user:s3cret@h/%00x", CBT_EINVAL, "virtual host"},
        {"", CBT_EINVAL, "amqp://"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct cbt_source_config config = config_with_url(cases[i].url);
        struct cbt_amqp_settings settings;
        struct cbt_err err = {0};
        int rc = cbt_amqp_settings_read(&settings, &config, &err);
        if (rc != cases[i].rc || strstr(err.text, cases[i].hint) == NULL)
            fail_msg("url '%s': %d %s", cases[i].url, rc, err.text);
        assert_null(strstr(err.text, "s3cret"));
    }
}

static void amqps_url_asks_for_tls(void **state)
{
    (void)state;
    struct cbt_source_config config = config_with_url("amqps://u:p@h");
    struct cbt_amqp_settings settings;
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), 0);
    assert_true(settings.broker.ssl);
    assert_int_equal(settings.broker.port, 5671);
    cbt_amqp_settings_free(&settings);
    config = config_with_url("amqp://u:p@h");
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), 0);
    assert_false(settings.broker.ssl);
    cbt_amqp_settings_free(&settings);
}

static void tls_keys_that_would_do_nothing_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *url, *ca, *cert, *key, *server_name, *sasl;
        bool verify;
        const char *hint; /* NULL: good */
    } cases[] = {
        {"amqps://h", "ca", "cert", "key", "name", "external", true, NULL},
        {"amqps://h", "", "cert", "", "", "plain", false, NULL},
        {"amqp://h", "ca", "", "", "", "plain", true, "amqps://"},
        {"amqp://h", "", "cert", "", "", "plain", true, "amqps://"},
        {"amqp://h", "", "", "key", "", "plain", true, "amqps://"},
        {"amqp://h", "", "", "", "name", "plain", true, "amqps://"},
        {"amqp://h", "", "", "", "", "plain", false, "amqps://"},
        {"amqp://h", "", "", "", "", "external", true, "amqps://"},
        {"amqps://h", "", "", "key", "", "plain", true, "tls.cert"},
        {"amqps://h", "", "", "", "", "external", true, "tls.cert"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct cbt_source_config config = config_with_url(cases[i].url);
        struct cbt_amqp_settings settings;
        struct cbt_err err = {0};
        config.amqp.tls_ca = cases[i].ca;
        config.amqp.tls_cert = cases[i].cert;
        config.amqp.tls_key = cases[i].key;
        config.amqp.tls_server_name = cases[i].server_name;
        config.amqp.tls_verify = cases[i].verify;
        config.amqp.sasl = cases[i].sasl;
        int rc = cbt_amqp_settings_read(&settings, &config, &err);
        if (cases[i].hint == NULL) {
            assert_int_equal(rc, 0);
            cbt_amqp_settings_free(&settings);
        } else if (rc != CBT_EINVAL || strstr(err.text, cases[i].hint) == NULL) {
            fail_msg("case %zu: %d %s", i, rc, err.text);
        }
    }
}

static void routing_keys_are_cut_at_commas(void **state)
{
    (void)state;
    struct cbt_source_config config = config_with_url("amqp://h");
    struct cbt_amqp_settings settings;
    config.amqp.events = " watchlist.# ,\tfeed.#,, alert.* ,";
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), 0);
    assert_int_equal(settings.pattern_count, 3);
    assert_string_equal(settings.patterns[0], "watchlist.#");
    assert_string_equal(settings.patterns[1], "feed.#");
    assert_string_equal(settings.patterns[2], "alert.*");
    cbt_amqp_settings_free(&settings);
    config.amqp.events = "";
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), 0);
    assert_int_equal(settings.pattern_count, 0);
    cbt_amqp_settings_free(&settings);
    char key[300];
    memset(key, 'a', sizeof(key));
    key[256] = '\0';
    config.amqp.events = key;
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), CBT_EINVAL);
    key[255] = '\0';
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), 0);
    cbt_amqp_settings_free(&settings);
}

static const amqp_field_value_t *argument(const struct cbt_amqp_settings *settings, const char *key)
{
    for (int i = 0; i < settings->argument_count; i++)
        if (cbt_amqp_is(settings->arguments[i].key, key, strlen(key)))
            return &settings->arguments[i].value;
    return NULL;
}

static void queue_arguments_have_their_types(void **state)
{
    (void)state;
    struct cbt_map_entry entries[] = {
        {"x-queue-type", "quorum"}, {"x-max-length", "1000"}, {"x-negative", "-5"},
        {"x-lazy", "true"},         {"x-empty", ""},          {"x-text", "10MB"},
    };
    struct cbt_source_config config = config_with_url("amqp://h");
    struct cbt_amqp_settings settings;
    config.amqp.queue_arguments = (struct cbt_map){entries, 6};
    config.amqp.queue_max_bytes = 5000000000;
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), 0);
    assert_int_equal(settings.argument_count, 7);
    assert_int_equal(argument(&settings, "x-expires")->kind, AMQP_FIELD_KIND_I64);
    assert_int_equal(argument(&settings, "x-expires")->value.i64, 86400000);
    assert_true(argument(&settings, "x-max-length-bytes")->value.i64 == 5000000000);
    assert_int_equal(argument(&settings, "x-queue-type")->kind, AMQP_FIELD_KIND_UTF8);
    assert_int_equal(argument(&settings, "x-max-length")->value.i64, 1000);
    assert_int_equal(argument(&settings, "x-negative")->value.i64, -5);
    assert_int_equal(argument(&settings, "x-lazy")->kind, AMQP_FIELD_KIND_BOOLEAN);
    assert_int_equal(argument(&settings, "x-text")->kind, AMQP_FIELD_KIND_UTF8);
    assert_null(argument(&settings, "x-empty"));
    cbt_amqp_settings_free(&settings);
    config.amqp.queue_expires_ms = 0;
    config.amqp.queue_max_bytes = 0;
    config.amqp.queue_arguments.count = 0;
    config.amqp.queue_single_active = true;
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), 0);
    assert_int_equal(settings.argument_count, 1);
    assert_int_equal(argument(&settings, "x-single-active-consumer")->kind, AMQP_FIELD_KIND_BOOLEAN);
    assert_true(argument(&settings, "x-single-active-consumer")->value.boolean);
    cbt_amqp_settings_free(&settings);
    config.amqp.queue_single_active = false;
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), 0);
    assert_int_equal(settings.argument_count, 0);
    cbt_amqp_settings_free(&settings);
}

static void what_has_a_key_of_its_own_is_no_argument(void **state)
{
    (void)state;
    struct cbt_source_config config = config_with_url("amqp://h");
    struct cbt_amqp_settings settings;
    struct cbt_err err;
    static const char *const cases[][2] = {
        {"x-expires", "queue.expires_ms"},
        {"x-max-length-bytes", "queue.max_bytes"},
        {"x-single-active-consumer", "queue.single_active"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct cbt_map_entry entry = {cases[i][0], "1000"};
        config.amqp.queue_arguments = (struct cbt_map){&entry, 1};
        assert_int_equal(cbt_amqp_settings_read(&settings, &config, &err), CBT_EINVAL);
        assert_non_null(strstr(err.text, cases[i][1]));
    }
}

static void queue_and_heartbeat_are_checked(void **state)
{
    (void)state;
    struct cbt_amqp_settings settings;
    struct cbt_source_config config = config_with_url("amqp://h");
    config.amqp.queue = "";
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), CBT_EINVAL);
    config.amqp.queue = "amq.mine";
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), CBT_EINVAL);
    char name[300];
    memset(name, 'q', sizeof(name));
    name[256] = '\0';
    config.amqp.queue = name;
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), CBT_EINVAL);
    config = config_with_url("amqp://h");
    config.amqp.heartbeat_ms = 1500;
    assert_int_equal(cbt_amqp_settings_read(&settings, &config, NULL), CBT_EINVAL);
}

static void sources_are_found_by_their_type(void **state)
{
    (void)state;
    assert_string_equal(cbt_source_find("amqp")->type, "amqp");
    assert_string_equal(cbt_source_find("redis")->type, "redis");
    assert_null(cbt_source_find("kafka"));
    assert_null(cbt_source_find(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(url_is_taken_apart),
        cmocka_unit_test(bad_url_is_refused_without_the_password),
        cmocka_unit_test(amqps_url_asks_for_tls),
        cmocka_unit_test(tls_keys_that_would_do_nothing_are_refused),
        cmocka_unit_test(routing_keys_are_cut_at_commas),
        cmocka_unit_test(queue_arguments_have_their_types),
        cmocka_unit_test(what_has_a_key_of_its_own_is_no_argument),
        cmocka_unit_test(queue_and_heartbeat_are_checked),
        cmocka_unit_test(sources_are_found_by_their_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
