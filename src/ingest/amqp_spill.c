/* SPDX-License-Identifier: MIT */
/*
 * Messages above frame_max_bytes: their bodies are streamed into dead_letter_dir, then the frame goes its way
 * without one.
 *
 * Failure: where there is no dead_letter_dir, or it fails, the message stays unsettled. The rest of its body
 * is skipped; then nothing more is read, all before it is acknowledged as it gets done, and the connection
 * ends as refused: it is tried again every 5 s, visibly not connected, and nothing but this message and what
 * comes after it is delivered again.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cbtap/log.h"
#include "ingest/source_amqp.h"

/* The message cannot be kept: `err` says why. */
static void give_up(struct cbt_amqp *self, const struct cbt_err *err)
{
    cbt_err_set(&self->refusal, CBT_EREFUSED,
                "a message of %" PRIu64
                " bytes, more than frame_max_bytes, cannot be kept in dead_letter_dir, so it stays "
                "in the queue and all behind it waits: %s",
                self->body_bytes, err->text);
    self->spill = NULL;
    cbt_receiver_untake(self->receiver, self->frame);
    self->frame = NULL;
    self->stage = CBT_AMQP_SKIP;
}

void cbt_amqp_spill_begin(struct cbt_amqp *self)
{
    const struct cbt_frame *frame = self->frame;
    const char *dir = cbt_receiver_dead_letter_dir(self->receiver);
    char detail[128];
    snprintf(detail, sizeof(detail), "the message has %" PRIu64 " bytes, frame_max_bytes is %zu",
             self->body_bytes, cbt_receiver_frame_max_bytes(self->receiver));
    struct cbt_dead_letter_info info = {
        .reason = cbt_dead_reason_name(CBT_DEAD_frame_too_large),
        .detail = detail,
        .source = cbt_receiver_name(self->receiver),
        .routing_key = frame->routing_key,
        .content_type = frame->content_type,
        .framing = cbt_framing_name(frame->framing),
        .env = frame->env,
        .sensor_id = frame->env.sensor_id,
    };
    struct cbt_err err = {0};
    self->stage = CBT_AMQP_SPILL;
    if (dir == NULL || dir[0] == '\0') {
        cbt_err_set(&err, CBT_EREFUSED, "no dead_letter_dir is configured");
        give_up(self, &err);
    } else if (cbt_dead_letter_begin(&self->spill, dir, &info, &err) != 0) {
        give_up(self, &err);
    }
}

void cbt_amqp_spill_append(struct cbt_amqp *self, amqp_bytes_t fragment)
{
    struct cbt_err err = {0};
    if (cbt_dead_letter_append(self->spill, fragment.bytes, fragment.len, &err) == 0)
        return;
    cbt_dead_letter_abort(self->spill);
    give_up(self, &err);
}

bool cbt_amqp_spill_end(struct cbt_amqp *self)
{
    struct cbt_err err = {0};
    if (self->stage == CBT_AMQP_SPILL) {
        struct cbt_dead_letter_file *file = self->spill;
        self->spill = NULL;
        if (cbt_dead_letter_commit(file, &err) == 0) {
            cbt_log_warning("a message above frame_max_bytes is in dead_letter_dir",
                            CBT_S("source", self->settings.config->name), CBT_I("bytes", self->body_bytes),
                            CBT_I("sensor_id", self->frame->env.sensor_id));
            return true;
        }
        give_up(self, &err);
    }
    self->stage = CBT_AMQP_REFUSE;
    return false;
}

int cbt_amqp_refuse(struct cbt_amqp *self, struct cbt_err *err)
{
    int rc = cbt_amqp_settle_flush(self, err);
    if (rc != 0)
        return rc;
    /* This one is the last that was delivered and can never be done, so all others are. */
    if (self->acks.acked + 1 != self->acks.delivered)
        return CBT_ELIMIT;
    if (err != NULL)
        *err = self->refusal;
    return CBT_EREFUSED;
}
