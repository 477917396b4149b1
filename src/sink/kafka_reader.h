/* SPDX-License-Identifier: MIT */
/*
 * Reads the dead-letter topic once, from its beginning (or from given offsets) to where it ended when the
 * reader was opened: without a consumer group, so nothing is committed and nobody else is disturbed.
 */
#ifndef CBTAP_SINK_KAFKA_READER_H
#define CBTAP_SINK_KAFKA_READER_H

#include <librdkafka/rdkafka.h>

#include "cbtap/config.h"
#include "cbtap/err.h"

struct kafka_reader;

struct kafka_reader_partition {
    int32_t id;
    int64_t from; /* the next offset to be read; may be raised before the first read */
    int64_t end;  /* one past the last to be read; may be lowered before the first read */
};

/* Reaches Kafka and looks where the topic begins and ends. CBT_EIO: no answer; CBT_EREFUSED: there is no such
 * topic, or it may not be read; CBT_EINVAL: properties. @thread main */
int kafka_reader_open(struct kafka_reader **ret_reader, const struct cbt_sink_config *config,
                      const struct cbt_options_cbtap *options, struct cbt_err *err);
/* NULL is fine. */
void kafka_reader_close(struct kafka_reader *reader);

struct kafka_reader_partition *kafka_reader_partitions(struct kafka_reader *reader, size_t *ret_count);

/* Waits for the next message, at most timeout_ms. 1: *ret_message, the caller's to destroy; 0: none yet; 2:
 * the end; CBT_EIO: Kafka does not answer any more, or refuses. @thread one at a time */
int kafka_reader_next(struct kafka_reader *reader, int timeout_ms, rd_kafka_message_t **ret_message,
                      struct cbt_err *err);

#endif
