/* SPDX-License-Identifier: MIT */
/* The pipeline's inside: what pipeline_make.c builds and pipeline.c runs. */
#ifndef CBTAP_PIPELINE_MAKE_H
#define CBTAP_PIPELINE_MAKE_H

#include "cbtap/http.h"
#include "cbtap/pipeline.h"
#include "decode/worker.h"
#include "ingest/receiver.h"

struct cbt_pipeline {
    const struct cbt_config *config;
    struct cbt_metrics *metrics;
    struct cbt_budget budget;
    struct cbt_filter **filters; /* the one in use last; older ones live as long as the workers */
    size_t filter_count;

    struct cbt_receiver **receivers;
    struct cbt_stats **receiver_stats;
    unsigned receiver_count;
    struct cbt_worker **workers;
    struct cbt_alarm **worker_alarms;
    unsigned worker_count;
    struct cbt_outlet outlets[CBT_SINKS_MAX];
    struct cbt_stats *sink_stats[CBT_SINKS_MAX];
    unsigned sink_count;

    unsigned settler_count; /* workers, then sinks */
    struct cbt_settler *settlers;
    struct cbt_alarm **receiver_alarms;

    struct cbt_http *http;
    struct cbt_poison *poison; /* NULL: off */
    size_t block_bytes;
    unsigned blocks_cached_max;
    bool started;
};

/* Builds receivers, workers and outlets with their rings; no thread, no I/O. What was built before a failure
 * stays, for cbt_pipeline_free. @thread main */
int cbt_pipeline_make(struct cbt_pipeline *pipeline, struct cbt_err *err);

#endif
