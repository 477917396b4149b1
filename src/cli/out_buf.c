/* SPDX-License-Identifier: MIT */
/* Output that grows with its largest record. */
#include "cli/out_buf.h"

#include <stdlib.h>

#define RECORD_MAX_BYTES (1u << 30)

static bool grow(struct cbt_buf *buf, size_t bytes)
{
    uint8_t **memory = buf->owner;
    size_t used = (size_t)(buf->pos - *memory), before = (size_t)(buf->begin - *memory);
    size_t capacity = (size_t)(buf->end - *memory);
    if (bytes > RECORD_MAX_BYTES || used - before > RECORD_MAX_BYTES - bytes)
        return false;
    capacity = used + bytes > 2 * capacity ? used + bytes : 2 * capacity;
    uint8_t *grown = realloc(*memory, capacity);
    if (!grown)
        return false;
    *memory = grown;
    buf->begin = grown + before;
    buf->pos = grown + used;
    buf->end = grown + capacity;
    return true;
}

int cbt_out_buf_init(struct cbt_buf *buf, uint8_t **memory, size_t capacity, struct cbt_err *err)
{
    uint8_t *begin = malloc(capacity);
    *memory = begin;
    if (!begin)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the output");
    *buf = (struct cbt_buf){
        .begin = begin, .pos = begin, .end = begin + capacity, .grow = grow, .owner = memory};
    return CBT_OK;
}
