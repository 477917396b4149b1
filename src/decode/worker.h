/* SPDX-License-Identifier: MIT */
/* A decode worker as the pipeline sees it. */
#ifndef CBTAP_DECODE_WORKER_H
#define CBTAP_DECODE_WORKER_H

#include "cbtap/config.h"
#include "cbtap/decode.h"
#include "cbtap/format.h"
#include "cbtap/metrics.h"
#include "cbtap/poison.h"
#include "cbtap/ring.h"
#include "cbtap/settle.h"
#include "cbtap/sink.h"
#include "decode/selection.h"

/* A sink with what a worker needs to feed it. */
struct cbt_outlet {
    const struct cbt_sink *sink;
    void *sink_self;
    const struct cbt_format *format;
    void *format_self;
    enum { CBT_KEY_SENSOR_ID, CBT_KEY_PROCESS_GUID, CBT_KEY_NONE } key;
    bool takes_dead_letters; /* the first sink that can */
};

struct cbt_worker_context {
    unsigned index;
    struct cbt_stats *stats;
    struct cbt_budget *budget;
    size_t block_bytes;
    unsigned blocks_cached_max;
    struct cbt_decode_limits limits;
    size_t value_max_bytes; /* of one record: a larger one is a dead letter */
    struct cbt_settler *settler;
    const struct cbt_outlet *outlets;
    unsigned outlet_count;
    unsigned receivers;
    const struct cbt_filter *filter;
};

/* Records of one hand-over to a sink. */
#define CBT_BATCH_RECORDS_MAX 1024

struct cbt_worker;

int cbt_worker_new(struct cbt_worker **ret_worker, const struct cbt_worker_context *context,
                   struct cbt_err *err);
/* After every receiver is freed: their frames hold blocks of the worker's pool. @thread main */
void cbt_worker_free(struct cbt_worker *worker);
const struct cbt_stats *cbt_worker_stats(const struct cbt_worker *worker);
struct cbt_alarm *cbt_worker_alarm(struct cbt_worker *worker);
/* @thread main, before start */
void cbt_worker_set_lane(struct cbt_worker *worker, unsigned receiver, struct cbt_ring *lane);
/* Which of the events that the filter takes are wanted; NULL: all. @thread main, before start */
void cbt_worker_set_selection(struct cbt_worker *worker, const struct cbt_selection *selection);
/* NULL: none. @thread main, before start */
void cbt_worker_set_poison(struct cbt_worker *worker, struct cbt_poison *poison);
int cbt_worker_start(struct cbt_worker *worker, struct cbt_err *err);
/* Ends the thread; frames still in its lanes stay unsettled. @thread main */
void cbt_worker_stop(struct cbt_worker *worker);
/* True when its lanes are empty and it holds no frame: after receivers stopped reading, it is done. @thread
 * any */
bool cbt_worker_idle(const struct cbt_worker *worker);
/* From the next frame on. The old filter must live until the worker is freed. @thread main */
void cbt_worker_set_filter(struct cbt_worker *worker, const struct cbt_filter *filter);

#endif
