/* SPDX-License-Identifier: MIT */
/*
 * tail on RabbitMQ: a queue of its own, bound as the section says, read without acknowledgements.
 *
 * The queue is exclusive, so it is gone with its connection, however that ends, and limited in bytes: of one
 * that is not read in time the broker drops the oldest messages. Nothing of the daemon's is touched. The
 * socket is always read, for what cannot be shown is skipped here, where it can be counted. Once a second the
 * broker is asked on the side channel how many messages it keeps back, by a method that is sent and whose
 * answer comes between the deliveries (amqp_simple_rpc would buffer these without bound).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "cli/tail.h"
#include "ingest/source_amqp.h"

#define QUEUE_BYTES_MAX  INT64_C(16777216)
#define NS_PER_S         INT64_C(1000000000)
#define FULL_INTERVAL_NS (10 * NS_PER_S)

struct bus {
    struct cbt_amqp_settings settings;
    amqp_connection_state_t conn; /* NULL: not connected */
    char queue[32];
    bool broken; /* no farewell */
    bool counting;
    int64_t counted_ns, full_told_ns;
    uint64_t messages, bytes; /* received */

    /* The message under way, and what it points to. */
    enum { WANT_METHOD, WANT_HEADER, WANT_BODY } stage;
    struct cbt_frame message;
    bool is_raw, is_left_out;
    uint64_t body_bytes, body_read;
    uint8_t *body;
    size_t capacity;
    char routing_key[CBT_AMQP_SHORTSTR_BYTES_MAX], content_type[CBT_AMQP_SHORTSTR_BYTES_MAX];
    char host_name[CBT_AMQP_HOST_NAME_BYTES_MAX];
};

static void amqp_close(struct cbt_tail *tail)
{
    struct bus *bus = tail->bus_self;
    if (!bus)
        return;
    cbt_amqp_settings_free(&bus->settings);
    free(bus->body);
    free(bus);
}

static int amqp_open(struct cbt_tail *tail, struct cbt_err *err)
{
    struct bus *bus = calloc(1, sizeof *bus);
    if (!bus)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    int rc = cbt_amqp_settings_read(&bus->settings, tail->source, err);
    if (rc != 0) {
        free(bus);
        return rc;
    }
    tail->bus_self = bus;
    return 0;
}

static void amqp_disconnect(struct cbt_tail *tail)
{
    struct bus *bus = tail->bus_self;
    if (!bus || !bus->conn)
        return;
    if (!bus->broken)
        cbt_amqp_farewell(bus->conn);
    amqp_destroy_connection(bus->conn);
    bus->conn = NULL;
}

static int reply_of(struct bus *bus, const char *what, struct cbt_err *err)
{
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(bus->conn);
    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        return 0;
    bus->broken = reply.reply_type != AMQP_RESPONSE_SERVER_EXCEPTION;
    cbt_amqp_reply_error(err, reply, what);
    return cbt_err_prefix(err, "queue '%s'", bus->queue);
}

static int declare(struct bus *bus, struct cbt_err *err)
{
    amqp_table_entry_t entries[] = {
        {.key = amqp_cstring_bytes("x-max-length-bytes"),
         .value = {.kind = AMQP_FIELD_KIND_I64, .value.i64 = QUEUE_BYTES_MAX}},
        {.key = amqp_cstring_bytes("x-overflow"),
         .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("drop-head")}},
    };
    amqp_table_t arguments = {.num_entries = 2, .entries = entries};
    uint64_t number;
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        number = (uint64_t)cbt_now_ns();
    snprintf(bus->queue, sizeof bus->queue, "cbtap-tail-%016" PRIx64, number);
    amqp_queue_declare(bus->conn, CBT_AMQP_CONSUME_CHANNEL, amqp_cstring_bytes(bus->queue), 0, 0, 1, 1,
                       arguments);
    return reply_of(bus, "queue.declare", err);
}

/* `ret_bound` counts it, where its exchange is there. */
static int bind(struct bus *bus, const char *section, const char *exchange, const char *key,
                unsigned *ret_bound, struct cbt_err *err)
{
    bool exists = false;
    int rc = cbt_amqp_look_up_exchange(bus->conn, exchange, &exists, err);
    if (rc != 0) {
        bus->broken = true;
        return cbt_err_prefix(err, "exchange '%s'", exchange);
    }
    if (!exists) {
        cbt_log_warning(
            "the exchange is not there (is this the EDR server's RabbitMQ?): nothing comes from it",
            CBT_S("source", section), CBT_S("exchange", exchange), CBT_S("routing_key", key));
        return 0;
    }
    amqp_queue_bind(bus->conn, CBT_AMQP_CONSUME_CHANNEL, amqp_cstring_bytes(bus->queue),
                    amqp_cstring_bytes(exchange), amqp_cstring_bytes(key), amqp_empty_table);
    (*ret_bound)++;
    return reply_of(bus, "queue.bind", err);
}

static int set_up(struct cbt_tail *tail, struct bus *bus, struct cbt_err *err)
{
    const struct cbt_amqp_settings *settings = &bus->settings;
    const char *section = tail->source->name;
    unsigned bound = 0;
    int rc = declare(bus, err);
    if (rc == 0 && settings->options->raw)
        rc = bind(bus, section, CBT_AMQP_RAW_EXCHANGE, "", &bound, err);
    for (size_t i = 0; i < settings->pattern_count && rc == 0; i++)
        rc = bind(bus, section, CBT_AMQP_EVENTS_EXCHANGE, settings->patterns[i], &bound, err);
    if (rc == 0 && bound == 0)
        return cbt_err_set(err, CBT_EREFUSED, "no exchange is there that the section wants events from");
    if (rc != 0)
        return rc;
    /* From here on answers come between deliveries; the side channel stays open. */
    amqp_channel_open(bus->conn, CBT_AMQP_SIDE_CHANNEL);
    rc = reply_of(bus, "channel.open", err);
    if (rc != 0)
        return rc;
    amqp_basic_consume(bus->conn, CBT_AMQP_CONSUME_CHANNEL, amqp_cstring_bytes(bus->queue),
                       amqp_cstring_bytes("cbtap-tail"), 0, 1, 1, amqp_empty_table);
    return reply_of(bus, "basic.consume", err);
}

static int amqp_connect(struct cbt_tail *tail, struct cbt_err *err)
{
    struct bus *bus = tail->bus_self;
    struct cbt_amqp_session session = {0};
    int rc = cbt_amqp_settings_renew(&bus->settings, err);
    if (rc == 0)
        rc = cbt_amqp_login(&bus->conn, &bus->settings, "cbtap tail", &session, err);
    if (rc != 0)
        return rc;
    bus->broken = bus->counting = false;
    bus->counted_ns = cbt_now_ns();
    bus->messages = bus->bytes = 0;
    bus->stage = WANT_METHOD;
    rc = set_up(tail, bus, err);
    snprintf(tail->listens_to, sizeof tail->listens_to, "queue %s", bus->queue);
    if (rc != 0)
        amqp_disconnect(tail);
    return rc;
}

static int ask_count(struct bus *bus, struct cbt_err *err)
{
    int64_t now_ns = cbt_now_ns();
    if (bus->counting || now_ns - bus->counted_ns < NS_PER_S)
        return 0;
    amqp_queue_declare_t method = {
        .queue = amqp_cstring_bytes(bus->queue), .passive = 1, .arguments = amqp_empty_table};
    int status = amqp_send_method(bus->conn, CBT_AMQP_SIDE_CHANNEL, AMQP_QUEUE_DECLARE_METHOD, &method);
    bus->counting = true;
    bus->counted_ns = now_ns;
    return status == AMQP_STATUS_OK ? 0 : cbt_amqp_status_error(err, status, "queue.declare (passive)");
}

/* The broker tells messages, not bytes: by their mean size it is known whether the queue is about full. */
static void on_count(const struct cbt_tail *tail, struct bus *bus, uint32_t kept_back)
{
    bus->counting = false;
    uint64_t mean = bus->messages > 0 ? bus->bytes / bus->messages : 0;
    if ((uint64_t)kept_back * mean < (uint64_t)QUEUE_BYTES_MAX / 4 * 3 ||
        (bus->full_told_ns != 0 && bus->counted_ns - bus->full_told_ns < FULL_INTERVAL_NS))
        return;
    bus->full_told_ns = bus->counted_ns;
    cbt_log_warning(
        "tail's queue on the broker is about full: the broker drops its oldest messages, how many "
        "it does not tell",
        CBT_S("source", tail->source->name), CBT_I("messages", kept_back));
}

static int on_method(const struct cbt_tail *tail, struct bus *bus, const amqp_frame_t *frame,
                     struct cbt_err *err)
{
    const amqp_method_t *method = &frame->payload.method;
    if (method->id == AMQP_QUEUE_DECLARE_OK_METHOD) {
        on_count(tail, bus, ((const amqp_queue_declare_ok_t *)method->decoded)->message_count);
        return 0;
    }
    if (method->id == AMQP_CONNECTION_CLOSE_METHOD) {
        const amqp_connection_close_t *close = method->decoded;
        return cbt_amqp_close_error(err, close->reply_code, close->reply_text,
                                    "the broker closed the connection");
    }
    if (method->id == AMQP_CHANNEL_CLOSE_METHOD) {
        const amqp_channel_close_t *close = method->decoded;
        return cbt_amqp_close_error(err, close->reply_code, close->reply_text,
                                    "the broker closed the channel");
    }
    if (method->id == AMQP_BASIC_CANCEL_METHOD)
        return cbt_err_set(err, CBT_EIO, "the broker cancelled the consumer: tail's queue was deleted");
    return 0;
}

/* The library's memory is given back with the next frame: what counts of the message is copied. */
static struct cbt_text keep(char *place, size_t place_bytes, struct cbt_text text)
{
    size_t len = text.len < place_bytes ? text.len : place_bytes;
    if (len > 0)
        memcpy(place, text.data, len);
    return (struct cbt_text){(const uint8_t *)place, len};
}

static void on_deliver(struct bus *bus, const amqp_basic_deliver_t *deliver)
{
    bus->message = (struct cbt_frame){.framing = CBT_FRAMING_DETECT};
    bus->message.routing_key =
        keep(bus->routing_key, sizeof bus->routing_key, cbt_amqp_text(deliver->routing_key));
    bus->is_raw = CBT_AMQP_IS(deliver->exchange, CBT_AMQP_RAW_EXCHANGE);
    bus->stage = WANT_HEADER;
}

/* A body that has arrived whole, or is left out, for it is larger than the daemon would take. */
static void on_message(struct cbt_tail *tail, struct bus *bus)
{
    bus->stage = WANT_METHOD;
    bus->messages++;
    bus->bytes += bus->body_bytes;
    if (bus->is_left_out) {
        tail->broken++;
        cbt_log_debug("left out: larger than frame_max_bytes, or no memory for it",
                      CBT_I("bytes", bus->body_bytes));
        return;
    }
    bus->message.body = (struct cbt_text){bus->body, (size_t)bus->body_bytes};
    cbt_tail_take(tail, &bus->message);
}

static bool make_room(const struct cbt_tail *tail, struct bus *bus)
{
    if (bus->body_bytes > tail->config->cbtap.frame_max_bytes)
        return false;
    if (bus->body_bytes <= bus->capacity)
        return true;
    uint8_t *grown = realloc(bus->body, (size_t)bus->body_bytes);
    if (!grown)
        return false;
    bus->body = grown;
    bus->capacity = (size_t)bus->body_bytes;
    return true;
}

static void on_header(struct cbt_tail *tail, struct bus *bus, const amqp_frame_t *frame)
{
    const amqp_basic_properties_t *properties = frame->payload.properties.decoded;
    struct cbt_frame *message = &bus->message;
    if ((properties->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG) != 0)
        message->content_type =
            keep(bus->content_type, sizeof bus->content_type, cbt_amqp_text(properties->content_type));
    if ((properties->_flags & AMQP_BASIC_HEADERS_FLAG) != 0)
        (void)cbt_amqp_read_headers(&properties->headers, &message->env);
    message->env.host_name = keep(bus->host_name, sizeof bus->host_name, message->env.host_name);
    if (bus->is_raw)
        message->framing = CBT_FRAMING_BUNDLE;
    else if (cbt_content_type_is(message->content_type, "application/protobuf"))
        message->framing = CBT_FRAMING_EVENT;
    bus->body_bytes = frame->payload.properties.body_size;
    bus->body_read = 0;
    bus->is_left_out = !make_room(tail, bus);
    bus->stage = WANT_BODY;
    if (bus->body_bytes == 0)
        on_message(tail, bus);
}

static int on_body(struct cbt_tail *tail, struct bus *bus, amqp_bytes_t fragment, struct cbt_err *err)
{
    if (fragment.len > bus->body_bytes - bus->body_read)
        return cbt_err_set(err, CBT_EIO, "a message's body is longer than its header says");
    if (!bus->is_left_out && fragment.len > 0)
        memcpy(bus->body + bus->body_read, fragment.bytes, fragment.len);
    bus->body_read += fragment.len;
    if (bus->body_read == bus->body_bytes)
        on_message(tail, bus);
    return 0;
}

static int on_frame(struct cbt_tail *tail, struct bus *bus, const amqp_frame_t *frame, struct cbt_err *err)
{
    bool is_method = frame->frame_type == AMQP_FRAME_METHOD;
    if (is_method && frame->payload.method.id != AMQP_BASIC_DELIVER_METHOD)
        return on_method(tail, bus, frame, err);
    if (frame->channel != CBT_AMQP_CONSUME_CHANNEL)
        return 0;
    if (is_method && bus->stage == WANT_METHOD)
        on_deliver(bus, frame->payload.method.decoded);
    else if (frame->frame_type == AMQP_FRAME_HEADER && bus->stage == WANT_HEADER &&
             frame->payload.properties.class_id == AMQP_BASIC_CLASS)
        on_header(tail, bus, frame);
    else if (frame->frame_type == AMQP_FRAME_BODY && bus->stage == WANT_BODY)
        return on_body(tail, bus, frame->payload.body_fragment, err);
    else
        return cbt_err_set(err, CBT_EIO, "the broker sent a frame of type %d out of turn", frame->frame_type);
    return 0;
}

static int amqp_take(struct cbt_tail *tail, int timeout_ms, struct cbt_err *err)
{
    struct bus *bus = tail->bus_self;
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    amqp_frame_t frame;
    int rc = ask_count(bus, err);
    if (rc == 0) {
        amqp_maybe_release_buffers(bus->conn);
        int status = amqp_simple_wait_frame_noblock(bus->conn, &frame, &timeout);
        if (status == AMQP_STATUS_TIMEOUT)
            return 0;
        rc = status == AMQP_STATUS_OK ? on_frame(tail, bus, &frame, err)
                                      : cbt_amqp_status_error(err, status, "reading from the broker");
    }
    bus->broken = rc != 0;
    return rc != 0 ? rc : 1;
}

const struct cbt_tail_bus cbt_tail_amqp = {.type = "amqp",
                                           .open = amqp_open,
                                           .connect = amqp_connect,
                                           .take = amqp_take,
                                           .disconnect = amqp_disconnect,
                                           .close = amqp_close};
