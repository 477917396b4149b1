/* SPDX-License-Identifier: MIT */
/*
 * A connection as a writer's channel.
 *
 * Happy path: batches go out by writev, or by TLS records of up to 16 KiB. A TCP peer gives no receipt, so
 * what counts is the next best: what its TCP has acknowledged, which is all that was written less what the
 * kernel still holds (SIOCOUTQ). The kernel does not tell when that changes; while something is unconfirmed
 * it is asked after 1 ms, then more and more seldom. Failure: a connection that ends, or moves nothing for
 * write_timeout_ms, is dropped; what was not acknowledged is sent again whole on the next one.
 */
#include "sink/stream.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cbtap/clock.h"

#define ASK_MAX_MS  20
#define LOOK_BYTES  4096
#define LOOK_TIMES  16 /* a peer that talks must not keep us from writing */
#define KEEPALIVE_S 60
#define KEEPALIVE_N 3

static struct stream *stream_of(struct writer_channel *channel)
{
    return (struct stream *)channel;
}

static void set_options(int fd)
{
    static const int on = 1, idle = KEEPALIVE_S, count = KEEPALIVE_N;
    /* None of them is needed to work. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

static void drop(struct writer_channel *channel)
{
    struct stream *s = stream_of(channel);
    SSL_free(s->ssl);
    s->ssl = NULL;
    if (channel->fd >= 0)
        close(channel->fd);
    channel->fd = -1;
}

static int open_channel(struct writer_channel *channel, struct cbt_err *err)
{
    struct stream *s = stream_of(channel);
    int rc = endpoint_connect(&s->settings.peer, SOCK_STREAM, s->settings.connect_timeout_ms, channel->writer,
                              &channel->fd, err);
    if (rc != 0)
        return rc;
    set_options(channel->fd);
    s->written = s->acknowledged = 0;
    s->moved_ns = cbt_now_ns();
    return s->settings.tls ? stream_tls_open(&s->ssl, channel->fd, &s->settings, channel->writer, err)
                           : CBT_OK;
}

static size_t gather(struct stream *s, const struct writer_batch *batch)
{
    size_t len = 0, count = (size_t)batch->frames * batch->parts;
    for (size_t i = 0; i < count && len < sizeof(s->bytes); i++) {
        size_t n =
            batch->iov[i].iov_len < sizeof(s->bytes) - len ? batch->iov[i].iov_len : sizeof(s->bytes) - len;
        memcpy(s->bytes + len, batch->iov[i].iov_base, n);
        len += n;
    }
    return len;
}

static ssize_t write_tls(struct stream *s, const struct writer_batch *batch, struct cbt_err *err)
{
    ERR_clear_error();
    int n = SSL_write(s->ssl, s->bytes, (int)gather(s, batch)), want = SSL_get_error(s->ssl, n);
    if (n > 0)
        return n;
    if (want == SSL_ERROR_WANT_WRITE || want == SSL_ERROR_WANT_READ)
        return 0;
    stream_tls_error(s->ssl, n, err);
    return -1;
}

static ssize_t write_plain(struct stream *s, struct writer_batch *batch, struct cbt_err *err)
{
    const struct msghdr message = {.msg_iov = batch->iov, .msg_iovlen = (size_t)batch->frames * batch->parts};
    ssize_t n = sendmsg(s->channel.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
        s->written += (uint64_t)n;
        return n;
    }
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    cbt_err_set(err, CBT_EIO, "cannot send: %s", strerror(errno));
    return -1;
}

/* A peer that takes nothing for so long is given up. */
static bool is_stalled(struct stream *s, struct cbt_err *err)
{
    if (cbt_now_ns() - s->moved_ns < s->settings.write_timeout_ms * WRITER_NS_PER_MS)
        return false;
    cbt_err_set(err, CBT_EIO, "the peer has taken nothing for %d ms", s->settings.write_timeout_ms);
    return true;
}

static ssize_t write_batch(struct writer_channel *channel, struct writer_batch *batch, struct cbt_err *err)
{
    struct stream *s = stream_of(channel);
    /* Nothing was to be sent, so nothing could move. */
    if (s->channel.writer->head == s->channel.writer->cursor && s->channel.writer->offset == 0 &&
        !s->channel.writer->full)
        s->moved_ns = cbt_now_ns();
    ssize_t n = s->ssl != NULL ? write_tls(s, batch, err) : write_plain(s, batch, err);
    if (n > 0)
        s->moved_ns = cbt_now_ns();
    return n == 0 && is_stalled(s, err) ? -1 : n;
}

/* In bytes of the connection: TLS adds its own. */
static uint64_t position(const struct writer_channel *channel)
{
    const struct stream *s = (const struct stream *)channel;
    return s->ssl != NULL ? BIO_number_written(SSL_get_wbio(s->ssl)) : s->written;
}

/* Of a connection that was reset the kernel throws away what it held: what it then says is no receipt. */
static bool is_alive(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           (info.tcpi_state == TCP_ESTABLISHED || info.tcpi_state == TCP_CLOSE_WAIT);
}

static int confirm(struct writer_channel *channel, uint64_t *ret_position, int *ret_again_ms,
                   struct cbt_err *err)
{
    struct stream *s = stream_of(channel);
    uint64_t written = position(channel);
    int queued = 0;
    if (!s->settings.acknowledged) {
        *ret_position = written;
        return CBT_OK;
    }
    if (ioctl(channel->fd, SIOCOUTQ, &queued) != 0 || queued < 0)
        return cbt_err_set(err, CBT_EIO, "the kernel does not say what was acknowledged: %s",
                           strerror(errno));
    if (!is_alive(channel->fd))
        return cbt_err_set(err, CBT_EIO, "the peer ended the connection");
    int64_t now = cbt_now_ns();
    uint64_t acknowledged = written - ((uint64_t)queued < written ? (uint64_t)queued : written);
    if (acknowledged != s->acknowledged)
        s->moved_ns = now;
    s->acknowledged = acknowledged;
    *ret_position = acknowledged;
    if (queued != 0 && is_stalled(s, err))
        return CBT_EIO;
    int64_t quiet_ms = (now - s->moved_ns) / WRITER_NS_PER_MS;
    *ret_again_ms = quiet_ms < 1 ? 1 : quiet_ms > ASK_MAX_MS ? ASK_MAX_MS : (int)quiet_ms;
    return CBT_OK;
}

/* What the peer says is nobody's concern, but that it leaves. */
static int look(struct writer_channel *channel, struct cbt_err *err)
{
    struct stream *s = stream_of(channel);
    char bytes[LOOK_BYTES];
    for (int i = 0; i < LOOK_TIMES; i++) {
        ERR_clear_error();
        ssize_t n = s->ssl != NULL ? SSL_read(s->ssl, bytes, sizeof(bytes))
                                   : recv(channel->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n > 0)
            continue;
        if (s->ssl != NULL) {
            int want = SSL_get_error(s->ssl, (int)n);
            if (want == SSL_ERROR_WANT_READ || want == SSL_ERROR_WANT_WRITE)
                return CBT_OK;
            stream_tls_error(s->ssl, (int)n, err);
            return CBT_EIO;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return CBT_OK;
        return cbt_err_set(err, CBT_EIO, "%s", n == 0 ? "the peer ended the connection" : strerror(errno));
    }
    return CBT_OK;
}

static void free_channel(struct writer_channel *channel)
{
    struct stream *s = stream_of(channel);
    if (s->ssl != NULL)
        SSL_shutdown(s->ssl); /* says that nothing follows; no answer is waited for */
    drop(channel);
    free(s);
}

static const struct writer_channel_ops stream_ops = {
    .open = open_channel,
    .write = write_batch,
    .position = position,
    .confirm = confirm,
    .look = look,
    .drop = drop,
    .free = free_channel,
};

struct writer_channel *stream_new(const struct stream_settings *settings, const char *what)
{
    struct stream *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->channel =
        (struct writer_channel){.ops = &stream_ops, .fd = -1, .exact = !settings->tls, .watched = true};
    s->settings = *settings;
    snprintf(s->channel.what, sizeof(s->channel.what), "%.10s %.253s port %.5s", what, settings->peer.host,
             settings->peer.port);
    return &s->channel;
}

int stream_probe(const struct stream_settings *settings, char *ret_report, size_t report_bytes,
                 struct cbt_err *err)
{
    SSL *ssl = NULL;
    int fd = -1;
    int rc = endpoint_connect(&settings->peer, SOCK_STREAM, settings->connect_timeout_ms, NULL, &fd, err);
    if (rc == 0 && settings->tls)
        rc = stream_tls_open(&ssl, fd, settings, NULL, err);
    if (rc == 0)
        snprintf(ret_report, report_bytes, "%s port %s takes connections%s%s", settings->peer.host,
                 settings->peer.port, ssl != NULL ? ", " : "", ssl != NULL ? SSL_get_version(ssl) : "");
    SSL_free(ssl);
    if (fd >= 0)
        close(fd);
    return rc;
}
