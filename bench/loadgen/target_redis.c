/* SPDX-License-Identifier: MIT */
/*
 * Publishes on Redis PUBSUB, each event on its type's channel, pipelined.
 *
 * Failure modes: PUBLISH answers how many clients got the message; 0 is an error unless the check is off. An
 * error that Redis answers, and a lost connection, end the run.
 */
#include <errno.h>
#include <hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "target.h"

#define CONNECT_TIMEOUT_S  10
#define PIPELINE_MAX       128u
#define PIPELINE_MAX_BYTES (1u << 20)
#define LOG_CHANNEL        "ingress.event.bundle"

struct redis_target {
    struct cbt_target_options options;
    redisContext *redis;
    char channels[PIPELINE_MAX][64]; /* of the messages whose answers are outstanding */
    uint32_t outstanding;
    size_t outstanding_bytes;
};

static int set_redis_error(struct redis_target *t, const char *what, struct cbt_err *err)
{
    return cbt_err_set(err, CBT_EIO, "%s: %s", what, t->redis->err ? t->redis->errstr : "no answer");
}

/* Takes [redis://][[USER:]PASSWORD@]HOST[:PORT][/DB] apart, in place; the database is ignored: PUBSUB has
 * none. */
static void split_url(char *url, char **ret_password, char **ret_user, char **ret_host, int *ret_port)
{
    char *p = strncmp(url, "redis://", 8) == 0 ? url + 8 : url;
    char *at = strrchr(p, '@'), *colon;
    *ret_password = *ret_user = NULL;
    *ret_port = 6379;
    p[strcspn(p, "/")] = 0;
    if (at) {
        *at = 0;
        colon = strchr(p, ':');
        *ret_password = colon ? colon + 1 : p;
        if (colon && colon > p) {
            *colon = 0;
            *ret_user = p;
        }
        p = at + 1;
    }
    colon = strrchr(p, ':');
    if (colon) {
        *colon = 0;
        *ret_port = (int)strtol(colon + 1, NULL, 10);
    }
    *ret_host = p;
}

static int authenticate(struct redis_target *t, const char *user, const char *password, struct cbt_err *err)
{
    redisReply *reply = user ? redisCommand(t->redis, "AUTH %s %s", user, password)
                             : redisCommand(t->redis, "AUTH %s", password);
    int rc = 0;
    if (!reply)
        rc = set_redis_error(t, "AUTH", err);
    else if (reply->type == REDIS_REPLY_ERROR)
        rc = cbt_err_set(err, CBT_EREFUSED, "AUTH: Redis says %s", reply->str);
    freeReplyObject(reply);
    return rc;
}

static void close_target(void *self)
{
    struct redis_target *t = self;
    if (!t)
        return;
    redisFree(t->redis);
    free(t);
}

static int open_target(void **ret_self, const struct cbt_target_options *options, struct cbt_err *err)
{
    struct redis_target *t = cbt_bytes_checked(calloc(1, sizeof(*t)));
    char *url = cbt_bytes_checked(strdup(options->url)), *user, *password, *host;
    int rc = 0, port;
    t->options = *options;
    split_url(url, &password, &user, &host, &port);
    t->redis =
        cbt_bytes_checked(redisConnectWithTimeout(host, port, (struct timeval){.tv_sec = CONNECT_TIMEOUT_S}));
    if (t->redis->err)
        rc = cbt_err_set(err, CBT_EIO, "cannot reach Redis at %s:%d: %s", host, port, t->redis->errstr);
    else if (password)
        rc = authenticate(t, user, password, err);
    free(url);
    if (rc) {
        close_target(t);
        return rc;
    }
    *ret_self = t;
    return 0;
}

static int check_answer(struct redis_target *t, const redisReply *reply, const char *channel,
                        struct cbt_err *err)
{
    if (reply->type == REDIS_REPLY_ERROR)
        return cbt_err_set(err, CBT_EREFUSED, "PUBLISH: Redis says %s", reply->str);
    if (reply->type != REDIS_REPLY_INTEGER)
        return cbt_err_set(err, CBT_EIO, "PUBLISH: unexpected answer of type %d", reply->type);
    if (reply->integer == 0 && t->options.check)
        return cbt_err_set(err, CBT_EREFUSED,
                           "nobody subscribes to %s: start cbtap first, or give --no-check", channel);
    return 0;
}

static int flush(void *self, struct cbt_err *err)
{
    struct redis_target *t = self;
    for (uint32_t i = 0; i < t->outstanding; i++) {
        void *reply;
        if (redisGetReply(t->redis, &reply) != REDIS_OK)
            return set_redis_error(t, "PUBLISH", err);
        const int rc = check_answer(t, reply, t->channels[i], err);
        freeReplyObject(reply);
        if (rc)
            return rc;
    }
    t->outstanding = 0;
    t->outstanding_bytes = 0;
    return 0;
}

static int publish(void *self, const struct cbt_message *message, struct cbt_err *err)
{
    struct redis_target *t = self;
    const char *channel = message->key;
    if (t->options.channel)
        channel = t->options.channel;
    else if (cbt_message_is_log(message))
        channel = LOG_CHANNEL;
    const char *argv[] = {"PUBLISH", channel, (const char *)message->body.data};
    const size_t lens[] = {7, strlen(channel), message->body.len};
    if (redisAppendCommandArgv(t->redis, 3, argv, lens) != REDIS_OK)
        return set_redis_error(t, "PUBLISH", err);
    snprintf(t->channels[t->outstanding], sizeof(t->channels[0]), "%s", channel);
    t->outstanding++;
    t->outstanding_bytes += message->body.len;
    if (t->outstanding == PIPELINE_MAX || t->outstanding_bytes >= PIPELINE_MAX_BYTES)
        return flush(t, err);
    return 0;
}

const struct cbt_target cbt_target_redis = {open_target, publish, flush, flush, close_target};
