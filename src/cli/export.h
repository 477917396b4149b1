/* SPDX-License-Identifier: MIT */
/*
 * What the files of the command `export` share. A walk gives sequences of files, each of which one job takes,
 * so that the order within a folder, which is an endpoint's, is kept; jobs share nothing but the walk and the
 * target.
 */
#ifndef CBTAP_CLI_EXPORT_H
#define CBTAP_CLI_EXPORT_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "cbtap/decode.h"
#include "cbtap/format.h"
#include "cli/cli.h"
#include "decode/selection.h"
#include "ingest/file_cut.h"

/* ---- export_scan.c: the entries of a folder, in order, in bounded memory ---- */

enum cbt_export_want { CBT_EXPORT_FOLDERS, CBT_EXPORT_FILES };

struct cbt_export_entry {
    int64_t mtime_ns; /* of a file; 0 of a folder */
    char name[];
};

/* A folder is read again for each of its chunks: a million files take four readings, and the memory for two
 * chunks. */
struct cbt_export_scan {
    struct cbt_export_entry **entries; /* of the chunk at hand */
    size_t count, capacity, at;
    struct cbt_export_entry *last; /* the last one given of an earlier chunk, or NULL */
    bool more;                     /* there are entries behind the chunk */
    uint64_t symlinks, others;     /* not taken, and not told yet */
};

void cbt_export_scan_free(struct cbt_export_scan *scan);
/* The next entry: folders by name, files oldest first. NULL: there are no more, or *ret_rc is negative. */
const struct cbt_export_entry *cbt_export_scan_next(struct cbt_export_scan *scan, int dir_fd,
                                                    enum cbt_export_want want, int *ret_rc,
                                                    struct cbt_err *err);

/* ---- export_told.c: what cannot be read, said once for all rounds of --follow in which it cannot ---- */

struct cbt_export_told {
    pthread_mutex_t lock;
    uint64_t *paths, *before; /* hashes of those said of in this round, and in the one before, sorted */
    size_t count, capacity, before_count;
    _Atomic uint64_t unreadable; /* words and folders, of which each time is said */
    _Atomic bool links;          /* that they are not followed */
};

/* True: it is to be said. @thread any */
bool cbt_export_told_first(struct cbt_export_told *told, const char *path);
void cbt_export_told_next_round(struct cbt_export_told *told);
void cbt_export_told_free(struct cbt_export_told *told);

/* ---- export_walk.c: from the words of the command line to sequences of files ---- */

struct cbt_export_walk;

/* Files that are to come one after the other: those of a folder, or named ones of the same folder. */
struct cbt_export_sequence {
    struct cbt_export_word *words; /* named ones; NULL: those of the folder */
    size_t word_count, word_at;
    int dir_fd;   /* of the folder, else AT_FDCWD */
    char *folder; /* its path */
    bool has_sensor_id;
    int32_t sensor_id; /* the folder's name */
    struct cbt_export_scan scan;
    char *path; /* of the file at hand */
    size_t path_bytes;
};

struct cbt_export_file {
    const char *path; /* for people, and for a named one to open it */
    const char *name; /* to open it within dir_fd */
    int dir_fd;
    bool named; /* on the command line: it may be a pipe or a symbolic link */
    bool has_sensor_id;
    int32_t sensor_id; /* the folder's name */
};

/* Says what is not there, as all that it does by way of `told`; NULL: in silence. */
int cbt_export_walk_new(struct cbt_export_walk **ret_walk, const char *const words[], size_t count,
                        struct cbt_export_told *told, struct cbt_err *err);
void cbt_export_walk_free(struct cbt_export_walk *walk);
/* 1: the next sequence, which replaces what is in *sequence (at first: all zero); 0: there are no more.
 * @thread any */
int cbt_export_walk_next(struct cbt_export_walk *walk, struct cbt_export_sequence *sequence);
void cbt_export_sequence_free(struct cbt_export_sequence *sequence);
/* 1: the sequence's next file, until the next call; 0: there are no more. */
int cbt_export_sequence_next(struct cbt_export_walk *walk, struct cbt_export_sequence *sequence,
                             struct cbt_export_file *ret_file);

/* ---- export_input.c ---- */

/* The file at hand; its memory serves one file after the other. */
struct cbt_export_input {
    struct cbt_file_reader reader;
    struct cbt_cut cut;
    struct stat stat;  /* as it was when it was opened */
    uint64_t records;  /* before the reader's place: records, or lines */
    bool begun;        /* a piece of it was passed */
    bool may_be_empty; /* what feeds a pipe may have no event to say */
    bool waits;        /* what is torn at its end, or empty, waits for it to grow */
    bool is_torn;      /* it does */
    bool left_out;     /* something of it could not be made an event */
    bool failed;       /* it cannot be read on, which was said */
};

enum { CBT_EXPORT_END, CBT_EXPORT_PIECE, CBT_EXPORT_LATER /* an impatient reader's */ };

void cbt_export_input_init(struct cbt_export_input *in);
void cbt_export_input_free(struct cbt_export_input *in);
/* 0; 1: it is gone, or no file any more; CBT_EIO or CBT_ENOMEM with a text that does not name the file. */
int cbt_export_open(struct cbt_export_input *in, const struct cbt_export_file *file, bool lines,
                    struct cbt_err *err);
/* The next piece, a line without its end, until it is passed: CBT_EXPORT_PIECE, _END or _LATER. CBT_ELIMIT: a
 * record, a line or the file is too large; CBT_EIO, CBT_EINVAL: it cannot be read on; a text that names no
 * file. */
int cbt_export_next(struct cbt_export_input *in, size_t max_bytes, struct cbt_text *ret_piece,
                    struct cbt_err *err);
void cbt_export_pass(struct cbt_export_input *in);
/* The record or line. False: it cannot be read on (errno). */
bool cbt_export_pass_too_large(struct cbt_export_input *in);

/* ---- export_output.c ---- */

/* Where the events go: standard output, or a file that has its name only when it is whole. */
struct cbt_export_target {
    const char *path; /* NULL: standard output */
    char *resolved;   /* path without symbolic links, where it is owned; the command frees it */
    char *temporary;
    int fd;
    bool regular; /* a file, which can be synced */
    pthread_mutex_t lock;
    _Atomic int error; /* errno of the write that failed: from then on everything is dropped */
};

int cbt_export_target_open(struct cbt_export_target *target, const char *path, struct cbt_err *err);
/* Closes it; where `whole`, it gets its name, or its error. */
void cbt_export_target_close(struct cbt_export_target *target, bool whole);

/* What a job has not written yet lies in [memory, buf.pos): whole events. */
struct cbt_export_output {
    struct cbt_buf buf;
    uint8_t *memory;
    struct cbt_export_target *target;
};

int cbt_export_output_init(struct cbt_export_output *out, struct cbt_export_target *target,
                           struct cbt_err *err);
/* Writes what has gathered: once it is a block, or with `all` in any case. False where writing failed. */
bool cbt_export_write(struct cbt_export_output *out, bool all);

/* ---- export_body.c ---- */

/* What became of the records of one type. */
struct cbt_export_count {
    uint64_t events, dead_letters, filtered;
};

/* What all jobs read. */
struct cbt_export {
    const struct cbt_args *args;
    struct cbt_config *config;
    struct cbt_environment env;  /* of --header */
    struct cbt_text routing_key; /* of --notification; empty: sensor events */
    const struct cbt_format *format;
    void *format_self;
    bool lengths; /* sensor events are written as a bundle, not as lines */
    struct cbt_filter *filter;
    struct cbt_selection selection; /* --host, --since, --until */
    unsigned jobs;
    struct cbt_export_walk *files;
    struct cbt_export_follow *follow; /* NULL: there is one round */
    struct cbt_export_told told;
    struct cbt_export_target target;
};

struct cbt_export_job {
    struct cbt_export *x;
    pthread_t thread;
    struct cbt_walk *walk;
    struct cbt_decoder *decoder;
    struct cbt_environment env; /* of the file at hand */
    struct cbt_export_input in;
    struct cbt_export_output out;
    struct cbt_export_count counts[CBT_TYPES];
    uint64_t files, unreadable;
    FILE *done;                         /* what was exported and is to be removed; NULL: nothing yet */
    uint64_t done_count, removed, kept; /* files; kept: they could not be removed */
    uint64_t bytes_before;              /* shown of the files before the one at hand */
    _Atomic uint64_t shown_bytes, shown_events;
};

/* Where a body comes from, for messages. */
struct cbt_export_place {
    const char *file;
    uint64_t line;           /* of a notification; 0: it is none */
    uint64_t record, offset; /* where the piece begins in the file */
};

/* The piece at hand of job->in: writes its events and reports what cannot be decoded. False: the output
 * failed. */
bool cbt_export_piece(struct cbt_export_job *job, const char *file, struct cbt_text piece);
/* A record or line that is too large for a piece is left out, which is said. */
void cbt_export_leave_out_large(struct cbt_export_job *job, const char *file, const char *text);

/* ---- export_remove.c ---- */

/* What tells that a file is what was read. */
struct cbt_export_identity {
    dev_t device;
    ino_t inode;
    int64_t bytes; /* negative: it is no file, and is never removed */
    struct timespec mtime;
};

struct cbt_export_identity cbt_export_identity_of(const struct stat *stat);
/* 1: it is gone; 0: it is another than was read, and comes again; negative: it is still there, which is said.
 */
int cbt_export_remove(const char *path, const struct cbt_export_identity *as_read, bool comes_again);
/* The file that was read is to be removed when all that was made of it is kept. */
void cbt_export_note_done(struct cbt_export_job *job, const struct cbt_export_file *file);
/* Writes what has gathered, and removes those noted; with a FILE only after it has its name. */
void cbt_export_remove_done(struct cbt_export_job *job);

/* ---- export_follow.c ---- */

/* How far a file was taken, from where a later round goes on. */
struct cbt_export_reached {
    uint64_t bytes;
    uint32_t records; /* in these bytes: records, or lines */
    bool goes_on;     /* it can be taken on from there; else it is taken as a whole */
    bool left_out;    /* something before that could not be made an event */
};

/* What --follow knows of files taken in earlier rounds, and when the next round is due. */
struct cbt_export_follow;
int cbt_export_follow_new(struct cbt_export_follow **ret_follow, struct cbt_err *err);
void cbt_export_follow_free(struct cbt_export_follow *follow);
/* From now on a change in that folder, or of that file, ends the wait. @thread any */
void cbt_export_follow_watch(struct cbt_export_follow *follow, const char *path);
/* False: it was taken as it is, or is being taken, or is being written. @thread any */
bool cbt_export_follow_wants(struct cbt_export_follow *follow, const struct stat *stat);
/* It is being taken, from *ret_from on, where `can_go_on`, if it still begins with what was taken; `head` are
 * its first bytes. False: another job has it, or has had it, or there is no memory, which is said. @thread
 * any
 */
bool cbt_export_follow_begin(struct cbt_export_follow *follow, const struct stat *stat, struct cbt_text head,
                             bool can_go_on, struct cbt_export_reached *ret_from);
/* It is taken that far. @thread any */
void cbt_export_follow_end(struct cbt_export_follow *follow, const struct cbt_export_identity *identity,
                           const struct cbt_export_reached *reached);
/* It is removed: what has its number next is another file. @thread any */
void cbt_export_follow_forget(struct cbt_export_follow *follow, const struct cbt_export_identity *identity);
/* A round is over: from now on it is waited for the next. */
void cbt_export_follow_rest(struct cbt_export_follow *follow);
bool cbt_export_follow_due(struct cbt_export_follow *follow);
/* SIGINT and SIGTERM end jobs in order from then on, a second one at once. */
void cbt_export_follow_signals(void);
/* A round is over: until the next is due. False: it is to stop. */
bool cbt_export_follow_wait(struct cbt_export_follow *follow);
bool cbt_export_follow_stopped(void);
/* A walk for another round. */
int cbt_export_follow_walk(struct cbt_export *x, struct cbt_err *err);
/* How many files end amid a record, which is said; of NULL none. */
uint64_t cbt_export_follow_unfinished(const struct cbt_export_follow *follow);

/* ---- export_job.c ---- */

/* What the file's records do not say: --header, else the name of its folder. */
struct cbt_environment cbt_export_environment(const struct cbt_export *x, const struct cbt_export_file *file);
/* Opens the file as job->in, with --follow where there is something new. False: there is nothing to be read,
 * or it cannot be, which is said. */
bool cbt_export_job_open(struct cbt_export_job *job, const struct cbt_export_file *file);
/* The next piece of it, until cbt_export_pass: CBT_EXPORT_PIECE or _LATER; CBT_EXPORT_END: there are no more,
 * or it cannot be read on, which is said; then it is to be closed. */
int cbt_export_job_next(struct cbt_export_job *job, const char *path, struct cbt_text *ret_piece);
/* Says that it was asked to stop amid the file. */
void cbt_export_job_tell_stopped(const struct cbt_export_job *job, const char *path);
/* Closes it, and says how far it was taken. */
struct cbt_export_reached cbt_export_job_close(struct cbt_export_job *job);

int cbt_export_job_init(struct cbt_export_job *job, struct cbt_export *x, struct cbt_err *err);
void cbt_export_job_free(struct cbt_export_job *job);
/* Takes sequences until there are no more. */
void *cbt_export_job_run(void *arg);

/* ---- export_summary.c ---- */

struct cbt_export_totals {
    struct cbt_export_count counts[CBT_TYPES];
    uint64_t files, unreadable, removed, kept;
};

struct cbt_export_count cbt_export_sum(const struct cbt_export_totals *totals);
void cbt_export_summarize(const struct cbt_export *x, const struct cbt_export_totals *totals);

/* ---- export_progress.c ---- */

/* Draws on standard error, where that is a terminal, until its end. NULL: there is nothing to draw on. */
struct cbt_export_progress;
struct cbt_export_progress *cbt_export_progress_start(const struct cbt_export *x,
                                                      const struct cbt_export_job *jobs);
void cbt_export_progress_end(struct cbt_export_progress *progress);

/* ---- export_to.c ---- */

/* True where --to names a sink, as TYPE:WHERE. */
bool cbt_export_is_sink(const char *to);
/* Loads the configuration, without what concerns the sink that --to adds: cbt_export_to_sink does that. */
int cbt_export_load(struct cbt_export *x, struct cbt_err *err);
/* Runs the daemon's pipeline from the files to that sink; the exit status. */
int cbt_export_to_sink(struct cbt_export *x);

/* ---- export_options.c ---- */

/* Reads the options into `x`. 0, or the exit status after saying what is wrong. */
int cbt_export_options(struct cbt_export *x, const char **ret_format, const char **ret_profile);

#endif
