/* SPDX-License-Identifier: MIT */
/*
 * Appends messages to the spool. They are gathered in memory and written by one call for all that one reading
 * of the socket brought; one that is larger than the buffer is written as it arrives.
 *
 * Failure: the disk is full, or fails. What of the write is in the file is cut off again, so that it ends
 * with a whole record; what is in memory only is for the owner, who hands it on or drops it. The next
 * message is tried anew, in a segment of its own, so that the one that failed can be deleted when it is
 * delivered: that may be the very room that is missing.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ingest/spool_files.h"

static bool is_split(const struct cbt_spool *spool)
{
    return spool->record_at < spool->buffer_at;
}

static void forget_buffer(struct cbt_spool *spool)
{
    spool->buffer_at += spool->buffered;
    spool->buffered = spool->written = 0;
}

void cbt_spool_seal(struct cbt_spool *spool)
{
    if (spool->writing && spool->unsynced && spool->options.fsync != CBT_SPOOL_FSYNC_NONE &&
        fdatasync(spool->last->fd) != 0)
        spool->sync_error = errno;
    if (spool->writing && spool->feed != spool->last)
        cbt_spool_segment_close(spool->last);
    spool->writing = false;
    spool->unsynced = false;
    spool->buffer_at = CBT_SPOOL_SEGMENT_HEAD_BYTES;
    spool->buffered = spool->written = 0;
}

/* Cuts off what lies behind `at`; where that fails, nothing is written behind it. */
static void cut(struct cbt_spool *spool, uint64_t at)
{
    if (spool->writing && ftruncate(spool->last->fd, (off_t)at) != 0)
        spool->writing = false;
}

/* After a failure, and after a cut. A segment without a record is kept: the next one would have its name. */
static void leave_segment(struct cbt_spool *spool)
{
    if (spool->writing && spool->last->bytes > CBT_SPOOL_SEGMENT_HEAD_BYTES) {
        if (spool->feed != spool->last)
            cbt_spool_segment_close(spool->last);
        spool->writing = false;
    }
    cbt_spool_trim(spool);
}

static int make_segment(struct cbt_spool *spool, struct cbt_err *err)
{
    struct cbt_spool_segment *last = spool->last;
    if (last && last->first_seq == spool->next_seq && last->fd >= 0) {
        spool->writing = true; /* nothing of it was kept, and it could not be cut */
        return 0;
    }
    int rc = cbt_spool_segment_create(spool, err);
    if (rc == 0 && !spool->feed) {
        spool->feed = spool->last;
        spool->feed_at = CBT_SPOOL_SEGMENT_HEAD_BYTES;
        spool->feed_seq = spool->next_seq;
    }
    return rc;
}

static int write_bytes(struct cbt_spool *spool, size_t up_to, struct cbt_err *err)
{
    size_t done = spool->written;
    while (done < up_to) {
        ssize_t n =
            pwrite(spool->last->fd, spool->buffer + done, up_to - done, (off_t)(spool->buffer_at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int error = n < 0 ? errno : ENOSPC;
            if (!(spool->in_record && is_split(spool))) {
                cut(spool, spool->buffer_at + spool->written);
                leave_segment(spool);
            }
            return cbt_err_set(err, CBT_EIO, "cannot write to a segment in %s: %s", spool->options.dir,
                               strerror(error));
        }
        done += (size_t)n;
    }
    return 0;
}

/* The buffer is on disk up to there. */
static void account(struct cbt_spool *spool, size_t up_to)
{
    struct cbt_spool_counts *counts = &spool->counts;
    uint64_t end = spool->buffer_at + up_to;
    if (spool->in_record && spool->record_at < end)
        end = spool->record_at;
    counts->bytes += end - spool->last->bytes;
    counts->appended_bytes += end - spool->last->bytes;
    counts->appended += spool->pending;
    counts->messages += spool->pending;
    spool->last->bytes = end;
    spool->next_seq += spool->pending;
    spool->pending = 0;
    spool->written = up_to;
    spool->unsynced = true;
}

/* Writes the buffer up to there, which is the end of a record, or amid one that is split. */
static int write_out(struct cbt_spool *spool, size_t up_to, struct cbt_err *err)
{
    if (up_to <= spool->written)
        return 0;
    int rc = spool->writing ? 0 : make_segment(spool, err);
    if (rc == 0)
        rc = write_bytes(spool, up_to, err);
    if (rc == 0)
        account(spool, up_to);
    return rc;
}

/* Makes room for `bytes` in the buffer and in the segment. */
static int make_room(struct cbt_spool *spool, uint64_t bytes, struct cbt_err *err)
{
    uint64_t end = spool->buffer_at + spool->buffered;
    bool other_segment = end > CBT_SPOOL_SEGMENT_HEAD_BYTES && end + bytes > spool->options.segment_bytes;
    size_t head = bytes < CBT_SPOOL_BUFFER_BYTES ? (size_t)bytes : CBT_SPOOL_BUFFER_BYTES;
    if (other_segment || spool->buffered + head > CBT_SPOOL_BUFFER_BYTES) {
        int rc = write_out(spool, spool->buffered, err);
        if (rc != 0)
            return rc;
        if (other_segment)
            cbt_spool_seal(spool);
        else
            forget_buffer(spool);
    } else if (spool->pending == 0 && cbt_spool_all_taken(spool)) {
        forget_buffer(spool);
    }
    return 0;
}

int cbt_spool_begin(struct cbt_spool *spool, const struct cbt_spool_message *message, struct cbt_err *err)
{
    struct cbt_spool_record record = {.body_bytes = (uint32_t)message->body_bytes,
                                      .channel_bytes = (uint16_t)message->channel.len,
                                      .flags = message->spilled ? CBT_SPOOL_FLAG_SPILLED : 0,
                                      .arrived_wall_ms = message->arrived_wall_ms};
    uint64_t bytes = cbt_spool_record_bytes(&record);
    uint64_t used = spool->counts.bytes + (spool->buffered - spool->written);
    if (message->body_bytes > UINT32_MAX ||
        used + bytes + CBT_SPOOL_SEGMENT_HEAD_BYTES > spool->options.max_bytes)
        return cbt_err_set(err, CBT_ELIMIT, "the spool is full");
    int rc = make_room(spool, bytes, err);
    if (rc != 0)
        return rc;
    uint8_t *head = spool->buffer + spool->buffered;
    cbt_spool_record_encode(&record, head);
    if (record.channel_bytes > 0)
        memcpy(head + CBT_SPOOL_RECORD_HEAD_BYTES, message->channel.data, record.channel_bytes);
    spool->record_at = spool->buffer_at + spool->buffered;
    spool->record_crc =
        cbt_spool_crc(record.head_crc, head + CBT_SPOOL_RECORD_HEAD_BYTES, record.channel_bytes);
    spool->in_record = true;
    spool->buffered += CBT_SPOOL_RECORD_HEAD_BYTES + record.channel_bytes;
    return 0;
}

/* Bytes of the message under way, of any number. */
static int put_bytes(struct cbt_spool *spool, const uint8_t *data, size_t len, struct cbt_err *err)
{
    while (len > 0) {
        if (spool->buffered == CBT_SPOOL_BUFFER_BYTES) {
            int rc = write_out(spool, spool->buffered, err);
            if (rc != 0)
                return rc;
            forget_buffer(spool);
        }
        size_t room = CBT_SPOOL_BUFFER_BYTES - spool->buffered;
        size_t part = len < room ? len : room;
        memcpy(spool->buffer + spool->buffered, data, part);
        spool->buffered += part;
        data += part;
        len -= part;
    }
    return 0;
}

int cbt_spool_put(struct cbt_spool *spool, const void *data, size_t len, struct cbt_err *err)
{
    spool->record_crc = cbt_spool_crc(spool->record_crc, data, len);
    return put_bytes(spool, data, len, err);
}

int cbt_spool_commit(struct cbt_spool *spool, struct cbt_err *err)
{
    uint8_t tail[CBT_SPOOL_RECORD_TAIL_BYTES];
    cbt_spool_put32(tail, spool->record_crc);
    int rc = put_bytes(spool, tail, sizeof tail, err);
    if (rc != 0)
        return rc;
    if (!is_split(spool)) {
        spool->pending++;
        spool->in_record = false;
        return 0;
    }
    /* Only its end is in memory: it is whole on disk, or it is not there. */
    if ((rc = write_bytes(spool, spool->buffered, err)) != 0)
        return rc;
    spool->in_record = false;
    spool->pending = 1;
    account(spool, spool->buffered);
    return 0;
}

void cbt_spool_abort(struct cbt_spool *spool)
{
    if (!spool->in_record)
        return;
    spool->in_record = false;
    if (!is_split(spool)) {
        spool->buffered = (size_t)(spool->record_at - spool->buffer_at);
        if (!spool->writing && spool->pending == 0)
            cbt_spool_seal(spool);
        return;
    }
    cut(spool, spool->record_at);
    leave_segment(spool);
    spool->buffer_at = spool->record_at;
    spool->buffered = spool->written = 0;
    if (!spool->writing)
        cbt_spool_seal(spool);
}

static int sync_error(struct cbt_spool *spool, int error, struct cbt_err *err)
{
    spool->sync_error = 0;
    return cbt_err_set(err, CBT_EIO, "cannot sync a segment in %s: %s", spool->options.dir, strerror(error));
}

int cbt_spool_sync(struct cbt_spool *spool, struct cbt_err *err)
{
    if (spool->sync_error != 0)
        return sync_error(spool, spool->sync_error, err);
    if (!spool->unsynced || !spool->writing)
        return 0;
    if (fdatasync(spool->last->fd) != 0)
        return sync_error(spool, errno, err);
    spool->unsynced = false;
    return 0;
}

int cbt_spool_flush(struct cbt_spool *spool, struct cbt_err *err)
{
    size_t up_to = spool->buffered;
    if (spool->in_record)
        up_to = is_split(spool) ? 0 : (size_t)(spool->record_at - spool->buffer_at);
    int rc = write_out(spool, up_to, err);
    if (rc == 0 && spool->options.fsync == CBT_SPOOL_FSYNC_ALWAYS)
        rc = cbt_spool_sync(spool, err);
    return rc;
}

/* All that was not written is taken: what is left is the message under way, which moves to where that was. */
static void end_unwritten(struct cbt_spool *spool)
{
    size_t from = spool->written + spool->drained;
    size_t to = spool->writing ? spool->written : 0;
    if (spool->drained == 0)
        return;
    memmove(spool->buffer + to, spool->buffer + from, spool->buffered - from);
    spool->buffered -= from - to;
    spool->drained = 0;
    if (!spool->writing) {
        spool->written = 0;
        spool->buffer_at = CBT_SPOOL_SEGMENT_HEAD_BYTES;
    }
    if (spool->in_record)
        spool->record_at = spool->buffer_at + to;
}

bool cbt_spool_unwritten(struct cbt_spool *spool, struct cbt_spool_message *ret_message,
                         const uint8_t **ret_body)
{
    struct cbt_spool_record record;
    const uint8_t *head = spool->buffer + spool->written + spool->drained;
    if (spool->pending == 0 || !cbt_spool_record_decode(head, &record)) {
        end_unwritten(spool);
        return false;
    }
    spool->pending--;
    spool->drained += (size_t)cbt_spool_record_bytes(&record);
    *ret_message =
        (struct cbt_spool_message){.channel = {head + CBT_SPOOL_RECORD_HEAD_BYTES, record.channel_bytes},
                                   .body_bytes = record.body_bytes,
                                   .arrived_wall_ms = record.arrived_wall_ms,
                                   .spilled = (record.flags & CBT_SPOOL_FLAG_SPILLED) != 0};
    *ret_body = head + CBT_SPOOL_RECORD_HEAD_BYTES + record.channel_bytes;
    return true;
}
