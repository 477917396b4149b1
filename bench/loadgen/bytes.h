/* SPDX-License-Identifier: MIT */
/* A growing run of bytes, used again from message to message. */
#ifndef CBT_LOADGEN_BYTES_H
#define CBT_LOADGEN_BYTES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/text.h"

struct cbt_bytes {
    uint8_t *data;
    size_t len;
    size_t room;
};

/* Out of memory ends the program: a load generator has nothing to save. */
static inline void *cbt_bytes_checked(void *memory)
{
    if (!memory) {
        fputs("cbtap-loadgen: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

/* Room for `bytes` more; returns where they go. */
static inline uint8_t *cbt_bytes_reserve(struct cbt_bytes *b, size_t bytes)
{
    if (b->room - b->len < bytes) {
        size_t room = b->room ? b->room : 256;
        while (room - b->len < bytes)
            room *= 2;
        b->data = cbt_bytes_checked(realloc(b->data, room));
        b->room = room;
    }
    return b->data + b->len;
}

static inline void cbt_bytes_put(struct cbt_bytes *b, const void *data, size_t len)
{
    if (len)
        memcpy(cbt_bytes_reserve(b, len), data, len);
    b->len += len;
}

static inline void cbt_bytes_put_u16(struct cbt_bytes *b, uint32_t value)
{
    const uint8_t le[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
    cbt_bytes_put(b, le, sizeof(le));
}

static inline void cbt_bytes_put_u32(struct cbt_bytes *b, uint32_t value)
{
    const uint8_t le[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                           (uint8_t)(value >> 24)};
    cbt_bytes_put(b, le, sizeof(le));
}

static inline struct cbt_text cbt_bytes_text(const struct cbt_bytes *b)
{
    return (struct cbt_text){b->data, b->len};
}

static inline void cbt_bytes_free(struct cbt_bytes *b)
{
    free(b->data);
    *b = (struct cbt_bytes){0};
}

#endif
