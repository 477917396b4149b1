/* SPDX-License-Identifier: MIT */
/*
 * From a file's body to its events, as a worker of the daemon does it (decode/worker.c): the filter acts
 * before validity is judged, a part that cannot be decoded is reported and its neighbours go on, and after
 * 100 such parts the rest of the body is one.
 */
#include <string.h>

#include "cbtap/log.h"
#include "cli/export.h"

static const struct cbt_text json_type = {(const uint8_t *)"application/json", 16};
/* Said, so that what begins like JSON is not taken for a notification: these have an option of their own. */
static const struct cbt_text protobuf_type = {(const uint8_t *)"application/protobuf", 20};

static void leave_out(struct cbt_export_job *job, const struct cbt_export_place *place,
                      const struct cbt_part *part, const char *text, struct cbt_export_count *count)
{
    const char *reason = cbt_dead_reason_name(part->reason);
    count->dead_letters++;
    job->set_aside = true;
    if (!*text)
        text = cbt_dead_reason_text(part->reason);
    if (place->line > 0)
        cbt_log_error("left out", CBT_S("file", place->file), CBT_I("line", place->line),
                      CBT_I("offset", place->offset), CBT_S("reason", reason), CBT_S("text", text));
    else
        cbt_log_error("left out", CBT_S("file", place->file), CBT_I("entry", part->entry),
                      CBT_I("record", part->index), CBT_I("offset", part->offset), CBT_S("reason", reason),
                      CBT_S("text", text));
}

/* Appends the event as a line, or as a record of a bundle; what fails half-way is taken back. */
static int append(struct cbt_export_job *job, const struct cbt_event *event, struct cbt_err *err)
{
    struct cbt_buf *buf = &job->out.buf;
    bool with_length = job->x->lengths && event->type != CBT_TYPE_NOTIFICATION;
    size_t at = (size_t)(buf->pos - job->out.memory);
    buf->begin = buf->pos;
    if (with_length)
        cbt_buf_put(buf, (const uint8_t[4]){0}, 4);
    int rc = job->x->format->encode(job->x->format_self, event, buf, err);
    if (!with_length)
        cbt_buf_put(buf, "\n", 1);
    if (rc == 0 && buf->failed)
        rc = cbt_err_set(err, CBT_ELIMIT, "the output is too large");
    if (rc != 0) {
        buf->pos = job->out.memory + at;
        return rc;
    }
    if (with_length) {
        uint8_t *length = job->out.memory + at;
        size_t len = (size_t)(buf->pos - length) - 4;
        for (unsigned i = 0; i < 4; i++)
            length[i] = (uint8_t)(len >> (8 * i));
    }
    return 0;
}

static bool emit(struct cbt_export_job *job, const struct cbt_export_place *place, struct cbt_part *part,
                 const struct cbt_event *event)
{
    struct cbt_export_count *count = &job->counts[event->type];
    struct cbt_err err = {0};
    if (!cbt_selection_takes(&job->x->selection, event)) {
        count->filtered++;
        return true;
    }
    int rc = append(job, event, &err);
    if (rc == 0) {
        count->events++;
        return cbt_export_write(&job->out, false);
    }
    part->reason = rc != CBT_ELIMIT      ? CBT_DEAD_malformed
                   : job->out.buf.failed ? CBT_DEAD_record_too_large
                                         : CBT_DEAD_too_complex;
    job->out.buf.failed = false;
    leave_out(job, place, part, err.text, count);
    return true;
}

static bool take_event(struct cbt_export_job *job, const struct cbt_export_place *place,
                       struct cbt_part *part, unsigned *broken)
{
    enum cbt_event_type type = cbt_peek_type(part->data);
    struct cbt_export_count *count = &job->counts[type];
    if (type == CBT_TYPE_stats || !cbt_filter_takes(job->x->filter, type)) {
        count->filtered++;
        return true;
    }
    struct cbt_event event;
    struct cbt_err err = {0};
    if (cbt_decode_event(job->decoder, part->data, &job->env, &event, &part->reason, &err) != 0) {
        (*broken)++;
        leave_out(job, place, part, err.text, count);
        return true;
    }
    return emit(job, place, part, &event);
}

static bool take_notification(struct cbt_export_job *job, const struct cbt_export_place *place,
                              struct cbt_part *part, unsigned *broken)
{
    struct cbt_export_count *count = &job->counts[CBT_TYPE_NOTIFICATION];
    struct cbt_text type;
    if (cbt_notification_type(job->decoder, job->x->routing_key, &type) &&
        !cbt_filter_takes_name(job->x->filter, type)) {
        count->filtered++;
        return true;
    }
    size_t cursor = 0;
    for (;;) {
        struct cbt_event event;
        struct cbt_err err = {0};
        int rc = cbt_decode_notification(job->decoder, part->data, job->x->routing_key, &cursor, &event,
                                         &part->reason, &err);
        if (rc == 0)
            return true;
        if (rc < 0) {
            (*broken)++;
            leave_out(job, place, part, err.text, count);
            return true;
        }
        if (!emit(job, place, part, &event))
            return false;
    }
}

static bool take_body(struct cbt_export_job *job, const struct cbt_export_place *place, struct cbt_text body,
                      struct cbt_text content_type)
{
    struct cbt_part part;
    unsigned broken = 0;
    bool goes_on = true;
    cbt_walk_start(job->walk, body, content_type, CBT_FRAMING_DETECT);
    while (goes_on && cbt_walk_next(job->walk, &part)) {
        if (broken == CBT_BROKEN_PARTS_MAX) {
            part.reason = CBT_DEAD_too_many_broken;
            leave_out(job, place, &part, "", &job->counts[CBT_TYPE_NOTIFICATION]);
            break;
        }
        if (part.kind == CBT_PART_EVENT) {
            goes_on = take_event(job, place, &part, &broken);
        } else if (part.kind == CBT_PART_NOTIFICATION) {
            goes_on = take_notification(job, place, &part, &broken);
        } else {
            broken++;
            leave_out(job, place, &part, "", &job->counts[CBT_TYPE_NOTIFICATION]);
        }
    }
    return goes_on;
}

bool cbt_export_sensor_events(struct cbt_export_job *job, const char *file, struct cbt_text body)
{
    return take_body(job, &(struct cbt_export_place){.file = file}, body, protobuf_type);
}

static bool is_blank(struct cbt_text line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r')
            return false;
    return true;
}

bool cbt_export_notifications(struct cbt_export_job *job, const char *file, struct cbt_text lines)
{
    struct cbt_export_place place = {.file = file};
    while (place.offset < lines.len) {
        const uint8_t *at = lines.data + place.offset;
        size_t left = lines.len - place.offset;
        const uint8_t *newline = memchr(at, '\n', left);
        struct cbt_text line = {at, newline ? (size_t)(newline - at) : left};
        place.line++;
        if (!is_blank(line) && !take_body(job, &place, line, json_type))
            return false;
        place.offset += line.len + 1;
    }
    return true;
}
