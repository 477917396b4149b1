/* SPDX-License-Identifier: MIT */
/* One archived file as a run of bytes: see archive_reader.h. */
#include "ingest/archive_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IN_BYTES          (64u * 1024)
#define KEEP_BYTES        (2 * CBT_ARCHIVE_BUFFER_BYTES)
#define RATIO_MAX         1000 /* deflate's own bound is 1032 */
#define RATIO_SLACK_BYTES (1u << 20)
#define WINDOW_BITS       (15 + 16) /* gzip, and nothing else */

static size_t read_file(struct cbt_archive_reader *r, uint8_t *to, size_t bytes)
{
    ssize_t n;
    /* What is written meanwhile makes it another file, which is read by itself. */
    if (bytes > r->size - r->at)
        bytes = (size_t)(r->size - r->at);
    if (bytes == 0)
        return 0;
    do
        n = pread(r->fd, to, bytes, (off_t)r->at);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        r->error = errno;
        return 0;
    }
    r->at += (uint64_t)n;
    return (size_t)n;
}

static bool begin(struct cbt_archive_reader *r, bool gzip)
{
    r->at = r->offset = 0;
    r->pos = r->len = 0;
    r->at_end = r->in_member = false;
    r->error = 0;
    r->fault = NULL;
    r->gzip = gzip;
    if (!gzip)
        return true;
    if (!r->in)
        r->in = malloc(IN_BYTES);
    if (!r->in)
        return false;
    int rc = r->z_ready ? inflateReset(&r->z) : inflateInit2(&r->z, WINDOW_BITS);
    r->z_ready = r->z_ready || rc == Z_OK;
    r->z.avail_in = 0;
    r->in_member = true;
    return rc == Z_OK;
}

bool cbt_archive_reader_open(struct cbt_archive_reader *r, int fd, uint64_t size)
{
    uint8_t magic[3] = {0};
    r->fd = fd;
    r->size = size;
    r->at = 0;
    r->error = 0;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    size_t n = read_file(r, magic, sizeof magic);
    bool gzip = n == sizeof magic && magic[0] == 0x1F && magic[1] == 0x8B && magic[2] == 8;
    if (!r->data) {
        r->data = malloc(CBT_ARCHIVE_BUFFER_BYTES);
        r->capacity = r->data ? CBT_ARCHIVE_BUFFER_BYTES : 0;
    }
    if (r->data && begin(r, gzip))
        return true;
    cbt_archive_reader_close(r);
    return false;
}

void cbt_archive_reader_close(struct cbt_archive_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    r->pos = r->len = 0;
    /* What one large record needed is not kept for ever. */
    if (r->capacity > KEEP_BYTES) {
        free(r->data);
        r->data = NULL;
        r->capacity = 0;
    }
}

void cbt_archive_reader_free(struct cbt_archive_reader *r)
{
    cbt_archive_reader_close(r);
    if (r->z_ready)
        inflateEnd(&r->z);
    free(r->data);
    free(r->in);
    r->data = r->in = NULL;
    r->z_ready = false;
    r->capacity = 0;
}

/* The end of the file, where gzip may end, or not. */
static void end_of_input(struct cbt_archive_reader *r)
{
    r->at_end = true;
    if (r->in_member)
        r->fault = "the gzip file is cut off";
}

/* Behind a member comes the next, or nothing, or zeros that fill up a block. */
static void end_of_member(struct cbt_archive_reader *r)
{
    r->in_member = false;
    while (r->z.avail_in > 0 && *r->z.next_in == 0) {
        r->z.next_in++;
        r->z.avail_in--;
    }
    if (r->z.avail_in == 0)
        return;
    r->in_member = true;
    (void)inflateReset(&r->z);
}

static size_t inflate_some(struct cbt_archive_reader *r, uint8_t *to, size_t room)
{
    for (;;) {
        if (r->z.avail_in == 0) {
            r->z.next_in = r->in;
            r->z.avail_in = (unsigned)read_file(r, r->in, IN_BYTES);
            if (r->error != 0)
                return 0;
            if (r->z.avail_in == 0) {
                end_of_input(r);
                return 0;
            }
        }
        if (!r->in_member) {
            end_of_member(r);
            continue;
        }
        r->z.next_out = to;
        r->z.avail_out = (unsigned)room;
        int rc = inflate(&r->z, Z_NO_FLUSH);
        size_t n = room - r->z.avail_out;
        if (rc == Z_STREAM_END) {
            end_of_member(r);
        } else if (rc == Z_MEM_ERROR) {
            r->error = ENOMEM;
        } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
            r->fault = r->z.msg ? r->z.msg : "it cannot be inflated";
            r->at_end = true;
        }
        if (r->z.total_out > RATIO_MAX * (r->at - r->z.avail_in) + RATIO_SLACK_BYTES) {
            r->fault = "it inflates by more than 1000 times";
            r->at_end = true;
        }
        if (n > 0 || r->at_end || r->error != 0)
            return n;
    }
}

static size_t more(struct cbt_archive_reader *r, uint8_t *to, size_t room)
{
    if (r->gzip)
        return inflate_some(r, to, room < UINT32_MAX ? room : UINT32_MAX);
    size_t n = read_file(r, to, room);
    r->at_end = n == 0 && r->error == 0;
    return n;
}

bool cbt_archive_reader_want(struct cbt_archive_reader *r, size_t bytes)
{
    if (cbt_archive_reader_has(r) >= bytes || r->at_end)
        return true;
    if (r->pos > 0) {
        memmove(r->data, r->data + r->pos, r->len - r->pos);
        r->len -= r->pos;
        r->pos = 0;
    }
    if (bytes > r->capacity) {
        uint8_t *grown = realloc(r->data, bytes);
        if (!grown) {
            r->error = ENOMEM;
            return false;
        }
        r->data = grown;
        r->capacity = bytes;
    }
    r->error = 0;
    while (r->len < bytes && !r->at_end && r->error == 0)
        r->len += more(r, r->data + r->len, r->capacity - r->len);
    return r->error == 0;
}

void cbt_archive_reader_skip(struct cbt_archive_reader *r, size_t bytes)
{
    r->pos += bytes;
    r->offset += bytes;
}

bool cbt_archive_reader_seek(struct cbt_archive_reader *r, uint64_t offset)
{
    if (!r->gzip) {
        r->at = r->offset = offset;
        return offset <= r->size;
    }
    while (r->offset < offset) {
        uint64_t left = offset - r->offset;
        if (!cbt_archive_reader_want(r, 1) || cbt_archive_reader_has(r) == 0)
            return false;
        size_t n = cbt_archive_reader_has(r);
        cbt_archive_reader_skip(r, left < n ? (size_t)left : n);
    }
    return true;
}

size_t cbt_archive_reader_get(struct cbt_archive_reader *r, uint8_t *to, size_t bytes)
{
    size_t got = cbt_archive_reader_has(r) < bytes ? cbt_archive_reader_has(r) : bytes;
    memcpy(to, r->data + r->pos, got);
    cbt_archive_reader_skip(r, got);
    r->error = 0;
    while (got < bytes && !r->at_end) {
        size_t n = more(r, to + got, bytes - got);
        if (r->error != 0)
            return SIZE_MAX;
        got += n;
        r->offset += n;
    }
    return got;
}

bool cbt_archive_reader_raw(struct cbt_archive_reader *r)
{
    return begin(r, false);
}
