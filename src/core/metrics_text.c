/* SPDX-License-Identifier: MIT */
/* Metrics as Prometheus reads them: text format 0.0.4, each family's lines together. */
#include <inttypes.h>
#include <string.h>

#include "core/metrics_snapshot.h"

static void put_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

struct label {
    const char *name, *value;
};

/* Everything before the value; labels with an empty name are left out. */
static void put_series(FILE *out, const char *name, const char *suffix, const struct label *labels,
                       unsigned count)
{
    fprintf(out, "%s%s", name, suffix);
    char before = '{';
    for (unsigned i = 0; i < count; i++) {
        if (labels[i].name[0] == '\0')
            continue;
        fprintf(out, "%c%s=\"", before, labels[i].name);
        cbt_put_escaped(out, labels[i].value, false);
        fputc('"', out);
        before = ',';
    }
    fputs(before == ',' ? "} " : " ", out);
}

static bool in_scope(const struct cbt_section_view *section, enum cbt_scope scope)
{
    return (section->kind == CBT_STATS_SOURCE && scope == CBT_SCOPE_source) ||
           (section->kind == CBT_STATS_SINK && scope == CBT_SCOPE_sink);
}

static const char *section_label(enum cbt_scope scope)
{
    return scope == CBT_SCOPE_source ? "source" : "sink";
}

static void put_counter(FILE *out, const struct cbt_snapshot *snapshot, unsigned counter)
{
    static const char *const stages[] = {
        [CBT_STATS_SOURCE] = "ingest", [CBT_STATS_WORKER] = "decode", [CBT_STATS_SINK] = "sink"};
    const struct cbt_counter_info *info = &cbt_counter_infos[counter];
    put_head(out, info->name, "counter", info->help);
    if (info->scope == CBT_SCOPE_any || info->scope == CBT_SCOPE_worker) {
        for (size_t i = 0; i < snapshot->thread_count; i++) {
            const struct cbt_thread_view *thread = &snapshot->threads[i];
            if (info->scope == CBT_SCOPE_worker && thread->stats->kind != CBT_STATS_WORKER)
                continue;
            struct label labels[] = {
                {"thread", thread->stats->thread},
                {info->scope == CBT_SCOPE_any ? "stage" : "", stages[thread->stats->kind]}};
            put_series(out, info->name, "", labels, 2);
            cbt_put_fixed(out, thread->view.counters[counter], info->decimals);
            fputc('\n', out);
        }
        return;
    }
    for (size_t i = 0; i < snapshot->section_count; i++) {
        const struct cbt_section_view *section = &snapshot->sections[i];
        if (!in_scope(section, info->scope))
            continue;
        struct label label = {section_label(info->scope), section->name};
        put_series(out, info->name, "", &label, 1);
        cbt_put_fixed(out, section->view.counters[counter], info->decimals);
        fputc('\n', out);
    }
}

/* Every value of the label is there from the start, with 0, so that the first one counts in rate(). */
static void put_by(FILE *out, const struct cbt_snapshot *snapshot, enum cbt_by_id by)
{
    const struct cbt_by_info *info = &cbt_by_infos[by];
    put_head(out, info->name, "counter", info->help);
    if (info->scope == CBT_SCOPE_worker) {
        for (unsigned v = 0; v < info->count; v++) {
            put_series(out, info->name, "", &(struct label){info->label, info->values[v].name}, 1);
            fprintf(out, "%" PRIu64 "\n", cbt_view_by(&snapshot->total, by)[v]);
        }
        return;
    }
    for (size_t i = 0; i < snapshot->section_count; i++) {
        const struct cbt_section_view *section = &snapshot->sections[i];
        for (unsigned v = 0; in_scope(section, info->scope) && v < info->count; v++) {
            struct label labels[] = {{section_label(info->scope), section->name},
                                     {info->label, info->values[v].name}};
            put_series(out, info->name, "", labels, 2);
            fprintf(out, "%" PRIu64 "\n", cbt_view_by(&section->view, by)[v]);
        }
    }
}

static void put_one_histogram(FILE *out, const char *name, struct label label,
                              const struct cbt_histogram_view *histogram)
{
    uint64_t count = 0;
    for (unsigned b = 0; b < CBT_HISTOGRAM_BUCKETS; b++) {
        count += histogram->buckets[b];
        struct label labels[] = {label, {"le", cbt_bucket_bounds[b]}};
        put_series(out, name, "_bucket", labels, 2);
        fprintf(out, "%" PRIu64 "\n", count);
    }
    put_series(out, name, "_sum", &label, 1);
    cbt_put_fixed(out, histogram->sum_ns, 9);
    fputc('\n', out);
    put_series(out, name, "_count", &label, 1);
    fprintf(out, "%" PRIu64 "\n", count);
}

static void put_histogram(FILE *out, const struct cbt_snapshot *snapshot, unsigned histogram)
{
    const struct cbt_histogram_info *info = &cbt_histogram_infos[histogram];
    put_head(out, info->name, "histogram", info->help);
    if (info->scope == CBT_SCOPE_worker) {
        put_one_histogram(out, info->name, (struct label){"", ""}, &snapshot->total.histograms[histogram]);
        return;
    }
    for (size_t i = 0; i < snapshot->section_count; i++) {
        const struct cbt_section_view *section = &snapshot->sections[i];
        if (in_scope(section, info->scope))
            put_one_histogram(out, info->name, (struct label){section_label(info->scope), section->name},
                              &section->view.histograms[histogram]);
    }
}

/* A gauge that follows from the counters of a section; false where it has no value. */
static bool section_gauge(const struct cbt_snapshot *snapshot, const struct cbt_section_view *section,
                          enum cbt_gauge_id gauge, double *ret_value)
{
    bool source = section->kind == CBT_STATS_SOURCE;
    if (gauge == CBT_GAUGE_connected && source)
        *ret_value = (double)section->view.connected;
    else if (gauge == CBT_GAUGE_queue_messages && source && section->view.queue_messages >= 0)
        *ret_value = (double)section->view.queue_messages;
    else if (gauge == CBT_GAUGE_spool_messages && source && section->view.spool_messages >= 0)
        *ret_value = (double)section->view.spool_messages;
    else if (gauge == CBT_GAUGE_spool_bytes && source && section->view.spool_bytes >= 0)
        *ret_value = (double)section->view.spool_bytes;
    else if (gauge == CBT_GAUGE_archive_left_files && source && section->view.archive_files >= 0)
        *ret_value = (double)section->view.archive_files;
    else if (gauge == CBT_GAUGE_archive_left_bytes && source && section->view.archive_bytes >= 0)
        *ret_value = (double)section->view.archive_bytes;
    else if (gauge == CBT_GAUGE_archive_left_seconds && source && section->view.archive_seconds >= 0)
        *ret_value = (double)section->view.archive_seconds;
    else if (gauge == CBT_GAUGE_oldest_frame && source)
        *ret_value = cbt_snapshot_oldest_seconds(snapshot, &section->view);
    else if (gauge == CBT_GAUGE_sink_connected && section->kind == CBT_STATS_SINK)
        *ret_value = (double)section->view.connected;
    else if (gauge == CBT_GAUGE_inflight_events && section->kind == CBT_STATS_SINK)
        *ret_value = (double)cbt_snapshot_inflight_events(snapshot, section);
    else
        return false;
    return true;
}

static void put_value(FILE *out, const char *name, struct label label, double value)
{
    put_series(out, name, "", &label, 1);
    fprintf(out, "%.15g\n", value);
}

static void put_gauge(FILE *out, const struct cbt_snapshot *snapshot, enum cbt_gauge_id gauge)
{
    const struct cbt_gauge_info *info = &cbt_gauge_infos[gauge];
    put_head(out, info->name, cbt_gauge_counts(gauge) ? "counter" : "gauge", info->help);
    bool given = false;
    for (size_t i = 0; i < snapshot->gauge_count; i++) {
        if (strcmp(snapshot->gauges[i].name, info->name) != 0)
            continue;
        put_value(out, info->name, (struct label){info->label, snapshot->gauges[i].label},
                  snapshot->gauge_values[i]);
        given = true;
    }
    if (given)
        return;
    for (size_t i = 0; i < snapshot->section_count; i++) {
        double value = 0;
        if (section_gauge(snapshot, &snapshot->sections[i], gauge, &value))
            put_value(out, info->name, (struct label){info->label, snapshot->sections[i].name}, value);
    }
    struct label none = {"", ""};
    if (gauge == CBT_GAUGE_inflight_frames)
        put_value(out, info->name, none, (double)cbt_snapshot_inflight_frames(&snapshot->total));
    else if (gauge == CBT_GAUGE_build_info)
        put_value(out, info->name, (struct label){info->label, CBTAP_VERSION}, 1);
    else if (gauge == CBT_GAUGE_process_cpu)
        put_value(out, info->name, none, snapshot->process_cpu_seconds);
    else if (gauge == CBT_GAUGE_process_memory)
        put_value(out, info->name, none, snapshot->process_resident_bytes);
    else if (gauge == CBT_GAUGE_process_start)
        put_value(out, info->name, none, (double)snapshot->started_wall_ms / 1000);
}

static void put_all(FILE *out, void *arg)
{
    const struct cbt_snapshot *snapshot = arg;
    for (unsigned i = 0; i < CBT_COUNTERS; i++)
        if (cbt_counter_infos[i].name[0])
            put_counter(out, snapshot, i);
    for (unsigned i = 0; i < CBT_BYS; i++)
        put_by(out, snapshot, (enum cbt_by_id)i);
    for (unsigned i = 0; i < CBT_HISTOGRAMS; i++)
        put_histogram(out, snapshot, i);
    for (unsigned i = 0; i < CBT_GAUGES; i++)
        put_gauge(out, snapshot, (enum cbt_gauge_id)i);
}

char *cbt_metrics_render(const struct cbt_metrics *metrics, size_t *ret_len)
{
    struct cbt_snapshot *snapshot = cbt_snapshot_take(metrics);
    char *text = snapshot ? cbt_put_string(put_all, snapshot, ret_len) : NULL;
    cbt_snapshot_free(snapshot);
    return text;
}
