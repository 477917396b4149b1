/* SPDX-License-Identifier: MIT */
/*
 * A receiver's frames: taken from the pool for a message, handed over to a worker's lane, recycled when
 * settled. All on the receiver's thread, so the pool needs no lock.
 */
#include "ingest/receiver_frames.h"

#include <string.h>

/* Frames of one endpoint go one way; those of no known endpoint go the way of sensor 0. */
static unsigned choose_lane(const struct cbt_receiver *r, const struct cbt_frame *frame)
{
    if (r->context.workers == 1)
        return 0;
    int32_t sensor_id = 0;
    if (frame->has_lane)
        sensor_id = frame->lane;
    else if (frame->env.has_sensor_id)
        sensor_id = frame->env.sensor_id;
    else if (!cbt_peek_sensor_id(frame->body, frame->content_type, frame->framing, &sensor_id))
        sensor_id = 0;
    /* Fibonacci hashing, scaled down by the high bits: neighbouring ids spread evenly. */
    uint32_t hash = (uint32_t)sensor_id * 2654435769u;
    return (unsigned)(((uint64_t)hash * r->context.workers) >> 32);
}

struct cbt_frame *cbt_receiver_take(struct cbt_receiver *r, size_t bytes)
{
    struct cbt_frame *frame = r->free_frames;
    if (frame == NULL)
        return NULL;
    struct cbt_block *block = r->blocks.open;
    if (block == NULL || block->capacity - block->used < bytes) {
        if (!cbt_block_open(&r->blocks, bytes, false))
            return NULL;
        block = r->blocks.open;
    }
    r->free_frames = frame->newer;
    frame->newer = NULL;
    frame->body_block = block;
    frame->body = (struct cbt_text){block->data + block->used, bytes};
    frame->arrived_ns = r->now_ns;
    frame->arrived_wall_ms = r->now_wall_ms;
    block->used += bytes;
    cbt_block_ref(block);
    return frame;
}

/* Clears a frame and puts it on the free list. */
static void put_back(struct cbt_receiver *r, struct cbt_frame *frame)
{
    cbt_block_unref(frame->body_block);
    *frame = (struct cbt_frame){.receiver = r, .receiver_index = r->context.index, .newer = r->free_frames};
    r->free_frames = frame;
}

void cbt_receiver_untake(struct cbt_receiver *r, struct cbt_frame *frame)
{
    put_back(r, frame);
}

void cbt_receiver_push(struct cbt_receiver *r, struct cbt_frame *frame)
{
    struct cbt_stats *stats = r->context.stats;
    cbt_count(stats, CBT_COUNT_received_frames, 1);
    cbt_count(stats, CBT_COUNT_received_bytes, frame->body.len);
    cbt_count(stats, CBT_COUNT_taken_frames, 1);
    if (frame->redelivered)
        cbt_count(stats, CBT_COUNT_redelivered_frames, 1);
    frame->older = r->newest;
    if (r->newest != NULL)
        r->newest->newer = frame;
    else
        r->oldest = frame;
    r->newest = frame;
    atomic_store_explicit(&frame->pending, 1, memory_order_relaxed);
    unsigned lane = choose_lane(r, frame);
    /* Lanes hold the whole pool. */
    if (cbt_ring_push(&r->lanes[lane], frame))
        r->lane_touched[lane] = true;
}

void cbt_receiver_drop(struct cbt_receiver *r, enum cbt_dropped_reason reason, size_t body_bytes)
{
    cbt_count(r->context.stats, CBT_COUNT_received_frames, 1);
    cbt_count(r->context.stats, CBT_COUNT_received_bytes, body_bytes);
    cbt_add(&r->context.stats->dropped[reason], 1);
}

void cbt_receiver_flush_lanes(struct cbt_receiver *r)
{
    for (unsigned i = 0; i < r->context.workers; i++) {
        if (!r->lane_touched[i])
            continue;
        r->lane_touched[i] = false;
        cbt_alarm_wake(r->context.worker_alarms[i]);
    }
}

static void observe(const struct cbt_receiver *r, const struct cbt_frame *frame)
{
    struct cbt_stats *stats = r->context.stats;
    cbt_observe(stats, CBT_HIST_end_to_end, r->now_ns - frame->arrived_ns);
    if (frame->submitted_ns == 0)
        return;
    cbt_observe(stats, CBT_HIST_delivery, r->now_ns - frame->submitted_ns);
    if (frame->last_event_unix_ms != 0) {
        /* Old archives and clocks that are ahead are cut off at a year and at nothing, within the range of
         * ns. */
        int64_t lag_ms = r->now_wall_ms - frame->last_event_unix_ms;
        int64_t year_ms = INT64_C(366) * 86400 * 1000;
        lag_ms = lag_ms < 0 ? 0 : lag_ms > year_ms ? year_ms : lag_ms;
        cbt_observe(stats, CBT_HIST_event_lag, lag_ms * 1000000);
    }
}

void cbt_receiver_recycle(struct cbt_receiver *r, struct cbt_frame *frame)
{
    observe(r, frame);
    if (frame->older != NULL)
        frame->older->newer = frame->newer;
    else
        r->oldest = frame->newer;
    if (frame->newer != NULL)
        frame->newer->older = frame->older;
    else
        r->newest = frame->older;

    struct cbt_block *block = frame->first_block;
    for (uint32_t left = frame->record_blocks; left > 0; left--) {
        /* The last one's next is not the frame's: its worker may be setting it right now. */
        struct cbt_block *next = left > 1 ? block->next : NULL;
        cbt_block_unref(block);
        block = next;
    }
    if (frame->records != 0)
        cbt_budget_give(r->context.budget, CBT_ACCOUNT_WORKER,
                        (size_t)frame->records * CBT_RECORD_OVERHEAD_BYTES);
    put_back(r, frame);
}

struct cbt_stats *cbt_receiver_stats(struct cbt_receiver *r)
{
    return r->context.stats;
}

const char *cbt_receiver_name(const struct cbt_receiver *r)
{
    return r->context.config->name;
}

size_t cbt_receiver_frame_max_bytes(const struct cbt_receiver *r)
{
    return r->context.frame_max_bytes;
}

const char *cbt_receiver_dead_letter_dir(const struct cbt_receiver *r)
{
    return r->context.dead_letter_dir;
}
