/* SPDX-License-Identifier: MIT */
/* docs/METRICS.md: the tables of metrics.def for people, and how to read the balance. */
#include <string.h>

#include "core/metrics_snapshot.h"

static const char introduction[] =
    "# Metrics\n"
    "\n"
    "<!-- Generated from include/cbtap/metrics.def; a test fails when it is stale. To write it anew:\n"
    "     CBTAP_WRITE_DOCS=1 build/release/bin/test_metrics -->\n"
    "\n"
    "`GET /metrics` on `cbtap.http_listen` (default `127.0.0.1:9464`) answers in Prometheus' text\n"
    "format. Each thread counts for itself; a scrape adds up, takes no lock and costs the threads\n"
    "nothing. All counters begin at 0 with the process, and every value of `type` and `reason` is\n"
    "there from the start, so that `rate()` sees the first one.\n"
    "\n"
    "| path | answers |\n"
    "|---|---|\n"
    "| `/metrics` | the metrics of this page |\n"
    "| `/healthz` | 200 `ok`; 503 with the thread's name when a thread with work and an available peer has "
    "not moved for 30 s: restart it |\n"
    "| `/readyz` | 200 `ready` while every source and sink is connected, else 503 and the reasons, one a "
    "line; cbtap goes on trying |\n"
    "| `/` | the status page |\n"
    "| `/status.json` | what the status page draws |\n"
    "\n"
    "A connection serves one request (`GET` or `HEAD`) and has `http_timeout_ms` for it;\n"
    "`http_connections_max` are served at once, one more takes the place of the oldest that has had a\n"
    "tenth of its time, else it is closed; a request has `http_request_max_bytes`.\n"
    "\n";

static const char balance[] =
    "## The balance\n"
    "\n"
    "Nothing gets lost without a trace: what came in is what became of it. For frames (messages of\n"
    "a source), for each source or their sum:\n"
    "\n"
    "```\n"
    "cbtap_source_received_frames_total\n"
    "  = cbtap_source_settled_frames_total      acknowledged to the source: everything in them is delivered\n"
    "  + cbtap_source_abandoned_frames_total    done, but their channel had died: the broker delivers them "
    "again\n"
    "  + cbtap_dropped_frames_total             PUBSUB only: there was no room for them, in memory or spool\n"
    "  + cbtap_inflight_frames                  on their way\n"
    "```\n"
    "\n"
    "A message of a Redis source with a `spool_dir` is received when it leaves the spool; what waits\n"
    "there, with what of it is in flight, is `cbtap_spool_messages`.\n"
    "\n"
    "and for events, for each sink, from the moment a message is walked:\n"
    "\n"
    "```\n"
    "sum(cbtap_decode_events_total)\n"
    "  = cbtap_sink_delivered_records_total         confirmed by the sink's peer\n"
    "  + sum(cbtap_decode_filtered_events_total)    left out by the configuration\n"
    "  + sum(cbtap_decode_dead_letters_total)       undecodable or refused: kept, raw, with the reason\n"
    "  + cbtap_inflight_events                      handed over, not yet confirmed\n"
    "```\n"
    "\n"
    "A part that cannot be decoded is one of the events, of the type that its bytes still show,\n"
    "else `unknown` or `other`. Where there are several sinks, a record that only one of them\n"
    "refuses for good (`reason=\"refused\"`) is in the sum of dead letters, but in the balance of\n"
    "that sink alone; `/status.json` keeps them apart.\n"
    "\n"
    "What is in flight has counters of its own (it is not the remainder), so the balance can fail,\n"
    "and then something is wrong. How to read the difference, left less right:\n"
    "\n"
    "- **At rest** (nothing in flight, everything acknowledged) it is exactly 0.\n"
    "- **Under load** it is between 0 and what is being handed over at that moment. Threads count\n"
    "  upstream first, and a scrape reads downstream first (sinks, then workers, then sources), so\n"
    "  a message between two counters is seen by neither or by the upper one alone; it is never\n"
    "  counted twice. Acknowledgements are written in batches, and after 100 ms of quiet: messages\n"
    "  that are done and not yet acknowledged are part of this difference.\n"
    "- **Below 0, or above 0 at rest**, it is a bug. Please report it, with `/status.json`.\n"
    "\n"
    "After a reconnect the broker delivers again what was not acknowledged: those frames are\n"
    "received twice, and are in the balance twice (once abandoned, once settled).\n"
    "`cbtap_source_redelivered_frames_total` says how many the broker marked so. As a query:\n"
    "\n"
    "```\n"
    "sum(cbtap_source_received_frames_total) - sum(cbtap_source_settled_frames_total)\n"
    "  - sum(cbtap_source_abandoned_frames_total) - sum(cbtap_dropped_frames_total) - cbtap_inflight_frames\n"
    "```\n"
    "\n";

static const char reading[] =
    "## How to read the rest\n"
    "\n"
    "- **Where is the bottleneck?** `rate(cbtap_stage_busy_seconds_total[1m])` is a thread's share\n"
    "  of a processor's time at work, `rate(cbtap_stage_blocked_seconds_total[1m])` its share of\n"
    "  waiting for the next stage. The bottleneck is the stage that is busy and not blocked; those\n"
    "  before it are blocked. Receivers blocked and the sink not connected: Kafka is away, and the\n"
    "  broker keeps the queue.\n"
    "- **Is it keeping up?** `cbtap_source_queue_messages` (the backlog on the broker) and\n"
    "  `cbtap_oldest_frame_seconds` rise when it is not; so does `cbtap_inflight_bytes` towards\n"
    "  its limit.\n"
    "- **Does the spool hold?** `cbtap_spool_bytes` against `spool_max_bytes`; at that limit messages\n"
    "  are dropped (`reason=\"spool_full\"`). `rate(cbtap_spool_appended_total[5m])` is what Redis sends.\n"
    "- **How far is the archive?** `cbtap_archive_left_files`, `cbtap_archive_left_bytes` and, by the pace\n"
    "  so far, `cbtap_archive_left_seconds`. Files that cannot be read raise\n"
    "  `cbtap_archive_unreadable_files_total`, again at each try.\n"
    "- **How late are events?** `histogram_quantile(0.99, sum by (le)\n"
    "  (rate(cbtap_end_to_end_seconds_bucket[5m])))` is from receipt to settlement;\n"
    "  `cbtap_event_lag_seconds` begins at the event's own time, so it contains the endpoint's and\n"
    "  the server's delay and any difference of their clocks.\n"
    "- **What does it cost?** `rate(process_cpu_seconds_total[5m])` over\n"
    "  `sum(rate(cbtap_decode_events_total[5m]))` is the processor time of one event.\n"
    "\n";

static const char *scope_labels(enum cbt_scope scope)
{
    switch (scope) {
    case CBT_SCOPE_source:
        return "source";
    case CBT_SCOPE_sink:
        return "sink";
    case CBT_SCOPE_any:
        return "thread, stage";
    case CBT_SCOPE_worker:
        break;
    }
    return "";
}

static void put_row(FILE *out, const char *name, const char *type, const char *labels, const char *more,
                    const char *help)
{
    fprintf(out, "| `%s` | %s | %s%s%s | %s |\n", name, type, labels, *labels && *more ? ", " : "", more,
            help);
}

static void put_families(FILE *out)
{
    fputs("## All metrics\n"
          "\n"
          "`source` and `sink` are the names of the sections `[source.NAME]` and `[sink.NAME]`; the "
          "receivers of a\n"
          "source are summed. `stage` is `ingest`, `decode` or `sink`.\n"
          "\n"
          "| name | kind | labels | meaning |\n"
          "|---|---|---|---|\n",
          out);
    for (unsigned i = 0; i < CBT_COUNTERS; i++) {
        const struct cbt_counter_info *info = &cbt_counter_infos[i];
        if (info->name[0])
            put_row(out, info->name, "counter", scope_labels(info->scope),
                    info->scope == CBT_SCOPE_worker ? "thread" : "", info->help);
    }
    for (unsigned i = 0; i < CBT_BYS; i++)
        put_row(out, cbt_by_infos[i].name, "counter", scope_labels(cbt_by_infos[i].scope),
                cbt_by_infos[i].label, cbt_by_infos[i].help);
    for (unsigned i = 0; i < CBT_HISTOGRAMS; i++)
        put_row(out, cbt_histogram_infos[i].name, "histogram", scope_labels(cbt_histogram_infos[i].scope), "",
                cbt_histogram_infos[i].help);
    for (unsigned i = 0; i < CBT_GAUGES; i++)
        put_row(out, cbt_gauge_infos[i].name, cbt_gauge_counts(i) ? "counter" : "gauge",
                cbt_gauge_infos[i].label, "", cbt_gauge_infos[i].help);
    fputs("\nHistograms have the bounds", out);
    for (unsigned b = 0; b < CBT_HISTOGRAM_BUCKETS - 1; b++)
        fprintf(out, "%s%s", b ? ", " : " ", cbt_bucket_bounds[b]);
    fputs(" and +Inf, in seconds; a bound belongs to its bucket. A time below 0 (clocks that differ) counts "
          "as 0, and\n"
          "one above 10,000 s adds 10,000 s to the sum.\n"
          "A source whose backlog is not known has no `cbtap_source_queue_messages`.\n"
          "Labels of `cbtap_ring_used_ratio` read `FROM to TO`: lanes lead from receivers to workers, settle "
          "rings "
          "back.\n",
          out);
}

static void put_values(FILE *out)
{
    fputs("\n## Values of the labels\n", out);
    for (unsigned i = 0; i < CBT_BYS; i++) {
        const struct cbt_by_info *info = &cbt_by_infos[i];
        fprintf(out, "\n`%s`\n\n| %s | |\n|---|---|\n", info->name, info->label);
        for (unsigned v = 0; v < info->count; v++)
            fprintf(out, "| `%s` | %s |\n", info->values[v].name, info->values[v].text);
    }
}

static void put_docs(FILE *out, void *arg)
{
    (void)arg;
    fputs(introduction, out);
    fputs(balance, out);
    fputs(reading, out);
    put_families(out);
    put_values(out);
}

char *cbt_metrics_render_docs(size_t *ret_len)
{
    return cbt_put_string(put_docs, NULL, ret_len);
}
