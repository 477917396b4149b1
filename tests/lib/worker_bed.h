/* SPDX-License-Identifier: MIT */
/*
 * A worker between frames made by hand and a sink that keeps what it gets, never to deliver it: what a
 * format makes of whole messages, in the very memory that a sink would read.
 */
#ifndef TESTS_LIB_WORKER_BED_H
#define TESTS_LIB_WORKER_BED_H

#include "fixture.h"

#include <errno.h>
#include <semaphore.h>
#include <time.h>

#include "decode/poison.h"
#include "decode/worker.h"

#define WORKER_BED_FRAMES_MAX  64
#define WORKER_BED_RECORDS_MAX 8192
#define WORKER_BED_WAIT_S      60

struct worker_bed {
    struct cbt_metrics *metrics;
    struct cbt_stats *stats;
    struct cbt_budget budget;
    struct cbt_filter *filter;
    const struct cbt_selection *selection; /* NULL: all */
    struct cbt_outlet outlet;
    struct cbt_decode_limits limits; /* fixture_limits */
    struct cbt_poison *poison;       /* NULL: none */
    uint32_t poison_tries;           /* of the frames that are pushed next */
    bool redelivered;
    bool marked; /* in the journal, at a hand-over */
    struct cbt_ring lane, settled;
    struct cbt_alarm alarm, *alarms[1];
    bool touched[1];
    struct cbt_settler settler;
    struct cbt_worker *worker;
    sem_t handed_over; /* posted once for each record */
    struct cbt_record *records[WORKER_BED_RECORDS_MAX];
    size_t count, awaited;
    size_t first_used_bytes; /* of the budget, when the first records were handed over */
    struct cbt_frame *frames[WORKER_BED_FRAMES_MAX];
    size_t frame_count;
};

static inline void worker_bed_submit(void *self, unsigned worker, struct cbt_record *const recs[], size_t n)
{
    struct worker_bed *bed = self;
    (void)worker;
    if (bed->count == 0)
        bed->first_used_bytes = cbt_budget_used(&bed->budget);
    if (bed->poison != NULL)
        bed->marked = bed->marked || bed->poison->file->marks[0].check != 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(bed->count < WORKER_BED_RECORDS_MAX);
        bed->records[bed->count++] = recs[i];
        sem_post(&bed->handed_over);
    }
}

static const struct cbt_sink worker_bed_sink = {.type = "kept", .submit = worker_bed_submit};

static inline struct worker_bed *worker_bed_new(void)
{
    struct worker_bed *bed = calloc(1, sizeof(*bed));
    assert_non_null(bed);
    bed->limits = fixture_limits;
    assert_int_equal(sem_init(&bed->handed_over, 0, 0), 0);
    assert_int_equal(cbt_metrics_new(&bed->metrics), 0);
    assert_int_equal(cbt_filter_new(&bed->filter, "*", "", NULL), 0);
    assert_int_equal(cbt_ring_init(&bed->lane, WORKER_BED_FRAMES_MAX, NULL), 0);
    assert_int_equal(cbt_ring_init(&bed->settled, WORKER_BED_FRAMES_MAX, NULL), 0);
    assert_int_equal(cbt_alarm_init(&bed->alarm, NULL), 0);
    cbt_budget_init(&bed->budget, 64u << 20, false);
    bed->alarms[0] = &bed->alarm;
    bed->settler = (struct cbt_settler){
        .receivers = 1, .rings = &bed->settled, .alarms = bed->alarms, .touched = bed->touched};
    return bed;
}

static inline void worker_bed_start(struct worker_bed *bed, const char *format,
                                    const struct cbt_format_options *options)
{
    struct cbt_err err = {0};
    bed->outlet = (struct cbt_outlet){.sink = &worker_bed_sink,
                                      .sink_self = bed,
                                      .format = cbt_format_find(format),
                                      .key = CBT_KEY_SENSOR_ID,
                                      .takes_dead_letters = true};
    assert_non_null(bed->outlet.format);
    if (bed->outlet.format->open(&bed->outlet.format_self, options, &err) != 0)
        fail_msg("format %s: %s", format, err.text);
    bed->stats = cbt_metrics_add(bed->metrics, CBT_STATS_WORKER, "worker", "");
    const struct cbt_worker_context context = {.stats = bed->stats,
                                               .budget = &bed->budget,
                                               .block_bytes = 32768,
                                               .blocks_cached_max = 4,
                                               .limits = bed->limits,
                                               .value_max_bytes = 1u << 30,
                                               .settler = &bed->settler,
                                               .outlets = &bed->outlet,
                                               .outlet_count = 1,
                                               .receivers = 1,
                                               .filter = bed->filter};
    if (cbt_worker_new(&bed->worker, &context, &err) != 0)
        fail_msg("worker: %s", err.text);
    cbt_worker_set_lane(bed->worker, 0, &bed->lane);
    cbt_worker_set_selection(bed->worker, bed->selection);
    cbt_worker_set_poison(bed->worker, bed->poison);
    assert_int_equal(cbt_worker_start(bed->worker, &err), 0);
}

/* Gives the worker a copy of this frame, whose body must stay until the bed is freed. */
static inline void worker_bed_push_frame(struct worker_bed *bed, const struct cbt_frame *model)
{
    struct cbt_frame *frame = malloc(sizeof(*frame));
    assert_non_null(frame);
    assert_true(bed->frame_count < WORKER_BED_FRAMES_MAX);
    memcpy(frame, model, sizeof(*frame));
    atomic_init(&frame->pending, 1);
    bed->frames[bed->frame_count++] = frame;
    assert_true(cbt_ring_push(&bed->lane, frame));
    cbt_alarm_wake(cbt_worker_alarm(bed->worker));
}

/* Gives the worker a message, which must stay until the bed is freed; `env` may be NULL. */
static inline void worker_bed_push(struct worker_bed *bed, struct cbt_text body, const char *content_type,
                                   const char *routing_key, const struct cbt_environment *env)
{
    struct cbt_frame frame = {.body = body,
                              .content_type = text_of(content_type),
                              .routing_key = text_of(routing_key),
                              .poison_tries = bed->poison_tries,
                              .redelivered = bed->redelivered};
    if (env != NULL)
        frame.env = *env;
    worker_bed_push_frame(bed, &frame);
}

/* Until there are `count` records in all; no more than that may have come. */
static inline void worker_bed_await(struct worker_bed *bed, size_t count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WORKER_BED_WAIT_S;
    while (bed->awaited < count) {
        int rc = sem_timedwait(&bed->handed_over, &until);
        if (rc != 0 && errno == EINTR)
            continue;
        if (rc != 0)
            fail_msg("%zu of %zu records", bed->awaited, count);
        bed->awaited++;
    }
}

static inline void worker_bed_free(struct worker_bed *bed)
{
    cbt_worker_stop(bed->worker);
    assert_int_equal(bed->count, bed->awaited);
    for (size_t i = 0; i < bed->frame_count; i++) {
        struct cbt_frame *frame = bed->frames[i];
        struct cbt_block *block = frame->first_block;
        for (uint32_t left = frame->record_blocks; left > 0; left--) {
            struct cbt_block *next = block->next;
            cbt_block_unref(block);
            block = next;
        }
        cbt_budget_give(&bed->budget, CBT_ACCOUNT_WORKER, (size_t)frame->records * CBT_RECORD_OVERHEAD_BYTES);
        free(frame);
    }
    cbt_worker_free(bed->worker);
    assert_int_equal(cbt_budget_used(&bed->budget), 0);
    bed->outlet.format->close(bed->outlet.format_self);
    cbt_filter_free(bed->filter);
    cbt_metrics_free(bed->metrics);
    cbt_ring_free(&bed->lane);
    cbt_ring_free(&bed->settled);
    cbt_alarm_free(&bed->alarm);
    sem_destroy(&bed->handed_over);
    free(bed);
}

#endif
