/* SPDX-License-Identifier: MIT */
/*
 * The inside of the Kafka sink, shared by its files:
 *   sink_kafka.c         life: open, drain, abandon, close; readiness
 *   kafka_config.c       librdkafka's properties: ours, the configuration's, the refused ones
 *   kafka_producer.c     making and replacing the producer
 *   kafka_topic.c        topics by name, for workers
 *   kafka_metadata.c     a thread that asks for partition counts and size limits
 *   kafka_gate.c         how workers enter, leave and wait
 *   kafka_submit.c       the workers' side: partitioning and hand-over
 *   kafka_delivery.c     the delivery thread: reports, settlement
 *   kafka_unconfirmed.c  what came back undelivered: why, and in which order it goes again
 *   kafka_recover.c      everything unconfirmed sent again, in order
 *   kafka_reload.c       TLS files that were renewed
 *   kafka_dead_letter.c  dead letters: topic, else directory, else again later
 *   kafka_log.c          what there is to say, once
 *   kafka_probe.c        check --connect
 *
 * Threads: workers (submit), one delivery thread, one metadata thread, librdkafka's own. Nothing of a record
 * may be read after it was handed to librdkafka: its report may have come and its memory gone.
 */
#ifndef CBTAP_SINK_KAFKA_H
#define CBTAP_SINK_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>

#include "cbtap/sink.h"

#define KAFKA_TOPICS_MAX     256
#define KAFKA_TOPIC_NAME_MAX 249 /* Kafka's own limit */
/* Topics' max.message.bytes by Kafka's default, and what we take it for where it cannot be read. */
#define KAFKA_TOPIC_MAX_BYTES 1048588u
#define KAFKA_BATCH_BYTES     1000000u
#define KAFKA_BATCH_MIN_BYTES 16384u

#define KAFKA_NS_PER_MS INT64_C(1000000)

/* librdkafka's own errors have at most so much. */
#define KAFKA_FAULT_BYTES 512

/* A producer. Counted, as the metadata thread uses it while the delivery thread may replace it. */
struct kafka_producer {
    rd_kafka_t *rk;
    rd_kafka_queue_t *reports; /* its main queue, to wake the delivery thread by */
    unsigned users;            /* under the sink's lock */
};

struct kafka_topic {
    char name[KAFKA_TOPIC_NAME_MAX + 1];
    rd_kafka_topic_t *handle;   /* of the producer at hand: changes only while the gate is closed */
    _Atomic int32_t partitions; /* 0: not known */
    _Atomic uint32_t max_bytes; /* of a batch, so of a record with its head: max.message.bytes */

    /* Under the lock. */
    int64_t due_ns;     /* when to ask for it next */
    unsigned fruitless; /* questions without a useful answer since the last one */
    bool in_use;        /* asked for from now on */
    bool told;          /* the log said that it is not there */
    char fault[128];    /* why it is not known */
};

/* Records of one partition in a hand-over. */
struct kafka_bucket {
    uint16_t topic;
    int32_t partition;
    uint32_t count;
    uint32_t end; /* while messages are filled in: where the next one goes; then one past the last */
};

/* What a worker remembers of the topic of a type. */
struct kafka_topic_memo {
    uint16_t topic; /* index + 1; 0: empty */
    uint8_t type_len, event_type_len;
    uint8_t text[94]; /* both names */
};

#define KAFKA_MEMOS 64

/* A worker's own, allocated once. */
struct kafka_scratch {
    _Alignas(64) _Atomic uint32_t inside; /* 1 while the worker uses the producer: kafka_gate.c */
    uint8_t own_line[60];                 /* the delivery thread looks at `inside`, at nothing else */
    struct cbt_record **pending;          /* [records_max] not handed over yet, in order */
    uint16_t *bucket_of;                  /* [records_max] */
    rd_kafka_message_t *messages;         /* [records_max] by bucket */
    struct kafka_bucket *buckets;         /* [records_max] */
    uint16_t *slots;                      /* [slots_size] hash of (topic, partition): bucket + 1 */
    uint32_t slots_mask;
    uint64_t random;                       /* for records without key */
    struct kafka_topic_memo *memos;        /* [KAFKA_MEMOS], where the topic is by template */
    struct cbt_record *aside, **aside_end; /* dead letters and refused records of this submit */
};

/* cbt_record.state */
enum kafka_state {
    KAFKA_FRESH,
    KAFKA_TOO_LARGE, /* an event that is larger than its topic takes: to become a dead letter */
    KAFKA_ALONE,     /* its batch was refused: to be sent alone */
    KAFKA_REFUSED,   /* an event that became a dead letter: `dead` is memory of the sink */
};

enum kafka_gate {
    KAFKA_GATE_CLOSED = 1,    /* for a recovery */
    KAFKA_GATE_ABANDONED = 2, /* for ever */
};

enum kafka_phase {
    KAFKA_RUNNING,
    KAFKA_DRAINING,  /* gate closed: until every record that librdkafka holds has its report */
    KAFKA_WAITING,   /* until it is time, and the topics are known */
    KAFKA_SINGLY,    /* records of refused batches, one at a time */
    KAFKA_RESENDING, /* all others */
};

struct kafka_recovery {
    enum kafka_phase phase;
    bool wanted;
    bool failed;  /* an error of the cluster's, not of a record or the producer */
    bool refused; /* Kafka says no: try again slowly */
    bool quiet;   /* only to change the producer's limits or TLS files: nothing to worry people with */
    bool told;    /* the log said that it goes on; until something is delivered */
    char reason[256];
    int64_t since_ns;
    int64_t purge_at_ns;
    int64_t resend_at_ns;
    int64_t ended_ns;
    unsigned fruitless; /* recoveries since a record was last delivered */
    uint64_t delivered_before;
    struct cbt_record *unconfirmed; /* came back undelivered, in no order */
    size_t unconfirmed_count;
    struct cbt_record *alone, *rest; /* sorted, to be sent */
    uint64_t resent;
    bool shrunk;  /* batches were made smaller for it already */
    bool renewed; /* while waiting: there is a new producer already */
    uint64_t random;
};

/* Dead letters have a producer of their own, made with the first one, so that a dead-letter topic in trouble
 * does not stop the events: theirs stops at every error (enable.gapless.guarantee). */
struct kafka_dead_letters {
    rd_kafka_t *rk;
    struct cbt_record *waiting, **waiting_end; /* to be sent or stored, in order */
    size_t under_way;
    int64_t used_ns;
    int64_t retry_ns;
    bool renew; /* the producer is to go, and what it holds to be sent again by a new one */
    bool stuck; /* neither topic nor directory took one */
    bool told;  /* the log said that the topic refuses */
    rd_kafka_resp_err_t topic_error;
    int64_t topic_bad_until_ns; /* straight to the directory until then */
};

/* How long nothing was confirmed while something waits for it. */
struct kafka_progress {
    uint64_t done;
    int64_t since_ns;
    bool told;
};

struct kafka {
    /* Written by all workers, for each batch: on a line that nothing else is on. */
    uint8_t line_before[64];
    _Atomic uint64_t taken; /* records that submit took over: submission numbers */
    uint8_t line_behind[56];

    _Atomic uint32_t gate;    /* enum kafka_gate, 0: open */
    _Atomic uint32_t changes; /* grows when something changes that a worker may wait for */
    _Atomic uint32_t waiting; /* threads that wait for it */
    _Atomic uint32_t topic_count;
    _Atomic uint64_t queue_full;   /* times a worker waited for room */
    struct kafka_scratch *scratch; /* [workers] */

    struct cbt_sink_context context;
    const struct cbt_options_kafka *options;
    const char *name; /* the section's */
    bool topic_is_fixed;
    bool stamped; /* kafka_timestamp is not produce */
    bool stamp_event;
    bool headers;    /* the format's records have them */
    bool one_by_one; /* either: what a batch cannot carry */

    pthread_mutex_t lock;       /* never on the ordinary way of a batch */
    pthread_cond_t changed;     /* changes has grown, or the gate */
    pthread_cond_t stepped_out; /* a worker has left while the gate was closed */
    pthread_cond_t ask;         /* the metadata thread has something to do */
    struct kafka_topic topics[KAFKA_TOPICS_MAX];
    struct kafka_producer *producer;       /* replaced by the delivery thread: gate closed, under the lock */
    struct cbt_record *inbox, **inbox_end; /* dead letters and refused records from workers */

    pthread_t delivery, metadata;
    bool delivery_started, metadata_started;
    _Atomic bool quit;

    uint64_t files_sum;        /* main's: of the TLS files that the producer was made with */
    _Atomic bool renew_wanted; /* for other TLS files */

    /* Limits: what the producer at hand was made with, and what the topics ask for. */
    _Atomic uint32_t batch_bytes, message_max_bytes;
    _Atomic uint32_t wanted_batch_bytes, wanted_message_max_bytes;
    uint32_t batch_cap_bytes;       /* after refused batches; under the lock */
    uint32_t own_message_max_bytes; /* kafka.message.max.bytes of the configuration, 0: none */

    struct kafka_progress progress; /* the delivery thread's */
    /* What people see; under the lock, but `down`. */
    _Atomic bool down; /* no broker answers */
    bool refusal_told; /* the log said that the one does not accept the other, since it is down */
    int64_t down_since_ns;
    char fault[KAFKA_FAULT_BYTES]; /* the last thing a broker or the network said */
    int64_t reach_due_ns;          /* when to ask whether Kafka answers; INT64_MAX: no need */
    _Atomic bool ready;
    _Atomic int recovering;

    /* The delivery thread's. */
    struct cbt_frame *run_frame; /* the run of reports not yet settled */
    uint32_t run_count, run_events;
    uint64_t run_bytes;
    bool reported;         /* since the last announcement */
    _Atomic uint64_t done; /* of those taken */
    struct kafka_recovery recovery;
    struct kafka_dead_letters dead;
};

/* librdkafka takes what it will not change without const. */
static inline void *kafka_bytes(const void *bytes)
{
    union {
        const void *in;
        void *out;
    } both = {bytes};
    return both.out;
}

/* ---- kafka_config.c ---- */

enum kafka_role {
    KAFKA_ROLE_EVENTS, /* stops at every error, so that order holds */
    KAFKA_ROLE_SINGLE, /* sends one at a time and goes on after a refused record */
    KAFKA_ROLE_DEAD,   /* dead letters, each a batch of its own */
    KAFKA_ROLE_PROBE,  /* looks, changes nothing */
    KAFKA_ROLE_CHECK,  /* connects to nobody */
};

struct kafka_limits {
    uint64_t inflight_bytes;
    uint32_t batch_bytes, message_max_bytes;
};

/* A configuration with all properties set, for rd_kafka_new; NULL: err says which key is at fault. */
rd_kafka_conf_t *kafka_conf_new(const struct cbt_sink_config *config, enum kafka_role role,
                                const struct kafka_limits *limits, struct cbt_err *err);
/* Broker threads of what is made with it sleep where they would spin: kafka_pause.c. */
void kafka_conf_add_pause(rd_kafka_conf_t *conf);
int kafka_check(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                struct cbt_err *err);
/* Only what librdkafka judges: the properties as a whole, and the files that they name. @thread main */
int kafka_check_whole(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                      struct cbt_err *err);
/* The number that the configuration gives a property, or 0. */
uint64_t kafka_own_number(const struct cbt_sink_config *config, const char *name);
/* Makes the instance; frees conf in any case. */
rd_kafka_t *kafka_new(rd_kafka_conf_t *conf, struct cbt_err *err);

/* ---- kafka_producer.c ---- */

int kafka_producer_new(struct kafka *k, enum kafka_role role, struct kafka_producer **ret_producer,
                       struct cbt_err *err);
/* Puts `producer` (NULL: none) in place of the one at hand, with a handle for every topic. @thread delivery,
 * gate closed; main before the threads run and after they ended */
int kafka_producer_install(struct kafka *k, struct kafka_producer *producer, struct cbt_err *err);
void kafka_producer_release(struct kafka *k, struct kafka_producer *producer);

/* ---- kafka_topic.c ---- */

int kafka_topics_init(struct kafka *k, struct cbt_err *err);
/* Index of the record's topic, added where it is new. @thread worker, inside the gate */
uint16_t kafka_topic_of(struct kafka *k, struct kafka_scratch *s, const struct cbt_record *record);
/* Its partitions are not known any more: asks. @thread any */
void kafka_topic_lost(struct kafka *k, uint16_t index);
bool kafka_topics_known(struct kafka *k);

/* ---- kafka_metadata.c ---- */

void *kafka_metadata_main(void *arg);
/* max.message.bytes of a topic; 0 where it may not be asked for. Blocks for seconds at most. `metadata` tells
 * of the cluster's brokers. */
uint32_t kafka_ask_max_bytes(rd_kafka_t *rk, const struct rd_kafka_metadata *metadata, const char *name);
/* True when the producer at hand has the limits that the topics want. @thread any */
bool kafka_limits_fit(const struct kafka *k);
/* Asks again for whether Kafka answers. @thread any, without the lock */
void kafka_ask(struct kafka *k);

/* ---- kafka_gate.c ---- */

int kafka_gate_init(struct kafka *k);
void kafka_gate_free(struct kafka *k);
/* False: abandoned. *ret_changes is what kafka_wait wants. @thread worker */
bool kafka_enter(struct kafka *k, struct kafka_scratch *s, uint32_t *ret_changes);
void kafka_leave(struct kafka *k, struct kafka_scratch *s);
/* Sleeps until `changes` differs from what it was, at most timeout_ms. Not inside the gate. */
void kafka_wait(struct kafka *k, uint32_t changes, int timeout_ms);
/* Something that may be waited for has changed. @thread any */
void kafka_announce(struct kafka *k);
/* Returns when no worker is inside. @thread delivery */
void kafka_close_gate(struct kafka *k);
void kafka_open_gate(struct kafka *k);
/* Makes the delivery thread look around. @thread any, without the lock */
void kafka_wake(struct kafka *k);

/* ---- kafka_submit.c ---- */

void kafka_submit(void *self, unsigned worker, struct cbt_record *const recs[], size_t count);
/* A record's partition at the moment; the topic's partitions must be known. */
int32_t kafka_partition_of(const struct kafka_topic *topic, int32_t partitions,
                           const struct cbt_record *record, uint64_t random);
/* Bytes that the record takes in a batch of its own, with or without headers. */
uint64_t kafka_record_bytes(const struct cbt_record *record, bool headers);
/* Produces with the record's timestamp and headers, which a batch cannot carry. */
rd_kafka_resp_err_t kafka_produce_one(const struct kafka *k, int64_t now_ms, struct cbt_record *record);

/* ---- kafka_delivery.c ---- */

void *kafka_delivery_main(void *arg);
void kafka_report_cb(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque);
/* One record less that the frame waits for. @thread delivery */
void kafka_settle(struct kafka *k, struct cbt_frame *frame);
/* Settles the run of reports and wakes receivers and workers: once a poll. @thread delivery */
void kafka_settle_flush(struct kafka *k);

/* ---- kafka_unconfirmed.c; all @thread delivery ---- */

/* Keeps an event that was not delivered, and asks for a recovery. */
void kafka_keep(struct kafka *k, struct cbt_record *record, rd_kafka_resp_err_t failed);
void kafka_want_recovery(struct kafka *k, rd_kafka_resp_err_t code, const char *reason);
/* For people; the first reason stays. */
void kafka_give_reason(struct kafka_recovery *r, const char *reason);
/* Moves all that is unconfirmed into `alone` and `rest`, in the order of submission: those to be sent alone,
 * with those of their partition that came before them; and all others. */
void kafka_sort_unconfirmed(struct kafka_recovery *r);
/* Moves a list back to what is unconfirmed. */
void kafka_keep_list(struct kafka_recovery *r, struct cbt_record **list);

/* ---- kafka_recover.c; all @thread delivery ---- */

/* One step of a recovery, where one is wanted. */
void kafka_recover(struct kafka *k, int64_t now_ns);
/* The time until which kafka_recover has nothing to do; INT64_MAX: for ever. */
int64_t kafka_recover_due_ns(const struct kafka *k);

/* ---- kafka_dead_letter.c; all @thread delivery ---- */

/* A dead letter, or an event that Kafka does not take and that therefore becomes one. `why` for the latter.
 */
void kafka_dead_add(struct kafka *k, struct cbt_record *record);
void kafka_dead_refuse(struct kafka *k, struct cbt_record *record, const char *why);
/* Sends, stores and tries again. */
void kafka_dead_serve(struct kafka *k, int64_t now_ns);
/* How long the delivery thread may sleep, in ms. */
int kafka_dead_sleep_ms(const struct kafka *k, int64_t now_ns);
void kafka_dead_close(struct kafka *k);

/* ---- kafka_log.c ---- */

void kafka_log_cb(const rd_kafka_t *rk, int level, const char *facility, const char *text);
void kafka_error_cb(rd_kafka_t *rk, int code, const char *reason, void *opaque);
/* One line when Kafka stops answering, one when it answers again. `reason` for where nothing better is known.
 * @thread any, without the lock */
void kafka_set_down(struct kafka *k, bool down, const char *reason);

/* ---- kafka_reload.c ---- */

/* Changes when one of the TLS files does. */
uint64_t kafka_files_sum(const struct cbt_sink_config *config);
/* @thread main */
void kafka_reload(void *self);

/* ---- kafka_probe.c ---- */

/* What to do about a fault of TLS or of the login; NULL where the text is none. @thread any */
const char *kafka_hint(const char *text);

/* The last thing that a broker or the network said. */
struct kafka_fault {
    char text[KAFKA_FAULT_BYTES];
    rd_kafka_resp_err_t code;
};

/* Has the instance to be made of `conf` keep its faults there, which must outlive it. */
void kafka_watch_faults(rd_kafka_conf_t *conf, struct kafka_fault *fault);
/* Waits seconds at most until a broker answers; else the error says what may be wrong. */
int kafka_reach(rd_kafka_t *rk, const struct kafka_fault *fault, const char *servers, int *ret_brokers,
                struct cbt_err *err);

int kafka_probe(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                char *ret_report, size_t report_bytes, struct cbt_err *err);

#endif
