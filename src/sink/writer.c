/* SPDX-License-Identifier: MIT */
/*
 * A writer's life, and the workers' side of it.
 *
 * Happy path: submit chains the records, appends them under a lock (one for each hand-over, not for each
 * record) and wakes the thread where it had nothing. Failure: a full queue makes submit wait, which is the
 * backpressure; abandon ends that. Owns: the thread, the channel. The records belong to their frames.
 */
#include "sink/writer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cbtap/clock.h"

static int make(struct writer *w, struct cbt_err *err)
{
    pthread_condattr_t attributes;
    w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->wake_fd < 0)
        return cbt_err_set(err, CBT_EIO, "no eventfd: %s", strerror(errno));
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    w->inbox_end = &w->inbox;
    w->tail = &w->head;
    w->dead_end = &w->dead;
    w->batch.parts = writer_parts(w);
    snprintf(w->too_large_text, sizeof(w->too_large_text), "larger than the %u bytes of a datagram",
             w->settings.frame_max_bytes);
    w->too_large = (struct cbt_dead_letter){.reason = CBT_DEAD_refused, .detail = w->too_large_text};
    if (w->settings.framing != WRITER_OCTETS && w->settings.syslog == NULL)
        return CBT_OK;
    w->heads = malloc((size_t)WRITER_IOV_MAX / w->batch.parts * WRITER_HEAD_MAX_BYTES);
    return w->heads != NULL ? CBT_OK : cbt_err_set(err, CBT_ENOMEM, "no memory for a batch of heads");
}

int writer_open(void **ret_self, const struct cbt_sink_context *context,
                const struct writer_settings *settings, struct writer_channel *channel, struct cbt_err *err)
{
    struct writer *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        channel->ops->free(channel);
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the sink");
    }
    w->context = *context;
    w->settings = *settings;
    if (settings->syslog != NULL)
        w->syslog = *settings->syslog, w->settings.syslog = &w->syslog;
    w->name = context->config->name;
    w->channel = channel;
    channel->writer = w;
    int rc = make(w, err);
    if (rc == 0) {
        int failed = pthread_create(&w->thread, NULL, writer_main, w);
        w->started = failed == 0;
        if (failed != 0)
            rc = cbt_err_set(err, CBT_EIO, "cannot start a thread: %s", strerror(failed));
    }
    if (rc != 0) {
        writer_close(w);
        return rc;
    }
    *ret_self = w;
    return CBT_OK;
}

static void wake(struct writer *w)
{
    uint64_t one = 1;
    if (write(w->wake_fd, &one, sizeof(one)) < 0)
        return; /* it is awake: the counter is full */
}

void writer_submit(void *self, unsigned worker, struct cbt_record *const recs[], size_t count)
{
    struct writer *w = self;
    (void)worker;
    for (size_t i = 0; i < count; i++)
        recs[i]->next = i + 1 < count ? recs[i + 1] : NULL;
    pthread_mutex_lock(&w->lock);
    if (w->taken - w->done >= w->settings.queue_records)
        atomic_fetch_add_explicit(&w->queue_full, 1, memory_order_relaxed);
    while (w->taken - w->done >= w->settings.queue_records && !w->abandoned)
        pthread_cond_wait(&w->changed, &w->lock);
    bool first = w->inbox == NULL;
    if (!w->abandoned) {
        *w->inbox_end = recs[0];
        w->inbox_end = &recs[count - 1]->next;
        w->taken += count;
    }
    pthread_mutex_unlock(&w->lock);
    if (first)
        wake(w);
}

int writer_drain(void *self, int timeout_ms, struct cbt_err *err)
{
    struct writer *w = self;
    int64_t until = cbt_now_ns() + timeout_ms * WRITER_NS_PER_MS;
    const struct timespec deadline = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    int failed = 0;
    pthread_mutex_lock(&w->lock);
    while (w->taken != w->done && failed == 0)
        failed = pthread_cond_timedwait(&w->changed, &w->lock, &deadline);
    uint64_t left = w->taken - w->done;
    pthread_mutex_unlock(&w->lock);
    if (left == 0)
        return CBT_OK;
    return cbt_err_set(err, CBT_ELIMIT, "%llu records are not delivered", (unsigned long long)left);
}

void writer_abandon(void *self)
{
    struct writer *w = self;
    pthread_mutex_lock(&w->lock);
    w->abandoned = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

void writer_close(void *self)
{
    struct writer *w = self;
    if (w == NULL)
        return;
    if (w->started) {
        writer_abandon(w);
        atomic_store(&w->quit, true);
        wake(w);
        pthread_join(w->thread, NULL);
    }
    w->channel->ops->free(w->channel);
    if (w->wake_fd >= 0) {
        close(w->wake_fd);
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
    }
    free(w->heads);
    free(w);
}

bool writer_ready(void *self, char *ret_reason, size_t reason_bytes)
{
    struct writer *w = self;
    if (atomic_load(&w->delivers))
        return true;
    pthread_mutex_lock(&w->lock);
    snprintf(ret_reason, reason_bytes, "%s: %s", w->channel->what,
             w->fault[0] != '\0' ? w->fault : "not open yet");
    pthread_mutex_unlock(&w->lock);
    return false;
}

void writer_reload(void *self)
{
    struct writer *w = self;
    atomic_store(&w->reopen, true);
    wake(w);
}

int writer_check(const struct cbt_sink_config *config, enum writer_framing framing, struct cbt_err *err)
{
    if (framing == WRITER_LINES && strcmp(config->format, "raw") == 0)
        return cbt_err_set(
            err, CBT_EINVAL,
            "[sink.%s] format = raw: protobuf may hold line feeds, so lines would not tell one "
            "event from the next; use json or leef, or a sink with framing = octet",
            config->name);
    if (config->dead_letter_dir[0] == '\0')
        return cbt_err_set(err, CBT_EINVAL,
                           "[sink.%s] dead_letter_dir is empty: what cannot be decoded would have no place, "
                           "and its messages would never be acknowledged",
                           config->name);
    return CBT_OK;
}

bool writer_await(const struct writer *w, int fd, short events, int64_t deadline_ns)
{
    struct pollfd fds[2] = {{.fd = fd, .events = events},
                            {.fd = w != NULL ? w->wake_fd : -1, .events = POLLIN}};
    while (w == NULL || !atomic_load(&w->quit)) {
        int64_t left_ms = (deadline_ns - cbt_now_ns()) / WRITER_NS_PER_MS;
        if (left_ms <= 0)
            return false;
        /* Records that come meanwhile wake it as well: they must not turn this into a loop without rest, so
         * in that case it looks ten times a second. */
        int count = poll(fds, 2, left_ms > 100 ? 100 : (int)left_ms);
        if (count > 0 && fds[0].revents != 0)
            return true;
        if (count > 0 && fds[1].revents != 0)
            fds[1].fd = -1;
    }
    return false;
}
