/* SPDX-License-Identifier: MIT */
/*
 * What the sinks that write bytes share (all but Kafka): one thread for each sink, which takes records over
 * from the workers without a copy, frames them, writes them in batches to a channel (a file, a connection),
 * and settles them when the channel says that they are kept.
 *   writer.c        life, queue, the workers' side
 *   writer_run.c    the thread: opens, writes, confirms, settles, begins again after a failure
 *   writer_frame.c  framing: a record's head, value and end as parts of a writev
 *   writer_dead.c   dead letters: dead_letter_dir
 *
 * Failure: whatever goes wrong with a channel, it is dropped and opened again after a pause; what was not
 * confirmed is written again, whole and in order.
 */
#ifndef CBTAP_SINK_WRITER_H
#define CBTAP_SINK_WRITER_H

#include <pthread.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "cbtap/sink.h"

#define WRITER_IOV_MAX        1024
#define WRITER_HEAD_MAX_BYTES 512
#define WRITER_NS_PER_MS      INT64_C(1000000)
#define WRITER_RETRY_MIN_MS   50 /* of a connection */
#define WRITER_RETRY_MAX_MS   500

/* What stands before a record's value in syslog: RFC 5424, section 6. */
struct writer_syslog {
    char before[16];  /* "<PRI>1 " */
    char behind[352]; /* " HOSTNAME APP-NAME PROCID " */
    uint32_t before_len, behind_len;
    int64_t second; /* of `time` */
    char time[20];  /* "2026-01-31T23:59:59" */
};

enum writer_framing {
    WRITER_LINES,     /* a line feed behind each */
    WRITER_OCTETS,    /* "LENGTH " before each: RFC 6587, section 3.4.1 */
    WRITER_DATAGRAMS, /* each by itself */
};

/* Frames to be written: `parts` entries of `iov` for each. */
struct writer_batch {
    struct iovec iov[WRITER_IOV_MAX];
    unsigned parts, frames;
};

struct writer_channel;
struct writer_channel_ops {
    /* Opens or connects; may take its time-out, but returns soon after writer_quits. */
    int (*open)(struct writer_channel *self, struct cbt_err *err);
    /* How many bytes of the batch were taken, in order; 0: none for now, `fd` tells when; -1: err says why,
     * the channel is to be dropped, and with CBT_ELIMIT its first frame is too large for ever. */
    ssize_t (*write)(struct writer_channel *self, struct writer_batch *batch, struct cbt_err *err);
    /* Bytes taken since it was opened. */
    uint64_t (*position)(const struct writer_channel *self);
    /* Up to which position all is kept, and in how many ms to ask again where that is not all. NULL: what is
     * taken is kept. */
    int (*confirm)(struct writer_channel *self, uint64_t *ret_position, int *ret_again_ms,
                   struct cbt_err *err);
    /* Looks at an `fd` that is readable: an error where the peer has gone. */
    int (*look)(struct writer_channel *self, struct cbt_err *err);
    /* What there is to do from time to time, and when `reopen` (SIGHUP), between two frames. NULL: nothing.
     */
    int (*tend)(struct writer_channel *self, int64_t now_ns, bool reopen, struct cbt_err *err);
    /* After an error, and before it is freed. */
    void (*drop)(struct writer_channel *self);
    void (*free)(struct writer_channel *self);
};

/* The head of each sink's own structure. */
struct writer_channel {
    const struct writer_channel_ops *ops;
    struct writer *writer;
    int fd;         /* to be watched; -1: none */
    bool exact;     /* positions count the frames' bytes and no others */
    bool watched;   /* also while nothing is to be written */
    char what[280]; /* for people: "file /x", "10.0.0.1:514 (tcp)" */
};

struct writer_settings {
    enum writer_framing framing;
    uint32_t frame_max_bytes; /* a larger one is a dead letter; 0: no bound */
    const struct writer_syslog *syslog;
    uint64_t queue_records;
    int retry_min_ms; /* the pause before a channel is opened again; doubles up to WRITER_RETRY_MAX_MS */
};

struct writer_run { /* records of one frame, not yet settled */
    struct cbt_frame *frame;
    uint32_t count, events;
    uint64_t bytes;
};

struct writer {
    struct cbt_sink_context context;
    struct writer_settings settings;
    struct writer_syslog syslog; /* the thread's own, as it remembers the second */
    struct writer_channel *channel;
    const char *name;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* done has grown, or abandoned */
    pthread_t thread;
    bool started;
    int wake_fd; /* written where the inbox becomes other than empty */
    struct cbt_record *inbox, **inbox_end;
    uint64_t taken, done; /* records, under the lock */
    bool abandoned;
    char fault[CBT_ERR_TEXT_BYTES]; /* why it is down; under the lock */
    _Atomic bool quit, up, delivers, reopen;
    _Atomic uint64_t queue_full;

    /* The thread's. */
    struct cbt_record *head, **tail; /* all that are not settled, in order */
    struct cbt_record *cursor;       /* the first that is not wholly written */
    size_t offset;                   /* bytes of it that are */
    uint64_t settled;                /* since `done` was last told */
    struct writer_run run;
    bool told, was_up;
    bool full; /* the channel takes nothing for now */
    int64_t down_since_ns, retry_ns, retry_pause_ns;
    int confirm_again_ms; /* -1: nothing to confirm */
    struct cbt_record *dead, **dead_end;
    int64_t dead_retry_ns;
    bool dead_stuck;
    struct cbt_dead_letter too_large;
    char too_large_text[96];
    struct writer_batch batch;
    uint8_t *heads; /* [frames of a batch][WRITER_HEAD_MAX_BYTES]; NULL: there are none */
};

/* ---- writer.c; for the sinks' rows ---- */

/* Takes `channel` over, also on failure. */
int writer_open(void **ret_self, const struct cbt_sink_context *context,
                const struct writer_settings *settings, struct writer_channel *channel, struct cbt_err *err);
void writer_submit(void *self, unsigned worker, struct cbt_record *const recs[], size_t count);
int writer_drain(void *self, int timeout_ms, struct cbt_err *err);
void writer_abandon(void *self);
void writer_close(void *self);
bool writer_ready(void *self, char *ret_reason, size_t reason_bytes);
void writer_reload(void *self);
/* What a sink's row has in common with the others'. */
#define WRITER_CALLS                                                                                         \
    .submit = writer_submit, .drain = writer_drain, .abandon = writer_abandon, .close = writer_close,        \
    .ready = writer_ready
/* Whether format and dead_letter_dir do for that framing. @thread main */
int writer_check(const struct cbt_sink_config *config, enum writer_framing framing, struct cbt_err *err);

/* For channels: waits for `events` at `fd`, at most until deadline_ns, and no longer than the sink is open.
 * `w` may be NULL: then nothing ends it earlier. False: not in time. @thread the writer's */
bool writer_await(const struct writer *w, int fd, short events, int64_t deadline_ns);

/* ---- writer_run.c ---- */

void *writer_main(void *arg);
/* One record less that its frame waits for. @thread the writer's */
void writer_settle(struct writer *w, struct cbt_record *record);

/* ---- writer_frame.c ---- */

/* The parts of the records from w->cursor on, less what is written of the first. What is too large is taken
 * out, to become a dead letter. */
void writer_fill(struct writer *w);
unsigned writer_parts(const struct writer *w);

/* ---- writer_dead.c ---- */

void writer_dead_add(struct writer *w, struct cbt_record *record);
/* Takes the first record that is not written out of the chain: it goes on as a dead letter. */
void writer_refuse_cursor(struct writer *w);
void writer_dead_serve(struct writer *w, int64_t now_ns);

#endif
