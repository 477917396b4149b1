/* SPDX-License-Identifier: MIT */
/*
 * The copy of all counters that a rendering starts from.
 *
 * What makes the balance hold while everything moves: each thread counts upstream first (received, taken,
 * recycled, settled; walked, filtered or handed over, done with, delivered), and here downstream is read
 * first. A message on its way between two counters is then seen by neither, or by the upper one only: the
 * difference is never below 0 and at most what is being handed over.
 */
#include "core/metrics_snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "core/metrics_internal.h"

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_acquire);
}
static int64_t load_gauge(const _Atomic int64_t *gauge)
{
    return atomic_load_explicit(gauge, memory_order_acquire);
}

/* Counters that others are compared with, so they are read after those, in this order. */
static const enum cbt_counter read_last[] = {CBT_COUNT_settled_records, CBT_COUNT_recycled_frames,
                                             CBT_COUNT_taken_frames, CBT_COUNT_received_frames};

static void copy_stats(struct cbt_stats_view *view, const struct cbt_stats *stats)
{
    for (unsigned h = 0; h < CBT_HISTOGRAMS; h++) {
        for (unsigned b = 0; b < CBT_HISTOGRAM_BUCKETS; b++)
            view->histograms[h].buckets[b] = load(&stats->histograms[h].buckets[b]);
        view->histograms[h].sum_ns = load(&stats->histograms[h].sum_ns);
    }
    for (unsigned c = 0; c < CBT_COUNTERS; c++)
        view->counters[c] = load(&stats->counters[c]);
#define CBT_BY(id, scope, name, label, count, help)                                                          \
    for (unsigned i = 0; CBT_BY_##id != CBT_BY_events && i < (count); i++)                                   \
        view->id[i] = load(&stats->id[i]);
#include "cbtap/metrics.def"
    for (unsigned i = 0; i < sizeof(view->submitted_records) / sizeof(view->submitted_records[0]); i++)
        view->submitted_records[i] = load(&stats->submitted_records[i]);
    for (unsigned i = 0; i < CBT_TYPES; i++) {
        view->filtered_types[i] = load(&stats->filtered_types[i]);
        view->dead_types[i] = load(&stats->dead_types[i]);
    }
    for (unsigned i = 0; i < sizeof(read_last) / sizeof(read_last[0]); i++)
        view->counters[read_last[i]] = load(&stats->counters[read_last[i]]);
    for (unsigned i = 0; i < CBT_TYPES; i++)
        view->events[i] = load(&stats->events[i]);

    view->connected = load_gauge(&stats->gauge_connected) != 0;
    view->queue_messages = load_gauge(&stats->gauge_queue_messages);
    view->spool_messages = load_gauge(&stats->gauge_spool_messages);
    view->spool_bytes = load_gauge(&stats->gauge_spool_bytes);
    view->archive_files = load_gauge(&stats->gauge_archive_files);
    view->archive_bytes = load_gauge(&stats->gauge_archive_bytes);
    view->archive_seconds = load_gauge(&stats->gauge_archive_seconds);
    view->oldest_frame_ns = load_gauge(&stats->oldest_frame_ns);
}

static void sum_view(struct cbt_stats_view *sum, const struct cbt_stats_view *view)
{
    for (unsigned h = 0; h < CBT_HISTOGRAMS; h++) {
        for (unsigned b = 0; b < CBT_HISTOGRAM_BUCKETS; b++)
            sum->histograms[h].buckets[b] += view->histograms[h].buckets[b];
        sum->histograms[h].sum_ns += view->histograms[h].sum_ns;
    }
    for (unsigned c = 0; c < CBT_COUNTERS; c++)
        sum->counters[c] += view->counters[c];
#define CBT_BY(id, scope, name, label, count, help)                                                          \
    for (unsigned i = 0; i < (count); i++)                                                                   \
        sum->id[i] += view->id[i];
#include "cbtap/metrics.def"
    for (unsigned i = 0; i < sizeof(sum->submitted_records) / sizeof(sum->submitted_records[0]); i++)
        sum->submitted_records[i] += view->submitted_records[i];
    for (unsigned i = 0; i < CBT_TYPES; i++) {
        sum->filtered_types[i] += view->filtered_types[i];
        sum->dead_types[i] += view->dead_types[i];
    }

    sum->connected = sum->connected && view->connected;
    /* Receivers of one section read one queue: each tells the same backlog, or an older one. */
    if (view->queue_messages > sum->queue_messages)
        sum->queue_messages = view->queue_messages;
    if (view->spool_messages > sum->spool_messages)
        sum->spool_messages = view->spool_messages;
    if (view->spool_bytes > sum->spool_bytes)
        sum->spool_bytes = view->spool_bytes;
    /* An archive has one receiver. */
    if (view->archive_files >= 0) {
        sum->archive_files = view->archive_files;
        sum->archive_bytes = view->archive_bytes;
        sum->archive_seconds = view->archive_seconds;
    }
    if (view->oldest_frame_ns > 0 &&
        (sum->oldest_frame_ns == 0 || view->oldest_frame_ns < sum->oldest_frame_ns))
        sum->oldest_frame_ns = view->oldest_frame_ns;
}

/* The thread's section, made where it is the first of it. */
static struct cbt_section_view *section_of(struct cbt_snapshot *snapshot, const struct cbt_stats *stats)
{
    const char *name = stats->kind == CBT_STATS_WORKER ? "" : stats->section;
    unsigned sinks = 0;
    for (size_t i = 0; i < snapshot->section_count; i++) {
        struct cbt_section_view *section = &snapshot->sections[i];
        if (section->kind == stats->kind && strcmp(section->name, name) == 0)
            return section;
        sinks += section->kind == CBT_STATS_SINK;
    }
    struct cbt_section_view *section = &snapshot->sections[snapshot->section_count++];
    *section = (struct cbt_section_view){.kind = stats->kind, .name = name, .sink = sinks};
    section->view.connected = 1;
    section->view.queue_messages = -1;
    section->view.spool_messages = section->view.spool_bytes = -1;
    section->view.archive_files = section->view.archive_bytes = section->view.archive_seconds = -1;
    return section;
}

static void read_process(struct cbt_snapshot *snapshot)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        snapshot->process_cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                                        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (!statm)
        return;
    char line[128];
    if (fgets(line, sizeof(line), statm)) {
        char *second = strchr(line, ' ');
        if (second)
            snapshot->process_resident_bytes =
                (double)strtoull(second, NULL, 10) * (double)sysconf(_SC_PAGESIZE);
    }
    fclose(statm);
}

struct cbt_snapshot *cbt_snapshot_take(const struct cbt_metrics *metrics)
{
    struct cbt_snapshot *snapshot = calloc(1, sizeof(*snapshot));
    if (!snapshot)
        return NULL;
    snapshot->metrics = metrics;
    snapshot->threads = calloc(metrics->thread_count + 1, sizeof(*snapshot->threads));
    snapshot->sections = calloc(metrics->thread_count + 1, sizeof(*snapshot->sections));
    snapshot->gauge_values = calloc(metrics->gauge_count + 1, sizeof(*snapshot->gauge_values));
    if (!snapshot->threads || !snapshot->sections || !snapshot->gauge_values) {
        cbt_snapshot_free(snapshot);
        return NULL;
    }
    static const enum cbt_stats_kind downstream_first[] = {CBT_STATS_SINK, CBT_STATS_WORKER,
                                                           CBT_STATS_SOURCE};
    snapshot->thread_count = metrics->thread_count;
    for (unsigned k = 0; k < 3; k++)
        for (size_t i = 0; i < metrics->thread_count; i++)
            if (metrics->threads[i]->kind == downstream_first[k])
                copy_stats(&snapshot->threads[i].view, metrics->threads[i]);

    snapshot->now_ns = cbt_now_ns();
    snapshot->wall_ms = cbt_wall_ms();
    snapshot->started_ns = metrics->started_ns;
    snapshot->started_wall_ms = metrics->started_wall_ms;
    for (size_t i = 0; i < metrics->thread_count; i++) {
        struct cbt_thread_view *thread = &snapshot->threads[i];
        thread->stats = metrics->threads[i];
        thread->has_work = load_gauge(&thread->stats->has_work);
        thread->waiting_for_peer = load_gauge(&thread->stats->waiting_for_peer);
        thread->moved_ns = load_gauge(&thread->stats->moved_ns);
        struct cbt_section_view *section = section_of(snapshot, thread->stats);
        section->threads++;
        sum_view(&section->view, &thread->view);
        sum_view(&snapshot->total, &thread->view);
    }
    snapshot->gauges = metrics->gauges;
    snapshot->gauge_count = metrics->gauge_count;
    for (size_t i = 0; i < metrics->gauge_count; i++)
        snapshot->gauge_values[i] = metrics->gauges[i].read(metrics->gauges[i].arg);
    read_process(snapshot);
    return snapshot;
}

void cbt_snapshot_free(struct cbt_snapshot *snapshot)
{
    if (!snapshot)
        return;
    free(snapshot->threads);
    free(snapshot->sections);
    free(snapshot->gauge_values);
    free(snapshot);
}

/* Both counters only grow, and what came out is read first: below 0 it would be a bug of a thread that
 * counts, and is shown, not hidden. */
static int64_t in_between(uint64_t in, uint64_t out)
{
    return (int64_t)(in - out);
}

int64_t cbt_snapshot_inflight_events(const struct cbt_snapshot *snapshot, const struct cbt_section_view *sink)
{
    const uint64_t *submitted = snapshot->total.submitted_records;
    if (sink->sink >= sizeof(snapshot->total.submitted_records) / sizeof(*submitted))
        return 0;
    return in_between(submitted[sink->sink], sink->view.counters[CBT_COUNT_settled_records]);
}

int64_t cbt_snapshot_inflight_frames(const struct cbt_stats_view *view)
{
    return in_between(view->counters[CBT_COUNT_taken_frames], view->counters[CBT_COUNT_recycled_frames]);
}

double cbt_snapshot_oldest_seconds(const struct cbt_snapshot *snapshot, const struct cbt_stats_view *view)
{
    if (view->oldest_frame_ns <= 0 || view->oldest_frame_ns > snapshot->now_ns)
        return 0;
    return (double)(snapshot->now_ns - view->oldest_frame_ns) / 1e9;
}

double cbt_snapshot_gauge(const struct cbt_snapshot *snapshot, enum cbt_gauge_id gauge, const char *label,
                          double otherwise)
{
    for (size_t i = 0; i < snapshot->gauge_count; i++)
        if (strcmp(snapshot->gauges[i].name, cbt_gauge_infos[gauge].name) == 0 &&
            strcmp(snapshot->gauges[i].label, label) == 0)
            return snapshot->gauge_values[i];
    return otherwise;
}

bool cbt_gauge_counts(enum cbt_gauge_id gauge)
{
    static const char tail[] = "_total";
    const char *name = cbt_gauge_infos[gauge].name;
    size_t len = strlen(name);
    return len >= sizeof(tail) && strcmp(name + len - (sizeof(tail) - 1), tail) == 0;
}

const uint64_t *cbt_view_by(const struct cbt_stats_view *view, enum cbt_by_id by)
{
    return (const uint64_t *)(const void *)((const char *)view + cbt_by_infos[by].offset);
}

uint64_t cbt_view_by_sum(const struct cbt_stats_view *view, enum cbt_by_id by)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < cbt_by_infos[by].count; i++)
        sum += cbt_view_by(view, by)[i];
    return sum;
}
