/* SPDX-License-Identifier: MIT */
/* Reads a Kafka topic, all partitions, from its beginning to an end that can be moved on. */
#ifndef CBT_LOADGEN_TOPIC_H
#define CBT_LOADGEN_TOPIC_H

#include <librdkafka/rdkafka.h>

#include "cbtap/err.h"

struct cbt_topic;

/* `properties`: NULL-terminated "key=value" of librdkafka. A topic that is not there is waited for, `wait_ms`
 * long. */
int cbt_topic_open(struct cbt_topic **ret_topic, const char *bootstrap, const char *name,
                   const char *const *properties, int wait_ms, struct cbt_err *err);

/* At least 1. */
int32_t cbt_topic_partitions(const struct cbt_topic *topic);

/* Takes the end to be where the topic ends now. */
int cbt_topic_move_end(struct cbt_topic *topic, struct cbt_err *err);

/* Everything before the end has been read. */
bool cbt_topic_at_end(const struct cbt_topic *topic);

/* Up to `n` records, waiting for the first at most `timeout_ms`; returns how many, negative on failure. Each
 * is to be given back with rd_kafka_message_destroy. */
int cbt_topic_read(struct cbt_topic *topic, int timeout_ms, rd_kafka_message_t **ret_records, size_t n,
                   struct cbt_err *err);
void cbt_topic_close(struct cbt_topic *topic);

#endif
