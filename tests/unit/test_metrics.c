/* SPDX-License-Identifier: MIT */
/* Metrics: what is counted is what is rendered, in a format that every scraper takes, and the balance holds.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>
#include <yajl/yajl_tree.h>

#include "cbtap/clock.h"
#include "cbtap/metrics.h"
#include "core/metrics_internal.h"
#include "core/metrics_snapshot.h"
#include "exposition.h"

static struct cbt_metrics *metrics;
static struct exposition *page;

static int set_up(void **state)
{
    (void)state;
    page = calloc(1, sizeof(*page));
    return page ? cbt_metrics_new(&metrics) : -1;
}

static int tear_down(void **state)
{
    (void)state;
    cbt_metrics_free(metrics);
    free(page);
    return 0;
}

static struct cbt_stats *add(enum cbt_stats_kind kind, const char *thread, const char *section)
{
    struct cbt_stats *stats = cbt_metrics_add(metrics, kind, thread, section);
    assert_non_null(stats);
    return stats;
}

static void scrape(void)
{
    size_t len = 0;
    char *text = cbt_metrics_render(metrics, &len);
    assert_non_null(text);
    bool valid = exposition_parse(page, text, len);
    if (!valid)
        print_error("%s\n", page->error);
    free(text);
    assert_true(valid);
}

static double value(const char *name, const char *labels)
{
    const struct exposition_series *series = exposition_find(page, name, labels);
    if (!series)
        print_error("no %s{%s}\n", name, labels);
    assert_non_null(series);
    return series ? series->value : NAN;
}

static double bucket(const char *name, const char *labels, const char *le)
{
    for (unsigned i = 0; i < page->series_count; i++)
        if (strcmp(page->series[i].name, name) == 0 && strcmp(page->series[i].labels, labels) == 0 &&
            strcmp(page->series[i].le, le) == 0)
            return page->series[i].value;
    fail_msg("no bucket %s of %s{%s}", le, name, labels);
    return -1;
}

static yajl_val read_json(void)
{
    size_t len = 0;
    char error[256] = "";
    char *text = cbt_metrics_render_json(metrics, &len);
    assert_non_null(text);
    assert_int_equal(strlen(text), len);
    yajl_val tree = yajl_tree_parse(text, error, sizeof(error));
    if (!tree)
        print_error("%s\n%s\n", text, error);
    free(text);
    assert_non_null(tree);
    return tree;
}

static long long number_at(yajl_val at, const char *path[])
{
    yajl_val found = yajl_tree_get(at, path, yajl_t_number);
    assert_non_null(found);
    return YAJL_GET_INTEGER(found);
}

static void the_reader_of_the_tests_is_strict(void **state)
{
    (void)state;
    static const char unsorted[] =
        "# HELP h b\n# TYPE h histogram\nh_bucket{le=\"2\"} 1\nh_bucket{le=\"1\"} 1\n"
        "h_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n";
    static const char *const wrong[] = {
        "",
        "a 1\n",
        "# HELP a b\na 1\n",
        "# TYPE a gauge\na 1\n",
        "# HELP a b\n# TYPE a gauge\na 1",
        "# HELP a b\n# TYPE a gauge\nb 1\n",
        "# HELP a b\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"1\",x=\"2\"} 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"1} 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"\\q\"} 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=1} 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"\xff\"} 1\n",
        "# HELP a b\n# TYPE a gauge\na one\n",
        "# HELP a b\n# TYPE a gauge\na{} 1\n",
        "# HELP a b\n# TYPE a gauge\na  1\n",
        "# HELP a b\n# TYPE a counter\na -1\n",
        "# HELP a b\n# TYPE a gauge\n\na 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"1\"} 1\n# HELP b b\n# TYPE b gauge\nb 1\n# HELP a c\n",
        "# HELP h b\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
        "# HELP h b\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
        "# HELP h b\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 1\n",
        unsorted,
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (exposition_parse(page, wrong[i], strlen(wrong[i])))
            fail_msg("taken as valid: %s", wrong[i]);
    static const char right[] =
        "# HELP a b c\n# TYPE a gauge\na NaN\na{x=\"\\\\\\\"\\n\",y=\"}\"} -1e3\n"
        "# HELP h b\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\n"
        "h_sum 1.5\nh_count 2\n";
    assert_true(exposition_parse(page, right, sizeof(right) - 1));
}

static unsigned slow_bucket(int64_t ns)
{
    unsigned bucket_index = 0;
    while (bucket_index < CBT_HISTOGRAM_BUCKETS - 1 && ns > cbt_bucket_bounds_ns[bucket_index])
        bucket_index++;
    return bucket_index;
}

static void every_value_falls_into_its_bucket(void **state)
{
    (void)state;
    for (unsigned b = 0; b < CBT_HISTOGRAM_BUCKETS - 1; b++) {
        assert_true((double)cbt_bucket_bounds_ns[b] / 1e9 == strtod(cbt_bucket_bounds[b], NULL));
        for (int64_t off = -1; off <= 1; off++)
            assert_int_equal(cbt_histogram_bucket(cbt_bucket_bounds_ns[b] + off),
                             slow_bucket(cbt_bucket_bounds_ns[b] + off));
    }
    for (unsigned bit = 0; bit < 63; bit++)
        for (int64_t off = -1; off <= 1; off++)
            assert_int_equal(cbt_histogram_bucket((INT64_C(1) << bit) + off),
                             slow_bucket((INT64_C(1) << bit) + off));
    assert_int_equal(cbt_histogram_bucket(INT64_MIN), 0);
    assert_int_equal(cbt_histogram_bucket(INT64_MAX), CBT_HISTOGRAM_BUCKETS - 1);
    uint64_t random = 88172645463325252;
    for (unsigned i = 0; i < 1000000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        int64_t ns = (int64_t)(random >> (1 + i % 63));
        assert_int_equal(cbt_histogram_bucket(ns), slow_bucket(ns));
    }
}

static void a_page_without_threads_is_valid(void **state)
{
    (void)state;
    scrape();
    assert_true(value("cbtap_build_info", "version=\"" CBTAP_VERSION "\"") == 1);
    assert_true(value("cbtap_inflight_frames", "") == 0);
    assert_true(value("process_resident_memory_bytes", "") > 100000);
    assert_true(value("process_cpu_seconds_total", "") > 0);
    yajl_tree_free(read_json());
}

static void every_name_of_the_contract_is_there(void **state)
{
    (void)state;
    add(CBT_STATS_SINK, "kafka", "kafka");
    add(CBT_STATS_WORKER, "worker-0", "");
    struct cbt_stats *source = add(CBT_STATS_SOURCE, "rx-bus-0", "bus");
    atomic_store(&source->gauge_queue_messages, 5);
    scrape();
    static const char *const names[][2] = {
        {"cbtap_source_received_frames_total", "source=\"bus\""},
        {"cbtap_source_received_bytes_total", "source=\"bus\""},
        {"cbtap_source_redelivered_frames_total", "source=\"bus\""},
        {"cbtap_source_settled_frames_total", "source=\"bus\""},
        {"cbtap_source_connected", "source=\"bus\""},
        {"cbtap_source_connects_total", "source=\"bus\""},
        {"cbtap_source_abandoned_frames_total", "source=\"bus\""},
        {"cbtap_source_queue_messages", "source=\"bus\""},
        {"cbtap_source_gap_seconds_total", "source=\"bus\""},
        {"cbtap_oldest_frame_seconds", "source=\"bus\""},
        {"cbtap_dropped_frames_total", "source=\"bus\",reason=\"budget\""},
        {"cbtap_decode_events_total", "type=\"procstart\""},
        {"cbtap_decode_events_total", "type=\"unknown\""},
        {"cbtap_decode_events_total", "type=\"other\""},
        {"cbtap_decode_filtered_events_total", "reason=\"type\""},
        {"cbtap_decode_dead_letters_total", "reason=\"truncated\""},
        {"cbtap_decode_dead_letters_total", "reason=\"refused\""},
        {"cbtap_sink_delivered_records_total", "sink=\"kafka\""},
        {"cbtap_sink_delivered_bytes_total", "sink=\"kafka\""},
        {"cbtap_sink_resent_records_total", "sink=\"kafka\",reason=\"fatal\""},
        {"cbtap_sink_connected", "sink=\"kafka\""},
        {"cbtap_inflight_frames", ""},
        {"cbtap_inflight_events", "sink=\"kafka\""},
        {"cbtap_stage_busy_seconds_total", "thread=\"rx-bus-0\",stage=\"ingest\""},
        {"cbtap_stage_busy_seconds_total", "thread=\"worker-0\",stage=\"decode\""},
        {"cbtap_stage_blocked_seconds_total", "thread=\"kafka\",stage=\"sink\""},
        {"cbtap_decode_seconds_count", ""},
        {"cbtap_delivery_seconds_sum", "source=\"bus\""},
        {"cbtap_end_to_end_seconds_count", "source=\"bus\""},
        {"cbtap_event_lag_seconds_count", "source=\"bus\""},
        {"cbtap_build_info", "version=\"" CBTAP_VERSION "\""},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        value(names[i][0], names[i][1]);
    /* Given by the pipeline, which is not here: the families are announced all the same. */
    static const char *const given[] = {"cbtap_inflight_bytes", "cbtap_inflight_bytes_limit",
                                        "cbtap_ring_used_ratio"};
    for (size_t i = 0; i < 3; i++) {
        bool found = false;
        for (unsigned f = 0; f < page->family_count; f++)
            found = found || strcmp(page->families[f].name, given[i]) == 0;
        assert_true(found);
    }
    unsigned events = 0;
    for (unsigned i = 0; i < page->series_count; i++)
        events += strcmp(page->series[i].name, "cbtap_decode_events_total") == 0;
    assert_int_equal(events, CBT_TYPES);
}

static void receivers_of_a_section_are_one_source(void **state)
{
    (void)state;
    struct cbt_stats *first = add(CBT_STATS_SOURCE, "rx-bus-0", "bus");
    struct cbt_stats *second = add(CBT_STATS_SOURCE, "rx-bus-1", "bus");
    struct cbt_stats *other = add(CBT_STATS_SOURCE, "rx-redis-0", "redis");
    cbt_count(first, CBT_COUNT_received_frames, 7);
    cbt_count(second, CBT_COUNT_received_frames, 5);
    cbt_count(other, CBT_COUNT_received_frames, 100);
    cbt_count(other, CBT_COUNT_gap_milliseconds, 1500);
    cbt_count(first, CBT_COUNT_taken_frames, 7);
    cbt_count(second, CBT_COUNT_taken_frames, 5);
    cbt_count(second, CBT_COUNT_recycled_frames, 4);
    cbt_count(first, CBT_COUNT_busy_ns, 2000000001);
    cbt_add(&other->dropped[CBT_DROPPED_budget], 3);
    atomic_store(&first->gauge_connected, 1);
    atomic_store(&other->gauge_connected, 1);
    atomic_store(&first->gauge_queue_messages, 40);
    atomic_store(&second->gauge_queue_messages, 38);
    int64_t now = cbt_now_ns();
    atomic_store(&first->oldest_frame_ns, now - 3000000000);
    atomic_store(&second->oldest_frame_ns, now - 9000000000);
    scrape();
    assert_true(value("cbtap_source_received_frames_total", "source=\"bus\"") == 12);
    assert_true(value("cbtap_source_received_frames_total", "source=\"redis\"") == 100);
    assert_true(value("cbtap_source_gap_seconds_total", "source=\"redis\"") == 1.5);
    assert_true(value("cbtap_inflight_frames", "") == 8);
    assert_true(value("cbtap_source_connected", "source=\"bus\"") == 0);
    assert_true(value("cbtap_source_connected", "source=\"redis\"") == 1);
    assert_true(value("cbtap_source_queue_messages", "source=\"bus\"") == 40);
    assert_null(exposition_find(page, "cbtap_source_queue_messages", "source=\"redis\""));
    double oldest = value("cbtap_oldest_frame_seconds", "source=\"bus\"");
    assert_true(oldest >= 9 && oldest < 60);
    assert_true(value("cbtap_oldest_frame_seconds", "source=\"redis\"") == 0);
    assert_true(value("cbtap_stage_busy_seconds_total", "thread=\"rx-bus-0\",stage=\"ingest\"") ==
                2.000000001);
    assert_true(value("cbtap_dropped_frames_total", "source=\"redis\",reason=\"budget\"") == 3);
    for (unsigned i = 0; i < page->series_count; i++)
        assert_true(page->series[i].name[0] != '\0' && !strstr(page->series[i].name, "recycled"));
}

static void histograms_count_and_sum(void **state)
{
    (void)state;
    struct cbt_stats *source = add(CBT_STATS_SOURCE, "rx-bus-0", "bus");
    struct cbt_stats *workers[] = {add(CBT_STATS_WORKER, "worker-0", ""),
                                   add(CBT_STATS_WORKER, "worker-1", "")};
    cbt_observe(workers[0], CBT_HIST_decode, 10000);
    cbt_observe(workers[0], CBT_HIST_decode, 10001);
    cbt_observe(workers[1], CBT_HIST_decode, 3000000000);
    cbt_observe(source, CBT_HIST_event_lag, -5000000000);
    cbt_observe(source, CBT_HIST_event_lag, INT64_MAX);
    scrape();
    assert_true(bucket("cbtap_decode_seconds_bucket", "", "0.00001") == 1);
    assert_true(bucket("cbtap_decode_seconds_bucket", "", "0.00002") == 2);
    assert_true(bucket("cbtap_decode_seconds_bucket", "", "2") == 2);
    assert_true(bucket("cbtap_decode_seconds_bucket", "", "5") == 3);
    assert_true(value("cbtap_decode_seconds_count", "") == 3);
    assert_true(value("cbtap_decode_seconds_sum", "") == 3.000020001);
    assert_true(bucket("cbtap_event_lag_seconds_bucket", "source=\"bus\"", "0.00001") == 1);
    assert_true(bucket("cbtap_event_lag_seconds_bucket", "source=\"bus\"", "500") == 1);
    assert_true(value("cbtap_event_lag_seconds_count", "source=\"bus\"") == 2);
    assert_true(value("cbtap_event_lag_seconds_sum", "source=\"bus\"") == 10000);
}

static double read_seven(void *arg)
{
    (void)arg;
    return 7.25;
}

static void a_given_gauge_takes_the_place_of_a_computed_one(void **state)
{
    (void)state;
    add(CBT_STATS_SINK, "kafka", "kafka");
    struct cbt_gauge gauge = {.name = "cbtap_sink_connected", .label = "kafka", .read = read_seven};
    assert_int_equal(cbt_metrics_add_gauge(metrics, &gauge), 0);
    assert_int_equal(cbt_metrics_add_gauge(metrics, &gauge), CBT_EINVAL);
    gauge.name = "cbtap_no_such_metric";
    assert_int_equal(cbt_metrics_add_gauge(metrics, &gauge), CBT_EINVAL);
    gauge.name = "cbtap_ring_used_ratio";
    for (unsigned i = 0; i < 100; i++) {
        snprintf(gauge.label, sizeof(gauge.label), "rx-bus-%u to worker-0", i);
        assert_int_equal(cbt_metrics_add_gauge(metrics, &gauge), 0);
    }
    scrape();
    assert_true(value("cbtap_sink_connected", "sink=\"kafka\"") == 7.25);
    assert_true(value("cbtap_ring_used_ratio", "ring=\"rx-bus-99 to worker-0\"") == 7.25);
}

static void hostile_names_stay_in_their_quotes(void **state)
{
    (void)state;
    add(CBT_STATS_SOURCE, "rx\n0", "a\"b\\c\nd\x01\xff\xc3\xbc\xe2\x82");
    add(CBT_STATS_SINK, "</script>", "}{\"le\"=");
    scrape();
    value("cbtap_source_connects_total",
          "source=\"a\\\"b\\\\c\\nd\x01\xef\xbf\xbd\xc3\xbc\xef\xbf\xbd\xef\xbf\xbd\"");
    yajl_val tree = read_json();
    yajl_val sources = yajl_tree_get(tree, (const char *[]){"sources", NULL}, yajl_t_array);
    yajl_val name = yajl_tree_get(sources->u.array.values[0], (const char *[]){"name", NULL}, yajl_t_string);
    assert_string_equal(YAJL_GET_STRING(name), "a\"b\\c\nd\x01\xef\xbf\xbd\xc3\xbc\xef\xbf\xbd\xef\xbf\xbd");
    yajl_tree_free(tree);
}

static void each_sink_has_a_balance_of_its_own(void **state)
{
    (void)state;
    struct cbt_stats *sinks[] = {add(CBT_STATS_SINK, "kafka", "kafka"), add(CBT_STATS_SINK, "copy", "copy")};
    struct cbt_stats *worker = add(CBT_STATS_WORKER, "worker-0", "");
    struct cbt_stats *source = add(CBT_STATS_SOURCE, "rx-bus-0", "bus");
    cbt_count(source, CBT_COUNT_received_frames, 20);
    cbt_count(source, CBT_COUNT_taken_frames, 18);
    cbt_count(source, CBT_COUNT_recycled_frames, 15);
    cbt_count(source, CBT_COUNT_settled_frames, 14);
    cbt_count(source, CBT_COUNT_abandoned_frames, 1);
    cbt_add(&source->dropped[CBT_DROPPED_budget], 2);
    cbt_add(&worker->events[CBT_TYPE_netconn], 90);
    cbt_add(&worker->events[CBT_TYPE_unknown], 10);
    cbt_add(&worker->filtered[CBT_FILTERED_type], 20);
    cbt_add(&worker->dead[CBT_DEAD_malformed], 10);
    cbt_add(&worker->submitted_records[0], 70);
    cbt_add(&worker->submitted_records[1], 70);
    cbt_count(sinks[0], CBT_COUNT_settled_records, 61);
    cbt_count(sinks[0], CBT_COUNT_delivered_records, 60);
    cbt_add(&sinks[0]->dead[CBT_DEAD_refused], 1);
    cbt_count(sinks[1], CBT_COUNT_settled_records, 70);
    cbt_count(sinks[1], CBT_COUNT_delivered_records, 69);

    scrape();
    assert_true(value("cbtap_inflight_events", "sink=\"kafka\"") == 9);
    assert_true(value("cbtap_inflight_events", "sink=\"copy\"") == 0);
    assert_true(value("cbtap_decode_dead_letters_total", "reason=\"refused\"") == 1);
    yajl_val tree = read_json();
    assert_int_equal(number_at(tree, (const char *[]){"balance", "frames", "difference", NULL}), 0);
    assert_int_equal(number_at(tree, (const char *[]){"balance", "frames", "in_flight", NULL}), 3);
    yajl_val events = yajl_tree_get(tree, (const char *[]){"balance", "events", NULL}, yajl_t_array);
    assert_int_equal(events->u.array.len, 2);
    assert_int_equal(number_at(events->u.array.values[0], (const char *[]){"difference", NULL}), 0);
    assert_int_equal(number_at(events->u.array.values[0], (const char *[]){"dead_letters", NULL}), 11);
    /* One record of the second sink is missing, and the balance says so. */
    assert_int_equal(number_at(events->u.array.values[1], (const char *[]){"difference", NULL}), 1);
    assert_int_equal(number_at(events->u.array.values[1], (const char *[]){"dead_letters", NULL}), 10);
    yajl_tree_free(tree);
}

/* A miniature of the pipeline: each thread counts upstream first. */
#define MINIATURE_FRAMES 20000
#define HANDED_OVER_MAX  16
static struct cbt_stats *mini_source, *mini_worker, *mini_sink;
static _Atomic uint64_t to_worker, to_sink, to_settle;

static void *receive(void *arg)
{
    (void)arg;
    uint64_t received = 0, settled = 0;
    while (settled < MINIATURE_FRAMES) {
        if (received < MINIATURE_FRAMES && received - settled < HANDED_OVER_MAX) {
            cbt_count(mini_source, CBT_COUNT_received_frames, 1);
            cbt_count(mini_source, CBT_COUNT_taken_frames, 1);
            atomic_store_explicit(&to_worker, ++received, memory_order_release);
        } else {
            sched_yield();
        }
        uint64_t done = atomic_load_explicit(&to_settle, memory_order_acquire) - settled;
        if (done > 0) {
            cbt_count(mini_source, CBT_COUNT_recycled_frames, done);
            cbt_count(mini_source, CBT_COUNT_settled_frames, done);
            settled += done;
        }
    }
    return NULL;
}

/* Of each frame's 3 events one is filtered, one a dead letter that the worker's dead counter has, one a
 * record. */
static void *decode(void *arg)
{
    (void)arg;
    for (uint64_t walked = 0; walked < MINIATURE_FRAMES;) {
        if (atomic_load_explicit(&to_worker, memory_order_acquire) == walked) {
            sched_yield();
            continue;
        }
        for (unsigned i = 0; i < 3; i++)
            cbt_add(&mini_worker->events[CBT_TYPE_procstart + i], 1);
        cbt_add(&mini_worker->filtered[CBT_FILTERED_type], 1);
        cbt_add(&mini_worker->dead[CBT_DEAD_malformed], 1);
        cbt_add(&mini_worker->submitted_records[0], 1);
        atomic_store_explicit(&to_sink, ++walked, memory_order_release);
    }
    return NULL;
}

static void *deliver(void *arg)
{
    (void)arg;
    for (uint64_t delivered = 0; delivered < MINIATURE_FRAMES;) {
        uint64_t ready = atomic_load_explicit(&to_sink, memory_order_acquire) - delivered;
        if (ready == 0) {
            sched_yield();
            continue;
        }
        cbt_count(mini_sink, CBT_COUNT_settled_records, ready);
        cbt_count(mini_sink, CBT_COUNT_delivered_records, ready);
        delivered += ready;
        atomic_store_explicit(&to_settle, delivered, memory_order_release);
    }
    return NULL;
}

static int64_t frames_difference(const struct cbt_snapshot *snapshot)
{
    const uint64_t *counters = snapshot->total.counters;
    return (int64_t)(counters[CBT_COUNT_received_frames] - counters[CBT_COUNT_settled_frames] -
                     counters[CBT_COUNT_abandoned_frames] -
                     cbt_view_by_sum(&snapshot->total, CBT_BY_dropped)) -
           cbt_snapshot_inflight_frames(&snapshot->total);
}

static int64_t events_difference(const struct cbt_snapshot *snapshot, int64_t *ret_inflight)
{
    const struct cbt_section_view *sink = NULL;
    for (size_t i = 0; i < snapshot->section_count; i++)
        if (snapshot->sections[i].kind == CBT_STATS_SINK)
            sink = &snapshot->sections[i];
    if (!sink) {
        fail_msg("no sink");
        return INT64_MIN;
    }
    *ret_inflight = cbt_snapshot_inflight_events(snapshot, sink);
    return (int64_t)(cbt_view_by_sum(&snapshot->total, CBT_BY_events) -
                     sink->view.counters[CBT_COUNT_delivered_records] -
                     cbt_view_by_sum(&snapshot->total, CBT_BY_filtered) -
                     cbt_view_by_sum(&snapshot->total, CBT_BY_dead)) -
           *ret_inflight;
}

static void the_balance_is_never_below_zero_under_load_and_zero_at_rest(void **state)
{
    (void)state;
    /* Added upstream first: the order of adding must not matter. */
    mini_source = add(CBT_STATS_SOURCE, "rx", "mini");
    mini_worker = add(CBT_STATS_WORKER, "worker-0", "");
    mini_sink = add(CBT_STATS_SINK, "sink", "mini");
    pthread_t threads[3];
    assert_int_equal(pthread_create(&threads[0], NULL, receive, NULL), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, decode, NULL), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, deliver, NULL), 0);
    unsigned moving = 0;
    int64_t least = 0, most = 0;
    uint64_t settled = 0;
    while (settled < MINIATURE_FRAMES) {
        struct cbt_snapshot *snapshot = cbt_snapshot_take(metrics);
        assert_non_null(snapshot);
        moving += snapshot->total.counters[CBT_COUNT_settled_frames] > settled;
        settled = snapshot->total.counters[CBT_COUNT_settled_frames];
        int64_t inflight = 0;
        int64_t differences[] = {frames_difference(snapshot), events_difference(snapshot, &inflight),
                                 cbt_snapshot_inflight_frames(&snapshot->total), inflight};
        for (unsigned i = 0; i < 4; i++)
            least = differences[i] < least ? differences[i] : least;
        most = differences[0] > most ? differences[0] : most;
        cbt_snapshot_free(snapshot);
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    print_message("%u snapshots of moving counters, differences from %" PRId64 " to %" PRId64 "\n", moving,
                  least, most);
    assert_true(moving > 2);
    assert_int_equal(least, 0);
    struct cbt_snapshot *snapshot = cbt_snapshot_take(metrics);
    assert_non_null(snapshot);
    assert_int_equal(frames_difference(snapshot), 0);
    assert_int_equal(events_difference(snapshot, &(int64_t){0}), 0);
    assert_int_equal(cbt_view_by_sum(&snapshot->total, CBT_BY_events), 3 * MINIATURE_FRAMES);
    cbt_snapshot_free(snapshot);
}

/* A whole message passes, in the order in which the threads count. */
static void pass_one(int signal)
{
    (void)signal;
    cbt_count(mini_source, CBT_COUNT_received_frames, 1);
    cbt_count(mini_source, CBT_COUNT_taken_frames, 1);
    cbt_add(&mini_worker->events[CBT_TYPE_netconn], 3);
    cbt_add(&mini_worker->filtered[CBT_FILTERED_type], 1);
    cbt_add(&mini_worker->dead[CBT_DEAD_malformed], 1);
    cbt_add(&mini_worker->submitted_records[0], 1);
    cbt_count(mini_sink, CBT_COUNT_settled_records, 1);
    cbt_count(mini_sink, CBT_COUNT_delivered_records, 1);
    cbt_count(mini_source, CBT_COUNT_recycled_frames, 1);
    cbt_count(mini_source, CBT_COUNT_settled_frames, 1);
}

/* The hardest case, on one processor: between any two reads of the copy whole messages pass. */
static void messages_that_pass_amid_the_copy_are_never_counted_twice(void **state)
{
    (void)state;
    mini_source = add(CBT_STATS_SOURCE, "rx", "mini");
    mini_worker = add(CBT_STATS_WORKER, "worker-0", "");
    mini_sink = add(CBT_STATS_SINK, "sink", "mini");
    const struct sigaction action = {.sa_handler = pass_one, .sa_flags = SA_RESTART};
    struct sigaction before;
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    timer_t timer;
    assert_int_equal(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
    const struct itimerspec often = {.it_interval.tv_nsec = 20000, .it_value.tv_nsec = 20000};
    assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
    uint64_t passed = 0, amid = 0;
    int64_t least = 0;
    while (passed < 20000) {
        struct cbt_snapshot *snapshot = cbt_snapshot_take(metrics);
        if (!snapshot)
            break;
        passed = snapshot->total.counters[CBT_COUNT_received_frames];
        int64_t inflight = 0;
        int64_t differences[] = {frames_difference(snapshot), events_difference(snapshot, &inflight),
                                 cbt_snapshot_inflight_frames(&snapshot->total), inflight};
        for (unsigned i = 0; i < 4; i++) {
            least = differences[i] < least ? differences[i] : least;
            amid += differences[i] > 0;
        }
        cbt_snapshot_free(snapshot);
    }
    timer_delete(timer);
    sigaction(SIGALRM, &before, NULL);
    print_message("%" PRIu64 " messages seen amid the copy, the least difference %" PRId64 "\n", amid, least);
    assert_true(passed >= 20000);
    assert_true(amid > 0);
    assert_int_equal(least, 0);
}

static void only_a_thread_with_work_and_a_peer_can_be_stuck(void **state)
{
    (void)state;
    struct cbt_stats *worker = add(CBT_STATS_WORKER, "worker-7", "");
    const int64_t second = 1000000000, now = 1000 * second;
    char reason[128] = "untouched";
    assert_true(cbt_metrics_healthy(metrics, now, 30 * second, reason, sizeof(reason)));
    atomic_store(&worker->moved_ns, now - 31 * second);
    assert_true(cbt_metrics_healthy(metrics, now, 30 * second, reason, sizeof(reason)));
    atomic_store(&worker->has_work, 1);
    atomic_store(&worker->waiting_for_peer, 1);
    assert_true(cbt_metrics_healthy(metrics, now, 30 * second, reason, sizeof(reason)));
    assert_string_equal(reason, "untouched");
    atomic_store(&worker->waiting_for_peer, 0);
    assert_false(cbt_metrics_healthy(metrics, now, 30 * second, reason, sizeof(reason)));
    assert_string_equal(reason, "thread worker-7 has work and has not moved for 31 s");
    atomic_store(&worker->moved_ns, now - 30 * second);
    assert_true(cbt_metrics_healthy(metrics, now, 30 * second, reason, sizeof(reason)));
    atomic_store(&worker->moved_ns, 0);
    assert_true(cbt_metrics_healthy(metrics, now, 30 * second, reason, sizeof(reason)));
}

static char *read_docs(const char *path, size_t *ret_len)
{
    FILE *in = fopen(path, "rb");
    if (!in)
        return NULL;
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    *ret_len = fread(text, 1, (1 << 20) - 1, in);
    fclose(in);
    return text;
}

/* CBTAP_WRITE_DOCS=1 writes the file instead. */
static void docs_are_those_that_the_table_gives(void **state)
{
    (void)state;
    static const char path[] = SOURCE_DIR "/docs/METRICS.md";
    size_t len = 0, there_len = 0;
    char *docs = cbt_metrics_render_docs(&len);
    assert_non_null(docs);
    for (unsigned i = 0; i < CBT_BYS; i++)
        assert_non_null(strstr(docs, cbt_by_infos[i].name));
    if (getenv("CBTAP_WRITE_DOCS")) {
        FILE *out = fopen(path, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(docs, 1, len, out), len);
        assert_int_equal(fclose(out), 0);
    }
    char *there = read_docs(path, &there_len);
    bool same = there && there_len == len && memcmp(there, docs, len) == 0;
    free(there);
    free(docs);
    if (!same)
        fail_msg("docs/METRICS.md is stale: run this test with CBTAP_WRITE_DOCS=1 and commit the file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_reader_of_the_tests_is_strict, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_value_falls_into_its_bucket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_page_without_threads_is_valid, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_name_of_the_contract_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(receivers_of_a_section_are_one_source, set_up, tear_down),
        cmocka_unit_test_setup_teardown(histograms_count_and_sum, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_given_gauge_takes_the_place_of_a_computed_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hostile_names_stay_in_their_quotes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_sink_has_a_balance_of_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_balance_is_never_below_zero_under_load_and_zero_at_rest, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(messages_that_pass_amid_the_copy_are_never_counted_twice, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(only_a_thread_with_work_and_a_peer_can_be_stuck, set_up, tear_down),
        cmocka_unit_test_setup_teardown(docs_are_those_that_the_table_gives, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
