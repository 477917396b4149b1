/* SPDX-License-Identifier: MIT */
/*
 * The floor beneath the whole-pipeline benchmark: the cheapest way to hand the same records to librdkafka. It
 * reads a topic into memory, then sends every record to another topic in a bare rd_kafka_produce_batch loop,
 * without copying, and says what processor time a record took, of the whole process and of the loop's own
 * thread.
 *
 * The records keep the order in which they came, cut into batches of one partition, the partitions taking
 * turns. The partition of each run of equal keys is computed again, by murmur2, as a real producer has to.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "bytes.h"
#include "cbtap/clock.h"
#include "topic.h"

#define READ_RECORDS     1000
#define READ_TIMEOUT_MS  1000
#define ADMIN_TIMEOUT_MS 30000
#define PROPERTIES_MAX   64

struct options {
    const char *bootstrap, *from, *to;
    const char *properties[PROPERTIES_MAX + 1]; /* the producer's */
    size_t batch;
    bool delete_topics;
};

struct record {
    size_t at; /* key, then value */
    uint32_t key_len, value_len;
};

/* What one partition holds, in order. */
struct partition {
    struct cbt_bytes data;
    struct record *records;
    size_t count, room, next;
};

struct records {
    struct partition *partitions;
    int32_t partition_count;
    uint64_t count, bytes;
};

struct delivery {
    uint64_t delivered, failed;
};

static int die(const char *what, const char *why)
{
    fprintf(stderr, "cbtap-bare-produce: %s: %s\n", what, why);
    return 1;
}

static void keep(struct records *r, const rd_kafka_message_t *m)
{
    struct partition *p = &r->partitions[m->partition];
    if (p->count == p->room) {
        p->room = p->room ? p->room * 2 : 1024;
        p->records = cbt_bytes_checked(realloc(p->records, p->room * sizeof(*p->records)));
    }
    p->records[p->count++] = (struct record){p->data.len, (uint32_t)m->key_len, (uint32_t)m->len};
    cbt_bytes_put(&p->data, m->key, m->key_len);
    cbt_bytes_put(&p->data, m->payload, m->len);
    r->count++;
    r->bytes += m->len;
}

static int read_records(const struct options *o, struct records *r)
{
    static const char *const no_properties[] = {NULL};
    rd_kafka_message_t *batch[READ_RECORDS];
    struct cbt_topic *topic = NULL;
    struct cbt_err err = {0};
    int rc = cbt_topic_open(&topic, o->bootstrap, o->from, no_properties, 0, &err);
    if (!rc) {
        r->partition_count = cbt_topic_partitions(topic);
        r->partitions = cbt_bytes_checked(calloc((size_t)r->partition_count, sizeof(*r->partitions)));
    }
    while (!rc && !cbt_topic_at_end(topic)) {
        const int n = cbt_topic_read(topic, READ_TIMEOUT_MS, batch, READ_RECORDS, &err);
        for (int i = 0; i < n; i++) {
            keep(r, batch[i]);
            rd_kafka_message_destroy(batch[i]);
        }
        rc = n < 0 ? n : 0;
    }
    cbt_topic_close(topic);
    return rc ? die(o->from, err.text) : 0;
}

static void free_records(struct records *r)
{
    for (int32_t i = 0; i < r->partition_count; i++) {
        cbt_bytes_free(&r->partitions[i].data);
        free(r->partitions[i].records);
    }
    free(r->partitions);
}

static void on_delivery(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque)
{
    struct delivery *delivery = opaque;
    (void)kafka;
    if (message->err)
        delivery->failed++;
    else
        delivery->delivered++;
}

static rd_kafka_t *open_producer(const struct options *o, struct delivery *delivery)
{
    static const char *const defaults[] = {"enable.idempotence=true", "acks=all", "linger.ms=20",
                                           "batch.num.messages=10000", NULL};
    const char *const *lists[] = {defaults, o->properties};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[256];
    rd_kafka_conf_res_t res = rd_kafka_conf_set(conf, "bootstrap.servers", o->bootstrap, text, sizeof(text));
    for (size_t l = 0; l < 2; l++)
        for (const char *const *p = lists[l]; *p && res == RD_KAFKA_CONF_OK; p++) {
            const char *equals = strchr(*p, '=');
            char *key = cbt_bytes_checked(strndup(*p, equals ? (size_t)(equals - *p) : strlen(*p)));
            res = rd_kafka_conf_set(conf, key, equals ? equals + 1 : "", text, sizeof(text));
            free(key);
        }
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, delivery);
    rd_kafka_t *kafka =
        res == RD_KAFKA_CONF_OK ? rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text)) : NULL;
    if (!kafka) {
        rd_kafka_conf_destroy(conf);
        die("the producer", text);
    }
    return kafka;
}

/* The topic's partitions; asking makes the cluster create it. 0: it does not. */
static int32_t await_partitions(rd_kafka_t *kafka, rd_kafka_topic_t *topic)
{
    for (int tries = 0; tries < 100; tries++) {
        const struct rd_kafka_metadata *metadata = NULL;
        int32_t partitions = 0;
        if (!rd_kafka_metadata(kafka, 0, topic, &metadata, 10000) && metadata->topic_cnt == 1)
            partitions = metadata->topics[0].partition_cnt;
        if (metadata)
            rd_kafka_metadata_destroy(metadata);
        if (partitions > 0)
            return partitions;
        rd_kafka_poll(kafka, 100);
    }
    return 0;
}

/* Fills in up to `max` messages of one partition; `*runs_key` carries on from batch to batch. False where the
 * key does not belong to the partition that the record was found in. */
static bool fill_batch(struct partition *p, int32_t number, int32_t partitions, size_t max,
                       rd_kafka_message_t *batch, size_t *ret_n)
{
    const struct record *before = NULL;
    size_t n = 0;
    for (; n < max && p->next < p->count; n++) {
        const struct record *r = &p->records[p->next++];
        uint8_t *key = p->data.data + r->at;
        if (!before || before->key_len != r->key_len ||
            memcmp(p->data.data + before->at, key, r->key_len) != 0)
            if (rd_kafka_msg_partitioner_murmur2(NULL, key, r->key_len, partitions, NULL, NULL) != number)
                return false;
        before = r;
        batch[n] = (rd_kafka_message_t){
            .payload = key + r->key_len, .len = r->value_len, .key = key, .key_len = r->key_len};
    }
    *ret_n = n;
    return true;
}

static bool produce_batch(rd_kafka_t *kafka, rd_kafka_topic_t *topic, int32_t number,
                          rd_kafka_message_t *batch, size_t n)
{
    while (n) {
        const int taken = rd_kafka_produce_batch(topic, number, 0, batch, (int)n);
        if ((size_t)taken < n && batch[taken].err != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            die("rd_kafka_produce_batch", rd_kafka_err2str(batch[taken].err));
            return false;
        }
        batch += taken;
        n -= (size_t)taken;
        rd_kafka_poll(kafka, n ? 10 : 0);
    }
    return true;
}

static int produce_all(const struct options *o, struct records *r, rd_kafka_t *kafka, rd_kafka_topic_t *topic,
                       int32_t partitions)
{
    rd_kafka_message_t *batch = cbt_bytes_checked(calloc(o->batch, sizeof(*batch)));
    bool more = true, good = true;
    while (more && good) {
        more = false;
        for (int32_t i = 0; i < r->partition_count && good; i++) {
            size_t n = 0;
            good = fill_batch(&r->partitions[i], i, partitions, o->batch, batch, &n);
            if (!good)
                die(o->from, "a record is not in the partition of its key");
            else
                good = produce_batch(kafka, topic, i, batch, n);
            more = more || n;
        }
    }
    free(batch);
    while (good && rd_kafka_outq_len(kafka) > 0)
        rd_kafka_poll(kafka, 100);
    return good ? 0 : 1;
}

static double process_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int delete_topics(const struct options *o, rd_kafka_t *kafka)
{
    rd_kafka_DeleteTopic_t *topics[] = {rd_kafka_DeleteTopic_new(o->from), rd_kafka_DeleteTopic_new(o->to)};
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
    rd_kafka_DeleteTopics(kafka, topics, 2, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_TIMEOUT_MS);
    const int rc = event && !rd_kafka_event_error(event) ? 0 : die("deleting the topics", "Kafka did not");
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy_array(topics, 2);
    return rc;
}

static int run(const struct options *o)
{
    struct records records = {0};
    struct delivery delivery = {0};
    rd_kafka_topic_t *topic = NULL;
    int rc = read_records(o, &records);
    rd_kafka_t *kafka = rc ? NULL : open_producer(o, &delivery);
    if (!kafka)
        goto out;
    topic = rd_kafka_topic_new(kafka, o->to, NULL);
    const int32_t partitions = await_partitions(kafka, topic);
    rc = partitions ? 0 : die(o->to, "there is no such topic");
    const double process = process_seconds(), thread = thread_seconds();
    const int64_t started_ns = cbt_now_ns();
    if (!rc)
        rc = produce_all(o, &records, kafka, topic, partitions);
    const double n = (double)records.count;
    if (!rc && (delivery.failed || delivery.delivered != records.count))
        rc = die(o->to, "not every record was delivered");
    if (!rc)
        printf("records=%" PRIu64 " bytes=%" PRIu64
               " seconds=%.3f cpu_us_per_record=%.4f caller_us_per_record=%.4f\n",
               records.count, records.bytes, (double)(cbt_now_ns() - started_ns) / 1e9,
               (process_seconds() - process) * 1e6 / n, (thread_seconds() - thread) * 1e6 / n);
    if (!rc && o->delete_topics)
        rc = delete_topics(o, kafka);
out:
    if (topic)
        rd_kafka_topic_destroy(topic);
    if (kafka)
        rd_kafka_destroy(kafka);
    free_records(&records);
    return rc || !kafka;
}

static int usage(void)
{
    fputs("usage: cbtap-bare-produce --kafka HOST:PORT --from TOPIC --to TOPIC [--batch N] [--delete] "
          "[KEY=VALUE]...\n"
          "Reads all of one topic into memory, sends it to another, prints the processor time a record.\n"
          "--batch N: records of a call of rd_kafka_produce_batch (716). --delete: deletes both topics at "
          "the end.\n"
          "KEY=VALUE: properties of librdkafka's producer (default: idempotent, acks=all, linger.ms=20,\n"
          "batch.num.messages=10000).\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    struct options o = {.batch = 716};
    size_t properties = 0;
    for (int i = 1; i < argc && argv[i]; i++) {
        const char *value = argv[i + 1];
        const char **text = !strcmp(argv[i], "--kafka")  ? &o.bootstrap
                            : !strcmp(argv[i], "--from") ? &o.from
                            : !strcmp(argv[i], "--to")   ? &o.to
                                                         : NULL;
        if (text && value) {
            *text = value;
            i++;
        } else if (!strcmp(argv[i], "--batch") && value) {
            o.batch = strtoul(argv[++i], NULL, 10);
        } else if (!strcmp(argv[i], "--delete")) {
            o.delete_topics = true;
        } else if (argv[i][0] != '-' && strchr(argv[i], '=') && properties < PROPERTIES_MAX) {
            o.properties[properties++] = argv[i];
        } else {
            return usage();
        }
    }
    if (!o.bootstrap || !o.from || !o.to || o.batch < 1 || o.batch > 1000000)
        return usage();
    return run(&o);
}
