/* SPDX-License-Identifier: MIT */
/*
 * The source against a broker of which this test is the other end of the socket: deliveries in any cut,
 * without budget, too large, malformed; what ends a connection; acknowledgements as they stand on the wire;
 * the side channel.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <amqp_tcp_socket.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "captured.h"
#include "ingest/source_amqp.h"

/* ---- the receiver ---- */

#define FRAMES_MAX 4096

struct cbt_receiver {
    struct cbt_stats stats;
    size_t frame_max_bytes;
    const char *dead_letter_dir;
    unsigned allowance; /* frames that may be taken */
    unsigned taken;
    struct cbt_frame *pushed[FRAMES_MAX];
    size_t pushed_count;
};

static struct cbt_receiver receiver;

struct owned_frame {
    struct cbt_frame frame;
    uint8_t *memory; /* body and texts, to the byte, so that the address sanitizer sees what goes beyond */
};

struct cbt_frame *cbt_receiver_take(struct cbt_receiver *r, size_t bytes)
{
    if (r->taken == r->allowance)
        return NULL;
    struct owned_frame *owned = calloc(1, sizeof(*owned));
    owned->memory = malloc(bytes);
    owned->frame.body = (struct cbt_text){owned->memory, bytes};
    r->taken++;
    return &owned->frame;
}

static void free_frame(struct cbt_frame *frame)
{
    struct owned_frame *owned = (struct owned_frame *)frame;
    free(owned->memory);
    free(owned);
}

void cbt_receiver_untake(struct cbt_receiver *r, struct cbt_frame *frame)
{
    r->taken--;
    free_frame(frame);
}

void cbt_receiver_push(struct cbt_receiver *r, struct cbt_frame *frame)
{
    assert_true(r->pushed_count < FRAMES_MAX);
    r->pushed[r->pushed_count++] = frame;
}

void cbt_receiver_drop(struct cbt_receiver *r, enum cbt_dropped_reason reason, size_t body_bytes)
{
    (void)r, (void)reason, (void)body_bytes;
    fail_msg("AMQP drops nothing");
}

struct cbt_stats *cbt_receiver_stats(struct cbt_receiver *r)
{
    return &r->stats;
}

const char *cbt_receiver_name(const struct cbt_receiver *r)
{
    (void)r;
    return "bus";
}

size_t cbt_receiver_frame_max_bytes(const struct cbt_receiver *r)
{
    return r->frame_max_bytes;
}

const char *cbt_receiver_dead_letter_dir(const struct cbt_receiver *r)
{
    return r->dead_letter_dir;
}

static uint64_t counter(enum cbt_counter id)
{
    return atomic_load(&receiver.stats.counters[id]);
}

/* ---- the broker ---- */

extern const struct cbt_source cbt_source_amqp;
static const struct cbt_source *const source = &cbt_source_amqp;

static struct cbt_amqp *self;
static int broker; /* its end of the socket */
static struct cbt_source_config config;

struct bytes {
    uint8_t data[1 << 20];
    size_t len;
};
static struct bytes wire; /* what the broker is going to send */

static void put(const void *data, size_t len)
{
    assert_true(wire.len + len <= sizeof(wire.data));
    if (len != 0)
        memcpy(wire.data + wire.len, data, len);
    wire.len += len;
}

static void put_int(uint64_t value, unsigned bytes)
{
    while (bytes-- > 0) {
        uint8_t byte = (uint8_t)(value >> (8 * bytes));
        put(&byte, 1);
    }
}

static void put_shortstr(const char *text)
{
    put_int(strlen(text), 1);
    put(text, strlen(text));
}

static size_t begin_frame(uint8_t type, uint16_t channel)
{
    put_int(type, 1);
    put_int(channel, 2);
    put_int(0, 4);
    return wire.len;
}

static void end_frame(size_t start)
{
    size_t len = wire.len - start;
    for (unsigned i = 0; i < 4; i++)
        wire.data[start - 4 + i] = (uint8_t)(len >> (8 * (3 - i)));
    put_int(0xCE, 1);
}

static size_t begin_method(uint16_t channel, uint32_t method)
{
    size_t start = begin_frame(AMQP_FRAME_METHOD, channel);
    put_int(method, 4);
    return start;
}

static void put_deliver(uint64_t tag, const char *exchange, const char *key)
{
    size_t start = begin_method(1, AMQP_BASIC_DELIVER_METHOD);
    put_shortstr("cbtap");
    put_int(tag, 8);
    put_int(tag % 2, 1); /* redelivered */
    put_shortstr(exchange);
    put_shortstr(key);
    end_frame(start);
}

/* Header values are given raw, with their kinds. */
static void put_header_frame(uint64_t body_bytes, const char *content_type, const void *headers,
                             size_t headers_len)
{
    size_t start = begin_frame(AMQP_FRAME_HEADER, 1);
    put_int(AMQP_BASIC_CLASS, 2);
    put_int(0, 2);
    put_int(body_bytes, 8);
    put_int((content_type != NULL ? AMQP_BASIC_CONTENT_TYPE_FLAG : 0) |
                (headers != NULL ? AMQP_BASIC_HEADERS_FLAG : 0),
            2);
    if (content_type != NULL)
        put_shortstr(content_type);
    if (headers != NULL) {
        put_int(headers_len, 4);
        put(headers, headers_len);
    }
    end_frame(start);
}

static void put_body(const void *data, size_t len)
{
    size_t start = begin_frame(AMQP_FRAME_BODY, 1);
    put(data, len);
    end_frame(start);
}

static void put_message(uint64_t tag, const char *exchange, const char *key, const char *content_type,
                        const char *body)
{
    put_deliver(tag, exchange, key);
    put_header_frame(strlen(body), content_type, NULL, 0);
    if (body[0] != '\0')
        put_body(body, strlen(body));
}

static void put_close(uint16_t channel, uint32_t method, uint16_t code, const char *text)
{
    size_t start = begin_method(channel, method);
    put_int(code, 2);
    put_shortstr(text);
    put_int(0, 4);
    end_frame(start);
}

static void send_wire(void)
{
    for (size_t sent = 0; sent < wire.len;) {
        ssize_t n = write(broker, wire.data + sent, wire.len - sent);
        assert_true(n > 0);
        sent += (size_t)n;
    }
    wire.len = 0;
}

/* The next method that the source has sent, and its arguments; false when there is none. */
static bool next_method(uint16_t *ret_channel, uint32_t *ret_method, struct bytes *ret_arguments)
{
    uint8_t head[7];
    if (recv(broker, head, sizeof(head), MSG_DONTWAIT) != sizeof(head))
        return false;
    uint32_t len = (uint32_t)head[3] << 24 | (uint32_t)head[4] << 16 | (uint32_t)head[5] << 8 | head[6];
    uint8_t payload[4096];
    assert_true(len < sizeof(payload));
    assert_int_equal(recv(broker, payload, len + 1, MSG_DONTWAIT), len + 1);
    assert_int_equal(payload[len], 0xCE);
    *ret_channel = (uint16_t)(head[1] << 8 | head[2]);
    *ret_method = head[0] == AMQP_FRAME_HEARTBEAT ? 0
                                                  : (uint32_t)payload[0] << 24 | (uint32_t)payload[1] << 16 |
                                                        (uint32_t)payload[2] << 8 | payload[3];
    ret_arguments->len = len < 4 ? 0 : len - 4;
    memcpy(ret_arguments->data, payload + 4, ret_arguments->len);
    return true;
}

/* The tag of the next basic.ack, 0 when none was sent. */
static uint64_t next_ack(void)
{
    static struct bytes arguments;
    uint16_t channel = 0;
    uint32_t method = 0;
    if (!next_method(&channel, &method, &arguments))
        return 0;
    assert_int_equal(method, AMQP_BASIC_ACK_METHOD);
    assert_int_equal(channel, 1);
    assert_int_equal(arguments.len, 9);
    assert_int_equal(arguments.data[8], 1); /* multiple */
    uint64_t tag = 0;
    for (int i = 0; i < 8; i++)
        tag = tag << 8 | arguments.data[i];
    return tag;
}

static void expect_method(uint16_t channel, uint32_t method)
{
    static struct bytes arguments;
    uint16_t got_channel = 0;
    uint32_t got_method = 0;
    assert_true(next_method(&got_channel, &got_method, &arguments));
    assert_int_equal(got_channel, channel);
    assert_int_equal(got_method, method);
}

/* ---- set up and tear down ---- */

/* What a connect leaves behind, without its talk. */
static void attach(void)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    int size = 1 << 20;
    assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
    broker = fds[1];
    self->conn = amqp_new_connection();
    assert_non_null(self->conn);
    amqp_tcp_socket_set_sockfd(amqp_tcp_socket_new(self->conn), fds[0]);
    self->broken = false;
    /* A broker's first frame is never an empty one (connection.start), which the library relies on. */
    struct cbt_err err;
    end_frame(begin_method(0, AMQP_CONNECTION_UNBLOCKED_METHOD));
    send_wire();
    assert_int_equal(source->read(self, 1, &err), 0);
}

static int set_up(void **state)
{
    (void)state;
    memset(&receiver, 0, sizeof(receiver));
    receiver.frame_max_bytes = 1 << 20;
    receiver.allowance = FRAMES_MAX;
    strcpy(receiver.stats.thread, "rx-bus-0");
    config = (struct cbt_source_config){
        .name = "bus",
        .type = "amqp",
        .amqp = {.url = "amqp://u:p@127.0.0.1:5004/%2F",
                 .cb_conf = "",
                 .queue = "cbtap",
                 .queue_declare = "true",
                 .queue_expires_ms = 86400000,
                 .raw = true,
                 .events = "watchlist.#,ingress.event.procstart",
                 .prefetch = 160,
                 .heartbeat_ms = 10000,
                 .connect_timeout_ms = 5000,
                 .sasl = "plain",
                 .tls_ca = "",
                 .tls_cert = "",
                 .tls_key = "",
                 .tls_server_name = "",
                 .tls_verify = true},
    };
    wire.len = 0;
    struct cbt_err err;
    void *instance = NULL;
    if (source->open(&instance, &config, &receiver, &err) != 0)
        return 1;
    self = instance;
    attach();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    self->broken = true; /* no farewell: nobody would answer */
    source->close(self);
    close(broker);
    for (size_t i = 0; i < receiver.pushed_count; i++)
        free_frame(receiver.pushed[i]);
    return 0;
}

static int read_all(struct cbt_err *err)
{
    return source->read(self, 1000, err);
}

static void assert_text(struct cbt_text text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.data, expected, text.len);
}

static int settle(size_t index, struct cbt_err *err)
{
    struct cbt_frame *done[] = {receiver.pushed[index]};
    return source->settle(self, done, 1, err);
}

/* ---- deliveries ---- */

/* sensorId 'I' 7, sensorHostName 'S' host-7, hostId 'l' -1, nodeId 'S' x */
static const char headers[] = "\x08sensorIdI\0\0\0\7\x0EsensorHostNameS\0\0\0\6host-7"
                              "\x06hostIdl\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\6nodeIdS\0\0\0\1x";

static void put_full_message(uint64_t tag)
{
    put_deliver(tag, "api.rawsensordata", "some.key");
    put_header_frame(10, "application/zip", headers, sizeof(headers) - 1);
    put_body("01234", 5);
    put_body("", 0);
    put_body("56789", 5);
}

static void check_full_message(const struct cbt_frame *frame, uint64_t tag)
{
    assert_text(frame->body, "0123456789");
    assert_text(frame->routing_key, "some.key");
    assert_text(frame->content_type, "application/zip");
    assert_text(frame->env.host_name, "host-7");
    assert_true(frame->env.has_sensor_id && frame->env.has_host_id && frame->env.has_host_name);
    assert_false(frame->env.has_node_id);
    assert_int_equal(frame->env.sensor_id, 7);
    assert_int_equal(frame->env.host_id, -1);
    assert_int_equal(frame->framing, CBT_FRAMING_BUNDLE);
    assert_int_equal(frame->token, tag);
    assert_int_equal(frame->generation, self->generation);
    assert_int_equal(frame->redelivered, tag % 2 == 1);
    assert_false(frame->unwanted || frame->spilled);
}

static void delivery_becomes_a_frame(void **state)
{
    (void)state;
    struct cbt_err err;
    put_full_message(1);
    put_full_message(2);
    send_wire();
    assert_int_equal(read_all(&err), 2);
    assert_int_equal(read_all(&err), 0);
    check_full_message(receiver.pushed[0], 1);
    check_full_message(receiver.pushed[1], 2);
    assert_int_equal(counter(CBT_COUNT_unreadable_headers), 2);
}

static void delivery_may_arrive_byte_by_byte(void **state)
{
    (void)state;
    static uint8_t copy[1024];
    struct cbt_err err;
    put_full_message(1);
    size_t len = wire.len;
    memcpy(copy, wire.data, len);
    wire.len = 0;
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(receiver.pushed_count, 0);
        put(copy + i, 1);
        send_wire();
        assert_int_equal(read_all(&err), i + 1 == len ? 1 : 0);
    }
    check_full_message(receiver.pushed[0], 1);
}

static void read_stops_at_frames_max(void **state)
{
    (void)state;
    struct cbt_err err;
    for (uint64_t tag = 1; tag <= 5; tag++)
        put_full_message(tag);
    send_wire();
    assert_int_equal(source->read(self, 2, &err), 2);
    assert_int_equal(source->read(self, 2, &err), 2);
    assert_int_equal(source->read(self, 2, &err), 1);
    for (size_t i = 0; i < 5; i++)
        check_full_message(receiver.pushed[i], i + 1);
}

static void empty_message_is_a_frame_too(void **state)
{
    (void)state;
    struct cbt_err err;
    put_message(1, "", "", NULL, "");
    put_message(2, "api.rawsensordata", "", "application/zip", "");
    send_wire();
    assert_int_equal(read_all(&err), 2);
    assert_int_equal(receiver.pushed[0]->body.len, 0);
    assert_int_equal(receiver.pushed[0]->framing, CBT_FRAMING_DETECT);
    assert_text(receiver.pushed[1]->content_type, "application/zip");
}

static void without_budget_the_header_is_kept(void **state)
{
    (void)state;
    struct cbt_err err;
    receiver.allowance = 1;
    put_full_message(1);
    put_full_message(2);
    put_full_message(3);
    send_wire();
    assert_int_equal(read_all(&err), 1);
    assert_int_equal(read_all(&err), CBT_ELIMIT);
    assert_int_equal(read_all(&err), CBT_ELIMIT);
    receiver.allowance = 2;
    assert_int_equal(read_all(&err), 1);
    assert_int_equal(read_all(&err), CBT_ELIMIT);
    receiver.allowance = 3;
    assert_int_equal(read_all(&err), 1);
    assert_int_equal(read_all(&err), 0);
    for (size_t i = 0; i < 3; i++)
        check_full_message(receiver.pushed[i], i + 1);
    assert_int_equal(counter(CBT_COUNT_unreadable_headers), 3);
}

static void exchange_tells_the_framing(void **state)
{
    (void)state;
    struct cbt_err err;
    put_message(1, "api.events", "ingress.event.procstart", "application/protobuf", "x");
    put_message(2, "api.events", "watchlist.12.storage.hit.process", "application/json", "x");
    put_message(3, "api.events", "ingress.event.procend", "Application/Protobuf; v=1", "x");
    put_message(4, "api.events", "feed.1", NULL, "x");
    put_message(5, "api.rawsensordata", "whatever", "application/protobuf", "x");
    put_message(6, "shovelled", "whatever", "application/protobuf", "x");
    send_wire();
    assert_int_equal(read_all(&err), 6);
    static const enum cbt_framing framings[] = {CBT_FRAMING_EVENT,  CBT_FRAMING_DETECT, CBT_FRAMING_EVENT,
                                                CBT_FRAMING_DETECT, CBT_FRAMING_BUNDLE, CBT_FRAMING_DETECT};
    static const bool unwanted[] = {false, false, true, true, false, false};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(receiver.pushed[i]->framing, framings[i]);
        assert_int_equal(receiver.pushed[i]->unwanted, unwanted[i]);
    }
}

static void many_unwanted_keys_are_named_once_each(void **state)
{
    (void)state;
    struct captured captured;
    struct cbt_err err;
    for (uint64_t tag = 1; tag <= 30; tag++) {
        char key[32];
        snprintf(key, sizeof(key), "task.error.%u", (unsigned)(tag % 10));
        put_message(tag, "api.events", key, "application/json", "{}");
    }
    send_wire();
    capture_begin(&captured);
    assert_int_equal(read_all(&err), 30);
    char *log = capture_end(&captured);
    unsigned named = 0;
    for (const char *at = log; (at = strstr(at, "routing_key=task.error.")) != NULL; at++)
        named++;
    assert_int_equal(named, 10);
    free(log);
}

static void raw_data_is_unwanted_where_it_is_off(void **state)
{
    (void)state;
    struct cbt_err err;
    config.amqp.raw = false;
    put_message(1, "api.rawsensordata", "", "application/zip", "x");
    put_message(2, "api.rawsensordata", "", "application/zip", "x");
    send_wire();
    assert_int_equal(read_all(&err), 2);
    assert_true(receiver.pushed[0]->unwanted && receiver.pushed[1]->unwanted);
}

static void malformed_sequences_end_the_connection(void **state)
{
    for (int kind = 0; kind < 7; kind++) {
        struct cbt_err err = {0};
        switch (kind) {
        case 0:
            put_deliver(1, "", "");
            put_header_frame(3, NULL, NULL, 0);
            put_body("four", 4);
            break;
        case 1:
            put_header_frame(3, NULL, NULL, 0);
            break;
        case 2:
            put_body("x", 1);
            break;
        case 3:
            put_deliver(1, "", "");
            put_deliver(2, "", "");
            break;
        case 4:
            put_deliver(2, "", "");
            break;
        case 5:
            put_body("", 0);
            break;
        default:
            put_deliver(1, "", "");
            put_body("x", 1);
            break;
        }
        send_wire();
        if (read_all(&err) != CBT_EIO || err.text[0] == '\0')
            fail_msg("sequence %d: '%s'", kind, err.text);
        assert_int_equal(receiver.pushed_count, 0);
        tear_down(state);
        assert_int_equal(receiver.taken, 0);
        set_up(state);
    }
}

static void more_than_the_prefetch_ends_the_connection(void **state)
{
    (void)state;
    struct cbt_err err;
    uint64_t tag = 1;
    for (; tag <= 256; tag++)
        put_message(tag, "", "", NULL, "x");
    send_wire();
    assert_int_equal(read_all(&err), 256); /* 160, rounded up */
    put_message(tag, "", "", NULL, "x");
    send_wire();
    assert_int_equal(read_all(&err), CBT_EIO);
}

static void unreadable_headers_wait_for_the_rest_and_then_refuse(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    put_message(1, "", "", NULL, "x");
    put_deliver(2, "", "");
    put_header_frame(1, NULL, "\1h?", 3); /* a kind of value that does not exist */
    send_wire();
    assert_int_equal(read_all(&err), 1);
    assert_int_equal(read_all(&err), CBT_ELIMIT);
    assert_int_equal(settle(0, &err), 0);
    assert_int_equal(read_all(&err), CBT_EREFUSED);
    assert_int_equal(next_ack(), 1);
}

/* ---- too large ---- */

static char dir[64];

static unsigned count_dir(const char *suffix)
{
    unsigned count = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        size_t len = strlen(entry->d_name);
        count += len > strlen(suffix) && strcmp(entry->d_name + len - strlen(suffix), suffix) == 0;
    }
    closedir(d);
    return count;
}

static void remove_dir(void)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;)
        unlinkat(dirfd(d), entry->d_name, 0);
    closedir(d);
    rmdir(dir);
}

static void put_large_message(uint64_t tag)
{
    static const char part[3000];
    put_deliver(tag, "api.rawsensordata", "some.key");
    put_header_frame(9000, "application/zip", headers, sizeof(headers) - 1);
    for (int i = 0; i < 3; i++)
        put_body(part, sizeof(part));
}

static void large_message_goes_to_the_dead_letter_dir(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    strcpy(dir, "/tmp/cbtap-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    receiver.dead_letter_dir = dir;
    receiver.frame_max_bytes = 8999;
    put_full_message(1);
    put_large_message(2);
    put_full_message(3);
    send_wire();
    assert_int_equal(read_all(&err), 3);
    const struct cbt_frame *frame = receiver.pushed[1];
    assert_true(frame->spilled);
    assert_int_equal(frame->body.len, 0);
    assert_text(frame->routing_key, "some.key");
    assert_text(frame->env.host_name, "host-7");
    assert_int_equal(frame->token, 2);
    check_full_message(receiver.pushed[2], 3);
    assert_int_equal(count_dir(".bin"), 1);
    assert_int_equal(count_dir(".json"), 1);
    receiver.frame_max_bytes = 9000;
    put_large_message(4);
    send_wire();
    assert_int_equal(read_all(&err), 1);
    assert_false(receiver.pushed[3]->spilled);
    assert_int_equal(receiver.pushed[3]->body.len, 9000);
    remove_dir();
}

static void large_message_that_is_cut_off_leaves_nothing(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    strcpy(dir, "/tmp/cbtap-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    receiver.dead_letter_dir = dir;
    receiver.frame_max_bytes = 5000;
    put_large_message(1);
    wire.len -= 10;
    send_wire();
    assert_int_equal(read_all(&err), 0);
    assert_int_equal(count_dir(".part"), 1);
    self->broken = true;
    source->disconnect(self);
    assert_int_equal(count_dir(".part") + count_dir(".json") + count_dir(".bin"), 0);
    assert_int_equal(receiver.taken, 0);
    remove_dir();
}

static void large_message_without_a_place_waits_for_the_rest_and_then_refuses(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    receiver.frame_max_bytes = 5000;
    put_full_message(1);
    put_full_message(2);
    put_large_message(3);
    put_full_message(4);
    send_wire();
    assert_int_equal(read_all(&err), 2);
    assert_int_equal(read_all(&err), CBT_ELIMIT);
    assert_int_equal(settle(1, &err), 0);
    assert_int_equal(read_all(&err), CBT_ELIMIT);
    assert_int_equal(next_ack(), 0);
    assert_int_equal(settle(0, &err), 0);
    assert_int_equal(read_all(&err), CBT_EREFUSED);
    assert_int_equal(next_ack(), 2);
    assert_non_null(strstr(err.text, "9000 bytes"));
    assert_non_null(strstr(err.text, "dead_letter_dir"));
    assert_int_equal(receiver.pushed_count, 2);
    assert_int_equal(receiver.taken, 2);
    assert_int_equal(counter(CBT_COUNT_settled_frames), 2);
}

/* ---- ends ---- */

static void connection_close_gives_code_and_text(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    put_full_message(1);
    put_close(0, AMQP_CONNECTION_CLOSE_METHOD, 320, "CONNECTION_FORCED - broker forced connection closure");
    send_wire();
    assert_int_equal(read_all(&err), CBT_EIO);
    assert_non_null(strstr(err.text, "320 CONNECTION_FORCED"));
    expect_method(0, AMQP_CONNECTION_CLOSE_OK_METHOD);
    assert_int_equal(receiver.pushed_count, 1);
}

static void channel_close_ends_the_connection(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    put_deliver(1, "", "");
    put_header_frame(100, NULL, NULL, 0);
    put_body("x", 1);
    put_close(1, AMQP_CHANNEL_CLOSE_METHOD, 406, "PRECONDITION_FAILED - delivery acknowledgement timed out");
    send_wire();
    assert_int_equal(read_all(&err), CBT_EIO);
    assert_non_null(strstr(err.text, "406 PRECONDITION_FAILED"));
    source->disconnect(self);
    assert_int_equal(receiver.taken, 0);
}

static void cancelled_consumer_ends_the_connection(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    size_t start = begin_method(1, AMQP_BASIC_CANCEL_METHOD);
    put_shortstr("cbtap");
    put_int(1, 1);
    end_frame(start);
    send_wire();
    assert_int_equal(read_all(&err), CBT_EIO);
    assert_non_null(strstr(err.text, "cancelled"));
}

static void blocked_and_unblocked_are_not_for_us(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    size_t start = begin_method(0, AMQP_CONNECTION_BLOCKED_METHOD);
    put_shortstr("low on memory");
    end_frame(start);
    put_full_message(1);
    end_frame(begin_method(0, AMQP_CONNECTION_UNBLOCKED_METHOD));
    end_frame(begin_frame(AMQP_FRAME_HEARTBEAT, 0));
    put_full_message(2);
    send_wire();
    assert_int_equal(read_all(&err), 2);
}

static void hang_up_is_noticed_by_read(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    put_full_message(1);
    send_wire();
    shutdown(broker, SHUT_RDWR);
    assert_int_equal(read_all(&err), CBT_EIO);
    assert_int_equal(receiver.pushed_count, 1);
}

static void hang_up_is_noticed_by_tick_while_nothing_is_read(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    receiver.allowance = 0;
    put_full_message(1);
    put_full_message(2);
    send_wire();
    assert_int_equal(read_all(&err), CBT_ELIMIT);
    self->side_round_ns = 1;
    assert_int_equal(source->tick(self, 2, &err), 0);
    shutdown(broker, SHUT_RDWR);
    assert_int_equal(source->tick(self, 3, &err), CBT_EIO);
}

static void heartbeats_go_out_every_half_interval(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    receiver.allowance = 0;
    put_full_message(1);
    send_wire();
    assert_int_equal(read_all(&err), CBT_ELIMIT);
    self->heartbeat_ns = INT64_C(10000000000);
    unsigned count = 0;
    for (int64_t now = 0; now <= INT64_C(60000000000); now += 100000000) {
        self->side_round_ns = now;
        assert_int_equal(source->tick(self, now, &err), 0);
        uint8_t frame[8];
        ssize_t n = recv(broker, frame, sizeof(frame), MSG_DONTWAIT);
        if (n <= 0)
            continue;
        assert_memory_equal(frame, "\x08\0\0\0\0\0\0\xCE", 8);
        assert_int_equal(now % INT64_C(5000000000), 0);
        count++;
    }
    assert_int_equal(count, 12);
}

/* ---- settlement ---- */

static void deliver_frames(uint64_t count)
{
    struct cbt_err err;
    for (uint64_t tag = 1; tag <= count; tag++)
        put_message(tag, "", "", NULL, "x");
    send_wire();
    assert_int_equal(source->read(self, 1000, &err), count);
}

static void acknowledgements_go_out_in_batches_and_by_flush(void **state)
{
    (void)state;
    struct cbt_err err;
    deliver_frames(30);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(settle(i, &err), 0);
    assert_int_equal(next_ack(), 0);
    assert_int_equal(counter(CBT_COUNT_settled_frames), 0);
    assert_int_equal(settle(9, &err), 0); /* a sixteenth of the prefetch of 160 */
    assert_int_equal(next_ack(), 10);
    assert_int_equal(counter(CBT_COUNT_settled_frames), 10);
    for (size_t i = 29; i > 10; i--)
        assert_int_equal(settle(i, &err), 0);
    assert_int_equal(source->settle_flush(self, &err), 0);
    assert_int_equal(next_ack(), 0);
    assert_int_equal(settle(10, &err), 0);
    assert_int_equal(next_ack(), 30);
    assert_int_equal(source->settle_flush(self, &err), 0);
    assert_int_equal(next_ack(), 0);
    assert_int_equal(counter(CBT_COUNT_settled_frames), 30);
}

static void flush_acknowledges_what_is_done(void **state)
{
    (void)state;
    struct cbt_err err;
    deliver_frames(3);
    assert_int_equal(settle(0, &err), 0);
    assert_int_equal(settle(2, &err), 0);
    assert_int_equal(source->settle_flush(self, &err), 0);
    assert_int_equal(next_ack(), 1);
    assert_int_equal(next_ack(), 0);
}

static void frames_of_a_dead_channel_are_abandoned(void **state)
{
    (void)state;
    struct cbt_err err;
    deliver_frames(4);
    assert_int_equal(settle(0, &err), 0); /* done, not yet acknowledged */
    assert_int_equal(settle(3, &err), 0);
    self->broken = true;
    source->disconnect(self);
    assert_int_equal(counter(CBT_COUNT_abandoned_frames), 2);
    assert_int_equal(source->fd(self), -1);
    assert_int_equal(settle(1, &err), 0); /* between two connections */
    assert_int_equal(counter(CBT_COUNT_abandoned_frames), 3);
    close(broker);
    attach();
    deliver_frames(4);
    assert_int_equal(settle(2, &err), 0); /* of the old channel, a tag that is in flight on the new one */
    assert_int_equal(counter(CBT_COUNT_abandoned_frames), 4);
    assert_int_equal(source->settle_flush(self, &err), 0);
    assert_int_equal(next_ack(), 0);
    assert_int_equal(settle(4, &err), 0);
    assert_int_equal(source->settle_flush(self, &err), 0);
    assert_int_equal(next_ack(), 1);
    assert_int_equal(counter(CBT_COUNT_settled_frames), 1);
}

static void broker_that_takes_no_acknowledgement_is_given_up(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    int fd = source->fd(self);
    deliver_frames(2);
    uint8_t filler[4096] = {0};
    while (write(fd, filler, sizeof(filler)) > 0)
        continue;
    assert_int_equal(settle(0, &err), 0);
    assert_int_equal(source->settle_flush(self, &err), 0);
    assert_int_equal(counter(CBT_COUNT_settled_frames), 0);
    config.amqp.connect_timeout_ms = 0;
    assert_int_equal(source->settle_flush(self, &err), CBT_EIO);
    assert_int_equal(counter(CBT_COUNT_settled_frames), 0);
}

static void acknowledgement_that_the_broker_did_not_take_is_written_when_it_does(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    int fd = source->fd(self);
    deliver_frames(2);
    uint8_t filler[4096] = {0};
    while (write(fd, filler, sizeof(filler)) > 0)
        continue;
    assert_int_equal(settle(0, &err), 0);
    assert_int_equal(source->settle_flush(self, &err), 0);
    assert_int_equal(source->tick(self, 1, &err), 0);
    assert_int_equal(counter(CBT_COUNT_settled_frames), 0);
    while (recv(broker, filler, sizeof(filler), MSG_DONTWAIT) > 0)
        continue;
    assert_int_equal(source->tick(self, 1, &err), 0);
    assert_int_equal(next_ack(), 1);
    assert_int_equal(counter(CBT_COUNT_settled_frames), 1);
}

/* ---- the side channel ---- */

static void put_bind_ok(void)
{
    end_frame(begin_method(2, AMQP_QUEUE_BIND_OK_METHOD));
}

static void put_channel_open_ok(void)
{
    size_t start = begin_method(2, AMQP_CHANNEL_OPEN_OK_METHOD);
    put_int(0, 4);
    end_frame(start);
}

static void put_declare_ok(uint32_t messages)
{
    size_t start = begin_method(2, AMQP_QUEUE_DECLARE_OK_METHOD);
    put_shortstr("cbtap");
    put_int(messages, 4);
    put_int(1, 4);
    end_frame(start);
}

static void missing_exchange_is_tried_again_while_consuming(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    const int64_t round_ns = INT64_C(5000000000);
    assert_int_equal(self->binding_count, 3);
    assert_int_equal(source->tick(self, round_ns, &err), 0);
    expect_method(2, AMQP_CHANNEL_OPEN_METHOD);
    put_channel_open_ok();
    send_wire();
    assert_int_equal(read_all(&err), 0);
    expect_method(2, AMQP_QUEUE_BIND_METHOD);
    put_bind_ok();
    put_full_message(1); /* deliveries go on meanwhile */
    send_wire();
    assert_int_equal(read_all(&err), 1);
    expect_method(2, AMQP_QUEUE_BIND_METHOD);
    put_close(2, AMQP_CHANNEL_CLOSE_METHOD, 404, "NOT_FOUND - no exchange 'api.events' in vhost '/'");
    send_wire();
    assert_int_equal(read_all(&err), 0);
    expect_method(2, AMQP_CHANNEL_CLOSE_OK_METHOD);
    expect_method(2, AMQP_CHANNEL_OPEN_METHOD);
    put_channel_open_ok();
    send_wire();
    assert_int_equal(read_all(&err), 0);
    /* The other key of the same exchange is not tried in this round. */
    expect_method(2, AMQP_QUEUE_DECLARE_METHOD);
    put_declare_ok(42);
    send_wire();
    assert_int_equal(read_all(&err), 0);
    assert_int_equal(atomic_load(&receiver.stats.gauge_queue_messages), 42);
    assert_true(self->bindings[0].bound);
    assert_false(self->bindings[1].bound || self->bindings[2].bound);

    assert_int_equal(source->tick(self, 2 * round_ns - 1, &err), 0);
    static struct bytes arguments;
    uint16_t channel = 0;
    uint32_t method = 0;
    assert_false(next_method(&channel, &method, &arguments));
    assert_int_equal(source->tick(self, 2 * round_ns, &err), 0);
    for (int i = 0; i < 2; i++) {
        expect_method(2, AMQP_QUEUE_BIND_METHOD);
        put_bind_ok();
        send_wire();
        assert_int_equal(read_all(&err), 0);
    }
    expect_method(2, AMQP_QUEUE_DECLARE_METHOD);
    assert_true(self->bindings[1].bound && self->bindings[2].bound);
}

static void refused_count_leaves_the_backlog_unknown(void **state)
{
    (void)state;
    struct cbt_err err = {0};
    self->side_open = true;
    for (size_t i = 0; i < self->binding_count; i++)
        self->bindings[i].bound = true;
    assert_int_equal(source->tick(self, INT64_C(5000000000), &err), 0);
    expect_method(2, AMQP_QUEUE_DECLARE_METHOD);
    put_close(2, AMQP_CHANNEL_CLOSE_METHOD, 403, "ACCESS_REFUSED");
    send_wire();
    assert_int_equal(read_all(&err), 0);
    expect_method(2, AMQP_CHANNEL_CLOSE_OK_METHOD);
    assert_int_equal(atomic_load(&receiver.stats.gauge_queue_messages), -1);
    assert_int_equal(source->tick(self, INT64_C(10000000000), &err), 0);
    expect_method(2, AMQP_CHANNEL_OPEN_METHOD);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(delivery_becomes_a_frame),
        CASE(delivery_may_arrive_byte_by_byte),
        CASE(read_stops_at_frames_max),
        CASE(empty_message_is_a_frame_too),
        CASE(without_budget_the_header_is_kept),
        CASE(exchange_tells_the_framing),
        CASE(many_unwanted_keys_are_named_once_each),
        CASE(raw_data_is_unwanted_where_it_is_off),
        CASE(malformed_sequences_end_the_connection),
        CASE(more_than_the_prefetch_ends_the_connection),
        CASE(unreadable_headers_wait_for_the_rest_and_then_refuse),
        CASE(large_message_goes_to_the_dead_letter_dir),
        CASE(large_message_that_is_cut_off_leaves_nothing),
        CASE(large_message_without_a_place_waits_for_the_rest_and_then_refuses),
        CASE(connection_close_gives_code_and_text),
        CASE(channel_close_ends_the_connection),
        CASE(cancelled_consumer_ends_the_connection),
        CASE(blocked_and_unblocked_are_not_for_us),
        CASE(hang_up_is_noticed_by_read),
        CASE(hang_up_is_noticed_by_tick_while_nothing_is_read),
        CASE(heartbeats_go_out_every_half_interval),
        CASE(acknowledgements_go_out_in_batches_and_by_flush),
        CASE(flush_acknowledges_what_is_done),
        CASE(frames_of_a_dead_channel_are_abandoned),
        CASE(broker_that_takes_no_acknowledgement_is_given_up),
        CASE(acknowledgement_that_the_broker_did_not_take_is_written_when_it_does),
        CASE(missing_exchange_is_tried_again_while_consuming),
        CASE(refused_count_leaves_the_backlog_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
