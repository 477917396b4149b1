/* SPDX-License-Identifier: MIT */
/*
 * UDP: a datagram for each event, many with one call.
 *
 * Happy path: sendmmsg; what the kernel took is delivered as far as anybody can know. Failure: a full socket
 * buffer is backpressure; a datagram that the kernel calls too large becomes a dead letter; a peer's host
 * that says that nobody listens there is warned of once, and sent to all the same.
 */
#include "sink/datagram.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cbtap/log.h"

#define DATAGRAMS_MAX 256 /* of one call */
#define RESOLVE_MS    5000

struct datagram {
    struct writer_channel channel;
    struct endpoint peer;
    uint64_t position;
    bool refused; /* it was said that nobody listens */
    struct mmsghdr messages[DATAGRAMS_MAX];
};

static void drop(struct writer_channel *channel)
{
    if (channel->fd >= 0)
        close(channel->fd);
    channel->fd = -1;
}

static int open_channel(struct writer_channel *channel, struct cbt_err *err)
{
    struct datagram *d = (struct datagram *)channel;
    d->position = 0;
    return endpoint_connect(&d->peer, SOCK_DGRAM, RESOLVE_MS, channel->writer, &channel->fd, err);
}

/* An answer to an earlier datagram, which is lost. */
static void note_refusal(struct datagram *d)
{
    if (!d->refused)
        cbt_log_warning(
            "nobody listens there, as the host itself says: datagrams are sent and lost; this is said "
            "once",
            CBT_S("sink", d->channel.writer->name), CBT_S("to", d->channel.what));
    d->refused = true;
}

static int send_some(struct datagram *d, unsigned count)
{
    int n = sendmmsg(d->channel.fd, d->messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == ECONNREFUSED) {
        note_refusal(d);
        n = sendmmsg(d->channel.fd, d->messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == ECONNREFUSED) /* and again in between: the next round */
            errno = EAGAIN;
    }
    return n;
}

static ssize_t write_batch(struct writer_channel *channel, struct writer_batch *batch, struct cbt_err *err)
{
    struct datagram *d = (struct datagram *)channel;
    unsigned count = batch->frames < DATAGRAMS_MAX ? batch->frames : DATAGRAMS_MAX;
    ssize_t bytes = 0;
    for (unsigned i = 0; i < count; i++)
        d->messages[i] = (struct mmsghdr){
            .msg_hdr = {.msg_iov = &batch->iov[(size_t)i * batch->parts], .msg_iovlen = batch->parts}};
    int n = send_some(d, count);
    if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS))
        return 0;
    if (n < 0) {
        /* Sending stops at the first that fails, and fails only where that is the first of all. */
        cbt_err_set(err, errno == EMSGSIZE ? CBT_ELIMIT : CBT_EIO, "cannot send: %s", strerror(errno));
        return -1;
    }
    for (int i = 0; i < n; i++)
        bytes += d->messages[i].msg_len;
    d->position += (uint64_t)bytes;
    return bytes;
}

static uint64_t position(const struct writer_channel *channel)
{
    return ((const struct datagram *)channel)->position;
}

static void free_channel(struct writer_channel *channel)
{
    drop(channel);
    free(channel);
}

static const struct writer_channel_ops datagram_ops = {
    .open = open_channel,
    .write = write_batch,
    .position = position,
    .drop = drop,
    .free = free_channel,
};

struct writer_channel *datagram_new(const struct endpoint *peer)
{
    struct datagram *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return NULL;
    d->channel = (struct writer_channel){.ops = &datagram_ops, .fd = -1};
    d->peer = *peer;
    snprintf(d->channel.what, sizeof(d->channel.what), "udp %.253s port %.5s", peer->host, peer->port);
    return &d->channel;
}

int datagram_probe(const struct endpoint *peer, char *ret_report, size_t report_bytes, struct cbt_err *err)
{
    int fd = -1;
    int rc = endpoint_connect(peer, SOCK_DGRAM, RESOLVE_MS, NULL, &fd, err);
    if (rc != 0)
        return rc;
    close(fd);
    snprintf(ret_report, report_bytes, "%s port %s can be sent to; UDP does not tell whether anybody listens",
             peer->host, peer->port);
    return CBT_OK;
}
