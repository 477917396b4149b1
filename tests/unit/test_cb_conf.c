/* SPDX-License-Identifier: MIT */
/* The EDR server's cb.conf: what is taken of it, what is refused, and that no error tells a secret. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config_file.h"

#include <sys/stat.h>

#include "cbtap/cb_conf.h"
#include "ingest/source_amqp.h"

#define LOGIN "RabbitMQUser=cb\nRabbitMQPassword=s3cret\n"

static const char *read_error(const void *data, size_t len)
{
    static struct cbt_err err;
    struct config_file file;
    struct cbt_cb_conf conf;
    config_file_write(&file, data, len);
    int rc = cbt_cb_conf_read(&conf, file.path, &err);
    config_file_remove(&file);
    if (rc == 0)
        return NULL;
    assert_int_equal(rc, CBT_EINVAL);
    assert_int_equal(strncmp(err.text, file.path, strlen(file.path)), 0);
    return err.text + strlen(file.path);
}

static void keys_that_count_are_found_among_all_others(void **state)
{
    (void)state;
    static const char text[] = "# RabbitMQUser=not-this\n\n[section]\nno line of ours\n = \n"
                               "RabbitMQUser = cb \r\n\tRabbitMQPassword=a=b #\t \nrabbitmqport=1\n"
                               "XRabbitMQPort=2\nRabbitMQPort=5004\nOther=\x01\xff\nRedisHost=127.0.0.1\n"
                               "RabbitMQPort=5004\nRedisPort=";
    struct config_file file;
    struct cbt_cb_conf conf;
    struct cbt_err err;
    config_file_write(&file, text, strlen(text));
    assert_int_equal(cbt_cb_conf_read(&conf, file.path, &err), 0);
    assert_string_equal(conf.RabbitMQUser.text, "cb");
    assert_int_equal(conf.RabbitMQUser.line, 6);
    assert_string_equal(conf.RabbitMQPassword.text, "a=b #");
    assert_string_equal(conf.RabbitMQPort.text, "5004");
    assert_string_equal(conf.RedisHost.text, "127.0.0.1");
    assert_int_equal(conf.RedisPort.line, 0);
    assert_int_equal(conf.RabbitMQToken.line, 0);
    config_file_remove(&file);
    cbt_cb_conf_wipe(&conf);
    assert_string_equal(conf.RabbitMQPassword.text, "");
}

static void what_cannot_be_a_value_is_refused_with_its_line_and_not_told(void **state)
{
    (void)state;
    static char large[CBT_CB_CONF_VALUE_BYTES_MAX + 32] = "RabbitMQPassword=";
    memset(large + strlen(large), 's', sizeof(large) - 1 - strlen(large));
    assert_string_equal(read_error(large, strlen(large)), ":1: RabbitMQPassword has more than 1024 bytes");
    static const struct {
        const char *text;
        size_t len;
        const char *begin;
    } rows[] = {
#define ROW(text, begin) {text, sizeof(text) - 1, begin}
        ROW("\nRabbitMQPassword=s3cret\0x\n", ":2: the value of RabbitMQPassword "),
        ROW("RabbitMQUser=s3cret\x1b[2J", ":1: the value of RabbitMQUser "),
        ROW("RedisHost=s3cret\xff", ":1: the value of RedisHost "),
        ROW("RabbitMQPassword=s3cret\n#\nRabbitMQPassword=s3cret2\n",
            ":3: another value of RabbitMQPassword than in line 1"),
#undef ROW
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *text = read_error(rows[i].text, rows[i].len);
        if (text == NULL || strncmp(text, rows[i].begin, strlen(rows[i].begin)) != 0 ||
            strstr(text, "s3cret") != NULL)
            fail_msg("%zu: %s", i, text != NULL ? text : "nothing is wrong");
    }
}

static void what_is_no_such_file_is_refused(void **state)
{
    (void)state;
    struct cbt_cb_conf conf;
    struct cbt_err err;
    char folder[] = "/tmp/cbtap-cb-conf-XXXXXX", path[64];
    assert_int_equal(cbt_cb_conf_read(&conf, "/nowhere/cb.conf", &err), CBT_EINVAL);
    assert_string_equal(err.text, "cannot read /nowhere/cb.conf: No such file or directory");
    assert_int_equal(cbt_cb_conf_read(&conf, "/tmp", &err), CBT_EINVAL);
    assert_string_equal(err.text, "/tmp is no file");
    assert_int_equal(cbt_cb_conf_read(&conf, "/dev/zero", &err), CBT_EINVAL);
    /* Nobody writes into this pipe: opening it must not wait. */
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(cbt_cb_conf_read(&conf, path, &err), CBT_EINVAL);
    unlink(path);
    rmdir(folder);
    char *large = calloc(1, (1u << 20) + 1);
    assert_non_null(large);
    memset(large, '\n', (1u << 20) + 1);
    assert_non_null(strstr(read_error(large, (1u << 20) + 1), "is larger than 1048576 bytes"));
    assert_null(read_error(large, 1u << 20));
    free(large);
}

/* Loads a configuration whose cb_conf is a file with that text. */
static int load(struct cbt_config **ret_config, const char *cb_conf, const char *section, struct cbt_err *err)
{
    static char text[4096];
    static struct config_file file;
    config_file_write(&file, cb_conf, strlen(cb_conf));
    snprintf(text, sizeof(text), "[source.s]\n%s\ncb_conf=%s\n[sink.k]\ntype=kafka\n", section, file.path);
    int rc = load_text(ret_config, text, err);
    config_file_remove(&file);
    return rc;
}

static void what_stands_in_the_section_counts_before_cb_conf(void **state)
{
    (void)state;
    static const struct {
        const char *cb_conf, *url, *host;
        int port;
    } rows[] = {
        {LOGIN "RabbitMQPort=5005\n", NULL, "127.0.0.1", 5005},
        {LOGIN, NULL, "127.0.0.1", 5004},
        {LOGIN "RabbitMQPort=5005\n", "amqp://h:17/edr", "h", 17},
        {LOGIN "RabbitMQPort=5005\n", "amqp://[::1]/edr", "::1", 5005},
        {LOGIN "RabbitMQPort=nothing\n", "amqp://[::1]:18", "::1", 18},
        {LOGIN "RabbitMQToken=t\n", "amqps://h", "h", 5004},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char section[256];
        struct config_file file;
        struct cbt_amqp_settings settings;
        struct cbt_config *config;
        struct cbt_err err;
        config_file_write(&file, rows[i].cb_conf, strlen(rows[i].cb_conf));
        snprintf(section, sizeof(section), BOTH_ENDS "[source.b]\ntype=amqp\ncb_conf=%s\n%s%s", file.path,
                 rows[i].url != NULL ? "url=" : "", rows[i].url != NULL ? rows[i].url : "");
        config = must_load(section, NULL, 0);
        assert_int_equal(cbt_amqp_settings_read(&settings, &config->sources[1], &err), 0);
        assert_string_equal(settings.broker.user, "cb");
        assert_string_equal(settings.broker.password, "s3cret");
        assert_string_equal(settings.broker.host, rows[i].host);
        assert_int_equal(settings.broker.port, rows[i].port);
        cbt_amqp_settings_free(&settings);
        cbt_config_free(config);
        config_file_remove(&file);
    }
    static const struct {
        const char *section, *host;
        unsigned port;
    } redis[] = {{"type=redis", "10.0.0.1", 6380},
                 {"type=redis\nhost=h", "h", 6380},
                 {"type=redis\nport=7", "10.0.0.1", 7}};
    for (size_t i = 0; i < sizeof(redis) / sizeof(*redis); i++) {
        struct cbt_config *config;
        struct cbt_err err;
        if (load(&config, "RedisHost=10.0.0.1\nRedisPort=6380\n", redis[i].section, &err) != 0)
            fail_msg("%s", err.text);
        assert_string_equal(config->sources[0].redis.host, redis[i].host);
        assert_int_equal(config->sources[0].redis.port, redis[i].port);
        cbt_config_free(config);
    }
}

static void what_is_missing_or_said_twice_is_an_error_that_says_what_to_do(void **state)
{
    (void)state;
    static const struct {
        const char *cb_conf, *section, *part;
    } rows[] = {
        {LOGIN, "type=amqp\nurl=amqp://u:s3cret@h/%2F", "FILE:3: [source.s] url: has a user, and cb_conf"},
        {LOGIN, "type=amqp\nurl=amqp://u@h/%2F", "[source.s] url: has a user, and cb_conf"},
        {"\nRabbitMQUser=cb\nRabbitMQToken=s3cret\n", "type=amqp",
         ":3: RabbitMQToken in place of RabbitMQPassword: only the server can make the password"},
        {"RabbitMQUser=cb\n", "type=amqp", " has no RabbitMQPassword"},
        {"RabbitMQPassword=s3cret\n", "type=amqp", " has no RabbitMQUser"},
        {LOGIN "RabbitMQPort=0\n", "type=amqp", ":3: RabbitMQPort is no port"},
        {LOGIN "RabbitMQPort=65536\n", "type=amqp", ":3: RabbitMQPort is no port"},
        {LOGIN "RabbitMQPort=5004x\n", "type=amqp", ":3: RabbitMQPort is no port"},
        {"RedisPort=6379\n", "type=redis", " has no RedisHost: set host"},
        {"RedisHost=h\n", "type=redis", " has no RedisPort: set port"},
        {"RedisHost=h\nRedisPort=-1\n", "type=redis", ":2: RedisPort is no port"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct cbt_config *config;
        struct cbt_err err = {0};
        assert_int_equal(load(&config, rows[i].cb_conf, rows[i].section, &err), CBT_EINVAL);
        if (strstr(err.text, rows[i].part) == NULL || strstr(err.text, "s3cret") != NULL)
            fail_msg("%zu: %s", i, err.text);
    }
}

static void a_changed_password_is_that_of_the_next_connection(void **state)
{
    (void)state;
    struct config_file file;
    config_file_write(&file, LOGIN, strlen(LOGIN));
    const char *overrides[2];
    char path[128];
    snprintf(path, sizeof(path), "source.bus.cb_conf=%s", file.path);
    overrides[0] = path;
    struct cbt_config *config = must_load(BOTH_ENDS, overrides, 1);
    struct cbt_amqp_settings settings;
    struct cbt_err err;
    assert_int_equal(cbt_amqp_settings_read(&settings, &config->sources[0], &err), 0);
    FILE *stream = fopen(file.path, "w");
    assert_non_null(stream);
    fputs("RabbitMQUser=cb\nRabbitMQPassword=new\nRabbitMQPort=5\n", stream);
    fclose(stream);
    assert_int_equal(cbt_amqp_settings_renew(&settings, &err), 0);
    assert_string_equal(settings.broker.password, "new");
    assert_int_equal(settings.broker.port, 5);
    /* What it was stays where the file is no longer of use. */
    config_file_remove(&file);
    assert_int_equal(cbt_amqp_settings_renew(&settings, &err), CBT_EINVAL);
    assert_string_equal(settings.broker.password, "new");
    cbt_amqp_settings_free(&settings);
    char *text = printed(config);
    assert_null(strstr(text, "s3cret"));
    assert_non_null(strstr(text, "\nurl = amqp://127.0.0.1/%2F\n"));
    free(text);
    cbt_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_that_count_are_found_among_all_others),
        cmocka_unit_test(what_cannot_be_a_value_is_refused_with_its_line_and_not_told),
        cmocka_unit_test(what_is_no_such_file_is_refused),
        cmocka_unit_test(what_stands_in_the_section_counts_before_cb_conf),
        cmocka_unit_test(what_is_missing_or_said_twice_is_an_error_that_says_what_to_do),
        cmocka_unit_test(a_changed_password_is_that_of_the_next_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
