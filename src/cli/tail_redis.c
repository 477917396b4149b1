/* SPDX-License-Identifier: MIT */
/*
 * tail on Redis: a subscription to the section's channels, which is gone with its connection. The socket is
 * always read, so that Redis does not cut us off for being slow; what cannot be shown is skipped here.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "cli/tail.h"
#include "ingest/source_redis.h"

#define NS_PER_MS INT64_C(1000000)
#define TAKE_MS   50
/* A reply that has not arrived whole; Redis's own limit of a string is 512 MiB. */
#define REPLY_BYTES_MAX 67108864u

struct bus {
    char *memory;
    const char **argv;
    size_t *lens;
    int argc;
    redisContext *conn; /* NULL: not connected */
    int confirmed;      /* patterns */
    int64_t heard_ns, pinged_ns;
};

static void redis_close(struct cbt_tail *tail)
{
    struct bus *bus = tail->bus_self;
    if (!bus)
        return;
    free((void *)bus->argv);
    free(bus->lens);
    free(bus->memory);
    free(bus);
}

static int redis_open(struct cbt_tail *tail, struct cbt_err *err)
{
    struct bus *bus = calloc(1, sizeof *bus);
    if (!bus)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    tail->bus_self = bus;
    return cbt_redis_patterns(tail->source->redis.channels, &bus->memory, &bus->argv, &bus->lens, &bus->argc,
                              err);
}

static void redis_disconnect(struct cbt_tail *tail)
{
    struct bus *bus = tail->bus_self;
    if (!bus || !bus->conn)
        return;
    redisFree(bus->conn);
    bus->conn = NULL;
}

static struct cbt_text text_of(const redisReply *reply)
{
    return (struct cbt_text){(const uint8_t *)reply->str, reply->len};
}

/* ["pmessage", pattern, channel, payload]; the rest is answers. */
static int on_reply(struct cbt_tail *tail, struct bus *bus, const redisReply *reply, struct cbt_err *err)
{
    if (reply->type == REDIS_REPLY_ERROR)
        return cbt_redis_error_reply(tail->source, "PSUBSCRIBE", reply->str, err);
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
        reply->element[0]->type == REDIS_REPLY_STRING && strcmp(reply->element[0]->str, "psubscribe") == 0)
        bus->confirmed++;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 4)
        return 0;
    for (size_t i = 0; i < 4; i++)
        if (reply->element[i]->type != REDIS_REPLY_STRING)
            return 0;
    if (strcmp(reply->element[0]->str, "pmessage") != 0)
        return 0;
    struct cbt_frame frame = {.body = text_of(reply->element[3]),
                              .routing_key = text_of(reply->element[2]),
                              .framing = CBT_FRAMING_DETECT};
    cbt_tail_take(tail, &frame);
    return 0;
}

static int take_replies(struct cbt_tail *tail, struct bus *bus, struct cbt_err *err)
{
    for (;;) {
        void *reply = NULL;
        if (redisGetReplyFromReader(bus->conn, &reply) != REDIS_OK)
            return cbt_err_set(err, CBT_EIO, "Redis: %s", bus->conn->errstr);
        if (!reply)
            break;
        int rc = on_reply(tail, bus, reply, err);
        freeReplyObject(reply);
        if (rc != 0)
            return rc;
    }
    if (bus->conn->reader->len > REPLY_BYTES_MAX)
        return cbt_err_set(err, CBT_EIO, "a message from Redis is larger than %u bytes", REPLY_BYTES_MAX);
    return 0;
}

/* A PING after a silence; no answer to it within as long again is the end. */
static int watch(const struct cbt_tail *tail, struct bus *bus, struct cbt_err *err)
{
    static const char *argv[] = {"PING"};
    int64_t now_ns = cbt_now_ns();
    int64_t interval_ns = (int64_t)tail->source->redis.ping_interval_ms * NS_PER_MS;
    if (now_ns - bus->heard_ns < interval_ns)
        return 0;
    if (bus->pinged_ns != 0 && now_ns - bus->pinged_ns >= interval_ns)
        return cbt_err_set(err, CBT_EIO, "Redis has been silent for %lld ms and does not answer PING",
                           (long long)((now_ns - bus->heard_ns) / NS_PER_MS));
    if (bus->pinged_ns == 0 && cbt_redis_send(bus->conn, 1, argv, NULL) != REDIS_OK)
        return cbt_err_set(err, CBT_EIO, "PING: %s", bus->conn->errstr);
    if (bus->pinged_ns == 0)
        bus->pinged_ns = now_ns;
    return 0;
}

static int redis_take(struct cbt_tail *tail, int timeout_ms, struct cbt_err *err)
{
    struct bus *bus = tail->bus_self;
    struct pollfd fd = {.fd = bus->conn->fd, .events = POLLIN};
    int n = poll(&fd, 1, timeout_ms);
    if (n < 0 && errno != EINTR)
        return cbt_err_set(err, CBT_EIO, "poll: %s", strerror(errno));
    if (n <= 0)
        return watch(tail, bus, err);
    if (redisBufferRead(bus->conn) != REDIS_OK)
        return cbt_err_set(err, CBT_EIO, "Redis: %s", bus->conn->errstr);
    bus->heard_ns = cbt_now_ns();
    bus->pinged_ns = 0;
    int rc = take_replies(tail, bus, err);
    return rc != 0 ? rc : 1;
}

static int redis_connect(struct cbt_tail *tail, struct cbt_err *err)
{
    struct bus *bus = tail->bus_self;
    int rc = cbt_redis_login(&bus->conn, tail->source, err);
    if (rc != 0)
        return rc;
    bus->heard_ns = cbt_now_ns();
    bus->pinged_ns = 0;
    bus->confirmed = 0;
    snprintf(tail->listens_to, sizeof tail->listens_to, "channels %s", tail->source->redis.channels);
    if (cbt_redis_send(bus->conn, bus->argc, bus->argv, bus->lens) != REDIS_OK)
        rc = cbt_err_set(err, CBT_EIO, "PSUBSCRIBE: %s", bus->conn->errstr);
    int64_t end_ns = bus->heard_ns + (int64_t)tail->source->redis.connect_timeout_ms * NS_PER_MS;
    while (rc == 0 && bus->confirmed + 1 < bus->argc) {
        int64_t left_ms = (end_ns - cbt_now_ns()) / NS_PER_MS;
        if (left_ms <= 0 || cbt_tail_stopped)
            rc = cbt_err_set(err, CBT_EIO, "PSUBSCRIBE: no answer in time");
        else if ((rc = redis_take(tail, left_ms < TAKE_MS ? (int)left_ms : TAKE_MS, err)) > 0)
            rc = 0;
    }
    if (rc != 0)
        redis_disconnect(tail);
    return rc;
}

const struct cbt_tail_bus cbt_tail_redis = {.type = "redis",
                                            .open = redis_open,
                                            .connect = redis_connect,
                                            .take = redis_take,
                                            .disconnect = redis_disconnect,
                                            .close = redis_close};
