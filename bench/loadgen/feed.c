/* SPDX-License-Identifier: MIT */
/* Chooses the feed: files where some are named, else a synthetic fleet. */
#include "generate.h"
#include "message.h"
#include "replay.h"

struct cbt_feed {
    struct cbt_generator *generator;
    struct cbt_replay *replay;
    uint64_t events;
};

int cbt_feed_open(struct cbt_feed **ret_feed, const struct cbt_feed_options *options, struct cbt_err *err)
{
    struct cbt_feed *feed = cbt_bytes_checked(calloc(1, sizeof(*feed)));
    int rc;
    if (options->files) {
        rc = cbt_replay_new(&feed->replay, options, err);
        feed->events = rc ? 0 : cbt_replay_events(feed->replay);
    } else {
        rc = cbt_generator_new(&feed->generator, &options->fleet, options->zip_level, err);
        feed->events = options->fleet.events;
    }
    if (rc) {
        free(feed);
        return rc;
    }
    *ret_feed = feed;
    return 0;
}

bool cbt_feed_next(struct cbt_feed *feed, struct cbt_message *ret_message)
{
    return feed->replay ? cbt_replay_next(feed->replay, ret_message)
                        : cbt_generator_next(feed->generator, ret_message);
}

uint64_t cbt_feed_events(const struct cbt_feed *feed)
{
    return feed->events;
}

void cbt_feed_close(struct cbt_feed *feed)
{
    if (!feed)
        return;
    cbt_generator_free(feed->generator);
    cbt_replay_free(feed->replay);
    free(feed);
}
