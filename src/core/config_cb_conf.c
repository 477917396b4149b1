/* SPDX-License-Identifier: MIT */
/*
 * `cb_conf` of a source: what of it becomes part of the configuration, and whether it can be used. What the
 * section itself says counts; only user and password may not be in both, for one of the two would be an old
 * one.
 */
#include <stdio.h>
#include <string.h>

#include "cbtap/cb_conf.h"
#include "core/config_internal.h"

bool cbt_config_url_has_user(const char *url)
{
    const char *scheme = strstr(url, "://");
    const char *host = scheme != NULL ? scheme + 3 : url;
    return memchr(host, '@', strcspn(host, "/")) != NULL;
}

bool cbt_config_url_has_port(const char *url)
{
    const char *scheme = strstr(url, "://");
    const char *host = scheme != NULL ? scheme + 3 : url;
    const char *end = host + strcspn(host, "/");
    const char *at = memrchr(host, '@', (size_t)(end - host));
    if (at != NULL)
        host = at + 1;
    const char *bracket = memchr(host, ']', (size_t)(end - host));
    return memchr(bracket != NULL ? bracket : host, ':',
                  (size_t)(end - (bracket != NULL ? bracket : host))) != NULL;
}

/* A fault of the file is one of the key that names it. */
static int fault(const struct cbt_settings *settings, const struct cbt_section *section,
                 const struct cbt_setting *setting, struct cbt_err *err, const struct cbt_err *why)
{
    return cbt_setting_err(settings, section, setting, err, why->rc, "%s", why->text);
}

int cbt_config_take_redis_cb_conf(const struct cbt_settings *settings, struct cbt_section *section,
                                  struct cbt_err *err)
{
    const struct cbt_setting *path = cbt_section_setting(section, "cb_conf");
    if (path == NULL || *path->value == '\0')
        return 0;
    bool need_host = cbt_section_setting(section, "host") == NULL;
    bool need_port = cbt_section_setting(section, "port") == NULL;
    struct cbt_cb_conf conf;
    struct cbt_err why;
    uint16_t port = 0;
    char digits[8], host[sizeof conf.RedisHost.text];
    int rc = cbt_cb_conf_read(&conf, path->value, &why);
    if (rc == 0 && need_port)
        rc = cbt_cb_conf_port(&conf, &conf.RedisPort, "RedisPort", 0, &port, &why);
    if (rc == 0 && need_host && conf.RedisHost.line == 0)
        rc = cbt_err_set(&why, CBT_EINVAL, "%s has no RedisHost: set host", conf.path);
    if (rc != 0)
        return fault(settings, section, path, err, &why);
    snprintf(digits, sizeof digits, "%u", (unsigned)port);
    memcpy(host, conf.RedisHost.text, sizeof host);
    cbt_cb_conf_wipe(&conf);
    /* Adding moves the settings. */
    if (need_host)
        rc = cbt_section_add(section, "host", host, err);
    if (rc == 0 && need_port)
        rc = cbt_section_add(section, "port", digits, err);
    return rc;
}

int cbt_config_read_amqp_cb_conf(const struct cbt_options_amqp *amqp, struct cbt_cb_conf *ret_conf,
                                 uint16_t *ret_port, struct cbt_err *err)
{
    uint16_t port = 0;
    int rc = cbt_cb_conf_read(ret_conf, amqp->cb_conf, err);
    if (rc == 0 && strcmp(amqp->sasl, "external") != 0)
        rc = cbt_cb_conf_check_login(ret_conf, err);
    if (rc == 0 && !cbt_config_url_has_port(amqp->url))
        rc = cbt_cb_conf_port(ret_conf, &ret_conf->RabbitMQPort, "RabbitMQPort", CBT_CB_CONF_RABBITMQ_PORT,
                              &port, err);
    if (rc != 0)
        cbt_cb_conf_wipe(ret_conf);
    else if (port != 0)
        *ret_port = port;
    return rc;
}

int cbt_config_check_amqp_cb_conf(const struct cbt_options_amqp *amqp, struct cbt_err *err)
{
    struct cbt_cb_conf conf;
    uint16_t port = 0;
    int rc = cbt_config_read_amqp_cb_conf(amqp, &conf, &port, err);
    if (rc == 0)
        cbt_cb_conf_wipe(&conf);
    return rc;
}
