/* SPDX-License-Identifier: MIT */
/*
 * A pause for librdkafka's threads.
 *
 * librdkafka (2.0 at least) sends an idempotent partition no batch while another is under way, for it counts
 * the partition's messages in flight where it means requests; and as soon as one waits that is older than
 * linger.ms, the broker's thread calls poll with a time-out of 0 until the answer comes: a whole processor
 * for each broker whenever Kafka is slower than we are (rdkafka_broker.c, rd_kafka_toppar_producer_serve).
 * No property prevents it. All that such a thread waits for comes by a descriptor, an answer or a byte in its
 * pipe; so it may sleep in that poll, and loses nothing.
 *
 * The linker lets libraries find these two functions before those of libc. All other callers, and all other
 * time-outs, get what they ask for.
 */
#undef _FORTIFY_SOURCE /* its poll is an inline function */
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "sink/kafka.h"

#define PAUSE_MS 1

static _Thread_local bool pauses;

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name,bugprone-reserved-identifier) */

int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t bytes);

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (timeout_ms == 0 && pauses)
        timeout_ms = PAUSE_MS;
    const struct timespec limit = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};
    return ppoll(fds, count, timeout_ms < 0 ? NULL : &limit, NULL);
}

/* What _FORTIFY_SOURCE makes of it: Debian's librdkafka is built so. */
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t bytes)
{
    if (count > bytes / sizeof *fds)
        abort();
    return poll(fds, count, timeout_ms);
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name,bugprone-reserved-identifier) */

/* Called by the thread that will poll it. Otherwise as librdkafka does it. */
static int make_socket(int domain, int type, int protocol, void *opaque)
{
    (void)opaque;
    pauses = true;
    return socket(domain, type | SOCK_CLOEXEC, protocol);
}

void kafka_conf_add_pause(rd_kafka_conf_t *conf)
{
    rd_kafka_conf_set_socket_cb(conf, make_socket);
}
