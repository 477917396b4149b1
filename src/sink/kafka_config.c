/* SPDX-License-Identifier: MIT */
/* librdkafka's properties: ours, then those of the configuration; which are refused, and which draw a
 * warning. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/format.h"
#include "cbtap/log.h"
#include "sink/kafka.h"

#define QUEUE_KBYTES_MAX 2097151 /* librdkafka's own limit */

struct property {
    const char *name, *value;
};

/* What every producer of ours has, unless the configuration says otherwise. */
static const struct property defaults[] = {
    {"client.id", "cbtap"},
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"message.timeout.ms", "0"},
    {"linger.ms", "20"},
    {"batch.num.messages", "10000"},
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "500"},
    {"topic.metadata.refresh.interval.ms", "60000"},
    {"socket.keepalive.enable", "true"},
    {"socket.nagle.disable", "true"},
    {"log.connection.close", "false"},
    {"queue.buffering.max.messages", "10000000"},
};

/* Properties that would break what cbtap promises. */
static const struct property refused[] = {
    {"delivery.report.only.error", "cbtap settles by the reports of success"},
    {"transactional.id", "cbtap's records are not transactions"},
    {"message.timeout.ms", "a record that timed out would be lost; Kafka may be away for as long as it is"},
    {"dr_cb", "it is cbtap's own"},
    {"dr_msg_cb", "it is cbtap's own"},
    {"produce.offset.report", "it costs and nothing reads it"},
};

static const struct property weakening[] = {
    {"acks", "all"},
    {"request.required.acks", "all"},
    {"enable.idempotence", "true"},
};

const char *kafka_property(const struct cbt_sink_config *config, const char *name)
{
    const char *value = cbt_map_get(&config->kafka.kafka, name);
    for (size_t i = 0; value == NULL && i < sizeof(defaults) / sizeof(defaults[0]); i++)
        if (strcmp(defaults[i].name, name) == 0)
            value = defaults[i].value;
    return value;
}

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, struct cbt_err *err)
{
    char text[CBT_ERR_TEXT_BYTES];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
        return CBT_OK;
    return cbt_err_set(err, CBT_EINVAL, "kafka.%s: %s", name, text);
}

static int set_number(rd_kafka_conf_t *conf, const char *name, uint64_t value, struct cbt_err *err)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return set(conf, name, text, err);
}

rd_kafka_conf_t *kafka_make_conf(const struct cbt_sink_config *config, uint64_t inflight_bytes,
                                 uint32_t batch_bytes, struct cbt_err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int rc = CBT_OK;
    for (size_t i = 0; rc == 0 && i < sizeof(defaults) / sizeof(defaults[0]); i++)
        rc = set(conf, defaults[i].name, defaults[i].value, err);
    /* The budget bounds memory; librdkafka's own limit stands above it. */
    uint64_t kbytes = inflight_bytes / 1024 * 2 + 65536;
    if (rc == 0)
        rc = set_number(conf, "queue.buffering.max.kbytes",
                        kbytes > QUEUE_KBYTES_MAX ? QUEUE_KBYTES_MAX : kbytes, err);
    const struct cbt_map *own = &config->kafka.kafka;
    for (size_t i = 0; rc == 0 && i < own->count; i++)
        rc = set(conf, own->entries[i].key, own->entries[i].value, err);
    const char *own_batch = cbt_map_get(own, "batch.size");
    uint64_t batch = own_batch != NULL ? strtoull(own_batch, NULL, 10) : batch_bytes;
    if (rc == 0)
        rc = set_number(conf, "batch.size", batch < batch_bytes ? batch : batch_bytes, err);
    if (rc == 0)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static int check_properties(const struct cbt_sink_config *config, struct cbt_err *err)
{
    const struct cbt_map *own = &config->kafka.kafka;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const char *value = cbt_map_get(own, refused[i].name);
        if (value == NULL || (strcmp(refused[i].name, "message.timeout.ms") == 0 && strcmp(value, "0") == 0))
            continue;
        return cbt_err_set(err, CBT_EINVAL, "[sink.%s] kafka.%s is refused: %s", config->name,
                           refused[i].name, refused[i].value);
    }
    for (size_t i = 0; i < sizeof(weakening) / sizeof(weakening[0]); i++) {
        const char *value = cbt_map_get(own, weakening[i].name);
        if (value != NULL && strcmp(value, weakening[i].value) != 0 && strcmp(value, "-1") != 0)
            cbt_log_warning("this property weakens a promise: events may be lost, doubled or out of order",
                            CBT_S("sink", config->name), CBT_S("property", weakening[i].name),
                            CBT_S("value", value));
    }
    if (cbt_map_get(own, "bootstrap.servers") == NULL && cbt_map_get(own, "metadata.broker.list") == NULL &&
        cbt_map_get(own, "test.mock.num.brokers") == NULL)
        return cbt_err_set(
            err, CBT_EINVAL,
            "[sink.%s] kafka.bootstrap.servers is missing: where is Kafka? e.g. 127.0.0.1:9092",
            config->name);
    return CBT_OK;
}

int kafka_check(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                struct cbt_err *err)
{
    int rc = check_properties(config, err);
    if (rc != 0)
        return rc;
    if (cbt_format_find(config->kafka.format) == NULL)
        return cbt_err_set(err, CBT_EUNBUILT, "[sink.%s] format = %s is not built in this version",
                           config->name, config->kafka.format);
    rd_kafka_conf_t *conf = kafka_make_conf(config, options->inflight_bytes, 1000000, err);
    if (conf == NULL)
        return cbt_err_prefix(err, "[sink.%s]", config->name);
    rd_kafka_conf_destroy(conf);
    return CBT_OK;
}
