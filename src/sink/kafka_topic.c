/* SPDX-License-Identifier: MIT */
/*
 * The topics by name. Where the name holds no {type} or {event_type} there is one, and a worker need not
 * look; else a worker remembers the topics of the types that it has seen, and asks the shared table for
 * others. The table is bounded: what has no room in it goes to the topic of the type "other", topics[0].
 */
#include <string.h>

#include "cbtap/clock.h"
#include "sink/kafka.h"

#define OTHER "other"

/* Appends text as far as a topic's name allows: letters, digits, '.', '_', '-'; all else becomes '_'. */
static size_t append(char *name, size_t len, const uint8_t *text, size_t text_len)
{
    for (size_t i = 0; i < text_len && len < KAFKA_TOPIC_NAME_MAX; i++) {
        uint8_t c = text[i];
        bool legal = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                     c == '_' || c == '-';
        name[len++] = (char)(legal ? c : (uint8_t)'_');
    }
    return len;
}

/* Fills in the template. `name` has KAFKA_TOPIC_NAME_MAX + 1 bytes. */
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
        size_t skip = 0;
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]) && skip == 0; i++) {
            size_t placeholder_len = strlen(table[i].placeholder);
            if (strncmp(at, table[i].placeholder, placeholder_len) != 0)
                continue;
            len = append(name, len, table[i].text.data, table[i].text.len);
            skip = placeholder_len;
        }
        if (skip == 0) {
            len = append(name, len, (const uint8_t *)at, 1);
            skip = 1;
        }
        at += skip;
    }
    name[len] = '\0';
}

/* Index of the topic with that name, added where there is room; 0 where there is not. Under the lock. */
static uint16_t find_or_add(struct kafka *k, const char *name)
{
    uint32_t count = atomic_load(&k->topic_count);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(k->topics[i].name, name) == 0)
            return (uint16_t)i;
    if (count == KAFKA_TOPICS_MAX)
        return 0;
    struct kafka_topic *topic = &k->topics[count];
    if (k->producer != NULL) {
        topic->handle = rd_kafka_topic_new(k->producer->rk, name, NULL);
        if (topic->handle == NULL)
            return 0; /* "." or "..": no names for a topic */
    }
    memcpy(topic->name, name, strlen(name) + 1);
    atomic_store(&topic->max_bytes,
                 k->own_message_max_bytes != 0 ? k->own_message_max_bytes : KAFKA_TOPIC_MAX_BYTES);
    atomic_store(&k->topic_count, count + 1);
    return (uint16_t)count;
}

/* From now on its partitions are wanted. Under the lock. */
static void use_topic(struct kafka *k, uint16_t index)
{
    struct kafka_topic *topic = &k->topics[index];
    if (topic->in_use)
        return;
    topic->in_use = true;
    topic->due_ns = 0;
    pthread_cond_signal(&k->ask);
}

int kafka_topics_init(struct kafka *k, struct cbt_err *err)
{
    const char *template = k->options->topic;
    k->topic_is_fixed = strstr(template, "{type}") == NULL && strstr(template, "{event_type}") == NULL;
    char name[KAFKA_TOPIC_NAME_MAX + 1];
    make_name(k, name, CBT_TEXT(OTHER), CBT_TEXT(OTHER));
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return cbt_err_set(err, CBT_EINVAL, "topic = %s is no name for a topic", template);
    pthread_mutex_lock(&k->lock);
    uint16_t index = find_or_add(k, name);
    if (k->topic_is_fixed)
        use_topic(k, index);
    pthread_mutex_unlock(&k->lock);
    return CBT_OK;
}

static uint16_t look_up(struct kafka *k, const struct cbt_record *record)
{
    char name[KAFKA_TOPIC_NAME_MAX + 1];
    make_name(k, name, record->type_name, record->event_type_name);
    pthread_mutex_lock(&k->lock);
    uint16_t index = find_or_add(k, name);
    use_topic(k, index);
    pthread_mutex_unlock(&k->lock);
    return index;
}

static bool memo_is_of(const struct kafka_topic_memo *memo, struct cbt_text type, struct cbt_text event_type)
{
    return memo->topic != 0 && memo->type_len == type.len && memo->event_type_len == event_type.len &&
           memcmp(memo->text, type.data, type.len) == 0 &&
           memcmp(memo->text + type.len, event_type.data, event_type.len) == 0;
}

uint16_t kafka_topic_of(struct kafka *k, struct kafka_scratch *s, const struct cbt_record *record)
{
    if (k->topic_is_fixed)
        return 0;
    struct cbt_text type = record->type_name, event_type = record->event_type_name;
    if (type.len + event_type.len > sizeof(s->memos->text) || type.len == 0 || event_type.len == 0)
        return look_up(k, record);
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < type.len; i++)
        hash = (hash ^ type.data[i]) * 16777619u;
    struct kafka_topic_memo *memo = &s->memos[hash % KAFKA_MEMOS];
    if (memo_is_of(memo, type, event_type))
        return (uint16_t)(memo->topic - 1);
    uint16_t index = look_up(k, record);
    memo->topic = (uint16_t)(index + 1);
    memo->type_len = (uint8_t)type.len;
    memo->event_type_len = (uint8_t)event_type.len;
    memcpy(memo->text, type.data, type.len);
    memcpy(memo->text + type.len, event_type.data, event_type.len);
    return index;
}

void kafka_topic_lost(struct kafka *k, uint16_t index)
{
    struct kafka_topic *topic = &k->topics[index];
    if (atomic_exchange(&topic->partitions, 0) == 0)
        return;
    pthread_mutex_lock(&k->lock);
    topic->due_ns = 0;
    topic->fruitless = 0;
    pthread_cond_signal(&k->ask);
    pthread_mutex_unlock(&k->lock);
}

bool kafka_topics_known(struct kafka *k)
{
    bool known = true;
    pthread_mutex_lock(&k->lock);
    uint32_t count = atomic_load(&k->topic_count);
    for (uint32_t i = 0; i < count; i++)
        known = known && (!k->topics[i].in_use || atomic_load(&k->topics[i].partitions) != 0);
    pthread_mutex_unlock(&k->lock);
    return known;
}
