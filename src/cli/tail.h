/* SPDX-License-Identifier: MIT */
/* What the files of the command `tail` share: its state, the bus it listens to, and its output. */
#ifndef CBTAP_CLI_TAIL_H
#define CBTAP_CLI_TAIL_H

#include <signal.h>

#include "cbtap/decode.h"
#include "cbtap/format.h"
#include "cbtap/frame.h"
#include "cli/cli.h"
#include "decode/selection.h"

/* ---- tail_out.c: standard output, which is never waited for ---- */

/* What is not written yet, at most so much and one event. */
#define CBT_TAIL_PENDING_BYTES_MAX (256u * 1024)

struct cbt_tail_out {
    struct cbt_buf buf; /* [begin, pos): the event that is being encoded */
    uint8_t *memory;
    size_t written; /* bytes of memory that are */
    bool is_terminal;
    bool in_line; /* the last byte written was no newline */
    int error;    /* errno of what failed; EPIPE: the reader has left */
};

int cbt_tail_out_init(struct cbt_tail_out *out, struct cbt_err *err);
void cbt_tail_out_free(struct cbt_tail_out *out);
size_t cbt_tail_out_pending(const struct cbt_tail_out *out);
/* Writes what standard output takes within `timeout_ms`, or until a signal comes; notices a reader that has
 * left. False where it failed. */
bool cbt_tail_out_flush(struct cbt_tail_out *out, int timeout_ms);
/* Columns of the terminal; 0 where it is none, or does not say. */
unsigned cbt_tail_out_width(const struct cbt_tail_out *out);

/* ---- the state ---- */

struct cbt_tail;

/* Where messages come from: tail_amqp.c, tail_redis.c. */
struct cbt_tail_bus {
    const char *type; /* of the source's section */
    /* Checks the section. */
    int (*open)(struct cbt_tail *tail, struct cbt_err *err);
    /* Connects, and from then on is sent messages; on failure nothing is left behind. */
    int (*connect)(struct cbt_tail *tail, struct cbt_err *err);
    /* Gives what comes within `timeout_ms` to cbt_tail_take, one message or a few. 1: there may be more at
     * once; 0: there was nothing more; negative: the connection is lost. */
    int (*take)(struct cbt_tail *tail, int timeout_ms, struct cbt_err *err);
    /* Not connected is fine. Nothing stays at the peer. */
    void (*disconnect)(struct cbt_tail *tail);
    void (*close)(struct cbt_tail *tail);
};

extern const struct cbt_tail_bus cbt_tail_amqp, cbt_tail_redis;

struct cbt_tail {
    const struct cbt_args *args;
    struct cbt_config *config;
    const struct cbt_source_config *source;
    const struct cbt_tail_bus *bus;
    void *bus_self;
    char listens_to[160]; /* of the connection: for people */
    const struct cbt_format *format;
    void *format_self;
    struct cbt_format_options options;
    struct cbt_filter *filter;
    struct cbt_selection selection; /* --host */
    struct cbt_walk *walk;
    struct cbt_decoder *decoder;
    struct cbt_tail_out out;
    uint64_t shown, skipped, broken;
    uint64_t skipped_told, broken_told;
};

/* Set by signals. */
extern volatile sig_atomic_t cbt_tail_stopped, cbt_tail_resized;

/* True when no more is to be shown: -n, a signal, an output that failed. */
bool cbt_tail_done(const struct cbt_tail *tail);

/* ---- tail_body.c ---- */

/* Shows the events of a message, of which body, routing key, content type, framing and env count. */
void cbt_tail_take(struct cbt_tail *tail, const struct cbt_frame *message);

#endif
