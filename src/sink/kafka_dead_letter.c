/* SPDX-License-Identifier: MIT */
/*
 * Dead letters: raw bytes to the dead-letter topic, with headers that say what, where from and why.
 *
 * Happy path: a producer of their own, made with the first one and ended after a minute without, sends each
 * as a batch of its own; its report settles what it was made from. Failure: what the topic does not take
 * (missing, not allowed, too large) goes to dead_letter_dir, which settles, too. Where that fails as well, it
 * stays and is tried again every few seconds, topic first; what it was made from stays unsettled, which is
 * visible, and is logged once. Owns: the `dead` of events that Kafka refused.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/dead_letter.h"
#include "sink/kafka.h"

#define RETRY_MS      5000
#define IDLE_MS       60000
#define TOPIC_BAD_MS  30000
#define UNDER_WAY_MS  50 /* reports of this producer do not wake the delivery thread: it looks so often */
#define STEP_RECORDS  256
#define STEP_MS       20 /* a file costs three flushes to the disk; reports of events must not wait for many */
#define CLOSE_STEP_MS 20
#define DETAIL_BYTES  256

/* The `dead` of an event that Kafka refused. */
struct refused {
    struct cbt_dead_letter dead;
    char detail[DETAIL_BYTES];
};

static void add_waiting(struct kafka *k, struct cbt_record *record)
{
    struct kafka_dead_letters *d = &k->dead;
    record->next = NULL;
    *d->waiting_end = record;
    d->waiting_end = &record->next;
}

static void free_refused(struct cbt_record *record)
{
    if (record->state != KAFKA_REFUSED)
        return;
    free(kafka_bytes(record->dead));
    record->dead = NULL;
}

/* It is kept somewhere: one less that its frame waits for. */
static void done(struct kafka *k, struct cbt_record *record, enum cbt_counter counter)
{
    struct cbt_frame *frame = record->frame;
    cbt_count(k->context.stats, counter, 1);
    free_refused(record);
    kafka_settle(k, frame);
}

void kafka_dead_add(struct kafka *k, struct cbt_record *record)
{
    record->tries = 0;
    add_waiting(k, record);
}

void kafka_dead_refuse(struct kafka *k, struct cbt_record *record, const char *why)
{
    static const struct cbt_dead_letter nameless = {
        .reason = CBT_DEAD_refused, .detail = "Kafka refused it, and there was no memory to say why"};
    const struct kafka_topic *topic = &k->topics[record->topic];
    struct refused *refused = calloc(1, sizeof(*refused));
    record->state = KAFKA_FRESH;
    record->dead = &nameless;
    if (refused != NULL) {
        snprintf(refused->detail, sizeof(refused->detail),
                 "%s: %" PRIu64 " bytes in a batch of its own, and topic %.100s takes %" PRIu32, why,
                 kafka_record_bytes(record, k->headers), topic->name, atomic_load(&topic->max_bytes));
        refused->dead = (struct cbt_dead_letter){.reason = CBT_DEAD_refused, .detail = refused->detail};
        record->dead = &refused->dead;
        record->state = KAFKA_REFUSED;
    }
    /* As an event it is done with; it goes on as a dead letter. */
    cbt_count(k->context.stats, CBT_COUNT_settled_records, 1);
    cbt_add(&k->context.stats->dead[CBT_DEAD_refused], 1);
    cbt_frame_note_dead(record->frame, CBT_DEAD_refused);
    kafka_dead_add(k, record);
}

/* ---- the topic ---- */

static void add_text(rd_kafka_headers_t *headers, const char *name, struct cbt_text text)
{
    rd_kafka_header_add(headers, name, -1, text.data, (ssize_t)text.len);
}

static void add_string(rd_kafka_headers_t *headers, const char *name, const char *text)
{
    rd_kafka_header_add(headers, name, -1, text, -1);
}

static void add_number(rd_kafka_headers_t *headers, const char *name, int64_t number)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, number);
    add_string(headers, name, text);
}

/* Where it stood, as the walk found it, and how it is to be read; an event that was refused is encoded and
 * has lost that, but has a topic and a type. */
static void add_place(struct kafka *k, rd_kafka_headers_t *headers, const struct cbt_record *record)
{
    char position[96];
    const struct cbt_dead_letter *dead = record->dead;
    if (dead->reason == CBT_DEAD_refused) {
        add_string(headers, "topic", k->topics[record->topic].name);
        add_text(headers, "type", record->type_name);
        return;
    }
    if (record->frame->file.len != 0)
        add_text(headers, "file", record->frame->file);
    snprintf(position, sizeof(position), "entry %" PRIu32 " record %" PRIu32 " offset %" PRIu64, dead->entry,
             dead->index, dead->offset);
    add_string(headers, "position", position);
    add_number(headers, "entry", dead->entry);
    add_number(headers, "index", dead->index);
    add_number(headers, "offset", (int64_t)dead->offset);
    add_string(headers, "framing", cbt_framing_name(dead->framing));
}

static rd_kafka_headers_t *make_headers(struct kafka *k, const struct cbt_record *record)
{
    const struct cbt_frame *frame = record->frame;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(16);
    add_string(headers, "reason", cbt_dead_reason_name(record->dead->reason));
    add_string(headers, "detail", record->dead->detail);
    add_string(headers, "source", dead_letter_source(frame));
    add_text(headers, "routing_key", frame->routing_key);
    add_text(headers, "content_type", frame->content_type);
    add_place(k, headers, record);
    add_number(headers, "sensor_id", record->sensor_id);
    if (frame->env.has_host_name)
        add_text(headers, "host_name", frame->env.host_name);
    if (frame->env.has_host_id)
        add_number(headers, "host_id", frame->env.host_id);
    if (frame->env.has_node_id)
        add_number(headers, "node_id", frame->env.node_id);
    add_number(headers, "arrived_unix_ms", frame->arrived_wall_ms);
    if (frame->replays != 0)
        add_number(headers, "replays", frame->replays);
    return headers;
}

/* The topic itself is at fault, not the one letter. */
static bool is_the_topics(rd_kafka_resp_err_t failed)
{
    return failed != RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE && failed != RD_KAFKA_RESP_ERR_INVALID_MSG &&
           failed != RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE && failed != RD_KAFKA_RESP_ERR_INVALID_RECORD;
}

static void topic_failed(struct kafka *k, rd_kafka_resp_err_t failed, int64_t now_ns)
{
    struct kafka_dead_letters *d = &k->dead;
    d->topic_error = failed;
    if (!is_the_topics(failed))
        return;
    d->topic_bad_until_ns = now_ns + TOPIC_BAD_MS * KAFKA_NS_PER_MS;
    if (!d->told)
        cbt_log_warning("the dead-letter topic does not take dead letters; they go to dead_letter_dir",
                        CBT_S("sink", k->name), CBT_S("topic", k->options->dead_letter_topic),
                        CBT_S("reason", rd_kafka_err2str(failed)),
                        CBT_S("dead_letter_dir", k->options->dead_letter_dir));
    d->told = true;
}

static void report_cb(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    struct kafka *k = opaque;
    struct cbt_record *record = message->_private;
    k->dead.under_way--;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (k->dead.told || k->dead.stuck)
            cbt_log_info("the dead-letter topic takes dead letters again", CBT_S("sink", k->name));
        k->dead.told = k->dead.stuck = false;
        done(k, record, CBT_COUNT_delivered_dead_letters);
        return;
    }
    if (k->dead.renew) {
        add_waiting(k, record);
        return;
    }
    topic_failed(k, message->err, cbt_now_ns());
    record->tries = 1; /* the topic had its chance: now the directory */
    add_waiting(k, record);
}

static void error_cb(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    (void)rk;
    const struct kafka *k = opaque;
    cbt_log_debug("the producer of dead letters", CBT_S("sink", k->name),
                  CBT_S("error", rd_kafka_err2name((rd_kafka_resp_err_t)code)), CBT_S("reason", reason));
}

static rd_kafka_t *make_producer(struct kafka *k)
{
    const struct kafka_limits limits = {.inflight_bytes = k->context.options->inflight_bytes,
                                        .batch_bytes = KAFKA_BATCH_BYTES,
                                        .message_max_bytes = KAFKA_TOPIC_MAX_BYTES};
    struct cbt_err err = {0};
    rd_kafka_conf_t *conf = kafka_conf_new(k->context.config, KAFKA_ROLE_DEAD, &limits, &err);
    rd_kafka_t *rk = NULL;
    if (conf != NULL) {
        rd_kafka_conf_set_opaque(conf, k);
        rd_kafka_conf_set_dr_msg_cb(conf, report_cb);
        rd_kafka_conf_set_error_cb(conf, error_cb);
        rk = kafka_new(conf, &err);
    }
    if (rk == NULL)
        cbt_log_error("cannot make the producer of dead letters", CBT_S("sink", k->name),
                      CBT_S("reason", err.text));
    return rk;
}

static rd_kafka_resp_err_t produce(struct kafka *k, struct cbt_record *record)
{
    struct kafka_dead_letters *d = &k->dead;
    if (d->rk == NULL && (d->rk = make_producer(k)) == NULL)
        return RD_KAFKA_RESP_ERR__FAIL;
    rd_kafka_headers_t *headers = make_headers(k, record);
    rd_kafka_resp_err_t failed =
        rd_kafka_producev(d->rk, RD_KAFKA_V_TOPIC(k->options->dead_letter_topic),
                          RD_KAFKA_V_VALUE(kafka_bytes(record->value), record->value_len),
                          RD_KAFKA_V_KEY(record->key, record->key_len), RD_KAFKA_V_HEADERS(headers),
                          RD_KAFKA_V_OPAQUE(record), RD_KAFKA_V_END);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(headers);
    d->used_ns = cbt_now_ns();
    return failed;
}

/* An instance of librdkafka costs threads and connections, and dead letters are rare. */
static void close_idle_producer(struct kafka *k, int64_t now_ns)
{
    struct kafka_dead_letters *d = &k->dead;
    if (d->rk == NULL || d->under_way != 0 || d->waiting != NULL ||
        now_ns - d->used_ns < IDLE_MS * KAFKA_NS_PER_MS)
        return;
    rd_kafka_destroy(d->rk);
    d->rk = NULL;
}

/* True when the producer is gone that was to go. */
static bool end_old_producer(struct kafka_dead_letters *d)
{
    if (d->rk != NULL && rd_kafka_outq_len(d->rk) > 0) {
        rd_kafka_purge(d->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_poll(d->rk, 0);
    }
    if (d->under_way != 0)
        return false;
    if (d->rk != NULL)
        rd_kafka_destroy(d->rk);
    d->rk = NULL;
    d->renew = false;
    return true;
}

/* ---- the directory ---- */

static void stuck(struct kafka *k, int64_t now_ns, const char *reason)
{
    struct kafka_dead_letters *d = &k->dead;
    d->retry_ns = now_ns + RETRY_MS * KAFKA_NS_PER_MS;
    d->topic_bad_until_ns = 0; /* the topic first */
    if (!d->stuck)
        cbt_log_error("a dead letter can be kept nowhere: what it was made from stays unacknowledged, and "
                      "reading will stop; "
                      "trying again every 5 s",
                      CBT_S("sink", k->name), CBT_S("topic", k->options->dead_letter_topic),
                      CBT_S("topic_error", rd_kafka_err2str(d->topic_error)), CBT_S("dir_error", reason));
    d->stuck = true;
}

/* Sends or stores one. False: not now. */
static bool serve_one(struct kafka *k, struct cbt_record *record, int64_t now_ns)
{
    struct kafka_dead_letters *d = &k->dead;
    if (k->options->dead_letter_topic[0] != '\0' && record->tries == 0 && now_ns >= d->topic_bad_until_ns) {
        rd_kafka_resp_err_t failed = produce(k, record);
        if (failed == RD_KAFKA_RESP_ERR_NO_ERROR)
            d->under_way++;
        if (failed == RD_KAFKA_RESP_ERR_NO_ERROR || failed == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return failed == RD_KAFKA_RESP_ERR_NO_ERROR;
        topic_failed(k, failed, now_ns);
    }
    struct cbt_err err = {0};
    if (dead_letter_store(k->options->dead_letter_dir, record, &err) != 0) {
        record->tries = 0;
        stuck(k, now_ns, err.text);
        return false;
    }
    if (d->stuck)
        cbt_log_info("dead letters are kept again", CBT_S("sink", k->name));
    d->stuck = false;
    done(k, record, CBT_COUNT_stored_dead_letters);
    return true;
}

void kafka_dead_serve(struct kafka *k, int64_t now_ns)
{
    struct kafka_dead_letters *d = &k->dead;
    if (d->under_way != 0)
        rd_kafka_poll(d->rk, 0);
    if (d->renew && !end_old_producer(d))
        return;
    close_idle_producer(k, now_ns);
    if (d->waiting == NULL || now_ns < d->retry_ns)
        return;
    d->retry_ns = 0;
    int64_t until = now_ns + STEP_MS * KAFKA_NS_PER_MS;
    for (unsigned i = 0; i < STEP_RECORDS && d->waiting != NULL && cbt_now_ns() < until; i++) {
        struct cbt_record *record = d->waiting, *next = record->next; /* once it is sent it may be gone */
        if (!serve_one(k, record, now_ns))
            break;
        d->waiting = next;
        if (next == NULL)
            d->waiting_end = &d->waiting;
    }
}

int kafka_dead_sleep_ms(const struct kafka *k, int64_t now_ns)
{
    const struct kafka_dead_letters *d = &k->dead;
    if (d->waiting != NULL && d->retry_ns <= now_ns)
        return d->under_way != 0 ? 1 : 0;
    if (d->under_way != 0)
        return UNDER_WAY_MS;
    return d->waiting != NULL ? (int)((d->retry_ns - now_ns) / KAFKA_NS_PER_MS) + 1 : INT32_MAX;
}

void kafka_dead_close(struct kafka *k)
{
    struct kafka_dead_letters *d = &k->dead;
    if (d->rk != NULL) {
        while (rd_kafka_outq_len(d->rk) > 0) {
            rd_kafka_purge(d->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
            rd_kafka_poll(d->rk, CLOSE_STEP_MS);
        }
        rd_kafka_destroy(d->rk);
        d->rk = NULL;
    }
    for (struct cbt_record *record = d->waiting; record != NULL; record = record->next)
        free_refused(record);
    d->waiting = NULL;
    d->waiting_end = &d->waiting;
}
