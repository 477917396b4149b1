/* SPDX-License-Identifier: MIT */
/* The command `publish` (and `archive`, which differs in its target): from a feed to a target, at a rate or
 * flat out. */
#ifndef CBT_LOADGEN_PUBLISH_H
#define CBT_LOADGEN_PUBLISH_H

#include "message.h"
#include "target.h"

struct cbt_publish_options {
    struct cbt_feed_options feed;
    struct cbt_target_options target;
    const struct cbt_target *kind;
    uint64_t rate_events_per_s; /* 0: flat out */
    bool quiet;
};

/* Returns the exit status: 0 done, 1 failed or interrupted, 2 the options are at fault. */
int cbt_publish(const struct cbt_publish_options *options);

#endif
