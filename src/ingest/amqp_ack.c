/* SPDX-License-Identifier: MIT */
/*
 * Acknowledgements: frames are done in any order, the broker is told the highest tag below which all are
 * done.
 *
 * Happy path: a done frame sets its bit; the run of set bits at the front is acknowledged with one `multiple`
 * a batch. Failure: a frame of an old channel is let go, for the broker delivers it again and its tag means
 * nothing on the new one; what was done but not acknowledged when a channel dies is abandoned too. A broker
 * that does not read leaves the acknowledgements here, up to connect_timeout_ms: nothing waits in a write.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "cbtap/poison.h"
#include "ingest/source_amqp.h"

#define NS_PER_MS INT64_C(1000000)

int cbt_amqp_acks_init(struct cbt_amqp_acks *acks, uint32_t prefetch, struct cbt_err *err)
{
    uint64_t capacity = 64;
    while (capacity < (uint64_t)prefetch + 1)
        capacity *= 2;
    uint64_t *done = calloc(capacity / 64, sizeof(*done));
    if (done == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for %u delivery tags", prefetch);
    *acks = (struct cbt_amqp_acks){.done = done, .mask = capacity - 1, .first = 1};
    return CBT_OK;
}

void cbt_amqp_acks_free(struct cbt_amqp_acks *acks)
{
    free(acks->done);
    acks->done = NULL;
}

void cbt_amqp_acks_reset(struct cbt_amqp_acks *acks)
{
    memset(acks->done, 0, (acks->mask + 1) / 8);
    acks->delivered = 0;
    acks->first = 1;
    acks->acked = 0;
    acks->settled = 0;
}

bool cbt_amqp_acks_deliver(struct cbt_amqp_acks *acks, uint64_t tag)
{
    if (tag != acks->delivered + 1 || tag - acks->first > acks->mask)
        return false;
    acks->delivered = tag;
    return true;
}

bool cbt_amqp_acks_settle(struct cbt_amqp_acks *acks, uint64_t tag)
{
    if (tag < acks->first || tag > acks->delivered)
        return false;
    uint64_t *word = &acks->done[(tag & acks->mask) / 64];
    uint64_t bit = UINT64_C(1) << (tag % 64);
    if ((*word & bit) != 0)
        return false;
    *word |= bit;
    acks->settled++;
    for (;;) {
        word = &acks->done[(acks->first & acks->mask) / 64];
        bit = UINT64_C(1) << (acks->first % 64);
        if ((*word & bit) == 0)
            return true;
        *word &= ~bit;
        acks->first++;
    }
}

bool cbt_amqp_writable(const struct cbt_amqp *self)
{
    /* A socket that polls as writable has room for far more than one method. */
    struct pollfd fd = {.fd = amqp_get_sockfd(self->conn), .events = POLLOUT};
    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLOUT) != 0;
}

/* Acknowledges the prefix if the socket takes it. */
static int write_ack(struct cbt_amqp *self, struct cbt_err *err)
{
    uint64_t due = cbt_amqp_acks_due(&self->acks);
    if (due == 0)
        return CBT_OK;
    if (!cbt_amqp_writable(self)) {
        int64_t now = cbt_now_ns();
        if (self->stalled_ns == 0)
            self->stalled_ns = now;
        if (now - self->stalled_ns < (int64_t)self->settings.options->connect_timeout_ms * NS_PER_MS)
            return CBT_OK;
        self->broken = true;
        return cbt_err_set(err, CBT_EIO, "the broker has taken no acknowledgement for %lld ms",
                           (long long)self->settings.options->connect_timeout_ms);
    }
    self->stalled_ns = 0;
    int status = amqp_basic_ack(self->conn, CBT_AMQP_CONSUME_CHANNEL, self->acks.first - 1, 1);
    if (status != AMQP_STATUS_OK) {
        self->broken = true;
        return cbt_amqp_status_error(err, status, "basic.ack");
    }
    self->acks.acked += due;
    cbt_count(self->stats, CBT_COUNT_settled_frames, due);
    return CBT_OK;
}

int cbt_amqp_settle(void *arg, struct cbt_frame *const done[], size_t count, struct cbt_err *err)
{
    struct cbt_amqp *self = arg;
    uint64_t abandoned = 0;
    for (size_t i = 0; i < count; i++) {
        if (self->conn == NULL || done[i]->generation != self->generation) {
            abandoned++;
            continue;
        }
        if (!cbt_amqp_acks_settle(&self->acks, done[i]->token)) {
            /* Only a bug can do this; the message comes again, which is better than acknowledging a wrong
             * one. */
            cbt_log_error("a frame was settled twice", CBT_S("source", self->settings.config->name),
                          CBT_I("delivery_tag", done[i]->token));
        } else if (done[i]->suspect != NULL) {
            cbt_poison_forget(done[i]->suspect);
        }
    }
    if (abandoned != 0)
        cbt_count(self->stats, CBT_COUNT_abandoned_frames, abandoned);
    if (self->conn == NULL || self->broken || cbt_amqp_acks_due(&self->acks) < self->ack_batch)
        return CBT_OK;
    return write_ack(self, err);
}

int cbt_amqp_settle_flush(void *arg, struct cbt_err *err)
{
    struct cbt_amqp *self = arg;
    if (self->conn == NULL || self->broken)
        return CBT_OK;
    return write_ack(self, err);
}
