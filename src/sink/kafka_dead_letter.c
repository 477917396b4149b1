/* SPDX-License-Identifier: MIT */
/*
 * Dead letters: raw bytes to the dead-letter topic, with headers that say what, where from and why; where
 * that fails, to dead_letter_dir; where that fails, too, they wait and are tried again, and what they were
 * made from stays unsettled.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/dead_letter_dir.h"
#include "cbtap/log.h"
#include "cbtap/source.h"
#include "sink/kafka.h"

#define RETRY_MS 5000

/* The `dead` of an event that Kafka refused: the sink's own memory. */
struct refused {
    struct cbt_dead_letter dead;
    char detail[200];
};

void kafka_free_dead(struct cbt_record *record)
{
    if (record->state != KAFKA_REFUSED)
        return;
    free((void *)(uintptr_t)record->dead);
    record->dead = NULL;
}

static void add_text(rd_kafka_headers_t *headers, const char *name, const void *text, size_t len)
{
    rd_kafka_header_add(headers, name, -1, text, (ssize_t)len);
}

static void add_number(rd_kafka_headers_t *headers, const char *name, long long number)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%lld", number);
    add_text(headers, name, text, (size_t)len);
}

static rd_kafka_headers_t *make_headers(const struct cbt_record *record)
{
    const struct cbt_frame *frame = record->frame;
    const struct cbt_dead_letter *dead = record->dead;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(16);
    const char *reason = cbt_dead_reason_name(dead->reason);
    const char *source = frame->receiver != NULL ? cbt_receiver_name(frame->receiver) : "";
    char position[96];
    int len = snprintf(position, sizeof(position), "entry %u record %u offset %llu", dead->entry, dead->index,
                       (unsigned long long)dead->offset);
    add_text(headers, "reason", reason, strlen(reason));
    add_text(headers, "detail", dead->detail, strlen(dead->detail));
    add_text(headers, "source", source, strlen(source));
    add_text(headers, "routing_key", frame->routing_key.data, frame->routing_key.len);
    add_text(headers, "content_type", frame->content_type.data, frame->content_type.len);
    add_text(headers, "position", position, (size_t)len);
    add_number(headers, "sensor_id", record->sensor_id);
    add_text(headers, "host_name", frame->env.host_name.data, frame->env.host_name.len);
    add_number(headers, "host_id", frame->env.host_id);
    add_number(headers, "node_id", frame->env.node_id);
    add_number(headers, "framing", frame->framing);
    return headers;
}

rd_kafka_resp_err_t kafka_produce_dead(struct kafka *k, struct cbt_record *record)
{
    if (k->dead_letter_topic == NULL)
        return RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    rd_kafka_headers_t *headers = make_headers(record);
    rd_kafka_resp_err_t failed =
        rd_kafka_producev(k->producer, RD_KAFKA_V_RKT(k->dead_letter_topic),
                          RD_KAFKA_V_VALUE((void *)(uintptr_t)record->value, record->value_len),
                          RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(record), RD_KAFKA_V_END);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(headers);
    return failed;
}

static int write_file(struct kafka *k, const struct cbt_record *record, struct cbt_err *err)
{
    const char *dir = k->options->dead_letter_dir;
    if (dir[0] == '\0')
        return cbt_err_set(err, CBT_EINVAL, "there is no dead_letter_dir");
    const struct cbt_frame *frame = record->frame;
    const struct cbt_dead_letter_info info = {
        .reason = cbt_dead_reason_name(record->dead->reason),
        .detail = record->dead->detail,
        .source = frame->receiver != NULL ? cbt_receiver_name(frame->receiver) : "",
        .routing_key = frame->routing_key,
        .content_type = frame->content_type,
        .host_name = frame->env.host_name,
        .sensor_id = record->sensor_id,
        .entry = record->dead->entry,
        .index = record->dead->index,
        .offset = record->dead->offset,
    };
    struct cbt_dead_letter_file *file = NULL;
    int rc = cbt_dead_letter_begin(&file, dir, &info, err);
    if (rc != 0)
        return rc;
    if ((rc = cbt_dead_letter_append(file, record->value, record->value_len, err)) != 0) {
        cbt_dead_letter_abort(file);
        return rc;
    }
    return cbt_dead_letter_commit(file, err);
}

void kafka_store_dead(struct kafka *k, struct cbt_record *record, const char *why)
{
    struct cbt_err err = {0};
    if (write_file(k, record, &err) == 0) {
        cbt_count(k->context.stats, CBT_COUNT_stored_dead_letters, 1);
        kafka_free_dead(record);
        kafka_settle_one(k, record);
        k->dead_logged = false;
        return;
    }
    if (!k->dead_logged)
        cbt_log_error(
            "a dead letter can be kept nowhere: it stays unacknowledged, and the stream will stop behind it",
            CBT_S("sink", k->context.config->name), CBT_S("topic", k->options->dead_letter_topic),
            CBT_S("topic_error", why), CBT_S("dead_letter_dir", k->options->dead_letter_dir),
            CBT_S("dir_error", err.text));
    k->dead_logged = true;
    record->next = k->dead_waiting;
    k->dead_waiting = record;
}

void kafka_refuse(struct kafka *k, struct cbt_record *record, const char *why)
{
    struct refused *refused = calloc(1, sizeof(*refused));
    if (refused == NULL) {
        /* Tried again by the next recovery, when there is memory. */
        record->next = k->unconfirmed;
        k->unconfirmed = record;
        k->unconfirmed_count++;
        kafka_want_recovery(k, "no memory for a dead letter", false);
        return;
    }
    snprintf(refused->detail, sizeof(refused->detail), "%.100s (%u bytes for topic %.60s)", why,
             record->value_len, kafka_topic_of(k, record)->name);
    refused->dead = (struct cbt_dead_letter){.reason = CBT_DEAD_refused, .detail = refused->detail};
    record->dead = &refused->dead;
    record->state = KAFKA_REFUSED;
    cbt_add(&k->context.stats->dead[CBT_DEAD_refused], 1);
    cbt_count(k->context.stats, CBT_COUNT_settled_records, 1);
    rd_kafka_resp_err_t failed = kafka_produce_dead(k, record);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        kafka_store_dead(k, record, rd_kafka_err2str(failed));
}

/* Takes what workers handed over, oldest first. */
static struct cbt_record *take_list(struct cbt_record **list)
{
    struct cbt_record *reversed = *list, *ordered = NULL;
    *list = NULL;
    while (reversed != NULL) {
        struct cbt_record *next = reversed->next;
        reversed->next = ordered;
        ordered = reversed;
        reversed = next;
    }
    return ordered;
}

void kafka_serve_dead(struct kafka *k, int64_t now_ns)
{
    struct cbt_record *refused = NULL, *undelivered = NULL;
    if (atomic_exchange(&k->handed, false)) {
        pthread_mutex_lock(&k->lock);
        refused = take_list(&k->refused);
        undelivered = take_list(&k->undelivered_dead);
        pthread_mutex_unlock(&k->lock);
    }
    for (struct cbt_record *next; refused != NULL; refused = next) {
        next = refused->next;
        kafka_refuse(k, refused, "larger than the topic takes");
    }
    for (struct cbt_record *next; undelivered != NULL; undelivered = next) {
        next = undelivered->next;
        kafka_store_dead(k, undelivered, "the producer does not take it");
    }
    if (k->dead_waiting == NULL || now_ns < k->dead_retry_ns)
        return;
    k->dead_retry_ns = now_ns + RETRY_MS * INT64_C(1000000);
    struct cbt_record *waiting = take_list(&k->dead_waiting);
    for (struct cbt_record *next; waiting != NULL; waiting = next) {
        next = waiting->next;
        rd_kafka_resp_err_t failed = kafka_produce_dead(k, waiting);
        if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
            kafka_store_dead(k, waiting, rd_kafka_err2str(failed));
    }
}
