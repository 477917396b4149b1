/* SPDX-License-Identifier: MIT */
/*
 * The pipeline's life: in which order its threads start and stop, what is reloaded, what it says of itself.
 *
 * Start: sinks, HTTP, poison journal, workers, receivers. Stop: receivers read no more; lanes run dry; sinks
 * drain; receivers write the last acknowledgements. What is not delivered within shutdown_timeout_ms is
 * abandoned unsettled: it comes again.
 */
#include <stdlib.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "pipeline_make.h"

int cbt_pipeline_new(struct cbt_pipeline **ret_pipeline, const struct cbt_config *config, struct cbt_err *err)
{
    struct cbt_pipeline *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the pipeline");
    p->config = config;
    int rc = cbt_pipeline_make(p, err);
    if (rc != 0) {
        cbt_pipeline_free(p);
        return rc;
    }
    *ret_pipeline = p;
    return CBT_OK;
}

void cbt_pipeline_select(struct cbt_pipeline *p, const struct cbt_selection *selection)
{
    for (unsigned i = 0; i < p->worker_count; i++)
        cbt_worker_set_selection(p->workers[i], selection);
}

void cbt_pipeline_free(struct cbt_pipeline *p)
{
    if (p == NULL)
        return;
    if (p->started)
        cbt_pipeline_stop(p, NULL);
    for (unsigned i = 0; i < p->sink_count; i++) {
        struct cbt_outlet *outlet = &p->outlets[i];
        if (outlet->sink_self != NULL)
            outlet->sink->close(outlet->sink_self);
        outlet->format->close(outlet->format_self);
    }
    /* Receivers first: what is left of their frames gives its blocks back to the workers' pools. */
    for (unsigned i = 0; p->receivers != NULL && i < p->receiver_count; i++)
        cbt_receiver_free(p->receivers[i]);
    for (unsigned i = 0; p->workers != NULL && i < p->worker_count; i++)
        cbt_worker_free(p->workers[i]);
    for (unsigned i = 0; p->settlers != NULL && i < p->settler_count; i++) {
        for (unsigned r = 0; p->settlers[i].rings != NULL && r < p->receiver_count; r++)
            cbt_ring_free(&p->settlers[i].rings[r]);
        free(p->settlers[i].rings);
        free(p->settlers[i].touched);
    }
    cbt_poison_close(p->poison);
    for (size_t i = 0; i < p->filter_count; i++)
        cbt_filter_free(p->filters[i]);
    cbt_metrics_free(p->metrics);
    free(p->filters);
    free(p->settlers);
    free(p->receivers);
    free(p->receiver_stats);
    free(p->receiver_alarms);
    free(p->workers);
    free(p->worker_alarms);
    free(p);
}

static int open_sinks(struct cbt_pipeline *p, struct cbt_err *err)
{
    for (unsigned i = 0; i < p->sink_count; i++) {
        struct cbt_sink_context context = {
            .config = &p->config->sinks[i],
            .options = &p->config->cbtap,
            .settler = &p->settlers[p->worker_count + i],
            .stats = p->sink_stats[i],
            .workers = p->worker_count,
            .records_max = CBT_BATCH_RECORDS_MAX,
        };
        int rc = p->outlets[i].sink->open(&p->outlets[i].sink_self, &context, err);
        if (rc != 0)
            return cbt_err_prefix(err, "[sink.%s]", context.config->name), rc;
    }
    return CBT_OK;
}

static bool ready(void *arg, char *ret_reasons, size_t reasons_bytes)
{
    return cbt_pipeline_ready(arg, ret_reasons, reasons_bytes);
}

static int start_http(struct cbt_pipeline *p, struct cbt_err *err)
{
    if (p->config->cbtap.http_listen[0] == '\0')
        return CBT_OK;
    struct cbt_http_context http = {
        .options = &p->config->cbtap, .metrics = p->metrics, .ready = ready, .arg = p};
    int rc = cbt_http_start(&p->http, &http, err);
    if (rc != 0)
        return rc;
    cbt_log_info("listening for http", CBT_S("address", p->config->cbtap.http_listen),
                 CBT_I("port", cbt_http_port(p->http)));
    return CBT_OK;
}

/* Without it the daemon works as well, but for a message that ends it again and again. */
static void open_poison(struct cbt_pipeline *p)
{
    const char *dir = p->config->cbtap.state_dir;
    struct cbt_err err;
    bool wanted = false;
    for (unsigned i = 0; i < p->config->source_count; i++)
        wanted = wanted || cbt_source_of(&p->config->sources[i])->meets_poison;
    if (!wanted || dir[0] == '\0')
        return;
    if (cbt_poison_open(&p->poison, dir, &err) != 0)
        cbt_log_warning("no poison journal: a message that ends the process is decoded again after every "
                        "restart; give state_dir a directory that can be written, or empty it",
                        CBT_S("reason", err.text));
    for (unsigned i = 0; i < p->worker_count; i++)
        cbt_worker_set_poison(p->workers[i], p->poison);
}

int cbt_pipeline_start(struct cbt_pipeline *p, struct cbt_err *err)
{
    int rc = open_sinks(p, err);
    if (rc != 0)
        return rc;
    p->started = true;
    /* Before anything is read: where the address is taken, by another cbtap as a rule, this one is to end
     * without a message of the other's in its hands. */
    if ((rc = start_http(p, err)) != 0)
        return rc;
    open_poison(p);
    for (unsigned i = 0; i < p->worker_count; i++)
        if ((rc = cbt_worker_start(p->workers[i], err)) != 0)
            return rc;
    for (unsigned i = 0; i < p->receiver_count; i++)
        if ((rc = cbt_receiver_start(p->receivers[i], err)) != 0)
            return rc;
    return CBT_OK;
}

/* Frames in flight in all receivers. */
static uint64_t count_inflight(const struct cbt_pipeline *p)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < p->receiver_count; i++)
        count += cbt_receiver_inflight(p->receivers[i]);
    return count;
}

static bool nobody_reads(const struct cbt_pipeline *p)
{
    for (unsigned i = 0; i < p->receiver_count; i++)
        if (cbt_receiver_reads(p->receivers[i]))
            return false;
    return true;
}

static bool workers_idle(const struct cbt_pipeline *p)
{
    for (unsigned i = 0; i < p->worker_count; i++)
        if (!cbt_worker_idle(p->workers[i]))
            return false;
    return true;
}

/* Waits for a condition of other threads that has no event of its own; only at shutdown. */
static bool wait_until(struct cbt_pipeline *p, int64_t deadline_ns, bool (*done)(const struct cbt_pipeline *))
{
    while (!done(p)) {
        if (cbt_now_ns() >= deadline_ns)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return true;
}

static bool nothing_inflight(const struct cbt_pipeline *p)
{
    return count_inflight(p) == 0;
}

int cbt_pipeline_stop(struct cbt_pipeline *p, struct cbt_err *err)
{
    if (!p->started)
        return CBT_OK;
    p->started = false;
    int64_t deadline = cbt_now_ns() + (int64_t)p->config->cbtap.shutdown_timeout_ms * 1000000;
    for (unsigned i = 0; i < p->receiver_count; i++)
        cbt_receiver_stop_reading(p->receivers[i]);
    bool clean = wait_until(p, deadline, nobody_reads) && wait_until(p, deadline, workers_idle);
    for (unsigned i = 0; clean && i < p->sink_count; i++) {
        int64_t left_ms = (deadline - cbt_now_ns()) / 1000000;
        clean = p->outlets[i].sink->drain(p->outlets[i].sink_self, left_ms > 0 ? (int)left_ms : 0, NULL) == 0;
    }
    clean = clean && wait_until(p, deadline, nothing_inflight);
    uint64_t left = count_inflight(p);
    for (unsigned i = 0; i < p->sink_count; i++)
        p->outlets[i].sink->abandon(p->outlets[i].sink_self);
    for (unsigned i = 0; i < p->worker_count; i++)
        cbt_worker_stop(p->workers[i]);
    for (unsigned i = 0; i < p->receiver_count; i++)
        cbt_receiver_stop(p->receivers[i]);
    cbt_http_stop(p->http);
    p->http = NULL;
    if (clean)
        return CBT_OK;
    return cbt_err_set(
        err, CBT_ELIMIT,
        "%llu messages were not delivered within shutdown_timeout_ms; they are not acknowledged, "
        "so what can come again will",
        (unsigned long long)left);
}

bool cbt_pipeline_ready(struct cbt_pipeline *p, char *ret_reasons, size_t reasons_bytes)
{
    size_t used = 0;
    bool all = true;
    ret_reasons[0] = '\0';
    for (unsigned i = 0; i < p->receiver_count; i++) {
        const struct cbt_stats *stats = p->receiver_stats[i];
        if (atomic_load_explicit(&stats->gauge_connected, memory_order_relaxed))
            continue;
        all = false;
        if (used < reasons_bytes)
            used += (size_t)snprintf(ret_reasons + used, reasons_bytes - used,
                                     "source %s (%s) is not connected\n", stats->section, stats->thread);
    }
    for (unsigned i = 0; i < p->sink_count; i++) {
        char reason[CBT_ERR_TEXT_BYTES] = "";
        if (p->outlets[i].sink->ready(p->outlets[i].sink_self, reason, sizeof(reason)))
            continue;
        all = false;
        if (used < reasons_bytes)
            used += (size_t)snprintf(ret_reasons + used, reasons_bytes - used, "sink %s: %s\n",
                                     p->config->sinks[i].name, reason);
    }
    return all;
}

int cbt_pipeline_reload(struct cbt_pipeline *p, const struct cbt_config *config, struct cbt_err *err)
{
    struct cbt_filter *filter = NULL;
    int rc = cbt_filter_new(&filter, config->filter.types, config->filter.drop, err);
    if (rc != 0)
        return rc;
    struct cbt_filter **filters = realloc(p->filters, (p->filter_count + 1) * sizeof(struct cbt_filter *));
    if (filters == NULL) {
        cbt_filter_free(filter);
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a filter");
    }
    p->filters = filters;
    p->filters[p->filter_count++] = filter;
    for (unsigned i = 0; i < p->worker_count; i++)
        cbt_worker_set_filter(p->workers[i], filter);
    for (unsigned i = 0; i < p->sink_count; i++)
        if (p->outlets[i].sink->reload != NULL)
            p->outlets[i].sink->reload(p->outlets[i].sink_self);
    for (unsigned i = 0; i < p->config->source_count; i++) {
        const struct cbt_source *source = cbt_source_of(&p->config->sources[i]);
        if (source->reload != NULL)
            source->reload(&p->config->sources[i]);
    }
    return CBT_OK;
}

void cbt_pipeline_log_status(struct cbt_pipeline *p)
{
    uint64_t received = 0, settled = 0, events = 0, delivered = 0, dead = 0, filtered = 0, dropped = 0;
    for (unsigned i = 0; i < p->sink_count; i++) {
        delivered += atomic_load(&p->sink_stats[i]->counters[CBT_COUNT_delivered_records]);
        for (unsigned t = 0; t < CBT_DEAD_COUNT; t++)
            dead += atomic_load(&p->sink_stats[i]->dead[t]);
    }
    for (unsigned i = 0; i < p->worker_count; i++) {
        const struct cbt_stats *stats = cbt_worker_stats(p->workers[i]);
        for (unsigned t = 0; t < CBT_TYPES; t++)
            events += atomic_load(&stats->events[t]);
        for (unsigned t = 0; t < CBT_DEAD_COUNT; t++)
            dead += atomic_load(&stats->dead[t]);
        for (unsigned t = 0; t < CBT_FILTERED_COUNT; t++)
            filtered += atomic_load(&stats->filtered[t]);
    }
    for (unsigned i = 0; i < p->receiver_count; i++) {
        received += atomic_load(&p->receiver_stats[i]->counters[CBT_COUNT_received_frames]);
        settled += atomic_load(&p->receiver_stats[i]->counters[CBT_COUNT_settled_frames]);
        for (unsigned t = 0; t < CBT_DROPPED_COUNT; t++)
            dropped += atomic_load(&p->receiver_stats[i]->dropped[t]);
    }
    cbt_log_info("status", CBT_I("received_frames", received), CBT_I("settled_frames", settled),
                 CBT_I("dropped_frames", dropped), CBT_I("inflight_frames", count_inflight(p)),
                 CBT_I("inflight_bytes", cbt_budget_used(&p->budget)), CBT_I("events", events),
                 CBT_I("delivered_records", delivered), CBT_I("filtered_events", filtered),
                 CBT_I("dead_letters", dead));
}

const struct cbt_metrics *cbt_pipeline_metrics(const struct cbt_pipeline *p)
{
    return p->metrics;
}
