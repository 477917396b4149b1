/* SPDX-License-Identifier: MIT */
/* From what cannot be decoded to a dead letter: which bytes it is, of which sensor, how it is counted. */
#include "decode/set_aside.h"

#include <stdio.h>

#include "cbtap/arena.h"
#include "cbtap/log.h"
#include "cbtap/notification.h"
#include "cbtap/source.h"
#include "decode/poison.h"

int cbt_set_aside(struct cbt_batch *batch, const struct cbt_part *part, enum cbt_event_type type,
                  const char *detail)
{
    const struct cbt_worker_context *context = batch->context;
    int32_t sensor_id = batch->frame->env.sensor_id;
    /* The record's own, as far as it can be read, where reading has not ended the process before. */
    if (part->reason != CBT_DEAD_poison &&
        (part->kind == CBT_PART_EVENT || part->framing == CBT_FRAMING_EVENT))
        cbt_peek_sensor_id(part->data, (struct cbt_text){0}, CBT_FRAMING_EVENT, &sensor_id);
    cbt_count_dead(context->stats, type, part->reason);
    cbt_frame_note_dead(batch->frame, part->reason);
    for (unsigned i = 0; i < context->outlet_count; i++)
        if (context->outlets[i].takes_dead_letters)
            return cbt_batch_add_dead(batch, i, part, detail, sensor_id);
    return CBT_OK;
}

static bool no_growth(struct cbt_buf *buf, size_t bytes)
{
    (void)buf;
    (void)bytes;
    return false;
}

/* The smallest part that gives this event again: of a notification with several docs, itself with this one
 * alone. Where the arena is full, the whole part. */
static struct cbt_part part_of(const struct cbt_part *part, const struct cbt_event *event)
{
    struct cbt_part own = *part;
    if (event->notification == NULL || !cbt_note_has_others(event->notification))
        return own;
    size_t bytes = cbt_note_text_bytes(event->notification);
    uint8_t *memory = cbt_arena_alloc(event->arena, bytes);
    if (memory == NULL)
        return own;
    struct cbt_buf buf = {.begin = memory, .pos = memory, .end = memory + bytes, .grow = no_growth};
    cbt_note_put_text(event->notification, &buf);
    own.data = (struct cbt_text){memory, bytes};
    own.in_body = false;
    return own;
}

int cbt_set_aside_event(struct cbt_batch *batch, const struct cbt_part *part, const struct cbt_event *event,
                        enum cbt_dead_reason reason, const char *detail)
{
    struct cbt_part own = part_of(part, event);
    own.reason = reason;
    return cbt_set_aside(batch, &own, event->type, detail);
}

static int set_aside_counted(struct cbt_batch *batch, const struct cbt_part *part, const char *detail)
{
    cbt_add(&batch->context->stats->events[CBT_TYPE_NOTIFICATION], 1);
    return cbt_set_aside(batch, part, CBT_TYPE_NOTIFICATION, detail);
}

int cbt_set_aside_undecoded(struct cbt_batch *batch, const struct cbt_part *part)
{
    return set_aside_counted(batch, part, cbt_dead_reason_text(part->reason));
}

int cbt_set_aside_rest(struct cbt_batch *batch, struct cbt_part *part, enum cbt_dead_reason reason)
{
    const struct cbt_text *body = &batch->frame->body;
    part->reason = reason;
    const uint8_t *from = body->data + part->offset;
    /* Within a zip the offset is the entry's, not the body's, even where a stored entry lies in the body. */
    if (part->in_body && (part->data.data == from || part->data.data == from + sizeof(uint32_t))) {
        part->data = (struct cbt_text){from, (size_t)(body->data + body->len - from)};
        part->framing = CBT_FRAMING_BUNDLE;
    } else {
        part->data = *body;
        part->framing = batch->frame->framing;
    }
    part->in_body = true;
    return cbt_set_aside_undecoded(batch, part);
}

static struct cbt_part whole_frame(const struct cbt_frame *frame, enum cbt_dead_reason reason)
{
    return (struct cbt_part){.kind = CBT_PART_BROKEN,
                             .reason = reason,
                             .data = frame->body,
                             .framing = frame->framing,
                             .in_body = true};
}

int cbt_set_aside_poison(struct cbt_batch *batch)
{
    const struct cbt_frame *frame = batch->frame;
    const struct cbt_part whole = whole_frame(frame, CBT_DEAD_poison);
    char detail[128];
    unsigned tries = (unsigned)atomic_load_explicit(&frame->suspect->tries, memory_order_relaxed);
    snprintf(detail, sizeof(detail), "the process died %u times while it decoded this message", tries);
    cbt_log_error("poison: the message is not decoded again but becomes a dead letter",
                  CBT_S("message", cbt_poison_name((char[CBT_POISON_NAME_BYTES]){0}, &frame->suspect->id)),
                  CBT_S("source", frame->receiver != NULL ? cbt_receiver_name(frame->receiver) : ""),
                  CBT_I("bytes", frame->body.len), CBT_I("tries", tries));
    return set_aside_counted(batch, &whole, detail);
}

int cbt_set_aside_broken(struct cbt_batch *batch)
{
    const struct cbt_frame *frame = batch->frame;
    const struct cbt_part whole = whole_frame(frame, frame->broken_reason);
    const char *detail = frame->broken_detail;
    return set_aside_counted(batch, &whole,
                             detail != NULL ? detail : cbt_dead_reason_text(frame->broken_reason));
}
