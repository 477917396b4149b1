/* SPDX-License-Identifier: MIT */
/*
 * A worker's batch: the record memory that its frames fill, the records not yet handed over, and the frames
 * that they belong to. worker.c decides what becomes a record; this is where it is kept, counted and handed
 * over.
 */
#ifndef CBTAP_DECODE_BATCH_H
#define CBTAP_DECODE_BATCH_H

#include "cbtap/poison.h"
#include "decode/worker.h"

struct cbt_batch_frame {
    struct cbt_frame *frame;
    uint32_t records; /* of this batch, over all sinks */
    bool complete;    /* walked to its end */
};

struct cbt_batch {
    const struct cbt_worker_context *context;
    struct cbt_alarm *alarm;
    const _Atomic bool *quit;
    struct cbt_block_pool blocks;
    struct cbt_record **records[CBT_SINKS_MAX]; /* [CBT_BATCH_RECORDS_MAX] */
    uint32_t record_count[CBT_SINKS_MAX];
    uint32_t event_count[CBT_SINKS_MAX]; /* records that are no dead letters */
    struct cbt_batch_frame *frames;      /* [CBT_BATCH_FRAMES_MAX] */
    uint32_t frame_count;
    uint32_t credit; /* records whose CBT_RECORD_OVERHEAD_BYTES are already charged */
    bool overdrawing;
    size_t held_bytes;  /* charged by cbt_batch_hold */
    int64_t blocked_ns; /* spent waiting, for the worker's account of its time */

    /* The frame at hand. */
    struct cbt_frame *frame;
    struct cbt_poison_watch watch;
    const uint8_t *key; /* text of key_sensor_id, in the frame's memory */
    uint32_t key_len;
    int32_t key_sensor_id;
    struct cbt_text type; /* of the frame's notifications, in its memory */
};

#define CBT_BATCH_FRAMES_MAX 256

int cbt_batch_init(struct cbt_batch *batch, const struct cbt_worker_context *context, struct cbt_alarm *alarm,
                   const _Atomic bool *quit, struct cbt_err *err);
void cbt_batch_free(struct cbt_batch *batch);

/* Begins a frame; waits for the budget where it is used up, without overdrawing it. False: the worker is to
 * end. */
bool cbt_batch_begin(struct cbt_batch *batch, struct cbt_frame *frame);
/* The frame has no more records: from here on it belongs to its deliveries. */
void cbt_batch_end(struct cbt_batch *batch);

/* Encodes the event for one outlet as the frame's next record. 0, CBT_EINVAL (not encodable), CBT_ELIMIT (too
 * large), or CBT_EIO: the worker is to end. */
int cbt_batch_add_event(struct cbt_batch *batch, unsigned outlet, const struct cbt_event *event,
                        struct cbt_err *err);
/* The same for a part that is a dead letter; its bytes are copied where they do not lie in the frame's body.
 */
int cbt_batch_add_dead(struct cbt_batch *batch, unsigned outlet, const struct cbt_part *part,
                       const char *detail, int32_t sensor_id);

/* Makes `bytes` the charge for what the worker needs beside records: the zip entry and the record at hand.
 * That is known only when it is there already, so it is never refused; further frames wait for it. */
void cbt_batch_hold(struct cbt_batch *batch, size_t bytes);

/* ---- within the batch: batch_room.c ---- */

static inline bool cbt_batch_has_room(const struct cbt_batch *batch, size_t bytes)
{
    const struct cbt_block *block = batch->blocks.open;
    return block != NULL && block->capacity - block->used >= bytes;
}

/* These wait; false: the worker is to end. For a block with room; for the overhead of some more records; for
 * the budget, before a frame begins. */
bool cbt_batch_open_room(struct cbt_batch *batch, size_t bytes);
bool cbt_batch_get_credit(struct cbt_batch *batch);
bool cbt_batch_wait_to_begin(struct cbt_batch *batch);

/* Makes room in the open block, opening another where needed. */
static inline bool cbt_batch_make_room(struct cbt_batch *batch, size_t bytes)
{
    return cbt_batch_has_room(batch, bytes) || cbt_batch_open_room(batch, bytes);
}

/* Room for a record of about `bytes`, and its overhead. */
static inline bool cbt_batch_make_record_room(struct cbt_batch *batch, size_t bytes)
{
    return (batch->credit != 0 || cbt_batch_get_credit(batch)) && cbt_batch_make_room(batch, bytes);
}

/* The end of a wait that is no fault of this thread. */
void cbt_batch_end_wait(struct cbt_stats *stats, int64_t now_ns);

/* Hands everything over. */
void cbt_batch_flush(struct cbt_batch *batch);

/* Lets go of memory that no record needs: before an idle worker sleeps. */
void cbt_batch_trim(struct cbt_batch *batch);

#endif
