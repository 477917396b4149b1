/* SPDX-License-Identifier: MIT */
/* Numbers that look random and are the same on every machine for the same seed (SplitMix64). */
#ifndef CBT_LOADGEN_RANDOM_H
#define CBT_LOADGEN_RANDOM_H

#include <stdint.h>

static inline uint64_t cbt_random_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

struct cbt_random {
    uint64_t state;
};

static inline uint64_t cbt_random_next(struct cbt_random *r)
{
    return cbt_random_mix(r->state += 0x9e3779b97f4a7c15u);
}

/* 0 .. n-1, by the high bits (Lemire), without the last of its bias, which nothing here minds. */
static inline uint32_t cbt_random_below(struct cbt_random *r, uint32_t n)
{
    return (uint32_t)(((cbt_random_next(r) >> 32) * n) >> 32);
}

#endif
