/* SPDX-License-Identifier: MIT */
/* A pipeline with a source that comes to an end: its start, its end, and what its source has to say. */
#include "cli/feed.h"

#include <time.h>

#include "cbtap/log.h"

#define LOOK_NS 20000000L /* how soon its end is noticed */

int cbt_feed_open(void **ret_self, const struct cbt_source_config *config, struct cbt_receiver *receiver,
                  struct cbt_err *err)
{
    struct cbt_feed *feed = config->own;
    (void)err;
    feed->receiver = receiver;
    *ret_self = feed;
    return CBT_OK;
}

int cbt_feed_connect(void *self, struct cbt_err *err)
{
    (void)self;
    (void)err;
    return CBT_OK;
}

int cbt_feed_fd(void *self)
{
    const struct cbt_feed *feed = self;
    return feed->fd;
}

int cbt_feed_tick(void *self, int64_t now_ns, struct cbt_err *err)
{
    (void)self;
    (void)now_ns;
    (void)err;
    return CBT_OK;
}

int cbt_feed_settle_flush(void *self, struct cbt_err *err)
{
    (void)self;
    (void)err;
    return CBT_OK;
}

void cbt_feed_nothing(void *self)
{
    (void)self;
}

int cbt_feed_start(struct cbt_feed_run *run, const struct cbt_config *config, const char *name,
                   const struct cbt_source *source, struct cbt_feed *feed, struct cbt_err *err)
{
    *run = (struct cbt_feed_run){
        .source = {.name = name, .type = source->type, .source = source, .own = feed}, .config = *config};
    feed->fd = -1;
    run->config.sources = &run->source;
    run->config.source_count = 1;
    run->config.cbtap.http_listen = "";
    sigemptyset(&run->signals);
    sigaddset(&run->signals, SIGTERM);
    sigaddset(&run->signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &run->signals, &run->before);
    int rc = cbt_pipeline_new(&run->pipeline, &run->config, err);
    if (rc == CBT_OK) {
        cbt_pipeline_select(run->pipeline, feed->selection);
        rc = cbt_pipeline_start(run->pipeline, err);
    }
    if (rc != CBT_OK) {
        cbt_pipeline_free(run->pipeline);
        run->pipeline = NULL;
    }
    return rc;
}

bool cbt_feed_wait(const struct cbt_feed_run *run, const struct cbt_feed *feed)
{
    const struct timespec look = {.tv_nsec = LOOK_NS};
    while (!atomic_load(&feed->done))
        if (sigtimedwait(&run->signals, NULL, &look) > 0)
            return false;
    return true;
}

bool cbt_feed_stop(struct cbt_feed_run *run, const char *what)
{
    struct cbt_err err;
    pthread_sigmask(SIG_SETMASK, &run->before, NULL);
    bool stopped = cbt_pipeline_stop(run->pipeline, &err) == 0;
    if (!stopped)
        cbt_log_warning(what, CBT_S("reason", err.text));
    return stopped;
}

void cbt_feed_free(struct cbt_feed_run *run)
{
    cbt_pipeline_free(run->pipeline);
    run->pipeline = NULL;
}
