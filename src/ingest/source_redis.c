/* SPDX-License-Identifier: MIT */
/*
 * The Redis source (PUBSUB, by hiredis): its life and its PING.
 *
 * Happy path: connect logs in and subscribes to the channel patterns (redis_connect.c); read takes messages
 * (redis_read.c); there is nothing to acknowledge. PUBSUB keeps nothing, so Redis to cbtap is at-most-once:
 * what is published while there is no subscription is a gap (redis_gap.c), counted with its length, from the
 * loss to the confirmed subscription. The time before the first connection is no gap: nothing was lost that
 * had been promised. Failure: an end of the connection is noticed by the read; a silent one by PING, sent
 * after ping_interval_ms without a byte, and an answer that does not come within as long again.
 *
 * With a spool_dir (redis_spool.c) what was read is at-least-once from there on; the gaps are the same.
 */
#include "ingest/source_redis.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"

#define NS_PER_MS            INT64_C(1000000)
#define DROPPED_LOG_INTERVAL (10000 * NS_PER_MS)
#define READ_FRAMES_MAX      1024

static uint32_t redis_frames_max(const struct cbt_source_config *config)
{
    return (uint32_t)config->redis.frames_max;
}

static void redis_disconnect(void *arg)
{
    struct cbt_redis *self = arg;
    if (!self || !self->conn)
        return;
    cbt_redis_read_reset(self);
    redisFree(self->conn);
    self->conn = NULL;
    self->subscribed = false;
}

static void redis_close(void *arg)
{
    struct cbt_redis *self = arg;
    if (!self)
        return;
    redis_disconnect(self);
    cbt_spool_close(self->spool);
    free((void *)self->argv);
    free(self->argv_lens);
    free(self->pattern_memory);
    free(self);
}

static int redis_open(void **ret_self, const struct cbt_source_config *config, struct cbt_receiver *receiver,
                      struct cbt_err *err)
{
    struct cbt_redis *self = calloc(1, sizeof *self);
    if (!self)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    self->config = config;
    self->receiver = receiver;
    self->stats = cbt_receiver_stats(receiver);
    atomic_store_explicit(&self->stats->gauge_queue_messages, -1, memory_order_relaxed);
    int rc = cbt_redis_patterns(config->redis.channels, &self->pattern_memory, &self->argv, &self->argv_lens,
                                &self->argc, err);
    if (rc != 0) {
        redis_close(self);
        return rc;
    }
    *ret_self = self;
    return 0;
}

/* PSUBSCRIBE, and waits until every pattern is confirmed; messages may come in between. */
static int subscribe(struct cbt_redis *self, struct cbt_err *err)
{
    int64_t limit_ms = (int64_t)self->config->redis.connect_timeout_ms;
    int64_t end_ns = cbt_now_ns() + limit_ms * NS_PER_MS;
    cbt_redis_read_start(self);
    if (cbt_redis_send(self->conn, self->argc, self->argv, self->argv_lens) != REDIS_OK)
        return cbt_err_set(err, CBT_EIO, "PSUBSCRIBE: %s", self->conn->errstr);
    int n = 0;
    while (self->confirmed + 1 < (unsigned)self->argc) {
        int64_t left_ms = (end_ns - cbt_now_ns()) / NS_PER_MS;
        struct pollfd fd = {.fd = self->conn->fd, .events = POLLIN};
        if (left_ms <= 0)
            return cbt_err_set(err, CBT_EIO, "PSUBSCRIBE: no answer within %lld ms", (long long)limit_ms);
        /* After a full read more may lie in our own buffer. */
        if (n < READ_FRAMES_MAX && poll(&fd, 1, (int)left_ms) < 0 && errno != EINTR)
            return cbt_err_set(err, CBT_EIO, "poll: %s", strerror(errno));
        n = cbt_redis_read(self, READ_FRAMES_MAX, err);
        if (n < 0)
            return n;
    }
    return 0;
}

static int redis_connect(void *arg, struct cbt_err *err)
{
    struct cbt_redis *self = arg;
    cbt_redis_gap_count(self, cbt_now_ns());
    int rc = cbt_redis_login(&self->conn, self->config, err);
    if (rc == 0) {
        cbt_redis_gap_ask(self);
        rc = subscribe(self, err);
    }
    if (rc == 0)
        cbt_redis_gap_end(self);
    else
        redis_disconnect(self);
    return rc;
}

static int redis_fd(void *arg)
{
    const struct cbt_redis *self = arg;
    return self->conn ? self->conn->fd : -1;
}

static int redis_read(void *arg, unsigned frames_max, struct cbt_err *err)
{
    struct cbt_redis *self = arg;
    int n = cbt_redis_read(self, frames_max, err);
    if (n < 0)
        cbt_redis_gap_begin(self, cbt_now_ns(), self->unreadable ? CBT_GAP_unreadable : CBT_GAP_closed);
    return n;
}

/* Messages dropped since it was told last: at once for the first, then every 10 s. */
static void tell_dropped(struct cbt_redis *self, int64_t now_ns)
{
    if (self->dropped == self->dropped_told || now_ns - self->dropped_told_ns < DROPPED_LOG_INTERVAL)
        return;
    cbt_log_warning("messages were dropped: no room for them, or larger than frame_max_bytes; see "
                    "cbtap_dropped_frames_total",
                    CBT_S("source", self->config->name), CBT_I("dropped", self->dropped - self->dropped_told),
                    CBT_I("dropped_in_all", self->dropped));
    self->dropped_told = self->dropped;
    self->dropped_told_ns = now_ns;
}

/* Something lies in the socket that nobody has read yet (the receiver is stopping): Redis is alive. */
static bool has_unread(const struct cbt_redis *self)
{
    char byte;
    return recv(self->conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static int redis_tick(void *arg, int64_t now_ns, struct cbt_err *err)
{
    static const char ping[] = "*1\r\n$4\r\nPING\r\n";
    struct cbt_redis *self = arg;
    tell_dropped(self, now_ns);
    int64_t interval_ns = (int64_t)self->config->redis.ping_interval_ms * NS_PER_MS;
    if (self->pinged_ns != 0 && now_ns - self->pinged_ns >= interval_ns && !has_unread(self)) {
        cbt_redis_gap_begin(self, self->heard_ns, CBT_GAP_silent);
        return cbt_err_set(err, CBT_EIO, "Redis has been silent for %lld ms and does not answer PING",
                           (long long)((now_ns - self->heard_ns) / NS_PER_MS));
    }
    if (self->pinged_ns != 0 || now_ns - self->heard_ns < interval_ns)
        return 0;
    /* 14 bytes after a silence: they fit into the send buffer, or the connection is dead and this is noticed
     * above. */
    ssize_t n = send(self->conn->fd, ping, sizeof ping - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        cbt_redis_gap_begin(self, now_ns, CBT_GAP_closed);
        return cbt_err_set(err, CBT_EIO, "PING: %s", strerror(errno));
    }
    self->pinged_ns = now_ns;
    return 0;
}

static int redis_settle(void *arg, struct cbt_frame *const done[], size_t count, struct cbt_err *err)
{
    struct cbt_redis *self = arg;
    (void)done;
    (void)err;
    cbt_count(self->stats, CBT_COUNT_settled_frames, count);
    return 0;
}

static int redis_settle_flush(void *arg, struct cbt_err *err)
{
    (void)arg;
    (void)err;
    return 0;
}

const struct cbt_source cbt_source_redis = {
    .type = "redis",
    .guarantee = "at-most-once from Redis to cbtap",
    .redelivers = false,
    .frames_max = redis_frames_max,
    .open = redis_open,
    .connect = redis_connect,
    .fd = redis_fd,
    .read = redis_read,
    .tick = redis_tick,
    .settle = redis_settle,
    .settle_flush = redis_settle_flush,
    .disconnect = redis_disconnect,
    .close = redis_close,
    .probe = cbt_redis_probe,
};

const struct cbt_source cbt_source_redis_spool = {
    .type = "redis",
    .guarantee = "at-most-once from Redis to cbtap, at-least-once from its spool",
    .redelivers = true,
    .frames_max = redis_frames_max,
    .open = redis_open,
    .connect = redis_connect,
    .fd = redis_fd,
    .read = redis_read,
    .start = cbt_redis_spool_start,
    .feed = cbt_redis_spool_feed,
    .tick = redis_tick,
    .settle = cbt_redis_spool_settle,
    .settle_flush = redis_settle_flush,
    .disconnect = redis_disconnect,
    .close = redis_close,
    .probe = cbt_redis_probe,
};
