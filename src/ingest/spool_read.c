/* SPDX-License-Identifier: MIT */
/*
 * Takes messages out of the spool, in the order in which they came in: from memory where they have just been
 * appended, else from their segment.
 *
 * Failure: a record whose head is whole and whose body is not is passed over alone. Where the head is broken
 * nobody knows where the next record begins: the rest of that segment is passed over. Either way the bytes
 * are set aside, and the messages counted: their number follows from where the next segment begins.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ingest/spool_files.h"

const uint8_t *cbt_spool_window_read(struct cbt_spool *spool, struct cbt_spool_segment *segment, uint64_t at,
                                     size_t len)
{
    struct cbt_spool_window *window = &spool->window;
    if (at + len > segment->bytes || len > CBT_SPOOL_WINDOW_BYTES)
        return NULL;
    if (window->segment == segment && at >= window->at && at + len <= window->at + window->len)
        return window->data + (at - window->at);
    if (!cbt_spool_segment_open(spool, segment))
        return NULL;
    uint64_t left = segment->bytes - at;
    size_t want = left < CBT_SPOOL_WINDOW_BYTES ? (size_t)left : CBT_SPOOL_WINDOW_BYTES;
    window->segment = NULL;
    window->len = 0;
    while (window->len < len) {
        ssize_t n =
            pread(segment->fd, window->data + window->len, want - window->len, (off_t)(at + window->len));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return NULL;
        window->len += (size_t)n;
    }
    window->segment = segment;
    window->at = at;
    return window->data;
}

bool cbt_spool_read_body(struct cbt_spool *spool, struct cbt_spool_segment *segment, uint64_t at,
                         const struct cbt_spool_record *record, uint8_t *body)
{
    uint64_t left = (uint64_t)record->channel_bytes + record->body_bytes;
    size_t skip = record->channel_bytes; /* what of the next piece is no body */
    uint32_t crc = record->head_crc;
    at += CBT_SPOOL_RECORD_HEAD_BYTES;
    while (left > 0) {
        size_t len = left < CBT_SPOOL_WINDOW_BYTES ? (size_t)left : CBT_SPOOL_WINDOW_BYTES;
        const uint8_t *data = cbt_spool_window_read(spool, segment, at, len);
        if (!data)
            return false;
        crc = cbt_spool_crc(crc, data, len);
        if (body && len > skip) {
            memcpy(body, data + skip, len - skip);
            body += len - skip;
        }
        skip = 0;
        at += len;
        left -= len;
    }
    const uint8_t *tail = cbt_spool_window_read(spool, segment, at, CBT_SPOOL_RECORD_TAIL_BYTES);
    return tail && cbt_spool_get32(tail) == crc;
}

/* The bytes at feed_at where they are still in memory, else NULL. */
static const uint8_t *in_memory(const struct cbt_spool *spool)
{
    if (!spool->writing || spool->feed != spool->last || spool->feed_at < spool->buffer_at ||
        spool->feed_at >= spool->buffer_at + spool->written)
        return NULL;
    return spool->buffer + (spool->feed_at - spool->buffer_at);
}

/* The head and channel at feed_at; NULL: broken. */
static const uint8_t *read_head(struct cbt_spool *spool)
{
    struct cbt_spool_record *record = &spool->feed_record;
    const uint8_t *head = in_memory(spool);
    if (head)
        return cbt_spool_record_decode(head, record) ? head : NULL;
    head = cbt_spool_window_read(spool, spool->feed, spool->feed_at, CBT_SPOOL_RECORD_HEAD_BYTES);
    if (!head || !cbt_spool_record_decode(head, record) ||
        spool->feed->bytes - spool->feed_at < cbt_spool_record_bytes(record))
        return NULL;
    return cbt_spool_window_read(spool, spool->feed, spool->feed_at,
                                 CBT_SPOOL_RECORD_HEAD_BYTES + (size_t)record->channel_bytes);
}

static void pass_over(struct cbt_spool *spool, uint64_t to, uint64_t seq_behind, const char *why)
{
    cbt_spool_set_aside(spool, spool->feed, spool->feed_at, to, why);
    spool->counts.damaged += seq_behind - spool->feed_seq;
    spool->feed_at = to;
    spool->feed_seq = seq_behind;
    cbt_spool_trim(spool);
}

static void pass_over_rest(struct cbt_spool *spool)
{
    const struct cbt_spool_segment *next = spool->feed->next;
    uint64_t seq_behind = next ? next->first_seq : spool->next_seq;
    pass_over(spool, spool->feed->bytes, seq_behind > spool->feed_seq ? seq_behind : spool->feed_seq,
              "a record's head is broken, so that nothing behind it in its segment can be read");
}

/* To the next segment. False: there is none. */
static bool go_on(struct cbt_spool *spool)
{
    struct cbt_spool_segment *segment = spool->feed;
    if (!segment->next)
        return false;
    cbt_spool_segment_close(segment);
    spool->feed = segment->next;
    spool->feed_at = CBT_SPOOL_SEGMENT_HEAD_BYTES;
    if (spool->feed->first_seq > spool->feed_seq) {
        spool->counts.damaged += spool->feed->first_seq - spool->feed_seq;
        spool->feed_seq = spool->feed->first_seq;
    }
    cbt_spool_trim(spool);
    return true;
}

int cbt_spool_next(struct cbt_spool *spool, struct cbt_spool_message *ret_message)
{
    while (spool->feed) {
        if (spool->feed_at >= spool->feed->bytes) {
            if (!go_on(spool))
                return 0;
            continue;
        }
        if (spool->ticket_tail - spool->ticket_head > spool->ticket_mask)
            return CBT_ELIMIT;
        if (!in_memory(spool) && !cbt_spool_segment_open(spool, spool->feed) && errno != ENOENT)
            return CBT_EIO;
        const uint8_t *head = read_head(spool);
        const struct cbt_spool_record *record = &spool->feed_record;
        if (!head) {
            pass_over_rest(spool);
            continue;
        }
        if (spool->feed_seq < spool->settled_seq) {
            spool->feed_at += cbt_spool_record_bytes(record);
            spool->feed_seq++;
            continue;
        }
        *ret_message =
            (struct cbt_spool_message){.channel = {head + CBT_SPOOL_RECORD_HEAD_BYTES, record->channel_bytes},
                                       .body_bytes = record->body_bytes,
                                       .arrived_wall_ms = record->arrived_wall_ms,
                                       .spilled = (record->flags & CBT_SPOOL_FLAG_SPILLED) != 0,
                                       .replayed = spool->feed_seq < spool->replay_end};
        return 1;
    }
    return 0;
}

int cbt_spool_take(struct cbt_spool *spool, uint8_t *body, uint64_t *ret_ticket)
{
    const struct cbt_spool_record *record = &spool->feed_record;
    uint64_t end = spool->feed_at + cbt_spool_record_bytes(record);
    const uint8_t *memory = in_memory(spool);
    if (memory) {
        if (record->body_bytes > 0)
            memcpy(body, memory + CBT_SPOOL_RECORD_HEAD_BYTES + record->channel_bytes, record->body_bytes);
    } else if (!cbt_spool_read_body(spool, spool->feed, spool->feed_at, record, body)) {
        pass_over(spool, end, spool->feed_seq + 1, "a record does not match its checksum");
        return CBT_EIO;
    }
    spool->feed_at = end;
    spool->feed_seq++;
    *ret_ticket = cbt_spool_ticket(spool, spool->feed_seq);
    return 0;
}

bool cbt_spool_all_taken(const struct cbt_spool *spool)
{
    return spool->feed_seq >= spool->next_seq;
}
