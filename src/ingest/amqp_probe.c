/* SPDX-License-Identifier: MIT */
/* `check --connect`: what a section of type amqp would find, without changing anything on the broker. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ingest/source_amqp.h"

struct report {
    char *text;
    size_t size, len;
};

static void put(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(struct report *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(r->text + r->len, r->size - r->len, fmt, args);
    va_end(args);
    if (n > 0)
        r->len = (size_t)n < r->size - r->len ? r->len + (size_t)n : r->size - 1;
}

static void report_tls(struct report *r, const struct cbt_amqp_settings *settings,
                       const struct cbt_amqp_session *session)
{
    const struct cbt_options_amqp *options = settings->options;
    if (!settings->broker.ssl) {
        put(r, ", not encrypted");
        return;
    }
    put(r, ", %s %s, ", session->protocol, session->cipher);
    if (options->tls_verify)
        put(r, "certificate verified by %s, good until %s",
            options->tls_ca[0] != '\0' ? options->tls_ca : "the system's CAs", session->until);
    else
        put(r, "certificate NOT VERIFIED (tls.verify = false)");
}

static int report_exchange(struct report *r, amqp_connection_state_t conn, const char *exchange,
                           struct cbt_err *err)
{
    bool exists;
    int rc = cbt_amqp_look_up_exchange(conn, exchange, &exists, err);
    if (rc != 0)
        return cbt_err_prefix(err, "exchange '%s'", exchange);
    put(r, ", exchange %s %s", exchange, exists ? "found" : "MISSING (is this the EDR server's RabbitMQ?)");
    return CBT_OK;
}

static int report_queue(struct report *r, amqp_connection_state_t conn,
                        const struct cbt_amqp_settings *settings, struct cbt_err *err)
{
    const char *name = settings->options->queue;
    bool passive = strcmp(settings->options->queue_declare, "passive") == 0;
    struct cbt_amqp_queue queue = {0};
    int rc = cbt_amqp_look_up_queue(conn, name, &queue, err);
    if (rc != 0)
        return cbt_err_prefix(err, "queue '%s'", name);
    if (!queue.exists && passive)
        return cbt_err_set(err, CBT_EREFUSED, "there is no queue '%s', and queue.declare = passive", name);
    /* Declaring what is there changes nothing and tells whether it was declared alike. */
    if (queue.exists && !passive && (rc = cbt_amqp_declare_queue(conn, settings, &queue.messages, err)) != 0)
        return rc;
    if (queue.exists)
        put(r, ", queue %s exists with %" PRIu32 " messages", name, queue.messages);
    else
        put(r, ", queue %s would be created", name);
    return CBT_OK;
}

int cbt_amqp_probe(const struct cbt_source_config *config, char *ret_report, size_t report_bytes,
                   struct cbt_err *err)
{
    struct cbt_amqp_settings settings;
    amqp_connection_state_t conn = NULL;
    int rc = cbt_amqp_settings_read(&settings, config, err);
    if (rc != 0)
        return rc;
    struct cbt_amqp_session session = {0};
    rc = cbt_amqp_login(&conn, &settings, "cbtap check", &session, err);
    if (rc != 0)
        goto out;
    struct cbt_text product = cbt_amqp_server_property(conn, "product");
    struct cbt_text version = cbt_amqp_server_property(conn, "version");
    struct report report = {.text = ret_report, .size = report_bytes};
    bool external = strcmp(settings.options->sasl, "external") == 0;
    put(&report, "%.*s %.*s at %s:%d, virtual host %s, user %s", (int)product.len, (const char *)product.data,
        (int)version.len, (const char *)version.data, settings.broker.host, settings.broker.port,
        settings.broker.vhost, external ? "of tls.cert" : settings.broker.user);
    report_tls(&report, &settings, &session);
    if (settings.options->raw && (rc = report_exchange(&report, conn, CBT_AMQP_RAW_EXCHANGE, err)) != 0)
        goto out;
    if (settings.pattern_count != 0 &&
        (rc = report_exchange(&report, conn, CBT_AMQP_EVENTS_EXCHANGE, err)) != 0)
        goto out;
    rc = report_queue(&report, conn, &settings, err);
out:
    if (conn != NULL) {
        if (rc == 0)
            amqp_connection_close(conn, AMQP_REPLY_SUCCESS);
        amqp_destroy_connection(conn);
    }
    cbt_amqp_settings_free(&settings);
    return rc;
}
