/* SPDX-License-Identifier: MIT */
/*
 * Segments: the spool's files. Their head, little-endian: "cbtspool", the number of the first message (64
 * bits), a checksum of these (32), zero (32). A file is removed from the front only, when all of it is
 * settled.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/log.h"
#include "ingest/spool_files.h"

#define MAGIC  "cbtspool"
#define SUFFIX ".spool"
#define DIGITS 20

void cbt_spool_segment_name(char *ret_name, uint64_t first_seq)
{
    snprintf(ret_name, CBT_SPOOL_NAME_BYTES, "%0*" PRIu64 SUFFIX, DIGITS, first_seq);
}

bool cbt_spool_segment_of_name(const char *name, uint64_t *ret_first_seq)
{
    if (strspn(name, "0123456789") != DIGITS || strcmp(name + DIGITS, SUFFIX) != 0)
        return false;
    errno = 0;
    *ret_first_seq = strtoull(name, NULL, 10);
    return errno == 0 && *ret_first_seq < CBT_SPOOL_SEQ_MAX;
}

struct cbt_spool_segment *cbt_spool_segment_add(struct cbt_spool *spool, uint64_t first_seq)
{
    struct cbt_spool_segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return NULL;
    segment->first_seq = first_seq;
    segment->fd = -1;
    if (spool->last)
        spool->last->next = segment;
    else
        spool->first = segment;
    spool->last = segment;
    return segment;
}

static void encode_head(uint8_t *ret_head, uint64_t first_seq)
{
    memset(ret_head, 0, CBT_SPOOL_SEGMENT_HEAD_BYTES);
    memcpy(ret_head, MAGIC, 8);
    cbt_spool_put64(ret_head + 8, first_seq);
    cbt_spool_put32(ret_head + 16, cbt_spool_crc(0, ret_head, 16));
}

bool cbt_spool_segment_head_valid(int fd, uint64_t first_seq)
{
    uint8_t have[CBT_SPOOL_SEGMENT_HEAD_BYTES], want[CBT_SPOOL_SEGMENT_HEAD_BYTES];
    encode_head(want, first_seq);
    return pread(fd, have, sizeof have, 0) == (ssize_t)sizeof have && memcmp(have, want, sizeof have) == 0;
}

int cbt_spool_segment_create(struct cbt_spool *spool, struct cbt_err *err)
{
    char name[CBT_SPOOL_NAME_BYTES];
    uint8_t head[CBT_SPOOL_SEGMENT_HEAD_BYTES];
    cbt_spool_segment_name(name, spool->next_seq);
    encode_head(head, spool->next_seq);
    int fd = openat(spool->dir_fd, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return cbt_err_set(err, CBT_EIO, "%s/%s cannot be made: %s", spool->options.dir, name,
                           strerror(errno));
    ssize_t n = pwrite(fd, head, sizeof head, 0);
    int rc = n == (ssize_t)sizeof head ? 0
                                       : cbt_err_set(err, CBT_EIO, "%s/%s: %s", spool->options.dir, name,
                                                     n < 0 ? strerror(errno) : "no room");
    if (rc == 0 && spool->options.fsync != CBT_SPOOL_FSYNC_NONE && fsync(spool->dir_fd) != 0)
        rc = cbt_err_set(err, CBT_EIO, "%s: fsync: %s", spool->options.dir, strerror(errno));
    struct cbt_spool_segment *segment = rc == 0 ? cbt_spool_segment_add(spool, spool->next_seq) : NULL;
    if (rc == 0 && !segment)
        rc = cbt_err_set(err, CBT_EIO, "out of memory");
    if (rc != 0) {
        unlinkat(spool->dir_fd, name, 0);
        close(fd);
        return rc;
    }
    segment->fd = fd;
    segment->bytes = CBT_SPOOL_SEGMENT_HEAD_BYTES;
    spool->counts.bytes += CBT_SPOOL_SEGMENT_HEAD_BYTES;
    spool->writing = true;
    return 0;
}

bool cbt_spool_segment_open(struct cbt_spool *spool, struct cbt_spool_segment *segment)
{
    char name[CBT_SPOOL_NAME_BYTES];
    if (segment->fd >= 0)
        return true;
    cbt_spool_segment_name(name, segment->first_seq);
    segment->fd = openat(spool->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return segment->fd >= 0;
}

void cbt_spool_segment_close(struct cbt_spool_segment *segment)
{
    if (segment->fd >= 0)
        close(segment->fd);
    segment->fd = -1;
}

void cbt_spool_segment_remove_first(struct cbt_spool *spool)
{
    struct cbt_spool_segment *segment = spool->first;
    char name[CBT_SPOOL_NAME_BYTES];
    cbt_spool_segment_name(name, segment->first_seq);
    if (unlinkat(spool->dir_fd, name, 0) != 0 && errno != ENOENT)
        cbt_log_error("a segment of the spool that is delivered cannot be deleted: remove it when cbtap is "
                      "stopped",
                      CBT_S("source", spool->options.source), CBT_S("segment", name),
                      CBT_S("reason", strerror(errno)));
    if (spool->feed == segment) {
        spool->feed = segment->next;
        spool->feed_at = CBT_SPOOL_SEGMENT_HEAD_BYTES;
        if (spool->feed && spool->feed->first_seq > spool->feed_seq)
            spool->feed_seq = spool->feed->first_seq;
    }
    if (spool->window.segment == segment)
        spool->window.segment = NULL;
    spool->counts.bytes -= segment->bytes;
    spool->first = segment->next;
    if (!spool->first)
        spool->last = NULL;
    cbt_spool_segment_close(segment);
    free(segment);
}

static uint64_t copy(struct cbt_spool *spool, struct cbt_spool_segment *segment, uint64_t from, uint64_t to,
                     int fd)
{
    uint64_t at = from;
    while (at < to) {
        size_t len = to - at < CBT_SPOOL_WINDOW_BYTES ? (size_t)(to - at) : CBT_SPOOL_WINDOW_BYTES;
        const uint8_t *data = cbt_spool_window_read(spool, segment, at, len);
        if (!data || write(fd, data, len) != (ssize_t)len)
            break;
        at += len;
    }
    return at - from;
}

void cbt_spool_set_aside(struct cbt_spool *spool, struct cbt_spool_segment *segment, uint64_t from,
                         uint64_t to, const char *why)
{
    char name[CBT_SPOOL_NAME_BYTES];
    snprintf(name, sizeof name, "%0*" PRIu64 "-%" PRIu64 ".damaged", DIGITS, segment->first_seq, from);
    int fd = openat(spool->dir_fd, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    uint64_t kept = fd >= 0 ? copy(spool, segment, from, to, fd) : 0;
    if (fd >= 0)
        close(fd);
    cbt_log_error("damaged bytes in the spool: they are passed over and kept in a file of their own",
                  CBT_S("source", spool->options.source), CBT_S("dir", spool->options.dir),
                  CBT_S("file", name), CBT_I("bytes", to - from), CBT_I("bytes_kept", kept),
                  CBT_S("reason", why));
}
