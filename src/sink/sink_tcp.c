/* SPDX-License-Identifier: MIT */
/* The TCP sink: events to whoever listens, as lines or with their lengths, with or without TLS: stream.c. */
#include <stdlib.h>
#include <string.h>

#include "sink/stream.h"

static enum writer_framing framing_of(const struct cbt_options_tcp *options)
{
    return strcmp(options->framing, "octet") == 0 ? WRITER_OCTETS : WRITER_LINES;
}

static int settings_of(const struct cbt_sink_config *config, struct stream_settings *ret_settings,
                       struct cbt_err *err)
{
    const struct cbt_options_tcp *o = &config->tcp;
    *ret_settings = STREAM_SETTINGS(o, o->tls);
    return endpoint_of(&ret_settings->peer, config, o->address, err);
}

static int sink_open(void **ret_self, const struct cbt_sink_context *context, struct cbt_err *err)
{
    const struct cbt_options_tcp *options = &context->config->tcp;
    struct stream_settings stream;
    int rc = settings_of(context->config, &stream, err);
    if (rc != 0)
        return rc;
    struct writer_channel *channel = stream_new(&stream, options->tls ? "tls" : "tcp");
    if (channel == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the sink");
    const struct writer_settings settings = {.framing = framing_of(options),
                                             .queue_records = options->queue_records,
                                             .retry_min_ms = WRITER_RETRY_MIN_MS};
    return writer_open(ret_self, context, &settings, channel, err);
}

static int check(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                 struct cbt_err *err)
{
    struct stream_settings stream;
    (void)options;
    int rc = settings_of(config, &stream, err);
    return rc == 0 ? writer_check(config, framing_of(&config->tcp), err) : rc;
}

static int probe(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                 char *ret_report, size_t report_bytes, struct cbt_err *err)
{
    struct stream_settings stream;
    (void)options;
    int rc = settings_of(config, &stream, err);
    return rc == 0 ? stream_probe(&stream, ret_report, report_bytes, err) : rc;
}

extern const struct cbt_sink cbt_sink_tcp;
const struct cbt_sink cbt_sink_tcp = {
    .type = "tcp",
    .open = sink_open,
    WRITER_CALLS,
    .probe = probe,
    .check = check,
};
