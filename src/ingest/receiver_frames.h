/* SPDX-License-Identifier: MIT */
/* The receiver's inside, shared by its loop (receiver.c) and its frames (receiver_frames.c). */
#ifndef CBTAP_INGEST_RECEIVER_FRAMES_H
#define CBTAP_INGEST_RECEIVER_FRAMES_H

#include <pthread.h>

#include "ingest/receiver.h"

struct cbt_receiver {
    struct cbt_receiver_context context;
    void *source; /* the instance */
    pthread_t thread;
    bool started;
    _Atomic unsigned stop;     /* 0 run, 1 read no more, 2 end */
    _Atomic bool done_reading; /* the thread has seen that it is to read no more */
    struct cbt_alarm alarm;

    struct cbt_block_pool blocks;
    struct cbt_frame *frames; /* the pool's memory */
    uint32_t frame_count;
    struct cbt_frame *free_frames;
    struct cbt_frame *oldest, *newest; /* in flight */

    struct cbt_ring *lanes; /* [workers] */
    bool *lane_touched;
    struct cbt_ring **settle_rings; /* [settlers] */
    struct cbt_frame **done;        /* scratch for settle, CBT_SETTLE_BATCH */

    int64_t now_ns; /* of this turn of the loop: a frame needs no clock of its own */
    int64_t now_wall_ms;

    bool connected;
    int64_t connect_at_ns;   /* next try */
    unsigned failures;       /* in a row */
    int64_t connected_at_ns; /* 0: never */
    int64_t failure_logged_ns;
    bool failure_told; /* since the last connection */
    char failure[CBT_ERR_TEXT_BYTES];
    int64_t tick_at_ns;
    int64_t held_since_ns; /* the first settlement whose acknowledgement may be held back; 0: none */
    uint64_t jitter;
};

#define CBT_SETTLE_BATCH 512

/* Returns a settled frame to the pool with all that it holds. @thread receiver */
void cbt_receiver_recycle(struct cbt_receiver *receiver, struct cbt_frame *frame);

/* Wakes the workers that got frames since the last call. @thread receiver */
void cbt_receiver_flush_lanes(struct cbt_receiver *receiver);

#endif
