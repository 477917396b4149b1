/* SPDX-License-Identifier: MIT */
/*
 * tail: standard output. It is written only while it takes something, and by pieces that it takes at once:
 * O_NONBLOCK would do the same, but belongs to the open terminal, which the shell shares, and would stay with
 * it if cbtap was killed.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "cli/out_buf.h"
#include "cli/tail.h"

#define NS_PER_MS INT64_C(1000000)

int cbt_tail_out_init(struct cbt_tail_out *out, struct cbt_err *err)
{
    *out = (struct cbt_tail_out){.is_terminal = isatty(STDOUT_FILENO) == 1};
    return cbt_out_buf_init(&out->buf, &out->memory, 2 * CBT_TAIL_PENDING_BYTES_MAX, err);
}

void cbt_tail_out_free(struct cbt_tail_out *out)
{
    free(out->memory);
}

size_t cbt_tail_out_pending(const struct cbt_tail_out *out)
{
    return (size_t)(out->buf.pos - out->memory) - out->written;
}

/* A pipe that can be written to takes PIPE_BUF bytes (pipe(7)); a terminal may keep us for as long as it
 * takes to show these. */
static bool write_piece(struct cbt_tail_out *out)
{
    size_t left = cbt_tail_out_pending(out);
    ssize_t n = write(STDOUT_FILENO, out->memory + out->written, left < PIPE_BUF ? left : PIPE_BUF);
    if (n < 0) {
        if (errno != EINTR && errno != EAGAIN)
            out->error = errno;
        return out->error == 0;
    }
    out->written += (size_t)n;
    if (n > 0)
        out->in_line = out->memory[out->written - 1] != '\n';
    return true;
}

bool cbt_tail_out_flush(struct cbt_tail_out *out, int timeout_ms)
{
    int64_t end_ns = cbt_now_ns() + timeout_ms * NS_PER_MS;
    while (out->error == 0) {
        int64_t left_ms = (end_ns - cbt_now_ns()) / NS_PER_MS;
        size_t pending = cbt_tail_out_pending(out);
        struct pollfd fd = {.fd = STDOUT_FILENO, .events = pending > 0 ? POLLOUT : 0};
        int n = poll(&fd, 1, pending > 0 && left_ms > 0 ? (int)left_ms : 0);
        if (n == 1 && (fd.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0)
            out->error = EPIPE;
        else if (n != 1 || (fd.revents & POLLOUT) == 0 || !write_piece(out))
            break;
    }
    size_t pending = cbt_tail_out_pending(out);
    if (out->written > 0 && (pending == 0 || out->written > CBT_TAIL_PENDING_BYTES_MAX)) {
        memmove(out->memory, out->memory + out->written, pending);
        out->written = 0;
        out->buf.begin = out->buf.pos = out->memory + pending;
    }
    return out->error == 0;
}

unsigned cbt_tail_out_width(const struct cbt_tail_out *out)
{
    struct winsize size = {0};
    return out->is_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
