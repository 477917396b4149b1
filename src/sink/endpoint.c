/* SPDX-License-Identifier: MIT */
/* HOST:PORT: what a sink over the network is given, and a socket that is connected to it. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "sink/stream.h"

int endpoint_parse(struct endpoint *ret_endpoint, const char *text, struct cbt_err *err)
{
    const char *colon = strrchr(text, ':'), *host = text;
    size_t len = colon != NULL ? (size_t)(colon - text) : 0,
           digits = colon != NULL ? strspn(colon + 1, "0123456789") : 0;
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    } else if (memchr(host, ':', len) != NULL) {
        len = 0; /* an address of IPv6 without brackets */
    }
    if (len == 0 || len > ENDPOINT_HOST_MAX || digits == 0 || digits > 5 || colon[1 + digits] != '\0' ||
        strtoul(colon + 1, NULL, 10) - 1 > 65534)
        return cbt_err_set(err, CBT_EINVAL,
                           "\"%.300s\" is not HOST:PORT, e.g. 10.0.0.1:514, or [fd00::1]:514", text);
    memcpy(ret_endpoint->host, host, len);
    ret_endpoint->host[len] = '\0';
    memcpy(ret_endpoint->port, colon + 1, digits + 1);
    return CBT_OK;
}

int endpoint_of(struct endpoint *ret_endpoint, const struct cbt_sink_config *config, const char *address,
                struct cbt_err *err)
{
    int rc = endpoint_parse(ret_endpoint, address, err);
    return rc == 0 ? CBT_OK : cbt_err_prefix(err, "[sink.%s] address", config->name);
}

/* 0, or an errno. */
static int await_connected(int fd, int timeout_ms, const struct writer *w)
{
    int failed = 0;
    socklen_t len = sizeof(failed);
    bool ready;
    if (w != NULL) {
        ready = writer_await(w, fd, POLLOUT, cbt_now_ns() + timeout_ms * WRITER_NS_PER_MS);
    } else {
        struct pollfd one = {.fd = fd, .events = POLLOUT};
        ready = poll(&one, 1, timeout_ms) == 1;
    }
    if (!ready)
        return ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) == 0 ? failed : errno;
}

int endpoint_connect(const struct endpoint *peer, int type, int timeout_ms, const struct writer *w,
                     int *ret_fd, struct cbt_err *err)
{
    const struct addrinfo hints = {.ai_socktype = type, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(peer->host, peer->port, &hints, &found);
    if (failed == EAI_NONAME || failed == EAI_ADDRFAMILY) { /* of a host that has the loopback only */
        const struct addrinfo any = {.ai_socktype = type, .ai_flags = AI_NUMERICSERV};
        failed = getaddrinfo(peer->host, peer->port, &any, &found);
    }
    if (failed != 0)
        return cbt_err_set(err, CBT_EIO, "%s cannot be resolved: %s", peer->host, gai_strerror(failed));
    failed = EADDRNOTAVAIL;
    for (const struct addrinfo *a = found; a != NULL && failed != 0; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
        failed = fd < 0 ? errno : 0;
        if (failed == 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0)
            failed = errno == EINPROGRESS ? await_connected(fd, timeout_ms, w) : errno;
        if (failed == 0)
            *ret_fd = fd;
        else if (fd >= 0)
            close(fd);
    }
    freeaddrinfo(found);
    return failed == 0 ? CBT_OK : cbt_err_set(err, CBT_EIO, "cannot connect: %s", strerror(failed));
}
