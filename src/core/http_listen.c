/* SPDX-License-Identifier: MIT */
/* The address of the HTTP listener: read, bound, and explained where it cannot be had. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cbtap/log.h"
#include "core/http_internal.h"

#define HOST_BYTES        256
#define SEND_BUFFER_BYTES 131072

/* Splits HOST:PORT or [HOST]:PORT. */
static int split(const char *address, char *ret_host, char ret_port[6], struct cbt_err *err)
{
    static const char form[] = "write HOST:PORT, for instance 127.0.0.1:9464 or [::1]:9464";
    bool bracket = address[0] == '[';
    const char *host = address + bracket;
    const char *end = bracket ? strchr(address, ']') : strrchr(address, ':');
    if (end == NULL || (bracket && end[1] != ':'))
        return cbt_err_set(err, CBT_EINVAL, "http_listen '%s': no port: %s", address, form);
    const char *port = end + 1 + bracket;
    size_t host_len = (size_t)(end - host);
    if (host_len == 0)
        return cbt_err_set(err, CBT_EINVAL,
                           "http_listen '%s': no host: write 127.0.0.1%s, or 0.0.0.0%s for all addresses",
                           address, address, address);
    if (!bracket && memchr(host, ':', host_len) != NULL)
        return cbt_err_set(err, CBT_EINVAL, "http_listen '%s': an IPv6 address goes in brackets: [%.*s]:%s",
                           address, (int)host_len, host, port);
    if (host_len >= HOST_BYTES)
        return cbt_err_set(err, CBT_EINVAL, "http_listen: the host is longer than %d bytes", HOST_BYTES - 1);
    size_t digits = strspn(port, "0123456789");
    if (digits == 0 || digits > 5 || port[digits] != '\0' || strtoul(port, NULL, 10) > 65535)
        return cbt_err_set(err, CBT_EINVAL, "http_listen '%s': '%s' is not a port (0 to 65535): %s", address,
                           port, form);
    memcpy(ret_host, host, host_len);
    ret_host[host_len] = '\0';
    memcpy(ret_port, port, digits + 1);
    return 0;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
    return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

static int bind_failed(const char *address, const char *port, int reason, struct cbt_err *err)
{
    switch (reason) {
    case EADDRINUSE:
        return cbt_err_set(
            err, CBT_EIO,
            "http_listen %s: the address is in use, by another cbtap or another program ('ss -ltnp "
            "sport = :%s' names it): end that one, or set cbtap.http_listen to a free port, to "
            "port 0 for any free one, or to nothing for no listener",
            address, port);
    case EACCES:
        return cbt_err_set(
            err, CBT_EIO,
            "http_listen %s: no permission: ports below 1024 need CAP_NET_BIND_SERVICE; choose a "
            "higher one",
            address);
    case EADDRNOTAVAIL:
        return cbt_err_set(err, CBT_EIO, "http_listen %s: this machine does not have the address", address);
    default:
        return cbt_err_set(err, CBT_EIO, "http_listen %s: %s", address, strerror(reason));
    }
}

static int open_socket(const struct addrinfo *at, int backlog)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    /* A restart must not wait for connections of the one before to time out. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    /* Connections inherit it: what a client that does not read can hold in the kernel. */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_BUFFER_BYTES}, sizeof(int));
    if (at->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, backlog) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int cbt_http_listen(const char *address, int backlog, int *ret_fd, unsigned *ret_port, struct cbt_err *err)
{
    char host[HOST_BYTES], port[6];
    int rc = split(address, host, port, err);
    if (rc != 0)
        return rc;
    const struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(host, port, &hints, &found);
    if (failed != 0)
        return cbt_err_set(err, CBT_EIO, "http_listen %s: cannot find the address of '%s': %s", address, host,
                           gai_strerror(failed));
    int fd = open_socket(found, backlog);
    int reason = errno;
    bool loopback = is_loopback(found->ai_addr);
    freeaddrinfo(found);
    if (fd < 0)
        return bind_failed(address, port, reason, err);
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound = {0};
    socklen_t len = sizeof(bound);
    if (getsockname(fd, &bound.any, &len) != 0) {
        rc = cbt_err_set(err, CBT_EIO, "http_listen %s: %s", address, strerror(errno));
        close(fd);
        return rc;
    }
    if (!loopback)
        cbt_log_warning("metrics and status page are open to the network, without a password",
                        CBT_S("http_listen", address));
    *ret_fd = fd;
    *ret_port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
    return 0;
}
