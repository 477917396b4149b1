/* SPDX-License-Identifier: MIT */
/* Settlement: what a delivered record does to its frame, and how a frame that is done finds back to its
 * receiver. */
#ifndef CBTAP_SETTLE_H
#define CBTAP_SETTLE_H

#include "cbtap/frame.h"
#include "cbtap/ring.h"

/* A thread that can settle frames: a worker, or a sink's delivery thread. It has one ring to each receiver.
 */
struct cbt_settler {
    unsigned index;
    unsigned receivers;
    struct cbt_ring *rings;    /* [receivers], this settler is the producer */
    struct cbt_alarm **alarms; /* [receivers] */
    bool *touched;             /* [receivers] since the last flush */
};

/* Takes `count` from the frame's pending count; the one who takes the last pushes the frame to its receiver.
 * Call it once for a run of records of the same frame. @thread the settler's */
void cbt_settle(struct cbt_settler *settler, struct cbt_frame *frame, uint32_t count);

/* Wakes the receivers that got frames since the last flush: once a poll, not once a frame. @thread the
 * settler's */
void cbt_settle_flush(struct cbt_settler *settler);

#endif
