/* SPDX-License-Identifier: MIT */
/* The buffer that encoders write into: the free end of a frame's record memory. Reserve, then write
 * unchecked. */
#ifndef CBTAP_BUF_H
#define CBTAP_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cbt_buf {
    uint8_t *begin; /* first byte of the record that is being written */
    uint8_t *pos;   /* next byte */
    uint8_t *end;   /* one past the last byte that may be written */
    bool failed; /* grow failed (record over the limit): what follows is ignored, the record is a dead letter
                  */
    /* Moves [begin, pos) to memory with at least `bytes` free behind pos; false where the limit forbids. */
    bool (*grow)(struct cbt_buf *buf, size_t bytes);
    void *owner;
};

/* True when `bytes` can be written at buf->pos without a further check. @thread the buffer's owner */
static inline bool cbt_buf_reserve(struct cbt_buf *buf, size_t bytes)
{
    if (__builtin_expect((size_t)(buf->end - buf->pos) >= bytes, 1))
        return true;
    if (buf->failed || !buf->grow(buf, bytes)) {
        buf->failed = true;
        return false;
    }
    return true;
}

static inline size_t cbt_buf_len(const struct cbt_buf *buf)
{
    return (size_t)(buf->pos - buf->begin);
}

static inline void cbt_buf_put(struct cbt_buf *buf, const void *data, size_t len)
{
    if (cbt_buf_reserve(buf, len)) {
        memcpy(buf->pos, data, len);
        buf->pos += len;
    }
}

#endif
