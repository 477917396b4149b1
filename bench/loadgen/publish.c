/* SPDX-License-Identifier: MIT */
/*
 * The loop: next message, wait for its time, publish. The schedule is open-loop: a message's time follows
 * from the rate alone, so a system that was slow for a while gets what it missed at once, as from a real
 * server.
 */
#include "publish.h"

#include <inttypes.h>
#include <time.h>

#include "cbtap/clock.h"
#include "progress.h"

#define NS_PER_S INT64_C(1000000000)

struct run {
    const struct cbt_publish_options *options;
    struct cbt_progress progress;
    struct cbt_feed *feed;
    void *target;
    int64_t started_ns;
    int64_t behind_ns, behind_max_ns;
    uint64_t messages, events, bytes;
};

/* Waits until the next event is due; notes by how much it is late. */
static int keep_schedule(struct run *run, struct cbt_err *err)
{
    const uint64_t rate = run->options->rate_events_per_s;
    int64_t due_ns = run->started_ns + (int64_t)(run->events / rate) * NS_PER_S +
                     (int64_t)(run->events % rate * (uint64_t)NS_PER_S / rate);
    const int64_t now_ns = cbt_now_ns();
    run->behind_ns = now_ns > due_ns ? now_ns - due_ns : 0;
    if (run->behind_ns > run->behind_max_ns)
        run->behind_max_ns = run->behind_ns;
    if (run->behind_ns)
        return 0;
    const int rc = run->options->kind->flush(run->target, err);
    const struct timespec due = {due_ns / NS_PER_S, due_ns % NS_PER_S};
    if (!rc)
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due,
                        NULL); /* a signal ends it early, and the run too */
    return rc;
}

static int publish_all(struct run *run, struct cbt_err *err)
{
    struct cbt_message message;
    int rc = 0;
    run->started_ns = cbt_now_ns();
    while (!cbt_stopped() && !rc && cbt_feed_next(run->feed, &message)) {
        if (run->options->rate_events_per_s)
            rc = keep_schedule(run, err);
        if (!rc)
            rc = run->options->kind->publish(run->target, &message, err);
        if (rc)
            break;
        run->messages++;
        run->events += message.events;
        run->bytes += message.body.len;
        cbt_progress_show(&run->progress, run->events, run->behind_ns);
    }
    return rc ? rc : run->options->kind->finish(run->target, err);
}

static void print_summary(const struct run *run)
{
    const double seconds = (double)(cbt_now_ns() - run->started_ns) / (double)NS_PER_S;
    printf("messages=%" PRIu64 " events=%" PRIu64 " bytes=%" PRIu64 " seconds=%.3f events_per_second=%.0f",
           run->messages, run->events, run->bytes, seconds, (double)run->events / seconds);
    if (run->options->rate_events_per_s)
        printf(" behind_max_seconds=%.3f", (double)run->behind_max_ns / (double)NS_PER_S);
    putchar('\n');
}

int cbt_publish(const struct cbt_publish_options *options)
{
    struct run run = {.options = options};
    struct cbt_err err = {0};
    int rc = cbt_feed_open(&run.feed, &options->feed, &err);
    if (!rc)
        rc = options->kind->open(&run.target, &options->target, &err);
    if (!rc) {
        cbt_stop_on_signals();
        cbt_progress_start(&run.progress, "published", cbt_feed_events(run.feed), options->quiet);
        rc = publish_all(&run, &err);
        cbt_progress_end(&run.progress);
        if (!rc)
            print_summary(&run);
    }
    const uint64_t wanted = run.feed ? cbt_feed_events(run.feed) : 0;
    options->kind->close(run.target);
    cbt_feed_close(run.feed);
    if (rc) {
        cbt_say(NULL, "%s", err.text);
        return rc == CBT_EINVAL ? 2 : 1;
    }
    if (cbt_stopped() && wanted)
        cbt_say(NULL, "interrupted: %" PRIu64 " of %" PRIu64 " events are published", run.events, wanted);
    return cbt_stopped() && wanted ? 1 : 0;
}
