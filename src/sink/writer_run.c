/* SPDX-License-Identifier: MIT */
/*
 * The writer's thread.
 *
 * Happy path: takes what the workers left, writes it by as few calls as it can, asks the channel what is
 * kept, settles that by runs of one frame. Failure: an error of the channel drops it; it is opened again
 * after a pause, and everything from the first unsettled record on is written again. It is said once when
 * that begins, and once when it has ended. It sleeps in poll and nowhere else.
 */
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/writer.h"

#define IDLE_MS 1000

/* Counts upstream first (done with, then delivered), as the metrics' reader reads downstream first. */
static void end_run(struct writer *w)
{
    struct cbt_stats *stats = w->context.stats;
    struct writer_run *run = &w->run;
    if (run->count == 0)
        return;
    if (run->events != 0) {
        cbt_count(stats, CBT_COUNT_settled_records, run->events);
        cbt_count(stats, CBT_COUNT_delivered_records, run->events);
        cbt_count(stats, CBT_COUNT_delivered_bytes, run->bytes);
    }
    w->settled += run->count;
    cbt_settle(w->context.settler, run->frame, run->count);
    *run = (struct writer_run){0};
}

void writer_settle(struct writer *w, struct cbt_record *record)
{
    if (record->frame != w->run.frame) {
        end_run(w);
        w->run.frame = record->frame;
    }
    w->run.count++;
    if (record->dead == NULL) {
        w->run.events++;
        w->run.bytes += record->value_len;
    }
}

/* Wakes receivers and workers: once a round. */
static void flush(struct writer *w)
{
    end_run(w);
    if (w->settled == 0)
        return;
    cbt_settle_flush(w->context.settler);
    pthread_mutex_lock(&w->lock);
    w->done += w->settled;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    w->settled = 0;
}

static void take_inbox(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    struct cbt_record *record = w->inbox;
    w->inbox = NULL;
    w->inbox_end = &w->inbox;
    pthread_mutex_unlock(&w->lock);
    while (record != NULL) {
        struct cbt_record *next = record->next;
        record->next = NULL;
        if (__builtin_expect(record->dead != NULL, 0)) {
            writer_dead_add(w, record);
        } else {
            *w->tail = record;
            w->tail = &record->next;
            if (w->cursor == NULL)
                w->cursor = record;
        }
        record = next;
    }
}

/* ---- up and down ---- */

static void go_down(struct writer *w, const struct cbt_err *err)
{
    int64_t now = cbt_now_ns();
    uint64_t again = w->offset != 0;
    w->channel->ops->drop(w->channel);
    for (const struct cbt_record *record = w->head; record != NULL && record != w->cursor;
         record = record->next)
        again++;
    if (again != 0)
        cbt_add(&w->context.stats->resent[CBT_RESENT_failed], again);
    w->cursor = w->head;
    w->offset = 0;
    w->full = false;
    w->confirm_again_ms = -1;
    atomic_store(&w->up, false);
    pthread_mutex_lock(&w->lock);
    snprintf(w->fault, sizeof(w->fault), "%s", err->text);
    pthread_mutex_unlock(&w->lock);
    int64_t min = w->settings.retry_min_ms * WRITER_NS_PER_MS, max = WRITER_RETRY_MAX_MS * WRITER_NS_PER_MS;
    w->retry_pause_ns = w->retry_pause_ns == 0        ? min
                        : 2 * w->retry_pause_ns > max ? max
                                                      : 2 * w->retry_pause_ns;
    w->retry_ns = now + w->retry_pause_ns;
    if (!w->told) {
        w->down_since_ns = now;
        cbt_log_error("cannot deliver: events wait, and it is tried again", CBT_S("sink", w->name),
                      CBT_S("to", w->channel->what), CBT_S("reason", err->text));
    }
    w->told = true;
}

/* Something is kept: only that ends a failure, for a disk that is full can be opened. */
static void moved(struct writer *w)
{
    w->retry_pause_ns = 0;
    if (w->told)
        cbt_log_info("delivers again", CBT_S("sink", w->name), CBT_S("to", w->channel->what),
                     CBT_D("seconds", (double)(cbt_now_ns() - w->down_since_ns) / 1e9));
    w->told = false;
}

static void try_open(struct writer *w)
{
    struct cbt_err err = {0};
    if (w->channel->ops->open(w->channel, &err) != 0) {
        if (!atomic_load(&w->quit))
            go_down(w, &err);
        return;
    }
    if (!w->was_up)
        cbt_log_info("open", CBT_S("sink", w->name), CBT_S("to", w->channel->what));
    w->was_up = true;
    atomic_store(&w->up, true);
    if (w->head == NULL)
        moved(w);
}

/* ---- writing ---- */

static void advance(struct writer *w, size_t bytes)
{
    uint64_t position = w->channel->ops->position(w->channel);
    const struct writer_batch *batch = &w->batch;
    uint64_t end = position - bytes; /* of the frame at hand, where the channel adds nothing of its own */
    for (unsigned f = 0; f < batch->frames && w->cursor != NULL; f++) {
        size_t left = 0;
        for (unsigned i = 0; i < batch->parts; i++)
            left += batch->iov[f * batch->parts + i].iov_len;
        if (left > bytes) {
            w->offset = (f == 0 ? w->offset : 0) + bytes;
            return;
        }
        bytes -= left;
        end += left;
        w->cursor->seq = w->channel->exact ? end : position; /* at the latest */
        w->cursor = w->cursor->next;
        w->offset = 0;
    }
}

static int write_some(struct writer *w, struct cbt_err *err)
{
    writer_fill(w);
    if (w->batch.frames == 0)
        return CBT_OK;
    ssize_t n = w->channel->ops->write(w->channel, &w->batch, err);
    if (n < 0 && err->rc == CBT_ELIMIT) {
        writer_refuse_cursor(w);
        w->full = false;
        return CBT_OK;
    }
    if (n < 0)
        return err->rc;
    w->full = n == 0;
    advance(w, (size_t)n);
    return CBT_OK;
}

static int confirm(struct writer *w, struct cbt_err *err)
{
    uint64_t position = UINT64_MAX;
    int again_ms = IDLE_MS;
    bool any = false;
    w->confirm_again_ms = -1;
    if (w->head == NULL || w->head == w->cursor)
        return CBT_OK;
    if (w->channel->ops->confirm != NULL) {
        int rc = w->channel->ops->confirm(w->channel, &position, &again_ms, err);
        if (rc != 0)
            return rc;
    }
    while (w->head != w->cursor && w->head->seq <= position) {
        struct cbt_record *record = w->head;
        w->head = record->next;
        if (w->head == NULL)
            w->tail = &w->head;
        writer_settle(w, record);
        any = true;
    }
    if (any)
        moved(w);
    if (w->head != w->cursor)
        w->confirm_again_ms = again_ms;
    return CBT_OK;
}

static void serve(struct writer *w, int64_t now_ns)
{
    const struct writer_channel_ops *ops = w->channel->ops;
    struct cbt_err err = {0};
    int rc = CBT_OK;
    if (w->offset == 0 && ops->tend != NULL)
        rc = ops->tend(w->channel, now_ns, atomic_exchange(&w->reopen, false), &err);
    if (rc == 0 && w->cursor != NULL)
        rc = write_some(w, &err);
    if (rc == 0)
        rc = confirm(w, &err);
    if (rc != 0)
        go_down(w, &err);
}

/* ---- the loop ---- */

static void update_gauges(struct writer *w, int64_t now_ns)
{
    struct cbt_stats *stats = w->context.stats;
    struct timespec cpu;
    bool up = atomic_load_explicit(&w->up, memory_order_relaxed) && !w->told;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    atomic_store_explicit(&w->delivers, up, memory_order_relaxed);
    atomic_store_explicit(&stats->gauge_connected, up, memory_order_relaxed);
    atomic_store_explicit(&stats->waiting_for_peer, !up || w->full, memory_order_relaxed);
    atomic_store_explicit(&stats->has_work, w->head != NULL || w->dead != NULL, memory_order_relaxed);
    atomic_store_explicit(&stats->moved_ns, now_ns, memory_order_relaxed);
    uint64_t full = atomic_load_explicit(&w->queue_full, memory_order_relaxed);
    cbt_count(stats, CBT_COUNT_queue_full,
              full - atomic_load_explicit(&stats->counters[CBT_COUNT_queue_full], memory_order_relaxed));
    cbt_count(stats, CBT_COUNT_busy_ns,
              (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec -
                  atomic_load_explicit(&stats->counters[CBT_COUNT_busy_ns], memory_order_relaxed));
}

static int sleep_ms(const struct writer *w, bool up, int64_t now_ns)
{
    int64_t ms = IDLE_MS;
    if (up && w->cursor != NULL && !w->full)
        return 0;
    if (up && w->confirm_again_ms >= 0 && w->confirm_again_ms < ms)
        ms = w->confirm_again_ms;
    if (!up && (w->retry_ns - now_ns) / WRITER_NS_PER_MS < ms)
        ms = (w->retry_ns - now_ns) / WRITER_NS_PER_MS + 1;
    if (w->dead != NULL && (w->dead_retry_ns - now_ns) / WRITER_NS_PER_MS < ms)
        ms = (w->dead_retry_ns - now_ns) / WRITER_NS_PER_MS + 1;
    return ms < 0 ? 0 : (int)ms;
}

static void rest(struct writer *w, int64_t now_ns)
{
    struct writer_channel *channel = w->channel;
    struct pollfd fds[2] = {{.fd = w->wake_fd, .events = POLLIN}, {.fd = -1}};
    bool up = atomic_load_explicit(&w->up, memory_order_relaxed);
    uint64_t count;
    if (up && (channel->watched || w->full))
        fds[1] = (struct pollfd){
            .fd = channel->fd,
            .events = (short)((channel->watched ? POLLIN | POLLRDHUP : 0) | (w->full ? POLLOUT : 0))};
    if (poll(fds, 2, sleep_ms(w, up, now_ns)) <= 0)
        return;
    if (fds[0].revents != 0 && read(w->wake_fd, &count, sizeof(count)) < 0)
        return;
    struct cbt_err err = {0};
    if ((fds[1].revents & ~POLLOUT) != 0 && channel->ops->look != NULL &&
        channel->ops->look(channel, &err) != 0)
        go_down(w, &err);
}

void *writer_main(void *arg)
{
    struct writer *w = arg;
    pthread_setname_np(pthread_self(), w->context.config->type);
    w->confirm_again_ms = -1;
    while (!atomic_load(&w->quit)) {
        int64_t now = cbt_now_ns();
        take_inbox(w);
        writer_dead_serve(w, now);
        if (!atomic_load(&w->up) && now >= w->retry_ns)
            try_open(w);
        if (atomic_load(&w->up))
            serve(w, now);
        flush(w);
        update_gauges(w, now);
        rest(w, now);
    }
    return NULL;
}
