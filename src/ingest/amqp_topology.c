/* SPDX-License-Identifier: MIT */
/*
 * The queue and what is bound to it.
 *
 * The queue is ours: declared, durable, with the section's arguments. The exchanges are the server's: never
 * declared, and where one is missing the rest works on without it. What may be refused is asked on the side
 * channel, because a refusal closes the channel it is asked on. While consuming nothing here waits:
 * amqp_simple_rpc would buffer deliveries without bound. The side channel is a conversation of one method at
 * a time, whose answers come by way of cbt_amqp_read; connect drives the same conversation to its end before
 * the consumer starts, so that what is bound when the source counts as connected is bound. A round every 5 s:
 * bind what is not bound, ask for the backlog; once a minute bind everything anew (harmless where it is
 * bound), for an exchange that was deleted and declared again has lost its bindings without a word.
 */
#include <string.h>
#include <sys/time.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "ingest/source_amqp.h"

#define NS_PER_MS     INT64_C(1000000)
#define ROUND_MS      5000
#define REBIND_ROUNDS 12
#define CONSUMER_TAG  "cbtap"

/* ---- questions with an answer, before anything is consumed; also for probe ---- */

/* After a refusal: the broker has closed the channel and wants that confirmed. */
static int confirm_close(amqp_connection_state_t conn, amqp_channel_t channel, struct cbt_err *err)
{
    amqp_channel_close_ok_t ok = {0};
    int status = amqp_send_method(conn, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
    return status == AMQP_STATUS_OK ? CBT_OK : cbt_amqp_status_error(err, status, "channel.close-ok");
}

static int open_side_channel(amqp_connection_state_t conn, struct cbt_err *err)
{
    amqp_channel_open(conn, CBT_AMQP_SIDE_CHANNEL);
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn);
    return reply.reply_type == AMQP_RESPONSE_NORMAL ? CBT_OK
                                                    : cbt_amqp_reply_error(err, reply, "channel.open");
}

/* Closes the side channel, or takes a 404 for an answer. */
static int finish_look_up(amqp_connection_state_t conn, amqp_rpc_reply_t reply, const char *what,
                          bool *ret_exists, struct cbt_err *err)
{
    if (reply.reply_type == AMQP_RESPONSE_NORMAL) {
        *ret_exists = true;
        reply = amqp_channel_close(conn, CBT_AMQP_SIDE_CHANNEL, AMQP_REPLY_SUCCESS);
        return reply.reply_type == AMQP_RESPONSE_NORMAL ? CBT_OK
                                                        : cbt_amqp_reply_error(err, reply, "channel.close");
    }
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        const amqp_channel_close_t *close = reply.reply.decoded;
        if (close->reply_code == AMQP_NOT_FOUND) {
            *ret_exists = false;
            return confirm_close(conn, CBT_AMQP_SIDE_CHANNEL, err);
        }
    }
    return cbt_amqp_reply_error(err, reply, what);
}

int cbt_amqp_look_up_queue(amqp_connection_state_t conn, const char *queue, struct cbt_amqp_queue *ret_queue,
                           struct cbt_err *err)
{
    int rc = open_side_channel(conn, err);
    if (rc != 0)
        return rc;
    const amqp_queue_declare_ok_t *ok = amqp_queue_declare(
        conn, CBT_AMQP_SIDE_CHANNEL, amqp_cstring_bytes(queue), 1, 0, 0, 0, amqp_empty_table);
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn);
    struct cbt_amqp_queue queue_now = {0};
    if (ok != NULL)
        queue_now = (struct cbt_amqp_queue){.messages = ok->message_count, .consumers = ok->consumer_count};
    rc = finish_look_up(conn, reply, "queue.declare (passive)", &queue_now.exists, err);
    if (rc == 0)
        *ret_queue = queue_now;
    return rc;
}

int cbt_amqp_look_up_exchange(amqp_connection_state_t conn, const char *exchange, bool *ret_exists,
                              struct cbt_err *err)
{
    int rc = open_side_channel(conn, err);
    if (rc != 0)
        return rc;
    amqp_exchange_declare(conn, CBT_AMQP_SIDE_CHANNEL, amqp_cstring_bytes(exchange),
                          amqp_cstring_bytes("topic"), 1, 1, 0, 0, amqp_empty_table);
    return finish_look_up(conn, amqp_get_rpc_reply(conn), "exchange.declare (passive)", ret_exists, err);
}

int cbt_amqp_declare_queue(amqp_connection_state_t conn, const struct cbt_amqp_settings *settings,
                           uint32_t *ret_messages, struct cbt_err *err)
{
    amqp_table_t arguments = {.num_entries = settings->argument_count, .entries = settings->arguments};
    const amqp_queue_declare_ok_t *ok = amqp_queue_declare(
        conn, CBT_AMQP_CONSUME_CHANNEL, amqp_cstring_bytes(settings->options->queue), 0, 1, 0, 0, arguments);
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn);
    if (ok != NULL && reply.reply_type == AMQP_RESPONSE_NORMAL) {
        *ret_messages = ok->message_count;
        return CBT_OK;
    }
    cbt_amqp_reply_error(err, reply, "queue.declare");
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD &&
        ((const amqp_channel_close_t *)reply.reply.decoded)->reply_code == AMQP_PRECONDITION_FAILED) {
        if (err != NULL)
            err->rc = CBT_EREFUSED;
        return cbt_err_prefix(
            err,
            "the queue '%s' is there, declared otherwise; delete it, give it the options it was "
            "declared with, or set queue.declare = passive",
            settings->options->queue);
    }
    return cbt_err_prefix(err, "queue '%s'", settings->options->queue);
}

/* ---- the side channel's conversation ---- */

static int side_send(struct cbt_amqp *self, amqp_method_number_t method, void *arguments, const char *what,
                     struct cbt_err *err)
{
    int status = amqp_send_method(self->conn, CBT_AMQP_SIDE_CHANNEL, method, arguments);
    if (status == AMQP_STATUS_OK)
        return CBT_OK;
    self->broken = true;
    return cbt_amqp_status_error(err, status, what);
}

static int side_next(struct cbt_amqp *self, struct cbt_err *err);

static int side_open(struct cbt_amqp *self, struct cbt_err *err)
{
    amqp_channel_open_t open = {.out_of_band = amqp_empty_bytes};
    self->side = CBT_AMQP_SIDE_OPENING;
    return side_send(self, AMQP_CHANNEL_OPEN_METHOD, &open, "channel.open", err);
}

/* The next method of this round: a binding that is neither bound nor failed, then the count, then rest. */
static int side_next(struct cbt_amqp *self, struct cbt_err *err)
{
    if (!self->side_open)
        return side_open(self, err);
    amqp_bytes_t queue = amqp_cstring_bytes(self->settings.options->queue);
    for (size_t i = 0; i < self->binding_count; i++) {
        const struct cbt_amqp_binding *binding = &self->bindings[i];
        if (binding->bound || binding->failed)
            continue;
        amqp_queue_bind_t bind = {.queue = queue,
                                  .exchange = amqp_cstring_bytes(binding->exchange),
                                  .routing_key = amqp_cstring_bytes(binding->key),
                                  .arguments = amqp_empty_table};
        self->side = CBT_AMQP_SIDE_BINDING;
        self->side_binding = i;
        return side_send(self, AMQP_QUEUE_BIND_METHOD, &bind, "queue.bind", err);
    }
    amqp_queue_declare_t declare = {.queue = queue, .passive = 1, .arguments = amqp_empty_table};
    self->side = CBT_AMQP_SIDE_COUNTING;
    return side_send(self, AMQP_QUEUE_DECLARE_METHOD, &declare, "queue.declare (passive)", err);
}

static void on_bound(struct cbt_amqp *self)
{
    struct cbt_amqp_binding *binding = &self->bindings[self->side_binding];
    binding->bound = true;
    if (binding->reported)
        cbt_log_info("bound at last", CBT_S("source", self->settings.config->name),
                     CBT_S("exchange", binding->exchange), CBT_S("routing_key", binding->key));
    binding->reported = false;
}

/* A binding was refused: 404, its exchange is missing and with it all bindings to it; 403, no permission. */
static void on_bind_refused(struct cbt_amqp *self, const amqp_channel_close_t *close)
{
    const struct cbt_amqp_binding *refused = &self->bindings[self->side_binding];
    bool report = !refused->reported;
    for (size_t i = 0; i < self->binding_count; i++) {
        struct cbt_amqp_binding *binding = &self->bindings[i];
        if (strcmp(binding->exchange, refused->exchange) != 0)
            continue;
        binding->failed = true;
        binding->reported = true;
    }
    if (!report)
        return;
    struct cbt_err text;
    cbt_amqp_close_error(&text, close->reply_code, close->reply_text, "queue.bind");
    cbt_log_warning(
        close->reply_code == AMQP_NOT_FOUND
            ? "the exchange is not there (is this the EDR server's RabbitMQ?): nothing comes from it; "
              "trying again every 5 s"
            : "cannot bind the queue, which needs permission to read the exchange and to write the queue: "
              "nothing "
              "comes from this exchange; trying again every 5 s",
        CBT_S("source", self->settings.config->name), CBT_S("exchange", refused->exchange),
        CBT_S("reason", text.text));
}

static int on_side_close(struct cbt_amqp *self, const amqp_channel_close_t *close, struct cbt_err *err)
{
    enum cbt_amqp_side was = self->side;
    self->side_open = false;
    int rc = confirm_close(self->conn, CBT_AMQP_SIDE_CHANNEL, err);
    if (rc != 0) {
        self->broken = true;
        return rc;
    }
    if (was == CBT_AMQP_SIDE_BINDING) {
        on_bind_refused(self, close);
        return side_next(self, err);
    }
    /* The count was refused: no permission, or the queue is gone, of which basic.cancel tells. */
    self->side = CBT_AMQP_SIDE_IDLE;
    atomic_store_explicit(&self->stats->gauge_queue_messages, -1, memory_order_relaxed);
    return CBT_OK;
}

static void on_counted(struct cbt_amqp *self, const amqp_queue_declare_ok_t *ok)
{
    atomic_store_explicit(&self->stats->gauge_queue_messages, ok->message_count, memory_order_relaxed);
    self->others = ok->consumer_count - (self->consuming && ok->consumer_count > 0);
    self->side = CBT_AMQP_SIDE_IDLE;
}

int cbt_amqp_on_side_frame(struct cbt_amqp *self, const amqp_frame_t *frame, struct cbt_err *err)
{
    if (frame->frame_type != AMQP_FRAME_METHOD)
        return CBT_OK;
    const amqp_method_t *method = &frame->payload.method;
    switch (method->id) {
    case AMQP_CHANNEL_OPEN_OK_METHOD:
        self->side_open = true;
        return side_next(self, err);
    case AMQP_QUEUE_BIND_OK_METHOD:
        on_bound(self);
        return side_next(self, err);
    case AMQP_QUEUE_DECLARE_OK_METHOD:
        on_counted(self, method->decoded);
        return CBT_OK;
    case AMQP_CHANNEL_CLOSE_METHOD:
        return on_side_close(self, method->decoded, err);
    default:
        return CBT_OK;
    }
}

static int side_begin(struct cbt_amqp *self, int64_t now_ns, struct cbt_err *err)
{
    self->side_round_ns = now_ns;
    bool rebind = ++self->side_rounds % REBIND_ROUNDS == 0;
    for (size_t i = 0; i < self->binding_count; i++) {
        self->bindings[i].failed = false;
        if (rebind)
            self->bindings[i].bound = false;
    }
    return side_next(self, err);
}

int cbt_amqp_side_tick(struct cbt_amqp *self, int64_t now_ns, struct cbt_err *err)
{
    if (self->side != CBT_AMQP_SIDE_IDLE || now_ns - self->side_round_ns < ROUND_MS * NS_PER_MS ||
        !cbt_amqp_writable(self))
        return CBT_OK;
    return side_begin(self, now_ns, err);
}

/* ---- connect ---- */

/* Runs one round to its end. Nothing is consumed yet, so no delivery can come between. */
static int first_round(struct cbt_amqp *self, struct cbt_err *err)
{
    int64_t now = cbt_now_ns();
    int64_t timeout_ns = (int64_t)self->settings.options->connect_timeout_ms * NS_PER_MS;
    self->side = CBT_AMQP_SIDE_IDLE;
    self->side_open = false;
    self->side_rounds = 0;
    for (size_t i = 0; i < self->binding_count; i++)
        self->bindings[i].bound = false;
    int rc = side_begin(self, now, err);
    int64_t step_ns = now;
    while (rc == 0 && self->side != CBT_AMQP_SIDE_IDLE) {
        int64_t left_ns = step_ns + timeout_ns - cbt_now_ns();
        if (left_ns <= 0) {
            self->broken = true;
            return cbt_err_set(err, CBT_EIO, "the broker does not answer within connect_timeout_ms");
        }
        struct timeval left = {.tv_sec = left_ns / 1000000000, .tv_usec = left_ns % 1000000000 / 1000};
        amqp_frame_t frame;
        int status = amqp_simple_wait_frame_noblock(self->conn, &frame, &left);
        if (status == AMQP_STATUS_TIMEOUT)
            continue;
        if (status != AMQP_STATUS_OK) {
            self->broken = true;
            return cbt_amqp_status_error(err, status, "binding the queue");
        }
        step_ns = cbt_now_ns();
        if (frame.channel == CBT_AMQP_SIDE_CHANNEL)
            rc = cbt_amqp_on_side_frame(self, &frame, err);
        else if (frame.channel == 0 && frame.frame_type == AMQP_FRAME_METHOD)
            rc = cbt_amqp_on_connection_method(self, &frame.payload.method, err);
        amqp_maybe_release_buffers(self->conn);
    }
    return rc;
}

/* A connection that was cut without a word lives on for the broker, with the messages that it was sent, until
 * its heartbeats are missed there, too. Who consumes before that gets later messages first. With several
 * receivers there is no order to keep; a single active consumer is made to wait by the broker. */
static bool ghost_holds_queue(const struct cbt_amqp *self, const struct cbt_amqp_queue *queue)
{
    const struct cbt_options_amqp *options = self->settings.options;
    return queue->consumers > self->others && cbt_now_ns() < self->ghost_until_ns &&
           options->receivers == 1 && !options->queue_single_active;
}

static int set_up_queue(struct cbt_amqp *self, struct cbt_err *err)
{
    const struct cbt_options_amqp *options = self->settings.options;
    struct cbt_amqp_queue queue = {0};
    int rc = cbt_amqp_look_up_queue(self->conn, options->queue, &queue, err);
    if (rc != 0)
        return cbt_err_prefix(err, "queue '%s'", options->queue);
    if (ghost_holds_queue(self, &queue))
        return cbt_err_set(
            err, CBT_EIO,
            "the broker does not know yet that our last connection is dead, and keeps messages "
            "of the queue '%s' for it: reading on before it does would break the order",
            options->queue);
    uint32_t messages = queue.messages;
    if (strcmp(options->queue_declare, "passive") == 0) {
        if (!queue.exists)
            return cbt_err_set(err, CBT_EREFUSED, "there is no queue '%s', and queue.declare = passive",
                               options->queue);
    } else {
        rc = cbt_amqp_declare_queue(self->conn, &self->settings, &messages, err);
        if (rc != 0)
            return rc;
        if (!queue.exists)
            cbt_log_info("created the queue: events from before now are not in it",
                         CBT_S("source", self->settings.config->name), CBT_S("queue", options->queue));
    }
    atomic_store_explicit(&self->stats->gauge_queue_messages, messages, memory_order_relaxed);
    return CBT_OK;
}

static int consume(struct cbt_amqp *self, struct cbt_err *err)
{
    const struct cbt_options_amqp *options = self->settings.options;
    amqp_basic_qos(self->conn, CBT_AMQP_CONSUME_CHANNEL, 0, (uint16_t)options->prefetch, 0);
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(self->conn);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return cbt_amqp_reply_error(err, reply, "basic.qos");
    amqp_basic_consume(self->conn, CBT_AMQP_CONSUME_CHANNEL, amqp_cstring_bytes(options->queue),
                       amqp_cstring_bytes(CONSUMER_TAG), 0, 0, 0, amqp_empty_table);
    reply = amqp_get_rpc_reply(self->conn);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
        cbt_amqp_reply_error(err, reply, "basic.consume");
        return cbt_err_prefix(err, "queue '%s'", options->queue);
    }
    self->consuming = true;
    return CBT_OK;
}

int cbt_amqp_set_up(struct cbt_amqp *self, struct cbt_err *err)
{
    int rc;
    if ((rc = set_up_queue(self, err)) != 0 || (rc = first_round(self, err)) != 0)
        return rc;
    return consume(self, err);
}
