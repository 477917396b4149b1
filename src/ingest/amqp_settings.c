/* SPDX-License-Identifier: MIT */
/*
 * What a section of type amqp says, checked beyond what the option table can check: the url taken apart, the
 * routing keys one by one, the arguments of the queue. Errors never hold the url, for it holds the password.
 */
#include <stdlib.h>
#include <string.h>

#include "cbtap/log.h"
#include "core/config_internal.h"
#include "ingest/source_amqp.h"

#define MS_PER_S 1000

static int read_url(struct cbt_amqp_settings *s, struct cbt_err *err)
{
    s->url = strdup(s->options->url);
    if (s->url == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the url");
    struct amqp_connection_info broker;
    if (amqp_parse_url(s->url, &broker) != AMQP_STATUS_OK)
        return cbt_err_set(
            err, CBT_EINVAL,
            "url is not of the form amqp://USER:PASSWORD@HOST:PORT/VHOST (characters like @ : / in "
            "one of them are written %%40 %%3A %%2F)");
    if (broker.vhost[0] == '\0')
        return cbt_err_set(
            err, CBT_EINVAL,
            "url ends in '/', which names the virtual host ''; the virtual host '/' is written "
            "/%%2F, or left out together with the '/'");
    s->broker = broker;
    return CBT_OK;
}

int cbt_amqp_settings_renew(struct cbt_amqp_settings *s, struct cbt_err *err)
{
    if (s->options->cb_conf[0] == '\0')
        return CBT_OK;
    uint16_t port = (uint16_t)s->broker.port;
    struct cbt_cb_conf *conf = malloc(sizeof(*conf));
    if (conf == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for cb_conf");
    int rc = cbt_config_read_amqp_cb_conf(s->options, conf, &port, err);
    if (rc != 0) {
        free(conf);
        return cbt_err_prefix(err, "cb_conf");
    }
    cbt_cb_conf_wipe(s->cb_conf);
    free(s->cb_conf);
    s->cb_conf = conf;
    s->broker.port = port;
    if (strcmp(s->options->sasl, "external") != 0) {
        s->broker.user = conf->RabbitMQUser.text;
        s->broker.password = conf->RabbitMQPassword.text;
    }
    return CBT_OK;
}

/* What asks for TLS in vain would be taken for TLS. */
static int check_tls(const struct cbt_amqp_settings *s, struct cbt_err *err)
{
    const struct cbt_options_amqp *options = s->options;
    bool external = strcmp(options->sasl, "external") == 0;
    bool asked = options->tls_ca[0] != '\0' || options->tls_cert[0] != '\0' || options->tls_key[0] != '\0' ||
                 options->tls_server_name[0] != '\0' || !options->tls_verify;
    if (!s->broker.ssl && (asked || external))
        return cbt_err_set(err, CBT_EINVAL,
                           "%s needs TLS, and url begins with amqp://: write amqps:// (port 5671 by default)",
                           external ? "sasl = external" : "tls.*");
    if (options->tls_key[0] != '\0' && options->tls_cert[0] == '\0')
        return cbt_err_set(err, CBT_EINVAL, "tls.key is the key of tls.cert, which is not set");
    if (external && options->tls_cert[0] == '\0')
        return cbt_err_set(err, CBT_EINVAL, "sasl = external logs in by a client certificate: set tls.cert");
    return CBT_OK;
}

/* Cuts `events` at its commas, in place, without the blanks around each key. */
static int read_patterns(struct cbt_amqp_settings *s, struct cbt_err *err)
{
    s->events = strdup(s->options->events);
    size_t max = 1;
    for (const char *c = s->options->events; *c != '\0'; c++)
        max += *c == ',';
    s->patterns = calloc(max, sizeof(*s->patterns));
    if (s->events == NULL || s->patterns == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the routing keys");
    char *rest = s->events;
    for (char *key; (key = strsep(&rest, ",")) != NULL;) {
        key += strspn(key, " \t");
        size_t len = strlen(key);
        while (len > 0 && (key[len - 1] == ' ' || key[len - 1] == '\t'))
            key[--len] = '\0';
        if (len == 0)
            continue;
        if (len > CBT_AMQP_SHORTSTR_BYTES_MAX)
            return cbt_err_set(err, CBT_EINVAL, "a routing key of events has %zu bytes, AMQP allows %d", len,
                               CBT_AMQP_SHORTSTR_BYTES_MAX);
        s->patterns[s->pattern_count++] = key;
    }
    return CBT_OK;
}

static void add_argument(struct cbt_amqp_settings *s, const char *key, amqp_field_value_t value)
{
    s->arguments[s->argument_count++] = (amqp_table_entry_t){.key = amqp_cstring_bytes(key), .value = value};
}

static amqp_field_value_t integer_value(int64_t number)
{
    return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_I64, .value.i64 = number};
}

/* An integer and true or false are sent as such, for RabbitMQ insists on the type; all else is text. */
static amqp_field_value_t argument_value(const char *text)
{
    int64_t number;
    if (cbt_amqp_parse_integer((struct cbt_text){(const uint8_t *)text, strlen(text)}, &number))
        return integer_value(number);
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = text[0] == 't'};
    return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(text)};
}

/* X(argument, key): arguments of the queue that have a key of their own. */
#define OWN_KEYS(X)                                                                                          \
    X("x-expires", "queue.expires_ms")                                                                       \
    X("x-max-length-bytes", "queue.max_bytes")                                                               \
    X("x-single-active-consumer", "queue.single_active")

static int refuse_own_key(const char *argument, struct cbt_err *err)
{
#define REFUSE(name, key)                                                                                    \
    if (strcmp(argument, name) == 0)                                                                         \
        return cbt_err_set(err, CBT_EINVAL, "queue.arguments." name ": that is " key);
    OWN_KEYS(REFUSE)
#undef REFUSE
    return CBT_OK;
}

static int read_arguments(struct cbt_amqp_settings *s, struct cbt_err *err)
{
    const struct cbt_options_amqp *options = s->options;
    s->arguments = calloc(options->queue_arguments.count + 3, sizeof(*s->arguments));
    if (s->arguments == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the queue's arguments");
    if (options->queue_expires_ms != 0)
        add_argument(s, "x-expires", integer_value((int64_t)options->queue_expires_ms));
    if (options->queue_max_bytes != 0)
        add_argument(s, "x-max-length-bytes", integer_value((int64_t)options->queue_max_bytes));
    if (options->queue_single_active)
        add_argument(s, "x-single-active-consumer",
                     (amqp_field_value_t){.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1});
    for (size_t i = 0; i < options->queue_arguments.count; i++) {
        const struct cbt_map_entry *entry = &options->queue_arguments.entries[i];
        if (entry->value[0] == '\0')
            continue;
        if (strlen(entry->key) > CBT_AMQP_SHORTSTR_BYTES_MAX)
            return cbt_err_set(err, CBT_EINVAL, "the name of a queue argument has more than %d bytes",
                               CBT_AMQP_SHORTSTR_BYTES_MAX);
        int rc = refuse_own_key(entry->key, err);
        if (rc != 0)
            return rc;
        add_argument(s, entry->key, argument_value(entry->value));
    }
    return CBT_OK;
}

int cbt_amqp_settings_read(struct cbt_amqp_settings *ret_settings, const struct cbt_source_config *config,
                           struct cbt_err *err)
{
    struct cbt_amqp_settings s = {.config = config, .options = &config->amqp};
    const struct cbt_options_amqp *options = s.options;
    int rc;
    if (options->queue[0] == '\0' || strlen(options->queue) > CBT_AMQP_SHORTSTR_BYTES_MAX)
        return cbt_err_set(err, CBT_EINVAL, "queue is a name of 1 to %d bytes", CBT_AMQP_SHORTSTR_BYTES_MAX);
    if (strncmp(options->queue, "amq.", 4) == 0)
        return cbt_err_set(err, CBT_EINVAL, "queue: names that begin with 'amq.' are the broker's own");
    if (options->heartbeat_ms % MS_PER_S != 0)
        return cbt_err_set(err, CBT_EINVAL, "heartbeat_ms is a whole number of seconds, e.g. 10000");
    if ((rc = read_url(&s, err)) != 0 || (rc = cbt_amqp_settings_renew(&s, err)) != 0 ||
        (rc = check_tls(&s, err)) != 0 || (rc = read_patterns(&s, err)) != 0 ||
        (rc = read_arguments(&s, err)) != 0) {
        cbt_amqp_settings_free(&s);
        return rc;
    }
    *ret_settings = s;
    return CBT_OK;
}

void cbt_amqp_settings_free(struct cbt_amqp_settings *s)
{
    cbt_cb_conf_wipe(s->cb_conf);
    free(s->cb_conf);
    free(s->url);
    free(s->events);
    free(s->patterns);
    free(s->arguments);
    *s = (struct cbt_amqp_settings){0};
}

/* Whether the patterns reach the single events that api.rawsensordata carries already in its bundles. */
static const char *pattern_for_raw_events(const struct cbt_amqp_settings *s)
{
    static const char *const keys[] = {
#define CBT_EVENT_TYPE(id, name, event_type) "ingress.event." name,
#include "cbtap/event_types.def"
    };
    for (size_t p = 0; p < s->pattern_count; p++) {
        struct cbt_text pattern = {(const uint8_t *)s->patterns[p], strlen(s->patterns[p])};
        for (size_t k = 0; k < sizeof(keys) / sizeof(*keys); k++)
            if (cbt_amqp_topic_matches(pattern, (struct cbt_text){(const uint8_t *)keys[k], strlen(keys[k])}))
                return s->patterns[p];
    }
    return NULL;
}

static bool is_limited(const struct cbt_amqp_settings *s)
{
    for (int i = 0; i < s->argument_count; i++)
        if (CBT_AMQP_IS(s->arguments[i].key, "x-expires") ||
            CBT_AMQP_IS(s->arguments[i].key, "x-max-length") ||
            CBT_AMQP_IS(s->arguments[i].key, "x-max-length-bytes"))
            return true;
    return false;
}

void cbt_amqp_settings_warn(const struct cbt_amqp_settings *s)
{
    const char *pattern = s->options->raw ? pattern_for_raw_events(s) : NULL;
    if (pattern != NULL)
        cbt_log_warning("raw = true and this routing key of events deliver every event twice",
                        CBT_S("source", s->config->name), CBT_S("routing_key", pattern));
    if (s->broker.ssl && !s->options->tls_verify)
        cbt_log_warning(
            "tls.verify = false: the broker's certificate is not looked at, so whoever is in between "
            "can read and change everything, the password too; set tls.ca instead",
            CBT_S("source", s->config->name));
    if (s->options->queue_single_active && strcmp(s->options->queue_declare, "passive") == 0)
        cbt_log_warning(
            "queue.single_active has no effect with queue.declare = passive: whoever declares the "
            "queue must give it x-single-active-consumer",
            CBT_S("source", s->config->name), CBT_S("queue", s->options->queue));
    if (strcmp(s->options->queue_declare, "true") == 0 && !is_limited(s))
        cbt_log_warning(
            "the queue has neither expiry nor length limit: while nobody consumes it, its backlog can raise "
            "the alarm that stops the broker; set queue.expires_ms or queue.max_bytes",
            CBT_S("source", s->config->name), CBT_S("queue", s->options->queue));
    if (!s->options->raw && s->pattern_count == 0)
        cbt_log_warning(
            "raw = false and events is empty: nothing is bound, and what comes from api.events or "
            "api.rawsensordata by an old binding is filtered",
            CBT_S("source", s->config->name));
}
