/* SPDX-License-Identifier: MIT */
/*
 * What of the spool is delivered. Messages are settled in any order; the checkpoint holds the number of the
 * first that is not, and segments before it are deleted.
 *
 * The checkpoint is written in place, 24 bytes at the file's beginning by one call: the end of the process
 * leaves the old or the new ones, and so does a power failure, for they lie within one sector. If they do not
 * match their checksum all the same, everything on disk comes out again: twice rather than never.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ingest/spool_files.h"

#define MAGIC             "cbtdone1"
#define CHECKPOINT_BYTES  24
#define CHECKPOINT_NS     (INT64_C(100) * 1000000)
#define CHECKPOINT_BEHIND 4096 /* messages: written at once */

uint64_t cbt_spool_ticket(struct cbt_spool *spool, uint64_t seq_behind)
{
    spool->tickets[spool->ticket_tail & spool->ticket_mask] = seq_behind << 1;
    return spool->ticket_tail++;
}

void cbt_spool_trim(struct cbt_spool *spool)
{
    if (spool->ticket_head == spool->ticket_tail && spool->feed_seq > spool->settled_seq)
        spool->settled_seq = spool->feed_seq;
    uint64_t left = spool->next_seq - spool->settled_seq;
    spool->counts.messages = spool->next_seq > spool->settled_seq ? left : 0;
    while (spool->first) {
        const struct cbt_spool_segment *next = spool->first->next;
        if (next ? next->first_seq > spool->settled_seq
                 : spool->writing || spool->next_seq > spool->settled_seq)
            break;
        cbt_spool_segment_remove_first(spool);
    }
}

void cbt_spool_settle(struct cbt_spool *spool, uint64_t ticket)
{
    uint64_t *tickets = spool->tickets;
    tickets[ticket & spool->ticket_mask] |= 1;
    if (ticket != spool->ticket_head)
        return;
    while (spool->ticket_head != spool->ticket_tail &&
           (tickets[spool->ticket_head & spool->ticket_mask] & 1) != 0) {
        spool->settled_seq = tickets[spool->ticket_head & spool->ticket_mask] >> 1;
        spool->ticket_head++;
    }
    cbt_spool_trim(spool);
}

int cbt_spool_write_checkpoint(struct cbt_spool *spool, struct cbt_err *err)
{
    uint8_t bytes[CHECKPOINT_BYTES] = MAGIC;
    cbt_spool_put64(bytes + 8, spool->settled_seq);
    cbt_spool_put32(bytes + 16, cbt_spool_crc(0, bytes, 16));
    ssize_t n = pwrite(spool->checkpoint_fd, bytes, sizeof bytes, 0);
    if (n != (ssize_t)sizeof bytes)
        return cbt_err_set(err, CBT_EIO, "%s/checkpoint: %s", spool->options.dir,
                           n < 0 ? strerror(errno) : "no room");
    spool->checkpoint_seq = spool->settled_seq;
    return 0;
}

uint64_t cbt_spool_read_checkpoint(int fd, bool *ret_broken)
{
    uint8_t bytes[CHECKPOINT_BYTES] = {0};
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    *ret_broken = n != 0 && (n != (ssize_t)sizeof bytes || memcmp(bytes, MAGIC, 8) != 0 ||
                             cbt_spool_get32(bytes + 16) != cbt_spool_crc(0, bytes, 16));
    uint64_t seq = cbt_spool_get64(bytes + 8);
    *ret_broken = *ret_broken || seq >= CBT_SPOOL_SEQ_MAX;
    return *ret_broken ? 0 : seq;
}

int cbt_spool_tick(struct cbt_spool *spool, int64_t now_ns, struct cbt_err *err)
{
    int rc = 0;
    uint64_t behind = spool->settled_seq - spool->checkpoint_seq;
    if (behind >= CHECKPOINT_BEHIND || (behind > 0 && now_ns - spool->checkpoint_ns >= CHECKPOINT_NS)) {
        spool->checkpoint_ns = now_ns;
        rc = cbt_spool_write_checkpoint(spool, err);
    }
    if (spool->options.fsync == CBT_SPOOL_FSYNC_INTERVAL && (spool->unsynced || spool->sync_error != 0) &&
        now_ns - spool->synced_ns >= spool->options.fsync_ms * 1000000) {
        spool->synced_ns = now_ns;
        int sync_rc = cbt_spool_sync(spool, err);
        rc = rc == 0 ? sync_rc : rc;
    }
    return rc;
}
