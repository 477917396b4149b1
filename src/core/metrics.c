/* SPDX-License-Identifier: MIT */
/* Metrics: the list of all threads' counters, how a histogram takes a value, and whether a thread is stuck.
 */
#include "cbtap/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "core/metrics_internal.h"
#include "core/metrics_snapshot.h"

_Static_assert(CBT_HISTOGRAM_BUCKETS == 25, "8 decades of 3 bounds, and +Inf");

/*
 * For each power of two the number of bounds below it. As each bound is at least twice the one before, there
 * is at most one bound between two powers of two: one look at this table and one comparison find the bucket.
 */
static const uint8_t bounds_below_power[64] = {
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  1,  2,  3,  4,  5,  6,  7,  8,
    8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 17, 18, 19, 20, 21, 22, 23, 24, 24, 24, 24, 24,
    24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24,
};

/* A wrong clock must not run the sum over within minutes; when it does run over, it is as after a restart. */
#define OBSERVED_MAX_NS 10000000000000

unsigned cbt_histogram_bucket(int64_t ns)
{
    if (ns <= 0)
        return 0;
    unsigned bucket = bounds_below_power[63 - __builtin_clzll((unsigned long long)ns)];
    return bucket + (bucket < CBT_HISTOGRAM_BUCKETS - 1 && ns > cbt_bucket_bounds_ns[bucket]);
}

void cbt_observe(struct cbt_stats *stats, enum cbt_histogram_id histogram, int64_t ns)
{
    struct cbt_histogram *h = &stats->histograms[histogram];
    cbt_add(&h->buckets[cbt_histogram_bucket(ns)], 1);
    if (ns > 0)
        cbt_add(&h->sum_ns, (uint64_t)(ns < OBSERVED_MAX_NS ? ns : OBSERVED_MAX_NS));
}

int cbt_metrics_new(struct cbt_metrics **ret_metrics)
{
    struct cbt_metrics *metrics = calloc(1, sizeof(*metrics));
    if (!metrics)
        return CBT_ENOMEM;
    metrics->started_ns = cbt_now_ns();
    metrics->started_wall_ms = cbt_wall_ms();
    *ret_metrics = metrics;
    return 0;
}

void cbt_metrics_free(struct cbt_metrics *metrics)
{
    if (!metrics)
        return;
    for (size_t i = 0; i < metrics->thread_count; i++)
        free(metrics->threads[i]);
    free(metrics->threads);
    free(metrics->gauges);
    free(metrics);
}

/* Room for one more in an array that grows by doubling; false: out of memory. */
static bool grow(void **array, size_t count, size_t item_bytes)
{
    if (count != 0 && (count & (count - 1)) != 0)
        return true;
    void *larger = reallocarray(*array, count ? 2 * count : 1, item_bytes);
    if (larger)
        *array = larger;
    return larger != NULL;
}

struct cbt_stats *cbt_metrics_add(struct cbt_metrics *metrics, enum cbt_stats_kind kind, const char *thread,
                                  const char *section)
{
    if (!grow((void **)&metrics->threads, metrics->thread_count, sizeof(struct cbt_stats *)))
        return NULL;
    /* Whole cache lines of its own, or the threads would slow each other down. */
    size_t bytes = (sizeof(struct cbt_stats) + 127) & ~(size_t)127;
    struct cbt_stats *stats = aligned_alloc(128, bytes);
    if (!stats)
        return NULL;
    memset(stats, 0, bytes);
    stats->kind = kind;
    snprintf(stats->thread, sizeof(stats->thread), "%s", thread);
    snprintf(stats->section, sizeof(stats->section), "%s", section);
    atomic_init(&stats->gauge_queue_messages, -1);
    atomic_init(&stats->gauge_spool_messages, -1);
    atomic_init(&stats->gauge_spool_bytes, -1);
    atomic_init(&stats->gauge_archive_files, -1);
    atomic_init(&stats->gauge_archive_bytes, -1);
    atomic_init(&stats->gauge_archive_seconds, -1);
    metrics->threads[metrics->thread_count++] = stats;
    return stats;
}

int cbt_metrics_add_gauge(struct cbt_metrics *metrics, const struct cbt_gauge *gauge)
{
    unsigned known = 0;
    while (known < CBT_GAUGES && strcmp(cbt_gauge_infos[known].name, gauge->name) != 0)
        known++;
    if (known == CBT_GAUGES)
        return CBT_EINVAL;
    for (size_t i = 0; i < metrics->gauge_count; i++)
        if (strcmp(metrics->gauges[i].name, gauge->name) == 0 &&
            strcmp(metrics->gauges[i].label, gauge->label) == 0)
            return CBT_EINVAL;
    if (!grow((void **)&metrics->gauges, metrics->gauge_count, sizeof(*metrics->gauges)))
        return CBT_ENOMEM;
    metrics->gauges[metrics->gauge_count++] = *gauge;
    return 0;
}

bool cbt_metrics_healthy(const struct cbt_metrics *metrics, int64_t now_ns, int64_t stuck_ns,
                         char *ret_reason, size_t reason_bytes)
{
    for (size_t i = 0; i < metrics->thread_count; i++) {
        const struct cbt_stats *stats = metrics->threads[i];
        /* A thread says when it moved before it says that it has work: so has_work is looked at first. */
        if (!atomic_load_explicit(&stats->has_work, memory_order_acquire) ||
            atomic_load_explicit(&stats->waiting_for_peer, memory_order_acquire))
            continue;
        int64_t moved_ns = atomic_load_explicit(&stats->moved_ns, memory_order_acquire);
        if (moved_ns == 0 || now_ns - moved_ns <= stuck_ns)
            continue;
        if (reason_bytes > 0)
            snprintf(ret_reason, reason_bytes, "thread %s has work and has not moved for %lld s",
                     stats->thread, (long long)((now_ns - moved_ns) / 1000000000));
        return false;
    }
    return true;
}
