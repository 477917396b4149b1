/* SPDX-License-Identifier: MIT */
/* The Redis source's inside, shared by its files. All of it runs on the receiver's thread, but the probe
 * (main). */
#ifndef CBTAP_INGEST_SOURCE_REDIS_H
#define CBTAP_INGEST_SOURCE_REDIS_H

#include <hiredis/hiredis.h>

#include "cbtap/dead_letter_dir.h"
#include "cbtap/source.h"
#include "ingest/spool.h"

/* One recv. */
#define CBT_REDIS_RECV_BYTES 65536
/* What hiredis's reader is fed at a time: it moves all that is left whenever it has consumed 1 KiB, so that
 * its cost grows with the square of what it holds. */
#define CBT_REDIS_FEED_BYTES 8192
/* A longer string that has not arrived whole goes past the reader, straight to where it belongs. */
#define CBT_REDIS_BULK_BYTES 4096
/* Longer channel names are left out of the frame; their messages are taken. */
#define CBT_REDIS_CHANNEL_BYTES 1024

/* What a push of a subscribed connection is about: its first element. */
enum cbt_redis_kind {
    CBT_REDIS_OTHER,
    CBT_REDIS_PMESSAGE,
    CBT_REDIS_PSUBSCRIBE,
    CBT_REDIS_PONG,
    CBT_REDIS_ERROR, /* not a push: an error reply */
};

/* What a long string is. */
enum cbt_redis_target { CBT_REDIS_TO_NOWHERE, CBT_REDIS_TO_PAYLOAD };

/* The message that is being read. */
struct cbt_redis_message {
    enum cbt_redis_kind kind;
    bool has_payload;
    bool dropped;
    enum cbt_dropped_reason drop_reason;
    size_t payload_len;
    struct cbt_frame *frame; /* NULL: none yet, or dropped, or there is a spool */
    bool spooled;            /* the spool has begun it */
    size_t channel_len;
    char channel[CBT_REDIS_CHANNEL_BYTES];
    char error[160];
};

struct cbt_redis {
    const struct cbt_source_config *config;
    struct cbt_receiver *receiver;
    struct cbt_stats *stats;
    char *pattern_memory;
    const char **argv; /* PSUBSCRIBE and the patterns */
    size_t *argv_lens;
    int argc;

    redisContext *conn;
    unsigned confirmed; /* patterns */
    bool subscribed;

    struct cbt_redis_message message;

    /* The rest of a long string: `rest_len` more bytes of the stream, of which the last two are its CR LF. */
    enum cbt_redis_target rest_target;
    size_t rest_len;
    size_t rest_done; /* bytes of the string that have arrived */
    size_t rest_total;
    struct cbt_dead_letter_file *file;

    int64_t heard_ns;  /* last byte from Redis */
    int64_t pinged_ns; /* 0: no PING is unanswered */
    int64_t lost_ns;   /* the gap is counted up to here; 0: no gap */
    int64_t gap_from_ns;
    enum cbt_gap_reason gap_reason;
    int64_t drained_ns;         /* when the socket was last seen empty */
    size_t unread_bytes;        /* that have come since then */
    bool gap_unread;            /* either was much when the gap began */
    bool unreadable;            /* what Redis sent is no RESP */
    char run_id[64];            /* of the Redis that we were connected to; "": it does not say */
    unsigned long long cut_off; /* clients that it has cut off for their output buffer */

    struct cbt_spool *spool; /* NULL: there is no spool_dir */
    struct cbt_spool_counts spool_told;
    bool spool_failed; /* the log has told that its disk fails; what there was of these then: */
    uint64_t spool_failed_dropped, spool_failed_bypassed;
    int64_t spool_failed_ns; /* the last time */
    uint64_t bypassed;       /* messages */
    int64_t read_wall_ms;

    uint64_t dropped;      /* messages, of this instance */
    uint64_t dropped_told; /* of these, told in the log */
    int64_t dropped_told_ns;

    size_t in_pos, in_len;
    char in[CBT_REDIS_RECV_BYTES];
};

/* redis_connect.c: writes a command. Where it cannot: REDIS_ERR, and `conn` says why. */
int cbt_redis_send(redisContext *conn, int argc, const char **argv, const size_t *lens);
/* Writes a command and waits for its answer, which the caller frees. NULL: `conn` says why there is none. */
redisReply *cbt_redis_ask(redisContext *conn, int argc, const char **argv, const size_t *lens);
/* TCP, AUTH, SELECT; on failure nothing is left open. */
int cbt_redis_login(redisContext **ret_conn, const struct cbt_source_config *config, struct cbt_err *err);
/* An error reply as ours, with a hint: what is wrong at Redis or in the configuration is CBT_EREFUSED. */
int cbt_redis_error_reply(const struct cbt_source_config *config, const char *step, const char *text,
                          struct cbt_err *err);
/* The patterns of `channels` behind "PSUBSCRIBE". */
int cbt_redis_patterns(const char *channels, char **ret_memory, const char ***ret_argv, size_t **ret_lens,
                       int *ret_argc, struct cbt_err *err);
int cbt_redis_probe(const struct cbt_source_config *config, char *ret_report, size_t report_bytes,
                    struct cbt_err *err);

/* redis_gap.c: counts the gap up to now; while it lasts this is called with each try to connect, so that the
 * metric moves. */
void cbt_redis_gap_count(struct cbt_redis *self, int64_t now_ns);
/* The subscription is gone since `since_ns`; the caller returns the error. */
void cbt_redis_gap_begin(struct cbt_redis *self, int64_t since_ns, enum cbt_gap_reason reason);
/* There is a subscription (again). */
void cbt_redis_gap_end(struct cbt_redis *self);
/* Asks Redis, on a new connection that is not yet subscribed, what may have ended the old one. */
void cbt_redis_gap_ask(struct cbt_redis *self);

/* redis_read.c: makes the connection's reader ours; forgets what is half read. */
void cbt_redis_read_start(struct cbt_redis *self);
void cbt_redis_read_reset(struct cbt_redis *self);
/* Takes what has arrived, at most `frames_max` messages; as read of struct cbt_source. */
int cbt_redis_read(struct cbt_redis *self, unsigned frames_max, struct cbt_err *err);

/* redis_spool.c: the spool between reading and frames. False: the message must be dropped. */
bool cbt_redis_spool_begin(struct cbt_redis *self, size_t body_bytes, bool spilled,
                           enum cbt_dropped_reason *ret_reason);
bool cbt_redis_spool_put(struct cbt_redis *self, const char *data, size_t len);
bool cbt_redis_spool_commit(struct cbt_redis *self);
/* What was read is on disk after this, or has gone on without it. */
void cbt_redis_spool_flush(struct cbt_redis *self);
/* As start, feed and settle of struct cbt_source. */
int cbt_redis_spool_start(void *arg, struct cbt_err *err);
int cbt_redis_spool_feed(void *arg, unsigned frames_max);
int cbt_redis_spool_settle(void *arg, struct cbt_frame *const done[], size_t count, struct cbt_err *err);

/* redis_rest.c. True where the reader waits for the rest of a long string: that does not go through the
 * reader, but is for cbt_redis_rest_take, which takes what has been received of it. */
bool cbt_redis_rest_begin(struct cbt_redis *self, bool is_payload);
void cbt_redis_rest_take(struct cbt_redis *self);
/* The message's payload, which has arrived whole. */
void cbt_redis_take_payload(struct cbt_redis *self, const char *data, size_t len);

#endif
