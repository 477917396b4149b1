/* SPDX-License-Identifier: MIT */
/* check --connect: reaches Kafka and says what is there. */
#include <stdio.h>
#include <string.h>

#include "sink/kafka.h"

#define PROBE_TIMEOUT_MS  5000
#define PROBE_BATCH_BYTES 1000000

/* A topic's state in words. */
static void describe(rd_kafka_t *producer, const char *name, char *out, size_t out_bytes)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, name, NULL);
    rd_kafka_resp_err_t failed = rd_kafka_metadata(producer, 0, topic, &metadata, PROBE_TIMEOUT_MS);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        snprintf(out, out_bytes, "topic %s: %s", name, rd_kafka_err2str(failed));
    else if (metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR)
        snprintf(out, out_bytes, "topic %s has %d partitions", name, metadata->topics[0].partition_cnt);
    else
        snprintf(
            out, out_bytes, "topic %s: %s (it is created with the first event where the cluster allows that)",
            name,
            rd_kafka_err2str(metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN));
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
}

int kafka_probe(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                char *ret_report, size_t report_bytes, struct cbt_err *err)
{
    rd_kafka_conf_t *conf = kafka_make_conf(config, options->inflight_bytes, PROBE_BATCH_BYTES, err);
    if (conf == NULL)
        return CBT_EINVAL;
    rd_kafka_conf_set_log_cb(conf, kafka_log_cb);
    char text[CBT_ERR_TEXT_BYTES];
    /* Looking must not change anything. */
    rd_kafka_conf_set(conf, "allow.auto.create.topics", "false", text, sizeof(text));
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (producer == NULL) {
        rd_kafka_conf_destroy(conf);
        return cbt_err_set(err, CBT_EINVAL, "%s", text);
    }
    int rc = CBT_OK;
    const char *servers = kafka_property(config, "bootstrap.servers");
    servers = servers != NULL ? servers : "(mock)";
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t failed = rd_kafka_metadata(producer, 0, NULL, &metadata, PROBE_TIMEOUT_MS);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rc = cbt_err_set(
            err, CBT_EIO,
            "no answer from Kafka at %s (%s): is it up, and are address, port and security settings right?",
            servers, rd_kafka_err2str(failed));
    } else {
        char topic[200], dead[200];
        bool template = strchr(config->kafka.topic, '{') != NULL;
        if (template)
            snprintf(topic, sizeof(topic), "topics by the template %.120s", config->kafka.topic);
        else
            describe(producer, config->kafka.topic, topic, sizeof(topic));
        describe(producer, config->kafka.dead_letter_topic, dead, sizeof(dead));
        snprintf(ret_report, report_bytes, "Kafka at %s: %d brokers; %s; dead letters: %s", servers,
                 metadata->broker_cnt, topic, dead);
        rd_kafka_metadata_destroy(metadata);
    }
    rd_kafka_destroy(producer);
    return rc;
}
