/* SPDX-License-Identifier: MIT */
/*
 * The spool: a queue of messages on disk, for a source whose peer keeps nothing. A message is appended before
 * anything is made of it and leaves when it is settled; what an earlier process left comes out first.
 *
 * On disk: `spool_dir` holds segments NUMBER.spool, the number being that of their first message, each at
 * most segment_bytes long (or one larger message); `checkpoint`, the number below which all is settled;
 * `lock`, held by the process that uses the directory; and *.damaged, bytes that could not be read back,
 * which are left to the operator. A segment is deleted when all of it is settled.
 *
 * What survives: an appended message is in the page cache before it is handed on, so that the end of the
 * process (kill -9 at any instruction) loses none, whatever `fsync` says. A power failure or a crash of the
 * kernel loses what was not yet written back: up to about half a minute with `none`, fsync_ms with
 * `interval`, nothing that was handed on with `always`. The checkpoint is never behind by more than 100 ms of
 * settlements; what is between comes out twice.
 *
 * One thread, the owner's, calls everything.
 */
#ifndef CBTAP_INGEST_SPOOL_H
#define CBTAP_INGEST_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbtap/err.h"
#include "cbtap/text.h"

enum cbt_spool_fsync { CBT_SPOOL_FSYNC_NONE, CBT_SPOOL_FSYNC_INTERVAL, CBT_SPOOL_FSYNC_ALWAYS };

struct cbt_spool_options {
    const char *dir;    /* outlives the spool, as does `source` */
    const char *source; /* the section's name, for the log */
    uint64_t max_bytes;
    uint64_t segment_bytes; /* at most half of max_bytes */
    enum cbt_spool_fsync fsync;
    int64_t fsync_ms; /* of CBT_SPOOL_FSYNC_INTERVAL */
    uint32_t window;  /* messages that may be taken and not yet settled */
};

struct cbt_spool_message {
    struct cbt_text channel; /* valid until the next call */
    size_t body_bytes;
    int64_t arrived_wall_ms;
    bool spilled;  /* the body is in dead_letter_dir, there is none here */
    bool replayed; /* an earlier process appended it */
};

/* What there is, and what happened since the start. */
struct cbt_spool_counts {
    uint64_t messages; /* on disk and not settled */
    uint64_t bytes;    /* of all segments */
    uint64_t appended, appended_bytes;
    uint64_t damaged; /* messages lost with bytes that could not be read back */
};

struct cbt_spool;

/* Locks the directory, makes it where it is missing, cuts a torn tail. CBT_EINVAL: it cannot be used as it
 * is, with what to do. */
int cbt_spool_open(struct cbt_spool **ret_spool, const struct cbt_spool_options *options,
                   struct cbt_err *err);
/* Writes what is appended and the checkpoint, unlocks. NULL is fine. */
void cbt_spool_close(struct cbt_spool *spool);

/* Begins a message, whose `body_bytes` follow by put. CBT_ELIMIT: it is full. CBT_EIO: the disk failed; take
 * what cbt_spool_unwritten gives, then it may be tried again. */
int cbt_spool_begin(struct cbt_spool *spool, const struct cbt_spool_message *message, struct cbt_err *err);
/* CBT_EIO: the disk failed, and the message must be aborted. */
int cbt_spool_put(struct cbt_spool *spool, const void *data, size_t len, struct cbt_err *err);
/* As put. */
int cbt_spool_commit(struct cbt_spool *spool, struct cbt_err *err);
void cbt_spool_abort(struct cbt_spool *spool);

/* Writes the messages that are committed, all in one go. CBT_EIO: none that was not yet written is; they are
 * for cbt_spool_unwritten. */
int cbt_spool_flush(struct cbt_spool *spool, struct cbt_err *err);

/* After a failure: the next committed message that is not on disk; it is forgotten with the next call.
 * `ret_body` points to its body. False: there is none. */
bool cbt_spool_unwritten(struct cbt_spool *spool, struct cbt_spool_message *ret_message,
                         const uint8_t **ret_body);

/* True where all that is on disk has been taken: what is not on disk may then be handed on without it. */
bool cbt_spool_all_taken(const struct cbt_spool *spool);

/* The next message to take. 1: there is one; 0: none on disk; CBT_ELIMIT: `window` are unsettled; CBT_EIO:
 * its segment cannot be opened for now (errno). */
int cbt_spool_next(struct cbt_spool *spool, struct cbt_spool_message *ret_message);
/* Takes it: body_bytes into `body`, and a ticket by which it is settled. CBT_EIO: it is damaged, and passed
 * over. */
int cbt_spool_take(struct cbt_spool *spool, uint8_t *body, uint64_t *ret_ticket);
/* In any order; what lies before the first that is unsettled need not be kept. */
void cbt_spool_settle(struct cbt_spool *spool, uint64_t ticket);

/* Writes the checkpoint and syncs where that is due; to be called several times a second. */
int cbt_spool_tick(struct cbt_spool *spool, int64_t now_ns, struct cbt_err *err);

const struct cbt_spool_counts *cbt_spool_counts(const struct cbt_spool *spool);

#endif
