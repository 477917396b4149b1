/* SPDX-License-Identifier: MIT */
/* The synthetic feed: what the fleet's plan says, made from the pools of events. */
#ifndef CBT_LOADGEN_GENERATE_H
#define CBT_LOADGEN_GENERATE_H

#include "message.h"

struct cbt_generator;

int cbt_generator_new(struct cbt_generator **ret_generator, const struct cbt_fleet_options *options,
                      int zip_level, struct cbt_err *err);
bool cbt_generator_next(struct cbt_generator *generator, struct cbt_message *ret_message);
void cbt_generator_free(struct cbt_generator *generator);

#endif
