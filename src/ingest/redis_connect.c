/* SPDX-License-Identifier: MIT */
/*
 * Reaches Redis: TCP with a time-out and keep-alive, AUTH, SELECT. Every step has connect_timeout_ms.
 *
 * Failure: CBT_EIO for what passes (unreachable, time-out, loading); CBT_EREFUSED with a hint for what
 * somebody must set right (credentials, permissions, database).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/config_internal.h"
#include "ingest/source_redis.h"

#define SHOWN_BYTES_MAX 160 /* of an error reply */

static const struct {
    const char *begin; /* of the error reply */
    enum cbt_rc rc;
    const char *hint;
} hints[] = {
    {"NOAUTH", CBT_EREFUSED, "set password (and username, for an ACL user)"},
    {"WRONGPASS", CBT_EREFUSED, "check username and password"},
    {"ERR invalid password", CBT_EREFUSED, "check password"},
    {"ERR invalid username-password", CBT_EREFUSED, "check username and password"},
    {"ERR Client sent AUTH", CBT_EREFUSED, "this Redis has no password: leave password empty"},
    {"ERR AUTH <password> called", CBT_EREFUSED, "this Redis has no password: leave password empty"},
    {"ERR wrong number of arguments for 'auth'", CBT_EREFUSED,
     "this Redis is older than 6 and knows no username"},
    {"NOPERM", CBT_EREFUSED,
     "let the user do this, e.g. ACL SETUSER name +@pubsub +@connection &ingress.event.*"},
    {"ERR DB index", CBT_EREFUSED, "set db to one that this Redis has, e.g. 0: PUBSUB does not depend on it"},
    {"ERR invalid DB index", CBT_EREFUSED,
     "set db to one that this Redis has, e.g. 0: PUBSUB does not depend on it"},
    {"ERR SELECT is not allowed", CBT_EREFUSED, "set db = 0: a Redis cluster has no other"},
    {"DENIED", CBT_EREFUSED, "Redis is in protected mode: give it a password or bind it to this address"},
    {"ERR max number of clients", CBT_EREFUSED, "raise maxclients of Redis"},
    {"LOADING", CBT_EIO, "Redis is starting"},
    {"MASTERDOWN", CBT_EIO, "the replica has lost its master"},
};

/* Of a command that it does not know (AUTH by another name: rename-command) Redis tells the arguments, too:
 * the password. */
static int shown_bytes(const char *text)
{
    const char *arguments = strstr(text, ", with args");
    size_t len = arguments != NULL ? (size_t)(arguments - text) : strlen(text);
    return len < SHOWN_BYTES_MAX ? (int)len : SHOWN_BYTES_MAX;
}

int cbt_redis_error_reply(const struct cbt_source_config *config, const char *step, const char *text,
                          struct cbt_err *err)
{
    int shown = shown_bytes(text);
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
        if (strncmp(text, hints[i].begin, strlen(hints[i].begin)) == 0)
            return cbt_err_set(err, hints[i].rc, "Redis at %s:%u answers %s with \"%.*s\"; %s",
                               config->redis.host, (unsigned)config->redis.port, step, shown, text,
                               hints[i].hint);
    return cbt_err_set(err, CBT_EREFUSED, "Redis at %s:%u answers %s with \"%.*s\"", config->redis.host,
                       (unsigned)config->redis.port, step, shown, text);
}

/* hiredis 0.14 itself crashes where it gets no memory for the buffer that takes the place of the one that it
 * has written (redisBufferWrite). So its buffer stays empty, and commands are written here. */
int cbt_redis_send(redisContext *conn, int argc, const char **argv, const size_t *lens)
{
    char *text = NULL;
    int len = redisFormatCommandArgv(&text, argc, argv, lens), done = 0;
    if (len < 0) {
        conn->err = REDIS_ERR_OOM;
        snprintf(conn->errstr, sizeof conn->errstr, "out of memory");
        return REDIS_ERR;
    }
    while (done < len) {
        ssize_t n = send(conn->fd, text + done, (size_t)(len - done), MSG_NOSIGNAL);
        if (n >= 0) {
            done += (int)n;
        } else if (errno != EINTR) {
            conn->err = REDIS_ERR_IO;
            snprintf(conn->errstr, sizeof conn->errstr, "%s", strerror(errno));
            break;
        }
    }
    redisFreeCommand(text);
    return done == len ? REDIS_OK : REDIS_ERR;
}

redisReply *cbt_redis_ask(redisContext *conn, int argc, const char **argv, const size_t *lens)
{
    void *reply = NULL;
    if (cbt_redis_send(conn, argc, argv, lens) != REDIS_OK || redisGetReply(conn, &reply) != REDIS_OK)
        return NULL;
    return reply;
}

/* One command, whose answer must be no error. */
static int command(redisContext *conn, const struct cbt_source_config *config, const char *step, int argc,
                   const char **argv, struct cbt_err *err)
{
    int rc = 0;
    redisReply *reply = cbt_redis_ask(conn, argc, argv, NULL);
    if (!reply)
        rc = cbt_err_set(
            err, CBT_EIO, "Redis at %s:%u, %s: %s", config->redis.host, (unsigned)config->redis.port, step,
            conn->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK) ? "no answer in time"
                                                                                   : conn->errstr);
    else if (reply->type == REDIS_REPLY_ERROR)
        rc = cbt_redis_error_reply(config, step, reply->str, err);
    freeReplyObject(reply);
    return rc;
}

static int authenticate(redisContext *conn, const struct cbt_source_config *config, struct cbt_err *err)
{
    const struct cbt_options_redis *redis = &config->redis;
    const char *argv[3] = {"AUTH"};
    int argc = 1;
    if (!*redis->username && !*redis->password)
        return 0;
    if (*redis->username)
        argv[argc++] = redis->username;
    argv[argc++] = redis->password;
    return command(conn, config, "AUTH", argc, argv, err);
}

/* A name for CLIENT LIST; whether Redis takes it does not matter. */
static int set_name(redisContext *conn, const struct cbt_source_config *config, struct cbt_err *err)
{
    char name[96];
    snprintf(name, sizeof name, "cbtap-%s", config->name);
    const char *argv[] = {"CLIENT", "SETNAME", name};
    int rc = command(conn, config, "CLIENT SETNAME", 3, argv, err);
    return conn->err == 0 ? 0 : rc;
}

int cbt_redis_login(redisContext **ret_conn, const struct cbt_source_config *config, struct cbt_err *err)
{
    const struct cbt_options_redis *redis = &config->redis;
    struct timeval limit = {.tv_sec = (time_t)(redis->connect_timeout_ms / 1000),
                            .tv_usec = (suseconds_t)(redis->connect_timeout_ms % 1000 * 1000)};
    char db[24];
    snprintf(db, sizeof db, "%u", (unsigned)redis->db);
    const char *select[] = {"SELECT", db};
    redisContext *conn = redisConnectWithTimeout(redis->host, (int)redis->port, limit);
    if (!conn)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    int rc = 0;
    if (conn->err != 0 || redisSetTimeout(conn, limit) != REDIS_OK || redisEnableKeepAlive(conn) != REDIS_OK)
        rc =
            cbt_err_set(err, CBT_EIO, "Redis at %s:%u: %s", redis->host, (unsigned)redis->port, conn->errstr);
    if (rc == 0)
        rc = authenticate(conn, config, err);
    if (rc == 0)
        rc = command(conn, config, "SELECT", 2, select, err);
    if (rc == 0)
        rc = set_name(conn, config, err);
    if (rc == 0)
        *ret_conn = conn;
    else
        redisFree(conn);
    return rc;
}

int cbt_redis_patterns(const char *channels, char **ret_memory, const char ***ret_argv, size_t **ret_lens,
                       int *ret_argc, struct cbt_err *err)
{
    char *memory = strdup(channels);
    const char **argv = calloc(CBT_CONFIG_CHANNELS_MAX + 1, sizeof *argv);
    size_t *lens = calloc(CBT_CONFIG_CHANNELS_MAX + 1, sizeof *lens);
    if (!memory || !argv || !lens) {
        free(memory);
        free((void *)argv);
        free(lens);
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    }
    const char *cursor = memory;
    struct cbt_text pattern;
    int argc = 0;
    argv[argc] = "PSUBSCRIBE";
    lens[argc++] = strlen("PSUBSCRIBE");
    while (argc <= CBT_CONFIG_CHANNELS_MAX && cbt_list_next(&cursor, &pattern)) {
        argv[argc] = (const char *)pattern.data;
        lens[argc++] = pattern.len;
    }
    *ret_memory = memory;
    *ret_argv = argv;
    *ret_lens = lens;
    *ret_argc = argc;
    return 0;
}
