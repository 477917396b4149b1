/* SPDX-License-Identifier: MIT */
/*
 * The Redis source against a Redis of our own on a loopback port, which says exactly what a test wants it to.
 * The receiver is the test's, too: it shows what it was given. For one source file of a test.
 */
#ifndef CBTAP_TESTS_REDIS_BED_H
#define CBTAP_TESTS_REDIS_BED_H

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "cbtap/clock.h"
#include "cbtap/source.h"
#include "fake_redis.h"

extern const struct cbt_source cbt_source_redis;

/* ---- the receiver ---- */

#define FRAMES_MAX 4096

struct pushed {
    char *body, *channel;
    size_t body_len, channel_len;
    bool spilled;
    uint64_t token;
};

struct cbt_receiver {
    struct cbt_stats stats;
    bool no_room;
    size_t frame_max_bytes;
    const char *dead_letter_dir;
    struct pushed pushed[FRAMES_MAX];
    size_t pushed_count, taken, untaken;
    size_t dropped[CBT_DROPPED_COUNT], dropped_bytes;
};

struct cbt_frame *cbt_receiver_take(struct cbt_receiver *r, size_t bytes)
{
    if (r->no_room)
        return NULL;
    struct cbt_frame *frame = calloc(1, sizeof *frame);
    assert_non_null(frame);
    uint8_t *data = malloc(bytes + 1);
    assert_non_null(data);
    frame->body = (struct cbt_text){data, bytes};
    r->taken++;
    return frame;
}

void cbt_receiver_untake(struct cbt_receiver *r, struct cbt_frame *frame)
{
    r->untaken++;
    free((void *)frame->body.data);
    free(frame);
}

static inline char *copy_of(struct cbt_text text)
{
    char *copy = calloc(1, text.len + 1);
    assert_non_null(copy);
    memcpy(copy, text.data, text.len);
    return copy;
}

void cbt_receiver_push(struct cbt_receiver *r, struct cbt_frame *frame)
{
    assert_true(r->pushed_count < FRAMES_MAX);
    assert_int_equal(frame->framing, CBT_FRAMING_DETECT);
    assert_int_equal(frame->content_type.len, 0);
    r->pushed[r->pushed_count++] = (struct pushed){.body = copy_of(frame->body),
                                                   .channel = copy_of(frame->routing_key),
                                                   .body_len = frame->body.len,
                                                   .channel_len = frame->routing_key.len,
                                                   .spilled = frame->spilled,
                                                   .token = frame->token};
    free((void *)frame->body.data);
    free(frame);
}

void cbt_receiver_drop(struct cbt_receiver *r, enum cbt_dropped_reason reason, size_t body_bytes)
{
    r->dropped[reason]++;
    r->dropped_bytes += body_bytes;
}

struct cbt_stats *cbt_receiver_stats(struct cbt_receiver *r)
{
    return &r->stats;
}

const char *cbt_receiver_name(const struct cbt_receiver *r)
{
    (void)r;
    return "pubsub";
}

size_t cbt_receiver_frame_max_bytes(const struct cbt_receiver *r)
{
    return r->frame_max_bytes;
}

const char *cbt_receiver_dead_letter_dir(const struct cbt_receiver *r)
{
    return r->dead_letter_dir;
}

/* ---- the source, and the Redis that it is connected to ---- */

struct fixture {
    const struct cbt_source *kind;
    struct redis redis;
    struct cbt_receiver receiver;
    struct cbt_source_config config;
    void *source;
    char dir[64];
};

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->kind = &cbt_source_redis;
    redis_listen(&f->redis);
    f->receiver.frame_max_bytes = 100000;
    snprintf(f->dir, sizeof f->dir, "/tmp/cbtap-redis-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->config = (struct cbt_source_config){.name = "pubsub",
                                           .type = "redis",
                                           .redis = {.type = "redis",
                                                     .host = "127.0.0.1",
                                                     .port = f->redis.port,
                                                     .db = 1,
                                                     .username = "",
                                                     .password = "",
                                                     .channels = "ingress.event.*, other",
                                                     .frames_max = 64,
                                                     .receivers = 1,
                                                     .ping_interval_ms = 10000,
                                                     .connect_timeout_ms = 2000}};
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    f->kind->close(f->source);
    redis_hang_up(&f->redis);
    close(f->redis.listener);
    for (size_t i = 0; i < f->receiver.pushed_count; i++) {
        free(f->receiver.pushed[i].body);
        free(f->receiver.pushed[i].channel);
    }
    DIR *dir = opendir(f->dir);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    rmdir(f->dir);
    free(f);
    return 0;
}

static inline void open_source(struct fixture *f)
{
    struct cbt_err err = {0};
    if (f->source)
        return;
    assert_int_equal(f->kind->open(&f->source, &f->config, &f->receiver, &err), 0);
    if (f->kind->start)
        assert_int_equal(f->kind->start(f->source, &err), 0);
}

static inline void connect_source(struct fixture *f)
{
    struct cbt_err err = {0};
    open_source(f);
    redis_accept(&f->redis);
    if (f->kind->connect(f->source, &err) != 0)
        fail_msg("%s", err.text);
    redis_join(&f->redis);
}

/* Connects where that must fail; the error's text is in *ret_err. */
static inline void connect_fails(struct fixture *f, enum cbt_rc rc, struct cbt_err *ret_err)
{
    open_source(f);
    redis_accept(&f->redis);
    assert_int_equal(f->kind->connect(f->source, ret_err), rc);
    assert_int_equal(f->kind->fd(f->source), -1);
    redis_hang_up(&f->redis);
}

static inline void wait_readable(struct fixture *f)
{
    struct pollfd fd = {.fd = f->kind->fd(f->source), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 5000), 1);
}

static inline int read_source(struct fixture *f, unsigned frames_max, struct cbt_err *err)
{
    return f->kind->read(f->source, frames_max, err);
}

/* Reads until `count` messages were pushed or dropped. */
static inline void read_messages(struct fixture *f, int count)
{
    struct cbt_err err = {0};
    while (count > 0) {
        int n = read_source(f, FRAMES_MAX, &err);
        if (n < 0)
            fail_msg("%s", err.text);
        count -= n;
        if (count > 0 && n == 0)
            wait_readable(f);
    }
    assert_int_equal(count, 0);
}

static inline size_t put_bulk(char *out, const char *data, size_t len)
{
    size_t used = (size_t)sprintf(out, "$%zu\r\n", len);
    memcpy(out + used, data, len);
    out[used + len] = '\r';
    out[used + len + 1] = '\n';
    return used + len + 2;
}

/* A pmessage as Redis writes it; returns malloc'ed bytes. */
static inline char *make_message(const char *channel, const char *body, size_t len, size_t *ret_len)
{
    char *out = malloc(len + strlen(channel) + 256);
    assert_non_null(out);
    size_t used = (size_t)sprintf(out, "*4\r\n");
    used += put_bulk(out + used, "pmessage", 8);
    used += put_bulk(out + used, "ingress.event.*", 15);
    used += put_bulk(out + used, channel, strlen(channel));
    used += put_bulk(out + used, body, len);
    *ret_len = used;
    return out;
}

static inline void publish(struct fixture *f, const char *channel, const char *body, size_t len)
{
    size_t bytes = 0;
    char *message = make_message(channel, body, len, &bytes);
    write_all(f->redis.fd, message, bytes);
    free(message);
}

struct writer {
    int fd;
    const char *data;
    size_t len;
};

static inline void *writer_main(void *arg)
{
    struct writer *writer = arg;
    write_all(writer->fd, writer->data, writer->len);
    return NULL;
}

/* Bytes that no two neighbours of a copying fault would leave equal. */
static inline char *pattern_bytes(size_t len)
{
    char *data = malloc(len + 1);
    assert_non_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)((i * 2654435761u) >> 13);
    data[len] = '\0';
    return data;
}

/* A body of any size that arrives however TCP cuts it. */
static inline void publish_large(struct fixture *f, const char *channel, const char *body, size_t len)
{
    size_t bytes = 0;
    char *message = make_message(channel, body, len, &bytes);
    struct writer writer = {f->redis.fd, message, bytes};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, writer_main, &writer), 0);
    read_messages(f, 1);
    pthread_join(thread, NULL);
    free(message);
}

static inline uint64_t counter(const struct fixture *f, enum cbt_counter id)
{
    return f->receiver.stats.counters[id];
}

#endif
