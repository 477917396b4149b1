/* SPDX-License-Identifier: MIT */
/* The inside of struct cbt_metrics, for the files of metrics and their tests. */
#ifndef CBTAP_CORE_METRICS_INTERNAL_H
#define CBTAP_CORE_METRICS_INTERNAL_H

#include "cbtap/err.h"
#include "cbtap/metrics.h"

struct cbt_metrics {
    int64_t started_ns;
    int64_t started_wall_ms;
    struct cbt_stats **threads; /* in the order of cbt_metrics_add */
    size_t thread_count;
    struct cbt_gauge *gauges;
    size_t gauge_count;
};

/* /healthz: a thread that has work and has not moved for so long is stuck. */
#define CBT_STUCK_NS INT64_C(30000000000)

/* The bucket that takes a value: bounds are inclusive. @thread any */
unsigned cbt_histogram_bucket(int64_t ns);

#endif
