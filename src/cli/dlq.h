/* SPDX-License-Identifier: MIT */
/* dlq: what its parts share. A letter is a dead letter as it was found, in the topic or in the directory. */
#ifndef CBTAP_CLI_DLQ_H
#define CBTAP_CLI_DLQ_H

#include "cbtap/arena.h"
#include "cbtap/decode.h"
#include "cbtap/format.h"
#include "cli/cli.h"
#include "cli/feed.h"
#include "sink/kafka_reader.h"

#define CBT_DLQ_FIELDS_MAX 40
#define CBT_DLQ_NAME_BYTES 96 /* of a file, or of PARTITION:OFFSET */

struct cbt_dlq_field {
    const char *name;
    struct cbt_text value;
};

/* What it points to lives until the next letter. */
struct cbt_dlq_letter {
    char where[CBT_DLQ_NAME_BYTES]; /* PARTITION:OFFSET, or the file's name without .bin */
    bool in_dir;
    int32_t partition;
    int64_t offset;
    int64_t unix_ms; /* when it became one; 0: not known */
    uint64_t bytes;
    struct cbt_text value;                           /* of one in the directory only after cbt_dlq_load */
    struct cbt_dlq_field fields[CBT_DLQ_FIELDS_MAX]; /* headers, or members of the .json */
    size_t field_count;
};

/* dlq_letter.c */
void cbt_dlq_add_field(struct cbt_dlq_letter *letter, const char *name, struct cbt_text value);
/* Empty where there is none. */
struct cbt_text cbt_dlq_text(const struct cbt_dlq_letter *letter, const char *name);
bool cbt_dlq_equals(struct cbt_text text, const char *word);
/* False where there is none, or it is no number. */
bool cbt_dlq_number(const struct cbt_dlq_letter *letter, const char *name, int64_t *ret_number);
/* "entry 0 record 3 offset 812" */
void cbt_dlq_position(const struct cbt_dlq_letter *letter, char *ret_text, size_t text_bytes);
/* Time in UTC, RFC 3339 with milliseconds. */
void cbt_dlq_time(int64_t unix_ms, char ret_text[32]);
/* A time as people give it: 2026-11-26, 2026-11-26T18:00[:05][Z], or 90m, 2h, 7d ago. */
bool cbt_dlq_parse_time(const char *text, int64_t now_ms, int64_t *ret_unix_ms);
/* Writes text for a terminal: what is no printable ASCII as \xHH. Returns how many characters that are. */
size_t cbt_dlq_put(FILE *out, struct cbt_text text);
/* How it is to be read. False: its value is an encoded event, which decoding does not take. */
bool cbt_dlq_framing(const struct cbt_dlq_letter *letter, enum cbt_framing *ret_framing);

/* dlq_dir.c: the letters of dead_letter_dir that were there when it was opened, in the order of their names,
 * which is that of time. */
struct cbt_dlq_dir {
    int fd; /* -1: there is none */
    char **names;
    size_t count, next;
    struct cbt_arena arena; /* the .json at hand, and what is cut from it */
    uint8_t *body;
    size_t body_capacity;
};
/* A directory that does not exist has no letters. */
int cbt_dlq_dir_open(struct cbt_dlq_dir *dir, const char *path, struct cbt_err *err);
void cbt_dlq_dir_close(struct cbt_dlq_dir *dir);
/* 1: a letter; 2: there are no more. One whose .json cannot be read is a letter without fields. */
int cbt_dlq_dir_next(struct cbt_dlq_dir *dir, struct cbt_dlq_letter *ret_letter);
/* Reads its bytes into memory; CBT_ELIMIT where there are more than max_bytes. */
int cbt_dlq_dir_load(struct cbt_dlq_dir *dir, struct cbt_dlq_letter *letter, size_t max_bytes,
                     struct cbt_err *err);
/* A descriptor of its bytes, or -1 and errno. */
int cbt_dlq_dir_open_body(const struct cbt_dlq_dir *dir, const char *where);
/* Removes it: first what makes it a letter. */
int cbt_dlq_dir_remove(const struct cbt_dlq_dir *dir, const char *where, struct cbt_err *err);

/* dlq_read.c: what the command works on: the letters that its arguments select, first the topic's, then the
 * directory's. */
struct cbt_dlq {
    const struct cbt_args *args;
    struct cbt_config *config;
    const struct cbt_sink_config *sink;
    const char *const *wheres; /* empty: all */
    size_t where_count;
    bool *found; /* of each */
    int64_t since_ms;
    struct kafka_reader *reader; /* NULL: there is no topic to read, or it is read */
    rd_kafka_message_t *message; /* of the letter at hand */
    struct cbt_dlq_dir dir;
    bool incomplete; /* the topic could not be read, and that was said */
};
/* Opens the topic and the directory as far as the arguments ask for them. What is not there is said; where
 * the topic cannot be read, the directory still can. The exit status, or 0. */
int cbt_dlq_open(struct cbt_dlq *dlq);
void cbt_dlq_close(struct cbt_dlq *dlq);
/* 1: a letter, until the next call; 0: none yet, waited timeout_ms; 2: the end. Negative: the topic cannot be
 * read on. */
int cbt_dlq_next(struct cbt_dlq *dlq, int timeout_ms, struct cbt_dlq_letter *ret_letter, struct cbt_err *err);
int cbt_dlq_load(struct cbt_dlq *dlq, struct cbt_dlq_letter *letter, struct cbt_err *err);
/* Says which of `wheres` there were not; how many. */
size_t cbt_dlq_tell_missing(const struct cbt_dlq *dlq);
/* True where the word is PARTITION:OFFSET. */
bool cbt_dlq_is_offset(const char *word, int32_t *ret_partition, int64_t *ret_offset);

/* dlq_judge.c: what decoding says now, without sending anything. */
struct cbt_dlq_judge;
struct cbt_dlq_verdict {
    uint64_t events, filtered, broken;
    enum cbt_dead_reason reason;   /* of the first broken part */
    char text[CBT_ERR_TEXT_BYTES]; /* why it is, or why it cannot be judged */
    bool unfit;                    /* it cannot be replayed at all */
    bool untried;                  /* cbt_dlq_is_poison */
};
int cbt_dlq_judge_new(struct cbt_dlq_judge **ret_judge, const struct cbt_dlq *dlq, struct cbt_err *err);
void cbt_dlq_judge_free(struct cbt_dlq_judge *judge);
void cbt_dlq_judge(struct cbt_dlq_judge *judge, struct cbt_dlq *dlq, struct cbt_dlq_letter *letter,
                   struct cbt_dlq_verdict *ret_verdict);
/* True where decoding it ended the daemon, and may end this process, too. */
bool cbt_dlq_is_poison(const struct cbt_dlq_letter *letter);
/* The letter's environment. */
struct cbt_environment cbt_dlq_environment(const struct cbt_dlq_letter *letter);
/* A sentence: "12 events", "still broken: malformed (...)". */
void cbt_dlq_verdict_text(const struct cbt_dlq_verdict *verdict, char *ret_text, size_t text_bytes);

/* dlq_source.c: the source that feeds letters into the pipeline. */
#define CBT_DLQ_SLOTS 1024
struct cbt_dlq_slot {
    bool used, in_dir;
    int32_t partition;
    int64_t offset;
    char where[CBT_DLQ_NAME_BYTES];
};
struct cbt_dlq_feed {
    struct cbt_feed feed;
    struct cbt_dlq *dlq;
    struct cbt_dlq_letter letter; /* read, and not handed over yet */
    bool has_letter, at_end, read_failed;
    struct cbt_dlq_slot slots[CBT_DLQ_SLOTS];
    unsigned used;
    uint64_t replayed, filtered, failed, skipped, kept; /* kept: files that could not be removed */
    struct cbt_err err;                                 /* of read_failed */
};
extern const struct cbt_source cbt_dlq_source;

int cbt_dlq_list(struct cbt_dlq *dlq);
int cbt_dlq_show(struct cbt_dlq *dlq);
int cbt_dlq_replay(struct cbt_dlq *dlq);

/* Says what is wrong with the arguments; returns CBT_EXIT_USAGE. */
int cbt_dlq_usage(const char *option, const char *text);

#endif
