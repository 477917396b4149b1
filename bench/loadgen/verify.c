/* SPDX-License-Identifier: MIT */
/*
 * Reads the topic to its end, or until enough events are there, and judges.
 *
 * Failure modes: Kafka not reachable, no such topic, an unreadable record set: exit status 1, and the reason.
 */
#include "verify.h"

#include <inttypes.h>

#include "cbtap/clock.h"
#include "progress.h"
#include "tally.h"
#include "topic.h"

#define BATCH_RECORDS   1000
#define READ_TIMEOUT_MS 200

struct run {
    const struct cbt_verify_options *options;
    struct cbt_progress progress;
    struct cbt_tally tally;
    struct cbt_topic *topic;
    rd_kafka_message_t *batch[BATCH_RECORDS];
};

static int read_batch(struct run *run, int *ret_records, struct cbt_err *err)
{
    const int n = cbt_topic_read(run->topic, READ_TIMEOUT_MS, run->batch, BATCH_RECORDS, err);
    if (n < 0)
        return n;
    for (int i = 0; i < n; i++) {
        rd_kafka_message_t *m = run->batch[i];
        cbt_tally_note(&run->tally, (struct cbt_text){m->key, m->key_len},
                       (struct cbt_text){m->payload, m->len}, m->partition);
        rd_kafka_message_destroy(m);
    }
    *ret_records = n;
    return 0;
}

/* True when there is nothing more to read. When what was expected is there, the end is asked for once more,
 * for the repeats that may stand behind it. */
static int is_done(struct run *run, bool *end_moved, bool *ret_done, struct cbt_err *err)
{
    *ret_done = false;
    if (run->options->expect && !*end_moved) {
        if (run->tally.events < run->options->expect)
            return 0;
        *end_moved = true;
        const int rc = cbt_topic_move_end(run->topic, err);
        if (rc)
            return rc;
    }
    *ret_done = cbt_topic_at_end(run->topic);
    return 0;
}

static int read_all(struct run *run, struct cbt_err *err)
{
    int64_t last_ns = cbt_now_ns();
    bool end_moved = false, done = false;
    int rc = is_done(run, &end_moved, &done, err);
    while (!rc && !done && !cbt_stopped()) {
        int records = 0;
        rc = read_batch(run, &records, err);
        if (!rc)
            rc = is_done(run, &end_moved, &done, err);
        cbt_progress_show(&run->progress, run->tally.events, 0);
        const int64_t now_ns = cbt_now_ns();
        if (records)
            last_ns = now_ns;
        if (now_ns - last_ns > (int64_t)run->options->idle_timeout_ms * 1000000) {
            cbt_say(&run->progress, "nothing came for %d ms: stopping", run->options->idle_timeout_ms);
            break;
        }
    }
    return rc;
}

static bool is_good(const struct cbt_verify_options *options, const struct cbt_tally *tally)
{
    const struct cbt_tally_sums sums = cbt_tally_sum(tally);
    return tally->events && !sums.missing && !sums.out_of_order && !sums.split_endpoints &&
           !tally->wrong_key && tally->events >= options->expect &&
           !(options->fail_on_duplicates && sums.duplicates);
}

int cbt_verify(const struct cbt_verify_options *options)
{
    struct run run = {.options = options};
    struct cbt_err err = {0};
    bool good = false;
    cbt_stop_on_signals();
    cbt_tally_open(&run.tally, &options->fleet, options->any_key);
    cbt_progress_start(&run.progress, "verified", options->expect ? options->expect : options->fleet.events,
                       options->quiet);
    int rc = cbt_topic_open(&run.topic, options->bootstrap, options->topic, options->properties,
                            options->expect ? options->idle_timeout_ms : 0, &err);
    if (!rc) {
        rc = read_all(&run, &err);
        const double seconds = (double)(cbt_now_ns() - run.progress.started_ns) / 1e9;
        cbt_progress_end(&run.progress);
        (options->json ? cbt_tally_print_json : cbt_tally_print)(&run.tally, options->worst, seconds, stdout);
        good = is_good(options, &run.tally) && !cbt_stopped();
    }
    cbt_topic_close(run.topic);
    cbt_tally_close(&run.tally);
    if (rc) {
        cbt_say(NULL, "%s", err.text);
        return rc == CBT_EINVAL ? 2 : 1;
    }
    if (!good)
        cbt_say(NULL, "%s", cbt_stopped() ? "interrupted" : "NOT everything is there once, in order");
    return good ? 0 : 1;
}
