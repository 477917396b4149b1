/* SPDX-License-Identifier: MIT */
/* metrics.def as tables: what is counted, under which name, with which labels, and the histograms' bounds. */
#include <stddef.h>

#include "core/metrics_snapshot.h"

static const struct cbt_label_value values_CBT_TYPES[CBT_TYPES] = {
#define CBT_EVENT_TYPE(id, name, event_type) {name, "event_type " event_type},
#include "cbtap/event_types.def"
    {"other", "notifications of the server, of any type"},
};

#define X(name, text) {#name, text},
static const struct cbt_label_value values_CBT_FILTERED_COUNT[] = {CBT_FILTERED_REASONS(X)};
static const struct cbt_label_value values_CBT_DEAD_COUNT[] = {CBT_DEAD_REASONS(X)};
static const struct cbt_label_value values_CBT_DROPPED_COUNT[] = {CBT_DROPPED_REASONS(X)};
static const struct cbt_label_value values_CBT_GAP_COUNT[] = {CBT_GAP_REASONS(X)};
static const struct cbt_label_value values_CBT_RESENT_COUNT[] = {CBT_RESENT_REASONS(X)};
#undef X

/* The unit follows from the id, as the code that adds to it reads: busy_ns, gap_milliseconds. */
#define ENDS_IN(id, tail)                                                                                    \
    (sizeof(id) > sizeof(tail) && __builtin_strcmp((id) + sizeof(id) - sizeof(tail), tail) == 0)
#define DECIMALS(id) (ENDS_IN(id, "_ns") ? 9 : ENDS_IN(id, "_milliseconds") ? 3 : 0)

const struct cbt_counter_info cbt_counter_infos[CBT_COUNTERS] = {
#define CBT_COUNTER(id, scope, name, help) {#id, name, help, CBT_SCOPE_##scope, DECIMALS(#id)},
#include "cbtap/metrics.def"
};

const struct cbt_by_info cbt_by_infos[CBT_BYS] = {
#define CBT_BY(id, scope, name, label, count, help)                                                          \
    {#id, name, label, help, values_##count, offsetof(struct cbt_stats_view, id), count, CBT_SCOPE_##scope},
#include "cbtap/metrics.def"
};

const struct cbt_histogram_info cbt_histogram_infos[CBT_HISTOGRAMS] = {
#define CBT_HISTOGRAM(id, scope, name, help) {#id, name, help, CBT_SCOPE_##scope},
#include "cbtap/metrics.def"
};

const struct cbt_gauge_info cbt_gauge_infos[CBT_GAUGES] = {
#define CBT_GAUGE(id, name, label, help) {#id, name, label, help},
#include "cbtap/metrics.def"
};

const int64_t cbt_bucket_bounds_ns[CBT_HISTOGRAM_BUCKETS - 1] = {
    10000,      20000,      50000,       100000,      200000,      500000,       1000000,      2000000,
    5000000,    10000000,   20000000,    50000000,    100000000,   200000000,    500000000,    1000000000,
    2000000000, 5000000000, 10000000000, 20000000000, 50000000000, 100000000000, 200000000000, 500000000000,
};

const char *const cbt_bucket_bounds[CBT_HISTOGRAM_BUCKETS] = {
    "0.00001", "0.00002", "0.00005", "0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005",
    "0.01",    "0.02",    "0.05",    "0.1",    "0.2",    "0.5",    "1",     "2",     "5",
    "10",      "20",      "50",      "100",    "200",    "500",    "+Inf",
};
