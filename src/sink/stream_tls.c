/* SPDX-License-Identifier: MIT */
/*
 * TLS of a stream: which certificates are trusted, what is shown of ours, and what was wrong in words.
 *
 * Happy path: the files are read for each connection, so that renewed ones count from the next on; chain and
 * name are verified within the handshake. Failure: nothing is sent to a peer that is not the one.
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <string.h>

#include "cbtap/clock.h"
#include "sink/stream.h"

/* An encrypted key would be asked for on a terminal that nobody looks at. */
static int no_passphrase(char *buf, int size, int for_writing, void *arg)
{
    (void)buf, (void)size, (void)for_writing, (void)arg;
    return -1;
}

static int file_error(struct cbt_err *err, const char *key, const char *path)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    return cbt_err_set(err, CBT_EREFUSED, "%s = %s: cannot be used: %s", key, path,
                       reason != NULL ? reason : "it cannot be read");
}

static int load_files(SSL_CTX *context, const struct stream_settings *s, struct cbt_err *err)
{
    const char *key = s->tls_key[0] != '\0' ? s->tls_key : s->tls_cert;
    ERR_clear_error();
    if (s->tls_verify && s->tls_ca[0] != '\0' && SSL_CTX_load_verify_file(context, s->tls_ca) != 1)
        return file_error(err, "tls.ca", s->tls_ca);
    if (s->tls_verify && s->tls_ca[0] == '\0' && SSL_CTX_set_default_verify_paths(context) != 1)
        return cbt_err_set(err, CBT_EREFUSED, "the system's CAs cannot be read: set tls.ca");
    if (s->tls_cert[0] == '\0')
        return CBT_OK;
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(context, s->tls_cert) != 1)
        return file_error(err, "tls.cert", s->tls_cert);
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        return file_error(err, s->tls_key[0] != '\0' ? "tls.key" : "tls.cert", key);
    return CBT_OK;
}

/* The name that the certificate must hold. */
static int set_name(SSL *ssl, const struct stream_settings *s, struct cbt_err *err)
{
    const char *name = s->tls_server_name[0] != '\0' ? s->tls_server_name : s->peer.host;
    struct in6_addr address;
    bool is_address = inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    int ok = 1;
    /* The server name extension holds no addresses: RFC 6066, section 3. */
    if (!is_address)
        ok = (int)SSL_set_tlsext_host_name(ssl, name);
    if (ok == 1 && s->tls_verify) {
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        ok = is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, name)
                        : X509_VERIFY_PARAM_set1_host(param, name, 0);
    }
    return ok == 1 ? CBT_OK : cbt_err_set(err, CBT_ENOMEM, "no memory for the name to verify");
}

void stream_tls_error(const SSL *ssl, int rc, struct cbt_err *err)
{
    long verified = SSL_get_verify_result(ssl);
    unsigned long error = ERR_peek_last_error();
    int kind = SSL_get_error(ssl, rc);
    const char *reason = error != 0 ? ERR_reason_error_string(error) : NULL;
    if (!SSL_is_init_finished(ssl) && verified != X509_V_OK)
        cbt_err_set(
            err, CBT_EREFUSED,
            "the peer's certificate is not trusted: %s; tls.ca names the CAs, tls.server_name the name that "
            "it must hold",
            X509_verify_cert_error_string(verified));
    else if (kind == SSL_ERROR_ZERO_RETURN || (reason == NULL && kind == SSL_ERROR_SYSCALL))
        cbt_err_set(err, CBT_EIO, "the peer ended the connection");
    else
        cbt_err_set(err, CBT_EIO, "TLS: %s", reason != NULL ? reason : "the connection failed");
}

static int shake_hands(SSL *ssl, int fd, int timeout_ms, const struct writer *w, struct cbt_err *err)
{
    int64_t deadline = cbt_now_ns() + timeout_ms * WRITER_NS_PER_MS;
    for (;;) {
        ERR_clear_error();
        int rc = SSL_connect(ssl), want = SSL_get_error(ssl, rc);
        if (rc == 1)
            return CBT_OK;
        if (want != SSL_ERROR_WANT_READ && want != SSL_ERROR_WANT_WRITE) {
            stream_tls_error(ssl, rc, err);
            return err != NULL ? (int)err->rc : CBT_EIO;
        }
        if (!writer_await(w, fd, want == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline))
            return cbt_err_set(err, CBT_EIO, "no TLS handshake within %d ms: is it a port for TLS?",
                               timeout_ms);
    }
}

int stream_tls_open(SSL **ret_ssl, int fd, const struct stream_settings *settings, const struct writer *w,
                    struct cbt_err *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = NULL;
    int rc = context != NULL ? load_files(context, settings, err)
                             : cbt_err_set(err, CBT_ENOMEM, "no memory for TLS");
    if (rc == 0) {
        SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
        SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
        /* A batch that was taken in part goes on from other memory. */
        SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_verify(context, settings->tls_verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
        ssl = SSL_new(context);
        if (ssl == NULL || SSL_set_fd(ssl, fd) != 1)
            rc = cbt_err_set(err, CBT_ENOMEM, "no memory for TLS");
    }
    if (rc == 0)
        rc = set_name(ssl, settings, err);
    if (rc == 0)
        rc = shake_hands(ssl, fd, settings->connect_timeout_ms, w, err);
    SSL_CTX_free(context);
    if (rc != 0)
        SSL_free(ssl);
    else
        *ret_ssl = ssl;
    return rc;
}
