/* SPDX-License-Identifier: MIT */
/* The UDP sink: a datagram for each event, at most once: datagram.c. */
#include "sink/datagram.h"

static int sink_open(void **ret_self, const struct cbt_sink_context *context, struct cbt_err *err)
{
    const struct cbt_options_udp *options = &context->config->udp;
    struct endpoint peer;
    int rc = endpoint_of(&peer, context->config, options->address, err);
    if (rc != 0)
        return rc;
    struct writer_channel *channel = datagram_new(&peer);
    if (channel == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the sink");
    const struct writer_settings settings = {.framing = WRITER_DATAGRAMS,
                                             .frame_max_bytes = (uint32_t)options->datagram_max_bytes,
                                             .queue_records = options->queue_records,
                                             .retry_min_ms = WRITER_RETRY_MIN_MS};
    return writer_open(ret_self, context, &settings, channel, err);
}

static int check(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                 struct cbt_err *err)
{
    struct endpoint peer;
    (void)options;
    int rc = endpoint_of(&peer, config, config->udp.address, err);
    return rc == 0 ? writer_check(config, WRITER_DATAGRAMS, err) : rc;
}

static int probe(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                 char *ret_report, size_t report_bytes, struct cbt_err *err)
{
    struct endpoint peer;
    (void)options;
    int rc = endpoint_of(&peer, config, config->udp.address, err);
    return rc == 0 ? datagram_probe(&peer, ret_report, report_bytes, err) : rc;
}

extern const struct cbt_sink cbt_sink_udp;
const struct cbt_sink cbt_sink_udp = {
    .type = "udp",
    .open = sink_open,
    WRITER_CALLS,
    .probe = probe,
    .check = check,
};
