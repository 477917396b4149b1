/* SPDX-License-Identifier: MIT */
/* The EDR server's own configuration, cb.conf: `Key=Value` lines and `#` comments, of which a few count. */
#ifndef CBTAP_CB_CONF_H
#define CBTAP_CB_CONF_H

#include <stdint.h>

#include "cbtap/err.h"

#define CBT_CB_CONF_VALUE_BYTES_MAX 1024

/* The port of the server's RabbitMQ where its cb.conf names none. */
#define CBT_CB_CONF_RABBITMQ_PORT 5004

/* X(key): those that are read. */
#define CBT_CB_CONF_KEYS(X)                                                                                  \
    X(RabbitMQUser)                                                                                          \
    X(RabbitMQPassword)                                                                                      \
    X(RabbitMQToken)                                                                                         \
    X(RabbitMQPort)                                                                                          \
    X(RedisHost)                                                                                             \
    X(RedisPort)

struct cbt_cb_conf_value {
    unsigned line; /* 0: it is not there, or empty */
    char text[CBT_CB_CONF_VALUE_BYTES_MAX + 1];
};

struct cbt_cb_conf {
    const char *path;
#define X(key) struct cbt_cb_conf_value key;
    CBT_CB_CONF_KEYS(X)
#undef X
};

/* Reads the file at `path`, which must outlive *ret_conf. CBT_EINVAL: it is not there, no file, too large, or
 * one of the keys has a value that cannot be one, or two. The text names file and line, never a value.
 * @thread main, receiver */
int cbt_cb_conf_read(struct cbt_cb_conf *ret_conf, const char *path, struct cbt_err *err);
/* Overwrites what was read: passwords are not to stay in memory. NULL is fine. */
void cbt_cb_conf_wipe(struct cbt_cb_conf *conf);

/* CBT_EINVAL, with what to do, where there are no user and password to log in to RabbitMQ with. */
int cbt_cb_conf_check_login(const struct cbt_cb_conf *conf, struct cbt_err *err);
/* The number of a port; `otherwise` where the key is not there (0: then CBT_EINVAL). `key` is its name. */
int cbt_cb_conf_port(const struct cbt_cb_conf *conf, const struct cbt_cb_conf_value *value, const char *key,
                     uint16_t otherwise, uint16_t *ret_port, struct cbt_err *err);

#endif
