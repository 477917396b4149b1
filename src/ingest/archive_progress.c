/* SPDX-License-Identifier: MIT */
/* How far it is: gauges, a log line every minute while there is a backlog, and one at its end. */
#include <stdio.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "ingest/archive.h"

#define NS_PER_S INT64_C(1000000000)
#define TELL_NS  (60 * NS_PER_S)
#define BEGUN_NS (1 * NS_PER_S) /* before, the pace says nothing */

static double seconds_left(const struct cbt_archive *self, int64_t now_ns)
{
    int64_t took_ns = now_ns - self->backlog_since_ns;
    if (self->backlog_bytes == 0 || took_ns < BEGUN_NS)
        return -1;
    return (double)self->left_bytes * (double)took_ns / (double)NS_PER_S / (double)self->backlog_bytes;
}

static void tell(struct cbt_archive *self, int64_t now_ns, double left_s)
{
    double took_s = (double)(now_ns - self->backlog_since_ns) / (double)NS_PER_S;
    self->told_ns = now_ns;
    if (self->left_files == 0) {
        cbt_log_info("the archive's backlog is delivered", CBT_S("source", self->config->name),
                     CBT_I("files", self->backlog_files), CBT_I("bytes", self->backlog_bytes),
                     CBT_D("seconds", took_s));
        return;
    }
    char left[32] = "unknown";
    if (left_s >= 0)
        snprintf(left, sizeof left, "%.0f", left_s);
    self->backlog_told = true;
    cbt_log_info("the archive has a backlog", CBT_S("source", self->config->name),
                 CBT_I("files_left", self->left_files), CBT_I("bytes_left", self->left_bytes),
                 CBT_I("files_done", self->backlog_files), CBT_I("bytes_done", self->backlog_bytes),
                 CBT_I("records", atomic_load(&self->stats->counters[CBT_COUNT_archive_records])),
                 CBT_S("seconds_left", left));
}

static void show(struct cbt_archive *self, bool scanning, double left_s)
{
    struct cbt_stats *stats = self->stats;
    int64_t files = (int64_t)self->left_files;
    /* A scan counts anew: until it has found more, what there was before it is nearer to the truth. */
    if (scanning && files <= atomic_load_explicit(&stats->gauge_archive_files, memory_order_relaxed))
        return;
    atomic_store_explicit(&stats->gauge_archive_files, files, memory_order_release);
    atomic_store_explicit(&stats->gauge_archive_bytes, (int64_t)self->left_bytes, memory_order_release);
    atomic_store_explicit(&stats->gauge_archive_seconds, (int64_t)left_s, memory_order_release);
}

void cbt_archive_progress(struct cbt_archive *self, int64_t now_ns)
{
    bool scanning = cbt_archive_scan_goes_on(&self->scan);
    if (self->left_files > 0 && self->backlog_since_ns == 0) {
        self->backlog_since_ns = self->told_ns = now_ns;
        self->backlog_files = self->backlog_bytes = 0;
        self->backlog_told = false;
    }
    double left_s = self->left_files > 0 ? seconds_left(self, now_ns) : 0;
    show(self, scanning, left_s);
    if (self->backlog_since_ns == 0 || scanning)
        return;
    if (self->left_files > 0 && now_ns - self->told_ns >= TELL_NS)
        tell(self, now_ns, left_s);
    if (self->left_files == 0) {
        if (self->backlog_told)
            tell(self, now_ns, 0);
        self->backlog_since_ns = 0;
    }
}
