/* SPDX-License-Identifier: MIT */
/*
 * Reads pushes of a subscribed connection into frames.
 *
 * hiredis's reader parses; its object functions are ours, so no tree of replies is made: a payload is copied
 * once, from the reader's buffer into its frame. A long string goes past the reader (redis_rest.c), so that
 * the reader never holds more than 12 KiB of unparsed bytes, whatever a message announces.
 *
 * Failure: bytes that are no RESP, an error reply, an end of the stream: the connection is lost. The message
 * that was half read was never received.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "ingest/source_redis.h"

/* More than this in the reader without a string to wait for: a line without an end. */
#define READER_MAX_BYTES (CBT_REDIS_FEED_BYTES + CBT_REDIS_BULK_BYTES + 64)

static void text_arrived(struct cbt_redis *self, const redisReadTask *task, const char *text, size_t len)
{
    struct cbt_redis_message *message = &self->message;
    if (!task->parent) {
        if (task->type == REDIS_REPLY_ERROR) {
            message->kind = CBT_REDIS_ERROR;
            size_t shown = len < sizeof message->error - 1 ? len : sizeof message->error - 1;
            memcpy(message->error, text, shown);
            message->error[shown] = '\0';
        }
        return;
    }
    if (task->parent->parent || task->type != REDIS_REPLY_STRING)
        return;
    if (task->idx == 0) {
        message->kind = len == 8 && memcmp(text, "pmessage", 8) == 0       ? CBT_REDIS_PMESSAGE
                        : len == 10 && memcmp(text, "psubscribe", 10) == 0 ? CBT_REDIS_PSUBSCRIBE
                        : len == 4 && memcmp(text, "pong", 4) == 0         ? CBT_REDIS_PONG
                                                                           : CBT_REDIS_OTHER;
    } else if (task->idx == 2 && len <= sizeof message->channel) {
        memcpy(message->channel, text, len);
        message->channel_len = len;
    } else if (task->idx == 3 && message->kind == CBT_REDIS_PMESSAGE && !message->has_payload) {
        cbt_redis_take_payload(self, text, len);
    }
}

/* The reader keeps what these return as the object of its task; all that matters is that it is not NULL. A
 * task knows the reader's privdata only by way of its root, so every task carries it. */
static void *on_string(const redisReadTask *task, char *text, size_t len)
{
    text_arrived(task->privdata, task, text, len);
    return task->privdata;
}

static void *on_array(const redisReadTask *task, int elements)
{
    (void)elements;
    return task->privdata;
}

static void *on_integer(const redisReadTask *task, long long value)
{
    (void)value;
    return task->privdata;
}

static void *on_nil(const redisReadTask *task)
{
    return task->privdata;
}

static void on_free(void *object)
{
    (void)object;
}

static redisReplyObjectFunctions functions = {on_string, on_array, on_integer, on_nil, on_free};

static void forget_message(struct cbt_redis *self)
{
    struct cbt_redis_message *message = &self->message;
    message->kind = CBT_REDIS_OTHER;
    message->has_payload = message->dropped = message->spooled = false;
    message->frame = NULL;
    message->channel_len = 0;
    message->payload_len = 0;
}

void cbt_redis_read_start(struct cbt_redis *self)
{
    self->conn->reader->fn = &functions;
    self->conn->reader->privdata = self;
    self->confirmed = 0;
    self->in_pos = self->in_len = 0;
    self->heard_ns = cbt_now_ns();
    self->pinged_ns = 0;
    self->unreadable = false;
    forget_message(self);
}

void cbt_redis_read_reset(struct cbt_redis *self)
{
    cbt_dead_letter_abort(self->file);
    self->file = NULL;
    if (self->message.frame)
        cbt_receiver_untake(self->receiver, self->message.frame);
    if (self->message.spooled)
        cbt_spool_abort(self->spool);
    self->rest_len = 0;
    self->in_pos = self->in_len = 0;
    forget_message(self);
}

/* A whole reply is there. Returns the messages it counts for, or an error. */
static int message_arrived(struct cbt_redis *self, struct cbt_err *err)
{
    struct cbt_redis_message *message = &self->message;
    int count = 0;
    int rc = 0;
    if (message->kind == CBT_REDIS_ERROR && self->subscribed) {
        /* To a PING that the user may not send, say: an answer all the same. */
        cbt_log_debug("error reply", CBT_S("source", self->config->name), CBT_S("text", message->error));
    } else if (message->kind == CBT_REDIS_ERROR) {
        rc = cbt_redis_error_reply(self->config, "PSUBSCRIBE", message->error, err);
    } else if (message->kind == CBT_REDIS_PSUBSCRIBE) {
        self->confirmed++;
    } else if (message->kind == CBT_REDIS_PMESSAGE && message->frame) {
        cbt_receiver_push(self->receiver, message->frame);
        count = 1;
    } else if (message->kind == CBT_REDIS_PMESSAGE && message->spooled && cbt_redis_spool_commit(self)) {
        count = 1;
    } else if (message->kind == CBT_REDIS_PMESSAGE && message->spooled) {
        cbt_receiver_drop(self->receiver, CBT_DROPPED_spool_failed, message->payload_len);
        self->dropped++;
        count = 1;
    } else if (message->kind == CBT_REDIS_PMESSAGE && message->dropped) {
        cbt_receiver_drop(self->receiver, message->drop_reason, message->payload_len);
        self->dropped++;
        count = 1;
    }
    forget_message(self);
    return rc != 0 ? rc : count;
}

/* Parses what is there, up to `frames_max` messages. */
static int parse(struct cbt_redis *self, int frames_max, struct cbt_err *err)
{
    redisReader *reader = self->conn->reader;
    int count = 0;
    while (count < frames_max) {
        void *reply = NULL;
        if (self->rest_len > 0) {
            if (self->in_pos == self->in_len)
                break;
            cbt_redis_rest_take(self);
            continue;
        }
        if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
            self->unreadable = true;
            return cbt_err_set(err, CBT_EIO, "what Redis sent cannot be read: %s", reader->errstr);
        }
        if (reply) {
            int n = message_arrived(self, err);
            if (n < 0)
                return n;
            count += n;
            continue;
        }
        const redisReadTask *task = reader->ridx >= 0 ? &reader->rstack[reader->ridx] : NULL;
        bool is_payload = task && task->parent && !task->parent->parent && task->idx == 3 &&
                          self->message.kind == CBT_REDIS_PMESSAGE && !self->message.has_payload;
        if (task && task->type == REDIS_REPLY_STRING && cbt_redis_rest_begin(self, is_payload))
            continue;
        if (reader->len - reader->pos > READER_MAX_BYTES) {
            self->unreadable = true;
            return cbt_err_set(err, CBT_EIO, "what Redis sent cannot be read: a line without an end");
        }
        if (self->in_pos == self->in_len)
            break;
        size_t len = self->in_len - self->in_pos;
        len = len < CBT_REDIS_FEED_BYTES ? len : CBT_REDIS_FEED_BYTES;
        if (redisReaderFeed(reader, self->in + self->in_pos, len) != REDIS_OK)
            return cbt_err_set(err, CBT_ENOMEM, "out of memory");
        self->in_pos += len;
    }
    return count;
}

static int read_messages(struct cbt_redis *self, unsigned frames_max, struct cbt_err *err)
{
    unsigned count = 0;
    for (;;) {
        int n = parse(self, (int)(frames_max - count), err);
        if (n < 0)
            return n;
        count += (unsigned)n;
        if (count >= frames_max || self->in_pos < self->in_len)
            return (int)count;
        ssize_t got = recv(self->conn->fd, self->in, sizeof self->in, MSG_DONTWAIT);
        if (got > 0) {
            self->in_pos = 0;
            self->in_len = (size_t)got;
            self->unread_bytes += (size_t)got;
            self->heard_ns = cbt_now_ns();
            self->pinged_ns = 0;
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            self->drained_ns = cbt_now_ns();
            self->unread_bytes = 0;
            return (int)count;
        } else if (count > 0) {
            return (int)count; /* an end of the stream is there at the next read, too */
        } else {
            return cbt_err_set(
                err, CBT_EIO, "%s",
                got < 0 ? strerror(errno)
                        : "Redis closed the connection (restart, CLIENT KILL, or too slow a subscriber: "
                          "see client-output-buffer-limit pubsub)");
        }
    }
}

int cbt_redis_read(struct cbt_redis *self, unsigned frames_max, struct cbt_err *err)
{
    if (self->spool)
        self->read_wall_ms = cbt_wall_ms();
    int n = read_messages(self, frames_max, err);
    if (self->spool)
        cbt_redis_spool_flush(self);
    return n;
}
