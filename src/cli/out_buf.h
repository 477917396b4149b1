/* SPDX-License-Identifier: MIT */
/* The memory that a command's output gathers in: a cbt_buf that grows, with what is complete before it. */
#ifndef CBTAP_CLI_OUT_BUF_H
#define CBTAP_CLI_OUT_BUF_H

#include "cbtap/buf.h"
#include "cbtap/err.h"

/* Allocates *memory, of which the buffer is all; where it grows, both move, and what lies before the buffer's
 * beginning stays. One record has at most 1 GiB, as in the daemon. The caller frees *memory. */
int cbt_out_buf_init(struct cbt_buf *buf, uint8_t **memory, size_t capacity, struct cbt_err *err);

#endif
