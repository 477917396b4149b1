/* SPDX-License-Identifier: MIT */
/*
 * librdkafka's properties: ours, then the configuration's, then what must fit the topics. Some of the
 * configuration's are refused, as they would break a promise or have no effect; some draw a warning.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/format.h"
#include "cbtap/log.h"
#include "sink/kafka.h"

#define COUNT_OF(array)    (sizeof(array) / sizeof((array)[0]))
#define QUEUE_KBYTES_MAX   2147483647u /* librdkafka's own limits */
#define QUEUE_MESSAGES_MAX 2147483647u
#define QUEUE_MESSAGES_MIN 100000u

struct property {
    const char *name, *value;
};

/* What each of our instances has unless the configuration says otherwise. */
static const struct property defaults[] = {
    {"client.id", "cbtap"},
    {"acks", "all"},
    {"message.timeout.ms", "0"},
    /* A missing broker is back within half a second of its return, not within ten. */
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "500"},
    {"socket.keepalive.enable", "true"},
    {"log.connection.close", "false"},
};

static const struct property event_defaults[] = {
    {"enable.idempotence", "true"},
    /* Few large requests cost a fraction of many small ones, on either side. */
    {"linger.ms", "20"},
    {"batch.num.messages", "10000"},
};

/* What each role must have, whatever the configuration says. */
static const struct property single_properties[] = {{"linger.ms", "0"}};
/* Not idempotent, so that one dead letter refused does not end the instance for all; each a batch of its own,
 * so that what is refused is refused for itself. */
static const struct property dead_properties[] = {
    {"enable.idempotence", "false"}, {"linger.ms", "0"}, {"batch.num.messages", "1"}};
static const struct property probe_properties[] = {{"enable.idempotence", "false"},
                                                   {"allow.auto.create.topics", "false"}};

/* Refused, with the reason; "*": at the end, a prefix. */
static const struct property refused[] = {
    {"delivery.report.only.error", "what is delivered is settled by its report"},
    {"transactional.id", "cbtap's records are not transactions"},
    {"partitioner", "the partition is always murmur2 of the key, as other clients find it"},
    {"log.queue", "cbtap reads the log as it is written"},
    {"enabled_events", "cbtap sets it"},
    {"opaque", "cbtap sets it"},
    {"default_topic_conf", "set the topic's properties themselves"},
    {"interceptors", "it cannot be set in a file"},
};

/* Weakened promises: the value that keeps them. */
static const struct property weakening[] = {
    {"acks", "all"},
    {"request.required.acks", "all"},
    {"enable.idempotence", "true"},
    {"enable.gapless.guarantee", "true"},
};

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
    snprintf(text, sizeof(text), "%" PRIu64, value);
    return set(conf, name, text, err);
}

static int set_all(rd_kafka_conf_t *conf, const struct property *properties, size_t count,
                   struct cbt_err *err)
{
    int rc = CBT_OK;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = set(conf, properties[i].name, properties[i].value, err);
    return rc;
}

static bool is_on(const rd_kafka_conf_t *conf, const char *name)
{
    char value[16];
    size_t size = sizeof(value);
    return rd_kafka_conf_get(conf, name, value, &size) == RD_KAFKA_CONF_OK && strcmp(value, "true") == 0;
}

uint64_t kafka_own_number(const struct cbt_sink_config *config, const char *name)
{
    const char *value = cbt_map_get(&config->kafka.kafka, name);
    return value != NULL ? strtoull(value, NULL, 10) : 0;
}

/* The budget is what bounds memory: librdkafka's own limits stand above it, unless the configuration sets
 * them. */
static int set_queue(rd_kafka_conf_t *conf, uint64_t inflight_bytes, struct cbt_err *err)
{
    uint64_t kbytes = inflight_bytes / 512 + 65536;
    uint64_t messages = inflight_bytes / CBT_RECORD_OVERHEAD_BYTES * 2;
    messages = messages < QUEUE_MESSAGES_MIN ? QUEUE_MESSAGES_MIN : messages;
    int rc = set_number(conf, "queue.buffering.max.kbytes",
                        kbytes > QUEUE_KBYTES_MAX ? QUEUE_KBYTES_MAX : kbytes, err);
    if (rc == 0)
        rc = set_number(conf, "queue.buffering.max.messages",
                        messages > QUEUE_MESSAGES_MAX ? QUEUE_MESSAGES_MAX : messages, err);
    return rc;
}

static bool keeps(const struct property *promise, const char *value)
{
    return strcmp(value, promise->value) == 0 ||
           (strcmp(promise->value, "all") == 0 && strcmp(value, "-1") == 0);
}

static int set_own(rd_kafka_conf_t *conf, const struct cbt_map *own, struct cbt_err *err)
{
    int rc = CBT_OK;
    for (size_t i = 0; rc == 0 && i < own->count; i++)
        rc = set(conf, own->entries[i].key, own->entries[i].value, err);
    /* Fewer acknowledgements exclude idempotence, which nobody should have to know. */
    const char *acks = cbt_map_get(own, "acks");
    if (acks == NULL)
        acks = cbt_map_get(own, "request.required.acks");
    if (rc == 0 && acks != NULL && !keeps(&weakening[0], acks) &&
        cbt_map_get(own, "enable.idempotence") == NULL)
        rc = set(conf, "enable.idempotence", "false", err);
    return rc;
}

static int set_limits(rd_kafka_conf_t *conf, const struct cbt_sink_config *config,
                      const struct kafka_limits *limits, struct cbt_err *err)
{
    uint64_t own_batch = kafka_own_number(config, "batch.size");
    uint64_t batch = own_batch != 0 && own_batch < limits->batch_bytes ? own_batch : limits->batch_bytes;
    int rc = set_number(conf, "batch.size", batch, err);
    if (rc == 0 && cbt_map_get(&config->kafka.kafka, "message.max.bytes") == NULL)
        rc = set_number(conf, "message.max.bytes", limits->message_max_bytes, err);
    return rc;
}

static int set_role(rd_kafka_conf_t *conf, enum kafka_role role, struct cbt_err *err)
{
    switch (role) {
    case KAFKA_ROLE_SINGLE:
        return set_all(conf, single_properties, COUNT_OF(single_properties), err);
    case KAFKA_ROLE_DEAD:
        return set_all(conf, dead_properties, COUNT_OF(dead_properties), err);
    case KAFKA_ROLE_PROBE:
        return set_all(conf, probe_properties, COUNT_OF(probe_properties), err);
    default:
        return CBT_OK;
    }
}

rd_kafka_conf_t *kafka_conf_new(const struct cbt_sink_config *config, enum kafka_role role,
                                const struct kafka_limits *limits, struct cbt_err *err)
{
    const struct cbt_map *own = &config->kafka.kafka;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int rc = set_all(conf, defaults, COUNT_OF(defaults), err);
    if (rc == 0)
        rc = set_all(conf, event_defaults, COUNT_OF(event_defaults), err);
    if (rc == 0)
        rc = set_queue(conf, limits->inflight_bytes, err);
    if (rc == 0)
        rc = set_own(conf, own, err);
    if (rc == 0)
        rc = set_limits(conf, config, limits, err);
    if (rc == 0)
        rc = set_role(conf, role, err);
    /* A refused batch stops the producer of events, so that those behind it cannot overtake it:
     * kafka_recover.c. */
    bool events = role == KAFKA_ROLE_EVENTS || role == KAFKA_ROLE_CHECK;
    if (rc == 0 && !events)
        rc = set(conf, "enable.gapless.guarantee", "false", err);
    else if (rc == 0 && is_on(conf, "enable.idempotence") &&
             cbt_map_get(own, "enable.gapless.guarantee") == NULL)
        rc = set(conf, "enable.gapless.guarantee", "true", err);
    if (rc != 0) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_conf_set_log_cb(conf, kafka_log_cb);
    kafka_conf_add_pause(conf);
    return conf;
}

rd_kafka_t *kafka_new(rd_kafka_conf_t *conf, struct cbt_err *err)
{
    char text[CBT_ERR_TEXT_BYTES];
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (rk == NULL) {
        /* A thread that cannot be made is no fault of the configuration: a restart may help. */
        bool ours = rd_kafka_last_error() != RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
        rd_kafka_conf_destroy(conf);
        cbt_err_set(err, ours ? CBT_EINVAL : CBT_EIO, "%s: %s",
                    ours ? "Kafka properties" : "librdkafka cannot start", text);
    }
    return rk;
}

static bool ends_with(const char *text, const char *tail)
{
    size_t len = strlen(text), tail_len = strlen(tail);
    return len >= tail_len && strcmp(text + len - tail_len, tail) == 0;
}

static int refuse_properties(const struct cbt_map *own, struct cbt_err *err)
{
    for (size_t i = 0; i < own->count; i++) {
        const char *key = own->entries[i].key, *value = own->entries[i].value;
        for (size_t n = 0; n < COUNT_OF(refused); n++)
            if (strcmp(key, refused[n].name) == 0)
                return cbt_err_set(err, CBT_EINVAL, "kafka.%s is refused: %s", key, refused[n].value);
        if (ends_with(key, "_cb"))
            return cbt_err_set(err, CBT_EINVAL, "kafka.%s is refused: callbacks are cbtap's own", key);
        if ((strcmp(key, "message.timeout.ms") == 0 || strcmp(key, "delivery.timeout.ms") == 0) &&
            strcmp(value, "0") != 0)
            return cbt_err_set(
                err, CBT_EINVAL,
                "kafka.%s = %s is refused: an event that timed out would be lost; only 0 (never) is "
                "possible",
                key, value);
    }
    return CBT_OK;
}

static void warn_of_weakening(const struct cbt_sink_config *config)
{
    const struct cbt_map *own = &config->kafka.kafka;
    for (size_t i = 0; i < COUNT_OF(weakening); i++) {
        const char *value = cbt_map_get(own, weakening[i].name);
        if (value == NULL || keeps(&weakening[i], value))
            continue;
        cbt_log_warning("this property weakens a promise: events may be lost, doubled or out of order",
                        CBT_S("sink", config->name), CBT_S("property", weakening[i].name),
                        CBT_S("value", value));
    }
}

/* Has librdkafka judge the whole, which it only does for an instance; without servers it connects to nobody.
 */
int kafka_check_whole(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                      struct cbt_err *err)
{
    const struct kafka_limits limits = {.inflight_bytes = options->inflight_bytes,
                                        .batch_bytes = KAFKA_BATCH_BYTES,
                                        .message_max_bytes = KAFKA_TOPIC_MAX_BYTES};
    rd_kafka_conf_t *conf = kafka_conf_new(config, KAFKA_ROLE_CHECK, &limits, err);
    if (conf == NULL)
        return CBT_EINVAL;
    char text[CBT_ERR_TEXT_BYTES];
    rd_kafka_conf_set(conf, "bootstrap.servers", "", text, sizeof(text));
    rd_kafka_conf_set(conf, "test.mock.num.brokers", "0", text, sizeof(text));
    rd_kafka_t *rk = kafka_new(conf, err);
    if (rk == NULL)
        return CBT_EINVAL;
    rd_kafka_destroy(rk);
    return CBT_OK;
}

/* A topic's name as Kafka has it (org.apache.kafka.common.internals.Topic), placeholders aside. */
static int check_name(const char *key, const char *name, bool placeholders, struct cbt_err *err)
{
    static const char *const known[] = {"{type}", "{event_type}", "{server}"};
    size_t len = 0;
    for (const char *at = name; *at != '\0';) {
        size_t skip = 0;
        for (size_t i = 0; placeholders && i < COUNT_OF(known) && skip == 0; i++)
            if (strncmp(at, known[i], strlen(known[i])) == 0)
                skip = strlen(known[i]);
        if (skip == 0 && strchr("._-", *at) == NULL && !(*at >= '0' && *at <= '9') &&
            !(*at >= 'a' && *at <= 'z') && !(*at >= 'A' && *at <= 'Z'))
            return cbt_err_set(err, CBT_EINVAL,
                               "%s = %s is no name for a topic: letters, digits, '.', '_' and '-'%s", key,
                               name, placeholders ? ", {type}, {event_type}, {server}" : "");
        at += skip != 0 ? skip : 1;
        len++;
    }
    if (len == 0 || len > KAFKA_TOPIC_NAME_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return cbt_err_set(err, CBT_EINVAL, "%s = %s is no name for a topic: 1 to %d characters", key, name,
                           KAFKA_TOPIC_NAME_MAX);
    return CBT_OK;
}

/* What cbtap itself must have from the section. */
static int check_options(const struct cbt_options_kafka *own, struct cbt_err *err)
{
    int rc = check_name("topic", own->topic, true, err);
    if (rc != 0)
        return rc;
    if (own->dead_letter_topic[0] != '\0' &&
        (rc = check_name("dead_letter_topic", own->dead_letter_topic, false, err)) != 0)
        return rc;
    if (own->dead_letter_topic[0] == '\0' && own->dead_letter_dir[0] == '\0')
        return cbt_err_set(
            err, CBT_EINVAL,
            "dead letters need a place: set dead_letter_topic or dead_letter_dir, or better both");
    if (cbt_map_get(&own->kafka, "bootstrap.servers") == NULL &&
        cbt_map_get(&own->kafka, "metadata.broker.list") == NULL &&
        cbt_map_get(&own->kafka, "test.mock.num.brokers") == NULL)
        return cbt_err_set(err, CBT_EINVAL,
                           "kafka.bootstrap.servers is missing: where is Kafka? e.g. 127.0.0.1:9092");
    return CBT_OK;
}

int kafka_check(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                struct cbt_err *err)
{
    const struct cbt_options_kafka *own = &config->kafka;
    int rc = CBT_OK;
    if (cbt_format_find(own->format) == NULL)
        rc = cbt_err_set(err, CBT_EUNBUILT, "format = %s is not built in this version", own->format);
    else
        rc = check_options(own, err);
    if (rc == 0)
        rc = refuse_properties(&own->kafka, err);
    if (rc == 0)
        rc = kafka_check_whole(config, options, err);
    if (rc != 0) {
        cbt_err_prefix(err, "[sink.%s]", config->name);
        return rc;
    }
    warn_of_weakening(config);
    return CBT_OK;
}
