/* SPDX-License-Identifier: MIT */
/* Settlement: see settle.h. */
#include "cbtap/settle.h"

#include <stdlib.h>

#include "cbtap/log.h"

void cbt_settle(struct cbt_settler *settler, struct cbt_frame *frame, uint32_t count)
{
    if (atomic_fetch_sub_explicit(&frame->pending, count, memory_order_acq_rel) != count)
        return;
    unsigned index = frame->receiver_index;
    /* The ring holds the receiver's whole pool, so this cannot fail but by a bug that would lose a message.
     */
    if (!cbt_ring_push(&settler->rings[index], frame)) {
        cbt_log_error("a settle ring is full, which its size rules out", CBT_I("receiver", index));
        abort();
    }
    settler->touched[index] = true;
}

void cbt_settle_flush(struct cbt_settler *settler)
{
    for (unsigned i = 0; i < settler->receivers; i++) {
        if (!settler->touched[i])
            continue;
        settler->touched[i] = false;
        cbt_alarm_wake(settler->alarms[i]);
    }
}
