/* SPDX-License-Identifier: MIT */
/*
 * The AMQP source (RabbitMQ, by rabbitmq-c): its life, its heartbeats, its watch over a connection that is
 * not read.
 *
 * Happy path: connect logs in, declares, binds and consumes (amqp_connect.c, amqp_topology.c); read takes
 * deliveries (amqp_read.c); settle acknowledges (amqp_ack.c). Failure: every error ends the connection;
 * disconnect makes its frames stale by a new generation, and the broker delivers them again. Heartbeats: the
 * library sends and checks them only within a read. So tick sends one every half interval, whether anything
 * is read or not, and asks the kernel how long the peer has been silent. A pause in reading does not make the
 * library itself give the peer up: it looks at the socket before it looks at its timer.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "ingest/source_amqp.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

/* What the broker may take beyond its heartbeats to forget a dead connection. */
#define GHOST_GRACE_NS (2 * NS_PER_S)

static uint32_t amqp_frames_max(const struct cbt_source_config *config)
{
    return (uint32_t)config->amqp.prefetch;
}

static int make_bindings(struct cbt_amqp *self, struct cbt_err *err)
{
    const struct cbt_amqp_settings *settings = &self->settings;
    self->bindings = calloc(settings->pattern_count + 1, sizeof(*self->bindings));
    if (self->bindings == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the bindings");
    if (settings->options->raw)
        self->bindings[self->binding_count++] =
            (struct cbt_amqp_binding){.exchange = CBT_AMQP_RAW_EXCHANGE, .key = ""};
    for (size_t i = 0; i < settings->pattern_count; i++)
        self->bindings[self->binding_count++] =
            (struct cbt_amqp_binding){.exchange = CBT_AMQP_EVENTS_EXCHANGE, .key = settings->patterns[i]};
    return CBT_OK;
}

static void amqp_disconnect(void *arg);

static void amqp_close(void *arg)
{
    struct cbt_amqp *self = arg;
    if (self == NULL)
        return;
    amqp_disconnect(self);
    cbt_amqp_acks_free(&self->acks);
    cbt_amqp_settings_free(&self->settings);
    free(self->bindings);
    free(self);
}

static int amqp_open(void **ret_self, const struct cbt_source_config *config, struct cbt_receiver *receiver,
                     struct cbt_err *err)
{
    struct cbt_amqp *self = calloc(1, sizeof(*self));
    if (self == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for an AMQP source");
    self->receiver = receiver;
    self->stats = cbt_receiver_stats(receiver);
    atomic_store_explicit(&self->stats->gauge_queue_messages, -1, memory_order_relaxed);
    uint32_t prefetch = (uint32_t)config->amqp.prefetch;
    self->ack_batch = prefetch / 16 > 0 ? prefetch / 16 : 1;
    int rc;
    if ((rc = cbt_amqp_settings_read(&self->settings, config, err)) != 0 ||
        (rc = make_bindings(self, err)) != 0 || (rc = cbt_amqp_acks_init(&self->acks, prefetch, err)) != 0) {
        amqp_close(self);
        return rc;
    }
    /* Receivers are named rx-SECTION-NUMBER; the first speaks for all. */
    const char *thread = self->stats->thread;
    snprintf(self->client_name, sizeof(self->client_name), "cbtap %s",
             strncmp(thread, "rx-", 3) == 0 ? thread + 3 : thread);
    size_t len = strlen(thread);
    if (len < 2 || strcmp(thread + len - 2, "-0") == 0)
        cbt_amqp_settings_warn(&self->settings);
    *ret_self = self;
    return CBT_OK;
}

static int amqp_connect(void *arg, struct cbt_err *err)
{
    struct cbt_amqp *self = arg;
    struct cbt_amqp_session session = {0};
    int rc = cbt_amqp_settings_renew(&self->settings, err);
    if (rc != 0) {
        /* As of a broker that refuses: somebody must set it right. */
        rc = rc == CBT_EINVAL ? CBT_EREFUSED : rc;
        err->rc = (enum cbt_rc)rc;
        return rc;
    }
    rc = cbt_amqp_login(&self->conn, &self->settings, self->client_name, &session, err);
    self->was_away = self->was_away || (self->consumed && !session.reached);
    if (rc != 0)
        return rc;
    self->broken = self->told_over = self->consuming = false;
    self->stalled_ns = 0;
    self->heartbeat_ns = amqp_get_heartbeat(self->conn) * NS_PER_S;
    self->heartbeat_sent_ns = self->watched_ns = cbt_now_ns();
    cbt_amqp_acks_reset(&self->acks);
    rc = cbt_amqp_set_up(self, err);
    if (rc != 0) {
        /* A refusal leaves the connection as it was. After any other failure the library is not to be asked
         * again: where it had no memory for a frame, the next read crashes. */
        self->broken = self->broken || rc != CBT_EREFUSED;
        amqp_disconnect(self);
        return rc;
    }
    if (self->was_away)
        cbt_log_warning(
            "the broker was away: if it has restarted, the messages that it held in memory only are lost "
            "(transient ones, as the EDR server publishes); persistent ones are not",
            CBT_S("source", self->settings.config->name), CBT_S("queue", self->settings.options->queue));
    self->was_away = false;
    self->consumed = true;
    return CBT_OK;
}

/* Writes what is done, then says that this is the end. */
static void say_goodbye(struct cbt_amqp *self)
{
    struct pollfd fd = {.fd = amqp_get_sockfd(self->conn), .events = POLLOUT};
    if (fd.fd < 0 || poll(&fd, 1, CBT_AMQP_FAREWELL_MS) != 1 || (fd.revents & POLLOUT) == 0)
        return;
    if (cbt_amqp_settle_flush(self, NULL) != 0)
        return;
    cbt_amqp_farewell(self->conn);
}

static void amqp_disconnect(void *arg)
{
    struct cbt_amqp *self = arg;
    if (self == NULL || self->conn == NULL)
        return;
    cbt_amqp_read_reset(self);
    if (!self->broken)
        say_goodbye(self);
    /* RabbitMQ looks for a sign of life once an interval, and gives up at the second look in vain. */
    if (self->consuming)
        self->ghost_until_ns =
            self->broken && !self->told_over ? cbt_now_ns() + 3 * self->heartbeat_ns + GHOST_GRACE_NS : 0;
    amqp_destroy_connection(self->conn);
    self->conn = NULL;
    /* Done, but never acknowledged. */
    uint64_t abandoned = self->acks.settled - self->acks.acked;
    if (abandoned != 0)
        cbt_count(self->stats, CBT_COUNT_abandoned_frames, abandoned);
    cbt_amqp_acks_reset(&self->acks);
    atomic_store_explicit(&self->stats->gauge_queue_messages, -1, memory_order_relaxed);
    self->generation++;
}

static int amqp_fd(void *arg)
{
    const struct cbt_amqp *self = arg;
    return self->conn == NULL ? -1 : amqp_get_sockfd(self->conn);
}

static int send_heartbeat(struct cbt_amqp *self, int64_t now_ns, struct cbt_err *err)
{
    if (self->heartbeat_ns == 0 || now_ns - self->heartbeat_sent_ns < self->heartbeat_ns / 2 ||
        !cbt_amqp_writable(self))
        return CBT_OK;
    amqp_frame_t heartbeat = {.frame_type = AMQP_FRAME_HEARTBEAT, .channel = 0};
    int status = amqp_send_frame(self->conn, &heartbeat);
    if (status != AMQP_STATUS_OK) {
        self->broken = true;
        return cbt_amqp_status_error(err, status, "heartbeat");
    }
    self->heartbeat_sent_ns = now_ns;
    return CBT_OK;
}

/* Why poll says that the connection is over: the socket's own error where there is one. */
static int hung_up(struct cbt_amqp *self, int fd, struct cbt_err *err)
{
    int error = 0;
    socklen_t len = sizeof(error);
    self->broken = true;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error != 0)
        return cbt_err_set(err, CBT_EIO, "the connection to the broker failed: %s", strerror(error));
    return cbt_err_set(err, CBT_EIO, "the broker closed the connection");
}

/* A peer that hung up, or that has sent nothing for two heartbeats although there is nothing of it left to
 * read. */
static int watch_peer(struct cbt_amqp *self, int64_t now_ns, struct cbt_err *err)
{
    struct pollfd fd = {.fd = amqp_get_sockfd(self->conn), .events = POLLIN | POLLRDHUP};
    int n = poll(&fd, 1, 0);
    /* Where it is read, the read finds the end, and perhaps before it the broker's reason. */
    bool is_read = self->stage != CBT_AMQP_HELD && self->stage != CBT_AMQP_REFUSE;
    if (n == 1 && (fd.revents & (POLLERR | POLLHUP | POLLNVAL | POLLRDHUP)) != 0 &&
        (!is_read || (fd.revents & POLLIN) == 0))
        return hung_up(self, fd.fd, err);
    if (self->heartbeat_ns == 0 || now_ns - self->watched_ns < NS_PER_S || (fd.revents & POLLIN) != 0)
        return CBT_OK;
    self->watched_ns = now_ns;
    struct tcp_info info;
    socklen_t len = sizeof(info);
    if (getsockopt(fd.fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return CBT_OK;
    if ((int64_t)info.tcpi_last_data_recv * NS_PER_MS <= 2 * self->heartbeat_ns)
        return CBT_OK;
    self->broken = true;
    return cbt_err_set(err, CBT_EIO, "the broker has been silent for %u ms, more than two heartbeats",
                       info.tcpi_last_data_recv);
}

static int amqp_tick(void *arg, int64_t now_ns, struct cbt_err *err)
{
    struct cbt_amqp *self = arg;
    if (self->conn == NULL)
        return CBT_OK;
    int rc;
    if ((rc = send_heartbeat(self, now_ns, err)) != 0 || (rc = watch_peer(self, now_ns, err)) != 0)
        return rc;
    /* No further settlement may come to try it again: with all of the prefetch done, the broker waits for us.
     */
    if (self->stalled_ns != 0 && (rc = cbt_amqp_settle_flush(self, err)) != 0)
        return rc;
    return cbt_amqp_side_tick(self, now_ns, err);
}

static void amqp_reload(const struct cbt_source_config *config)
{
    if (strncasecmp(config->amqp.url, "amqps:", 6) == 0)
        cbt_log_info("the TLS files are read with the next connection; this one goes on",
                     CBT_S("source", config->name));
}

const struct cbt_source cbt_source_amqp = {
    .type = "amqp",
    .guarantee = "at-least-once",
    .redelivers = true,
    .meets_poison = true,
    .frames_max = amqp_frames_max,
    .open = amqp_open,
    .connect = amqp_connect,
    .fd = amqp_fd,
    .read = cbt_amqp_read,
    .tick = amqp_tick,
    .settle = cbt_amqp_settle,
    .settle_flush = cbt_amqp_settle_flush,
    .disconnect = amqp_disconnect,
    .close = amqp_close,
    .reload = amqp_reload,
    .probe = cbt_amqp_probe,
};
