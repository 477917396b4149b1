/* SPDX-License-Identifier: MIT */
/*
 * Sources: where frames come from. A source knows its protocol; receiver.c has the loop that all share: read,
 * hand over, settle, wait, reconnect. All functions run on the receiver's thread, but open, start, close and
 * probe (main).
 */
#ifndef CBTAP_SOURCE_H
#define CBTAP_SOURCE_H

#include "cbtap/config.h"
#include "cbtap/err.h"
#include "cbtap/frame.h"
#include "cbtap/metrics.h"

struct cbt_receiver;

struct cbt_source {
    const char *type;      /* "amqp" */
    const char *guarantee; /* "at-least-once", "at-most-once from Redis to cbtap" */
    bool redelivers;       /* an unsettled frame comes again after a reconnect */
    bool meets_poison;     /* and after a restart: its frames have poison_tries, see poison.h */

    /* How many frames one receiver of this section may hold unsettled (the frame pool's size). */
    uint32_t (*frames_max)(const struct cbt_source_config *config);

    /* No I/O: checks what the option table cannot, allocates. `config` and `receiver` outlive the instance.
     */
    int (*open)(void **ret_self, const struct cbt_source_config *config, struct cbt_receiver *receiver,
                struct cbt_err *err);

    /* NULL, or: what must be there before anything is read (a spool); as open, on the main thread.
     * CBT_EINVAL: the configuration is at fault. `check` does not come here. */
    int (*start)(void *self, struct cbt_err *err);

    /* Connects, declares, subscribes; blocks for connect_timeout_ms at most a step. CBT_EIO: try again soon;
     * CBT_EREFUSED: slowly. What failed in part but lets the rest work (a missing exchange) is logged here,
     * once, and returns 0: see tick. */
    int (*connect)(void *self, struct cbt_err *err);

    /* The descriptor to wait on for the next frame, -1 while not connected. */
    int (*fd)(void *self);

    /* Takes what has arrived, without blocking, up to `frames_max` frames: for each cbt_receiver_take, fill,
     * cbt_receiver_push. Returns the number of frames pushed or dropped, or `frames_max` where it has other
     * work to go on with at once; CBT_ELIMIT: there was no budget for
     * the next frame (it is kept half-read, the next read goes on there); other negative: the connection is
     * lost. */
    int (*read)(void *self, unsigned frames_max, struct cbt_err *err);

    /* NULL, or: hands on what the source itself keeps (a spool), up to `frames_max` frames, whether there is
     * a connection or not; called at least every tick_ms, after each read. Returns the number of frames
     * pushed; CBT_ELIMIT: there was no room for the next. */
    int (*feed)(void *self, unsigned frames_max);

    /* Called at least every tick_ms (100), also while nothing is read: heartbeats out, hang-up noticed, PING,
     * what was missing tried again. Negative: the connection is lost. */
    int (*tick)(void *self, int64_t now_ns, struct cbt_err *err);

    /* These frames are done, in the order of their completion; they are recycled after the call. A frame of
     * an old generation is ignored (counted as abandoned by the source). The source acknowledges when it sees
     * fit (batches), see settle_flush. Negative: the connection is lost. */
    int (*settle)(void *self, struct cbt_frame *const done[], size_t count, struct cbt_err *err);

    /* Writes acknowledgements that are still held back: after 100 ms, and at the end. */
    int (*settle_flush)(void *self, struct cbt_err *err);

    /* Drops the connection; frames of it that are still in flight become stale (generation). NULL self is
     * fine. */
    void (*disconnect)(void *self);
    void (*close)(void *self);

    /* NULL, or: SIGHUP. Says what of the section counts from when. @thread main */
    void (*reload)(const struct cbt_source_config *config);

    /* `check --connect`: reaches the peer with its own connection and writes one line of what it found into
     * `ret_report`. */
    int (*probe)(const struct cbt_source_config *config, char *ret_report, size_t report_bytes,
                 struct cbt_err *err);
};

/* The Redis source where it has a spool_dir. */
extern const struct cbt_source cbt_source_redis_spool;

/* The row of sources.def with that type, or NULL. @thread any */
const struct cbt_source *cbt_source_find(const char *type);
/* The section's source, or NULL. @thread any */
const struct cbt_source *cbt_source_of(const struct cbt_source_config *config);

/* ---- what the receiver gives to its source; @thread receiver ---- */

/* A fresh frame with `bytes` writable bytes at (uint8_t *)frame->body.data (body.len is `bytes`): the source
 * puts the body and, behind it, the texts (routing key, host name) into these bytes and sets the frame's
 * fields. The frame's other fields are zero; arrived_ns is set. NULL: no budget or no free frame; nothing was
 * taken. */
struct cbt_frame *cbt_receiver_take(struct cbt_receiver *receiver, size_t bytes);

/* Gives a taken frame back unused (the connection died amid its body). It was never received. */
void cbt_receiver_untake(struct cbt_receiver *receiver, struct cbt_frame *frame);

/* Hands the frame over to the worker of its sensor. Counts it as received (and redelivered). */
void cbt_receiver_push(struct cbt_receiver *receiver, struct cbt_frame *frame);

/* A PUBSUB message that could not be taken: counted as received and dropped. */
void cbt_receiver_drop(struct cbt_receiver *receiver, enum cbt_dropped_reason reason, size_t body_bytes);

/* The receiver's counters. */
struct cbt_stats *cbt_receiver_stats(struct cbt_receiver *receiver);
/* The section's name, for the log. */
const char *cbt_receiver_name(const struct cbt_receiver *receiver);
/* [cbtap] frame_max_bytes */
size_t cbt_receiver_frame_max_bytes(const struct cbt_receiver *receiver);
/* dead_letter_dir of the sink that takes dead letters, or NULL */
const char *cbt_receiver_dead_letter_dir(const struct cbt_receiver *receiver);

#endif
