/* SPDX-License-Identifier: MIT */
/* Metrics: each thread counts into its own struct cbt_stats, without a lock; http.c sums them when asked. */
#ifndef CBTAP_METRICS_H
#define CBTAP_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbtap/event.h"
#include "cbtap/reason.h"

enum cbt_counter {
#define CBT_COUNTER(id, scope, name, help) CBT_COUNT_##id,
#include "cbtap/metrics.def"
    CBT_COUNTERS
};

enum cbt_histogram_id {
#define CBT_HISTOGRAM(id, scope, name, help) CBT_HIST_##id,
#include "cbtap/metrics.def"
    CBT_HISTOGRAMS
};

enum cbt_stats_kind { CBT_STATS_SOURCE, CBT_STATS_WORKER, CBT_STATS_SINK };

/* Bucket bounds in seconds: 1, 2, 5 of each decade from 10 µs to 500 s, and +Inf. */
#define CBT_HISTOGRAM_BUCKETS 25

struct cbt_histogram {
    _Atomic uint64_t buckets[CBT_HISTOGRAM_BUCKETS]; /* not cumulative */
    _Atomic uint64_t sum_ns;
};

/* Single writer: the thread whose it is. */
struct cbt_stats {
    enum cbt_stats_kind kind;
    char thread[32];  /* "rx-bus-0", "worker-1", "kafka" */
    char section[64]; /* the source's or sink's name; "" for workers */
    _Atomic uint64_t counters[CBT_COUNTERS];
#define CBT_BY(id, scope, name, label, count, help) _Atomic uint64_t id[count];
#include "cbtap/metrics.def"
    _Atomic uint64_t submitted_records[8];      /* [CBT_SINKS_MAX] events handed to each sink, a worker's */
    _Atomic uint64_t filtered_types[CBT_TYPES]; /* filtered by type instead of reason, a worker's */
    _Atomic uint64_t dead_types[CBT_TYPES];     /* and dead */
    struct cbt_histogram histograms[CBT_HISTOGRAMS];
    _Atomic int64_t gauge_connected;      /* a receiver's: 0 or 1 */
    _Atomic int64_t gauge_queue_messages; /* a receiver's: backlog, -1 unknown */
    _Atomic int64_t gauge_spool_messages; /* a receiver's with a spool, as is the next; -1: it has none */
    _Atomic int64_t gauge_spool_bytes;
    _Atomic int64_t gauge_archive_files; /* an archive's receiver's: what is left; -1: it is none */
    _Atomic int64_t gauge_archive_bytes;
    _Atomic int64_t gauge_archive_seconds;
    _Atomic int64_t oldest_frame_ns;  /* a receiver's: arrived_ns of its oldest frame in flight, 0: none */
    _Atomic int64_t moved_ns;         /* when it last did anything; for /healthz */
    _Atomic int64_t waiting_for_peer; /* 1: cannot move for want of a peer; not a fault of the thread */
    _Atomic int64_t has_work;         /* 1: there is something that it should be doing */
};

/* Adds without a read-modify-write: legal as each counter has one writer. @thread the owner */
static inline void cbt_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_release);
}
static inline void cbt_count(struct cbt_stats *stats, enum cbt_counter counter, uint64_t n)
{
    cbt_add(&stats->counters[counter], n);
}
static inline void cbt_count_filtered(struct cbt_stats *stats, enum cbt_event_type type,
                                      enum cbt_filtered_reason reason)
{
    cbt_add(&stats->filtered[reason], 1);
    cbt_add(&stats->filtered_types[type], 1);
}
static inline void cbt_count_dead(struct cbt_stats *stats, enum cbt_event_type type,
                                  enum cbt_dead_reason reason)
{
    cbt_add(&stats->dead[reason], 1);
    cbt_add(&stats->dead_types[type], 1);
}

/* @thread the owner */
void cbt_observe(struct cbt_stats *stats, enum cbt_histogram_id histogram, int64_t ns);

/* A gauge that the pipeline computes when asked. */
struct cbt_gauge {
    const char *name; /* as in metrics.def */
    char label[96];   /* the label's value; "" for none */
    double (*read)(void *arg);
    void *arg;
};

/* All of a process's stats and gauges. Filled before the threads start, then read only. */
struct cbt_metrics;
int cbt_metrics_new(struct cbt_metrics **ret_metrics);
void cbt_metrics_free(struct cbt_metrics *metrics);

/* A zeroed stats of the metrics' own (cache-line aligned), or NULL. @thread main, before start */
struct cbt_stats *cbt_metrics_add(struct cbt_metrics *metrics, enum cbt_stats_kind kind, const char *thread,
                                  const char *section);
int cbt_metrics_add_gauge(struct cbt_metrics *metrics, const struct cbt_gauge *gauge);

/* Renders the Prometheus text format into a malloc'ed string, downstream first (sinks, workers, sources), so
 * that under load what came in is never less than what is accounted for. NULL: out of memory. @thread any */
char *cbt_metrics_render(const struct cbt_metrics *metrics, size_t *ret_len);

/* The same as JSON, for the status page, /status.json, SIGUSR1. @thread any */
char *cbt_metrics_render_json(const struct cbt_metrics *metrics, size_t *ret_len);

/* Writes docs/METRICS.md from the table. @thread any */
char *cbt_metrics_render_docs(size_t *ret_len);

/* False when a thread with work and an available peer has not moved for `stuck_ns`; names it. @thread any */
bool cbt_metrics_healthy(const struct cbt_metrics *metrics, int64_t now_ns, int64_t stuck_ns,
                         char *ret_reason, size_t reason_bytes);

#endif
