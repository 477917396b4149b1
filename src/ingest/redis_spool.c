/* SPDX-License-Identifier: MIT */
/*
 * The Redis source with a spool_dir: what is read from the socket goes into the spool, and from the spool
 * into frames as the budget allows, so that the socket is read however long the rest of the pipeline waits.
 *
 * A message counts as received when it leaves the spool; what waits there has metrics of its own. Failure: a
 * full spool drops whole messages, counted. Where the disk takes nothing, messages go on without it as long
 * as nothing that came before them waits there and there is a frame for them; else they are dropped, counted.
 */
#include <errno.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "ingest/source_redis.h"

/* The token of a frame that is not in the spool. */
#define NO_TICKET     UINT64_MAX
#define RECOVERED_NS  INT64_C(1000000000)
#define BYPASS_FRAMES 1024

static enum cbt_spool_fsync fsync_of(const char *name)
{
    return strcmp(name, "always") == 0 ? CBT_SPOOL_FSYNC_ALWAYS
           : strcmp(name, "none") == 0 ? CBT_SPOOL_FSYNC_NONE
                                       : CBT_SPOOL_FSYNC_INTERVAL;
}

/* What the spool counts, for others to see. */
static void publish(struct cbt_redis *self)
{
    const struct cbt_spool_counts *counts = cbt_spool_counts(self->spool);
    struct cbt_spool_counts *told = &self->spool_told;
    cbt_count(self->stats, CBT_COUNT_spool_appended, counts->appended - told->appended);
    cbt_count(self->stats, CBT_COUNT_spool_appended_bytes, counts->appended_bytes - told->appended_bytes);
    cbt_count(self->stats, CBT_COUNT_spool_damaged, counts->damaged - told->damaged);
    atomic_store_explicit(&self->stats->gauge_spool_messages, (int64_t)counts->messages,
                          memory_order_release);
    atomic_store_explicit(&self->stats->gauge_spool_bytes, (int64_t)counts->bytes, memory_order_release);
    *told = *counts;
}

int cbt_redis_spool_start(void *arg, struct cbt_err *err)
{
    struct cbt_redis *self = arg;
    const struct cbt_options_redis *redis = &self->config->redis;
    const struct cbt_spool_options options = {.dir = redis->spool_dir,
                                              .source = self->config->name,
                                              .max_bytes = (uint64_t)redis->spool_max_bytes,
                                              .segment_bytes = (uint64_t)redis->spool_segment_bytes,
                                              .fsync = fsync_of(redis->spool_fsync),
                                              .fsync_ms = (int64_t)redis->spool_fsync_ms,
                                              .window = (uint32_t)redis->frames_max};
    int rc = cbt_spool_open(&self->spool, &options, err);
    if (rc == 0)
        publish(self);
    return rc;
}

/* One line when the disk begins to fail, one when it has taken messages for a second. */
static void note_failure(struct cbt_redis *self, const struct cbt_err *err)
{
    self->spool_failed_ns = cbt_now_ns();
    if (self->spool_failed)
        return;
    self->spool_failed = true;
    self->spool_failed_dropped = self->dropped;
    self->spool_failed_bypassed = self->bypassed;
    cbt_log_error("the spool's disk fails: messages go on without it while there is room for them, else they "
                  "are dropped",
                  CBT_S("source", self->config->name), CBT_S("reason", err->text));
}

static void note_success(struct cbt_redis *self)
{
    if (!self->spool_failed || cbt_now_ns() - self->spool_failed_ns < RECOVERED_NS)
        return;
    self->spool_failed = false;
    cbt_log_warning("the spool's disk takes messages again", CBT_S("source", self->config->name),
                    CBT_I("bypassed", self->bypassed - self->spool_failed_bypassed),
                    CBT_I("dropped", self->dropped - self->spool_failed_dropped));
}

/* A frame for a message of the spool, with its channel behind its body; NULL: no room. */
static struct cbt_frame *take_frame(struct cbt_redis *self, const struct cbt_spool_message *message)
{
    struct cbt_frame *frame = cbt_receiver_take(self->receiver, message->body_bytes + message->channel.len);
    if (!frame)
        return NULL;
    uint8_t *behind = (uint8_t *)frame->body.data + message->body_bytes;
    if (message->channel.len > 0)
        memcpy(behind, message->channel.data, message->channel.len);
    frame->routing_key = (struct cbt_text){behind, message->channel.len};
    frame->body.len = message->body_bytes;
    frame->framing = CBT_FRAMING_DETECT;
    frame->spilled = message->spilled;
    frame->token = NO_TICKET;
    /* It is as old as when Redis sent it, not as when it left the disk. */
    int64_t age_ms = frame->arrived_wall_ms - message->arrived_wall_ms;
    if (age_ms > 0 && age_ms < frame->arrived_ns / 1000000)
        frame->arrived_ns -= age_ms * 1000000;
    else if (age_ms > 0)
        frame->arrived_ns = 1; /* it is older than this boot */
    frame->arrived_wall_ms = message->arrived_wall_ms;
    return frame;
}

int cbt_redis_spool_feed(void *arg, unsigned frames_max)
{
    struct cbt_redis *self = arg;
    struct cbt_spool_message message;
    struct cbt_err err = {0};
    int count = 0, rc = 0;
    if (cbt_spool_tick(self->spool, cbt_now_ns(), &err) != 0)
        note_failure(self, &err);
    while ((unsigned)count < frames_max && (rc = cbt_spool_next(self->spool, &message)) == 1) {
        struct cbt_frame *frame = take_frame(self, &message);
        if (!frame) {
            rc = CBT_ELIMIT;
            break;
        }
        if (cbt_spool_take(self->spool, (uint8_t *)frame->body.data, &frame->token) != 0) {
            cbt_receiver_untake(self->receiver, frame);
            continue;
        }
        if (message.replayed)
            cbt_count(self->stats, CBT_COUNT_spool_replayed, 1);
        cbt_receiver_push(self->receiver, frame);
        count++;
    }
    if (rc == CBT_EIO) {
        cbt_err_set(&err, CBT_EIO, "a segment in %s cannot be opened: %s", self->config->redis.spool_dir,
                    strerror(errno));
        note_failure(self, &err);
    }
    publish(self);
    return count == 0 && rc < 0 ? CBT_ELIMIT : count;
}

/* What could not be written goes on without the disk, behind all that waits there, or nowhere. */
static void bypass(struct cbt_redis *self)
{
    struct cbt_spool_message message;
    const uint8_t *body = NULL;
    while (!cbt_spool_all_taken(self->spool) && cbt_redis_spool_feed(self, BYPASS_FRAMES) > 0)
        ;
    bool in_order = cbt_spool_all_taken(self->spool);
    while (cbt_spool_unwritten(self->spool, &message, &body)) {
        struct cbt_frame *frame = in_order ? take_frame(self, &message) : NULL;
        if (!frame) {
            cbt_receiver_drop(self->receiver, CBT_DROPPED_spool_failed, message.body_bytes);
            self->dropped++;
            continue;
        }
        if (message.body_bytes > 0)
            memcpy((uint8_t *)frame->body.data, body, message.body_bytes);
        cbt_receiver_push(self->receiver, frame);
        cbt_count(self->stats, CBT_COUNT_spool_bypassed, 1);
        self->bypassed++;
    }
}

bool cbt_redis_spool_begin(struct cbt_redis *self, size_t body_bytes, bool spilled,
                           enum cbt_dropped_reason *ret_reason)
{
    const struct cbt_spool_message message = {
        .channel = {(const uint8_t *)self->message.channel, self->message.channel_len},
        .body_bytes = body_bytes,
        .arrived_wall_ms = self->read_wall_ms,
        .spilled = spilled};
    struct cbt_err err = {0};
    int rc = cbt_spool_begin(self->spool, &message, &err);
    if (rc == CBT_EIO) {
        note_failure(self, &err);
        bypass(self);
        rc = cbt_spool_begin(self->spool, &message, &err);
    }
    *ret_reason = rc == CBT_ELIMIT ? CBT_DROPPED_spool_full : CBT_DROPPED_spool_failed;
    return rc == 0;
}

bool cbt_redis_spool_put(struct cbt_redis *self, const char *data, size_t len)
{
    struct cbt_err err = {0};
    if (cbt_spool_put(self->spool, data, len, &err) == 0)
        return true;
    note_failure(self, &err);
    cbt_spool_abort(self->spool);
    return false;
}

bool cbt_redis_spool_commit(struct cbt_redis *self)
{
    struct cbt_err err = {0};
    if (cbt_spool_commit(self->spool, &err) == 0)
        return true;
    note_failure(self, &err);
    cbt_spool_abort(self->spool);
    return false;
}

void cbt_redis_spool_flush(struct cbt_redis *self)
{
    struct cbt_err err = {0};
    uint64_t before = cbt_spool_counts(self->spool)->appended;
    if (cbt_spool_flush(self->spool, &err) != 0) {
        note_failure(self, &err);
        bypass(self);
    } else if (cbt_spool_counts(self->spool)->appended > before) {
        note_success(self);
    }
    publish(self);
}

int cbt_redis_spool_settle(void *arg, struct cbt_frame *const done[], size_t count, struct cbt_err *err)
{
    struct cbt_redis *self = arg;
    (void)err;
    for (size_t i = 0; i < count; i++)
        if (done[i]->token != NO_TICKET)
            cbt_spool_settle(self->spool, done[i]->token);
    cbt_count(self->stats, CBT_COUNT_settled_frames, count);
    /* While it stops nothing is fed, and what is delivered meanwhile is not to come again. */
    struct cbt_err failure = {0};
    if (cbt_spool_tick(self->spool, cbt_now_ns(), &failure) != 0)
        note_failure(self, &failure);
    return 0;
}
