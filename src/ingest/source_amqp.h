/* SPDX-License-Identifier: MIT */
/*
 * The inside of the AMQP source, shared by its files: settings (amqp_settings.c), connection
 * (amqp_connect.c), TLS (amqp_tls.c), queue and bindings (amqp_topology.c), deliveries (amqp_read.c),
 * messages too large to hold (amqp_spill.c), acknowledgements (amqp_ack.c), header values (amqp_headers.c),
 * routing keys (amqp_topic.c), `check --connect` (amqp_probe.c). All of an instance belongs to its receiver's
 * thread.
 */
#ifndef CBTAP_INGEST_SOURCE_AMQP_H
#define CBTAP_INGEST_SOURCE_AMQP_H

#include <amqp.h>
#include <amqp_framing.h>
#include <string.h>

#include "cbtap/cb_conf.h"
#include "cbtap/dead_letter_dir.h"
#include "cbtap/source.h"

#define CBT_AMQP_RAW_EXCHANGE    "api.rawsensordata"
#define CBT_AMQP_EVENTS_EXCHANGE "api.events"

/* Deliveries come on one channel; on the other, whatever may be refused (which closes a channel) is asked. */
#define CBT_AMQP_CONSUME_CHANNEL 1
#define CBT_AMQP_SIDE_CHANNEL    2

/* Longest text of an AMQP shortstr: names of queues and exchanges, routing keys, content types. */
#define CBT_AMQP_SHORTSTR_BYTES_MAX 255
/* A longer sensorHostName is unreadable: it goes into each event of the message. */
#define CBT_AMQP_HOST_NAME_BYTES_MAX 1024

static inline struct cbt_text cbt_amqp_text(amqp_bytes_t bytes)
{
    return (struct cbt_text){bytes.bytes, bytes.len};
}
static inline bool cbt_amqp_is(amqp_bytes_t bytes, const char *literal, size_t len)
{
    return bytes.len == len && memcmp(bytes.bytes, literal, len) == 0;
}
#define CBT_AMQP_IS(bytes, literal) cbt_amqp_is((bytes), "" literal, sizeof(literal) - 1)

/* ---- settings: what the section says, checked and taken apart ---- */

struct cbt_amqp_settings {
    const struct cbt_source_config *config;
    const struct cbt_options_amqp *options;
    char *url;                          /* owns the strings of `broker`, but for what is cb_conf's */
    struct cbt_cb_conf *cb_conf;        /* as last read; NULL: there is none */
    struct amqp_connection_info broker; /* the password never goes into a text */
    char *events;                       /* owns the patterns */
    const char **patterns;              /* routing keys to bind on api.events */
    size_t pattern_count;
    amqp_table_entry_t *arguments; /* of queue.declare */
    int argument_count;
};

/* On failure `ret_settings` holds nothing. @thread main */
int cbt_amqp_settings_read(struct cbt_amqp_settings *ret_settings, const struct cbt_source_config *config,
                           struct cbt_err *err);
void cbt_amqp_settings_free(struct cbt_amqp_settings *settings);
/* Reads cb_conf, where there is one, and puts what it gives into `broker`: passwords may have been changed
 * since. @thread main, receiver */
int cbt_amqp_settings_renew(struct cbt_amqp_settings *settings, struct cbt_err *err);
/* Logs what works but is likely a mistake. @thread main */
void cbt_amqp_settings_warn(const struct cbt_amqp_settings *settings);

/* ---- routing keys ---- */

/* Whether a topic exchange would route `key` by `pattern`: words between dots, `*` one word, `#` any number.
 */
bool cbt_amqp_topic_matches(struct cbt_text pattern, struct cbt_text key);

#define CBT_AMQP_VERDICTS 8
/* Unwanted routing keys that are named in the log; more would be noise. */
#define CBT_AMQP_UNWANTED_LOGGED_MAX 16

/* The last keys and whether they are wanted: a queue sees few different ones, many times. */
struct cbt_amqp_verdicts {
    struct {
        bool wanted;
        uint8_t len;
        uint8_t key[CBT_AMQP_SHORTSTR_BYTES_MAX];
    } entries[CBT_AMQP_VERDICTS];
    unsigned used, next;
};

/* True where one of the patterns matches the key (at most 255 bytes). `*ret_new` tells that it was not
 * remembered. */
bool cbt_amqp_wanted(struct cbt_amqp_verdicts *verdicts, const char *const patterns[], size_t pattern_count,
                     struct cbt_text key, bool *ret_new);

/* ---- headers ---- */

/* A decimal integer, optionally signed, and nothing else; false beyond int64_t. */
bool cbt_amqp_parse_integer(struct cbt_text text, int64_t *ret_value);

/* X(header, field of struct cbt_environment, kind): the headers that name a message's endpoint. */
#define CBT_AMQP_HEADERS(X)                                                                                  \
    X(sensorId, sensor_id, int32)                                                                            \
    X(sensorHostName, host_name, text)                                                                       \
    X(hostId, host_id, int64)                                                                                \
    X(nodeId, node_id, int32)

/* Takes one header in, where it is one of those; false, and nothing changed, where it cannot be read. */
bool cbt_amqp_read_header(const amqp_table_entry_t *header, struct cbt_environment *env);

/* Takes those headers out of all of a message's. The host name's text stays
 * where it is. Returns how many of them could not be read. */
unsigned cbt_amqp_read_headers(const amqp_table_t *headers, struct cbt_environment *ret_env);

/* ---- acknowledgements ---- */

/* Which deliveries of a channel are done. Tags count from 1 without gaps, and prefetch bounds the window. */
struct cbt_amqp_acks {
    uint64_t *done;     /* a bit for each tag, at tag & mask */
    uint64_t mask;      /* capacity - 1 */
    uint64_t delivered; /* highest tag delivered */
    uint64_t first;     /* lowest tag not done: what lies below can be acknowledged with one `multiple` */
    uint64_t acked;     /* highest tag acknowledged */
    uint64_t settled;   /* tags done, acknowledged or not */
};

int cbt_amqp_acks_init(struct cbt_amqp_acks *acks, uint32_t prefetch, struct cbt_err *err);
void cbt_amqp_acks_free(struct cbt_amqp_acks *acks);
/* For a new channel. */
void cbt_amqp_acks_reset(struct cbt_amqp_acks *acks);
/* False for a tag out of sequence, or beyond the window. */
bool cbt_amqp_acks_deliver(struct cbt_amqp_acks *acks, uint64_t tag);
/* False for a tag that is not in flight, or done already. */
bool cbt_amqp_acks_settle(struct cbt_amqp_acks *acks, uint64_t tag);
/* How many tags an acknowledgement up to first - 1 would newly cover. */
static inline uint64_t cbt_amqp_acks_due(const struct cbt_amqp_acks *acks)
{
    return acks->first - 1 - acks->acked;
}

/* ---- the source ---- */

/* What became of an attempt to log in. */
struct cbt_amqp_session {
    bool reached; /* there is a connection, whatever the broker says on it */
    /* What TLS came to, for people; empty strings without TLS. */
    char protocol[16]; /* "TLSv1.3" */
    char cipher[64];
    char until[64]; /* the end of the broker's certificate */
};

/* What is bound, and to what. Kept over reconnects, so that what is missing is said once. */
struct cbt_amqp_binding {
    const char *exchange;
    const char *key;
    bool bound;    /* on this connection */
    bool failed;   /* in this round */
    bool reported; /* its absence is in the log */
};

/* The side channel's conversation: one method under way at a time. */
enum cbt_amqp_side {
    CBT_AMQP_SIDE_IDLE, /* between rounds */
    CBT_AMQP_SIDE_OPENING,
    CBT_AMQP_SIDE_BINDING,
    CBT_AMQP_SIDE_COUNTING,
};

enum cbt_amqp_stage {
    CBT_AMQP_WANT_METHOD,
    CBT_AMQP_WANT_HEADER,
    CBT_AMQP_HELD, /* a header that waits for memory */
    CBT_AMQP_BODY,
    CBT_AMQP_SPILL,  /* the body goes to dead_letter_dir */
    CBT_AMQP_SKIP,   /* the body cannot be kept and goes nowhere: the message stays unsettled */
    CBT_AMQP_REFUSE, /* such a message is read: the connection ends when all before it is acknowledged */
};

struct cbt_amqp {
    struct cbt_amqp_settings settings;
    struct cbt_receiver *receiver;
    struct cbt_stats *stats;
    char client_name[64]; /* "cbtap bus-0" */

    amqp_connection_state_t conn; /* NULL: not connected */
    bool broken;                  /* the connection failed: no farewell */
    bool told_over; /* by the broker itself: it knows that this connection or consumer is no more */
    bool consuming;
    bool consumed;   /* on an earlier connection, if not on this one */
    bool was_away;   /* since then the broker could not be reached */
    uint32_t others; /* consumers of the queue besides ours, as last told */
    int64_t
        ghost_until_ns; /* until then our last connection may live on for the broker, which was not told */
    uint32_t generation;
    int64_t heartbeat_ns; /* as negotiated */
    int64_t heartbeat_sent_ns;
    int64_t watched_ns; /* last look for a silent peer */
    int64_t stalled_ns; /* since when the socket takes no acknowledgement; 0: it does */

    /* The delivery under way. Pointers are into the channel's pool, which is released when they are copied.
     */
    enum cbt_amqp_stage stage;
    amqp_basic_deliver_t *deliver;
    uint64_t body_bytes;
    struct cbt_text content_type;
    struct cbt_environment env;
    struct cbt_frame *frame;
    uint64_t body_read;
    struct cbt_dead_letter_file *spill;
    struct cbt_err refusal;

    struct cbt_amqp_acks acks;
    uint64_t ack_batch;
    struct cbt_amqp_verdicts verdicts;
    unsigned unwanted_logged;
    uint64_t unwanted_named[CBT_AMQP_UNWANTED_LOGGED_MAX]; /* hashes of those keys */
    bool raw_unwanted_seen;

    struct cbt_amqp_binding *bindings;
    size_t binding_count;
    enum cbt_amqp_side side;
    bool side_open;
    size_t side_binding; /* being bound */
    int64_t side_round_ns;
    unsigned side_rounds;
};

/* How long a disconnect may wait for the broker to take the last acknowledgements, and how long to say
 * goodbye. */
#define CBT_AMQP_FAREWELL_MS 1000
/* Writes connection.close, and waits a little for its answer: closing a socket that holds unread deliveries
 * would reset the connection, and the broker might never see what was written last. */
void cbt_amqp_farewell(amqp_connection_state_t conn);

/* Opens socket and channels and logs in; leaves *ret_conn alone on failure. Also for probe. */
int cbt_amqp_login(amqp_connection_state_t *ret_conn, const struct cbt_amqp_settings *settings,
                   const char *client_name, struct cbt_amqp_session *ret_session, struct cbt_err *err);

/* A TLS socket of `conn`, connected within `timeout`, the broker's certificate verified. The files are read
 * here, so each connection takes them as they are. The socket belongs to `conn`. */
int cbt_amqp_tls_open(amqp_connection_state_t conn, const struct cbt_amqp_settings *settings,
                      struct timeval *timeout, amqp_socket_t **ret_socket,
                      struct cbt_amqp_session *ret_session, struct cbt_err *err);
/* What OpenSSL says of this thread's last failure: empty, or a reason and, where it is known, what to do.
 * True where the peer refuses what this side offers, so that trying again soon is of no use. */
bool cbt_amqp_tls_reason(char *ret_text, size_t text_bytes);

/* Fills err from a failed call of the library: CBT_EREFUSED where the broker says no for good, else CBT_EIO.
 */
int cbt_amqp_reply_error(struct cbt_err *err, amqp_rpc_reply_t reply, const char *what);
int cbt_amqp_close_error(struct cbt_err *err, uint16_t code, amqp_bytes_t text, const char *what);
int cbt_amqp_status_error(struct cbt_err *err, int status, const char *what);
int cbt_amqp_open_error(struct cbt_err *err, const struct amqp_connection_info *broker, int status);
/* A string of the broker's properties ("product", "version"), or an empty text. */
struct cbt_text cbt_amqp_server_property(amqp_connection_state_t conn, const char *name);

/* What a passive declaration says; CBT_OK with its answer, or an error. Leaves the side channel closed. */
struct cbt_amqp_queue {
    bool exists;
    uint32_t messages;
    uint32_t consumers; /* the broker counts those of a connection that it does not know to be dead */
};
int cbt_amqp_look_up_queue(amqp_connection_state_t conn, const char *queue, struct cbt_amqp_queue *ret_queue,
                           struct cbt_err *err);
int cbt_amqp_look_up_exchange(amqp_connection_state_t conn, const char *exchange, bool *ret_exists,
                              struct cbt_err *err);
/* queue.declare with the section's arguments. */
int cbt_amqp_declare_queue(amqp_connection_state_t conn, const struct cbt_amqp_settings *settings,
                           uint32_t *ret_messages, struct cbt_err *err);

/* The queue, its bindings, the consumer. */
int cbt_amqp_set_up(struct cbt_amqp *self, struct cbt_err *err);
/* A frame on the side channel. */
int cbt_amqp_on_side_frame(struct cbt_amqp *self, const amqp_frame_t *frame, struct cbt_err *err);
/* Begins a round of the side channel where one is due: what is not bound is tried again, the backlog is asked
 * for. */
int cbt_amqp_side_tick(struct cbt_amqp *self, int64_t now_ns, struct cbt_err *err);

int cbt_amqp_read(void *arg, unsigned frames_max, struct cbt_err *err);
/* Drops the half-read delivery. */
void cbt_amqp_read_reset(struct cbt_amqp *self);
/* A method on channel 0, while consuming. */
int cbt_amqp_on_connection_method(struct cbt_amqp *self, const amqp_method_t *method, struct cbt_err *err);

/* A message above frame_max_bytes, whose texts are in self->frame: opens its file; where that fails the body
 * is skipped. */
void cbt_amqp_spill_begin(struct cbt_amqp *self);
void cbt_amqp_spill_append(struct cbt_amqp *self, amqp_bytes_t fragment);
/* At the body's end: true when the message is kept and the frame can be handed over. */
bool cbt_amqp_spill_end(struct cbt_amqp *self);
/* What read does with a message that could not be kept: CBT_ELIMIT until it is the only one, then
 * CBT_EREFUSED. */
int cbt_amqp_refuse(struct cbt_amqp *self, struct cbt_err *err);

int cbt_amqp_settle(void *arg, struct cbt_frame *const done[], size_t count, struct cbt_err *err);
int cbt_amqp_settle_flush(void *arg, struct cbt_err *err);
/* True when a small method can be written without waiting. */
bool cbt_amqp_writable(const struct cbt_amqp *self);

int cbt_amqp_probe(const struct cbt_source_config *config, char *ret_report, size_t report_bytes,
                   struct cbt_err *err);

#endif
