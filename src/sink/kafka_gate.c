/* SPDX-License-Identifier: MIT */
/*
 * The gate between workers and the producer, and the one way in which workers wait.
 *
 * The gate. A worker stores inside = 1, then loads `gate`; who closes the gate stores that, then loads every
 * `inside`. All four are sequentially consistent, so they have one order that all threads agree on, and in it
 * one of the two stores comes first: either the worker finds the gate closed and steps out, or the closer
 * finds the worker inside and waits (Dekker's way). The same on the way out: the worker stores inside = 0,
 * then loads `gate`; finds it closed and wakes the closer, or the closer finds it gone. What the worker did
 * inside happens before its store of 0, which the closer's load acquires; so the closer may take the producer
 * away. The open way costs a worker two stores with a fence and two loads, on a line of its own, for a whole
 * batch.
 *
 * Waiting. Whoever may make a worker's wait end (reports came: there is room; a topic became known; the gate
 * opened) makes the change, then adds to `changes`, then looks whether anyone waits. A worker reads `changes`
 * before it tries, and where it fails goes to sleep only if `changes` is still the same, having said before
 * that it waits. Again two stores before two loads; and the sleep begins under the lock that the waker takes.
 * No wake is lost.
 */
#include <errno.h>
#include <time.h>

#include "sink/kafka.h"

int kafka_gate_init(struct kafka *k)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&k->changed, &monotonic);
    pthread_cond_init(&k->stepped_out, &monotonic);
    pthread_cond_init(&k->ask, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return CBT_OK;
}

void kafka_gate_free(struct kafka *k)
{
    pthread_cond_destroy(&k->ask);
    pthread_cond_destroy(&k->stepped_out);
    pthread_cond_destroy(&k->changed);
    pthread_mutex_destroy(&k->lock);
}

void kafka_leave(struct kafka *k, struct kafka_scratch *s)
{
    atomic_store(&s->inside, 0);
    if (atomic_load(&k->gate) == 0)
        return;
    pthread_mutex_lock(&k->lock);
    pthread_cond_broadcast(&k->stepped_out);
    pthread_mutex_unlock(&k->lock);
}

bool kafka_enter(struct kafka *k, struct kafka_scratch *s, uint32_t *ret_changes)
{
    for (;;) {
        *ret_changes = atomic_load(&k->changes);
        atomic_store(&s->inside, 1);
        uint32_t gate = atomic_load(&k->gate);
        if (gate == 0)
            return true;
        kafka_leave(k, s);
        if (gate & KAFKA_GATE_ABANDONED)
            return false;
        kafka_wait(k, *ret_changes, 1000);
    }
}

void kafka_wait(struct kafka *k, uint32_t changes, int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * KAFKA_NS_PER_MS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&k->lock);
    atomic_fetch_add(&k->waiting, 1);
    while (atomic_load(&k->changes) == changes)
        if (pthread_cond_timedwait(&k->changed, &k->lock, &until) == ETIMEDOUT)
            break;
    atomic_fetch_sub(&k->waiting, 1);
    pthread_mutex_unlock(&k->lock);
}

void kafka_announce(struct kafka *k)
{
    atomic_fetch_add(&k->changes, 1);
    if (atomic_load(&k->waiting) == 0)
        return;
    pthread_mutex_lock(&k->lock);
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

void kafka_close_gate(struct kafka *k)
{
    atomic_fetch_or(&k->gate, KAFKA_GATE_CLOSED);
    pthread_mutex_lock(&k->lock);
    for (unsigned i = 0; i < k->context.workers; i++)
        while (atomic_load(&k->scratch[i].inside) != 0)
            pthread_cond_wait(&k->stepped_out, &k->lock);
    pthread_mutex_unlock(&k->lock);
}

void kafka_open_gate(struct kafka *k)
{
    atomic_fetch_and(&k->gate, ~(uint32_t)KAFKA_GATE_CLOSED);
    kafka_announce(k);
}

void kafka_wake(struct kafka *k)
{
    pthread_mutex_lock(&k->lock);
    if (k->producer != NULL)
        rd_kafka_queue_yield(k->producer->reports);
    pthread_mutex_unlock(&k->lock);
}
