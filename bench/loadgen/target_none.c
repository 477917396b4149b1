/* SPDX-License-Identifier: MIT */
/* Takes messages and drops them: what is left is the cost of making them. */
#include "target.h"

static int open_target(void **ret_self, const struct cbt_target_options *options, struct cbt_err *err)
{
    (void)options;
    (void)err;
    *ret_self = NULL;
    return 0;
}

static int publish(void *self, const struct cbt_message *message, struct cbt_err *err)
{
    (void)self;
    (void)message;
    (void)err;
    return 0;
}

static int flush(void *self, struct cbt_err *err)
{
    (void)self;
    (void)err;
    return 0;
}

static void close_target(void *self)
{
    (void)self;
}

const struct cbt_target cbt_target_none = {open_target, publish, flush, flush, close_target};
