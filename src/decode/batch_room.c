/* SPDX-License-Identifier: MIT */
/*
 * What a batch may have to wait for: the budget, for a frame to begin, for a block, for records' overhead.
 *
 * Out of budget: what is complete is handed over, then the worker waits until a receiver gives memory back. A
 * frame that has begun cannot wait for ever (its records free nothing before it ends, and several frames
 * half-way would wait for each other), so after a while one worker at a time may overdraw to finish its
 * frame; no worker begins one like that.
 */
#include "cbtap/clock.h"
#include "decode/batch.h"

#define OVERDRAW_AFTER_MS 200
#define WAIT_MS           50
#define CREDIT_RECORDS    64 /* charged at once */

/* That it moves comes first, or /healthz would see a thread with work that has not moved for as long as the
 * wait took. */
void cbt_batch_end_wait(struct cbt_stats *stats, int64_t now_ns)
{
    atomic_store_explicit(&stats->moved_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&stats->waiting_for_peer, 0, memory_order_release);
}

void cbt_batch_trim(struct cbt_batch *batch)
{
    struct cbt_block *open = batch->blocks.open;
    if (open != NULL && atomic_load_explicit(&open->refs, memory_order_acquire) == 1)
        cbt_block_close(&batch->blocks);
    if (batch->credit != 0)
        cbt_budget_give(batch->context->budget, CBT_ACCOUNT_WORKER,
                        (size_t)batch->credit * CBT_RECORD_OVERHEAD_BYTES);
    batch->credit = 0;
}

void cbt_batch_hold(struct cbt_batch *batch, size_t bytes)
{
    struct cbt_budget *budget = batch->context->budget;
    if (bytes > batch->held_bytes)
        cbt_budget_force(budget, CBT_ACCOUNT_WORKER, bytes - batch->held_bytes);
    else
        cbt_budget_give(budget, CBT_ACCOUNT_WORKER, batch->held_bytes - bytes);
    batch->held_bytes = bytes;
}

/* To begin a frame: the records of all that went before are within the budget. */
static bool may_begin(struct cbt_batch *batch, size_t bytes, bool force)
{
    (void)bytes;
    (void)force;
    cbt_batch_trim(batch); /* what holds nothing must not stand in the way */
    return !cbt_budget_spent(batch->context->budget, CBT_ACCOUNT_WORKER);
}

/* Room in the open block. */
static bool get_room(struct cbt_batch *batch, size_t bytes, bool force)
{
    return cbt_batch_has_room(batch, bytes) || cbt_block_open(&batch->blocks, bytes, force);
}

/* The overhead of some more records. */
static bool get_credit(struct cbt_batch *batch, size_t bytes, bool force)
{
    struct cbt_budget *budget = batch->context->budget;
    if (force)
        cbt_budget_force(budget, CBT_ACCOUNT_WORKER, bytes);
    else if (!cbt_budget_take(budget, CBT_ACCOUNT_WORKER, bytes))
        return false;
    batch->credit += (uint32_t)(bytes / CBT_RECORD_OVERHEAD_BYTES);
    return true;
}

typedef bool get_fn(struct cbt_batch *batch, size_t bytes, bool force);

/* Asks, and parks until memory was given back, at most WAIT_MS. Asking comes after announcing, so no wake is
 * lost. */
static bool get_or_park(struct cbt_batch *batch, get_fn *get, size_t bytes)
{
    struct cbt_budget *budget = batch->context->budget;
    atomic_fetch_add(&budget->waiting, 1);
    cbt_alarm_prepare(batch->alarm);
    bool got = get(batch, bytes, batch->overdrawing);
    if (got || atomic_load(batch->quit))
        cbt_alarm_cancel(batch->alarm);
    else
        cbt_alarm_wait(batch->alarm, -1, WAIT_MS);
    atomic_fetch_sub(&budget->waiting, 1);
    return got;
}

/* Begins to overdraw, if no other worker does. */
static void overdraw(struct cbt_batch *batch)
{
    unsigned nobody = 0;
    if (!batch->overdrawing)
        batch->overdrawing = atomic_compare_exchange_strong(&batch->context->budget->overdrawing, &nobody, 1);
}

/* Hands over what is complete and waits for `get`. False: the worker is to end. */
static bool wait_until(struct cbt_batch *batch, get_fn *get, size_t bytes)
{
    struct cbt_stats *stats = batch->context->stats;
    cbt_batch_flush(batch);
    int64_t start = cbt_now_ns();
    atomic_store_explicit(&stats->waiting_for_peer, 1, memory_order_relaxed);
    cbt_poison_pause(&batch->watch);
    while (!get_or_park(batch, get, bytes)) {
        if (atomic_load(batch->quit))
            return false;
        bool patient = cbt_now_ns() - start < OVERDRAW_AFTER_MS * INT64_C(1000000);
        if (batch->frame != NULL && !patient)
            overdraw(batch);
    }
    cbt_poison_resume(&batch->watch);
    int64_t end = cbt_now_ns();
    cbt_batch_end_wait(stats, end);
    batch->blocked_ns += end - start;
    return true;
}

/* Keeps the frame's chain of blocks. */
bool cbt_batch_open_room(struct cbt_batch *batch, size_t bytes)
{
    struct cbt_block *before = batch->blocks.open;
    if (!get_room(batch, bytes, batch->overdrawing) && !wait_until(batch, get_room, bytes))
        return false;
    struct cbt_frame *frame = batch->frame;
    if (frame != NULL && frame->first_block != NULL && batch->blocks.open != before) {
        cbt_block_ref(batch->blocks.open);
        frame->record_blocks++;
    }
    return true;
}

bool cbt_batch_get_credit(struct cbt_batch *batch)
{
    size_t overhead = (size_t)CREDIT_RECORDS * CBT_RECORD_OVERHEAD_BYTES;
    return get_credit(batch, overhead, batch->overdrawing) || wait_until(batch, get_credit, overhead);
}

bool cbt_batch_wait_to_begin(struct cbt_batch *batch)
{
    return wait_until(batch, may_begin, 0);
}
