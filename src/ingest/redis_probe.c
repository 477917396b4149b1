/* SPDX-License-Identifier: MIT */
/* `check --connect`: what a section of type redis would find. Subscribes for a moment, to see that it may. */
#include <stdlib.h>
#include <string.h>

#include "ingest/source_redis.h"

/* The answer to what a careful ACL may forbid; NULL without one. */
static redisReply *ask(redisContext *conn, int argc, const char **argv, int type)
{
    redisReply *reply = conn->err ? NULL : cbt_redis_ask(conn, argc, argv, NULL);
    if (reply && reply->type == type)
        return reply;
    freeReplyObject(reply);
    return NULL;
}

static void put_version(redisContext *conn, char *ret_text, size_t text_bytes)
{
    const char *argv[] = {"INFO", "server"};
    redisReply *reply = ask(conn, 2, argv, REDIS_REPLY_STRING);
    const char *version = reply ? strstr(reply->str, "redis_version:") : NULL;
    snprintf(ret_text, text_bytes, "Redis");
    if (version) {
        version += strlen("redis_version:");
        snprintf(ret_text, text_bytes, "Redis %.*s", (int)strcspn(version, "\r\n"), version);
    }
    freeReplyObject(reply);
}

static void put_subscriptions(redisContext *conn, char *ret_text, size_t text_bytes)
{
    const char *argv[] = {"PUBSUB", "NUMPAT"};
    redisReply *reply = ask(conn, 2, argv, REDIS_REPLY_INTEGER);
    ret_text[0] = '\0';
    if (reply)
        snprintf(ret_text, text_bytes, ", %lld pattern%s subscribed by others", reply->integer,
                 reply->integer == 1 ? "" : "s");
    freeReplyObject(reply);
}

/* "pubsub 33554432 8388608 60" out of all classes: beyond these Redis cuts a slow subscriber off. */
static void put_buffer_limit(redisContext *conn, char *ret_text, size_t text_bytes)
{
    const char *argv[] = {"CONFIG", "GET", "client-output-buffer-limit"};
    redisReply *reply = ask(conn, 3, argv, REDIS_REPLY_ARRAY);
    const char *limit = NULL;
    if (reply && reply->elements == 2 && reply->element[1]->type == REDIS_REPLY_STRING)
        limit = strstr(reply->element[1]->str, "pubsub ");
    ret_text[0] = '\0';
    if (limit) {
        char *end = NULL;
        long long hard = strtoll(limit + strlen("pubsub "), &end, 10);
        long long soft = strtoll(end, &end, 10);
        long long seconds = strtoll(end, &end, 10);
        snprintf(ret_text, text_bytes,
                 ", cuts a subscriber off that lags by %lld bytes, or by %lld for %lld s (0: no limit)", hard,
                 soft, seconds);
    }
    freeReplyObject(reply);
}

static int try_patterns(redisContext *conn, const struct cbt_source_config *config, struct cbt_err *err)
{
    char *memory = NULL;
    const char **argv = NULL;
    size_t *lens = NULL;
    int argc = 0;
    int rc = cbt_redis_patterns(config->redis.channels, &memory, &argv, &lens, &argc, err);
    if (rc != 0)
        return rc;
    redisReply *reply = cbt_redis_ask(conn, argc, argv, lens);
    if (!reply)
        rc = cbt_err_set(err, CBT_EIO, "Redis at %s:%u, PSUBSCRIBE: %s", config->redis.host,
                         (unsigned)config->redis.port, conn->errstr);
    else if (reply->type == REDIS_REPLY_ERROR)
        rc = cbt_redis_error_reply(config, "PSUBSCRIBE", reply->str, err);
    freeReplyObject(reply);
    free(memory);
    free((void *)argv);
    free(lens);
    return rc;
}

int cbt_redis_probe(const struct cbt_source_config *config, char *ret_report, size_t report_bytes,
                    struct cbt_err *err)
{
    const struct cbt_options_redis *redis = &config->redis;
    redisContext *conn = NULL;
    char version[64], subscriptions[64], limit[128];
    int rc = cbt_redis_login(&conn, config, err);
    if (rc != 0)
        return rc;
    put_version(conn, version, sizeof version);
    put_subscriptions(conn, subscriptions, sizeof subscriptions);
    put_buffer_limit(conn, limit, sizeof limit);
    rc = try_patterns(conn, config, err);
    if (rc == 0)
        snprintf(ret_report, report_bytes, "%s at %s:%u, user %s, database %u, may subscribe to %s%s%s",
                 version, redis->host, (unsigned)redis->port, *redis->username ? redis->username : "default",
                 (unsigned)redis->db, redis->channels, subscriptions, limit);
    redisFree(conn);
    return rc;
}
