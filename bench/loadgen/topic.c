/* SPDX-License-Identifier: MIT */
/* A consumer without a group's life: partitions are assigned by hand, no offset is stored anywhere. */
#include "topic.h"

#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "cbtap/clock.h"
#include "progress.h"

#define ASK_TIMEOUT_MS 10000
#define ASK_AGAIN_US   200000

struct cbt_topic {
    rd_kafka_t *kafka;
    rd_kafka_queue_t *queue;
    char *name;
    int32_t partitions;
    int64_t *next; /* offset of each partition's next record */
    int64_t *end;
};

static void say_log(const rd_kafka_t *kafka, int level, const char *facility, const char *text)
{
    (void)kafka;
    (void)level;
    cbt_say(NULL, "librdkafka %s: %s", facility, text);
}

static int set_property(rd_kafka_conf_t *conf, const char *key, const char *value, struct cbt_err *err)
{
    char text[256];
    if (rd_kafka_conf_set(conf, key, value, text, sizeof(text)) != RD_KAFKA_CONF_OK)
        return cbt_err_set(err, CBT_EINVAL, "%s", text);
    return 0;
}

static int set_properties(rd_kafka_conf_t *conf, const char *bootstrap, const char *const *properties,
                          struct cbt_err *err)
{
    int rc = set_property(conf, "bootstrap.servers", bootstrap, err);
    if (!rc)
        rc = set_property(conf, "group.id", "cbtap-loadgen-verify",
                          err); /* librdkafka asks for one to assign */
    if (!rc)
        rc = set_property(conf, "enable.auto.commit", "false", err);
    if (!rc)
        rc = set_property(conf, "enable.partition.eof", "true", err);
    for (; *properties && !rc; properties++) {
        const char *equals = strchr(*properties, '=');
        if (!equals)
            return cbt_err_set(err, CBT_EINVAL, "-X wants key=value, not '%s'", *properties);
        char *key = cbt_bytes_checked(strndup(*properties, (size_t)(equals - *properties)));
        rc = set_property(conf, key, equals + 1, err);
        free(key);
    }
    return rc;
}

/* The topic's number of partitions; 0 while it is not there. */
static int ask_partitions(struct cbt_topic *t, int32_t *ret_partitions, struct cbt_err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(t->kafka, t->name, NULL);
    rd_kafka_resp_err_t error = rd_kafka_last_error();
    int rc = 0;
    if (handle)
        error = rd_kafka_metadata(t->kafka, 0, handle, &metadata, ASK_TIMEOUT_MS);
    if (!metadata) {
        rc = cbt_err_set(err, CBT_EIO, "asking Kafka for topic %s: %s", t->name, rd_kafka_err2str(error));
    } else {
        *ret_partitions = metadata->topic_cnt == 1 ? metadata->topics[0].partition_cnt : 0;
        rd_kafka_metadata_destroy(metadata);
    }
    if (handle)
        rd_kafka_topic_destroy(handle);
    return rc;
}

static int await_topic(struct cbt_topic *t, int wait_ms, struct cbt_err *err)
{
    const int64_t give_up_ns = cbt_now_ns() + (int64_t)wait_ms * 1000000;
    for (;;) {
        const int rc = ask_partitions(t, &t->partitions, err);
        if (rc || t->partitions > 0)
            return rc;
        if (cbt_now_ns() >= give_up_ns || cbt_stopped()) {
            cbt_err_set(err, CBT_EIO, "there is no topic %s", t->name);
            return CBT_EIO;
        }
        usleep(ASK_AGAIN_US);
    }
}

static int assign(struct cbt_topic *t, struct cbt_err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(t->partitions);
    for (int32_t p = 0; p < t->partitions; p++)
        rd_kafka_topic_partition_list_add(list, t->name, p)->offset = RD_KAFKA_OFFSET_BEGINNING;
    const rd_kafka_resp_err_t error = rd_kafka_assign(t->kafka, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (error)
        return cbt_err_set(err, CBT_EIO, "assigning partitions: %s", rd_kafka_err2str(error));
    return 0;
}

int cbt_topic_open(struct cbt_topic **ret_topic, const char *bootstrap, const char *name,
                   const char *const *properties, int wait_ms, struct cbt_err *err)
{
    struct cbt_topic *t = cbt_bytes_checked(calloc(1, sizeof(*t)));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[256];
    int rc = set_properties(conf, bootstrap, properties, err);
    rd_kafka_conf_set_log_cb(conf, say_log);
    t->name = cbt_bytes_checked(strdup(name));
    if (rc)
        goto out;
    t->kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (!t->kafka) {
        rc = cbt_err_set(err, CBT_EINVAL, "%s", text);
        goto out;
    }
    conf = NULL; /* the handle owns it now */
    rd_kafka_poll_set_consumer(t->kafka);
    rc = await_topic(t, wait_ms, err);
    if (rc)
        goto out;
    t->next = cbt_bytes_checked(calloc((size_t)t->partitions, sizeof(*t->next)));
    t->end = cbt_bytes_checked(calloc((size_t)t->partitions, sizeof(*t->end)));
    rc = cbt_topic_move_end(t, err);
    if (!rc)
        rc = assign(t, err);
    t->queue = rd_kafka_queue_get_consumer(t->kafka);
out:
    if (conf)
        rd_kafka_conf_destroy(conf);
    if (rc) {
        cbt_topic_close(t);
        return rc;
    }
    *ret_topic = t;
    return 0;
}

int32_t cbt_topic_partitions(const struct cbt_topic *t)
{
    return t->partitions;
}

int cbt_topic_move_end(struct cbt_topic *t, struct cbt_err *err)
{
    for (int32_t p = 0; p < t->partitions; p++) {
        int64_t low;
        const rd_kafka_resp_err_t error =
            rd_kafka_query_watermark_offsets(t->kafka, t->name, p, &low, &t->end[p], ASK_TIMEOUT_MS);
        if (error)
            return cbt_err_set(err, CBT_EIO, "asking for the end of partition %d: %s", p,
                               rd_kafka_err2str(error));
        if (t->next[p] < low)
            t->next[p] = low;
    }
    return 0;
}

bool cbt_topic_at_end(const struct cbt_topic *t)
{
    for (int32_t p = 0; p < t->partitions; p++)
        if (t->next[p] < t->end[p])
            return false;
    return true;
}

int cbt_topic_read(struct cbt_topic *t, int timeout_ms, rd_kafka_message_t **ret_records, size_t n,
                   struct cbt_err *err)
{
    const ssize_t got = rd_kafka_consume_batch_queue(t->queue, timeout_ms, ret_records, n);
    int records = 0, rc = 0;
    if (got < 0)
        return cbt_err_set(err, CBT_EIO, "reading: %s", rd_kafka_err2str(rd_kafka_last_error()));
    for (ssize_t i = 0; i < got; i++) {
        rd_kafka_message_t *m = ret_records[i];
        if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && t->next[m->partition] < m->offset)
            t->next[m->partition] = m->offset;
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR && !rc) {
            t->next[m->partition] = m->offset + 1;
            ret_records[records++] = m;
            continue;
        }
        /* What librdkafka gets over by itself (a broker that went away) it reports only while all of them are
         * away. */
        if (m->err && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF && m->err != RD_KAFKA_RESP_ERR__TRANSPORT &&
            m->err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
            rc = cbt_err_set(err, CBT_EIO, "reading: %s", rd_kafka_message_errstr(m));
        rd_kafka_message_destroy(m);
    }
    for (int i = 0; rc && i < records; i++)
        rd_kafka_message_destroy(ret_records[i]);
    return rc ? rc : records;
}

void cbt_topic_close(struct cbt_topic *t)
{
    if (!t)
        return;
    if (t->queue)
        rd_kafka_queue_destroy(t->queue);
    if (t->kafka) {
        rd_kafka_consumer_close(t->kafka);
        rd_kafka_destroy(t->kafka);
    }
    free(t->name);
    free(t->next);
    free(t->end);
    free(t);
}
