/* SPDX-License-Identifier: MIT */
/*
 * From a piece of a file to its events, as a worker of the daemon does it (decode/worker.c): the filter acts
 * before validity is judged, a part that cannot be decoded is reported and its neighbours go on, and after
 * 100 such parts the rest of the piece is one.
 */
#include <string.h>

#include "cbtap/log.h"
#include "cli/export.h"

static const struct cbt_text json_type = {(const uint8_t *)"application/json", 16};
/* Said, so that what begins like JSON is not taken for a notification: these have an option of their own. */
static const struct cbt_text protobuf_type = {(const uint8_t *)"application/protobuf", 20};

static void say(const struct cbt_export_place *place, uint64_t entry, uint64_t record, uint64_t offset,
                const char *reason, const char *text)
{
    if (place->line > 0)
        cbt_log_error("left out", CBT_S("file", place->file), CBT_I("line", place->line),
                      CBT_I("offset", place->offset), CBT_S("reason", reason), CBT_S("text", text));
    else
        cbt_log_error("left out", CBT_S("file", place->file), CBT_I("entry", entry),
                      CBT_I("record", place->record + record), CBT_I("offset", place->offset + offset),
                      CBT_S("reason", reason), CBT_S("text", text));
}

static void leave_out(struct cbt_export_job *job, const struct cbt_export_place *place,
                      const struct cbt_part *part, const char *text, struct cbt_export_count *count)
{
    count->dead_letters++;
    job->in.left_out = true;
    say(place, part->entry, part->index, part->offset, cbt_dead_reason_name(part->reason),
        *text ? text : cbt_dead_reason_text(part->reason));
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
    struct cbt_err err;
    cbt_err_clear(&err);
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
    struct cbt_err err;
    cbt_err_clear(&err);
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
        struct cbt_err err;
        cbt_err_clear(&err);
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
                      struct cbt_text content_type, enum cbt_framing framing)
{
    struct cbt_part part;
    unsigned broken = 0;
    bool goes_on = true;
    cbt_walk_start(job->walk, body, content_type, framing);
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

static struct cbt_export_place place_of(const struct cbt_export_job *job, const char *file)
{
    const struct cbt_export_input *in = &job->in;
    bool is_line = in->cut.kind == CBT_CUT_LINES;
    return (struct cbt_export_place){.file = file,
                                     .line = is_line ? in->records + 1 : 0,
                                     .record = in->records,
                                     .offset = in->reader.offset};
}

bool cbt_export_piece(struct cbt_export_job *job, const char *file, struct cbt_text piece)
{
    const struct cbt_export_place place = place_of(job, file);
    if (place.line > 0)
        return take_body(job, &place, piece, json_type, CBT_FRAMING_DETECT);
    bool is_bundle = job->in.cut.kind == CBT_CUT_BUNDLE;
    return take_body(job, &place, piece, protobuf_type, is_bundle ? CBT_FRAMING_BUNDLE : CBT_FRAMING_DETECT);
}

void cbt_export_leave_out_large(struct cbt_export_job *job, const char *file, const char *text)
{
    const struct cbt_export_place place = place_of(job, file);
    job->counts[CBT_TYPE_NOTIFICATION].dead_letters++;
    job->in.left_out = true;
    say(&place, 0, 0, 0, cbt_dead_reason_name(CBT_DEAD_frame_too_large), text);
}
