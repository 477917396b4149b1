/* SPDX-License-Identifier: MIT */
/* The TCP sink against peers in this process: framing, acknowledgement, connections that break or stall, TLS.
 */
#include "writer_bed.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include "sink/stream.h"

#define SMALL_BYTES 8192

struct peer {
    int listener, fd;
    char address[32];
    char *data;
    size_t len, size;
};

static void set_timeout(int fd)
{
    const struct timeval limit = {.tv_sec = BED_WAIT_MS / 1000};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
}

static struct peer *peer_new(void)
{
    struct peer *peer = calloc(1, sizeof(*peer));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int small = SMALL_BYTES;
    assert_non_null(peer);
    peer->listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(peer->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    assert_int_equal(bind(peer->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(peer->listener, (struct sockaddr *)&address, &len), 0);
    snprintf(peer->address, sizeof(peer->address), "127.0.0.1:%d", ntohs(address.sin_port));
    peer->fd = -1;
    set_timeout(peer->listener);
    return peer;
}

static void peer_accept(struct peer *peer)
{
    peer->fd = accept(peer->listener, NULL, NULL);
    if (peer->fd < 0)
        fail_msg("nobody connects: %s", strerror(errno));
    set_timeout(peer->fd);
    peer->len = 0;
}

static struct peer *peer_listening(void)
{
    struct peer *peer = peer_new();
    assert_int_equal(listen(peer->listener, 5), 0);
    return peer;
}

/* False at the end of the connection. */
static bool peer_read(struct peer *peer)
{
    if (peer->size - peer->len < 65536) {
        peer->size = 2 * peer->size + 65536;
        peer->data = realloc(peer->data, peer->size);
        assert_non_null(peer->data);
    }
    ssize_t n = recv(peer->fd, peer->data + peer->len, 65536, 0);
    if (n < 0 && errno == EAGAIN)
        fail_msg("nothing comes after %zu bytes", peer->len);
    peer->len += n > 0 ? (size_t)n : 0;
    return n > 0;
}

static void peer_read_bytes(struct peer *peer, size_t bytes)
{
    while (peer->len < bytes)
        if (!peer_read(peer))
            fail_msg("the connection ends after %zu of %zu bytes", peer->len, bytes);
}

static void peer_hang_up(struct peer *peer, bool reset)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (reset)
        setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(peer->fd);
    peer->fd = -1;
}

static void peer_free(struct peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    close(peer->listener);
    free(peer->data);
    free(peer);
}

static size_t whole_lines(const struct peer *peer)
{
    size_t len = peer->len;
    while (len > 0 && peer->data[len - 1] != '\n')
        len--;
    return len;
}

static struct bed *new_bed(const struct peer *peer, const char *framing)
{
    struct bed *bed = bed_new("tcp");
    bed->config.tcp = (struct cbt_options_tcp){.type = "tcp",
                                               .address = peer->address,
                                               .framing = framing,
                                               .format = "json",
                                               .json_profile = "documented",
                                               .dead_letter_dir = bed->dead,
                                               .queue_records = 65536,
                                               .delivered = "acknowledged",
                                               .connect_timeout_ms = 5000,
                                               .write_timeout_ms = 30000,
                                               .tls_ca = "",
                                               .tls_cert = "",
                                               .tls_key = "",
                                               .tls_server_name = "",
                                               .tls_verify = true};
    return bed;
}

static void lines_arrive_in_order(void **state)
{
    (void)state;
    struct peer *peer = peer_listening();
    struct bed *bed = new_bed(peer, "newline");
    struct bed_frame *frames[20];
    struct bed_found found = {0};
    bed_open(bed);
    for (unsigned i = 0; i < 20; i++) {
        frames[i] = bed_frame_new(100, (int)(i % 3), i / 3 * 100, 200);
        bed_submit(bed, frames[i]);
    }
    peer_accept(peer);
    peer_read_bytes(peer, (size_t)2000 * 201);
    bed_await_settled(bed, 20);
    bed_judge_lines(&found, peer->data, peer->len);
    assert_int_equal(found.records, 2000);
    assert_int_equal(found.duplicates + found.broken, 0);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), 2000);
    assert_true(bed_ready(bed));
    bed_free(bed);
    peer_free(peer);
    for (unsigned i = 0; i < 20; i++)
        bed_frame_free(frames[i]);
}

static void octets_are_counted(void **state)
{
    (void)state;
    struct peer *peer = peer_listening();
    struct bed *bed = new_bed(peer, "octet");
    struct bed_frame *frame = bed_frame_new(700, 1, 0, 1005);
    struct bed_found found = {0};
    bed_open(bed);
    bed_submit(bed, frame);
    peer_accept(peer);
    peer_read_bytes(peer, (size_t)700 * (5 + 1005));
    bed_await_settled(bed, 1);
    for (size_t at = 0; at < peer->len;) {
        char *end;
        unsigned long len = strtoul(peer->data + at, &end, 10);
        assert_int_equal(*end, ' ');
        at = (size_t)(end + 1 - peer->data);
        assert_true(at + len <= peer->len);
        bed_judge(&found, peer->data + at, len);
        at += len;
    }
    assert_int_equal(found.records, 700);
    assert_int_equal(found.duplicates + found.broken, 0);
    bed_free(bed);
    peer_free(peer);
    bed_frame_free(frame);
}

/* What the kernel took of a peer that does not read is not delivered. */
static void what_is_not_acknowledged_is_not_settled(void **state)
{
    (void)state;
    struct peer *peer = peer_listening();
    struct bed *bed = new_bed(peer, "newline");
    struct bed_frame *frame = bed_frame_new(200, 1, 0, 1000);
    struct bed_found found = {0};
    bed_open(bed);
    peer_accept(peer);
    bed_submit(bed, frame);
    /* All of it is sent, as the kernel sees it, or its buffers are full. */
    struct cbt_err err = {0};
    assert_int_equal(bed->sink->drain(bed->self, 300, &err), CBT_ELIMIT);
    assert_true(bed_nothing_settled(bed));
    peer_read_bytes(peer, (size_t)200 * 1001);
    bed_await_settled(bed, 1);
    bed_judge_lines(&found, peer->data, peer->len);
    assert_int_equal(found.records, 200);
    assert_int_equal(found.duplicates + found.broken, 0);
    bed_free(bed);
    peer_free(peer);
    bed_frame_free(frame);
}

/* Ends in the middle: the second connection begins with a whole record, and nothing is missing over both. */
/* Of 1,000 bytes each: no kernel's buffers hold 16 MB of a connection. */
#define MORE_THAN_BUFFERS 16000

static void a_connection_that_ends_is_made_anew(void **state)
{
    (void)state;
    struct peer *peer = peer_listening();
    struct bed *bed = new_bed(peer, "newline");
    struct bed_frame *frame = bed_frame_new(MORE_THAN_BUFFERS, 1, 0, 1000);
    struct bed_found found = {0};
    bed_open(bed);
    bed_submit(bed, frame);
    peer_accept(peer);
    peer_read_bytes(peer, 100500);
    assert_int_equal(shutdown(peer->fd, SHUT_WR), 0);
    /* Once it has begun another connection, nothing more is written to this one. */
    assert_int_equal(poll(&(struct pollfd){.fd = peer->listener, .events = POLLIN}, 1, BED_WAIT_MS), 1);
    while (peer_read(peer))
        ;
    bed_judge_lines(&found, peer->data, whole_lines(peer));
    assert_true(found.next[1] < MORE_THAN_BUFFERS);
    peer_hang_up(peer, false);
    peer_accept(peer);
    while (found.next[1] < MORE_THAN_BUFFERS) {
        assert_true(peer_read(peer));
        size_t whole = whole_lines(peer);
        bed_judge_lines(&found, peer->data, whole);
        memmove(peer->data, peer->data + whole, peer->len - whole);
        peer->len -= whole;
    }
    bed_await_settled(bed, 1);
    assert_int_equal(found.broken, 0);
    assert_true(found.records >= MORE_THAN_BUFFERS);
    bed_free(bed);
    peer_free(peer);
    bed_frame_free(frame);
}

/* A reset: what the peer's TCP had acknowledged and its program had not read is gone, nothing else. */
static void what_a_reset_connection_did_not_acknowledge_comes_again(void **state)
{
    (void)state;
    struct peer *peer = peer_listening();
    struct bed *bed = new_bed(peer, "newline");
    struct bed_frame *frames[500];
    struct bed_found found = {0};
    char *end;
    bed_open(bed);
    for (unsigned i = 0; i < 500; i++) {
        frames[i] = bed_frame_new(4, 1, 4 * i, 1000);
        bed_submit(bed, frames[i]);
    }
    peer_accept(peer);
    peer_read_bytes(peer, 50000);
    BED_AWAIT(bed_counter(bed, CBT_COUNT_delivered_records) >= 40);
    peer_hang_up(peer, true);
    peer_accept(peer);
    peer_read_bytes(peer, 1001);
    assert_int_equal(strtoul(peer->data, &end, 10), 1);
    size_t first = strtoul(end, NULL, 10);
    assert_true(first >= 40 && first < 2000);
    peer_read_bytes(peer, (2000 - first) * 1001);
    found.next[1] = (unsigned)first;
    bed_judge_lines(&found, peer->data, peer->len);
    assert_int_equal(found.records, 2000 - first);
    assert_int_equal(found.duplicates + found.broken, 0);
    bed_await_settled(bed, 500);
    bed_free(bed);
    peer_free(peer);
    for (unsigned i = 0; i < 500; i++)
        bed_frame_free(frames[i]);
}

static void a_peer_that_takes_nothing_is_left(void **state)
{
    (void)state;
    struct peer *peer = peer_listening();
    struct bed *bed = new_bed(peer, "newline");
    struct bed_frame *frame = bed_frame_new(8000, 1, 0, 1000);
    bed->config.tcp.write_timeout_ms = 100;
    bed_open(bed);
    peer_accept(peer);
    int stalled = peer->fd;
    bed_submit(bed, frame);
    peer_accept(peer); /* the next connection */
    close(stalled);
    assert_true(bed_nothing_settled(bed));
    bed_free(bed);
    peer_free(peer);
    bed_frame_free(frame);
}

static void a_peer_that_is_absent_is_waited_for(void **state)
{
    (void)state;
    struct peer *peer = peer_new(); /* bound, but not listening: refused */
    struct bed *bed = new_bed(peer, "newline");
    struct bed_frame *frame = bed_frame_new(10, 1, 0, 100);
    char reason[512] = "";
    bed_open(bed);
    bed_submit(bed, frame);
    BED_AWAIT(!bed->sink->ready(bed->self, reason, sizeof(reason)) && strstr(reason, "refused") != NULL);
    assert_int_equal(listen(peer->listener, 5), 0);
    peer_accept(peer);
    peer_read_bytes(peer, 10 * 101);
    bed_await_settled(bed, 1);
    BED_AWAIT(bed_ready(bed));
    bed_free(bed);
    peer_free(peer);
    bed_frame_free(frame);
}

/* ---- TLS ---- */

struct tls_peer {
    struct peer *peer;
    SSL_CTX *context;
    size_t want;
    bool refused; /* the handshake failed */
};

static void *tls_serve(void *arg)
{
    struct tls_peer *t = arg;
    struct peer *peer = t->peer;
    peer_accept(peer);
    SSL *ssl = SSL_new(t->context);
    SSL_set_fd(ssl, peer->fd);
    t->refused = SSL_accept(ssl) != 1;
    while (!t->refused && peer->len < t->want) {
        int n = SSL_read(ssl, peer->data + peer->len, (int)(t->want - peer->len));
        if (n <= 0)
            break;
        peer->len += (size_t)n;
    }
    SSL_free(ssl);
    return NULL;
}

static void make_certificate(const struct bed *bed, struct tls_peer *t, char ret_path[128])
{
    char command[512], key[128];
    snprintf(ret_path, 128, "%s/cert.pem", bed->dir);
    snprintf(key, sizeof(key), "%s/key.pem", bed->dir);
    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=peer "
             "-addext subjectAltName=IP:127.0.0.1 -keyout %s -out %s 2>/dev/null",
             key, ret_path);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): names made here */
    t->context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate_file(t->context, ret_path, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(t->context, key, SSL_FILETYPE_PEM), 1);
}

static void tls_carries_lines(void **state)
{
    (void)state;
    struct tls_peer t = {.peer = peer_listening(), .want = (size_t)3000 * 1001};
    struct bed *bed = new_bed(t.peer, "newline");
    struct bed_frame *frame = bed_frame_new(3000, 1, 0, 1000);
    struct bed_found found = {0};
    char path[128];
    pthread_t thread;
    make_certificate(bed, &t, path);
    t.peer->data = malloc(t.want);
    bed->config.tcp.tls = true;
    bed->config.tcp.tls_ca = path;
    bed_open(bed);
    bed_submit(bed, frame);
    assert_int_equal(pthread_create(&thread, NULL, tls_serve, &t), 0);
    pthread_join(thread, NULL);
    assert_false(t.refused);
    assert_int_equal(t.peer->len, t.want);
    bed_await_settled(bed, 1);
    bed_judge_lines(&found, t.peer->data, t.peer->len);
    assert_int_equal(found.records, 3000);
    assert_int_equal(found.duplicates + found.broken, 0);
    bed_free(bed);
    peer_free(t.peer);
    SSL_CTX_free(t.context);
    bed_frame_free(frame);
}

static void nothing_is_sent_to_a_peer_that_is_not_trusted(void **state)
{
    (void)state;
    static const char *const names[] = {"", "other.example"};
    for (size_t i = 0; i < 2; i++) {
        struct tls_peer t = {.peer = peer_listening(), .want = 1000};
        struct bed *bed = new_bed(t.peer, "newline");
        struct bed_frame *frame = bed_frame_new(1, 1, 0, 100);
        char path[128], reason[512] = "";
        pthread_t thread;
        make_certificate(bed, &t, path);
        t.peer->data = malloc(t.want);
        bed->config.tcp.tls = true;
        bed->config.tcp.tls_ca = i == 0 ? "" : path; /* the system's know it not; or another name */
        bed->config.tcp.tls_server_name = names[i];
        bed_open(bed);
        bed_submit(bed, frame);
        assert_int_equal(pthread_create(&thread, NULL, tls_serve, &t), 0);
        pthread_join(thread, NULL);
        assert_int_equal(t.peer->len, 0);
        BED_AWAIT(!bed->sink->ready(bed->self, reason, sizeof(reason)) &&
                  strstr(reason, "not trusted") != NULL);
        assert_true(bed_nothing_settled(bed));
        bed_free(bed);
        peer_free(t.peer);
        SSL_CTX_free(t.context);
        bed_frame_free(frame);
    }
}

static void addresses(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",        "host", "host:",       ":1",   "h:0",
                                        "h:65536", "h:1x", "fd00::1:514", "[]:1", "h:123456"};
    struct endpoint e;
    struct cbt_err err;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(endpoint_parse(&e, wrong[i], &err), CBT_EINVAL);
    assert_int_equal(endpoint_parse(&e, "[fd00::1]:514", &err), 0);
    assert_string_equal(e.host, "fd00::1");
    assert_string_equal(e.port, "514");
    assert_int_equal(endpoint_parse(&e, "syslog.example:65535", &err), 0);
    assert_string_equal(e.host, "syslog.example");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_arrive_in_order),
        cmocka_unit_test(octets_are_counted),
        cmocka_unit_test(what_is_not_acknowledged_is_not_settled),
        cmocka_unit_test(a_connection_that_ends_is_made_anew),
        cmocka_unit_test(what_a_reset_connection_did_not_acknowledge_comes_again),
        cmocka_unit_test(a_peer_that_takes_nothing_is_left),
        cmocka_unit_test(a_peer_that_is_absent_is_waited_for),
        cmocka_unit_test(tls_carries_lines),
        cmocka_unit_test(nothing_is_sent_to_a_peer_that_is_not_trusted),
        cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
