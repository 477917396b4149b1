/* SPDX-License-Identifier: MIT */
/* A receiver as the pipeline sees it: made, wired, started, stopped. What sources see of it is in
 * cbtap/source.h. */
#ifndef CBTAP_INGEST_RECEIVER_H
#define CBTAP_INGEST_RECEIVER_H

#include "cbtap/config.h"
#include "cbtap/metrics.h"
#include "cbtap/ring.h"
#include "cbtap/settle.h"
#include "cbtap/source.h"

struct cbt_receiver_context {
    const struct cbt_source *source;
    const struct cbt_source_config *config;
    unsigned index; /* among all receivers */
    struct cbt_stats *stats;
    struct cbt_budget *budget;
    size_t block_bytes;
    unsigned blocks_cached_max;
    size_t frame_max_bytes;
    const char *dead_letter_dir; /* or NULL */
    unsigned workers;
    struct cbt_alarm *const *worker_alarms; /* [workers] */
    unsigned settlers;
};

/* Allocates the receiver with its frames and rings, and opens its source; no I/O, no thread. @thread main */
int cbt_receiver_new(struct cbt_receiver **ret_receiver, const struct cbt_receiver_context *context,
                     struct cbt_err *err);
/* After every thread that holds its frames has ended. NULL is fine. @thread main */
void cbt_receiver_free(struct cbt_receiver *receiver);

int cbt_receiver_start(struct cbt_receiver *receiver, struct cbt_err *err);
/* No more reading; what is in flight is settled as it comes. @thread main */
void cbt_receiver_stop_reading(struct cbt_receiver *receiver);
/* True until the thread has taken that to heart: a read under way may still bring frames. @thread main */
bool cbt_receiver_reads(const struct cbt_receiver *receiver);
/* Writes the last acknowledgements, disconnects, ends the thread; waits for it. @thread main */
void cbt_receiver_stop(struct cbt_receiver *receiver);

/* The lane to a worker: this receiver pushes, the worker pops. @thread main */
struct cbt_ring *cbt_receiver_lane(struct cbt_receiver *receiver, unsigned worker);
/* Frames in its pool: what lanes and settle rings must hold. */
uint32_t cbt_receiver_frames(const struct cbt_receiver *receiver);
/* Gives it the rings that it drains, one of each settler. @thread main, before start */
void cbt_receiver_set_settle_ring(struct cbt_receiver *receiver, unsigned settler, struct cbt_ring *ring);
struct cbt_alarm *cbt_receiver_alarm(struct cbt_receiver *receiver);
/* Frames out of the pool. @thread any */
uint64_t cbt_receiver_inflight(const struct cbt_receiver *receiver);

#endif
