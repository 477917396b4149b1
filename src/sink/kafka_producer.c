/* SPDX-License-Identifier: MIT */
/* The producer that events go through: made, put in place of another, counted, ended. */
#include <stdlib.h>

#include "sink/kafka.h"

int kafka_producer_new(struct kafka *k, enum kafka_role role, struct kafka_producer **ret_producer,
                       struct cbt_err *err)
{
    const struct kafka_limits limits = {.inflight_bytes = k->context.options->inflight_bytes,
                                        .batch_bytes = atomic_load(&k->wanted_batch_bytes),
                                        .message_max_bytes = atomic_load(&k->wanted_message_max_bytes)};
    struct kafka_producer *producer = calloc(1, sizeof(*producer));
    if (producer == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a producer");
    rd_kafka_conf_t *conf = kafka_conf_new(k->context.config, role, &limits, err);
    if (conf == NULL)
        goto fail;
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_conf_set_dr_msg_cb(conf, kafka_report_cb);
    rd_kafka_conf_set_error_cb(conf, kafka_error_cb);
    producer->rk = kafka_new(conf, err);
    if (producer->rk == NULL)
        goto fail;
    producer->reports = rd_kafka_queue_get_main(producer->rk);
    producer->users = 1;
    atomic_store(&k->batch_bytes, limits.batch_bytes);
    atomic_store(&k->message_max_bytes, limits.message_max_bytes);
    *ret_producer = producer;
    return CBT_OK;
fail:
    free(producer);
    return CBT_EINVAL;
}

int kafka_producer_install(struct kafka *k, struct kafka_producer *producer, struct cbt_err *err)
{
    int rc = CBT_OK;
    pthread_mutex_lock(&k->lock);
    struct kafka_producer *old = k->producer;
    uint32_t count = atomic_load(&k->topic_count);
    for (uint32_t i = 0; i < count; i++) {
        struct kafka_topic *topic = &k->topics[i];
        if (topic->handle != NULL)
            rd_kafka_topic_destroy(topic->handle);
        topic->handle = producer != NULL ? rd_kafka_topic_new(producer->rk, topic->name, NULL) : NULL;
        if (topic->handle == NULL && producer != NULL)
            rc = cbt_err_set(err, CBT_EINVAL, "topic %s: %s", topic->name,
                             rd_kafka_err2str(rd_kafka_last_error()));
    }
    k->producer = producer;
    pthread_mutex_unlock(&k->lock);
    if (old != NULL)
        kafka_producer_release(k, old);
    return rc;
}

void kafka_producer_release(struct kafka *k, struct kafka_producer *producer)
{
    pthread_mutex_lock(&k->lock);
    bool last = --producer->users == 0;
    pthread_mutex_unlock(&k->lock);
    if (!last)
        return;
    rd_kafka_queue_destroy(producer->reports);
    rd_kafka_destroy(producer->rk);
    free(producer);
}
