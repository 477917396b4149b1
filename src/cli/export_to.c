/* SPDX-License-Identifier: MIT */
/*
 * --to TYPE:WHERE runs the daemon's own pipeline: the events go to a sink as a [sink.NAME] of that type would
 * have it, of which WHERE is the key that says where. Where -c or -s have a sink of that type, it is that
 * one; else one by the name of `to`.
 */
#include "cli/export.h"

#include <stdlib.h>
#include <string.h>

#include "cbtap/log.h"
#include "cbtap/sink.h"
#include "cli/export_feed.h"
#include "core/metrics_snapshot.h"

#define EXTRAS_MAX    8
#define WORKERS_MAX   16
#define TEXT_BYTES    1024
#define OWN_SINK_NAME "to"

static const struct target {
    const char *type, *key;
    const char *protocols; /* may stand before WHERE, with a colon; NULL: none */
} targets[] = {
    {"kafka", "topic", NULL}, {"tcp", "address", NULL},
    {"udp", "address", NULL}, {"syslog", "address", "udp|tcp|tls"},
    {"file", "path", NULL},
};

static const struct target *target_of(const char *to)
{
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        size_t len = strlen(targets[i].type);
        if (strncmp(to, targets[i].type, len) == 0 && to[len] == ':')
            return &targets[i];
    }
    return NULL;
}

bool cbt_export_is_sink(const char *to)
{
    return to != NULL && target_of(to) != NULL;
}

/* ---- the configuration ---- */

int cbt_export_load(struct cbt_export *x, struct cbt_err *err)
{
    static const char own[] = "sink." OWN_SINK_NAME ".";
    const struct cbt_args *args = x->args;
    const char **some = calloc(args->override_count + 1, sizeof *some);
    size_t count = 0;
    if (some == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the configuration");
    for (size_t i = 0; i < args->override_count; i++)
        if (!cbt_export_is_sink(args->to) || strncmp(args->overrides[i], own, strlen(own)) != 0)
            some[count++] = args->overrides[i];
    int rc = cbt_config_load_without_ends(&x->config, args->config_path, some, count, err);
    free(some);
    return rc;
}

struct overrides {
    char texts[EXTRAS_MAX][TEXT_BYTES];
    const char **all; /* ours, then those of -s, which count more */
    size_t count;
    bool failed; /* one is too long */
};

static void put(struct overrides *o, const char *sink, const char *key, const char *value)
{
    char *text = o->texts[o->count];
    int len = sink ? snprintf(text, TEXT_BYTES, "sink.%s.%s=%s", sink, key, value)
                   : snprintf(text, TEXT_BYTES, "%s=%s", key, value);
    o->failed |= len < 0 || len >= TEXT_BYTES;
    o->all[o->count++] = text;
}

/* "tls:HOST:PORT": what stands before the address, of "udp|tcp|tls". */
static size_t protocol_len(const char *protocols, const char *where)
{
    size_t len = strcspn(where, ":");
    for (const char *at = protocols; at != NULL; at = strchr(at, '|'), at = at ? at + 1 : NULL)
        if (strncmp(at, where, len) == 0 && (at[len] == '|' || at[len] == '\0'))
            return len;
    return 0;
}

static void put_all(struct overrides *o, const struct cbt_export *x, const struct target *target,
                    const char *sink)
{
    const struct cbt_args *args = x->args;
    const char *where = args->to + strlen(target->type) + 1;
    size_t len = target->protocols ? protocol_len(target->protocols, where) : 0;
    char text[32];
    put(o, sink, "type", target->type);
    if (len > 0) {
        snprintf(text, sizeof text, "%.*s", (int)len, where);
        put(o, sink, "protocol", text);
        where += len + 1;
    }
    put(o, sink, target->key, where);
    if (args->format)
        put(o, sink, "format", args->format);
    if (args->profile)
        put(o, sink, "json.profile", args->profile);
    if (args->types)
        put(o, NULL, "filter.types", args->types);
    if (args->jobs) {
        snprintf(text, sizeof text, "%u", x->jobs < WORKERS_MAX ? x->jobs : WORKERS_MAX);
        put(o, NULL, "cbtap.workers", text);
    }
}

static const char *sink_name(const struct cbt_config *config, const char *type)
{
    for (size_t i = 0; i < config->sink_count; i++)
        if (strcmp(config->sinks[i].type, type) == 0)
            return config->sinks[i].name;
    return OWN_SINK_NAME;
}

/* Replaces x->config by one that has the sink. */
static int configure(struct cbt_export *x, const char **ret_sink, struct cbt_err *err)
{
    const struct target *target = target_of(x->args->to);
    struct cbt_config *config = NULL;
    if (cbt_sink_find(target->type) == NULL)
        return cbt_err_set(err, CBT_EUNBUILT, "--to %s: this version (%s) has no sink of type %s",
                           x->args->to, CBTAP_VERSION, target->type);
    struct overrides *o = calloc(1, sizeof *o);
    if (o == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the sink's configuration");
    int rc = CBT_ENOMEM;
    o->all = calloc(EXTRAS_MAX + x->args->override_count, sizeof *o->all);
    if (o->all == NULL) {
        cbt_err_set(err, CBT_ENOMEM, "no memory for the sink's configuration");
        goto out;
    }
    const char *name = sink_name(x->config, target->type);
    put_all(o, x, target, name);
    for (size_t i = 0; i < x->args->override_count; i++)
        o->all[o->count++] = x->args->overrides[i];
    rc = o->failed ? cbt_err_set(err, CBT_EINVAL, "--to, --type or another value is too long")
                   : cbt_config_load_without_ends(&config, x->args->config_path, o->all, o->count, err);
    if (config != NULL) {
        /* The old one may own the name. */
        *ret_sink = sink_name(config, target->type);
        cbt_config_free(x->config);
        x->config = config;
    }
out:
    free(o->all);
    free(o);
    return rc;
}

/* ---- what became of it ---- */

struct outcome {
    bool ended; /* all was read and is settled */
    bool counted;
    struct cbt_export_totals totals; /* events: those that the sink was given */
    uint64_t delivered, refused;     /* of these */
};

/* Of a pipeline that has ended. */
static void count_events(struct outcome *outcome, const struct cbt_pipeline *pipeline)
{
    struct cbt_snapshot *snapshot = cbt_snapshot_take(cbt_pipeline_metrics(pipeline));
    if (snapshot == NULL)
        return;
    const struct cbt_stats_view *total = &snapshot->total;
    for (size_t i = 0; i < CBT_TYPES; i++) {
        uint64_t dead_letters = total->dead_types[i], filtered = total->filtered_types[i];
        outcome->totals.counts[i] =
            (struct cbt_export_count){.events = total->events[i] - dead_letters - filtered,
                                      .dead_letters = dead_letters,
                                      .filtered = filtered};
    }
    outcome->delivered = total->counters[CBT_COUNT_delivered_records];
    outcome->refused = total->dead[CBT_DEAD_refused];
    outcome->counted = true;
    cbt_snapshot_free(snapshot);
}

static void report(const struct cbt_export *x, const struct cbt_export_feed *feed,
                   const struct outcome *outcome)
{
    uint64_t given = cbt_export_sum(&outcome->totals).events;
    if (!outcome->counted) {
        cbt_log_error("no memory to count the events");
        return;
    }
    cbt_export_summarize(x, &outcome->totals);
    cbt_log_info("settled", CBT_I("files", feed->settled), CBT_I("set_aside", feed->set_aside));
    if (outcome->delivered != given)
        cbt_log_warning("not all of these events are delivered", CBT_I("events", given),
                        CBT_I("delivered", outcome->delivered), CBT_I("refused", outcome->refused));
}

/* ---- the pipeline ---- */

static int run_pipeline(struct cbt_export *x, const char *sink, struct cbt_export_feed *feed,
                        struct outcome *ret_outcome, struct cbt_err *err)
{
    struct cbt_config config = *x->config;
    struct cbt_feed_run run;
    for (size_t i = 0; i < x->config->sink_count; i++)
        if (strcmp(x->config->sinks[i].name, sink) == 0)
            config.sinks = &x->config->sinks[i];
    config.sink_count = 1;
    config.cbtap.state_dir = "";
    int rc = cbt_feed_start(&run, &config, "export", &cbt_export_source, &feed->feed, err);
    if (rc != CBT_OK)
        return rc;
    struct cbt_export_progress *progress = x->follow ? NULL : cbt_export_progress_start(x, &feed->job);
    /* A signal is the end that --follow has. */
    bool ended = cbt_feed_wait(&run, &feed->feed) || x->follow != NULL;
    cbt_export_progress_end(progress);
    ret_outcome->ended = cbt_feed_stop(&run, "stopped with events in flight") && ended;
    if (feed->file != NULL)
        cbt_export_job_tell_stopped(&feed->job, feed->file->path);
    count_events(ret_outcome, run.pipeline);
    cbt_feed_free(&run);
    return CBT_OK;
}

int cbt_export_to_sink(struct cbt_export *x)
{
    struct cbt_err err;
    struct cbt_export_feed *feed = calloc(1, sizeof *feed);
    const char *sink = OWN_SINK_NAME;
    struct outcome outcome = {0};
    if (feed == NULL) {
        cbt_log_error("out of memory");
        return CBT_EXIT_FAILED;
    }
    feed->x = x;
    feed->feed.selection = &x->selection;
    feed->job.x = x;
    cbt_export_input_init(&feed->job.in);
    feed->job.in.reader.impatient = true; /* settlements do not wait for who feeds a pipe */
    int rc = configure(x, &sink, &err);
    x->jobs = 1; /* that reads; --jobs are the workers */
    if (rc == CBT_OK && x->args->follow)
        rc = cbt_export_follow_new(&x->follow, &err);
    if (rc == CBT_OK)
        rc = run_pipeline(x, sink, feed, &outcome, &err);
    int status = CBT_EXIT_DONE;
    struct cbt_export_totals *totals = &outcome.totals;
    totals->files = feed->job.files + x->told.unreadable;
    totals->unreadable = feed->job.unreadable + x->told.unreadable + cbt_export_follow_unfinished(x->follow);
    totals->removed = feed->removed;
    totals->kept = feed->kept;
    if (rc != CBT_OK)
        status = cbt_cli_fail(&err);
    else if (!x->args->quiet)
        report(x, feed, &outcome);
    if (status == CBT_EXIT_DONE &&
        (!outcome.ended || totals->unreadable + feed->set_aside + totals->kept > 0))
        status = CBT_EXIT_FAILED;
    cbt_export_feed_free(feed);
    free(feed);
    return status;
}
