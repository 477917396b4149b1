/* SPDX-License-Identifier: MIT */
/*
 * The only wiring: receivers, workers and sinks, a lane from each receiver to each worker, a settle ring from
 * each thread that can settle (workers, sinks) to each receiver. Everything is allocated before the first
 * thread starts.
 *
 * Start: sinks, workers, receivers, HTTP. Stop: receivers read no more; lanes run dry; sinks drain; receivers
 * write the last acknowledgements. What is not delivered within shutdown_timeout_ms is abandoned unsettled:
 * it comes again.
 */
#include "cbtap/pipeline.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "cbtap/http.h"
#include "cbtap/log.h"
#include "decode/worker.h"
#include "ingest/receiver.h"

#define BLOCK_MAX_BYTES (256u * 1024)
#define BLOCK_MIN_BYTES (16u * 1024)
#define WORKERS_MAX     16
#define VALUE_MAX_BYTES (1u << 30) /* Kafka's own limits are lower; the sink knows them */

struct cbt_pipeline {
    const struct cbt_config *config;
    struct cbt_metrics *metrics;
    struct cbt_budget budget;
    struct cbt_filter **filters; /* the one in use last; older ones live as long as the workers */
    size_t filter_count;

    struct cbt_receiver **receivers;
    struct cbt_stats **receiver_stats;
    unsigned receiver_count;
    struct cbt_worker **workers;
    struct cbt_alarm **worker_alarms;
    unsigned worker_count;
    struct cbt_outlet outlets[CBT_SINKS_MAX];
    struct cbt_stats *sink_stats[CBT_SINKS_MAX];
    unsigned sink_count;

    unsigned settler_count; /* workers, then sinks */
    struct cbt_settler *settlers;
    struct cbt_alarm **receiver_alarms;

    struct cbt_http *http;
    size_t block_bytes;
    unsigned blocks_cached_max;
    bool started;
};

static unsigned choose_workers(const struct cbt_config *config)
{
    if (config->cbtap.workers != 0)
        return (unsigned)config->cbtap.workers;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return processors < 1 ? 1 : processors > WORKERS_MAX ? WORKERS_MAX : (unsigned)processors;
}

static unsigned count_receivers(const struct cbt_config *config)
{
    unsigned count = 0;
    for (size_t i = 0; i < config->source_count; i++)
        count +=
            strcmp(config->sources[i].type, "amqp") == 0 ? (unsigned)config->sources[i].amqp.receivers : 1;
    return count;
}

/* Blocks small enough that each thread's open one is a small part of the budget. */
static void choose_blocks(struct cbt_pipeline *p)
{
    size_t limit = p->config->cbtap.inflight_bytes;
    size_t share = limit / (8 * (size_t)(p->receiver_count + p->worker_count));
    p->block_bytes = BLOCK_MAX_BYTES;
    while (p->block_bytes > BLOCK_MIN_BYTES && p->block_bytes > share)
        p->block_bytes /= 2;
    size_t cached = limit / 32 / p->block_bytes;
    p->blocks_cached_max = cached < 4 ? 4 : cached > 64 ? 64 : (unsigned)cached;
}

static double read_used_bytes(void *arg)
{
    return (double)cbt_budget_used(arg);
}
static double read_limit_bytes(void *arg)
{
    return (double)((struct cbt_budget *)arg)->limit_bytes;
}
static double read_ring(void *arg)
{
    return cbt_ring_used_ratio(arg);
}

static int add_ring_gauge(struct cbt_pipeline *p, struct cbt_ring *ring, const char *from, const char *to)
{
    struct cbt_gauge gauge = {.name = "cbtap_ring_used_ratio", .read = read_ring, .arg = ring};
    snprintf(gauge.label, sizeof(gauge.label), "%.47s to %.31s", from, to);
    return cbt_metrics_add_gauge(p->metrics, &gauge);
}

static int allocate(struct cbt_pipeline *p, struct cbt_err *err)
{
    p->worker_count = choose_workers(p->config);
    p->receiver_count = count_receivers(p->config);
    p->settler_count = p->worker_count + (unsigned)p->config->sink_count;
    p->receivers = calloc(p->receiver_count, sizeof(struct cbt_receiver *));
    p->receiver_stats = calloc(p->receiver_count, sizeof(struct cbt_stats *));
    p->receiver_alarms = calloc(p->receiver_count, sizeof(struct cbt_alarm *));
    p->workers = calloc(p->worker_count, sizeof(struct cbt_worker *));
    p->worker_alarms = calloc(p->worker_count, sizeof(struct cbt_alarm *));
    p->settlers = calloc(p->settler_count, sizeof(*p->settlers));
    p->filters = calloc(1, sizeof(struct cbt_filter *));
    if (p->receivers == NULL || p->receiver_stats == NULL || p->receiver_alarms == NULL ||
        p->workers == NULL || p->worker_alarms == NULL || p->settlers == NULL || p->filters == NULL ||
        cbt_metrics_new(&p->metrics) != 0)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the pipeline");
    for (unsigned i = 0; i < p->settler_count; i++) {
        struct cbt_settler *s = &p->settlers[i];
        s->index = i;
        s->receivers = p->receiver_count;
        s->rings = calloc(p->receiver_count, sizeof(*s->rings));
        s->touched = calloc(p->receiver_count, sizeof(*s->touched));
        s->alarms = p->receiver_alarms;
        if (s->rings == NULL || s->touched == NULL)
            return cbt_err_set(err, CBT_ENOMEM, "no memory for the settle rings");
    }
    return CBT_OK;
}

/* A sink's format and row; its threads start later. */
static int make_outlet(struct cbt_pipeline *p, unsigned index, struct cbt_err *err)
{
    const struct cbt_config *config = p->config;
    const struct cbt_sink_config *sink = &config->sinks[index];
    struct cbt_outlet *outlet = &p->outlets[index];
    int rc;
    outlet->sink = cbt_sink_find(sink->type);
    if (outlet->sink == NULL)
        return cbt_err_set(err, CBT_EINVAL, "[sink.%s] type = %s: no such sink", sink->name, sink->type);
    if ((rc = outlet->sink->check(sink, &config->cbtap, err)) != 0)
        return rc;
    outlet->format = cbt_format_find(sink->kafka.format);
    if (outlet->format == NULL)
        return cbt_err_set(err, CBT_EUNBUILT, "[sink.%s] format = %s is not built in this version",
                           sink->name, sink->kafka.format);
    struct cbt_format_options options = {.server_name = config->cbtap.server_name,
                                         .server_url = config->cbtap.server_url,
                                         .float_time = config->filter.float_time,
                                         .profile = sink->kafka.json_profile};
    if ((rc = outlet->format->open(&outlet->format_self, &options, err)) != 0)
        return rc;
    const char *key = sink->kafka.key;
    outlet->key = strcmp(key, "none") == 0           ? CBT_KEY_NONE
                  : strcmp(key, "process_guid") == 0 ? CBT_KEY_PROCESS_GUID
                                                     : CBT_KEY_SENSOR_ID;
    outlet->takes_dead_letters = index == 0;
    p->sink_stats[index] = cbt_metrics_add(p->metrics, CBT_STATS_SINK, sink->name, sink->name);
    if (p->sink_stats[index] == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a sink's counters");
    p->sink_count++;
    return CBT_OK;
}

static int make_worker(struct cbt_pipeline *p, unsigned index, struct cbt_err *err)
{
    const struct cbt_options_decode *decode = &p->config->decode;
    char name[32];
    snprintf(name, sizeof(name), "worker-%u", index);
    struct cbt_worker_context context = {
        .index = index,
        .stats = cbt_metrics_add(p->metrics, CBT_STATS_WORKER, name, ""),
        .budget = &p->budget,
        .block_bytes = p->block_bytes,
        .blocks_cached_max = p->blocks_cached_max,
        .limits = {.arena_max_bytes = decode->arena_max_bytes,
                   .record_max_bytes = decode->record_max_bytes,
                   .zip_entries_max = (uint32_t)decode->zip_entries_max,
                   .zip_inflated_max_bytes = decode->zip_inflated_max_bytes,
                   .zip_ratio_max = (uint32_t)decode->zip_ratio_max},
        .value_max_bytes = VALUE_MAX_BYTES,
        .settler = &p->settlers[index],
        .outlets = p->outlets,
        .outlet_count = p->sink_count,
        .receivers = p->receiver_count,
        .filter = p->filters[0],
    };
    if (context.stats == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a worker's counters");
    int rc = cbt_worker_new(&p->workers[index], &context, err);
    if (rc == 0)
        p->worker_alarms[index] = cbt_worker_alarm(p->workers[index]);
    return rc;
}

/* One receiver with its lanes and settle rings. */
static int make_receiver(struct cbt_pipeline *p, unsigned index, const struct cbt_source_config *config,
                         unsigned number, struct cbt_err *err)
{
    const struct cbt_source *source = cbt_source_find(config->type);
    if (source == NULL)
        return cbt_err_set(err, CBT_EINVAL, "[source.%s] type = %s: no such source", config->name,
                           config->type);
    char name[32];
    /* Thread names hold 15 bytes: the number matters more than the end of the section's name. */
    snprintf(name, sizeof(name), "rx-%.9s-%u", config->name, number);
    const char *dir = p->config->sinks[0].kafka.dead_letter_dir;
    struct cbt_receiver_context context = {
        .source = source,
        .config = config,
        .index = index,
        .stats = cbt_metrics_add(p->metrics, CBT_STATS_SOURCE, name, config->name),
        .budget = &p->budget,
        .block_bytes = p->block_bytes,
        .blocks_cached_max = p->blocks_cached_max,
        .frame_max_bytes = p->config->cbtap.frame_max_bytes,
        .dead_letter_dir = dir[0] != '\0' ? dir : NULL,
        .workers = p->worker_count,
        .worker_alarms = p->worker_alarms,
        .settlers = p->settler_count,
    };
    if (context.stats == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a receiver's counters");
    int rc = cbt_receiver_new(&p->receivers[index], &context, err);
    if (rc != 0)
        return cbt_err_prefix(err, "[source.%s]", config->name);
    struct cbt_receiver *receiver = p->receivers[index];
    p->receiver_stats[index] = context.stats;
    p->receiver_alarms[index] = cbt_receiver_alarm(receiver);
    for (unsigned w = 0; w < p->worker_count; w++) {
        char to[32];
        snprintf(to, sizeof(to), "worker-%u", w);
        cbt_worker_set_lane(p->workers[w], index, cbt_receiver_lane(receiver, w));
        if (add_ring_gauge(p, cbt_receiver_lane(receiver, w), name, to) != 0)
            return cbt_err_set(err, CBT_ENOMEM, "no memory for a gauge");
    }
    for (unsigned s = 0; s < p->settler_count; s++) {
        struct cbt_ring *ring = &p->settlers[s].rings[index];
        if ((rc = cbt_ring_init(ring, cbt_receiver_frames(receiver), err)) != 0)
            return rc;
        cbt_receiver_set_settle_ring(receiver, s, ring);
        char from[80];
        if (s < p->worker_count)
            snprintf(from, sizeof(from), "worker-%u", s);
        else
            snprintf(from, sizeof(from), "%.60s", p->config->sinks[s - p->worker_count].name);
        if (add_ring_gauge(p, ring, from, name) != 0)
            return cbt_err_set(err, CBT_ENOMEM, "no memory for a gauge");
    }
    return CBT_OK;
}

static int make_all(struct cbt_pipeline *p, struct cbt_err *err)
{
    const struct cbt_config *config = p->config;
    int rc = allocate(p, err);
    if (rc != 0)
        return rc;
    bool has_pubsub = false;
    for (size_t i = 0; i < config->source_count; i++) {
        const struct cbt_source *source = cbt_source_find(config->sources[i].type);
        has_pubsub = has_pubsub || (source != NULL && !source->redelivers);
    }
    cbt_budget_init(&p->budget, config->cbtap.inflight_bytes, has_pubsub);
    choose_blocks(p);
    const struct cbt_gauge used = {
        .name = "cbtap_inflight_bytes", .read = read_used_bytes, .arg = &p->budget};
    const struct cbt_gauge limit = {
        .name = "cbtap_inflight_bytes_limit", .read = read_limit_bytes, .arg = &p->budget};
    if (cbt_metrics_add_gauge(p->metrics, &used) != 0 || cbt_metrics_add_gauge(p->metrics, &limit) != 0)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a gauge");
    if ((rc = cbt_filter_new(&p->filters[0], config->filter.types, config->filter.drop, err)) != 0)
        return rc;
    p->filter_count = 1;
    if (config->sink_count > CBT_SINKS_MAX)
        return cbt_err_set(err, CBT_EINVAL, "%zu sinks: at most %d", config->sink_count, CBT_SINKS_MAX);
    for (unsigned i = 0; i < config->sink_count; i++)
        if ((rc = make_outlet(p, i, err)) != 0)
            return rc;
    for (unsigned i = 0; i < p->worker_count; i++)
        if ((rc = make_worker(p, i, err)) != 0)
            return rc;
    unsigned index = 0;
    for (size_t i = 0; i < config->source_count; i++) {
        const struct cbt_source_config *source = &config->sources[i];
        unsigned receivers = strcmp(source->type, "amqp") == 0 ? (unsigned)source->amqp.receivers : 1;
        for (unsigned n = 0; n < receivers; n++)
            if ((rc = make_receiver(p, index++, source, n, err)) != 0)
                return rc;
    }
    return CBT_OK;
}

int cbt_pipeline_new(struct cbt_pipeline **ret_pipeline, const struct cbt_config *config, struct cbt_err *err)
{
    struct cbt_pipeline *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the pipeline");
    p->config = config;
    int rc = make_all(p, err);
    if (rc != 0) {
        cbt_pipeline_free(p);
        return rc;
    }
    *ret_pipeline = p;
    return CBT_OK;
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

int cbt_pipeline_start(struct cbt_pipeline *p, struct cbt_err *err)
{
    int rc = open_sinks(p, err);
    if (rc != 0)
        return rc;
    p->started = true;
    for (unsigned i = 0; i < p->worker_count; i++)
        if ((rc = cbt_worker_start(p->workers[i], err)) != 0)
            return rc;
    for (unsigned i = 0; i < p->receiver_count; i++)
        if ((rc = cbt_receiver_start(p->receivers[i], err)) != 0)
            return rc;
    if (p->config->cbtap.http_listen[0] == '\0')
        return CBT_OK;
    struct cbt_http_context http = {
        .options = &p->config->cbtap, .metrics = p->metrics, .ready = ready, .arg = p};
    if ((rc = cbt_http_start(&p->http, &http, err)) != 0)
        return rc;
    cbt_log_info("listening for http", CBT_S("address", p->config->cbtap.http_listen),
                 CBT_I("port", cbt_http_port(p->http)));
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
    bool clean = wait_until(p, deadline, workers_idle);
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
    return CBT_OK;
}

void cbt_pipeline_log_status(struct cbt_pipeline *p)
{
    uint64_t received = 0, settled = 0, events = 0, delivered = 0, dead = 0, filtered = 0, dropped = 0;
    for (unsigned i = 0; i < p->sink_count; i++)
        delivered += atomic_load(&p->sink_stats[i]->counters[CBT_COUNT_delivered_records]);
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
