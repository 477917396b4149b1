/* SPDX-License-Identifier: MIT */
/*
 * The only wiring: receivers, workers and sinks, a lane from each receiver to each worker, a settle ring from
 * each thread that can settle (workers, sinks) to each receiver. Everything is allocated here, before the
 * first thread starts.
 */
#include "pipeline_make.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "decode/limits.h"

#define BLOCK_MAX_BYTES (256u * 1024)
#define BLOCK_MIN_BYTES (16u * 1024)
#define WORKERS_MAX     16
#define VALUE_MAX_BYTES (1u << 30) /* Kafka's own limits are lower; the sink knows them */

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
    if (p->receiver_count == 0 || p->config->sink_count == 0)
        return cbt_err_set(err, CBT_EINVAL, "there must be a source and a sink");
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
    outlet->format = cbt_format_find(sink->format);
    if (outlet->format == NULL)
        return cbt_err_set(err, CBT_EUNBUILT, "[sink.%s] format = %s is not built in this version",
                           sink->name, sink->format);
    struct cbt_format_options options = {.server_name = config->cbtap.server_name,
                                         .server_url = config->cbtap.server_url,
                                         .float_time = config->filter.float_time,
                                         .profile = sink->json_profile};
    const char *key = sink->key; /* "" where the sink has none: nobody would read it */
    outlet->key = key[0] == '\0' || strcmp(key, "none") == 0 ? CBT_KEY_NONE
                  : strcmp(key, "process_guid") == 0         ? CBT_KEY_PROCESS_GUID
                                                             : CBT_KEY_SENSOR_ID;
    outlet->takes_dead_letters = index == 0;
    p->sink_stats[index] = cbt_metrics_add(p->metrics, CBT_STATS_SINK, sink->name, sink->name);
    if (p->sink_stats[index] == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a sink's counters");
    /* Last: cbt_pipeline_free closes the formats of those that are counted. */
    if ((rc = outlet->format->open(&outlet->format_self, &options, err)) != 0)
        return rc;
    p->sink_count++;
    return CBT_OK;
}

static int make_worker(struct cbt_pipeline *p, unsigned index, struct cbt_err *err)
{
    char name[32];
    snprintf(name, sizeof(name), "worker-%u", index);
    struct cbt_worker_context context = {
        .index = index,
        .stats = cbt_metrics_add(p->metrics, CBT_STATS_WORKER, name, ""),
        .budget = &p->budget,
        .block_bytes = p->block_bytes,
        .blocks_cached_max = p->blocks_cached_max,
        .limits = cbt_decode_limits_of(&p->config->decode),
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
    const struct cbt_source *source = cbt_source_of(config);
    if (source == NULL)
        return cbt_err_set(err, CBT_EINVAL, "[source.%s] type = %s: no such source", config->name,
                           config->type);
    char name[32];
    /* Thread names hold 15 bytes: the number matters more than the end of the section's name. */
    snprintf(name, sizeof(name), "rx-%.9s-%u", config->name, number);
    const char *dir = p->config->sinks[0].dead_letter_dir;
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

int cbt_pipeline_make(struct cbt_pipeline *p, struct cbt_err *err)
{
    const struct cbt_config *config = p->config;
    int rc = allocate(p, err);
    if (rc != 0)
        return rc;
    bool has_pubsub = false;
    for (size_t i = 0; i < config->source_count; i++) {
        const struct cbt_source *source = cbt_source_of(&config->sources[i]);
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
