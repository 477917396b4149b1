/* SPDX-License-Identifier: MIT */
/* A single-producer, single-consumer ring of pointers (ck_ring), and the one way to wait for something. */
#ifndef CBTAP_RING_H
#define CBTAP_RING_H

#include <ck_pr.h>
#include <ck_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "cbtap/err.h"

#if defined(__SANITIZE_THREAD__)
#define CBT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CBT_TSAN 1
#endif
#endif
#ifdef CBT_TSAN
/* ck's fences are assembly, which ThreadSanitizer cannot see: the hand-over is told to it here. */
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define CBT_TSAN_RELEASE(p) __tsan_release(p)
#define CBT_TSAN_ACQUIRE(p) __tsan_acquire(p)
#else
#define CBT_TSAN_RELEASE(p) ((void)0)
#define CBT_TSAN_ACQUIRE(p) ((void)0)
#endif

struct cbt_ring {
    struct ck_ring ring;
    ck_ring_buffer_t *buffer;
};

/* Makes a ring that holds at least `entries` (ck_ring holds size - 1, so the size is the next power of two).
 */
int cbt_ring_init(struct cbt_ring *ring, size_t entries, struct cbt_err *err);
void cbt_ring_free(struct cbt_ring *ring);

/* False when full; a ring that holds its whole pool never is. @thread the ring's producer */
static inline bool cbt_ring_push(struct cbt_ring *r, void *item)
{
    CBT_TSAN_RELEASE(r);
    return ck_ring_enqueue_spsc(&r->ring, r->buffer, item);
}

/* NULL when empty. @thread the ring's consumer */
static inline void *cbt_ring_pop(struct cbt_ring *r)
{
    void *item = NULL;
    if (!ck_ring_dequeue_spsc(&r->ring, r->buffer, &item))
        return NULL;
    CBT_TSAN_ACQUIRE(r);
    return item;
}

/* An approximate fill between 0 and 1, for people. @thread any */
static inline double cbt_ring_used_ratio(const struct cbt_ring *r)
{
    return (double)ck_ring_size(&r->ring) / (double)ck_ring_capacity(&r->ring);
}

static inline bool cbt_ring_empty(const struct cbt_ring *r)
{
    return ck_ring_size(&r->ring) == 0;
}

/*
 * A thread's alarm: it parks on an eventfd, alone or together with a socket, and others wake it. A wake of a
 * thread that is not parked costs a fence and a load. One for each thread that waits.
 */
struct cbt_alarm {
    int fd;
    unsigned parked;
};

int cbt_alarm_init(struct cbt_alarm *alarm, struct cbt_err *err);
void cbt_alarm_free(struct cbt_alarm *alarm);

/* Wakes the owner if it is parked; call after the push. @thread any */
void cbt_alarm_wake(struct cbt_alarm *alarm);

/* First half of parking: from here on a wake is not lost. Look at the rings once more, then wait or cancel.
 * @thread owner */
void cbt_alarm_prepare(struct cbt_alarm *alarm);
void cbt_alarm_cancel(struct cbt_alarm *alarm);

/* Second half: sleeps until a wake, `fd` (or -1) is readable, or the time-out (-1: for ever). True where `fd`
 * is readable or hung up. @thread owner */
bool cbt_alarm_wait(struct cbt_alarm *alarm, int fd, int timeout_ms);

#endif
