/* SPDX-License-Identifier: MIT */
/* Dead letters, as a worker makes them of what it cannot decode: counted, and put into its batch for the sink
 * that takes them. All return 0, or CBT_EIO: the worker is to end. @thread worker */
#ifndef CBTAP_DECODE_SET_ASIDE_H
#define CBTAP_DECODE_SET_ASIDE_H

#include "decode/batch.h"

/* A part of the frame at hand, which is counted among the events of its type already. */
int cbt_set_aside(struct cbt_batch *batch, const struct cbt_part *part, enum cbt_event_type type,
                  const char *detail);
/* An event that a sink cannot take, as the smallest part that gives it again. */
int cbt_set_aside_event(struct cbt_batch *batch, const struct cbt_part *part, const struct cbt_event *event,
                        enum cbt_dead_reason reason, const char *detail);
/* A part that is never decoded, which this counts among the events. */
int cbt_set_aside_undecoded(struct cbt_batch *batch, const struct cbt_part *part);
/* What is left of a frame after too many parts, broken or not: from this part to the end, or all of it where
 * the part lies in inflated memory. */
int cbt_set_aside_rest(struct cbt_batch *batch, struct cbt_part *part, enum cbt_dead_reason reason);
/* A frame at which the process has died so often that it is not decoded again. */
int cbt_set_aside_poison(struct cbt_batch *batch);
/* A frame of which its source knows that it cannot be decoded. */
int cbt_set_aside_broken(struct cbt_batch *batch);

#endif
