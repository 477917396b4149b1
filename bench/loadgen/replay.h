/* SPDX-License-Identifier: MIT */
/* The feed from files: bundles (.log), zips of bundles, and server notifications (.ndjson). */
#ifndef CBT_LOADGEN_REPLAY_H
#define CBT_LOADGEN_REPLAY_H

#include "message.h"

struct cbt_replay;

/* Reads every file at once. */
int cbt_replay_new(struct cbt_replay **ret_replay, const struct cbt_feed_options *options,
                   struct cbt_err *err);
/* Goes through the files until options.fleet.events are sent; once where that is 0. */
bool cbt_replay_next(struct cbt_replay *replay, struct cbt_message *ret_message);
uint64_t cbt_replay_events(const struct cbt_replay *replay);
void cbt_replay_free(struct cbt_replay *replay);

#endif
