/* SPDX-License-Identifier: MIT */
/*
 * The inside of the Kafka sink, shared by its files:
 *   sink_kafka.c         life: open, the delivery thread, drain, close
 *   kafka_config.c       librdkafka's properties, check
 *   kafka_topic.c        topics, their partition counts and size limits
 *   kafka_submit.c       the workers' side: partitioning and hand-over
 *   kafka_report.c       delivery reports: settlement, and what was not delivered
 *   kafka_recover.c      a new producer, and everything unconfirmed sent again in order
 *   kafka_dead_letter.c  dead letters: topic, else directory, else again later
 *   kafka_log.c          what librdkafka has to say, once
 *   kafka_probe.c        check --connect
 */
#ifndef CBTAP_SINK_KAFKA_H
#define CBTAP_SINK_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>

#include "cbtap/sink.h"

#define KAFKA_TOPICS_MAX     256
#define KAFKA_TOPIC_NAME_MAX 249 /* Kafka's own limit */
#define KAFKA_POLL_MS        200
/* A record's size in a batch of format 2, beyond key and value: lengths, deltas, the batch's head, with room
 * to spare. */
#define KAFKA_RECORD_HEAD_BYTES 128

struct kafka_topic {
    char name[KAFKA_TOPIC_NAME_MAX + 1];
    rd_kafka_topic_t *handle;          /* of the present producer */
    _Atomic int32_t partitions;        /* 0: not known yet */
    _Atomic uint32_t record_max_bytes; /* max.message.bytes */
    bool limit_known;                  /* delivery thread's */
    int64_t refreshed_ns;              /* delivery thread's */
};

/* A worker's own. */
struct kafka_scratch {
    _Alignas(64) _Atomic uint32_t inside; /* 1 while the worker uses the producer, see kafka_enter */
    struct cbt_record **pending;          /* [records_max] not yet handed over, in order */
    struct cbt_record **ready;            /* [records_max] those of a round that have a bucket */
    uint32_t *bucket;                     /* [records_max] which (topic, partition) */
    rd_kafka_message_t *messages;         /* [records_max] sorted by bucket */
    uint32_t *starts;                     /* [starts_size] where each bucket begins */
    size_t starts_size;
    uint64_t random; /* for records without key */
};

enum kafka_record_state {
    KAFKA_FRESH,
    KAFKA_ALONE,   /* its batch was refused: to be sent alone */
    KAFKA_REFUSED, /* an event that became a dead letter; its `dead` is the sink's own memory */
};

struct kafka {
    struct cbt_sink_context context;
    const struct cbt_options_kafka *options;
    rd_kafka_t *producer;
    uint32_t batch_bytes; /* batch.size of the producer: at most what the topics take */
    bool topic_is_fixed;  /* no {placeholder}: topics[0] */

    pthread_mutex_t lock; /* topics being added, lists below, the condition; never on the way of a batch */
    pthread_cond_t changed;
    struct kafka_topic topics[KAFKA_TOPICS_MAX];
    _Atomic uint32_t topic_count;
    rd_kafka_topic_t *dead_letter_topic;

    _Atomic uint64_t seq;        /* records submitted */
    _Atomic uint64_t finished;   /* of these, delivered or kept as dead letters */
    _Atomic uint32_t gate;       /* 1: workers stay out of the producer */
    _Atomic uint64_t queue_full; /* times a worker waited for room */
    _Atomic bool abandoned, quit;
    struct kafka_scratch *scratch; /* [workers] */
    unsigned waiting;              /* workers that wait for room; under the lock */

    pthread_t thread;
    bool started;

    /* Handed over by workers to the delivery thread, under the lock: events refused on hand-over, dead
     * letters that could not be produced. */
    struct cbt_record *refused;
    struct cbt_record *undelivered_dead;
    _Atomic bool handed;

    /* The delivery thread's. */
    struct cbt_frame *run_frame; /* the run of reports not yet settled */
    uint32_t run_count;
    unsigned waiting_seen;          /* reports came since workers were last told of room */
    struct cbt_record *unconfirmed; /* events to be sent again */
    size_t unconfirmed_count;
    struct cbt_record *dead_waiting; /* dead letters that neither topic nor directory took */
    int64_t dead_retry_ns;
    bool dead_logged;
    bool recovering;
    bool recovery_wanted, recovery_is_fatal;
    const char *recovery_reason;
    const struct cbt_record *alone; /* the one record under way while refused ones are sent one by one */
    unsigned fruitless;             /* recoveries without progress */
    int64_t recover_at_ns;
    uint64_t delivered_before;
    _Atomic bool down; /* no broker is reachable */
    int64_t probe_at_ns;
    uint64_t random;
};

/* kafka_config.c: a configuration with all properties set, to be owned by rd_kafka_new; NULL with err. */
rd_kafka_conf_t *kafka_make_conf(const struct cbt_sink_config *config, uint64_t inflight_bytes,
                                 uint32_t batch_bytes, struct cbt_err *err);
int kafka_check(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                struct cbt_err *err);
/* The value that a property has in effect (the configured one or ours), or NULL. */
const char *kafka_property(const struct cbt_sink_config *config, const char *name);
int kafka_probe(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                char *ret_report, size_t report_bytes, struct cbt_err *err);

/* sink_kafka.c: makes the producer and its topic handles (delivery thread, or before it runs). */
int kafka_make_producer(struct kafka *k, struct cbt_err *err);
void kafka_drop_producer(struct kafka *k);

/* kafka_topic.c */
int kafka_topics_init(struct kafka *k, struct cbt_err *err);
/* The topic of a record, added where it is new. @thread worker or delivery, between enter and leave */
struct kafka_topic *kafka_topic_of(struct kafka *k, const struct cbt_record *record);
/* Asks for what is not known of the topics and refreshes what is old. @thread delivery */
void kafka_topics_refresh(struct kafka *k);
/* True when every topic's partitions are known. @thread any */
bool kafka_topics_known(struct kafka *k);

/* kafka_submit.c */
void kafka_submit(void *self, unsigned worker, struct cbt_record *const recs[], size_t n);
/* Produces one event, waiting for room by polling. @thread delivery, gate closed */
rd_kafka_resp_err_t kafka_produce_one(struct kafka *k, struct cbt_record *record);
/* Produces to an explicit partition with what a batch cannot carry: a timestamp. */
rd_kafka_resp_err_t kafka_produce_stamped(struct kafka *k, struct kafka_topic *topic, int32_t partition,
                                          struct cbt_record *record);
int32_t kafka_partition_of(struct kafka_topic *topic, const struct cbt_record *record, int32_t partitions,
                           uint64_t *random);
uint32_t kafka_record_bytes(const struct cbt_record *record);

/* kafka_report.c */
void kafka_report_cb(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque);
/* Settles the run of reports and wakes receivers: once a poll. */
void kafka_settle_run(struct kafka *k);
void kafka_settle_one(struct kafka *k, struct cbt_record *record);

/* kafka_recover.c */
void kafka_want_recovery(struct kafka *k, const char *reason, bool fatal);
/* One attempt, if one is wanted and due. @thread delivery */
void kafka_recover(struct kafka *k, int64_t now_ns);

/* kafka_dead_letter.c */
rd_kafka_resp_err_t kafka_produce_dead(struct kafka *k, struct cbt_record *record);
/* An event that Kafka does not take becomes a dead letter. @thread delivery */
void kafka_refuse(struct kafka *k, struct cbt_record *record, const char *why);
/* A dead letter that the topic does not take: to the directory, or kept for later. @thread delivery */
void kafka_store_dead(struct kafka *k, struct cbt_record *record, const char *why);
/* What workers handed over, and what is to be tried again. @thread delivery */
void kafka_serve_dead(struct kafka *k, int64_t now_ns);
/* A dead letter is done: its memory, if it is the sink's. */
void kafka_free_dead(struct cbt_record *record);

/* kafka_log.c */
void kafka_log_cb(const rd_kafka_t *producer, int level, const char *facility, const char *text);
void kafka_error_cb(rd_kafka_t *producer, int code, const char *reason, void *opaque);
/* Kafka is reachable again, or is not: one line each. @thread delivery */
void kafka_set_down(struct kafka *k, bool down, const char *reason);

#endif
