/* SPDX-License-Identifier: MIT */
/*
 * TLS to the broker: which certificates are trusted, what is shown of ours, and what was wrong in words.
 *
 * Happy path: a context for each connection, so that renewed files count from the next one on; the handshake
 * verifies chain and name itself, and a broker that fails sees nothing of the login. Failure: the verify
 * callback notes which certificate failed and why, for the library only says that it did.
 *
 * Reading: the library asks OpenSSL before it polls, so a read that ends with a time-out has left no whole
 * TLS record in OpenSSL's buffer, and the receiver may wait on the socket after it as without TLS.
 */
#include <amqp_ssl_socket.h>
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "ingest/source_amqp.h"

/* Names of a certificate that are quoted in an error. */
#define NAMES_QUOTED_MAX 4

/* What the callbacks of one handshake share. */
struct handshake {
    const char *server_name;
    bool is_address;
    struct cbt_amqp_session session;
    int verify_error; /* X509_V_OK: none */
    char certificate[160], issuer[160], names[200], from[64], until[64];
};

/* X(error of OpenSSL, what to do) */
#define VERIFY_HINTS(X)                                                                                      \
    X(X509_V_ERR_CERT_HAS_EXPIRED,                                                                           \
      "renew it on the broker; if its dates are right, this machine's clock is not")                         \
    X(X509_V_ERR_CERT_NOT_YET_VALID, "look at this machine's clock and the broker's")                        \
    X(X509_V_ERR_HOSTNAME_MISMATCH, "set tls.server_name to a name that the certificate holds")              \
    X(X509_V_ERR_IP_ADDRESS_MISMATCH, "set tls.server_name to a name that the certificate holds")            \
    X(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "set tls.ca to the PEM file of the CA that issued it")   \
    X(X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "set tls.ca to the PEM file of the CA that issued it")     \
    X(X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "set tls.ca to the PEM file of the CA that issued it")           \
    X(X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "set tls.ca to a PEM file that holds this certificate")        \
    X(X509_V_ERR_INVALID_PURPOSE, "the broker needs a certificate for servers (extendedKeyUsage "            \
                                  "serverAuth)")

static const char *verify_hint(int error)
{
    switch (error) {
#define HINT(code, hint)                                                                                     \
    case code:                                                                                               \
        return hint;
        VERIFY_HINTS(HINT)
#undef HINT
    default:
        return "see openssl-verification-options(1)";
    }
}

/* X(reason of OpenSSL's error, what to do): where the peer refuses, or is no TLS at all. */
#define HANDSHAKE_HINTS(X)                                                                                   \
    X(SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,                                                               \
      "the broker wants a client certificate: set tls.cert and tls.key")                                     \
    X(SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,                                                                   \
      "no cipher in common, or the broker wants a client certificate: set tls.cert and tls.key")             \
    X(SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the broker refuses the certificate of tls.cert")                   \
    X(SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "the certificate of tls.cert has expired: renew it")            \
    X(SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "the broker refuses the certificate of tls.cert")               \
    X(SSL_R_TLSV1_ALERT_UNKNOWN_CA, "the broker does not trust the CA that issued tls.cert")                 \
    X(SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the broker speaks nothing newer than TLS 1.1: update it")         \
    X(SSL_R_UNSUPPORTED_PROTOCOL, "the broker speaks nothing newer than TLS 1.1: update it")                 \
    X(SSL_R_WRONG_VERSION_NUMBER, "is this the broker's port for TLS (5671 as a rule)?")

bool cbt_amqp_tls_reason(char *ret_text, size_t text_bytes)
{
    unsigned long error = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(error);
    const char *hint = NULL;
    ret_text[0] = '\0';
    if (error == 0 || reason == NULL)
        return false;
    if (ERR_GET_LIB(error) == ERR_LIB_SSL) {
        switch (ERR_GET_REASON(error)) {
#define HINT(code, text)                                                                                     \
    case code:                                                                                               \
        hint = text;                                                                                         \
        break;
            HANDSHAKE_HINTS(HINT)
#undef HINT
        default:
            break;
        }
    }
    snprintf(ret_text, text_bytes, "%s%s%s%s", reason, hint != NULL ? " (" : "", hint != NULL ? hint : "",
             hint != NULL ? ")" : "");
    return hint != NULL;
}

/* ---- the handshake's callbacks ---- */

static void put_time(const ASN1_TIME *time, char *ret_text, size_t text_bytes)
{
    struct tm tm;
    if (time == NULL || ASN1_TIME_to_tm(time, &tm) != 1 ||
        strftime(ret_text, text_bytes, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(ret_text, text_bytes, "?");
}

/* The names that a certificate is good for, some of them. */
static void put_names(const X509 *certificate, char *ret_text, size_t text_bytes)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    size_t used = 0;
    ret_text[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && i < NAMES_QUOTED_MAX; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char address[INET6_ADDRSTRLEN] = "";
        const char *text = address;
        int len = 0;
        if (name->type == GEN_DNS) {
            text = (const char *)ASN1_STRING_get0_data(name->d.dNSName);
            len = ASN1_STRING_length(name->d.dNSName);
        } else if (name->type == GEN_IPADD) {
            int bytes = ASN1_STRING_length(name->d.iPAddress);
            if ((bytes == 4 || bytes == 16) &&
                inet_ntop(bytes == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress), address,
                          sizeof(address)) != NULL)
                len = (int)strlen(address);
        }
        if (len > 0 && used < text_bytes)
            used += (size_t)snprintf(ret_text + used, text_bytes - used, "%s%.*s", used != 0 ? ", " : "", len,
                                     text);
    }
    GENERAL_NAMES_free(names);
}

static struct handshake *handshake_of(const SSL *ssl)
{
    return ssl != NULL ? SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)) : NULL;
}

/* Notes the first thing that is wrong; what OpenSSL judged stands. */
static int on_verify(int good, X509_STORE_CTX *store)
{
    struct handshake *h =
        handshake_of(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    if (good || h == NULL || h->verify_error != X509_V_OK)
        return good;
    const X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    h->verify_error = X509_STORE_CTX_get_error(store);
    if (certificate == NULL)
        return good;
    X509_NAME_oneline(X509_get_subject_name(certificate), h->certificate, sizeof(h->certificate));
    X509_NAME_oneline(X509_get_issuer_name(certificate), h->issuer, sizeof(h->issuer));
    put_names(certificate, h->names, sizeof(h->names));
    put_time(X509_get0_notBefore(certificate), h->from, sizeof(h->from));
    put_time(X509_get0_notAfter(certificate), h->until, sizeof(h->until));
    return good;
}

/* The library asks for the url's host; and it has no other way to what was negotiated. */
static void on_info(const SSL *ssl, int where, int value)
{
    struct handshake *h = handshake_of(ssl);
    (void)value;
    if (h == NULL)
        return;
    if ((where & SSL_CB_HANDSHAKE_START) != 0) {
        /* The server name extension holds no addresses: RFC 6066, section 3. */
        const char *name = h->is_address ? NULL : h->server_name;
        SSL_set_tlsext_host_name((SSL *)ssl, name);
    } else if ((where & SSL_CB_HANDSHAKE_DONE) != 0) {
        const X509 *certificate = SSL_get0_peer_certificate(ssl);
        snprintf(h->session.protocol, sizeof(h->session.protocol), "%s", SSL_get_version(ssl));
        snprintf(h->session.cipher, sizeof(h->session.cipher), "%s", SSL_get_cipher_name(ssl));
        put_time(certificate != NULL ? X509_get0_notAfter(certificate) : NULL, h->session.until,
                 sizeof(h->session.until));
    }
}

/* An encrypted key would be asked for on a terminal that nobody looks at. */
static int no_passphrase(char *buf, int size, int for_writing, void *arg)
{
    (void)buf, (void)size, (void)for_writing, (void)arg;
    return -1;
}

/* ---- set-up ---- */

static int file_error(struct cbt_err *err, const char *key, const char *path, const char *what)
{
    unsigned long error = ERR_peek_error();
    const char *reason = ERR_reason_error_string(error);
    return cbt_err_set(err, CBT_EREFUSED, "%s = %s: %s: %s", key, path, what,
                       reason != NULL ? reason : "cannot be read");
}

static int load_files(SSL_CTX *context, const struct cbt_options_amqp *options, struct cbt_err *err)
{
    ERR_clear_error();
    if (options->tls_verify && options->tls_ca[0] != '\0') {
        if (SSL_CTX_load_verify_file(context, options->tls_ca) != 1)
            return file_error(err, "tls.ca", options->tls_ca,
                              "not a PEM file of certificates that can be read");
    } else if (options->tls_verify && SSL_CTX_set_default_verify_paths(context) != 1) {
        return cbt_err_set(err, CBT_EREFUSED, "the system's CAs cannot be read: set tls.ca");
    }
    if (options->tls_cert[0] == '\0')
        return CBT_OK;
    bool own_key = options->tls_key[0] != '\0';
    const char *key = own_key ? options->tls_key : options->tls_cert;
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(context, options->tls_cert) != 1)
        return file_error(err, "tls.cert", options->tls_cert,
                          "not a PEM file of a certificate that can be read");
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        return file_error(
            err, own_key ? "tls.key" : "tls.cert", key,
            "not a PEM file of a private key that can be read, without a passphrase and fitting "
            "the certificate of tls.cert");
    return CBT_OK;
}

static int set_up(SSL_CTX *context, struct handshake *h, const struct cbt_options_amqp *options,
                  struct cbt_err *err)
{
    int rc = load_files(context, options, err);
    if (rc != 0)
        return rc;
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_app_data(context, h);
    SSL_CTX_set_info_callback(context, on_info);
    SSL_CTX_set_verify(context, options->tls_verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, on_verify);
    if (!options->tls_verify)
        return CBT_OK;
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    int ok = h->is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, h->server_name)
                           : X509_VERIFY_PARAM_set1_host(param, h->server_name, 0);
    return ok == 1 ? CBT_OK : cbt_err_set(err, CBT_ENOMEM, "no memory for the name to verify");
}

static int handshake_error(struct cbt_err *err, const struct handshake *h,
                           const struct amqp_connection_info *broker, int status)
{
    char reason[CBT_ERR_TEXT_BYTES / 2];
    if (h->verify_error == X509_V_ERR_HOSTNAME_MISMATCH || h->verify_error == X509_V_ERR_IP_ADDRESS_MISMATCH)
        return cbt_err_set(err, CBT_EREFUSED,
                           "%s port %d shows a certificate of another name than '%s': '%s', good for: %s; %s",
                           broker->host, broker->port, h->server_name, h->certificate, h->names,
                           verify_hint(h->verify_error));
    if (h->verify_error != X509_V_OK)
        return cbt_err_set(
            err, CBT_EREFUSED,
            "the certificate of %s port %d is not trusted: %s: '%s', issued by '%s', good from %s to %s; %s",
            broker->host, broker->port, X509_verify_cert_error_string(h->verify_error), h->certificate,
            h->issuer, h->from, h->until, verify_hint(h->verify_error));
    if (status != AMQP_STATUS_SSL_CONNECTION_FAILED && status != AMQP_STATUS_SSL_ERROR)
        return cbt_amqp_open_error(err, broker, status);
    bool refused = cbt_amqp_tls_reason(reason, sizeof(reason));
    return cbt_err_set(err, refused ? CBT_EREFUSED : CBT_EIO, "TLS with %s port %d: %s", broker->host,
                       broker->port, reason[0] != '\0' ? reason : "the peer ended the connection");
}

int cbt_amqp_tls_open(amqp_connection_state_t conn, const struct cbt_amqp_settings *settings,
                      struct timeval *timeout, amqp_socket_t **ret_socket,
                      struct cbt_amqp_session *ret_session, struct cbt_err *err)
{
    const struct amqp_connection_info *broker = &settings->broker;
    const struct cbt_options_amqp *options = settings->options;
    struct handshake h = {.server_name =
                              options->tls_server_name[0] != '\0' ? options->tls_server_name : broker->host};
    struct in6_addr address;
    h.is_address =
        inet_pton(AF_INET, h.server_name, &address) == 1 || inet_pton(AF_INET6, h.server_name, &address) == 1;
    amqp_socket_t *socket = amqp_ssl_socket_new(conn);
    if (socket == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a TLS socket");
    SSL_CTX *context = amqp_ssl_socket_get_context(socket);
    amqp_ssl_socket_set_verify_peer(socket, options->tls_verify);
    /* OpenSSL compares the name, and within the handshake. */
    amqp_ssl_socket_set_verify_hostname(socket, 0);
    int rc = set_up(context, &h, options, err);
    if (rc != 0)
        return rc;
    ERR_clear_error();
    int status = amqp_socket_open_noblock(socket, broker->host, broker->port, timeout);
    /* `h` ends here, the callbacks do not. */
    SSL_CTX_set_app_data(context, NULL);
    if (status != AMQP_STATUS_OK)
        return handshake_error(err, &h, broker, status);
    *ret_session = h.session;
    *ret_socket = socket;
    return CBT_OK;
}
