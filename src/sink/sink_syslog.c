/* SPDX-License-Identifier: MIT */
/*
 * The syslog sink: RFC 5424 messages over UDP (RFC 5426), TCP (RFC 6587) or TLS (RFC 5425). The head is made
 * here, but for time and MSGID, which are each event's (writer_frame.c); the event is the MSG, without a byte
 * order mark. What is delivered is as with the sinks udp and tcp.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sink/datagram.h"

#define HOST_MAX_BYTES 255 /* RFC 5424, section 6 */
#define APP_MAX_BYTES  48

/* In the order of their numbers: RFC 5424, section 6.2.1. */
static const char *const facilities[] = {"kern",   "user",   "mail",   "daemon", "auth",     "syslog",
                                         "lpr",    "news",   "uucp",   "cron",   "authpriv", "ftp",
                                         "ntp",    "audit",  "alert",  "clock",  "local0",   "local1",
                                         "local2", "local3", "local4", "local5", "local6",   "local7"};
static const char *const severities[] = {"emerg",   "alert",  "crit", "err",
                                         "warning", "notice", "info", "debug"};

static unsigned number_of(const char *name, const char *const names[], unsigned count)
{
    unsigned i = 0;
    while (i + 1 < count && strcmp(names[i], name) != 0)
        i++;
    return i;
}

/* A field of the head: visible ASCII, "-" for none. */
static size_t put_field(char *out, const char *text, size_t bytes_max)
{
    size_t len = 0;
    for (; text[len] != '\0' && len < bytes_max; len++) {
        out[len] = '_';
        if (text[len] > ' ' && text[len] < 0x7f)
            out[len] = text[len];
    }
    if (len == 0)
        out[len++] = '-';
    return len;
}

static void make_head(struct writer_syslog *head, const struct cbt_options_syslog *o,
                      const struct cbt_options_cbtap *cbtap)
{
    unsigned priority = 8 * number_of(o->facility, facilities, 24) + number_of(o->severity, severities, 8);
    size_t len = 0;
    *head = (struct writer_syslog){0};
    head->before_len = (uint32_t)snprintf(head->before, sizeof(head->before), "<%u>1 ", priority);
    head->behind[len++] = ' ';
    len += put_field(head->behind + len, o->hostname[0] != '\0' ? o->hostname : cbtap->server_name,
                     HOST_MAX_BYTES);
    head->behind[len++] = ' ';
    len += put_field(head->behind + len, o->app_name, APP_MAX_BYTES);
    len += (size_t)snprintf(head->behind + len, sizeof(head->behind) - len, " %d ", (int)getpid());
    head->behind_len = (uint32_t)len;
}

static bool is_udp(const struct cbt_options_syslog *o)
{
    return strcmp(o->protocol, "udp") == 0;
}

static enum writer_framing framing_of(const struct cbt_options_syslog *o)
{
    return is_udp(o) ? WRITER_DATAGRAMS : strcmp(o->framing, "newline") == 0 ? WRITER_LINES : WRITER_OCTETS;
}

static int settings_of(const struct cbt_sink_config *config, struct stream_settings *ret_settings,
                       struct cbt_err *err)
{
    const struct cbt_options_syslog *o = &config->syslog;
    *ret_settings = STREAM_SETTINGS(o, strcmp(o->protocol, "tls") == 0);
    return endpoint_of(&ret_settings->peer, config, o->address, err);
}

static int sink_open(void **ret_self, const struct cbt_sink_context *context, struct cbt_err *err)
{
    const struct cbt_options_syslog *o = &context->config->syslog;
    struct stream_settings stream;
    struct writer_syslog head;
    int rc = settings_of(context->config, &stream, err);
    if (rc != 0)
        return rc;
    struct writer_channel *channel =
        is_udp(o) ? datagram_new(&stream.peer) : stream_new(&stream, stream.tls ? "tls" : "tcp");
    if (channel == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the sink");
    make_head(&head, o, context->options);
    const struct writer_settings settings = {.framing = framing_of(o),
                                             .frame_max_bytes =
                                                 is_udp(o) ? (uint32_t)o->datagram_max_bytes : 0,
                                             .syslog = &head,
                                             .queue_records = o->queue_records,
                                             .retry_min_ms = WRITER_RETRY_MIN_MS};
    return writer_open(ret_self, context, &settings, channel, err);
}

static int check(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                 struct cbt_err *err)
{
    struct stream_settings stream;
    (void)options;
    if (strcmp(config->format, "raw") == 0)
        return cbt_err_set(
            err, CBT_EINVAL,
            "[sink.%s] format = raw: a syslog message is text, and protobuf is not; use json or leef",
            config->name);
    int rc = settings_of(config, &stream, err);
    return rc == 0 ? writer_check(config, framing_of(&config->syslog), err) : rc;
}

static int probe(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                 char *ret_report, size_t report_bytes, struct cbt_err *err)
{
    struct stream_settings stream;
    (void)options;
    int rc = settings_of(config, &stream, err);
    if (rc != 0)
        return rc;
    return is_udp(&config->syslog) ? datagram_probe(&stream.peer, ret_report, report_bytes, err)
                                   : stream_probe(&stream, ret_report, report_bytes, err);
}

extern const struct cbt_sink cbt_sink_syslog;
const struct cbt_sink cbt_sink_syslog = {
    .type = "syslog",
    .open = sink_open,
    WRITER_CALLS,
    .probe = probe,
    .check = check,
};
