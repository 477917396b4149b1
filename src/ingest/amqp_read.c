/* SPDX-License-Identifier: MIT */
/*
 * Deliveries: basic.deliver, header, body frames, put together into cbt_frames.
 *
 * Happy path: the library's frames are taken as long as there are any; a body is copied once, from the
 * library's buffer to the frame's memory, with routing key, content type and host name behind it. Then the
 * library's buffer is released, so that it stays as small as one frame. Failure: without budget the header is
 * kept and the next read goes on there. What ends the channel or the connection comes as an error, with the
 * broker's code and text. A message above frame_max_bytes goes to amqp_spill.c.
 */
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "cbtap/log.h"
#include "ingest/source_amqp.h"

static int lost(struct cbt_amqp *self, struct cbt_err *err, const char *text)
{
    self->broken = true;
    return cbt_err_set(err, CBT_EIO, "%s", text);
}

int cbt_amqp_on_connection_method(struct cbt_amqp *self, const amqp_method_t *method, struct cbt_err *err)
{
    if (method->id != AMQP_CONNECTION_CLOSE_METHOD)
        return CBT_OK; /* blocked and unblocked are for those who publish */
    const amqp_connection_close_t *close = method->decoded;
    amqp_connection_close_ok_t ok = {0};
    if (cbt_amqp_writable(self))
        amqp_send_method(self->conn, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
    self->broken = self->told_over = true;
    return cbt_amqp_close_error(err, close->reply_code, close->reply_text,
                                "the broker closed the connection");
}

void cbt_amqp_read_reset(struct cbt_amqp *self)
{
    if (self->frame != NULL)
        cbt_receiver_untake(self->receiver, self->frame);
    cbt_dead_letter_abort(self->spill);
    self->frame = NULL;
    self->spill = NULL;
    self->deliver = NULL;
    self->stage = CBT_AMQP_WANT_METHOD;
}

/* True where the key is in the log already: with many of them, what the verdicts remember is not enough. */
static bool is_named(struct cbt_amqp *self, amqp_bytes_t key)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (size_t i = 0; i < key.len; i++)
        hash = (hash ^ ((const uint8_t *)key.bytes)[i]) * UINT64_C(1099511628211);
    for (unsigned i = 0; i < self->unwanted_logged; i++)
        if (self->unwanted_named[i] == hash)
            return true;
    self->unwanted_named[self->unwanted_logged++] = hash;
    return false;
}

/* Names a routing key that no pattern of the configuration matches, once, with what puts an end to it. */
static void log_unwanted(struct cbt_amqp *self, const amqp_basic_deliver_t *deliver)
{
    if (self->unwanted_logged == CBT_AMQP_UNWANTED_LOGGED_MAX || is_named(self, deliver->routing_key))
        return;
    char key[CBT_AMQP_SHORTSTR_BYTES_MAX + 1], exchange[CBT_AMQP_SHORTSTR_BYTES_MAX + 1], command[1024];
    snprintf(key, sizeof(key), "%.*s", (int)deliver->routing_key.len,
             (const char *)deliver->routing_key.bytes);
    snprintf(exchange, sizeof(exchange), "%.*s", (int)deliver->exchange.len,
             (const char *)deliver->exchange.bytes);
    /* The broker does not tell which binding a message came by; on the fanout exchange the key is "", written
     * "~". */
    bool raw = CBT_AMQP_IS(deliver->exchange, CBT_AMQP_RAW_EXCHANGE);
    snprintf(command, sizeof(command),
             "rabbitmqadmin --vhost=%s delete binding source=%s destination_type=queue destination=%s "
             "properties_key=%s",
             self->settings.broker.vhost, exchange, self->settings.options->queue, raw ? "~" : key);
    cbt_log_warning(
        "messages come by an old binding that is not configured: they are filtered; unbind it (with its "
        "own key, where that is a pattern)",
        CBT_S("source", self->settings.config->name), CBT_S("exchange", exchange), CBT_S("routing_key", key),
        CBT_S("command", command),
        CBT_S("note",
              self->unwanted_logged == CBT_AMQP_UNWANTED_LOGGED_MAX ? "further keys are not named" : ""));
}

/* What the exchange tells of a message: how it is framed, and whether the configuration asks for it. */
static void judge(struct cbt_amqp *self, struct cbt_frame *frame)
{
    const amqp_basic_deliver_t *deliver = self->deliver;
    bool is_new = false;
    if (CBT_AMQP_IS(deliver->exchange, CBT_AMQP_RAW_EXCHANGE)) {
        frame->framing = CBT_FRAMING_BUNDLE;
        frame->unwanted = !self->settings.options->raw;
        is_new = !self->raw_unwanted_seen;
        self->raw_unwanted_seen = true;
    } else if (CBT_AMQP_IS(deliver->exchange, CBT_AMQP_EVENTS_EXCHANGE)) {
        bool is_event = cbt_content_type_is(frame->content_type, "application/protobuf");
        frame->framing = is_event ? CBT_FRAMING_EVENT : CBT_FRAMING_DETECT;
        frame->unwanted =
            !cbt_amqp_wanted(&self->verdicts, self->settings.patterns, self->settings.pattern_count,
                             cbt_amqp_text(deliver->routing_key), &is_new);
    }
    if (frame->unwanted && is_new)
        log_unwanted(self, deliver);
}

static struct cbt_text put_text(uint8_t **pos, struct cbt_text text)
{
    struct cbt_text copy = {*pos, text.len};
    if (text.len != 0)
        memcpy(*pos, text.data, text.len);
    *pos += text.len;
    return copy;
}

static void push(struct cbt_amqp *self)
{
    struct cbt_frame *frame = self->frame;
    self->frame = NULL;
    self->stage = CBT_AMQP_WANT_METHOD;
    cbt_receiver_push(self->receiver, frame);
}

/* Takes memory for the delivery whose header is there. CBT_ELIMIT: none to be had, the header is kept. */
static int take(struct cbt_amqp *self)
{
    const amqp_basic_deliver_t *deliver = self->deliver;
    bool spilled = self->body_bytes > cbt_receiver_frame_max_bytes(self->receiver);
    size_t body_bytes = spilled ? 0 : (size_t)self->body_bytes;
    size_t texts = deliver->routing_key.len + self->content_type.len + self->env.host_name.len;
    struct cbt_frame *frame = cbt_receiver_take(self->receiver, body_bytes + texts);
    if (frame == NULL) {
        self->stage = CBT_AMQP_HELD;
        return CBT_ELIMIT;
    }
    uint8_t *pos = (uint8_t *)frame->body.data + body_bytes;
    frame->body.len = body_bytes;
    frame->routing_key = put_text(&pos, cbt_amqp_text(deliver->routing_key));
    frame->content_type = put_text(&pos, self->content_type);
    frame->env = self->env;
    frame->env.host_name = put_text(&pos, self->env.host_name);
    frame->redelivered = deliver->redelivered != 0;
    frame->spilled = spilled;
    frame->poison_tries = (uint32_t)self->settings.options->poison_tries;
    frame->token = deliver->delivery_tag;
    frame->generation = self->generation;
    judge(self, frame);
    self->frame = frame;
    self->body_read = 0;
    self->stage = CBT_AMQP_BODY;
    self->deliver = NULL;
    amqp_maybe_release_buffers_on_channel(self->conn, CBT_AMQP_CONSUME_CHANNEL);
    if (spilled)
        cbt_amqp_spill_begin(self);
    else if (body_bytes == 0)
        push(self);
    return CBT_OK;
}

static int on_header(struct cbt_amqp *self, const amqp_frame_t *frame, struct cbt_err *err)
{
    if (frame->payload.properties.class_id != AMQP_BASIC_CLASS)
        return lost(self, err, "a message's header is of another class than basic");
    const amqp_basic_properties_t *properties = frame->payload.properties.decoded;
    self->body_bytes = frame->payload.properties.body_size;
    self->content_type = (struct cbt_text){0};
    self->env = (struct cbt_environment){0};
    if ((properties->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG) != 0)
        self->content_type = cbt_amqp_text(properties->content_type);
    if ((properties->_flags & AMQP_BASIC_HEADERS_FLAG) != 0) {
        unsigned unreadable = cbt_amqp_read_headers(&properties->headers, &self->env);
        if (unreadable != 0)
            cbt_count(self->stats, CBT_COUNT_unreadable_headers, unreadable);
    }
    return take(self);
}

static int on_body(struct cbt_amqp *self, amqp_bytes_t fragment, struct cbt_err *err)
{
    if (fragment.len > self->body_bytes - self->body_read)
        return lost(self, err, "a message's body is longer than its header says");
    if (self->stage == CBT_AMQP_BODY)
        memcpy((uint8_t *)self->frame->body.data + self->body_read, fragment.bytes, fragment.len);
    else if (self->stage == CBT_AMQP_SPILL)
        cbt_amqp_spill_append(self, fragment);
    self->body_read += fragment.len;
    amqp_maybe_release_buffers_on_channel(self->conn, CBT_AMQP_CONSUME_CHANNEL);
    if (self->body_read < self->body_bytes)
        return CBT_OK;
    if (self->stage == CBT_AMQP_BODY || cbt_amqp_spill_end(self))
        push(self);
    return CBT_OK;
}

static int on_consume_method(struct cbt_amqp *self, const amqp_method_t *method, struct cbt_err *err)
{
    switch (method->id) {
    case AMQP_BASIC_DELIVER_METHOD:
        if (self->stage != CBT_AMQP_WANT_METHOD)
            return lost(self, err, "a delivery begins within another");
        self->deliver = method->decoded;
        if (!cbt_amqp_acks_deliver(&self->acks, self->deliver->delivery_tag))
            return lost(self, err, "the broker's delivery tags are out of sequence, or beyond the prefetch");
        self->stage = CBT_AMQP_WANT_HEADER;
        return CBT_OK;
    case AMQP_BASIC_CANCEL_METHOD:
        self->told_over = true;
        return lost(self, err,
                    "the broker cancelled the consumer: the queue was deleted, or moved to another node");
    case AMQP_CHANNEL_CLOSE_METHOD: {
        const amqp_channel_close_t *close = method->decoded;
        self->broken = self->told_over = true;
        return cbt_amqp_close_error(err, close->reply_code, close->reply_text,
                                    "the broker closed the channel");
    }
    default:
        return CBT_OK;
    }
}

static int on_frame(struct cbt_amqp *self, const amqp_frame_t *frame, struct cbt_err *err)
{
    if (frame->channel == CBT_AMQP_SIDE_CHANNEL) {
        int rc = cbt_amqp_on_side_frame(self, frame, err);
        amqp_maybe_release_buffers_on_channel(self->conn, CBT_AMQP_SIDE_CHANNEL);
        return rc;
    }
    if (frame->channel == 0) {
        int rc = frame->frame_type == AMQP_FRAME_METHOD
                     ? cbt_amqp_on_connection_method(self, &frame->payload.method, err)
                     : CBT_OK;
        amqp_maybe_release_buffers_on_channel(self->conn, 0);
        return rc;
    }
    switch (frame->frame_type) {
    case AMQP_FRAME_METHOD:
        return on_consume_method(self, &frame->payload.method, err);
    case AMQP_FRAME_HEADER:
        if (self->stage != CBT_AMQP_WANT_HEADER)
            return lost(self, err, "a message's header comes out of turn");
        return on_header(self, frame, err);
    case AMQP_FRAME_BODY:
        if (self->stage < CBT_AMQP_BODY)
            return lost(self, err, "a message's body comes out of turn");
        return on_body(self, frame->payload.body_fragment, err);
    default:
        return CBT_OK;
    }
}

/* The library could not give a frame. Where it cannot decode a message's header, it never will: what came
 * before is acknowledged first, so that the next connection does not get it again, and again. */
static int on_status(struct cbt_amqp *self, int status, struct cbt_err *err)
{
    self->broken = true;
    int rc = cbt_amqp_status_error(err, status, "reading from the broker");
    if (rc != CBT_EREFUSED || self->stage != CBT_AMQP_WANT_HEADER)
        return rc;
    self->broken = false;
    cbt_amqp_status_error(&self->refusal, status, "the headers of a message, which stays in the queue");
    self->stage = CBT_AMQP_REFUSE;
    return CBT_OK;
}

int cbt_amqp_read(void *arg, unsigned frames_max, struct cbt_err *err)
{
    struct cbt_amqp *self = arg;
    unsigned pushed = 0;
    while (pushed < frames_max) {
        enum cbt_amqp_stage before = self->stage;
        int rc;
        if (self->stage == CBT_AMQP_REFUSE)
            return pushed != 0 ? (int)pushed : cbt_amqp_refuse(self, err);
        if (self->stage == CBT_AMQP_HELD) {
            rc = take(self);
        } else {
            struct timeval no_wait = {0};
            amqp_frame_t frame;
            int status = amqp_simple_wait_frame_noblock(self->conn, &frame, &no_wait);
            if (status == AMQP_STATUS_TIMEOUT)
                break;
            rc = status == AMQP_STATUS_OK ? on_frame(self, &frame, err) : on_status(self, status, err);
        }
        if (rc == CBT_ELIMIT)
            return pushed != 0 ? (int)pushed : CBT_ELIMIT;
        if (rc != 0)
            return rc;
        pushed += before != CBT_AMQP_WANT_METHOD && self->stage == CBT_AMQP_WANT_METHOD;
    }
    return (int)pushed;
}
