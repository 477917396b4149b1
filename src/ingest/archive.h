/* SPDX-License-Identifier: MIT */
/*
 * The archive source's inside, shared by its files. All of it runs on the receiver's thread, but start and
 * the probe (main).
 */
#ifndef CBTAP_INGEST_ARCHIVE_H
#define CBTAP_INGEST_ARCHIVE_H

#include "cbtap/source.h"
#include "ingest/archive_after.h"
#include "ingest/archive_checkpoint.h"
#include "ingest/archive_queue.h"
#include "ingest/archive_scan.h"
#include "ingest/archive_watch.h"
#include "ingest/file_cut.h"

/* Frames in flight, and the ring of cuts; a power of two. */
#define CBT_ARCHIVE_FRAMES_MAX 8192u
/* After the process has died so often over a cut it is not decoded again (poison.h). */
#define CBT_ARCHIVE_POISON_TRIES 3
/* What waits to be read, about 80 bytes a file for usual paths: so many at least, or this share of what the
 * last scan saw, so that a large archive takes few scans and not one for each so many. */
#define CBT_ARCHIVE_QUEUE_FILES 65536u
#define CBT_ARCHIVE_QUEUE_SHARE 8

/* A file from its opening until it is delivered or let go. */
struct cbt_archive_file {
    struct cbt_archive_file *older, *newer;
    struct cbt_archive_key key;
    uint64_t size;
    uint64_t prefix_seq; /* cuts before this one are settled */
    uint64_t next_seq;   /* behind its last cut so far */
    bool is_cut;         /* there are no more cuts */
    bool failed;         /* something of it could be neither read nor kept: it comes again */
    bool changed;        /* failed, since it was changed while it was read: it comes as another file */
    char path[];         /* below the root */
};

/* What became a frame. */
struct cbt_archive_cut {
    struct cbt_archive_file *file;
    uint64_t offset; /* where it ends */
    uint32_t index;
    bool settled, passed; /* passed: its file's prefix is behind it, so its place is free */
};

struct cbt_archive_pending {
    char *path;
    struct cbt_archive_key key;
};

struct cbt_archive {
    const struct cbt_source_config *config;
    struct cbt_receiver *receiver;
    struct cbt_stats *stats;
    struct cbt_archive_checkpoint *checkpoint;
    struct cbt_archive_after after;
    int root_fd; /* -1: not connected */
    uint64_t root_dev, root_ino;

    struct cbt_archive_scan scan;
    struct cbt_archive_watch watch;
    struct cbt_archive_queue queue;
    int64_t scan_began_ns, scan_took_ns;
    int64_t rescan_at_ns; /* 0: at once; INT64_MAX: never */
    bool finished;        /* without follow: there is nothing more to do */
    bool failed;          /* a file was let go, or has not left, since the last scan */
    bool symlinks_told, unreadable_told, watch_told;

    struct cbt_file_reader reader;
    struct cbt_archive_file *reading; /* NULL: none */
    struct cbt_cut cut;
    bool is_broken; /* gzip that cannot be inflated: one dead letter, the file as it lies there */
    bool is_aside;  /* it is on its way */
    enum cbt_dead_reason broken_reason;
    const char *broken_detail;
    struct cbt_environment env;
    bool has_lane;
    int32_t lane;
    uint32_t index; /* records before the reader's place */

    struct cbt_archive_file *oldest, *newest;
    struct cbt_archive_cut *cuts; /* [CBT_ARCHIVE_FRAMES_MAX], by sequence number */
    uint64_t head_seq, next_seq;

    struct cbt_archive_pending *pending; /* delivered, and not yet removed or moved */
    size_t pending_count, pending_capacity;
    int64_t checkpoint_at_ns;
    bool checkpoint_failed, after_failed; /* told */

    /* Progress: of what was found and is not delivered. */
    uint64_t left_files, left_bytes;
    int64_t backlog_since_ns; /* 0: there is none */
    int64_t told_ns;
    bool backlog_told;
    uint64_t backlog_files, backlog_bytes; /* delivered of it */
};

/* archive_find.c: the tree, its scans, its news; files into the queue. */
int cbt_archive_connect(void *arg, struct cbt_err *err);
void cbt_archive_find_stop(struct cbt_archive *self);
/* Goes on with a scan, or begins one that is due. 1: there is more to do at once; 0: nothing; CBT_EIO: the
 * tree is gone. */
int cbt_archive_find(struct cbt_archive *self, int64_t now_ns, struct cbt_err *err);
/* The next scan is due then, or sooner. */
void cbt_archive_rescan_by(struct cbt_archive *self, int64_t at_ns);

/* archive_open.c */
int64_t cbt_archive_mtime_of(const struct statx *stx);
/* Nothing of it has changed for quiet_ms. */
bool cbt_archive_is_quiet(const struct cbt_archive *self, const struct statx *stx);
/* Opens the oldest file that waits, as self->reading, or passes it over; false: there is none to be read now.
 */
bool cbt_archive_open_next(struct cbt_archive *self, int64_t now_ns);

/* archive_cut.c: the next frame of self->reading. 1: pushed; 0: the file is at its end, or was let go;
 * CBT_ELIMIT: no room. */
int cbt_archive_cut_next(struct cbt_archive *self);
void cbt_archive_stop_reading(struct cbt_archive *self, bool failed);

/* archive_aside.c: what cannot be cut is set aside, as of cbt_archive_cut_next; `bytes` from the reader's
 * place on, into dead_letter_dir. */
int cbt_archive_spill(struct cbt_archive *self, uint64_t bytes, enum cbt_dead_reason reason,
                      const char *detail);
/* The file as it lies on disk. */
int cbt_archive_set_aside(struct cbt_archive *self);

/* archive_settle.c */
struct cbt_frame *cbt_archive_take(struct cbt_archive *self, size_t bytes);
void cbt_archive_push(struct cbt_archive *self, struct cbt_frame *frame, uint64_t offset, uint32_t index);
int cbt_archive_settle(void *arg, struct cbt_frame *const done[], size_t count, struct cbt_err *err);
void cbt_archive_file_ends(struct cbt_archive *self, struct cbt_archive_file *file);
void cbt_archive_add_pending(struct cbt_archive *self, const char *path, struct cbt_archive_key key);
/* Writes the checkpoint where it is due, or `now_ns` is INT64_MAX; then removes or moves what is delivered.
 */
void cbt_archive_tick_checkpoint(struct cbt_archive *self, int64_t now_ns);

/* archive_progress.c */
void cbt_archive_progress(struct cbt_archive *self, int64_t now_ns);

#endif
