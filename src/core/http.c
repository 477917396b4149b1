/* SPDX-License-Identifier: MIT */
/*
 * The HTTP listener: one thread, libmicrohttpd driven by epoll. A connection is good for one request of
 * http_request_max_bytes and has http_timeout_ms for all of it, however busily it trickles. Of those beyond
 * http_connections_max the newest is closed at once, unless one has had a tenth of its time: then the oldest
 * gives way, so that idle clients do not keep a scrape out. So a client can take neither memory nor time from
 * the events.
 *
 * The thread owns libmicrohttpd's daemon and the list of connections; main starts and stops it. It reads the
 * counters of others and takes no lock that they know.
 */
#include "cbtap/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "core/http_internal.h"

#define NEVER_NS INT64_MAX
#define BACKLOG  128 /* where it is full, a client's next try is a second away, and then two, and four */

struct connection {
    int fd; /* -1: free */
    int64_t began_ns;
    bool cut; /* told to go: libmicrohttpd closes it in its next round */
};

struct cbt_http {
    struct cbt_http_context context;
    struct MHD_Daemon *daemon;
    int listen_fd, stop_fd, epoll_fd;
    unsigned port;
    bool started;
    pthread_t thread;
    unsigned connections_max, connections_used, connections_cut;
    unsigned slots;                 /* those that are served, and those that are being closed */
    struct connection *connections; /* [slots] */
};

/* libmicrohttpd's own words on single connections: a client's doing, so not for the ordinary log. */
static void log_mhd(void *arg, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));
static void log_mhd(void *arg, const char *fmt, va_list args)
{
    (void)arg;
    char text[256];
    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        return;
    text[strcspn(text, "\n")] = '\0';
    cbt_log_debug("http", CBT_S("libmicrohttpd", text));
}

/* No path needs %-escapes; left as they are, %00 cannot cut one short. */
static size_t keep_escapes(void *arg, struct MHD_Connection *connection, char *text)
{
    (void)arg;
    (void)connection;
    return strlen(text);
}

static int64_t timeout_ns(const struct cbt_http *http)
{
    return (int64_t)http->context.options->http_timeout_ms * 1000000;
}

/* libmicrohttpd sees the end of the stream and closes; the descriptor is not ours to close. */
static void cut(struct cbt_http *http, struct connection *entry)
{
    shutdown(entry->fd, SHUT_RDWR);
    entry->cut = true;
    http->connections_cut++;
}

/* A request that is honest is over long before a tenth of the time. */
static void make_room(struct cbt_http *http)
{
    struct connection *oldest = NULL;
    for (unsigned i = 0; i < http->slots; i++) {
        struct connection *entry = &http->connections[i];
        if (entry->fd >= 0 && !entry->cut && (!oldest || entry->began_ns < oldest->began_ns))
            oldest = entry;
    }
    if (oldest && cbt_now_ns() - oldest->began_ns >= timeout_ns(http) / 10)
        cut(http, oldest);
}

static enum MHD_Result may_connect(void *arg, const struct sockaddr *from, socklen_t from_bytes)
{
    (void)from;
    (void)from_bytes;
    struct cbt_http *http = arg;
    if (http->connections_used < http->slots &&
        http->connections_used - http->connections_cut >= http->connections_max)
        make_room(http);
    return http->connections_used < http->slots &&
                   http->connections_used - http->connections_cut < http->connections_max
               ? MHD_YES
               : MHD_NO;
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct cbt_http *http = arg;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        struct connection *entry = *socket_context;
        if (entry) {
            http->connections_cut -= entry->cut;
            http->connections_used--;
            *entry = (struct connection){.fd = -1};
        }
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    *socket_context = NULL;
    for (unsigned i = 0; info && i < http->slots; i++) {
        struct connection *entry = &http->connections[i];
        if (entry->fd >= 0)
            continue;
        entry->fd = info->connect_fd;
        entry->began_ns = cbt_now_ns();
        http->connections_used++;
        *socket_context = entry;
        return;
    }
}

static enum MHD_Result answer(struct MHD_Connection *connection, struct cbt_http_page *page)
{
    static const char *const headers[][2] = {
        /* One request a connection: nobody holds one for nothing. */
        {"Connection", "close"},
        {"Cache-Control", "no-store"},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
    };
    struct MHD_Response *response =
        MHD_create_response_from_buffer(page->len, page->body, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(page->body);
        return MHD_NO;
    }
    bool complete = MHD_add_response_header(response, "Content-Type", page->content_type) == MHD_YES &&
                    MHD_add_response_header(response, "Content-Security-Policy", page->policy) == MHD_YES;
    for (unsigned i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        complete = complete && MHD_add_response_header(response, headers[i][0], headers[i][1]) == MHD_YES;
    if (page->status == 405)
        complete = complete && MHD_add_response_header(response, "Allow", "GET, HEAD") == MHD_YES;
    enum MHD_Result result = complete ? MHD_queue_response(connection, page->status, response) : MHD_NO;
    MHD_destroy_response(response);
    return result;
}

/* Answers as soon as the head is there: a body is never read. MHD_NO closes the connection. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_bytes, void **request_context)
{
    (void)version;
    (void)upload;
    (void)upload_bytes;
    (void)request_context;
    const struct cbt_http *http = arg;
    struct cbt_http_page page = {0};
    if (strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0) {
        if (!cbt_http_page_make(&page, &http->context, url))
            return MHD_NO;
    } else {
        static const char text[] = "Only GET and HEAD.\n";
        page = (struct cbt_http_page){.status = 405,
                                      .content_type = "text/plain; charset=utf-8",
                                      .body = strdup(text),
                                      .len = sizeof(text) - 1,
                                      .policy = "default-src 'none'"};
        if (!page.body)
            return MHD_NO;
    }
    return answer(connection, &page);
}

/* Cuts connections whose time is over; milliseconds until the next one's is, -1 for none. */
static int cut_overdue(struct cbt_http *http)
{
    int64_t now = cbt_now_ns(), next = NEVER_NS;
    for (unsigned i = 0; http->connections_used > 0 && i < http->slots; i++) {
        struct connection *entry = &http->connections[i];
        if (entry->fd < 0 || entry->cut)
            continue;
        int64_t deadline_ns = entry->began_ns + timeout_ns(http);
        if (deadline_ns <= now)
            cut(http, entry);
        else if (deadline_ns < next)
            next = deadline_ns;
    }
    if (next == NEVER_NS)
        return -1;
    int64_t wait_ms = (next - now + 999999) / 1000000;
    return wait_ms < 60000 ? (int)wait_ms : 60000;
}

static void *serve(void *arg)
{
    struct cbt_http *http = arg;
    struct pollfd polled[] = {{.fd = http->epoll_fd, .events = POLLIN},
                              {.fd = http->stop_fd, .events = POLLIN}};
    while (polled[1].revents == 0) {
        int wait_ms = cut_overdue(http);
        MHD_UNSIGNED_LONG_LONG mhd_ms = 0;
        if (MHD_get_timeout(http->daemon, &mhd_ms) == MHD_YES && (wait_ms < 0 || mhd_ms < (unsigned)wait_ms))
            wait_ms = (int)mhd_ms;
        if (poll(polled, 2, wait_ms) < 0 && errno != EINTR) {
            cbt_log_error("http listener ends", CBT_S("reason", strerror(errno)));
            break;
        }
        MHD_run(http->daemon);
    }
    return NULL;
}

static int start_daemon(struct cbt_http *http, struct cbt_err *err)
{
    /* One more than are let in, so that may_connect is asked and says no at once, instead of a wait in the
     * backlog. */
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, may_connect, http, on_request, http, MHD_OPTION_EXTERNAL_LOGGER,
        log_mhd, NULL, MHD_OPTION_LISTEN_SOCKET, http->listen_fd, MHD_OPTION_CONNECTION_LIMIT,
        http->slots + 1, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)http->context.options->http_request_max_bytes, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        http, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_END);
    if (!http->daemon)
        return cbt_err_set(err, CBT_EIO, "libmicrohttpd cannot start");
    http->listen_fd = -1; /* libmicrohttpd's now */
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || info->epoll_fd < 0)
        return cbt_err_set(err, CBT_EIO, "libmicrohttpd gives no epoll descriptor");
    http->epoll_fd = info->epoll_fd;
    return 0;
}

static int start_thread(struct cbt_http *http, struct cbt_err *err)
{
    /* Signals are main's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&http->thread, NULL, serve, http);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return cbt_err_set(err, CBT_EIO, "cannot start the http thread: %s", strerror(failed));
    pthread_setname_np(http->thread, "http");
    http->started = true;
    return 0;
}

int cbt_http_start(struct cbt_http **ret_http, const struct cbt_http_context *context, struct cbt_err *err)
{
    struct cbt_http *http = calloc(1, sizeof(*http));
    if (!http)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the http listener");
    http->context = *context;
    http->listen_fd = -1;
    http->connections_max = (unsigned)context->options->http_connections_max;
    http->slots = 2 * http->connections_max;
    http->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    http->connections = calloc(http->slots, sizeof(*http->connections));
    int rc;
    if (http->stop_fd < 0) {
        rc = cbt_err_set(err, CBT_EIO, "http listener: eventfd: %s", strerror(errno));
        goto fail;
    }
    if (!http->connections) {
        rc = cbt_err_set(err, CBT_ENOMEM, "no memory for %u http connections", http->connections_max);
        goto fail;
    }
    for (unsigned i = 0; i < http->slots; i++)
        http->connections[i].fd = -1;
    rc = cbt_http_listen(context->options->http_listen, (int)http->connections_max + BACKLOG,
                         &http->listen_fd, &http->port, err);
    if (rc != 0 || (rc = start_daemon(http, err)) != 0 || (rc = start_thread(http, err)) != 0)
        goto fail;
    *ret_http = http;
    return 0;
fail:
    cbt_http_stop(http);
    return rc;
}

void cbt_http_stop(struct cbt_http *http)
{
    if (!http)
        return;
    if (http->started) {
        eventfd_write(http->stop_fd, 1);
        pthread_join(http->thread, NULL);
    }
    if (http->daemon)
        MHD_stop_daemon(http->daemon);
    if (http->listen_fd >= 0)
        close(http->listen_fd);
    if (http->stop_fd >= 0)
        close(http->stop_fd);
    free(http->connections);
    free(http);
}

unsigned cbt_http_port(const struct cbt_http *http)
{
    return http->port;
}
