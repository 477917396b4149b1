/* SPDX-License-Identifier: MIT */
/*
 * What would become of a letter: the walk, the filter, decoding and the first sink's format as a worker
 * applies them (decode/worker.c), with nothing sent. What only Kafka can refuse it cannot know.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/dlq.h"
#include "cli/out_buf.h"
#include "decode/limits.h"

#define FIRST_BYTES 65536u

struct cbt_dlq_judge {
    struct cbt_walk *walk;
    struct cbt_decoder *decoder;
    struct cbt_filter *filter;
    const struct cbt_format *format;
    void *format_self;
    uint32_t records_max;
    struct cbt_buf buf;
    uint8_t *memory; /* of buf */

    /* The letter at hand. */
    struct cbt_environment env;
    struct cbt_text routing_key;
    struct cbt_dlq_verdict *verdict;
};

int cbt_dlq_judge_new(struct cbt_dlq_judge **ret_judge, const struct cbt_dlq *dlq, struct cbt_err *err)
{
    const struct cbt_config *config = dlq->config;
    const struct cbt_decode_limits limits = cbt_decode_limits_of(&config->decode);
    const struct cbt_format_options options = {.server_name = config->cbtap.server_name,
                                               .server_url = config->cbtap.server_url,
                                               .float_time = config->filter.float_time,
                                               .profile = dlq->sink->json_profile};
    struct cbt_dlq_judge *j = calloc(1, sizeof *j);
    if (j == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    j->records_max = limits.records_max;
    j->format = cbt_format_find(dlq->sink->format);
    int rc = CBT_OK;
    if (j->format == NULL)
        rc = cbt_err_set(err, CBT_EUNBUILT, "[sink.%s] format = %s is not built in this version",
                         dlq->sink->name, dlq->sink->format);
    else
        rc = j->format->open(&j->format_self, &options, err);
    if (rc == 0)
        rc = cbt_out_buf_init(&j->buf, &j->memory, FIRST_BYTES, err);
    if (rc == 0)
        rc = cbt_filter_new(&j->filter, config->filter.types, config->filter.drop, err);
    if (rc == 0)
        rc = cbt_walk_new(&j->walk, &limits, err);
    if (rc == 0)
        rc = cbt_decoder_new(&j->decoder, &limits, err);
    if (rc != 0) {
        cbt_dlq_judge_free(j);
        return rc;
    }
    *ret_judge = j;
    return CBT_OK;
}

void cbt_dlq_judge_free(struct cbt_dlq_judge *j)
{
    if (j == NULL)
        return;
    if (j->format_self != NULL)
        j->format->close(j->format_self);
    cbt_decoder_free(j->decoder);
    cbt_walk_free(j->walk);
    cbt_filter_free(j->filter);
    free(j->memory);
    free(j);
}

static void condemn(struct cbt_dlq_judge *j, enum cbt_dead_reason reason, const char *text)
{
    if (j->verdict->broken++ > 0)
        return;
    j->verdict->reason = reason;
    snprintf(j->verdict->text, sizeof j->verdict->text, "%s", *text ? text : cbt_dead_reason_text(reason));
}

static void encode(struct cbt_dlq_judge *j, const struct cbt_event *event)
{
    struct cbt_err err = {0};
    j->buf.pos = j->buf.begin;
    j->buf.failed = false;
    int rc = j->format->encode(j->format_self, event, &j->buf, &err);
    if (rc == 0 && !j->buf.failed)
        j->verdict->events++;
    else
        condemn(j,
                rc == CBT_EINVAL          ? CBT_DEAD_malformed
                : event->arena->exhausted ? CBT_DEAD_too_complex
                                          : CBT_DEAD_record_too_large,
                err.text);
}

static void judge_event(struct cbt_dlq_judge *j, struct cbt_part *part)
{
    enum cbt_event_type type = cbt_peek_type(part->data);
    struct cbt_event event;
    struct cbt_err err = {0};
    if (type == CBT_TYPE_stats || !cbt_filter_takes(j->filter, type)) {
        j->verdict->filtered++;
    } else if (cbt_decode_event(j->decoder, part->data, &j->env, &event, &part->reason, &err) != 0) {
        condemn(j, part->reason, err.text);
    } else {
        event.routing_key = j->routing_key;
        encode(j, &event);
    }
}

static void judge_notification(struct cbt_dlq_judge *j, struct cbt_part *part)
{
    struct cbt_text type;
    struct cbt_event event;
    struct cbt_err err = {0};
    size_t cursor = 0;
    int rc;
    if (cbt_notification_type(j->decoder, j->routing_key, &type) && !cbt_filter_takes_name(j->filter, type)) {
        j->verdict->filtered++;
        return;
    }
    while ((rc = cbt_decode_notification(j->decoder, part->data, j->routing_key, &cursor, &event,
                                         &part->reason, &err)) > 0)
        encode(j, &event);
    if (rc < 0)
        condemn(j, part->reason, err.text);
}

struct cbt_environment cbt_dlq_environment(const struct cbt_dlq_letter *letter)
{
    struct cbt_environment env = {.host_name = cbt_dlq_text(letter, "host_name")};
    int64_t number;
    /* 0 stands for a sensor that is not known. */
    if (cbt_dlq_number(letter, "sensor_id", &number) && number != 0) {
        env.sensor_id = (int32_t)number;
        env.has_sensor_id = number >= INT32_MIN && number <= INT32_MAX;
    }
    if (cbt_dlq_number(letter, "node_id", &number) && number >= INT32_MIN && number <= INT32_MAX) {
        env.node_id = (int32_t)number;
        env.has_node_id = true;
    }
    env.has_host_id = cbt_dlq_number(letter, "host_id", &env.host_id);
    env.has_host_name = env.host_name.len > 0;
    return env;
}

bool cbt_dlq_is_poison(const struct cbt_dlq_letter *letter)
{
    return cbt_dlq_equals(cbt_dlq_text(letter, "reason"), cbt_dead_reason_name(CBT_DEAD_poison));
}

void cbt_dlq_judge(struct cbt_dlq_judge *j, struct cbt_dlq *dlq, struct cbt_dlq_letter *letter,
                   struct cbt_dlq_verdict *ret_verdict)
{
    struct cbt_part part;
    struct cbt_err err = {0};
    enum cbt_framing framing = CBT_FRAMING_DETECT;
    uint32_t records = 0;
    *ret_verdict = (struct cbt_dlq_verdict){0};
    j->verdict = ret_verdict;
    if (!cbt_dlq_framing(letter, &framing) || cbt_dlq_load(dlq, letter, &err) != 0) {
        ret_verdict->unfit = true;
        snprintf(ret_verdict->text, sizeof ret_verdict->text, "%s",
                 *err.text ? err.text
                           : "it is an encoded event that Kafka refused: let its topic take it "
                             "(max.message.bytes) and produce what show --raw writes");
        return;
    }
    if (cbt_dlq_is_poison(letter)) {
        ret_verdict->untried = true;
        return;
    }
    j->env = cbt_dlq_environment(letter);
    j->routing_key = cbt_dlq_text(letter, "routing_key");
    cbt_walk_start(j->walk, letter->value, cbt_dlq_text(letter, "content_type"), framing);
    while (cbt_walk_next(j->walk, &part)) {
        if (ret_verdict->broken >= CBT_BROKEN_PARTS_MAX ||
            (j->records_max != 0 && records == j->records_max)) {
            condemn(j, records == j->records_max ? CBT_DEAD_too_many_records : CBT_DEAD_too_many_broken, "");
            break;
        }
        records++;
        if (part.kind == CBT_PART_EVENT)
            judge_event(j, &part);
        else if (part.kind == CBT_PART_NOTIFICATION)
            judge_notification(j, &part);
        else
            condemn(j, part.reason, "");
    }
    cbt_walk_stop(j->walk);
    cbt_decoder_stop(j->decoder);
}

void cbt_dlq_verdict_text(const struct cbt_dlq_verdict *v, char *ret_text, size_t text_bytes)
{
    if (v->unfit) {
        snprintf(ret_text, text_bytes, "not to be replayed: %s", v->text);
        return;
    }
    if (v->untried) {
        snprintf(ret_text, text_bytes,
                 "not tried, for decoding it ended the daemon: replay it by its place, alone, with a version "
                 "in which that is mended");
        return;
    }
    int len = snprintf(ret_text, text_bytes, "%" PRIu64 " event%s, %" PRIu64 " filtered, %" PRIu64 " broken",
                       v->events, v->events == 1 ? "" : "s", v->filtered, v->broken);
    if (v->broken > 0 && len > 0 && (size_t)len < text_bytes)
        snprintf(ret_text + len, text_bytes - (size_t)len, ": %s (%s)", cbt_dead_reason_name(v->reason),
                 v->text);
}
