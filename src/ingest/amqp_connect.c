/* SPDX-License-Identifier: MIT */
/*
 * Reaching the broker: socket, login, and the errors of both in words that say what to do.
 *
 * Every step is bounded by connect_timeout_ms, but for the resolver's own time-outs.
 */
#include <amqp_tcp_socket.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "cbtap/clock.h"
#include "ingest/source_amqp.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

/* Two channels, and some room for brokers that count them otherwise. */
#define CHANNEL_MAX 8

int cbt_amqp_status_error(struct cbt_err *err, int status, const char *what)
{
    /* What the library cannot read it would not be able to read at once either: not a reason to try again
     * soon. */
    bool refused = status == AMQP_STATUS_BAD_AMQP_DATA || status == AMQP_STATUS_UNKNOWN_CLASS ||
                   status == AMQP_STATUS_UNKNOWN_METHOD || status == AMQP_STATUS_INCOMPATIBLE_AMQP_VERSION ||
                   status == AMQP_STATUS_BROKER_UNSUPPORTED_SASL_METHOD;
    char reason[CBT_ERR_TEXT_BYTES / 2] = "";
    if (status == AMQP_STATUS_SSL_ERROR)
        refused = cbt_amqp_tls_reason(reason, sizeof(reason));
    const char *hint =
        status == AMQP_STATUS_BROKER_UNSUPPORTED_SASL_METHOD
            ? " (sasl: RabbitMQ offers external with its plugin rabbitmq_auth_mechanism_ssl and "
              "auth_mechanisms.N = EXTERNAL, plain with auth_mechanisms.N = PLAIN)"
            : "";
    return cbt_err_set(err, refused ? CBT_EREFUSED : CBT_EIO, "%s: %s%s%s%s", what,
                       amqp_error_string2(status), hint, reason[0] != '\0' ? ": " : "", reason);
}

/* Codes of AMQP 0-9-1, section 1.8 of the specification's generated documentation (amqp-xml-doc0-9-1). */
int cbt_amqp_close_error(struct cbt_err *err, uint16_t code, amqp_bytes_t text, const char *what)
{
    enum cbt_rc rc = CBT_EIO;
    const char *hint = "";
    switch (code) {
    case AMQP_ACCESS_REFUSED:
        rc = CBT_EREFUSED;
        hint = " (user and password of url or cb_conf, and the user's permissions)";
        break;
    case AMQP_NOT_ALLOWED:
        rc = CBT_EREFUSED;
        hint = " (the virtual host of the url, and the user's permission for it)";
        break;
    case AMQP_NOT_FOUND:
    case AMQP_NOT_IMPLEMENTED:
        rc = CBT_EREFUSED;
        break;
    case AMQP_RESOURCE_LOCKED:
        rc = CBT_EREFUSED;
        hint = " (another connection has it to itself)";
        break;
    default:
        break;
    }
    return cbt_err_set(err, rc, "%s: the broker says %u %.*s%s", what, code, (int)text.len,
                       (const char *)text.bytes, hint);
}

int cbt_amqp_reply_error(struct cbt_err *err, amqp_rpc_reply_t reply, const char *what)
{
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION) {
        if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
            const amqp_connection_close_t *close = reply.reply.decoded;
            return cbt_amqp_close_error(err, close->reply_code, close->reply_text, what);
        }
        if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
            const amqp_channel_close_t *close = reply.reply.decoded;
            return cbt_amqp_close_error(err, close->reply_code, close->reply_text, what);
        }
        return cbt_err_set(err, CBT_EIO, "%s: the broker answers with method 0x%08X", what, reply.reply.id);
    }
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        return cbt_amqp_status_error(err, reply.library_error, what);
    return cbt_err_set(err, CBT_EIO, "%s: no answer", what);
}

struct cbt_text cbt_amqp_server_property(amqp_connection_state_t conn, const char *name)
{
    const amqp_table_t *table = amqp_get_server_properties(conn);
    for (int i = 0; i < table->num_entries; i++) {
        const amqp_table_entry_t *entry = &table->entries[i];
        if (cbt_amqp_is(entry->key, name, strlen(name)) && entry->value.kind == AMQP_FIELD_KIND_UTF8)
            return cbt_amqp_text(entry->value.value.bytes);
    }
    return (struct cbt_text){0};
}

static int open_plain(amqp_connection_state_t conn, const struct amqp_connection_info *broker,
                      struct timeval *timeout, amqp_socket_t **ret_socket, struct cbt_err *err)
{
    amqp_socket_t *socket = amqp_tcp_socket_new(conn);
    if (socket == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a socket");
    errno = 0;
    int status = amqp_socket_open_noblock(socket, broker->host, broker->port, timeout);
    if (status != AMQP_STATUS_OK)
        return cbt_amqp_open_error(err, broker, status);
    *ret_socket = socket;
    return CBT_OK;
}

int cbt_amqp_open_error(struct cbt_err *err, const struct amqp_connection_info *broker, int status)
{
    /* The library leaves to errno what kept it from making a socket at all. */
    const char *hint = "";
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        hint = strerrordesc_np(errno);
    else if (status == AMQP_STATUS_SOCKET_ERROR)
        hint = "most often: nothing listens there";
    return cbt_err_set(err, CBT_EIO, "cannot connect to %s port %d: %s%s%s%s", broker->host, broker->port,
                       amqp_error_string2(status), hint[0] != '\0' ? " (" : "", hint,
                       hint[0] != '\0' ? ")" : "");
}

static int open_socket(amqp_connection_state_t conn, const struct cbt_amqp_settings *settings,
                       struct cbt_amqp_session *ret_session, struct cbt_err *err)
{
    uint64_t timeout_ms = settings->options->connect_timeout_ms;
    struct timeval timeout = {.tv_sec = (time_t)(timeout_ms / 1000),
                              .tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000)};
    amqp_set_rpc_timeout(conn, &timeout);
    amqp_set_handshake_timeout(conn, &timeout);
    /* The library sets TCP_NODELAY and SO_KEEPALIVE itself. */
    amqp_socket_t *socket = NULL;
    int rc = settings->broker.ssl ? cbt_amqp_tls_open(conn, settings, &timeout, &socket, ret_session, err)
                                  : open_plain(conn, &settings->broker, &timeout, &socket, err);
    if (rc != 0)
        return rc;
    /* A peer that takes no byte for two heartbeats is gone, also while nothing is read from it. */
    unsigned user_timeout_ms = (unsigned)(2 * settings->options->heartbeat_ms);
    if (setsockopt(amqp_socket_get_sockfd(socket), IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
                   sizeof(user_timeout_ms)) != 0)
        return cbt_err_set(err, CBT_EIO, "TCP_USER_TIMEOUT: %s", strerror(errno));
    return CBT_OK;
}

static amqp_table_entry_t text_entry(const char *key, const char *text)
{
    return (amqp_table_entry_t){
        .key = amqp_cstring_bytes(key),
        .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(text)},
    };
}

static amqp_table_entry_t true_entry(const char *key)
{
    return (amqp_table_entry_t){
        .key = amqp_cstring_bytes(key),
        .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1},
    };
}

static int log_in(amqp_connection_state_t conn, const struct cbt_amqp_settings *settings,
                  const char *client_name, struct cbt_err *err)
{
    /* Without consumer_cancel_notify the broker keeps it to itself that the queue is gone. */
    amqp_table_entry_t capabilities[] = {true_entry("consumer_cancel_notify"), true_entry("basic.nack"),
                                         true_entry("connection.blocked"),
                                         true_entry("authentication_failure_close")};
    amqp_table_entry_t properties[] = {
        text_entry("product", "cbtap"),
        text_entry("version", CBTAP_VERSION),
        text_entry("information", "Carbon Black EDR events to Kafka"),
        text_entry("connection_name", client_name),
        {.key = amqp_cstring_bytes("capabilities"),
         .value = {.kind = AMQP_FIELD_KIND_TABLE,
                   .value.table = {.num_entries = sizeof(capabilities) / sizeof(*capabilities),
                                   .entries = capabilities}}},
    };
    amqp_table_t table = {.num_entries = sizeof(properties) / sizeof(*properties), .entries = properties};
    const struct amqp_connection_info *broker = &settings->broker;
    /* RabbitMQ may take three intervals to miss a peer: so that it does within two heartbeat_ms, the interval
     * is shorter. */
    int heartbeat_s = (int)(settings->options->heartbeat_ms * 2 / 3 / 1000);
    if (heartbeat_s == 0)
        heartbeat_s = 1;
    bool external = strcmp(settings->options->sasl, "external") == 0;
    /* RabbitMQ takes the user from the certificate, whatever identity is sent with EXTERNAL. */
    amqp_rpc_reply_t reply =
        external ? amqp_login_with_properties(conn, broker->vhost, CHANNEL_MAX, AMQP_DEFAULT_FRAME_SIZE,
                                              heartbeat_s, &table, AMQP_SASL_METHOD_EXTERNAL, broker->user)
                 : amqp_login_with_properties(conn, broker->vhost, CHANNEL_MAX, AMQP_DEFAULT_FRAME_SIZE,
                                              heartbeat_s, &table, AMQP_SASL_METHOD_PLAIN, broker->user,
                                              broker->password);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
        cbt_amqp_reply_error(err, reply, "login");
        /* With TLS 1.3 the broker judges our certificate after our side of the handshake is done; its alert
         * is lost when what we write meanwhile meets a closed socket. */
        if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION &&
            reply.library_error == AMQP_STATUS_SSL_ERROR && err != NULL && err->rc == CBT_EIO)
            cbt_err_set(
                err, CBT_EREFUSED,
                "login: the broker ended the connection just after the TLS handshake: as a rule it "
                "wants a client certificate (tls.cert, tls.key), or refuses that of tls.cert; its log "
                "says which");
        return cbt_err_prefix(err, "%s port %d, virtual host '%s', user %s%s%s", broker->host, broker->port,
                              broker->vhost, external ? "" : "'", external ? "of tls.cert" : broker->user,
                              external ? "" : "'");
    }
    return CBT_OK;
}

int cbt_amqp_login(amqp_connection_state_t *ret_conn, const struct cbt_amqp_settings *settings,
                   const char *client_name, struct cbt_amqp_session *ret_session, struct cbt_err *err)
{
    int rc;
    amqp_connection_state_t conn = amqp_new_connection();
    if (conn == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a connection");
    if ((rc = open_socket(conn, settings, ret_session, err)) != 0)
        goto fail;
    ret_session->reached = true;
    if ((rc = log_in(conn, settings, client_name, err)) != 0)
        goto fail;
    amqp_channel_open(conn, CBT_AMQP_CONSUME_CHANNEL);
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
        rc = cbt_amqp_reply_error(err, reply, "channel.open");
        goto fail;
    }
    *ret_conn = conn;
    return CBT_OK;
fail:
    amqp_destroy_connection(conn);
    return rc;
}

void cbt_amqp_farewell(amqp_connection_state_t conn)
{
    amqp_connection_close_t method = {.reply_code = AMQP_REPLY_SUCCESS,
                                      .reply_text = amqp_cstring_bytes("bye")};
    if (amqp_send_method(conn, 0, AMQP_CONNECTION_CLOSE_METHOD, &method) != AMQP_STATUS_OK)
        return;
    int64_t end_ns = cbt_now_ns() + CBT_AMQP_FAREWELL_MS * NS_PER_MS;
    for (int64_t left_ns; (left_ns = end_ns - cbt_now_ns()) > 0;) {
        struct timeval left = {.tv_sec = left_ns / NS_PER_S, .tv_usec = left_ns % NS_PER_S / 1000};
        amqp_frame_t frame;
        if (amqp_simple_wait_frame_noblock(conn, &frame, &left) != AMQP_STATUS_OK)
            return;
        if (frame.channel == 0 && frame.frame_type == AMQP_FRAME_METHOD &&
            (frame.payload.method.id == AMQP_CONNECTION_CLOSE_OK_METHOD ||
             frame.payload.method.id == AMQP_CONNECTION_CLOSE_METHOD))
            return;
        amqp_maybe_release_buffers(conn);
    }
}
