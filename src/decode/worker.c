/* SPDX-License-Identifier: MIT */
/*
 * A decode worker: takes frames from its lanes, walks each to its parts, filters, decodes, has them encoded
 * for every sink, and hands the records over in batches.
 *
 * Happy path: frames of a round go through until 1,024 records have gathered or the lanes are empty, then one
 * hand-over. Failure: a part that cannot be decoded is a dead letter, its neighbours go on; after 100 of them
 * the rest of the message is one, and so it is after decode.records_max records. A worker that is told to end
 * leaves its frame unsettled: it will come again. Owns: its arena, inflate buffer and record memory.
 */
#include "decode/worker.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/arena.h"
#include "cbtap/clock.h"
#include "decode/batch.h"
#include "decode/poison.h"
#include "decode/set_aside.h"

struct cbt_worker {
    struct cbt_worker_context context;
    pthread_t thread;
    bool started;
    _Atomic bool quit;
    _Atomic bool idle;
    const struct cbt_filter *_Atomic filter;
    const struct cbt_selection *selection; /* NULL: all */
    struct cbt_alarm alarm;
    struct cbt_ring **lanes; /* [receivers] */
    struct cbt_walk *walk;
    struct cbt_decoder *decoder;
    struct cbt_batch batch;
    bool batch_ready;
};

int cbt_worker_new(struct cbt_worker **ret_worker, const struct cbt_worker_context *context,
                   struct cbt_err *err)
{
    struct cbt_worker *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a worker");
    int rc;
    w->context = *context;
    w->alarm.fd = -1;
    atomic_init(&w->idle, true);
    atomic_init(&w->filter, context->filter);
    w->lanes = calloc(context->receivers, sizeof(struct cbt_ring *));
    if (w->lanes == NULL) {
        rc = cbt_err_set(err, CBT_ENOMEM, "no memory for a worker's lanes");
        goto fail;
    }
    if ((rc = cbt_alarm_init(&w->alarm, err)) != 0 ||
        (rc = cbt_walk_new(&w->walk, &context->limits, err)) != 0 ||
        (rc = cbt_decoder_new(&w->decoder, &context->limits, err)) != 0)
        goto fail;
    w->batch_ready = true;
    if ((rc = cbt_batch_init(&w->batch, &w->context, &w->alarm, &w->quit, err)) != 0)
        goto fail;
    *ret_worker = w;
    return CBT_OK;
fail:
    cbt_worker_free(w);
    return rc;
}

void cbt_worker_free(struct cbt_worker *w)
{
    if (w == NULL)
        return;
    if (w->batch_ready)
        cbt_batch_free(&w->batch);
    cbt_decoder_free(w->decoder);
    cbt_walk_free(w->walk);
    cbt_alarm_free(&w->alarm);
    free(w->lanes);
    free(w);
}

const struct cbt_stats *cbt_worker_stats(const struct cbt_worker *w)
{
    return w->context.stats;
}

struct cbt_alarm *cbt_worker_alarm(struct cbt_worker *w)
{
    return &w->alarm;
}

void cbt_worker_set_lane(struct cbt_worker *w, unsigned receiver, struct cbt_ring *lane)
{
    w->lanes[receiver] = lane;
}

void cbt_worker_set_filter(struct cbt_worker *w, const struct cbt_filter *filter)
{
    atomic_store_explicit(&w->filter, filter, memory_order_release);
}

void cbt_worker_set_selection(struct cbt_worker *w, const struct cbt_selection *selection)
{
    w->selection = selection;
}

void cbt_worker_set_poison(struct cbt_worker *w, struct cbt_poison *poison)
{
    cbt_poison_watch_init(&w->batch.watch, poison, w->context.index);
}

/* Encodes the event, if it is wanted, for every sink. What one sink cannot take is a dead letter, once. */
static int emit(struct cbt_worker *w, const struct cbt_part *part, const struct cbt_event *event)
{
    const struct cbt_selection *selection = w->selection;
    bool dead = false;
    if (__builtin_expect(selection != NULL, 0) && !cbt_selection_takes(selection, event)) {
        cbt_count_filtered(w->context.stats, event->type, CBT_FILTERED_selection);
        return CBT_OK;
    }
    for (unsigned i = 0; i < w->context.outlet_count; i++) {
        struct cbt_err err;
        cbt_err_clear(&err);
        int rc = cbt_batch_add_event(&w->batch, i, event, &err);
        if (rc == CBT_EIO)
            return rc;
        if (rc != 0 && !dead) {
            dead = true;
            /* Now: what follows may use the arena up itself. */
            enum cbt_dead_reason reason = rc != CBT_ELIMIT          ? CBT_DEAD_malformed
                                          : event->arena->exhausted ? CBT_DEAD_too_complex
                                                                    : CBT_DEAD_record_too_large;
            if (cbt_set_aside_event(&w->batch, part, event, reason, err.text) != 0)
                return CBT_EIO;
        }
    }
    return CBT_OK;
}

static int process_event(struct cbt_worker *w, struct cbt_part *part, const struct cbt_filter *filter,
                         unsigned *broken)
{
    struct cbt_stats *stats = w->context.stats;
    enum cbt_event_type type = cbt_peek_type(part->data);
    cbt_add(&stats->events[type], 1);
    if (type == CBT_TYPE_stats) {
        cbt_count_filtered(stats, type, CBT_FILTERED_deprecated);
        return CBT_OK;
    }
    if (!cbt_filter_takes(filter, type)) {
        cbt_count_filtered(stats, type, CBT_FILTERED_type);
        return CBT_OK;
    }
    struct cbt_event event;
    struct cbt_err err;
    cbt_err_clear(&err);
    if (cbt_decode_event(w->decoder, part->data, &w->batch.frame->env, &event, &part->reason, &err) != 0) {
        (*broken)++;
        return cbt_set_aside(&w->batch, part, type, err.text);
    }
    event.routing_key = w->batch.frame->routing_key;
    return emit(w, part, &event);
}

static int process_notification(struct cbt_worker *w, struct cbt_part *part, const struct cbt_filter *filter,
                                unsigned *broken)
{
    struct cbt_stats *stats = w->context.stats;
    const struct cbt_text routing_key = w->batch.frame->routing_key;
    struct cbt_text type;
    if (cbt_notification_type(w->decoder, routing_key, &type) && !cbt_filter_takes_name(filter, type)) {
        cbt_add(&stats->events[CBT_TYPE_NOTIFICATION], 1);
        cbt_count_filtered(stats, CBT_TYPE_NOTIFICATION, CBT_FILTERED_type);
        return CBT_OK;
    }
    size_t cursor = 0;
    for (;;) {
        struct cbt_event event;
        struct cbt_err err;
        cbt_err_clear(&err);
        int rc = cbt_decode_notification(w->decoder, part->data, routing_key, &cursor, &event, &part->reason,
                                         &err);
        if (rc == 0)
            return CBT_OK;
        cbt_add(&stats->events[CBT_TYPE_NOTIFICATION], 1);
        if (rc < 0) {
            (*broken)++;
            return cbt_set_aside(&w->batch, part, CBT_TYPE_NOTIFICATION, err.text);
        }
        if ((rc = emit(w, part, &event)) != 0)
            return rc;
    }
}

static enum cbt_dead_reason spilled_reason(const struct cbt_frame *frame)
{
    return frame->broken ? frame->broken_reason : CBT_DEAD_frame_too_large;
}

/* A frame that is not to be decoded: of an unwanted routing key, or already in dead_letter_dir. */
static bool skip(struct cbt_worker *w, const struct cbt_frame *frame)
{
    struct cbt_stats *stats = w->context.stats;
    if (!frame->unwanted && !frame->spilled)
        return false;
    cbt_add(&stats->events[CBT_TYPE_NOTIFICATION], 1);
    if (frame->unwanted)
        cbt_count_filtered(stats, CBT_TYPE_NOTIFICATION, CBT_FILTERED_unmatched_routing_key);
    else
        cbt_count_dead(stats, CBT_TYPE_NOTIFICATION, spilled_reason(frame));
    return true;
}

/* What the worker holds for the zip entry and the record at hand, beyond what every worker keeps. */
static size_t unusual_bytes(const struct cbt_worker *w)
{
    size_t bytes = cbt_walk_held_bytes(w->walk) + cbt_decoder_held_bytes(w->decoder);
    return bytes > 2u * CBT_ARENA_KEEP_BYTES ? bytes : 0;
}

static void charge_parts(struct cbt_worker *w)
{
    size_t bytes = unusual_bytes(w);
    if (__builtin_expect(bytes != w->batch.held_bytes, 0))
        cbt_batch_hold(&w->batch, bytes);
}

/* The frame has no more parts. */
static void release_parts(struct cbt_worker *w)
{
    if (unusual_bytes(w) == 0 && w->batch.held_bytes == 0)
        return;
    cbt_walk_stop(w->walk);
    cbt_decoder_stop(w->decoder);
    cbt_batch_hold(&w->batch, 0);
}

/* Makes records of a frame's parts, all of them or as many as may be. */
static int walk(struct cbt_worker *w, const struct cbt_frame *frame)
{
    const struct cbt_filter *filter = atomic_load_explicit(&w->filter, memory_order_acquire);
    const uint32_t records_max = w->context.limits.records_max;
    uint32_t records = 0;
    unsigned broken = 0;
    int rc = CBT_OK;
    struct cbt_part part;
    cbt_walk_start(w->walk, frame->body, frame->content_type, frame->framing);
    while (rc == CBT_OK && cbt_walk_next(w->walk, &part)) {
        if (broken == CBT_BROKEN_PARTS_MAX || (records == records_max && records_max != 0))
            return cbt_set_aside_rest(&w->batch, &part,
                                      broken == CBT_BROKEN_PARTS_MAX ? CBT_DEAD_too_many_broken
                                                                     : CBT_DEAD_too_many_records);
        records++;
        charge_parts(w);
        if (part.kind == CBT_PART_EVENT) {
            rc = process_event(w, &part, filter, &broken);
        } else if (part.kind == CBT_PART_NOTIFICATION) {
            rc = process_notification(w, &part, filter, &broken);
        } else {
            broken++;
            rc = cbt_set_aside_undecoded(&w->batch, &part);
        }
    }
    return rc;
}

/* Walks a frame to its end. False: the worker is to end, and the frame stays unsettled. */
static bool process(struct cbt_worker *w, struct cbt_frame *frame)
{
    if (!cbt_batch_begin(&w->batch, frame))
        return false;
    int rc = CBT_OK;
    if (!skip(w, frame))
        rc = frame->broken                              ? cbt_set_aside_broken(&w->batch)
             : cbt_poison_begin(&w->batch.watch, frame) ? walk(w, frame)
                                                        : cbt_set_aside_poison(&w->batch);
    release_parts(w);
    cbt_poison_end(&w->batch.watch, rc == CBT_OK);
    if (rc != CBT_OK)
        return false;
    cbt_count(w->context.stats, CBT_COUNT_decoded_frames, 1);
    cbt_batch_end(&w->batch);
    return true;
}

/* Takes frames from all lanes in turn until a batch is full or the lanes are empty. Returns the number of
 * frames, or -1: the worker is to end. */
static int take_round(struct cbt_worker *w)
{
    int frames = 0;
    int64_t last = cbt_now_ns();
    bool any = true;
    while (any && frames < CBT_BATCH_FRAMES_MAX) {
        any = false;
        for (unsigned i = 0; i < w->context.receivers; i++) {
            struct cbt_frame *frame = cbt_ring_pop(w->lanes[i]);
            if (frame == NULL)
                continue;
            any = true;
            frames++;
            if (!process(w, frame))
                return -1;
            int64_t now = cbt_now_ns();
            cbt_observe(w->context.stats, CBT_HIST_decode, now - last);
            last = now;
        }
    }
    cbt_batch_flush(&w->batch);
    return frames;
}

static bool lanes_empty(const struct cbt_worker *w)
{
    for (unsigned i = 0; i < w->context.receivers; i++)
        if (!cbt_ring_empty(w->lanes[i]))
            return false;
    return true;
}

static void park(struct cbt_worker *w)
{
    cbt_batch_trim(&w->batch);
    atomic_store_explicit(&w->context.stats->has_work, 0, memory_order_relaxed);
    cbt_alarm_prepare(&w->alarm);
    atomic_store(&w->idle, true);
    if (!lanes_empty(w) || atomic_load(&w->quit)) {
        cbt_alarm_cancel(&w->alarm);
    } else {
        /* With bytes still out the open block is let go a little later; without, sleep for good. */
        cbt_alarm_wait(&w->alarm, -1, w->batch.blocks.open != NULL ? 100 : -1);
    }
    atomic_store(&w->idle, false);
}

static void *worker_main(void *arg)
{
    struct cbt_worker *w = arg;
    struct cbt_stats *stats = w->context.stats;
    pthread_setname_np(pthread_self(), stats->thread);
    atomic_store(&w->idle, false);
    while (!atomic_load(&w->quit)) {
        int64_t start = cbt_now_ns();
        atomic_store_explicit(&stats->moved_ns, start, memory_order_relaxed);
        atomic_store_explicit(&stats->has_work, 1, memory_order_relaxed);
        w->batch.blocked_ns = 0;
        int frames = take_round(w);
        if (frames < 0)
            break;
        if (frames == 0) {
            park(w);
            continue;
        }
        int64_t busy = cbt_now_ns() - start - w->batch.blocked_ns;
        cbt_count(stats, CBT_COUNT_busy_ns, (uint64_t)(busy > 0 ? busy : 0));
        cbt_count(stats, CBT_COUNT_blocked_ns, (uint64_t)w->batch.blocked_ns);
    }
    atomic_store(&w->idle, true);
    return NULL;
}

int cbt_worker_start(struct cbt_worker *w, struct cbt_err *err)
{
    int rc = pthread_create(&w->thread, NULL, worker_main, w);
    if (rc != 0)
        return cbt_err_set(err, CBT_EIO, "cannot start a worker thread: %s", strerror(rc));
    w->started = true;
    return CBT_OK;
}

void cbt_worker_stop(struct cbt_worker *w)
{
    if (!w->started)
        return;
    atomic_store(&w->quit, true);
    cbt_alarm_wake(&w->alarm);
    pthread_join(w->thread, NULL);
    w->started = false;
}

bool cbt_worker_idle(const struct cbt_worker *w)
{
    /* The lanes first: a worker says that it is not idle before it takes a frame out of them. */
    bool empty = lanes_empty(w);
    ck_pr_fence_load();
    return empty && atomic_load(&w->idle);
}
