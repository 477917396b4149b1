/* SPDX-License-Identifier: MIT */
/*
 * The reader of the dead-letter topic, with librdkafka's simple consumer: see kafka_reader.h.
 *
 * Happy path: all partitions feed one queue, each until the offset that was its end at the start. Failure: an
 * outage is waited out for half a minute without a message; what Kafka refuses ends it at once.
 */
#include "sink/kafka_reader.h"

#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "sink/kafka.h"

#define ASK_MS     10000
#define SILENCE_MS 30000

struct kafka_reader {
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue;
    struct kafka_fault fault;
    char servers[256];
    struct kafka_reader_partition *partitions;
    bool *open; /* of each partition: it is being read */
    size_t count, open_count;
    bool started;
    int64_t silent_ns; /* waited since the last message */
};

/* Properties of producers in the configuration mean nothing to a consumer, which librdkafka would say of
 * each. */
static void log_cb(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    if (strcmp(facility, "CONFWARN") != 0)
        kafka_log_cb(rk, level, facility, text);
}

static int make(struct kafka_reader *r, const struct cbt_sink_config *config,
                const struct cbt_options_cbtap *options, struct cbt_err *err)
{
    static const char *const properties[][2] = {{"enable.partition.eof", "true"},
                                                {"enable.auto.commit", "false"},
                                                {"auto.offset.reset", "earliest"},
                                                {"fetch.wait.max.ms", "100"}};
    const struct kafka_limits limits = {.inflight_bytes = options->inflight_bytes,
                                        .batch_bytes = KAFKA_BATCH_BYTES,
                                        .message_max_bytes = KAFKA_TOPIC_MAX_BYTES};
    char text[CBT_ERR_TEXT_BYTES];
    rd_kafka_conf_t *conf = kafka_conf_new(config, KAFKA_ROLE_PROBE, &limits, err);
    if (conf == NULL)
        return CBT_EINVAL;
    for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++)
        rd_kafka_conf_set(conf, properties[i][0], properties[i][1], text, sizeof(text));
    size_t size = sizeof(r->servers);
    if (rd_kafka_conf_get(conf, "bootstrap.servers", r->servers, &size) != RD_KAFKA_CONF_OK)
        snprintf(r->servers, sizeof(r->servers), "its address");
    rd_kafka_conf_set_log_cb(conf, log_cb);
    kafka_watch_faults(conf, &r->fault);
    r->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (r->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        return cbt_err_set(err, CBT_EINVAL, "Kafka properties: %s", text);
    }
    return CBT_OK;
}

static int refused(const char *topic, rd_kafka_resp_err_t failed, struct cbt_err *err)
{
    if (failed == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        return cbt_err_set(err, CBT_EREFUSED,
                           "there is no topic %s: no dead letter was ever sent there, or "
                           "dead_letter_topic names another than the daemon's",
                           topic);
    return cbt_err_set(err, CBT_EREFUSED, "topic %s: %s", topic, rd_kafka_err2str(failed));
}

/* The topic's partitions. To ask for it by its name may create it; the list of all does not. */
static int find_partitions(struct kafka_reader *r, const char *topic, struct cbt_err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t failed = rd_kafka_metadata(r->rk, 1, NULL, &metadata, ASK_MS);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        return cbt_err_set(err, CBT_EIO, "Kafka at %s does not tell its topics: %s", r->servers,
                           rd_kafka_err2str(failed));
    failed = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *found = &metadata->topics[i];
        if (strcmp(found->topic, topic) != 0)
            continue;
        failed = found->err;
        if (failed != RD_KAFKA_RESP_ERR_NO_ERROR || found->partition_cnt <= 0)
            break;
        r->count = (size_t)found->partition_cnt;
        r->partitions = calloc(r->count, sizeof(*r->partitions));
        r->open = calloc(r->count, sizeof(*r->open));
        for (size_t p = 0; r->partitions != NULL && p < r->count; p++)
            r->partitions[p].id = found->partitions[p].id;
    }
    rd_kafka_metadata_destroy(metadata);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        return refused(topic, failed, err);
    if (r->partitions == NULL || r->open == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the partitions of topic %s", topic);
    return CBT_OK;
}

int kafka_reader_open(struct kafka_reader **ret_reader, const struct cbt_sink_config *config,
                      const struct cbt_options_cbtap *options, struct cbt_err *err)
{
    const char *topic = config->kafka.dead_letter_topic;
    struct kafka_reader *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a reader");
    int brokers = 0;
    int rc = make(r, config, options, err);
    if (rc == 0)
        rc = kafka_reach(r->rk, &r->fault, r->servers, &brokers, err);
    if (rc == 0)
        rc = find_partitions(r, topic, err);
    for (size_t i = 0; rc == 0 && i < r->count; i++) {
        struct kafka_reader_partition *p = &r->partitions[i];
        rd_kafka_resp_err_t failed =
            rd_kafka_query_watermark_offsets(r->rk, topic, p->id, &p->from, &p->end, ASK_MS);
        if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
            rc = cbt_err_set(err, CBT_EIO, "topic %s, partition %d: where it ends is not to be learnt: %s",
                             topic, p->id, rd_kafka_err2str(failed));
    }
    if (rc == 0) {
        r->topic = rd_kafka_topic_new(r->rk, topic, NULL);
        r->queue = rd_kafka_queue_new(r->rk);
        if (r->topic == NULL || r->queue == NULL)
            rc = cbt_err_set(err, CBT_ENOMEM, "no memory for a reader");
    }
    if (rc != 0) {
        kafka_reader_close(r);
        return rc;
    }
    *ret_reader = r;
    return CBT_OK;
}

void kafka_reader_close(struct kafka_reader *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; r->started && i < r->count; i++)
        if (r->open[i])
            rd_kafka_consume_stop(r->topic, r->partitions[i].id);
    if (r->queue != NULL)
        rd_kafka_queue_destroy(r->queue);
    if (r->topic != NULL)
        rd_kafka_topic_destroy(r->topic);
    if (r->rk != NULL)
        rd_kafka_destroy(r->rk);
    free(r->partitions);
    free(r->open);
    free(r);
}

struct kafka_reader_partition *kafka_reader_partitions(struct kafka_reader *r, size_t *ret_count)
{
    *ret_count = r->count;
    return r->partitions;
}

static int start(struct kafka_reader *r, struct cbt_err *err)
{
    r->started = true;
    for (size_t i = 0; i < r->count; i++) {
        const struct kafka_reader_partition *p = &r->partitions[i];
        if (p->from >= p->end)
            continue;
        if (rd_kafka_consume_start_queue(r->topic, p->id, p->from, r->queue) != 0)
            return cbt_err_set(err, CBT_EIO, "partition %d cannot be read: %s", p->id,
                               rd_kafka_err2str(rd_kafka_last_error()));
        r->open[i] = true;
        r->open_count++;
    }
    return CBT_OK;
}

static void end_partition(struct kafka_reader *r, size_t index)
{
    rd_kafka_consume_stop(r->topic, r->partitions[index].id);
    r->open[index] = false;
    r->open_count--;
}

/* True where it is one to be given out. Offsets may be missing: the last may be, too, so a partition ends
 * also with the first message beyond its end, or with its own end. */
static bool take(struct kafka_reader *r, const rd_kafka_message_t *message)
{
    for (size_t i = 0; i < r->count; i++) {
        struct kafka_reader_partition *p = &r->partitions[i];
        if (p->id != message->partition || !r->open[i])
            continue;
        bool wanted = message->err == RD_KAFKA_RESP_ERR_NO_ERROR && message->offset >= p->from &&
                      message->offset < p->end;
        bool ended = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF || message->offset >= p->end - 1;
        if (wanted)
            p->from = message->offset + 1;
        if (ended) {
            p->from = p->end;
            end_partition(r, i);
        }
        return wanted;
    }
    return false;
}

int kafka_reader_next(struct kafka_reader *r, int timeout_ms, rd_kafka_message_t **ret_message,
                      struct cbt_err *err)
{
    int rc = r->started ? CBT_OK : start(r, err);
    if (rc != 0)
        return rc;
    if (r->open_count == 0)
        return 2;
    rd_kafka_poll(r->rk, 0); /* faults */
    int64_t asked_ns = cbt_now_ns();
    rd_kafka_message_t *message = rd_kafka_consume_queue(r->queue, timeout_ms);
    if (message == NULL) {
        r->silent_ns += cbt_now_ns() - asked_ns;
        if (r->silent_ns < SILENCE_MS * KAFKA_NS_PER_MS)
            return 0;
        return cbt_err_set(err, CBT_EIO, "Kafka at %s has said nothing for %d s; the last fault: %s",
                           r->servers, SILENCE_MS / 1000, r->fault.text[0] != '\0' ? r->fault.text : "none");
    }
    r->silent_ns = 0;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR || message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (take(r, message)) {
            *ret_message = message;
            return 1;
        }
        rd_kafka_message_destroy(message);
        return r->open_count == 0 ? 2 : 0;
    }
    rc = cbt_err_set(err, CBT_EIO, "partition %d cannot be read: %s", message->partition,
                     rd_kafka_message_errstr(message));
    rd_kafka_message_destroy(message);
    return rc;
}
