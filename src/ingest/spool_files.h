/* SPDX-License-Identifier: MIT */
/* The spool's inside, shared by its files (spool*.c). */
#ifndef CBTAP_INGEST_SPOOL_FILES_H
#define CBTAP_INGEST_SPOOL_FILES_H

#include "ingest/spool.h"

#define CBT_SPOOL_SEGMENT_HEAD_BYTES 24u
#define CBT_SPOOL_RECORD_HEAD_BYTES  20u
#define CBT_SPOOL_RECORD_TAIL_BYTES  4u
#define CBT_SPOOL_RECORD_BYTES       (CBT_SPOOL_RECORD_HEAD_BYTES + CBT_SPOOL_RECORD_TAIL_BYTES)
/* Messages are gathered here and written together; the newest are taken from here, too. */
#define CBT_SPOOL_BUFFER_BYTES ((size_t)1 << 20)
/* Read back at a time; holds the longest channel with its record's head. */
#define CBT_SPOOL_WINDOW_BYTES ((size_t)256 << 10)
#define CBT_SPOOL_NAME_BYTES   64
/* Numbers stay below: with a million messages a second this is 146,000 years away. */
#define CBT_SPOOL_SEQ_MAX (UINT64_C(1) << 62)

struct cbt_spool_segment {
    struct cbt_spool_segment *next;
    uint64_t first_seq;
    uint64_t bytes; /* of whole records, with the segment's head */
    int fd;         /* -1: not open */
};

/* A record's head, as in memory. On disk, little-endian: body length (32 bits), channel length (16), flags
 * (16), arrival (64), checksum of these (32); then channel and body; then the checksum of it all (32), so
 * that a body can be written as it arrives. */
struct cbt_spool_record {
    uint32_t body_bytes;
    uint16_t channel_bytes;
    uint16_t flags;
    int64_t arrived_wall_ms;
    uint32_t head_crc;
};
#define CBT_SPOOL_FLAG_SPILLED 1u

/* What was read of one segment. */
struct cbt_spool_window {
    uint8_t *data; /* CBT_SPOOL_WINDOW_BYTES */
    const struct cbt_spool_segment *segment;
    uint64_t at;
    size_t len;
};

struct cbt_spool {
    struct cbt_spool_options options;
    struct cbt_spool_counts counts;
    int dir_fd, lock_fd, checkpoint_fd;
    struct cbt_spool_segment *first, *last;
    bool writing;         /* `last` is appended to */
    uint64_t next_seq;    /* of the first message that is not on disk */
    uint64_t replay_end;  /* those before were there at the start */
    uint64_t settled_seq; /* all before are settled */

    /* Appending: buffer[0] belongs at buffer_at of `last` (or of the segment that will be made). */
    uint8_t *buffer;
    uint64_t buffer_at;
    size_t buffered, written; /* bytes; those written are kept for taking */
    uint64_t pending;         /* whole messages behind `written` */
    size_t drained;           /* after a failure: bytes behind `written` whose messages are taken */
    bool in_record;
    uint64_t record_at; /* of the message under way */
    uint32_t record_crc;

    /* Taking. */
    struct cbt_spool_segment *feed; /* NULL: there was no segment yet */
    uint64_t feed_at, feed_seq;
    struct cbt_spool_record feed_record; /* of the message that next has shown */
    struct cbt_spool_window window;
    uint64_t *tickets; /* [ticket_mask + 1]: sequence number behind it * 2, + 1 when settled */
    uint64_t ticket_mask, ticket_head, ticket_tail;

    uint64_t checkpoint_seq; /* as written */
    int64_t checkpoint_ns, synced_ns;
    bool unsynced;
    int sync_error; /* of a segment that is done with, not yet told */
};

/* spool_record.c */
void cbt_spool_record_encode(struct cbt_spool_record *record, uint8_t *ret_head);
/* False: these bytes are no head. */
bool cbt_spool_record_decode(const uint8_t *head, struct cbt_spool_record *ret_record);
uint64_t cbt_spool_record_bytes(const struct cbt_spool_record *record);
uint32_t cbt_spool_crc(uint32_t crc, const void *data, size_t len);
void cbt_spool_put32(uint8_t *to, uint32_t value);
void cbt_spool_put64(uint8_t *to, uint64_t value);
uint32_t cbt_spool_get32(const uint8_t *from);
uint64_t cbt_spool_get64(const uint8_t *from);

/* spool_segment.c: files of the directory. Negative: errno is set. */
void cbt_spool_segment_name(char *ret_name, uint64_t first_seq);
bool cbt_spool_segment_of_name(const char *name, uint64_t *ret_first_seq);
struct cbt_spool_segment *cbt_spool_segment_add(struct cbt_spool *spool, uint64_t first_seq);
/* Makes the file that is to be written next; `last` is then it. */
int cbt_spool_segment_create(struct cbt_spool *spool, struct cbt_err *err);
/* Checks the segment's head. */
bool cbt_spool_segment_head_valid(int fd, uint64_t first_seq);
/* For reading, where it is not open yet. False: errno is set. */
bool cbt_spool_segment_open(struct cbt_spool *spool, struct cbt_spool_segment *segment);
void cbt_spool_segment_close(struct cbt_spool_segment *segment);
/* Takes the first segment off the list, and off the disk. */
void cbt_spool_segment_remove_first(struct cbt_spool *spool);
/* Copies bytes of a segment into a file of their own, as far as they can be read. */
void cbt_spool_set_aside(struct cbt_spool *spool, struct cbt_spool_segment *segment, uint64_t from,
                         uint64_t to, const char *why);

/* spool_read.c: `len` bytes (at most CBT_SPOOL_WINDOW_BYTES) at `at`, or NULL: they cannot be read. */
const uint8_t *cbt_spool_window_read(struct cbt_spool *spool, struct cbt_spool_segment *segment, uint64_t at,
                                     size_t len);
/* The record at `at`, which must end within the segment; its bytes against its checksum, its body into `body`
 * unless that is NULL. */
bool cbt_spool_read_body(struct cbt_spool *spool, struct cbt_spool_segment *segment, uint64_t at,
                         const struct cbt_spool_record *record, uint8_t *body);

/* spool_settle.c */
uint64_t cbt_spool_ticket(struct cbt_spool *spool, uint64_t seq_behind);
/* Moves the settled prefix where nothing is unsettled, removes what need not be kept. */
void cbt_spool_trim(struct cbt_spool *spool);
int cbt_spool_write_checkpoint(struct cbt_spool *spool, struct cbt_err *err);
/* The number in the file; 0 where there is none, or none that can be read. */
uint64_t cbt_spool_read_checkpoint(int fd, bool *ret_broken);

/* spool_append.c: nothing is appended to `last` any more. */
void cbt_spool_seal(struct cbt_spool *spool);
int cbt_spool_sync(struct cbt_spool *spool, struct cbt_err *err);

#endif
