/* SPDX-License-Identifier: MIT */
/*
 * Gaps: the time without a subscription, in which Redis publishes to nobody. Each is told with one line when
 * it begins and one when it ends, and counted with its length and with why it began, as far as that can be
 * known.
 *
 * Redis does not say why it closes a connection, so it is asked when the next one stands. A run_id that is
 * another: it was restarted. Its counter of output buffers that hit their limit has grown (newer versions),
 * or it had to keep much for a client within the last seconds, or there was much in this subscriber's socket,
 * or that had not been emptied for a second: the output buffer. A user who may not ask (ACL without INFO)
 * leaves the last two.
 */
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "ingest/source_redis.h"

#define NS_PER_MS INT64_C(1000000)
/* What a client gets no faster than it reads stays in the kernel's buffers first, which hold more than this:
 * so Redis keeps this much only for one that is slow. */
#define OUTPUT_BUFFER_BYTES (256 * 1024)
#define UNREAD_NS           (1000 * NS_PER_MS)

void cbt_redis_gap_count(struct cbt_redis *self, int64_t now_ns)
{
    if (self->lost_ns == 0 || now_ns <= self->lost_ns)
        return;
    int64_t ms = (now_ns - self->lost_ns) / NS_PER_MS;
    cbt_count(self->stats, CBT_COUNT_gap_milliseconds, (uint64_t)ms);
    self->lost_ns += ms * NS_PER_MS;
}

void cbt_redis_gap_begin(struct cbt_redis *self, int64_t since_ns, enum cbt_gap_reason reason)
{
    if (!self->subscribed)
        return;
    self->subscribed = false;
    self->lost_ns = self->gap_from_ns = since_ns;
    self->gap_reason = reason;
    self->gap_unread = since_ns - self->drained_ns >= UNREAD_NS || self->unread_bytes >= OUTPUT_BUFFER_BYTES;
    cbt_log_warning("the subscription is gone: what Redis publishes until it is back is lost",
                    CBT_S("source", self->config->name));
}

void cbt_redis_gap_end(struct cbt_redis *self)
{
    int64_t now_ns = cbt_now_ns();
    self->subscribed = true;
    self->drained_ns = now_ns;
    self->unread_bytes = 0;
    if (self->lost_ns == 0)
        return;
    cbt_redis_gap_count(self, now_ns);
    self->lost_ns = 0;
    cbt_add(&self->stats->gaps[self->gap_reason], 1);
    cbt_log_warning("the subscription is back: what Redis published meanwhile is lost",
                    CBT_S("source", self->config->name),
                    CBT_I("gap_ms", (now_ns - self->gap_from_ns) / NS_PER_MS),
                    CBT_S("reason", cbt_gap_reason_name(self->gap_reason)));
}

/* The value of a line of INFO, or NULL. */
static const char *value_of(const char *info, const char *key)
{
    size_t len = strlen(key);
    for (const char *line = info; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) == 0 && line[len] == ':')
            return line + len + 1;
    }
    return NULL;
}

static unsigned long long number_of(const char *info, const char *key)
{
    const char *value = value_of(info, key);
    return value ? strtoull(value, NULL, 10) : 0;
}

static enum cbt_gap_reason judge(const struct cbt_redis *self, const char *info, const char *run_id,
                                 unsigned long long cut_off)
{
    if (self->gap_reason != CBT_GAP_closed)
        return self->gap_reason;
    if (*run_id && *self->run_id && strcmp(run_id, self->run_id) != 0)
        return CBT_GAP_restarted;
    if (cut_off > self->cut_off || self->gap_unread ||
        number_of(info, "client_recent_max_output_buffer") >= OUTPUT_BUFFER_BYTES)
        return CBT_GAP_output_buffer;
    return CBT_GAP_closed;
}

void cbt_redis_gap_ask(struct cbt_redis *self)
{
    const char *argv[] = {"INFO"};
    redisReply *reply = cbt_redis_ask(self->conn, 1, argv, NULL);
    const char *info = reply && reply->type == REDIS_REPLY_STRING ? reply->str : "";
    const char *id = value_of(info, "run_id");
    char run_id[sizeof self->run_id] = "";
    if (id)
        snprintf(run_id, sizeof run_id, "%.*s", (int)strcspn(id, "\r\n"), id);
    unsigned long long cut_off = number_of(info, "client_output_buffer_limit_disconnections");
    if (self->lost_ns != 0)
        self->gap_reason = judge(self, info, run_id, cut_off);
    memcpy(self->run_id, run_id, sizeof run_id);
    self->cut_off = cut_off;
    freeReplyObject(reply);
}
