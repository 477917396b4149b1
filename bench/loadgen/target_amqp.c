/* SPDX-License-Identifier: MIT */
/*
 * Publishes to RabbitMQ as the server does: sensor event logs on api.rawsensordata with headers, all else on
 * api.events by its routing key. Both exchanges are declared, as the server declares them.
 *
 * Failure modes: a message that no queue takes comes back (`mandatory`) and ends the run with what to do
 * about it, the first one before a second is sent; a closed channel or connection ends it with the broker's
 * own words. A broker under an alarm stops reading: publishing then waits, which is said.
 */
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "progress.h"
#include "target.h"

#define CHANNEL           1
#define CONNECT_TIMEOUT_S 10
#define RPC_TIMEOUT_S     600 /* the answer waits behind everything that was published before */
#define CONFIRM_TIMEOUT_S 60
#define CONFIRM_RING      1024u
#define CONFIRM_WINDOW    1000u
#define SERVICE_EVERY     64u
#define FRAME_MAX_BYTES   131072
#define RAW_EXCHANGE      "api.rawsensordata"
#define EVENTS_EXCHANGE   "api.events"

struct amqp_target {
    struct cbt_target_options options;
    amqp_connection_state_t connection;
    uint64_t published, confirmed;      /* every message up to `confirmed` is */
    bool blocked;                       /* by the broker, which is short of memory or disk */
    bool confirmed_early[CONFIRM_RING]; /* by delivery tag: those above it that are */
};

static int set_library_error(struct cbt_err *err, const char *what, int status)
{
    return cbt_err_set(err, CBT_EIO, "%s: %s", what, amqp_error_string2(status));
}

static int set_close_error(struct cbt_err *err, const char *what, uint16_t code, amqp_bytes_t text)
{
    return cbt_err_set(err, CBT_EREFUSED, "%s: the broker says %u %.*s", what, code, (int)text.len,
                       (const char *)text.bytes);
}

static int set_method_error(struct cbt_err *err, const char *what, const amqp_method_t *method)
{
    if (method->id == AMQP_CONNECTION_CLOSE_METHOD) {
        const amqp_connection_close_t *m = method->decoded;
        return set_close_error(err, what, m->reply_code, m->reply_text);
    }
    if (method->id == AMQP_CHANNEL_CLOSE_METHOD) {
        const amqp_channel_close_t *m = method->decoded;
        return set_close_error(err, what, m->reply_code, m->reply_text);
    }
    return cbt_err_set(err, CBT_EIO, "%s: unexpected %s", what, amqp_method_name(method->id));
}

static int check_reply(struct amqp_target *t, const char *what, struct cbt_err *err)
{
    const amqp_rpc_reply_t reply = amqp_get_rpc_reply(t->connection);
    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        return 0;
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        return set_library_error(err, what, reply.library_error);
    return set_method_error(err, what, &reply.reply);
}

static int set_returned(const amqp_basic_return_t *m, struct cbt_err *err)
{
    const int exchange_len = (int)m->exchange.len, key_len = (int)m->routing_key.len;
    const char *exchange = m->exchange.bytes, *key = m->routing_key.bytes;
    if (!exchange_len)
        return cbt_err_set(err, CBT_EREFUSED, "there is no queue %.*s: start cbtap first, or give --no-check",
                           key_len, key);
    return cbt_err_set(err, CBT_EREFUSED,
                       "no queue is bound to %.*s%s%.*s: start cbtap first, or give --no-check", exchange_len,
                       exchange, key_len ? " for the routing key " : "", key_len, key);
}

/* Brokers confirm in any order, one by one or all up to a tag. */
static void note_confirmed(struct amqp_target *t, const amqp_basic_ack_t *ack)
{
    if (ack->delivery_tag <= t->confirmed || ack->delivery_tag > t->published)
        return;
    if (ack->multiple)
        for (uint64_t tag = t->confirmed + 1; tag < ack->delivery_tag; tag++)
            t->confirmed_early[tag % CONFIRM_RING] = true;
    t->confirmed_early[ack->delivery_tag % CONFIRM_RING] = true;
    while (t->confirmed_early[(t->confirmed + 1) % CONFIRM_RING])
        t->confirmed_early[++t->confirmed % CONFIRM_RING] = false;
}

static int handle_method(struct amqp_target *t, const amqp_method_t *method, struct cbt_err *err)
{
    switch (method->id) {
    case AMQP_BASIC_ACK_METHOD:
        note_confirmed(t, method->decoded);
        return 0;
    case AMQP_BASIC_NACK_METHOD:
        return cbt_err_set(err, CBT_EREFUSED,
                           "the broker refused to take responsibility for a message (basic.nack)");
    case AMQP_BASIC_RETURN_METHOD:
        return set_returned(method->decoded, err);
    case AMQP_CONNECTION_BLOCKED_METHOD: {
        const amqp_connection_blocked_t *m = method->decoded;
        t->blocked = true;
        cbt_say(NULL, "the broker has stopped publishers: %.*s", (int)m->reason.len,
                (const char *)m->reason.bytes);
        return 0;
    }
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        t->blocked = false;
        cbt_say(NULL, "the broker takes messages again");
        return 0;
    default:
        return set_method_error(err, "publishing", method);
    }
}

/* Reads what the broker has to say: waits for the first frame for as long as `timeout`. */
static int service(struct amqp_target *t, struct timeval timeout, struct cbt_err *err)
{
    amqp_frame_t frame;
    for (;;) {
        amqp_maybe_release_buffers(t->connection);
        const int status = amqp_simple_wait_frame_noblock(t->connection, &frame, &timeout);
        if (status == AMQP_STATUS_TIMEOUT)
            return 0;
        if (status != AMQP_STATUS_OK)
            return set_library_error(err, "reading from the broker", status);
        if (frame.frame_type == AMQP_FRAME_METHOD) {
            const int rc = handle_method(t, &frame.payload.method, err);
            if (rc)
                return rc;
        }
        timeout = (struct timeval){0};
    }
}

/* The broker works off a channel in order, so when this call is answered, everything before it is done. */
static int synchronize(struct amqp_target *t, struct cbt_err *err)
{
    if (!amqp_basic_qos(t->connection, CHANNEL, 0, 1, 0))
        return check_reply(t, "publishing", err);
    return service(t, (struct timeval){0}, err);
}

static int log_in(struct amqp_target *t, struct cbt_err *err)
{
    struct amqp_connection_info info;
    amqp_table_entry_t announced[] = {
        {.key = amqp_cstring_bytes("connection.blocked"),
         .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}},
        {.key = amqp_cstring_bytes("basic.nack"),
         .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}},
        {.key = amqp_cstring_bytes("publisher_confirms"),
         .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}},
    };
    amqp_table_entry_t properties[] = {
        {.key = amqp_cstring_bytes("capabilities"),
         .value = {.kind = AMQP_FIELD_KIND_TABLE,
                   .value.table = {sizeof(announced) / sizeof(announced[0]), announced}}},
    };
    const amqp_table_t client = {1, properties};
    char *url = cbt_bytes_checked(strdup(t->options.url)); /* amqp_parse_url writes into it */
    int rc = 0;
    if (amqp_parse_url(url, &info) != AMQP_STATUS_OK || info.ssl) {
        rc = cbt_err_set(err, CBT_EINVAL,
                         "the url is not amqp://USER:PASSWORD@HOST:PORT/VHOST (the vhost / is %%2F)");
        goto out;
    }
    amqp_socket_t *socket = amqp_tcp_socket_new(t->connection);
    const int status = amqp_socket_open_noblock(socket, info.host, info.port,
                                                &(struct timeval){.tv_sec = CONNECT_TIMEOUT_S});
    if (status) {
        rc = cbt_err_set(err, CBT_EIO, "cannot reach RabbitMQ at %s:%d: %s", info.host, info.port,
                         amqp_error_string2(status));
        goto out;
    }
    const amqp_rpc_reply_t reply =
        amqp_login_with_properties(t->connection, info.vhost, 0, FRAME_MAX_BYTES, 0, &client,
                                   AMQP_SASL_METHOD_PLAIN, info.user, info.password);
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        rc = set_library_error(err, "logging in", reply.library_error);
    else if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        rc = set_method_error(err, "logging in", &reply.reply);
out:
    free(url);
    return rc;
}

static int declare_exchanges(struct amqp_target *t, struct cbt_err *err)
{
    static const char *const exchanges[][2] = {{EVENTS_EXCHANGE, "topic"}, {RAW_EXCHANGE, "fanout"}};
    int rc = 0;
    for (size_t i = 0; i < 2 && !rc; i++)
        if (!amqp_exchange_declare(t->connection, CHANNEL, amqp_cstring_bytes(exchanges[i][0]),
                                   amqp_cstring_bytes(exchanges[i][1]), 0, 1, 0, 0, amqp_empty_table))
            rc = check_reply(t, exchanges[i][0], err);
    return rc;
}

static void close_target(void *self)
{
    struct amqp_target *t = self;
    if (!t)
        return;
    if (t->connection)
        amqp_destroy_connection(t->connection);
    free(t);
}

static int open_target(void **ret_self, const struct cbt_target_options *options, struct cbt_err *err)
{
    struct amqp_target *t = cbt_bytes_checked(calloc(1, sizeof(*t)));
    int rc;
    t->options = *options;
    t->connection = cbt_bytes_checked(amqp_new_connection());
    rc = log_in(t, err);
    if (rc)
        goto out;
    amqp_set_rpc_timeout(t->connection, &(struct timeval){.tv_sec = RPC_TIMEOUT_S});
    amqp_channel_open(t->connection, CHANNEL);
    rc = check_reply(t, "opening a channel", err);
    if (!rc && !options->queue && !options->exchange)
        rc = declare_exchanges(t, err);
    if (!rc && options->confirm && !amqp_confirm_select(t->connection, CHANNEL))
        rc = check_reply(t, "asking for confirmations", err);
out:
    if (rc) {
        close_target(t);
        return rc;
    }
    *ret_self = t;
    return 0;
}

static int send_message(struct amqp_target *t, const struct cbt_message *message)
{
    const bool log = cbt_message_is_log(message);
    const union {
        const uint8_t *in;
        void *out;
    } data = {message->body.data}; /* rabbitmq-c's type has no const; publishing only reads */
    const amqp_bytes_t body = {message->body.len, data.out};
    amqp_table_entry_t headers[] = {
        {.key = amqp_cstring_bytes("sensorId"),
         .value = {.kind = AMQP_FIELD_KIND_I32, .value.i32 = message->sensor_id}},
        {.key = amqp_cstring_bytes("hostId"),
         .value = {.kind = AMQP_FIELD_KIND_I64, .value.i64 = message->host_id}},
        {.key = amqp_cstring_bytes("nodeId"),
         .value = {.kind = AMQP_FIELD_KIND_I32, .value.i32 = message->node_id}},
        {.key = amqp_cstring_bytes("sensorHostName"),
         .value = {.kind = AMQP_FIELD_KIND_UTF8,
                   .value.bytes = amqp_cstring_bytes(message->host_name ? message->host_name : "")}},
    };
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG,
        .content_type = amqp_cstring_bytes(message->content_type),
        .delivery_mode = t->options.persistent ? AMQP_DELIVERY_PERSISTENT : AMQP_DELIVERY_NONPERSISTENT,
        .priority = 0,
    };
    const char *exchange = log ? RAW_EXCHANGE : EVENTS_EXCHANGE, *key = message->key;
    if (log && message->has_environment) {
        properties._flags |= AMQP_BASIC_HEADERS_FLAG;
        properties.headers = (amqp_table_t){sizeof(headers) / sizeof(headers[0]), headers};
    }
    if (t->options.exchange)
        exchange = t->options.exchange;
    if (t->options.queue) {
        exchange = "";
        key = t->options.queue;
    }
    return amqp_basic_publish(t->connection, CHANNEL, amqp_cstring_bytes(exchange), amqp_cstring_bytes(key),
                              t->options.check, 0, &properties, body);
}

/* What the broker says meanwhile, of memory for instance, is no confirmation, and no reason to give up. */
static int await_confirms(struct amqp_target *t, uint64_t at_most_open, struct cbt_err *err)
{
    int64_t last_ns = cbt_now_ns();
    while (t->published - t->confirmed > at_most_open) {
        const uint64_t before = t->confirmed;
        const int rc = service(t, (struct timeval){.tv_sec = 1}, err);
        if (rc)
            return rc;
        if (t->confirmed != before || t->blocked)
            last_ns = cbt_now_ns();
        else if (cbt_now_ns() - last_ns > CONFIRM_TIMEOUT_S * INT64_C(1000000000))
            return cbt_err_set(err, CBT_EIO, "the broker has confirmed nothing for %d s", CONFIRM_TIMEOUT_S);
    }
    return 0;
}

static int publish(void *self, const struct cbt_message *message, struct cbt_err *err)
{
    struct amqp_target *t = self;
    const int status = send_message(t, message);
    if (status != AMQP_STATUS_OK) {
        /* The broker's own words, where it said any, tell more than the broken pipe. */
        if (!service(t, (struct timeval){0}, err))
            set_library_error(err, "publishing", status);
        return CBT_EIO;
    }
    t->published++;
    if (t->published == 1 && t->options.check)
        return synchronize(t, err);
    if (t->options.confirm && t->published - t->confirmed >= CONFIRM_WINDOW)
        return await_confirms(t, CONFIRM_WINDOW / 2, err);
    if (t->published % SERVICE_EVERY == 0)
        return service(t, (struct timeval){0}, err);
    return 0;
}

static int flush(void *self, struct cbt_err *err)
{
    return service(self, (struct timeval){0}, err);
}

static int finish(void *self, struct cbt_err *err)
{
    struct amqp_target *t = self;
    int rc = synchronize(t, err);
    if (!rc && t->options.confirm)
        rc = await_confirms(t, 0, err);
    if (!rc) {
        amqp_channel_close(t->connection, CHANNEL, AMQP_REPLY_SUCCESS);
        amqp_connection_close(t->connection, AMQP_REPLY_SUCCESS);
    }
    return rc;
}

const struct cbt_target cbt_target_amqp = {open_target, publish, flush, finish, close_target};
