/* SPDX-License-Identifier: MIT */
/*
 * The poison journal: which messages were being decoded when the process died. A file of fixed size that is
 * mapped into memory: each worker marks the message at hand with plain stores, which the kernel keeps when
 * the process dies, however it dies; a power loss may forget them. The next start counts what is marked as
 * suspect, and a suspect that was marked so often as its source's poison_tries says is not decoded again.
 */
#ifndef CBTAP_POISON_H
#define CBTAP_POISON_H

#include "cbtap/err.h"
#include "cbtap/frame.h"

#define CBT_POISON_FILE     "poison.journal"
#define CBT_POISON_VERSION  1u
#define CBT_POISON_MARKS    16 /* as many as there can be workers */
#define CBT_POISON_SUSPECTS 64

/*
 * By what a message is known when it comes again. The sample is of a few bytes, so that a message that comes
 * for the first time costs next to nothing; `whole` is of everything, and there from the second time on.
 */
struct cbt_poison_id {
    uint64_t sample;
    uint64_t whole[2]; /* 0: not known yet */
    uint64_t body_bytes;
};

/* A worker's line of the file. `check` is stored last and cleared first: a mark half-written is none. */
struct cbt_poison_mark {
    struct cbt_poison_id id;
    _Atomic uint64_t check; /* 0: nothing at hand */
    uint64_t unused[3];
};

struct cbt_poison_suspect {
    struct cbt_poison_id id;
    int64_t seen_unix_s; /* when a start last counted it */
    uint64_t check;
    _Atomic uint64_t tries; /* how often the process died at it; 0: free, or decoded since */
    uint64_t unused;
};

struct cbt_poison_file {
    char magic[8];
    uint32_t version;
    uint32_t file_bytes;
    uint64_t secret[24]; /* keys the hashes, so that nobody can make a message that is taken for another */
    uint64_t check;      /* of all of the above */
    uint8_t unused[40];
    struct cbt_poison_mark marks[CBT_POISON_MARKS];
    struct cbt_poison_suspect suspects[CBT_POISON_SUSPECTS];
};

struct cbt_poison;

/* Opens `dir`/poison.journal, makes both where they are missing, counts what the last process left marked,
 * and logs each suspect. One process at a time can have it. CBT_EIO: it cannot be used, and the text says
 * why. @thread main */
int cbt_poison_open(struct cbt_poison **ret_poison, const char *dir, struct cbt_err *err);
/* After the workers and receivers are freed. NULL is fine. @thread main */
void cbt_poison_close(struct cbt_poison *poison);

/* A worker's own hold on its mark. All zero: there is no journal, and nothing of what follows does anything.
 */
struct cbt_poison_watch {
    struct cbt_poison *poison;
    struct cbt_poison_mark *mark;
    struct cbt_poison_suspect *suspect; /* the message at hand is one */
    struct cbt_poison_id id;
    uint64_t check; /* 0: no message at hand */
    bool marked;
};

/* @thread main, before the worker starts */
void cbt_poison_watch_init(struct cbt_poison_watch *watch, struct cbt_poison *poison, unsigned worker);

/*
 * Marks the frame, if its source delivers again (frame->poison_tries), until cbt_poison_end. False: it is
 * poison, not to be decoded; frame->suspect is set then. A frame that is a suspect, but not yet poison, waits
 * until no other suspect is being decoded: of two that were marked at a crash only one can be at the next, so
 * the innocent one of them is not condemned along with it. @thread worker
 */
bool cbt_poison_begin(struct cbt_poison_watch *watch, struct cbt_frame *frame);
/* While the worker waits for its peers: who is killed then has not died of the frame at hand. Nothing at
 * hand, or paused already: fine. @thread worker */
void cbt_poison_pause(struct cbt_poison_watch *watch);
void cbt_poison_resume(struct cbt_poison_watch *watch);
/* `decoded`: the whole frame went through, so it is no suspect any more. @thread worker */
void cbt_poison_end(struct cbt_poison_watch *watch, bool decoded);

/* Its dead letter is delivered, or it was decoded. @thread any */
void cbt_poison_forget(struct cbt_poison_suspect *suspect);

/* The checks of the file's parts. @thread any */
uint64_t cbt_poison_id_check(const struct cbt_poison_id *id);
uint64_t cbt_poison_suspect_check(const struct cbt_poison_suspect *suspect, uint64_t tries);

#endif
