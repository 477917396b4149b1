/* SPDX-License-Identifier: MIT */
/*
 * The sink of standard output: a line for each event, for pipes, containers and people. Delivered is what is
 * written.
 *
 * Happy path: a pipe or a terminal is opened anew through /proc, so that it can be written without blocking
 * while others who have it open keep their mode. Failure: a reader that takes nothing is backpressure; one
 * that is gone does not come back, which is said, and nothing more is settled.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sink/writer.h"

struct output {
    struct writer_channel channel;
    bool own; /* fd is not standard output itself */
    bool is_socket;
    uint64_t position;
};

static int open_channel(struct writer_channel *channel, struct cbt_err *err)
{
    struct output *o = (struct output *)channel;
    struct stat st;
    if (fstat(STDOUT_FILENO, &st) != 0)
        return cbt_err_set(err, CBT_EIO, "standard output is closed: %s", strerror(errno));
    o->position = 0;
    o->own = false;
    o->is_socket = S_ISSOCK(st.st_mode);
    channel->fd = STDOUT_FILENO;
    if (S_ISREG(st.st_mode) || o->is_socket)
        return CBT_OK;
    int fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    o->own = fd >= 0;
    if (o->own)
        channel->fd = fd;
    return CBT_OK;
}

static ssize_t write_batch(struct writer_channel *channel, struct writer_batch *batch, struct cbt_err *err)
{
    struct output *o = (struct output *)channel;
    unsigned count = batch->frames * batch->parts;
    ssize_t n;
    if (o->is_socket) {
        const struct msghdr message = {.msg_iov = batch->iov, .msg_iovlen = count};
        n = sendmsg(channel->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
        n = writev(channel->fd, batch->iov, (int)count);
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0) {
        cbt_err_set(err, CBT_EIO, "%s",
                    errno == EPIPE ? "its reader is gone: start cbtap again with another" : strerror(errno));
        return -1;
    }
    o->position += (uint64_t)n;
    return n;
}

static uint64_t position(const struct writer_channel *channel)
{
    return ((const struct output *)channel)->position;
}

static void drop(struct writer_channel *channel)
{
    struct output *o = (struct output *)channel;
    if (o->own)
        close(channel->fd);
    o->own = false;
    channel->fd = -1;
}

static void free_channel(struct writer_channel *channel)
{
    drop(channel);
    free(channel);
}

static const struct writer_channel_ops stdout_ops = {
    .open = open_channel,
    .write = write_batch,
    .position = position,
    .drop = drop,
    .free = free_channel,
};

static int sink_open(void **ret_self, const struct cbt_sink_context *context, struct cbt_err *err)
{
    const struct cbt_options_stdout *options = &context->config->standard_output;
    struct output *o = calloc(1, sizeof(*o));
    if (o == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the sink");
    o->channel = (struct writer_channel){.ops = &stdout_ops, .fd = -1, .what = "standard output"};
    const struct writer_settings settings = {.framing = WRITER_LINES,
                                             .queue_records = options->queue_records,
                                             .retry_min_ms = WRITER_RETRY_MAX_MS};
    return writer_open(ret_self, context, &settings, &o->channel, err);
}

static int check(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                 struct cbt_err *err)
{
    (void)options;
    return writer_check(config, WRITER_LINES, err);
}

static int probe(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                 char *ret_report, size_t report_bytes, struct cbt_err *err)
{
    (void)config;
    (void)options;
    if (fcntl(STDOUT_FILENO, F_GETFL) < 0)
        return cbt_err_set(err, CBT_EIO, "standard output is closed: %s", strerror(errno));
    snprintf(ret_report, report_bytes, "standard output is open");
    return CBT_OK;
}

extern const struct cbt_sink cbt_sink_stdout;
const struct cbt_sink cbt_sink_stdout = {
    .type = "stdout",
    .open = sink_open,
    WRITER_CALLS,
    .probe = probe,
    .check = check,
};
