/* SPDX-License-Identifier: MIT */
/* check --connect: reaches Kafka, changes nothing there, and says in a line what it found. */
#include <stdio.h>
#include <string.h>

#include "cbtap/clock.h"
#include "sink/kafka.h"

#define CONNECT_MS 5000
#define STEP_MS    100
#define ASK_MS     5000

static void error_cb(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    (void)rk;
    struct kafka_fault *fault = opaque;
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        return; /* says less than what came before it */
    fault->code = (rd_kafka_resp_err_t)code;
    snprintf(fault->text, sizeof(fault->text), "%s", reason);
}

void kafka_watch_faults(rd_kafka_conf_t *conf, struct kafka_fault *fault)
{
    rd_kafka_conf_set_opaque(conf, fault);
    rd_kafka_conf_set_error_cb(conf, error_cb);
}

/* X(what librdkafka, OpenSSL or Kafka says, what to do) */
#define TEXT_HINTS(X)                                                                                        \
    X("certificate verify failed", VERIFY_HINT)                                                              \
    X("alert bad certificate", CERTIFICATE_HINT)                                                             \
    X("alert certificate required", CERTIFICATE_HINT)                                                        \
    X("alert certificate unknown", CERTIFICATE_HINT)                                                         \
    X("alert unknown ca", CERTIFICATE_HINT)                                                                  \
    X("alert handshake failure", CERTIFICATE_HINT)                                                           \
    X("Invalid username or password", LOGIN_HINT)                                                            \
    X("invalid credentials", LOGIN_HINT)
#define LOGIN_HINT "check kafka.sasl.username and kafka.sasl.password"
#define VERIFY_HINT                                                                                          \
    "kafka.ssl.ca.location must name the CA that issued Kafka's certificate, which must hold the name by "   \
    "which Kafka is reached"
#define CERTIFICATE_HINT                                                                                     \
    "Kafka wants a client certificate that it trusts: kafka.ssl.certificate.location and "                   \
    "kafka.ssl.key.location"
/* Before that it sends a nonce that Kafka 4 no longer lets pass: librdkafka's change 4895. */
#define SCRAM_VERSION 0x020601ff

const char *kafka_hint(const char *text)
{
    if (strstr(text, "SCRAM") != NULL && strstr(text, "invalid credentials") != NULL &&
        rd_kafka_version() < SCRAM_VERSION)
        return LOGIN_HINT
            "; to Kafka 4 and newer, librdkafka before "
            "2.6.1 (this one is) cannot log in by SCRAM: take kafka.sasl.mechanism = PLAIN over TLS, or a "
            "client certificate";
#define HINT(has, hint)                                                                                      \
    if (strstr(text, has) != NULL)                                                                           \
        return hint;
    TEXT_HINTS(HINT)
#undef HINT
    return NULL;
}

/* What to look at. */
static const char *hint(rd_kafka_resp_err_t code, const char *text)
{
    const char *known = kafka_hint(text);
    if (known != NULL)
        return known;
    switch (code) {
    case RD_KAFKA_RESP_ERR__RESOLVE:
        return "the name does not resolve: is it spelt right?";
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
        return "check kafka.security.protocol and kafka.sasl.*";
    case RD_KAFKA_RESP_ERR__SSL:
        return "check kafka.security.protocol and kafka.ssl.*";
    default:
        return "is Kafka up there, and reachable from here? kafka.bootstrap.servers says where it is, "
               "kafka.security.protocol how it is spoken to";
    }
}

int kafka_reach(rd_kafka_t *rk, const struct kafka_fault *fault, const char *servers, int *ret_brokers,
                struct cbt_err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    int64_t deadline = cbt_now_ns() + CONNECT_MS * KAFKA_NS_PER_MS;
    rd_kafka_resp_err_t failed;
    do {
        failed = rd_kafka_metadata(rk, 0, NULL, &metadata, STEP_MS);
        rd_kafka_poll(rk, 0); /* errors */
    } while (failed != RD_KAFKA_RESP_ERR_NO_ERROR && cbt_now_ns() < deadline);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        return cbt_err_set(err, CBT_EIO, "no answer from Kafka at %.64s: %.200s; %s", servers,
                           fault->text[0] != '\0' ? fault->text : rd_kafka_err2str(failed),
                           hint(fault->code, fault->text));
    *ret_brokers = metadata->broker_cnt;
    rd_kafka_metadata_destroy(metadata);
    return CBT_OK;
}

/* A topic's state in words. To ask for one topic by its name may create it; the list of all does not. */
static void describe(rd_kafka_t *rk, const char *name, const char *otherwise, char *out, size_t out_bytes)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t failed = rd_kafka_metadata(rk, 1, NULL, &metadata, ASK_MS);
    int partitions = 0;
    uint32_t max = 0;
    if (failed == RD_KAFKA_RESP_ERR_NO_ERROR) {
        failed = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        for (int i = 0; i < metadata->topic_cnt; i++) {
            if (strcmp(metadata->topics[i].topic, name) != 0)
                continue;
            failed = metadata->topics[i].err;
            partitions = metadata->topics[i].partition_cnt;
            max = kafka_ask_max_bytes(rk, metadata, name);
        }
        rd_kafka_metadata_destroy(metadata);
    }
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        snprintf(out, out_bytes, "topic %s: %s (%s)", name, rd_kafka_err2str(failed), otherwise);
        return;
    }
    int len = snprintf(out, out_bytes, "topic %s: %d partitions", name, partitions);
    if (max != 0 && len > 0 && (size_t)len < out_bytes)
        snprintf(out + len, out_bytes - (size_t)len, ", max.message.bytes %u", max);
}

int kafka_probe(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                char *ret_report, size_t report_bytes, struct cbt_err *err)
{
    const struct cbt_options_kafka *own = &config->kafka;
    const struct kafka_limits limits = {.inflight_bytes = options->inflight_bytes,
                                        .batch_bytes = KAFKA_BATCH_BYTES,
                                        .message_max_bytes = KAFKA_TOPIC_MAX_BYTES};
    struct kafka_fault fault = {.code = RD_KAFKA_RESP_ERR_NO_ERROR};
    rd_kafka_conf_t *conf = kafka_conf_new(config, KAFKA_ROLE_PROBE, &limits, err);
    if (conf == NULL)
        return CBT_EINVAL;
    char servers[256];
    size_t size = sizeof(servers);
    if (rd_kafka_conf_get(conf, "bootstrap.servers", servers, &size) != RD_KAFKA_CONF_OK)
        snprintf(servers, sizeof(servers), "its address");
    kafka_watch_faults(conf, &fault);
    rd_kafka_t *rk = kafka_new(conf, err);
    if (rk == NULL)
        return CBT_EINVAL;
    int brokers = 0;
    int rc = kafka_reach(rk, &fault, servers, &brokers, err);
    if (rc == 0) {
        char events[400], dead[400];
        if (strchr(own->topic, '{') != NULL)
            snprintf(events, sizeof(events), "topics by the template %.200s", own->topic);
        else
            describe(rk, own->topic,
                     "created with the first event where the cluster allows that, else events wait", events,
                     sizeof(events));
        if (own->dead_letter_topic[0] == '\0')
            snprintf(dead, sizeof(dead), "directory %.200s", own->dead_letter_dir);
        else
            describe(rk, own->dead_letter_topic,
                     "created with the first dead letter where the cluster allows that, else they go to "
                     "dead_letter_dir",
                     dead, sizeof(dead));
        snprintf(ret_report, report_bytes, "Kafka at %s: %d broker%s; %s; dead letters: %s", servers, brokers,
                 brokers == 1 ? "" : "s", events, dead);
    }
    rd_kafka_destroy(rk);
    return rc;
}
