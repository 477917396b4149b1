/* SPDX-License-Identifier: MIT */
/*
 * What Redis sends to a subscriber, through the source's reading down to the receiver, which is ours. However
 * the stream is cut, and however many messages are asked for at a time, the same messages come out. The input
 * is four bytes of options, then the stream.
 */
#include <string.h>
#include <sys/socket.h>

#include "fuzz.h"
#include "ingest/source_redis.h"

/* Above CBT_REDIS_BULK_BYTES, so that what is dropped for its size takes the way of long strings, too. */
#define FRAME_MAX_BYTES 6000u

/* ---- the receiver: keeps a running hash of what it is given ---- */

struct cbt_receiver {
    struct cbt_stats stats;
    uint64_t hash;
    unsigned messages;
    unsigned out; /* frames taken and neither pushed nor given back */
    unsigned takes;
    unsigned no_room_every; /* 0: always room */
};

static void hash_bytes(struct cbt_receiver *r, const void *bytes, size_t len)
{
    const uint8_t *s = bytes;
    for (size_t i = 0; i < len; i++)
        r->hash = (r->hash ^ s[i]) * UINT64_C(0x100000001b3);
    r->hash = (r->hash ^ len) * UINT64_C(0x100000001b3);
}

struct cbt_frame *cbt_receiver_take(struct cbt_receiver *r, size_t bytes)
{
    FUZZ_CHECK(bytes <= FRAME_MAX_BYTES + CBT_REDIS_CHANNEL_BYTES, "%zu bytes", bytes);
    FUZZ_CHECK(r->out == 0, "a second frame before the first is done");
    if (r->no_room_every > 0 && ++r->takes % r->no_room_every == 0)
        return NULL;
    struct cbt_frame *frame = calloc(1, sizeof *frame);
    uint8_t *data = malloc(bytes > 0 ? bytes : 1);
    FUZZ_CHECK(frame != NULL && data != NULL, "out of memory");
    frame->body = (struct cbt_text){data, bytes};
    r->out++;
    return frame;
}

void cbt_receiver_untake(struct cbt_receiver *r, struct cbt_frame *frame)
{
    r->out--;
    free((void *)frame->body.data);
    free(frame);
}

void cbt_receiver_push(struct cbt_receiver *r, struct cbt_frame *frame)
{
    FUZZ_CHECK(frame->body.len <= FRAME_MAX_BYTES && !frame->spilled, "%zu bytes", frame->body.len);
    FUZZ_CHECK(frame->routing_key.data == frame->body.data + frame->body.len, "the channel is elsewhere");
    hash_bytes(r, frame->body.data, frame->body.len);
    hash_bytes(r, frame->routing_key.data, frame->routing_key.len);
    r->messages++;
    cbt_receiver_untake(r, frame);
}

void cbt_receiver_drop(struct cbt_receiver *r, enum cbt_dropped_reason reason, size_t body_bytes)
{
    FUZZ_CHECK((reason == CBT_DROPPED_frame_too_large) == (body_bytes > FRAME_MAX_BYTES), "%s with %zu bytes",
               cbt_dropped_reason_name(reason), body_bytes);
    hash_bytes(r, &body_bytes, sizeof body_bytes);
    r->messages++;
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
    (void)r;
    return FRAME_MAX_BYTES;
}

const char *cbt_receiver_dead_letter_dir(const struct cbt_receiver *r)
{
    (void)r;
    return NULL;
}

/* ---- the source ---- */

static const struct cbt_source_config config = {.name = "pubsub", .type = "redis"};

/* A connection whose socket never holds anything: what is received is put where the source receives. */
static redisContext *quiet_connection(void)
{
    static int fds[2];
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "no socket");
    redisContext *conn = redisConnectFd(fds[0]);
    FUZZ_CHECK(conn != NULL, "out of memory");
    return conn;
}

/* Reads what lies in the source's memory, until there is nothing left. */
static int read_all(struct cbt_redis *self, unsigned frames_max)
{
    struct cbt_err err = {0};
    int n;
    do {
        unsigned before = self->receiver->messages;
        n = cbt_redis_read(self, frames_max, &err);
        FUZZ_CHECK(n >= 0 || err.text[0] != '\0', "no word of why");
        FUZZ_CHECK(n < 0 || (unsigned)n == self->receiver->messages - before, "%d messages, said %u", n,
                   self->receiver->messages - before);
        FUZZ_CHECK(n <= (int)frames_max, "%d messages, asked for %u", n, frames_max);
    } while (n > 0);
    FUZZ_CHECK(n < 0 || self->in_pos == self->in_len, "stops before all is read");
    return n;
}

static void run(struct cbt_redis *self, struct cbt_receiver *receiver, struct cbt_text stream, size_t cut,
                unsigned frames_max, bool *ret_failed)
{
    self->receiver = receiver;
    redisReaderFree(self->conn->reader);
    self->conn->reader = redisReaderCreate();
    FUZZ_CHECK(self->conn->reader != NULL, "out of memory");
    cbt_redis_read_start(self);
    int n = 0;
    for (size_t at = 0, len; at < stream.len && n >= 0; at += len) {
        len = stream.len - at < cut ? stream.len - at : cut;
        self->in_len = sizeof self->in;
        self->in_pos = self->in_len - len;
        /* At the very end of the memory, beyond which a sanitizer sees what is read. */
        memcpy(self->in + self->in_pos, stream.data + at, len);
        n = read_all(self, frames_max);
    }
    cbt_redis_read_reset(self);
    FUZZ_CHECK(receiver->out == 0, "a frame was not given back");
    *ret_failed = n < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cbt_redis *self;
    if (self == NULL) {
        self = calloc(1, sizeof *self);
        FUZZ_CHECK(self != NULL, "out of memory");
        self->config = &config;
        self->conn = quiet_connection();
    }
    struct cbt_text stream = {data, size};
    uint8_t options = fuzz_byte(&stream), cut = fuzz_byte(&stream);
    uint8_t frames_max = fuzz_byte(&stream), no_room = fuzz_byte(&stream);
    if (stream.len > sizeof self->in)
        stream.len = sizeof self->in;
    self->subscribed = (options & 1) != 0;
    struct cbt_receiver whole = {.no_room_every = no_room % 4}, pieces = whole;
    bool whole_failed = false, pieces_failed = false;
    run(self, &whole, stream, sizeof self->in, 1024, &whole_failed);
    run(self, &pieces, stream, 1 + cut * (size_t)cut / 4, 1 + frames_max % 8, &pieces_failed);
    FUZZ_CHECK(whole_failed == pieces_failed, "whole it fails: %d", whole_failed);
    FUZZ_CHECK(whole.messages == pieces.messages && whole.hash == pieces.hash, "%u messages, in pieces %u",
               whole.messages, pieces.messages);
    return 0;
}
