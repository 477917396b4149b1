/* SPDX-License-Identifier: MIT */
/* What of a setting on the command line is a secret. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/config_internal.h"

static void assert_secret(const char *override, const char *expected)
{
    struct cbt_text secret = cbt_config_override_secret(override);
    if (secret.len != strlen(expected) || (secret.len > 0 && memcmp(secret.data, expected, secret.len) != 0))
        fail_msg("of '%s' the secret is '%.*s'", override, (int)secret.len, (const char *)secret.data);
}

static void secret_keys_have_a_secret_value(void **state)
{
    (void)state;
    assert_secret("source.r.password=p4ss", "p4ss");
    assert_secret(" SOURCE.r.Password = p 4=ss", "p 4=ss");
    assert_secret("sink.k.kafka.sasl.password=p", "p");
    assert_secret("sink.k.kafka.ssl.key.password=p", "p");
    assert_secret("sink.k.kafka.ssl.keystore.password=p", "p");
    assert_secret("sink.k.kafka.ssl.key.pem=-----BEGIN", "-----BEGIN");
    assert_secret("sink.k.kafka.sasl.oauthbearer.client.secret=p", "p");
    assert_secret("sink.k.kafka.sasl.oauthbearer.config=p", "p");
    /* Written to the wrong place, it is one all the same. */
    assert_secret("source.r.kafka.sasl.password=p", "p");
    assert_secret("password=p", "p");
    assert_secret("source.r.password=@@p", "@@p");
    assert_secret("source.r.password=${A}p", "${A}p");
    assert_secret("source.r.password=${A}${B}", "${A}${B}");
}

static void of_a_url_the_password_is(void **state)
{
    (void)state;
    assert_secret("source.b.url=amqp://u:p4ss@h:5672/%2F", "p4ss");
    assert_secret("source.b.url=amqp://u:p@ss:w@h", "p@ss:w");
    assert_secret("source.b.url=u:p4ss@h", "p4ss");
    assert_secret("cbtap.server_url=https://u:p4ss@edr.example/", "p4ss");
    assert_secret("source.b.url=amqp://u@h", "");
    assert_secret("source.b.url=amqp://h:5672", "");
    assert_secret("source.b.url=amqp://u:@h", "");
    assert_secret("source.b.url=amqp://u:${PW}@h", "");
}

static void references_and_other_keys_are_none(void **state)
{
    (void)state;
    assert_secret("source.r.password=@/run/secret", "");
    assert_secret("source.r.password=${PW}", "");
    assert_secret("source.r.password=", "");
    assert_secret("sink.k.topic=t", "");
    assert_secret("sink.password.topic=t", "");
    assert_secret("sink.k.kafka.sasl.username=u", "");
    assert_secret("sink.k.kafka.bootstrap.servers=h:1,i:2", "");
    assert_secret("cbtap.http_listen=127.0.0.1:1", "");
    assert_secret("no equal sign", "");
    assert_secret("", "");
    assert_secret("=", "");
    assert_secret("source.=x", "");
    assert_secret("source.b.=x", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secret_keys_have_a_secret_value),
        cmocka_unit_test(of_a_url_the_password_is),
        cmocka_unit_test(references_and_other_keys_are_none),
    };
    return cmocka_run_group_tests_name("config_secret", tests, NULL, NULL);
}
