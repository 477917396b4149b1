/* SPDX-License-Identifier: MIT */
/* Metrics as JSON: what the status page draws. Counters only; rates are the reader's to make of two of them.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/metrics_internal.h"
#include "core/metrics_snapshot.h"

static void put_string(FILE *out, const char *key, const char *value)
{
    fprintf(out, "\"%s\":\"", key);
    cbt_put_escaped(out, value, true);
    fputc('"', out);
}

/* JSON knows no NaN and no infinity. */
static void put_double(FILE *out, const char *key, double value)
{
    if (isfinite(value))
        fprintf(out, "\"%s\":%.15g", key, value);
    else
        fprintf(out, "\"%s\":null", key);
}

/* A counter by its id: busy_ns as "busy_seconds". */
static void put_counter(FILE *out, const struct cbt_stats_view *view, unsigned counter)
{
    const struct cbt_counter_info *info = &cbt_counter_infos[counter];
    int stem = info->decimals ? (int)(strrchr(info->id, '_') - info->id) : (int)strlen(info->id);
    fprintf(out, ",\"%.*s%s\":", stem, info->id, info->decimals ? "_seconds" : "");
    cbt_put_fixed(out, view->counters[counter], info->decimals);
}

static void put_counters(FILE *out, const struct cbt_stats_view *view, enum cbt_scope scope)
{
    for (unsigned i = 0; i < CBT_COUNTERS; i++)
        if (cbt_counter_infos[i].scope == scope && cbt_counter_infos[i].name[0])
            put_counter(out, view, i);
}

static void put_by(FILE *out, const struct cbt_stats_view *view, enum cbt_by_id by)
{
    const struct cbt_by_info *info = &cbt_by_infos[by];
    fprintf(out, ",\"%s\":{", info->id);
    for (unsigned v = 0; v < info->count; v++)
        fprintf(out, "%s\"%s\":%" PRIu64, v ? "," : "", info->values[v].name, cbt_view_by(view, by)[v]);
    fputc('}', out);
}

static void put_bys(FILE *out, const struct cbt_stats_view *view, enum cbt_scope scope)
{
    for (unsigned i = 0; i < CBT_BYS; i++)
        if (cbt_by_infos[i].scope == scope)
            put_by(out, view, (enum cbt_by_id)i);
}

static void put_histograms(FILE *out, const struct cbt_stats_view *view, enum cbt_scope scope)
{
    for (unsigned i = 0; i < CBT_HISTOGRAMS; i++) {
        if (cbt_histogram_infos[i].scope != scope)
            continue;
        fprintf(out, ",\"%s\":{\"sum_seconds\":", cbt_histogram_infos[i].id);
        cbt_put_fixed(out, view->histograms[i].sum_ns, 9);
        fputs(",\"buckets\":[", out);
        for (unsigned b = 0; b < CBT_HISTOGRAM_BUCKETS; b++)
            fprintf(out, "%s%" PRIu64, b ? "," : "", view->histograms[i].buckets[b]);
        fputs("]}", out);
    }
}

/* A value that not every source has; negative: null. */
static void put_or_null(FILE *out, const char *name, int64_t value)
{
    fprintf(out, ",\"%s\":", name);
    if (value >= 0)
        fprintf(out, "%" PRId64, value);
    else
        fputs("null", out);
}

static void put_source(FILE *out, const struct cbt_snapshot *snapshot, const struct cbt_section_view *source)
{
    const struct cbt_stats_view *view = &source->view;
    fputc('{', out);
    put_string(out, "name", source->name);
    fprintf(out, ",\"receivers\":%u,\"connected\":%s", source->threads, view->connected ? "true" : "false");
    put_or_null(out, "queue_messages", view->queue_messages);
    put_or_null(out, "spool_messages", view->spool_messages);
    put_or_null(out, "spool_bytes", view->spool_bytes);
    put_or_null(out, "archive_left_files", view->archive_files);
    put_or_null(out, "archive_left_bytes", view->archive_bytes);
    put_or_null(out, "archive_left_seconds", view->archive_seconds);
    fprintf(out, ",\"inflight_frames\":%" PRId64 ",", cbt_snapshot_inflight_frames(view));
    put_double(out, "oldest_frame_seconds", cbt_snapshot_oldest_seconds(snapshot, view));
    put_counters(out, view, CBT_SCOPE_source);
    put_bys(out, view, CBT_SCOPE_source);
    put_histograms(out, view, CBT_SCOPE_source);
    fputc('}', out);
}

static void put_sink(FILE *out, const struct cbt_snapshot *snapshot, const struct cbt_section_view *sink)
{
    double connected =
        cbt_snapshot_gauge(snapshot, CBT_GAUGE_sink_connected, sink->name, (double)sink->view.connected);
    fputc('{', out);
    put_string(out, "name", sink->name);
    fprintf(out, ",\"connected\":%s,\"inflight_events\":%" PRId64, connected != 0 ? "true" : "false",
            cbt_snapshot_inflight_events(snapshot, sink));
    put_counters(out, &sink->view, CBT_SCOPE_sink);
    put_bys(out, &sink->view, CBT_SCOPE_sink);
    fputc('}', out);
}

static void put_thread(FILE *out, const struct cbt_snapshot *snapshot, const struct cbt_thread_view *thread)
{
    static const char *const stages[] = {
        [CBT_STATS_SOURCE] = "ingest", [CBT_STATS_WORKER] = "decode", [CBT_STATS_SINK] = "sink"};
    fputc('{', out);
    put_string(out, "thread", thread->stats->thread);
    fprintf(out, ",\"stage\":\"%s\",", stages[thread->stats->kind]);
    put_string(out, "section", thread->stats->section);
    fprintf(out, ",\"connected\":%s,\"has_work\":%s,\"waiting_for_peer\":%s,",
            thread->view.connected ? "true" : "false", thread->has_work ? "true" : "false",
            thread->waiting_for_peer ? "true" : "false");
    put_double(out, "moved_seconds_ago",
               thread->moved_ns > 0 ? (double)(snapshot->now_ns - thread->moved_ns) / 1e9 : NAN);
    put_counters(out, &thread->view, CBT_SCOPE_any);
    if (thread->stats->kind == CBT_STATS_WORKER) {
        put_counters(out, &thread->view, CBT_SCOPE_worker);
        fprintf(out, ",\"events\":%" PRIu64, cbt_view_by_sum(&thread->view, CBT_BY_events));
    } else if (thread->stats->kind == CBT_STATS_SOURCE) {
        put_counter(out, &thread->view, CBT_COUNT_received_frames);
    }
    fputc('}', out);
}

/* What came in against what became of it: frames of all sources; events for each sink. */
static void put_balance(FILE *out, const struct cbt_snapshot *snapshot)
{
    const struct cbt_stats_view *total = &snapshot->total;
    uint64_t received = total->counters[CBT_COUNT_received_frames];
    uint64_t settled = total->counters[CBT_COUNT_settled_frames];
    uint64_t abandoned = total->counters[CBT_COUNT_abandoned_frames];
    uint64_t dropped = cbt_view_by_sum(total, CBT_BY_dropped);
    int64_t inflight = cbt_snapshot_inflight_frames(total);
    fprintf(out,
            ",\"balance\":{\"frames\":{\"received\":%" PRIu64 ",\"settled\":%" PRIu64
            ",\"abandoned\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"in_flight\":%" PRId64
            ",\"difference\":%" PRId64 "},\"events\":[",
            received, settled, abandoned, dropped, inflight,
            (int64_t)(received - settled - abandoned - dropped) - inflight);
    /* What the workers counted holds for every sink; what a sink counted, for itself alone. */
    uint64_t walked = cbt_view_by_sum(total, CBT_BY_events);
    uint64_t filtered = cbt_view_by_sum(total, CBT_BY_filtered);
    uint64_t dead_before_sinks = cbt_view_by_sum(total, CBT_BY_dead);
    for (size_t i = 0; i < snapshot->section_count; i++)
        if (snapshot->sections[i].kind == CBT_STATS_SINK)
            dead_before_sinks -= cbt_view_by_sum(&snapshot->sections[i].view, CBT_BY_dead);
    bool first = true;
    for (size_t i = 0; i < snapshot->section_count; i++) {
        const struct cbt_section_view *sink = &snapshot->sections[i];
        if (sink->kind != CBT_STATS_SINK)
            continue;
        uint64_t delivered = sink->view.counters[CBT_COUNT_delivered_records];
        uint64_t dead = dead_before_sinks + cbt_view_by_sum(&sink->view, CBT_BY_dead);
        int64_t waiting = cbt_snapshot_inflight_events(snapshot, sink);
        fputs(first ? "{" : ",{", out);
        put_string(out, "sink", sink->name);
        fprintf(out,
                ",\"walked\":%" PRIu64 ",\"delivered\":%" PRIu64 ",\"filtered\":%" PRIu64
                ",\"dead_letters\":%" PRIu64 ",\"in_flight\":%" PRId64 ",\"difference\":%" PRId64 "}",
                walked, delivered, filtered, dead, waiting,
                (int64_t)(walked - delivered - filtered - dead) - waiting);
        first = false;
    }
    fputs("]}", out);
}

static void put_process(FILE *out, const struct cbt_snapshot *snapshot)
{
    put_string(out, "version", CBTAP_VERSION);
    fprintf(out, ",\"time_ms\":%" PRId64 ",", snapshot->wall_ms);
    put_double(out, "uptime_seconds", (double)(snapshot->now_ns - snapshot->started_ns) / 1e9);
    fputc(',', out);
    put_double(out, "cpu_seconds", snapshot->process_cpu_seconds);
    fputc(',', out);
    put_double(out, "resident_bytes", snapshot->process_resident_bytes);
    char stuck[128] = "";
    bool healthy =
        cbt_metrics_healthy(snapshot->metrics, snapshot->now_ns, CBT_STUCK_NS, stuck, sizeof(stuck));
    fprintf(out, ",\"healthy\":%s,", healthy ? "true" : "false");
    put_string(out, "stuck", stuck);
    fprintf(out, ",\"inflight\":{\"frames\":%" PRId64 ",", cbt_snapshot_inflight_frames(&snapshot->total));
    put_double(out, "bytes", cbt_snapshot_gauge(snapshot, CBT_GAUGE_inflight_bytes, "", 0));
    fputc(',', out);
    put_double(out, "bytes_limit", cbt_snapshot_gauge(snapshot, CBT_GAUGE_inflight_bytes_limit, "", 0));
    fputc('}', out);
}

void cbt_snapshot_put_json(FILE *out, const struct cbt_snapshot *snapshot)
{
    static const struct {
        const char *key;
        enum cbt_stats_kind kind;
        void (*put)(FILE *, const struct cbt_snapshot *, const struct cbt_section_view *);
    } lists[] = {{"sources", CBT_STATS_SOURCE, put_source}, {"sinks", CBT_STATS_SINK, put_sink}};

    put_process(out, snapshot);
    for (unsigned l = 0; l < 2; l++) {
        const char *before = "";
        fprintf(out, ",\"%s\":[", lists[l].key);
        for (size_t i = 0; i < snapshot->section_count; i++) {
            if (snapshot->sections[i].kind != lists[l].kind)
                continue;
            fputs(before, out);
            lists[l].put(out, snapshot, &snapshot->sections[i]);
            before = ",";
        }
        fputc(']', out);
    }
    fputs(",\"decode\":{\"frames\":", out);
    fprintf(out, "%" PRIu64, snapshot->total.counters[CBT_COUNT_decoded_frames]);
    put_bys(out, &snapshot->total, CBT_SCOPE_worker);
    put_histograms(out, &snapshot->total, CBT_SCOPE_worker);
    fputs("},\"threads\":[", out);
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        fputs(i ? "," : "", out);
        put_thread(out, snapshot, &snapshot->threads[i]);
    }
    fputs("],\"rings\":[", out);
    const char *before = "";
    for (size_t i = 0; i < snapshot->gauge_count; i++) {
        if (strcmp(snapshot->gauges[i].name, cbt_gauge_infos[CBT_GAUGE_ring_used].name) != 0)
            continue;
        fprintf(out, "%s{", before);
        put_string(out, "ring", snapshot->gauges[i].label);
        fputc(',', out);
        put_double(out, "used_ratio", snapshot->gauge_values[i]);
        fputc('}', out);
        before = ",";
    }
    fputs("],\"bucket_bounds_seconds\":[", out);
    for (unsigned b = 0; b < CBT_HISTOGRAM_BUCKETS - 1; b++)
        fprintf(out, "%s%s", b ? "," : "", cbt_bucket_bounds[b]);
    fputc(']', out);
    put_balance(out, snapshot);
}

static void put_object(FILE *out, void *arg)
{
    fputc('{', out);
    cbt_snapshot_put_json(out, arg);
    fputs("}\n", out);
}

char *cbt_metrics_render_json(const struct cbt_metrics *metrics, size_t *ret_len)
{
    struct cbt_snapshot *snapshot = cbt_snapshot_take(metrics);
    char *text = snapshot ? cbt_put_string(put_object, snapshot, ret_len) : NULL;
    cbt_snapshot_free(snapshot);
    return text;
}
