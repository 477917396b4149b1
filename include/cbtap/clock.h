/* SPDX-License-Identifier: MIT */
/* The two clocks: monotonic for durations, wall for what people and consumers see. */
#ifndef CBTAP_CLOCK_H
#define CBTAP_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds of CLOCK_MONOTONIC; about 20 ns through the vDSO. @thread any */
static inline int64_t cbt_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Milliseconds since 1970-01-01 UTC. @thread any */
static inline int64_t cbt_wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

#endif
