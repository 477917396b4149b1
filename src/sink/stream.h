/* SPDX-License-Identifier: MIT */
/*
 * A connection to a peer by TCP, with or without TLS, as a writer's channel: for the sinks tcp and syslog.
 *   stream.c      the channel: writes, and knows what the peer's TCP has acknowledged
 *   stream_tls.c  the handshake
 *   endpoint.c    HOST:PORT: checking, resolving, connecting
 */
#ifndef CBTAP_SINK_STREAM_H
#define CBTAP_SINK_STREAM_H

#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>

#include "sink/writer.h"

#define ENDPOINT_HOST_MAX 253

struct endpoint {
    char host[ENDPOINT_HOST_MAX + 1];
    char port[6];
};

struct stream_settings {
    struct endpoint peer;
    bool tls;
    const char *tls_ca, *tls_cert, *tls_key, *tls_server_name;
    bool tls_verify;
    bool acknowledged; /* delivered is what the peer's TCP has acknowledged, else what the kernel took */
    int connect_timeout_ms, write_timeout_ms;
};

/* Bytes of a TLS record's contents: RFC 8446, section 5.1. */
#define STREAM_TLS_BYTES 16384

struct stream {
    struct writer_channel channel;
    struct stream_settings settings;
    SSL *ssl;
    uint64_t written;                /* by the kernel: without TLS */
    uint64_t acknowledged;           /* as last seen */
    int64_t moved_ns;                /* when either last grew */
    uint8_t bytes[STREAM_TLS_BYTES]; /* what TLS wants in one piece */
};

/* What a section's options, which have names in common (CBT_OPTIONS_OF_STREAMS), say; the peer is not among
 * it. */
#define STREAM_SETTINGS(options, with_tls)                                                                   \
    ((struct stream_settings){.tls = (with_tls),                                                             \
                              .tls_ca = (options)->tls_ca,                                                   \
                              .tls_cert = (options)->tls_cert,                                               \
                              .tls_key = (options)->tls_key,                                                 \
                              .tls_server_name = (options)->tls_server_name,                                 \
                              .tls_verify = (options)->tls_verify,                                           \
                              .acknowledged = strcmp((options)->delivered, "acknowledged") == 0,             \
                              .connect_timeout_ms = (int)(options)->connect_timeout_ms,                      \
                              .write_timeout_ms = (int)(options)->write_timeout_ms})

/* ---- endpoint.c ---- */

/* The address of a [sink.NAME]. */
int endpoint_of(struct endpoint *ret_endpoint, const struct cbt_sink_config *config, const char *address,
                struct cbt_err *err);
/* "HOST:PORT", "[ADDRESS]:PORT". */
int endpoint_parse(struct endpoint *ret_endpoint, const char *text, struct cbt_err *err);
/* A non-blocking socket of `type` that is connected; tries each address for timeout_ms at most. `w` may be
 * NULL: then nothing can end it earlier. */
int endpoint_connect(const struct endpoint *peer, int type, int timeout_ms, const struct writer *w,
                     int *ret_fd, struct cbt_err *err);

/* ---- stream.c ---- */

/* NULL: no memory. `what` is for people. */
struct writer_channel *stream_new(const struct stream_settings *settings, const char *what);
/* check --connect: connects, with the handshake, and leaves. */
int stream_probe(const struct stream_settings *settings, char *ret_report, size_t report_bytes,
                 struct cbt_err *err);

/* ---- stream_tls.c ---- */

/* Reads the files and shakes hands over `fd`. `w` as above. */
int stream_tls_open(SSL **ret_ssl, int fd, const struct stream_settings *settings, const struct writer *w,
                    struct cbt_err *err);
/* What OpenSSL says about the failure of a call that returned `rc`. */
void stream_tls_error(const SSL *ssl, int rc, struct cbt_err *err);

#endif
