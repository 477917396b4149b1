/* SPDX-License-Identifier: MIT */
/* What the renderers of metrics share: the tables of metrics.def, and a copy of all counters at one moment.
 */
#ifndef CBTAP_CORE_METRICS_SNAPSHOT_H
#define CBTAP_CORE_METRICS_SNAPSHOT_H

#include <stdio.h>

#include "cbtap/metrics.h"

enum cbt_scope { CBT_SCOPE_source, CBT_SCOPE_worker, CBT_SCOPE_sink, CBT_SCOPE_any };

enum cbt_gauge_id {
#define CBT_GAUGE(id, name, label, help) CBT_GAUGE_##id,
#include "cbtap/metrics.def"
    CBT_GAUGES
};

enum cbt_by_id {
#define CBT_BY(id, scope, name, label, count, help) CBT_BY_##id,
#include "cbtap/metrics.def"
    CBT_BYS
};

struct cbt_label_value {
    const char *name;
    const char *text; /* for people */
};

struct cbt_counter_info {
    const char *id, *name, *help; /* name "": internal */
    enum cbt_scope scope;
    unsigned decimals; /* of the value in seconds: 9 where it counts ns, 3 for ms, 0: no time */
};
struct cbt_by_info {
    const char *id, *name, *label, *help;
    const struct cbt_label_value *values;
    size_t offset; /* in struct cbt_stats_view */
    unsigned count;
    enum cbt_scope scope;
};
struct cbt_histogram_info {
    const char *id, *name, *help;
    enum cbt_scope scope;
};
struct cbt_gauge_info {
    const char *id, *name, *label, *help;
};

extern const struct cbt_counter_info cbt_counter_infos[CBT_COUNTERS];
extern const struct cbt_by_info cbt_by_infos[CBT_BYS];
extern const struct cbt_histogram_info cbt_histogram_infos[CBT_HISTOGRAMS];
extern const struct cbt_gauge_info cbt_gauge_infos[CBT_GAUGES];

/* Upper bounds of all buckets but +Inf, inclusive, and how the label `le` writes them. */
extern const int64_t cbt_bucket_bounds_ns[CBT_HISTOGRAM_BUCKETS - 1];
extern const char *const cbt_bucket_bounds[CBT_HISTOGRAM_BUCKETS];

/* A struct cbt_stats, copied. */
struct cbt_stats_view {
    uint64_t counters[CBT_COUNTERS];
#define CBT_BY(id, scope, name, label, count, help) uint64_t id[count];
#include "cbtap/metrics.def"
    uint64_t submitted_records[8];
    uint64_t filtered_types[CBT_TYPES], dead_types[CBT_TYPES];
    struct cbt_histogram_view {
        uint64_t buckets[CBT_HISTOGRAM_BUCKETS];
        uint64_t sum_ns;
    } histograms[CBT_HISTOGRAMS];
    int64_t connected;      /* a section's: all of its threads are */
    int64_t queue_messages; /* a section's: the largest; -1 unknown */
    int64_t spool_messages; /* a section's: of its one receiver; -1: it has no spool */
    int64_t spool_bytes;
    int64_t archive_files, archive_bytes, archive_seconds; /* left; -1: it is no archive, or unknown */
    int64_t oldest_frame_ns;                               /* a section's: the oldest; 0 none */
};

struct cbt_thread_view {
    const struct cbt_stats *stats; /* for its kind and names */
    struct cbt_stats_view view;
    int64_t moved_ns, waiting_for_peer, has_work;
};

/* All threads of one [source.NAME], of one [sink.NAME], or all workers together (name ""). */
struct cbt_section_view {
    enum cbt_stats_kind kind;
    const char *name;
    unsigned threads;
    unsigned sink; /* a sink's: its number, by which workers count what they submit */
    struct cbt_stats_view view;
};

struct cbt_snapshot {
    const struct cbt_metrics *metrics;
    int64_t now_ns, wall_ms, started_ns, started_wall_ms;
    size_t thread_count, section_count, gauge_count;
    struct cbt_thread_view *threads;
    struct cbt_section_view *sections;
    const struct cbt_gauge *gauges;
    double *gauge_values;
    struct cbt_stats_view total; /* of all threads */
    double process_cpu_seconds, process_resident_bytes;
};

/* NULL: out of memory. @thread any */
struct cbt_snapshot *cbt_snapshot_take(const struct cbt_metrics *metrics);
void cbt_snapshot_free(struct cbt_snapshot *snapshot);

/* Between hand-over to this sink and its delivery. */
int64_t cbt_snapshot_inflight_events(const struct cbt_snapshot *snapshot,
                                     const struct cbt_section_view *sink);
int64_t cbt_snapshot_inflight_frames(const struct cbt_stats_view *view);
/* Age of the oldest frame in flight, 0 where there is none. */
double cbt_snapshot_oldest_seconds(const struct cbt_snapshot *snapshot, const struct cbt_stats_view *view);
/* A gauge that the pipeline gave; `otherwise` where it gave none of that name and label. */
double cbt_snapshot_gauge(const struct cbt_snapshot *snapshot, enum cbt_gauge_id gauge, const char *label,
                          double otherwise);
/* The array of counters by a label. */
const uint64_t *cbt_view_by(const struct cbt_stats_view *view, enum cbt_by_id by);
uint64_t cbt_view_by_sum(const struct cbt_stats_view *view, enum cbt_by_id by);

/* A value that is computed when asked and only grows: its name ends in _total. */
bool cbt_gauge_counts(enum cbt_gauge_id gauge);

/* What `put` writes, as a malloc'ed string with a NUL behind it. NULL: out of memory. */
char *cbt_put_string(void (*put)(FILE *out, void *arg), void *arg, size_t *ret_len);
/* Fixed point without locale or rounding: 1500 with 3 decimals is 1.500. */
void cbt_put_fixed(FILE *out, uint64_t value, unsigned decimals);
/* A section's or thread's name as valid UTF-8 between the quotes of a JSON string or a Prometheus label. */
void cbt_put_escaped(FILE *out, const char *text, bool json);

/* The members of cbt_metrics_render_json's object, without braces. */
void cbt_snapshot_put_json(FILE *out, const struct cbt_snapshot *snapshot);

#endif
