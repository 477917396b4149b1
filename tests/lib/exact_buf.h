/* SPDX-License-Identifier: MIT */
/* A buffer that moves to memory of exactly the size that was asked for, so that every byte written beyond
 * what was reserved is one that a sanitizer sees. */
#ifndef TESTS_LIB_EXACT_BUF_H
#define TESTS_LIB_EXACT_BUF_H

#include <stdlib.h>
#include <string.h>

#include "cbtap/buf.h"

struct exact_buf {
    struct cbt_buf buf;
    size_t step;  /* bytes more than asked for */
    size_t limit; /* of all */
    unsigned growths;
};

static inline bool exact_grow(struct cbt_buf *buf, size_t bytes)
{
    struct exact_buf *exact = buf->owner;
    size_t len = cbt_buf_len(buf), size = len + bytes + exact->step;
    if (size > exact->limit)
        return false;
    uint8_t *moved = malloc(size);
    if (moved == NULL)
        abort();
    memset(moved, 0xA5, size);
    if (len > 0)
        memcpy(moved, buf->begin, len);
    free(buf->begin);
    buf->begin = moved;
    buf->pos = moved + len;
    buf->end = moved + size;
    exact->growths++;
    return true;
}

static inline void exact_init(struct exact_buf *exact, size_t step, size_t limit)
{
    *exact = (struct exact_buf){.buf = {.grow = exact_grow, .owner = exact}, .step = step, .limit = limit};
}

static inline void exact_free(struct exact_buf *exact)
{
    free(exact->buf.begin);
}

#endif
