/* SPDX-License-Identifier: MIT */
/* The making of rings: memory for ck_ring, whose push and pop are inline in ring.h. */
#include "cbtap/ring.h"

#include <stdint.h>

int cbt_ring_init(struct cbt_ring *ring, size_t entries, struct cbt_err *err)
{
    size_t size = 4;
    while (size < entries + 1)
        size *= 2;
    if (size > UINT32_MAX / 2)
        return cbt_err_set(err, CBT_EINVAL, "a ring of %zu entries is beyond what ck_ring holds", entries);
    ck_ring_buffer_t *buffer = calloc(size, sizeof(*buffer));
    if (buffer == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a ring of %zu entries", entries);
    ck_ring_init(&ring->ring, (unsigned)size);
    ring->buffer = buffer;
    return CBT_OK;
}

void cbt_ring_free(struct cbt_ring *ring)
{
    if (ring == NULL)
        return;
    free(ring->buffer);
    ring->buffer = NULL;
}
