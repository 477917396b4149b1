/* SPDX-License-Identifier: MIT */
/* The command `verify`: reads the topic and says for each endpoint what is missing, repeated or out of order.
 */
#ifndef CBT_LOADGEN_VERIFY_H
#define CBT_LOADGEN_VERIFY_H

#include "fleet.h"

struct cbt_verify_options {
    const char *bootstrap;
    const char *topic;
    const char *const *properties;  /* of librdkafka, "key=value", NULL-terminated */
    struct cbt_fleet_options fleet; /* events 0: it is not known how many were sent */
    uint64_t expect;                /* wait until so many different events are there; 0: read to the end */
    int idle_timeout_ms;            /* stop when nothing comes for so long */
    bool fail_on_duplicates;
    bool any_key; /* do not compare the key with the sensor id */
    bool json;
    bool quiet;
    uint32_t worst; /* how many endpoints to name */
};

/* Returns the exit status: 0 everything is there and in order, 1 not, or reading failed, 2 the options are at
 * fault. */
int cbt_verify(const struct cbt_verify_options *options);

#endif
