/* SPDX-License-Identifier: MIT */
/*
 * Payloads: short ones from the reader's buffer into a frame; long ones past the reader, as they arrive: into
 * a frame or the spool, above frame_max_bytes into dead_letter_dir, or nowhere when there is no room.
 *
 * How it gets past: the reader waits at a string's length ("$5000000", the '$' is consumed). The bytes of the
 * string that it has are taken out of its buffer, the rest is counted off the stream; then the reader is fed
 * an empty string in its place.
 */
#include <string.h>

#include "cbtap/log.h"
#include "ingest/source_redis.h"

static void drop(struct cbt_redis *self, enum cbt_dropped_reason reason)
{
    self->message.dropped = true;
    self->message.drop_reason = reason;
}

/* A frame with room for `bytes` of body and the channel, which is put behind them. NULL: no room, and it is
 * dropped. */
static struct cbt_frame *take_frame(struct cbt_redis *self, size_t bytes)
{
    const struct cbt_redis_message *message = &self->message;
    struct cbt_frame *frame = cbt_receiver_take(self->receiver, bytes + message->channel_len);
    if (!frame) {
        drop(self, CBT_DROPPED_budget);
        return NULL;
    }
    if (message->channel_len > 0)
        memcpy((uint8_t *)frame->body.data + bytes, message->channel, message->channel_len);
    frame->routing_key = (struct cbt_text){frame->body.data + bytes, message->channel_len};
    frame->body.len = bytes;
    frame->framing = CBT_FRAMING_DETECT;
    return frame;
}

static void give_frame_back(struct cbt_redis *self)
{
    if (self->message.frame)
        cbt_receiver_untake(self->receiver, self->message.frame);
    self->message.frame = NULL;
}

/* Above frame_max_bytes: into dead_letter_dir, or dropped. */
static void begin_file(struct cbt_redis *self, size_t len)
{
    struct cbt_redis_message *message = &self->message;
    const char *dir = cbt_receiver_dead_letter_dir(self->receiver);
    char detail[128];
    struct cbt_err err = {0};
    snprintf(detail, sizeof detail, "the message has %zu bytes, frame_max_bytes is %zu", len,
             cbt_receiver_frame_max_bytes(self->receiver));
    if (!dir || !*dir) {
        drop(self, CBT_DROPPED_frame_too_large);
        return;
    }
    if (!self->spool && !(message->frame = take_frame(self, 0)))
        return;
    struct cbt_dead_letter_info info = {
        .reason = cbt_dead_reason_name(CBT_DEAD_frame_too_large),
        .framing = cbt_framing_name(CBT_FRAMING_DETECT),
        .detail = detail,
        .source = self->config->name,
        .routing_key = {(const uint8_t *)message->channel, message->channel_len}};
    if (cbt_dead_letter_begin(&self->file, dir, &info, &err) == 0) {
        if (message->frame)
            message->frame->spilled = true;
        return;
    }
    cbt_log_error("a message above frame_max_bytes cannot be kept and is dropped",
                  CBT_S("source", self->config->name), CBT_I("bytes", len), CBT_S("reason", err.text));
    give_frame_back(self);
    drop(self, CBT_DROPPED_frame_too_large);
}

/* The message, which is in dead_letter_dir where `spilled`, begins in the spool. */
static void begin_spooled(struct cbt_redis *self, size_t len, bool spilled)
{
    enum cbt_dropped_reason reason;
    self->message.spooled = cbt_redis_spool_begin(self, len, spilled, &reason);
    if (!self->message.spooled)
        drop(self, reason);
}

static void begin_payload(struct cbt_redis *self, size_t len)
{
    struct cbt_redis_message *message = &self->message;
    message->has_payload = true;
    message->payload_len = len;
    if (len > cbt_receiver_frame_max_bytes(self->receiver))
        begin_file(self, len);
    else if (self->spool)
        begin_spooled(self, len, false);
    else
        message->frame = take_frame(self, len);
}

static void give_file_up(struct cbt_redis *self, const struct cbt_err *err)
{
    cbt_log_error("a message above frame_max_bytes cannot be kept and is dropped",
                  CBT_S("source", self->config->name), CBT_I("bytes", self->message.payload_len),
                  CBT_S("reason", err->text));
    self->file = NULL;
    give_frame_back(self);
    drop(self, CBT_DROPPED_frame_too_large);
}

/* The next bytes of the payload. */
static void put(struct cbt_redis *self, const char *data, size_t len)
{
    struct cbt_err err = {0};
    if (self->file) {
        if (cbt_dead_letter_append(self->file, data, len, &err) != 0) {
            cbt_dead_letter_abort(self->file);
            give_file_up(self, &err);
        }
    } else if (self->message.spooled) {
        if (!cbt_redis_spool_put(self, data, len)) {
            self->message.spooled = false;
            drop(self, CBT_DROPPED_spool_failed);
        }
    } else if (self->message.frame && len > 0) {
        memcpy((uint8_t *)self->message.frame->body.data + self->rest_done, data, len);
    }
    self->rest_done += len;
}

static void end_payload(struct cbt_redis *self)
{
    struct cbt_err err = {0};
    if (!self->file)
        return;
    if (cbt_dead_letter_commit(self->file, &err) != 0) {
        give_file_up(self, &err);
        return;
    }
    self->file = NULL;
    cbt_log_warning("a message above frame_max_bytes is in dead_letter_dir",
                    CBT_S("source", self->config->name), CBT_I("bytes", self->message.payload_len));
    if (self->spool)
        begin_spooled(self, 0, true);
}

void cbt_redis_take_payload(struct cbt_redis *self, const char *data, size_t len)
{
    begin_payload(self, len);
    self->rest_done = 0;
    put(self, data, len);
    end_payload(self);
}

/* Bytes of the stream that are the string's own, the rest being its CR LF. */
static void take(struct cbt_redis *self, const char *data, size_t len)
{
    size_t left = self->rest_total - self->rest_done;
    size_t own = len < left ? len : left;
    if (self->rest_target == CBT_REDIS_TO_PAYLOAD)
        put(self, data, own);
    else
        self->rest_done += own;
}

static void finish(struct cbt_redis *self)
{
    if (self->rest_target == CBT_REDIS_TO_PAYLOAD)
        end_payload(self);
    redisReaderFeed(self->conn->reader, "0\r\n\r\n", 5);
}

bool cbt_redis_rest_begin(struct cbt_redis *self, bool is_payload)
{
    redisReader *reader = self->conn->reader;
    const char *text = reader->buf + reader->pos;
    size_t held = reader->len - reader->pos;
    size_t len = 0, digits = 0;
    while (digits < held && digits < 18 && text[digits] >= '0' && text[digits] <= '9')
        len = len * 10 + (size_t)(text[digits++] - '0');
    if (digits + 2 > held || text[digits] != '\r' || text[digits + 1] != '\n' || len <= CBT_REDIS_BULK_BYTES)
        return false;
    text += digits + 2;
    held -= digits + 2;
    self->rest_target = is_payload ? CBT_REDIS_TO_PAYLOAD : CBT_REDIS_TO_NOWHERE;
    self->rest_total = len;
    self->rest_done = 0;
    self->rest_len = len + 2 - held; /* the reader would not wait if it had all of it */
    if (is_payload)
        begin_payload(self, len);
    take(self, text, held);
    reader->pos = reader->len;
    return true;
}

void cbt_redis_rest_take(struct cbt_redis *self)
{
    size_t len = self->in_len - self->in_pos;
    len = len < self->rest_len ? len : self->rest_len;
    take(self, self->in + self->in_pos, len);
    self->in_pos += len;
    self->rest_len -= len;
    if (self->rest_len == 0)
        finish(self);
}
