/* SPDX-License-Identifier: MIT */
/*
 * Topics: names from the template, partition counts and size limits from the cluster. Workers read counts
 * without a lock; the delivery thread asks for them (asking creates a topic where the cluster allows it) and
 * refreshes them. A grown count moves keys to other partitions, as with any client.
 */
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/kafka.h"

#define ASK_TIMEOUT_MS 1000
#define ASK_AGAIN_MS   500
#define REFRESH_MS     60000
#define TOPIC_OTHER    "other"

static bool is_fixed(const char *template)
{
    return strstr(template, "{type}") == NULL && strstr(template, "{event_type}") == NULL;
}

/* Appends text as far as a topic's name allows: letters, digits, '.', '_', '-'; all else becomes '_'. */
static size_t append(char *name, size_t len, const uint8_t *text, size_t text_len)
{
    for (size_t i = 0; i < text_len && len < KAFKA_TOPIC_NAME_MAX; i++) {
        uint8_t c = text[i];
        bool legal = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                     c == '_' || c == '-';
        name[len++] = (char)(legal ? c : '_');
    }
    return len;
}

/* Fills in the template; `name` has KAFKA_TOPIC_NAME_MAX + 1 bytes. */
static void make_name(const struct kafka *k, char *name, struct cbt_text type, struct cbt_text event_type)
{
    const char *server = k->context.options->server_name;
    const struct {
        const char *placeholder;
        struct cbt_text text;
    } table[] = {{"{type}", type},
                 {"{event_type}", event_type},
                 {"{server}", {(const uint8_t *)server, strlen(server)}}};
    size_t len = 0;
    for (const char *at = k->options->topic; *at != '\0';) {
        bool found = false;
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]) && !found; i++) {
            size_t placeholder_len = strlen(table[i].placeholder);
            if (strncmp(at, table[i].placeholder, placeholder_len) != 0)
                continue;
            len = append(name, len, table[i].text.data, table[i].text.len);
            at += placeholder_len;
            found = true;
        }
        if (!found)
            len = append(name, len, (const uint8_t *)at++, 1);
    }
    name[len] = '\0';
}

/* Under the lock, or before the threads start. NULL: the table is full, or the name is not a topic's. */
static struct kafka_topic *add_topic(struct kafka *k, const char *name)
{
    uint32_t count = atomic_load(&k->topic_count);
    if (count == KAFKA_TOPICS_MAX)
        return NULL;
    struct kafka_topic *topic = &k->topics[count];
    memcpy(topic->name, name, strlen(name) + 1);
    atomic_store(&topic->record_max_bytes, k->batch_bytes);
    if (k->producer != NULL && (topic->handle = rd_kafka_topic_new(k->producer, name, NULL)) == NULL)
        return NULL;
    atomic_store(&k->topic_count, count + 1);
    return topic;
}

int kafka_topics_init(struct kafka *k, struct cbt_err *err)
{
    k->topic_is_fixed = is_fixed(k->options->topic);
    char name[KAFKA_TOPIC_NAME_MAX + 1];
    make_name(k, name, CBT_TEXT(TOPIC_OTHER), CBT_TEXT(TOPIC_OTHER));
    /* topics[0]: the one topic, or where those go for which there is no room in the table. */
    if (name[0] == '\0' || add_topic(k, name) == NULL)
        return cbt_err_set(err, CBT_EINVAL, "topic = %s is not a topic's name", k->options->topic);
    return CBT_OK;
}

static struct kafka_topic *find_topic(struct kafka *k, const char *name)
{
    uint32_t count = atomic_load_explicit(&k->topic_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(k->topics[i].name, name) == 0)
            return &k->topics[i];
    return NULL;
}

struct kafka_topic *kafka_topic_of(struct kafka *k, const struct cbt_record *record)
{
    if (k->topic_is_fixed)
        return &k->topics[0];
    char name[KAFKA_TOPIC_NAME_MAX + 1];
    make_name(k, name, record->type_name, record->event_type_name);
    struct kafka_topic *topic = find_topic(k, name);
    if (topic != NULL)
        return topic;
    pthread_mutex_lock(&k->lock);
    topic = find_topic(k, name);
    if (topic == NULL)
        topic = add_topic(k, name);
    pthread_mutex_unlock(&k->lock);
    return topic != NULL ? topic : &k->topics[0];
}

bool kafka_topics_known(struct kafka *k)
{
    uint32_t count = atomic_load_explicit(&k->topic_count, memory_order_acquire);
    /* With a template the spare topic need not exist. */
    for (uint32_t i = k->topic_is_fixed ? 0 : 1; i < count; i++)
        if (atomic_load(&k->topics[i].partitions) == 0)
            return false;
    return true;
}

static void ask_partitions(struct kafka *k, struct kafka_topic *topic)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t failed = rd_kafka_metadata(k->producer, 0, topic->handle, &metadata, ASK_TIMEOUT_MS);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    int32_t known = atomic_load(&topic->partitions);
    if (metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        int32_t count = metadata->topics[0].partition_cnt;
        if (known != 0 && count > known)
            cbt_log_warning(
                "the topic has more partitions: keys move, order of an endpoint's events may break here",
                CBT_S("sink", k->context.config->name), CBT_S("topic", topic->name), CBT_I("before", known),
                CBT_I("now", count));
        if (count > known)
            atomic_store(&topic->partitions, count);
    }
    rd_kafka_metadata_destroy(metadata);
    if (known == 0 && atomic_load(&topic->partitions) != 0) {
        pthread_mutex_lock(&k->lock);
        pthread_cond_broadcast(&k->changed);
        pthread_mutex_unlock(&k->lock);
    }
}

/* max.message.bytes of the topic, from the admin API; 0 where the cluster does not say. */
static uint32_t ask_limit(struct kafka *k, const char *name)
{
    uint32_t limit = 0;
    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(k->producer);
    rd_kafka_DescribeConfigs(k->producer, &resource, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ASK_TIMEOUT_MS);
    const rd_kafka_DescribeConfigs_result_t *result =
        event != NULL ? rd_kafka_event_DescribeConfigs_result(event) : NULL;
    size_t resources = 0;
    const rd_kafka_ConfigResource_t **found =
        result != NULL ? rd_kafka_DescribeConfigs_result_resources(result, &resources) : NULL;
    if (resources == 1) {
        size_t entries = 0;
        const rd_kafka_ConfigEntry_t **entry = rd_kafka_ConfigResource_configs(found[0], &entries);
        for (size_t i = 0; i < entries; i++)
            if (strcmp(rd_kafka_ConfigEntry_name(entry[i]), "max.message.bytes") == 0) {
                const char *value = rd_kafka_ConfigEntry_value(entry[i]);
                limit = value != NULL ? (uint32_t)strtoul(value, NULL, 10) : 0;
            }
    }
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(resource);
    return limit;
}

/* A topic that takes less than our batches hold makes the producer's batches smaller, by a new producer. */
static void learn_limit(struct kafka *k, struct kafka_topic *topic)
{
    topic->limit_known = true;
    const char *own = kafka_property(k->context.config, "message.max.bytes");
    uint32_t limit = own != NULL ? (uint32_t)strtoul(own, NULL, 10) : k->batch_bytes;
    uint32_t told = ask_limit(k, topic->name);
    if (told != 0 && told < limit)
        limit = told;
    atomic_store(&topic->record_max_bytes, limit);
    if (limit < k->batch_bytes) {
        cbt_log_info("the topic takes smaller batches than usual", CBT_S("topic", topic->name),
                     CBT_I("max_message_bytes", limit));
        k->batch_bytes = limit;
        kafka_want_recovery(k, NULL, false);
    }
}

void kafka_topics_refresh(struct kafka *k)
{
    int64_t now = cbt_now_ns();
    uint32_t count = atomic_load(&k->topic_count);
    for (uint32_t i = k->topic_is_fixed ? 0 : 1; i < count; i++) {
        struct kafka_topic *topic = &k->topics[i];
        bool known = atomic_load(&topic->partitions) != 0;
        int64_t age_ms = (now - topic->refreshed_ns) / 1000000;
        if (topic->refreshed_ns != 0 && age_ms < (known ? REFRESH_MS : ASK_AGAIN_MS))
            continue;
        if (known && atomic_load(&k->down))
            continue;
        topic->refreshed_ns = now;
        ask_partitions(k, topic);
        if (!topic->limit_known && atomic_load(&topic->partitions) != 0)
            learn_limit(k, topic);
    }
}
