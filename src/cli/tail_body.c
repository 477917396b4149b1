/* SPDX-License-Identifier: MIT */
/*
 * tail: from a message to lines, as a worker of the daemon decodes it (decode/worker.c). What the output has
 * no room for is decoded all the same, for only then is it known how many events are skipped.
 */
#include <string.h>

#include "cbtap/log.h"
#include "cli/tail.h"
#include "decode/limits.h"

#define ESCAPE_BYTES 6u /* \u009b */

bool cbt_tail_done(const struct cbt_tail *tail)
{
    return cbt_tail_stopped || tail->out.error != 0 ||
           (tail->args->count != 0 && tail->shown >= tail->args->count);
}

static void leave_out(struct cbt_tail *tail, const struct cbt_part *part, const char *text)
{
    if (!*text)
        text = cbt_dead_reason_text(part->reason);
    tail->broken++;
    cbt_log_debug("left out", CBT_S("reason", cbt_dead_reason_name(part->reason)), CBT_S("text", text));
}

/* Bytes of a control character that JSON need not escape and some terminals obey (DEL, and C1 as UTF-8); 0:
 * it is none. */
static size_t control_bytes(const uint8_t *at, const uint8_t *end)
{
    if (*at == 0x7F)
        return 1;
    return *at == 0xC2 && end - at > 1 && at[1] >= 0x80 && at[1] < 0xA0 ? 2 : 0;
}

/* Escapes those in the JSON text of the record: the same text, harmless to a terminal. */
static void disarm(struct cbt_buf *buf)
{
    static const char digits[] = "0123456789abcdef";
    size_t more = 0, bytes;
    for (const uint8_t *s = buf->begin; s < buf->pos; s++) {
        bytes = control_bytes(s, buf->pos);
        more += bytes > 0 ? ESCAPE_BYTES - bytes : 0;
    }
    if (more == 0 || !cbt_buf_reserve(buf, more))
        return;
    /* The text goes behind its place, and comes back into it longer. */
    uint8_t *to = buf->begin, *end = buf->pos + more;
    const uint8_t *from = memmove(to + more, to, (size_t)(buf->pos - to));
    while (from < end) {
        bytes = control_bytes(from, end);
        if (bytes == 0) {
            *to++ = *from++;
            continue;
        }
        uint8_t c = from[bytes - 1];
        memcpy(to, "\\u00", 4);
        to[4] = (uint8_t)digits[c >> 4];
        to[5] = (uint8_t)digits[c & 15];
        to += ESCAPE_BYTES;
        from += bytes;
    }
    buf->pos = to;
}

static void show(struct cbt_tail *tail, struct cbt_part *part, const struct cbt_event *event)
{
    struct cbt_buf *buf = &tail->out.buf;
    struct cbt_err err = {0};
    if (!cbt_selection_takes(&tail->selection, event))
        return;
    if (cbt_tail_out_pending(&tail->out) >= CBT_TAIL_PENDING_BYTES_MAX &&
        (!cbt_tail_out_flush(&tail->out, 0) ||
         cbt_tail_out_pending(&tail->out) >= CBT_TAIL_PENDING_BYTES_MAX)) {
        tail->skipped++;
        return;
    }
    size_t at = (size_t)(buf->pos - tail->out.memory);
    buf->begin = buf->pos;
    int rc = tail->format->encode(tail->format_self, event, buf, &err);
    if (rc == 0 && tail->out.is_terminal)
        disarm(buf);
    cbt_buf_put(buf, "\n", 1);
    if (rc == 0 && !buf->failed) {
        tail->shown++;
        return;
    }
    buf->pos = tail->out.memory + at;
    buf->failed = false;
    part->reason = CBT_DEAD_record_too_large;
    leave_out(tail, part, err.text);
}

static void take_event(struct cbt_tail *tail, const struct cbt_frame *message, struct cbt_part *part,
                       unsigned *broken)
{
    enum cbt_event_type type = cbt_peek_type(part->data);
    struct cbt_event event;
    struct cbt_err err = {0};
    if (type == CBT_TYPE_stats || !cbt_filter_takes(tail->filter, type))
        return;
    if (cbt_decode_event(tail->decoder, part->data, &message->env, &event, &part->reason, &err) == 0) {
        show(tail, part, &event);
    } else {
        (*broken)++;
        leave_out(tail, part, err.text);
    }
}

static void take_notification(struct cbt_tail *tail, const struct cbt_frame *message, struct cbt_part *part,
                              unsigned *broken)
{
    struct cbt_text type;
    if (cbt_notification_type(tail->decoder, message->routing_key, &type) &&
        !cbt_filter_takes_name(tail->filter, type))
        return;
    size_t cursor = 0;
    while (!cbt_tail_done(tail)) {
        struct cbt_event event;
        struct cbt_err err = {0};
        int rc = cbt_decode_notification(tail->decoder, part->data, message->routing_key, &cursor, &event,
                                         &part->reason, &err);
        if (rc == 0)
            return;
        if (rc < 0) {
            (*broken)++;
            leave_out(tail, part, err.text);
            return;
        }
        show(tail, part, &event);
    }
}

void cbt_tail_take(struct cbt_tail *tail, const struct cbt_frame *message)
{
    struct cbt_part part;
    unsigned broken = 0;
    cbt_walk_start(tail->walk, message->body, message->content_type, message->framing);
    while (!cbt_tail_done(tail) && broken < CBT_BROKEN_PARTS_MAX && cbt_walk_next(tail->walk, &part)) {
        if (part.kind == CBT_PART_EVENT) {
            take_event(tail, message, &part, &broken);
        } else if (part.kind == CBT_PART_NOTIFICATION) {
            take_notification(tail, message, &part, &broken);
        } else {
            broken++;
            leave_out(tail, &part, "");
        }
    }
    cbt_walk_stop(tail->walk);
    cbt_decoder_stop(tail->decoder);
}
