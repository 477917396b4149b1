/* SPDX-License-Identifier: MIT */
/*
 * A command that runs the daemon's own pipeline with one source of its own, which has no connection and comes
 * to an end: what dlq replay and export --to have in common.
 */
#ifndef CBTAP_CLI_FEED_H
#define CBTAP_CLI_FEED_H

#include <signal.h>
#include <stdatomic.h>

#include "cbtap/pipeline.h"
#include "cbtap/source.h"

/* The head of the source's own structure. */
struct cbt_feed {
    struct cbt_receiver *receiver;
    _Atomic bool done;                     /* everything was read, as far as it can be, and is settled */
    int fd;                                /* to wait on for more; -1: for nothing, as at the start */
    const struct cbt_selection *selection; /* of what it reads; NULL: all */
};

/* What a source without a connection has to say to most of struct cbt_source. @thread receiver */
int cbt_feed_open(void **ret_self, const struct cbt_source_config *config, struct cbt_receiver *receiver,
                  struct cbt_err *err);
int cbt_feed_connect(void *self, struct cbt_err *err);
int cbt_feed_fd(void *self);
int cbt_feed_tick(void *self, int64_t now_ns, struct cbt_err *err);
int cbt_feed_settle_flush(void *self, struct cbt_err *err);
void cbt_feed_nothing(void *self);
#define CBT_FEED_CALLS                                                                                       \
    .guarantee = "at-least-once", .redelivers = true, .open = cbt_feed_open, .connect = cbt_feed_connect,    \
    .fd = cbt_feed_fd, .tick = cbt_feed_tick, .settle_flush = cbt_feed_settle_flush,                         \
    .disconnect = cbt_feed_nothing, .close = cbt_feed_nothing

/* The pipeline while it runs. */
struct cbt_feed_run {
    struct cbt_source_config source;
    struct cbt_config config;
    struct cbt_pipeline *pipeline;
    sigset_t signals, before;
};

/* Starts the pipeline of `config`, but with the feed for its only source, and no listener, which the daemon
 * has. SIGTERM and SIGINT are blocked from then on. @thread main */
int cbt_feed_start(struct cbt_feed_run *run, const struct cbt_config *config, const char *name,
                   const struct cbt_source *source, struct cbt_feed *feed, struct cbt_err *err);
/* Until all is settled. False: a signal came first. */
bool cbt_feed_wait(const struct cbt_feed_run *run, const struct cbt_feed *feed);
/* Ends the pipeline, whose counters stay; a further signal ends the process at once. False: something was in
 * flight, of which `what` tells people. */
bool cbt_feed_stop(struct cbt_feed_run *run, const char *what);
void cbt_feed_free(struct cbt_feed_run *run);

#endif
