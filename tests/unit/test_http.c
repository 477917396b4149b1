/* SPDX-License-Identifier: MIT */
/* The HTTP listener against a raw socket: every path, every limit, and clients that mean no good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <yajl/yajl_tree.h>

#include "cbtap/clock.h"
#include "cbtap/http.h"
#include "core/http_internal.h"
#include "exposition.h"

#define PATIENCE_MS 20000 /* for what must come; only a failing test waits so long */
#define ANSWER_MAX  (8u << 20)

static struct cbt_options_cbtap options;
static struct cbt_metrics *metrics;
static struct cbt_http *http;
static const char *not_ready; /* NULL: ready */
static char answer[ANSWER_MAX];
static size_t answer_len;

static bool ready(void *arg, char *ret_reasons, size_t reasons_bytes)
{
    assert_ptr_equal(arg, &options);
    if (not_ready)
        snprintf(ret_reasons, reasons_bytes, "%s", not_ready);
    return not_ready == NULL;
}

static int start(struct cbt_err *err)
{
    const struct cbt_http_context context = {
        .options = &options, .metrics = metrics, .ready = ready, .arg = &options};
    return cbt_http_start(&http, &context, err);
}

static int set_up(void **state)
{
    (void)state;
    options = (struct cbt_options_cbtap){.http_listen = "127.0.0.1:0",
                                         .server_name = "cb\"server",
                                         .http_connections_max = 8,
                                         .http_request_max_bytes = 16384,
                                         .http_timeout_ms = 3600000};
    not_ready = NULL;
    return cbt_metrics_new(&metrics);
}

static int tear_down(void **state)
{
    (void)state;
    cbt_http_stop(http);
    http = NULL;
    cbt_metrics_free(metrics);
    return 0;
}

static void must_start(void)
{
    struct cbt_err err = {0};
    if (start(&err) != 0)
        fail_msg("%s", err.text);
    assert_in_range(cbt_http_port(http), 1, 65535);
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)cbt_http_port(http)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* True when something, or the end, can be read within the time. */
static bool readable(int fd, int timeout_ms)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, timeout_ms) == 1;
}

/* Reads to the end (closed or reset) into `answer`. */
static void read_to_end(int fd)
{
    answer_len = 0;
    for (;;) {
        assert_true(readable(fd, PATIENCE_MS));
        assert_true(answer_len < ANSWER_MAX - 1);
        ssize_t n = recv(fd, answer + answer_len, ANSWER_MAX - 1 - answer_len, 0);
        if (n <= 0)
            break;
        answer_len += (size_t)n;
    }
    answer[answer_len] = '\0';
}

static void send_text(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* closed on us: the answer says what the server made of it */
        text += n;
        len -= (size_t)n;
    }
}

/* One request on a connection of its own; its status, 0 where there was no answer. */
static int ask(const char *request)
{
    int fd = dial();
    send_text(fd, request, strlen(request));
    read_to_end(fd);
    close(fd);
    return strncmp(answer, "HTTP/1.", 7) == 0 && answer_len > 12 ? (int)strtol(answer + 9, NULL, 10) : 0;
}

static int get(const char *path)
{
    char request[512];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    return ask(request);
}

static char *body(void)
{
    char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

/* A header of the answer, "" where it is not there; valid until the next call. */
static const char *header(const char *name)
{
    static char value[1024];
    char line[80];
    value[0] = '\0';
    snprintf(line, sizeof(line), "\r\n%s: ", name);
    char *at = strcasestr(answer, line);
    if (at && at < body())
        snprintf(value, sizeof(value), "%.*s", (int)strcspn(at + strlen(line), "\r"), at + strlen(line));
    return value;
}

static void each_path_answers_with_its_type_and_the_safe_headers(void **state)
{
    (void)state;
    must_start();
    static const char *const pages[][2] = {
        {"/", "text/html; charset=utf-8"},
        {"/status.json", "application/json"},
        {"/metrics", "text/plain; version=0.0.4; charset=utf-8"},
        {"/metrics?a=b", "text/plain; version=0.0.4; charset=utf-8"},
        {"/healthz", "text/plain; charset=utf-8"},
        {"/readyz", "text/plain; charset=utf-8"},
    };
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        assert_int_equal(get(pages[i][0]), 200);
        assert_string_equal(header("Content-Type"), pages[i][1]);
        assert_string_equal(header("X-Content-Type-Options"), "nosniff");
        assert_string_equal(header("Cache-Control"), "no-store");
        assert_string_equal(header("Connection"), "close");
        assert_non_null(strstr(header("Content-Security-Policy"), "default-src 'none'"));
        assert_int_equal(strtoul(header("Content-Length"), NULL, 10), strlen(body()));
        assert_true(strlen(body()) > 0);
    }
    assert_int_equal(get("/healthz"), 200);
    assert_string_equal(body(), "ok\n");
    assert_int_equal(get("/readyz"), 200);
    assert_string_equal(body(), "ready\n");
}

static void metrics_are_valid(void **state)
{
    (void)state;
    assert_non_null(cbt_metrics_add(metrics, CBT_STATS_SOURCE, "rx-bus-0", "bus"));
    must_start();
    assert_int_equal(get("/metrics"), 200);
    struct exposition *page = calloc(1, sizeof(*page));
    assert_non_null(page);
    if (!exposition_parse(page, body(), strlen(body())))
        fail_msg("%s", page->error);
    assert_non_null(exposition_find(page, "cbtap_source_received_frames_total", "source=\"bus\""));
    free(page);
}

static void the_page_runs_no_script_but_its_own(void **state)
{
    (void)state;
    must_start();
    char nonces[2][64] = {"", ""};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(get("/"), 200);
        assert_null(strstr(body(), "@NONCE@"));
        const char *policy = header("Content-Security-Policy");
        assert_null(strstr(policy, "unsafe"));
        const char *at = strstr(policy, "script-src 'nonce-");
        assert_non_null(at);
        assert_int_equal(sscanf(at, "script-src 'nonce-%40[0-9a-f]'", nonces[i]), 1);
        assert_int_equal(strlen(nonces[i]), 32);
        char tag[160];
        snprintf(tag, sizeof(tag), "<script nonce=\"%s\">", nonces[i]);
        assert_non_null(strstr(body(), tag));
        /* Nothing from elsewhere. */
        assert_null(strstr(body(), "src=\"http"));
        assert_null(strstr(body(), "@import"));
    }
    assert_string_not_equal(nonces[0], nonces[1]);
}

static void status_names_the_server_and_why_it_is_not_ready(void **state)
{
    (void)state;
    not_ready = "source bus (rx-bus-0) is not connected\nsink kafka: no \"broker\"\n";
    must_start();
    assert_int_equal(get("/readyz"), 503);
    assert_string_equal(body(), not_ready);
    assert_int_equal(get("/status.json"), 200);
    char error[128] = "";
    yajl_val tree = yajl_tree_parse(body(), error, sizeof(error));
    if (!tree)
        fail_msg("%s", error);
    assert_string_equal(YAJL_GET_STRING(yajl_tree_get(tree, (const char *[]){"server", NULL}, yajl_t_string)),
                        "cb\"server");
    assert_true(YAJL_IS_FALSE(yajl_tree_get(tree, (const char *[]){"ready", NULL}, yajl_t_any)));
    yajl_val reasons = yajl_tree_get(tree, (const char *[]){"reasons", NULL}, yajl_t_array);
    assert_int_equal(reasons->u.array.len, 2);
    assert_string_equal(YAJL_GET_STRING(reasons->u.array.values[1]), "sink kafka: no \"broker\"");
    yajl_tree_free(tree);
}

static void a_stuck_thread_is_unhealthy(void **state)
{
    (void)state;
    struct cbt_stats *worker = cbt_metrics_add(metrics, CBT_STATS_WORKER, "worker-3", "");
    assert_non_null(worker);
    must_start();
    atomic_store(&worker->moved_ns, 1);
    atomic_store(&worker->has_work, 1);
    /* The clock counts from the machine's start: give it the past that it needs. */
    atomic_store(&worker->moved_ns, cbt_now_ns() - INT64_C(31000000000));
    assert_int_equal(get("/healthz"), 503);
    assert_non_null(strstr(body(), "worker-3"));
    atomic_store(&worker->moved_ns, cbt_now_ns());
    assert_int_equal(get("/healthz"), 200);
}

static void an_unknown_path_gets_the_list(void **state)
{
    (void)state;
    must_start();
    static const char *const paths[] = {"/x",         "/metrics/", "//", "/../etc/passwd", "/status.json%00",
                                        "/index.html"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(get(paths[i]), 404);
        assert_non_null(strstr(body(), "/metrics"));
        assert_non_null(strstr(body(), "/readyz"));
    }
}

static void head_has_the_length_and_no_body(void **state)
{
    (void)state;
    must_start();
    assert_int_equal(ask("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
    assert_true(strtoul(header("Content-Length"), NULL, 10) > 1000);
    assert_string_equal(body(), "");
}

static void other_methods_are_refused_without_reading_a_body(void **state)
{
    (void)state;
    must_start();
    static const char *const requests[] = {
        "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "get / HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        assert_int_equal(ask(requests[i]), 405);
        assert_string_equal(header("Allow"), "GET, HEAD");
    }
    assert_int_equal(ask("GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"), 200);
}

static void a_connection_is_good_for_one_request(void **state)
{
    (void)state;
    must_start();
    assert_int_equal(ask("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
                         "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
                     200);
    assert_null(strstr(body(), "HTTP/1.1"));
}

static void huge_and_broken_requests_do_no_harm(void **state)
{
    (void)state;
    options.http_timeout_ms = 1000; /* some are taken for the beginning of a request */
    must_start();
    static char huge[300000];
    memset(huge, 'a', sizeof(huge));
    memcpy(huge, "GET /", 5);
    huge[sizeof(huge) - 1] = '\0';
    int status = ask(huge);
    assert_true(status == 0 || status == 414 || status == 431);
    static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\nX-Long: ";
    memset(huge, 'a', sizeof(huge));
    memcpy(huge, head, sizeof(head) - 1);
    huge[sizeof(huge) - 1] = '\0';
    status = ask(huge);
    assert_true(status == 0 || status == 431);
    for (size_t at = sizeof(head) - 1; at + 8 < sizeof(huge); at += 8)
        memcpy(huge + at, "\r\nab: cd", 8);
    status = ask(huge);
    assert_true(status == 0 || status == 431);

    static const struct {
        const char *bytes;
        size_t len;
    } broken[] = {{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 15},
                  {"GET /\0/metrics HTTP/1.1\r\nHost: a\r\n\r\n", 37},
                  {"\r\n\r\n\r\n\r\n", 8},
                  {"GET\r\n\r\n", 7},
                  {"GET / HTTP/9.9\r\n\r\n", 18},
                  {"GET / HTTP/1.1\r\n: :\r\n\r\n", 23}};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        int fd = dial();
        send_text(fd, broken[i].bytes, broken[i].len);
        shutdown(fd, SHUT_WR);
        read_to_end(fd);
        close(fd);
    }
    assert_int_equal(get("/healthz"), 200);
}

static void a_silent_client_is_cut_in_time(void **state)
{
    (void)state;
    options.http_timeout_ms = 300;
    must_start();
    int64_t start_ns = cbt_now_ns(); /* the server's time begins with the connection */
    int fd = dial();
    read_to_end(fd);
    int64_t took_ms = (cbt_now_ns() - start_ns) / 1000000;
    close(fd);
    assert_int_equal(answer_len, 0);
    assert_in_range(took_ms, 250, PATIENCE_MS / 2);
}

static void a_client_that_trickles_is_cut_all_the_same(void **state)
{
    (void)state;
    options.http_timeout_ms = 500;
    must_start();
    int fd = dial();
    int64_t start_ns = cbt_now_ns();
    send_text(fd, "GET / HTTP/1.1\r\nX: ", 19);
    /* A byte each 20 ms, until there is an end to read. */
    while (!readable(fd, 20)) {
        assert_true((cbt_now_ns() - start_ns) / 1000000 < PATIENCE_MS);
        send_text(fd, "x", 1);
    }
    read_to_end(fd);
    close(fd);
    assert_int_equal(answer_len, 0);
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static void wait_for_descriptors(unsigned count)
{
    int64_t start_ns = cbt_now_ns();
    while (open_descriptors() != count) {
        assert_true((cbt_now_ns() - start_ns) / 1000000 < PATIENCE_MS);
        sched_yield();
    }
}

static double read_zero(void *arg)
{
    (void)arg;
    return 0;
}

static void a_client_that_does_not_read_is_cut(void **state)
{
    (void)state;
    /* More than the socket's buffers take, so that the server has to wait for the client. */
    struct cbt_gauge gauge = {.name = "cbtap_ring_used_ratio", .read = read_zero};
    for (unsigned i = 0; i < 4000; i++) {
        snprintf(gauge.label, sizeof(gauge.label), "%080u", i);
        assert_int_equal(cbt_metrics_add_gauge(metrics, &gauge), 0);
    }
    options.http_timeout_ms = 700;
    must_start();
    unsigned before = open_descriptors();
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int)), 0);
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)cbt_http_port(http)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int64_t start_ns = cbt_now_ns(); /* the server's time begins with the connection */
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
    send_text(fd, request, sizeof(request) - 1);
    /* The server's own descriptor of the connection comes, and goes. */
    wait_for_descriptors(before + 2);
    wait_for_descriptors(before + 1);
    assert_true((cbt_now_ns() - start_ns) / 1000000 >= 500);
    read_to_end(fd);
    close(fd);
    assert_true(answer_len < strtoul(header("Content-Length"), NULL, 10));
}

static void connections_over_the_limit_are_closed_at_once(void **state)
{
    (void)state;
    options.http_connections_max = 3;
    options.http_timeout_ms = 3600000;
    must_start();
    int held[3];
    for (unsigned i = 0; i < 3; i++)
        held[i] = dial();
    /* Accepted in order, so the first three have the places. */
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(get("/healthz"), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_false(readable(held[i], 0));
    close(held[1]);
    int64_t start_ns = cbt_now_ns();
    while (get("/healthz") != 200)
        assert_true((cbt_now_ns() - start_ns) / 1000000 < PATIENCE_MS);
    static const char request[] = "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n";
    send_text(held[2], request, sizeof(request) - 1);
    read_to_end(held[2]);
    assert_string_equal(body(), "ready\n");
    close(held[0]);
    close(held[2]);
}

/* Slowloris: as many connections as there may be, and more, that begin a request and never end it. */
static void idle_clients_do_not_keep_others_out(void **state)
{
    (void)state;
    enum { IDLE = 40 };
    options.http_connections_max = 4;
    options.http_timeout_ms = 20000;
    must_start();
    int held[IDLE];
    int64_t start_ns = cbt_now_ns();
    for (unsigned i = 0; i < IDLE; i++) {
        held[i] = dial();
        send(held[i], "GET /", 5, MSG_NOSIGNAL);
    }
    /* Long before the first of them is out of time. */
    while (get("/healthz") != 200)
        assert_true((cbt_now_ns() - start_ns) / 1000000 < 16000);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(get("/metrics"), 200);
    for (unsigned i = 0; i < IDLE; i++)
        close(held[i]);
}

static void the_size_of_a_request_is_an_option(void **state)
{
    (void)state;
    static char request[12000];
    static const char head[] = "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: ";
    memset(request, 'a', sizeof(request));
    memcpy(request, head, sizeof(head) - 1);
    memcpy(request + sizeof(request) - 5, "\r\n\r\n", 5);
    must_start();
    assert_int_equal(ask(request), 200);
    cbt_http_stop(http);
    http = NULL;
    options.http_request_max_bytes = 4096;
    must_start();
    int status = ask(request);
    assert_true(status == 0 || status == 431);
    assert_int_equal(get("/metrics"), 200);
}

static void it_stops_amid_connections_and_starts_again_at_once(void **state)
{
    (void)state;
    unsigned before = open_descriptors();
    must_start();
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%u", cbt_http_port(http));
    options.http_listen = address;
    for (unsigned round = 0; round < 5; round++) {
        int idle = dial();
        assert_int_equal(get("/metrics"), 200);
        cbt_http_stop(http);
        http = NULL;
        read_to_end(idle);
        close(idle);
        assert_int_equal(open_descriptors(), before);
        must_start();
    }
    assert_int_equal(get("/healthz"), 200);
}

static void an_address_in_use_says_what_to_do(void **state)
{
    (void)state;
    must_start();
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%u", cbt_http_port(http));
    struct cbt_http *first = http;
    options.http_listen = address;
    struct cbt_err err = {0};
    unsigned before = open_descriptors();
    assert_int_equal(start(&err), CBT_EIO);
    assert_ptr_equal(http, first);
    assert_int_equal(open_descriptors(), before);
    assert_non_null(strstr(err.text, address));
    assert_non_null(strstr(err.text, "in use"));
    assert_non_null(strstr(err.text, "cbtap.http_listen"));
}

static void an_address_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",           "127.0.0.1",    ":9464",     "::1:9464",    "[::1]",
        "[::1]9464",  "[::1:9464",    "[]:9464",   "localhost:",  "localhost:65536",
        "a:99999999", "localhost:1x", "a:+1",      "a: 1",        "127.0.0.1:-1",
        "a:0x10",     "9464",         "http://a/", "http://a:1/", "[::1]:"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct cbt_err err = {0};
        options.http_listen = wrong[i];
        int rc = start(&err);
        if (rc != CBT_EINVAL)
            fail_msg("'%s' gave %d %s", wrong[i], rc, err.text);
        assert_non_null(strstr(err.text, "http_listen"));
    }
    char host[400];
    memset(host, 'a', sizeof(host));
    memcpy(host + 300, ":1", 3);
    options.http_listen = host;
    struct cbt_err err = {0};
    assert_int_equal(start(&err), CBT_EINVAL);
    options.http_listen = "203.0.113.7:0"; /* TEST-NET-3: nobody's */
    assert_int_equal(start(&err), CBT_EIO);
    assert_non_null(strstr(err.text, "does not have the address"));
}

static void it_listens_on_ipv6(void **state)
{
    (void)state;
    options.http_listen = "[::1]:0";
    struct cbt_err err = {0};
    if (start(&err) != 0) {
        print_message("SKIPPED: no IPv6 loopback here: %s\n", err.text);
        skip();
    }
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    const struct sockaddr_in6 to = {.sin6_family = AF_INET6,
                                    .sin6_port = htons((uint16_t)cbt_http_port(http)),
                                    .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    static const char request[] = "GET /readyz HTTP/1.0\r\n\r\n";
    send_text(fd, request, sizeof(request) - 1);
    read_to_end(fd);
    close(fd);
    assert_string_equal(body(), "ready\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_path_answers_with_its_type_and_the_safe_headers),
        TEST(metrics_are_valid),
        TEST(the_page_runs_no_script_but_its_own),
        TEST(status_names_the_server_and_why_it_is_not_ready),
        TEST(a_stuck_thread_is_unhealthy),
        TEST(an_unknown_path_gets_the_list),
        TEST(head_has_the_length_and_no_body),
        TEST(other_methods_are_refused_without_reading_a_body),
        TEST(a_connection_is_good_for_one_request),
        TEST(huge_and_broken_requests_do_no_harm),
        TEST(a_silent_client_is_cut_in_time),
        TEST(a_client_that_trickles_is_cut_all_the_same),
        TEST(a_client_that_does_not_read_is_cut),
        TEST(connections_over_the_limit_are_closed_at_once),
        TEST(idle_clients_do_not_keep_others_out),
        TEST(the_size_of_a_request_is_an_option),
        TEST(it_stops_amid_connections_and_starts_again_at_once),
        TEST(an_address_in_use_says_what_to_do),
        TEST(an_address_that_is_none_is_refused),
        TEST(it_listens_on_ipv6),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
