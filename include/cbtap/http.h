/* SPDX-License-Identifier: MIT */
/* The HTTP listener (libmicrohttpd): /metrics, /healthz, /readyz, /status.json and the status page. */
#ifndef CBTAP_HTTP_H
#define CBTAP_HTTP_H

#include "cbtap/config.h"
#include "cbtap/err.h"
#include "cbtap/metrics.h"

struct cbt_http;

struct cbt_http_context {
    const struct cbt_options_cbtap *options; /* http_listen, limits */
    const struct cbt_metrics *metrics;
    /* True when every source and sink is connected; else the reasons, one a line. */
    bool (*ready)(void *arg, char *ret_reasons, size_t reasons_bytes);
    void *arg;
};

/* Listens and serves on a thread of its own. An address in use is CBT_EIO with what to do. @thread main */
int cbt_http_start(struct cbt_http **ret_http, const struct cbt_http_context *context, struct cbt_err *err);
void cbt_http_stop(struct cbt_http *http);

/* The port it listens on (port 0 in http_listen: one that the system chose). */
unsigned cbt_http_port(const struct cbt_http *http);

#endif
