/* SPDX-License-Identifier: MIT */
/* A pool of encoded events that messages are made of: all that changes from use to use is the time stamp and
 * the environment, which are patched in. So an event costs a copy. */
#ifndef CBT_LOADGEN_POOL_H
#define CBT_LOADGEN_POOL_H

#include "bytes.h"
#include "names.h"

#define CBT_POOL_EVENTS 8192u

struct cbt_pool_event {
    uint32_t at;           /* where in the pool's data */
    uint32_t len;          /* bytes of the CbEventMsg */
    uint32_t timestamp_at; /* its nine bytes, from the event's start */
    uint32_t env_at;       /* where field 13, `env`, belongs in a record that carries it */
    const char *type;      /* "moduleload" */
};

struct cbt_pool {
    struct cbt_bytes data;
    struct cbt_pool_event events[CBT_POOL_EVENTS];
};

/* Events of the types' real mix, as one endpoint of that kind would send them: a few processes at a time,
 * each with a run of events. */
struct cbt_pool *cbt_pool_new(uint64_t seed, enum cbt_os os);
void cbt_pool_free(struct cbt_pool *pool);

/* Writes a time stamp (FILETIME between 1829 and 30829, whose varint has nine bytes). */
static inline void cbt_pool_put_timestamp(uint8_t *at, uint64_t filetime)
{
    for (int i = 0; i < 8; i++, filetime >>= 7)
        at[i] = (uint8_t)(filetime | 0x80);
    at[8] = (uint8_t)(filetime & 0x7f);
}

#endif
