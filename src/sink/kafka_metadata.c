/* SPDX-License-Identifier: MIT */
/*
 * What the cluster says of the topics: partition counts, and max.message.bytes. A thread of its own, for the
 * questions block; it asks as soon as a topic is wanted or lost, and again every
 * topic.metadata.refresh.interval.ms. Asking creates a topic where the cluster allows that.
 *
 * A topic counts as known, so that workers may produce to it, only when the producer at hand was made for its
 * limits: batches no larger than the topic takes, records as large as it takes. Failure: unreachable brokers
 * are asked again within half a second, a topic that is missing or forbidden ever more slowly, up to every 5
 * s. It also is the one that finds out, when Kafka was down, that it is back.
 */
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/kafka.h"

#define ASK_TIMEOUT_MS    2000
#define AGAIN_MIN_MS      100
#define AGAIN_MAX_MS      500
#define REFUSED_MAX_MS    5000
#define REFRESH_MS        300000
#define LIMITS_ASK_MS     1000
#define LIMITS_AGAIN_MS   10
#define MESSAGE_MAX_BYTES 1000000000u /* the largest value of librdkafka's message.max.bytes */

struct answer {
    bool reachable;
    int32_t partitions; /* 0: not known, and why: */
    const char *fault;
    uint32_t max_bytes; /* 0: Kafka does not say */
};

/* The question for limits goes to the controller; where that is none of the brokers (librdkafka's mock
 * cluster), it would only time out. */
static bool has_controller(rd_kafka_t *rk, const struct rd_kafka_metadata *metadata)
{
    int32_t controller = rd_kafka_controllerid(rk, 0);
    for (int i = 0; i < metadata->broker_cnt; i++)
        if (metadata->brokers[i].id == controller)
            return true;
    return false;
}

uint32_t kafka_ask_max_bytes(rd_kafka_t *rk, const struct rd_kafka_metadata *metadata, const char *name)
{
    char text[CBT_ERR_TEXT_BYTES];
    unsigned long long bytes = 0;
    if (!has_controller(rk, metadata))
        return 0;
    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_AdminOptions_set_request_timeout(options, LIMITS_ASK_MS, text, sizeof(text));
    rd_kafka_DescribeConfigs(rk, &resource, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, LIMITS_ASK_MS + LIMITS_ASK_MS / 2);
    const rd_kafka_DescribeConfigs_result_t *result =
        event != NULL ? rd_kafka_event_DescribeConfigs_result(event) : NULL;
    size_t found = 0, entries = 0;
    const rd_kafka_ConfigResource_t **resources =
        result != NULL ? rd_kafka_DescribeConfigs_result_resources(result, &found) : NULL;
    const rd_kafka_ConfigEntry_t **configs =
        found == 1 ? rd_kafka_ConfigResource_configs(resources[0], &entries) : NULL;
    for (size_t i = 0; i < entries; i++) {
        const char *value = rd_kafka_ConfigEntry_value(configs[i]);
        if (value != NULL && strcmp(rd_kafka_ConfigEntry_name(configs[i]), "max.message.bytes") == 0)
            bytes = strtoull(value, NULL, 10);
    }
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy(resource);
    return bytes > MESSAGE_MAX_BYTES ? MESSAGE_MAX_BYTES : (uint32_t)bytes;
}

/* Asks, without the lock. `name` NULL: only whether Kafka answers. */
static struct answer ask(rd_kafka_t *rk, const char *name, bool limits)
{
    struct answer answer = {.fault = ""};
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *topic = NULL;
    if (name != NULL && (topic = rd_kafka_topic_new(rk, name, NULL)) == NULL) {
        answer.fault = rd_kafka_err2str(rd_kafka_last_error());
        return answer;
    }
    rd_kafka_resp_err_t failed = rd_kafka_metadata(rk, 0, topic, &metadata, ASK_TIMEOUT_MS);
    if (topic != NULL)
        rd_kafka_topic_destroy(topic);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        answer.fault = rd_kafka_err2str(failed);
        return answer;
    }
    answer.reachable = true;
    if (name != NULL && metadata->topic_cnt == 1) {
        const struct rd_kafka_metadata_topic *told = &metadata->topics[0];
        answer.fault = rd_kafka_err2str(told->err);
        if (told->err == RD_KAFKA_RESP_ERR_NO_ERROR && told->partition_cnt > 0)
            answer.partitions = told->partition_cnt;
    }
    if (answer.partitions != 0 && limits)
        answer.max_bytes = kafka_ask_max_bytes(rk, metadata, name);
    rd_kafka_metadata_destroy(metadata);
    return answer;
}

bool kafka_limits_fit(const struct kafka *k)
{
    return atomic_load(&k->wanted_batch_bytes) >= atomic_load(&k->batch_bytes) &&
           atomic_load(&k->wanted_message_max_bytes) <= atomic_load(&k->message_max_bytes);
}

/* What the topics in use want of the producer; true when the one at hand has it. Under the lock. */
static bool fit_limits(struct kafka *k)
{
    const struct cbt_sink_config *config = k->context.config;
    uint64_t own_batch = kafka_own_number(config, "batch.size");
    uint64_t batch = own_batch != 0 ? own_batch : KAFKA_BATCH_BYTES;
    uint32_t message = k->own_message_max_bytes != 0 ? k->own_message_max_bytes : KAFKA_TOPIC_MAX_BYTES;
    uint32_t count = atomic_load(&k->topic_count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t max = atomic_load(&k->topics[i].max_bytes);
        if (!k->topics[i].in_use)
            continue;
        batch = max < batch ? max : batch;
        message = max > message ? max : message;
    }
    if (k->batch_cap_bytes < batch)
        batch = k->batch_cap_bytes;
    atomic_store(&k->wanted_batch_bytes, (uint32_t)batch);
    atomic_store(&k->wanted_message_max_bytes, message);
    return kafka_limits_fit(k);
}

static int64_t refresh_ns(const struct kafka *k)
{
    const char *own = cbt_map_get(&k->options->kafka, "topic.metadata.refresh.interval.ms");
    int64_t ms = own != NULL ? strtoll(own, NULL, 10) : REFRESH_MS;
    return ms > 0 ? ms * KAFKA_NS_PER_MS : INT64_MAX / 2;
}

static int64_t again_ns(struct kafka_topic *topic, int64_t max_ms)
{
    int64_t ms = AGAIN_MIN_MS << (topic->fruitless < 6 ? topic->fruitless : 6);
    topic->fruitless++;
    return (ms < max_ms ? ms : max_ms) * KAFKA_NS_PER_MS;
}

static void tell_topic(struct kafka *k, struct kafka_topic *topic, int32_t before,
                       const struct answer *answer)
{
    if (answer->partitions == 0) {
        if (!topic->told && topic->fruitless > 3)
            cbt_log_warning("Kafka does not have the topic, or does not let us use it; events wait for it",
                            CBT_S("sink", k->name), CBT_S("topic", topic->name),
                            CBT_S("reason", answer->fault));
        topic->told = topic->told || topic->fruitless > 3;
        return;
    }
    topic->told = false;
    if (before != 0 && before != answer->partitions)
        cbt_log_warning("the topic's number of partitions has changed: keys move to other partitions, and "
                        "the order of an "
                        "endpoint's events holds only within each",
                        CBT_S("sink", k->name), CBT_S("topic", topic->name), CBT_I("before", before),
                        CBT_I("now", answer->partitions));
    else if (before == 0)
        cbt_log_info("the topic is there", CBT_S("sink", k->name), CBT_S("topic", topic->name),
                     CBT_I("partitions", answer->partitions),
                     CBT_I("max_message_bytes", atomic_load(&topic->max_bytes)));
}

/* Takes the answer in. Under the lock. */
static void learn(struct kafka *k, struct kafka_topic *topic, const struct answer *answer)
{
    int64_t now = cbt_now_ns();
    if (answer->partitions == 0) {
        snprintf(topic->fault, sizeof(topic->fault), "%s", answer->fault);
        topic->due_ns = now + again_ns(topic, answer->reachable ? REFUSED_MAX_MS : AGAIN_MAX_MS);
        if (answer->reachable) {
            atomic_store(&topic->partitions, 0);
            tell_topic(k, topic, 0, answer);
        }
        return;
    }
    uint32_t max = answer->max_bytes;
    if (max == 0)
        max = atomic_load(&topic->max_bytes); /* what was told before, else what is usual */
    if (k->own_message_max_bytes != 0 && max > k->own_message_max_bytes)
        max = k->own_message_max_bytes;
    atomic_store(&topic->max_bytes, max);
    if (!fit_limits(k)) {
        topic->due_ns = now + LIMITS_AGAIN_MS * KAFKA_NS_PER_MS;
        rd_kafka_queue_yield(k->producer->reports);
        return;
    }
    int32_t before = atomic_load(&topic->partitions);
    if (before != answer->partitions)
        tell_topic(k, topic, before, answer);
    atomic_store(&topic->partitions, answer->partitions);
    topic->fruitless = 0;
    topic->due_ns = now + refresh_ns(k);
}

/* The topic to ask for next, or NULL; *ret_due_ns is when. Under the lock. */
static struct kafka_topic *next_topic(struct kafka *k, int64_t *ret_due_ns)
{
    struct kafka_topic *next = NULL;
    uint32_t count = atomic_load(&k->topic_count);
    for (uint32_t i = 0; i < count; i++)
        if (k->topics[i].in_use && (next == NULL || k->topics[i].due_ns < next->due_ns))
            next = &k->topics[i];
    *ret_due_ns = next != NULL ? next->due_ns : INT64_MAX;
    return next;
}

static void sleep_until(struct kafka *k, int64_t due_ns)
{
    struct timespec until = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000};
    if (due_ns >= INT64_MAX / 2)
        pthread_cond_wait(&k->ask, &k->lock);
    else
        pthread_cond_timedwait(&k->ask, &k->lock, &until);
}

void kafka_ask(struct kafka *k)
{
    pthread_mutex_lock(&k->lock);
    k->reach_due_ns = 0;
    pthread_cond_signal(&k->ask);
    pthread_mutex_unlock(&k->lock);
}

void *kafka_metadata_main(void *arg)
{
    struct kafka *k = arg;
    int64_t limits_due = 0;
    pthread_setname_np(pthread_self(), "kafka-metadata");
    pthread_mutex_lock(&k->lock);
    while (!atomic_load(&k->quit)) {
        int64_t due, now = cbt_now_ns();
        struct kafka_topic *topic = next_topic(k, &due);
        bool topic_is_due = due <= now;
        if (!topic_is_due && k->reach_due_ns > now) {
            sleep_until(k, due < k->reach_due_ns ? due : k->reach_due_ns);
            continue;
        }
        struct kafka_producer *producer = k->producer;
        producer->users++;
        pthread_mutex_unlock(&k->lock);
        struct answer answer = ask(producer->rk, topic_is_due ? topic->name : NULL, now >= limits_due);
        kafka_producer_release(k, producer);
        /* A cluster that does not tell limits is not asked for those of each topic. */
        if (answer.partitions != 0 && answer.max_bytes == 0 && now >= limits_due)
            limits_due = now + refresh_ns(k);
        kafka_set_down(k, !answer.reachable, answer.fault);
        pthread_mutex_lock(&k->lock);
        /* While Kafka is down, the next look is soon; else when something goes wrong. */
        k->reach_due_ns = answer.reachable ? INT64_MAX : cbt_now_ns() + AGAIN_MAX_MS * KAFKA_NS_PER_MS;
        if (topic_is_due)
            learn(k, topic, &answer);
        pthread_mutex_unlock(&k->lock);
        kafka_announce(k);
        pthread_mutex_lock(&k->lock);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}
