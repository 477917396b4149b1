/* SPDX-License-Identifier: MIT */
/* The sinks udp and syslog: datagrams, what is too large, and the head of RFC 5424 to the byte. */
#include "writer_bed.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "sink/stream.h"

#define DATAGRAM_BYTES 65536

struct peer {
    int fd;
    char address[32];
    char data[DATAGRAM_BYTES + 1];
};

static struct peer *peer_new(int type)
{
    struct peer *peer = calloc(1, sizeof(*peer));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval limit = {.tv_sec = BED_WAIT_MS / 1000};
    const int large = 4 << 20;
    socklen_t len = sizeof(address);
    assert_non_null(peer);
    peer->fd = socket(AF_INET, type, 0);
    assert_int_equal(setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    setsockopt(peer->fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
    assert_int_equal(bind(peer->fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(peer->fd, (struct sockaddr *)&address, &len), 0);
    snprintf(peer->address, sizeof(peer->address), "127.0.0.1:%d", ntohs(address.sin_port));
    return peer;
}

static size_t peer_receive(struct peer *peer)
{
    ssize_t n = recv(peer->fd, peer->data, DATAGRAM_BYTES, 0);
    if (n <= 0)
        fail_msg("nothing comes");
    peer->data[n] = '\0';
    return (size_t)n;
}

static void peer_free(struct peer *peer)
{
    close(peer->fd);
    free(peer);
}

static struct bed *new_udp(const struct peer *peer, uint64_t max)
{
    struct bed *bed = bed_new("udp");
    bed->config.udp = (struct cbt_options_udp){.type = "udp",
                                               .address = peer->address,
                                               .datagram_max_bytes = max,
                                               .format = "json",
                                               .json_profile = "documented",
                                               .dead_letter_dir = bed->dead,
                                               .queue_records = 65536};
    return bed;
}

static struct bed *new_syslog(const struct peer *peer, const char *protocol, const char *framing)
{
    struct bed *bed = bed_new("syslog");
    bed->config.syslog = (struct cbt_options_syslog){.type = "syslog",
                                                     .protocol = protocol,
                                                     .address = peer->address,
                                                     .framing = framing,
                                                     .facility = "local7",
                                                     .severity = "notice",
                                                     .hostname = "",
                                                     .app_name = "an app",
                                                     .datagram_max_bytes = 65507,
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

static void a_datagram_for_each_event(void **state)
{
    (void)state;
    struct peer *peer = peer_new(SOCK_DGRAM);
    struct bed *bed = new_udp(peer, 65507);
    struct bed_found found = {0};
    bed_open(bed);
    /* In parts that fit into the peer's buffer, for UDP would lose the rest. */
    for (unsigned i = 0; i < 10; i++) {
        struct bed_frame *frame = bed_frame_new(100, 1, i * 100, 100);
        bed_submit(bed, frame);
        bed_await_settled(bed, i + 1);
        for (unsigned n = 0; n < 100; n++) {
            size_t len = peer_receive(peer);
            assert_int_equal(len, 100);
            bed_judge(&found, peer->data, len);
        }
        bed_frame_free(frame);
    }
    assert_int_equal(found.records, 1000);
    assert_int_equal(found.duplicates + found.broken, 0);
    bed_free(bed);
    peer_free(peer);
}

static void what_is_too_large_is_a_dead_letter(void **state)
{
    (void)state;
    struct peer *peer = peer_new(SOCK_DGRAM);
    struct bed *bed = new_udp(peer, 480);
    struct bed_frame *frames[3] = {bed_frame_new(1, 1, 0, 480), bed_frame_new(2, 1, 1, 481),
                                   bed_frame_new(1, 1, 1, 100)};
    struct bed_found found = {0};
    bed_open(bed);
    for (unsigned i = 0; i < 3; i++)
        bed_submit(bed, frames[i]);
    bed_await_settled(bed, 3);
    bed_judge(&found, peer->data, peer_receive(peer));
    bed_judge(&found, peer->data, peer_receive(peer));
    assert_int_equal(found.records, 2);
    assert_int_equal(bed_counter(bed, CBT_COUNT_stored_dead_letters), 2);
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), 2);
    assert_int_equal(bed_counter(bed, CBT_COUNT_settled_records), 4);
    assert_int_equal(atomic_load(&bed->stats.dead[CBT_DEAD_refused]), 2);
    bed_free(bed);
    peer_free(peer);
    for (unsigned i = 0; i < 3; i++)
        bed_frame_free(frames[i]);
}

static void nobody_who_listens_stops_nothing(void **state)
{
    (void)state;
    struct peer *peer = peer_new(SOCK_DGRAM);
    struct bed *bed = new_udp(peer, 65507);
    struct bed_frame *frames[20];
    close(peer->fd);
    bed_open(bed);
    for (unsigned i = 0; i < 20; i++) {
        frames[i] = bed_frame_new(1, 1, i, 100);
        bed_submit(bed, frames[i]);
        bed_await_settled(bed, i + 1);
    }
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), 20);
    bed_free(bed);
    peer->fd = -1;
    peer_free(peer);
    for (unsigned i = 0; i < 20; i++)
        bed_frame_free(frames[i]);
}

/* 23 * 8 + 5: local7, notice. */
static size_t expected_head(char *ret_text, size_t bytes, const char *time, const char *msgid)
{
    return (size_t)snprintf(ret_text, bytes, "<189>1 %s server.1 an_app %d %s - ", time, (int)getpid(),
                            msgid);
}

static void the_head_is_that_of_rfc_5424(void **state)
{
    (void)state;
    struct peer *peer = peer_new(SOCK_DGRAM);
    struct bed *bed = new_syslog(peer, "udp", "octet");
    struct bed_frame *frame = bed_frame_new(4, 1, 0, 60);
    static const char *const times[] = {"2020-09-13T12:26:40.123Z", "1970-01-01T00:00:01.005Z", "-",
                                        "2023-11-14T22:13:20.000Z"};
    static const char *const ids[] = {"ingress.event.procstart", "a_b_c", "-",
                                      "x23456789012345678901234567890_2"};
    char head[256];
    frame->records[1].unix_ms = 1005;
    frame->records[1].type_name = CBT_TEXT("a b\xff"
                                           "c");
    frame->records[2].unix_ms = INT64_MAX;
    frame->records[2].type_name = (struct cbt_text){NULL, 0};
    frame->records[3].unix_ms = 0; /* when it came */
    frame->records[3].type_name = CBT_TEXT("x23456789012345678901234567890\n2345");
    frame->frame.arrived_wall_ms = 1700000000000;
    bed_open(bed);
    bed_submit(bed, frame);
    bed_await_settled(bed, 1);
    for (unsigned i = 0; i < 4; i++) {
        size_t len = peer_receive(peer), head_len = expected_head(head, sizeof(head), times[i], ids[i]);
        assert_int_equal(len, head_len + 60);
        assert_memory_equal(peer->data, head, head_len);
        assert_memory_equal(peer->data + head_len, frame->records[i].value, 60);
    }
    bed_free(bed);
    peer_free(peer);
    bed_frame_free(frame);
}

static void tcp_counts_octets_or_ends_lines(void **state)
{
    (void)state;
    for (int octet = 0; octet < 2; octet++) {
        struct peer *peer = peer_new(SOCK_STREAM);
        struct bed *bed = new_syslog(peer, "tcp", octet ? "octet" : "newline");
        struct bed_frame *frame = bed_frame_new(2, 1, 0, 60);
        char head[256], expected[1024];
        size_t head_len =
            expected_head(head, sizeof(head), "2020-09-13T12:26:40.123Z", "ingress.event.procstart");
        int listener = peer->fd, len = 0;
        for (unsigned i = 0; i < 2; i++) {
            if (octet)
                len += snprintf(expected + len, sizeof(expected) - (size_t)len, "%zu ", head_len + 60);
            len += snprintf(expected + len, sizeof(expected) - (size_t)len, "%s%.60s%s", head,
                            (const char *)frame->records[i].value, octet ? "" : "\n");
        }
        assert_int_equal(listen(listener, 1), 0);
        bed_open(bed);
        bed_submit(bed, frame);
        peer->fd = accept(listener, NULL, NULL);
        assert_true(peer->fd >= 0);
        for (int got = 0; got < len;) {
            ssize_t n = recv(peer->fd, peer->data + got, (size_t)(len - got), 0);
            assert_true(n > 0);
            got += (int)n;
        }
        assert_memory_equal(peer->data, expected, (size_t)len);
        bed_await_settled(bed, 1);
        bed_free(bed);
        close(listener);
        peer_free(peer);
        bed_frame_free(frame);
    }
}

static void raw_is_refused(void **state)
{
    (void)state;
    struct peer *peer = peer_new(SOCK_DGRAM);
    struct bed *bed = new_syslog(peer, "tcp", "octet");
    struct cbt_err err = {0};
    bed->config.format = "raw";
    assert_int_equal(bed->sink->check(&bed->config, &bed->options, &err), CBT_EINVAL);
    assert_non_null(strstr(err.text, "a syslog message is text"));
    bed_free(bed);
    peer_free(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_datagram_for_each_event),
        cmocka_unit_test(what_is_too_large_is_a_dead_letter),
        cmocka_unit_test(nobody_who_listens_stops_nothing),
        cmocka_unit_test(the_head_is_that_of_rfc_5424),
        cmocka_unit_test(tcp_counts_octets_or_ends_lines),
        cmocka_unit_test(raw_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
