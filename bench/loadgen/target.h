/* SPDX-License-Identifier: MIT */
/* Where messages go: a broker, a Redis, a tree of files, or nowhere. */
#ifndef CBT_LOADGEN_TARGET_H
#define CBT_LOADGEN_TARGET_H

#include "message.h"

struct cbt_target_options {
    const char *url;      /* of the broker or Redis; the folder for an archive */
    const char *exchange; /* in place of the server's own */
    const char *queue;    /* straight into this queue */
    const char *channel;  /* Redis: what a sensor event log is published on */
    bool persistent;      /* delivery mode 2 */
    bool confirm;         /* wait until the broker has confirmed every message */
    bool check;           /* a message that nobody gets is an error */
};

/* One thread uses a target. */
struct cbt_target {
    int (*open)(void **ret_self, const struct cbt_target_options *options, struct cbt_err *err);
    int (*publish)(void *self, const struct cbt_message *message, struct cbt_err *err);
    int (*flush)(void *self, struct cbt_err *err);  /* nothing is held back: called before a pause */
    int (*finish)(void *self, struct cbt_err *err); /* the peer has got everything */
    void (*close)(void *self);                      /* NULL is fine */
};

extern const struct cbt_target cbt_target_amqp, cbt_target_redis, cbt_target_archive, cbt_target_none;

#endif
