/* SPDX-License-Identifier: MIT */
/* A file as a run of bytes: see file_reader.h. */
#include "ingest/file_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IN_BYTES          (64u * 1024)
#define KEEP_BYTES        (2 * CBT_FILE_BUFFER_BYTES)
#define RATIO_MAX         1000 /* deflate's own bound is 1032 */
#define RATIO_SLACK_BYTES (1u << 20)
#define WINDOW_BITS       (15 + 16) /* gzip, and nothing else */
#define GZIP_HEAD_BYTES   10

/* Whether there is something to be read from a pipe, which what feeds it may have made non-blocking. */
static bool await_input(const struct cbt_file_reader *r)
{
    struct pollfd wait = {.fd = r->fd, .events = POLLIN};
    int n;
    do
        n = poll(&wait, 1, r->impatient ? 0 : -1);
    while (n < 0 && errno == EINTR);
    errno = n == 0 ? EAGAIN : errno;
    return n > 0;
}

static size_t read_file(struct cbt_file_reader *r, uint8_t *to, size_t bytes)
{
    ssize_t n;
    /* What is written meanwhile makes it another file, which is read by itself. */
    if (bytes > r->size - r->at)
        bytes = (size_t)(r->size - r->at);
    if (bytes == 0)
        return 0;
    do {
        if (r->size != CBT_FILE_SIZE_UNKNOWN)
            n = pread(r->fd, to, bytes, (off_t)r->at);
        else
            n = await_input(r) ? read(r->fd, to, bytes) : -1;
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        r->error = errno;
        return 0;
    }
    r->at += (uint64_t)n;
    return (size_t)n;
}

/* By its head (RFC 1952, section 2.3). A bundle whose first record has the length that the first bytes say
 * has a header there, of which the byte at XFL is a tag: above 7, where deflate says 0, 2 or 4. */
static bool is_gzip(const uint8_t *head, size_t len)
{
    if (len < 3 || head[0] != 0x1F || head[1] != 0x8B || head[2] != 8)
        return false;
    bool like_bundle = len >= GZIP_HEAD_BYTES && head[3] == 0 && head[4] == 0x0A;
    return !like_bundle || head[8] <= 7;
}

static void begin(struct cbt_file_reader *r)
{
    r->at = r->offset = 0;
    r->pos = r->len = 0;
    r->at_end = r->in_member = r->gzip = r->looked = false;
    r->error = 0;
    r->fault = NULL;
}

/* What was read of the file so far is there to be inflated. */
static bool begin_gzip(struct cbt_file_reader *r)
{
    r->error = ENOMEM;
    if (!r->in)
        r->in = malloc(IN_BYTES);
    if (!r->in)
        return false;
    int rc = r->z_ready ? inflateReset(&r->z) : inflateInit2(&r->z, WINDOW_BITS);
    if (rc != Z_OK)
        return false;
    memcpy(r->in, r->data, r->len);
    r->z.next_in = r->in;
    r->z.avail_in = (unsigned)r->len;
    r->len = 0;
    r->error = 0;
    r->z_ready = r->gzip = r->in_member = true;
    return true;
}

bool cbt_file_reader_open(struct cbt_file_reader *r, int fd, uint64_t size)
{
    r->fd = fd;
    r->size = size;
    begin(r);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    if (!r->data) {
        r->data = malloc(CBT_FILE_BUFFER_BYTES);
        r->capacity = r->data ? CBT_FILE_BUFFER_BYTES : 0;
    }
    if (r->data)
        return true;
    cbt_file_reader_close(r);
    return false;
}

/* Its first bytes tell whether it is gzip. False: they cannot be read, or not yet. */
static bool look(struct cbt_file_reader *r)
{
    r->error = 0;
    while (!r->looked && r->error == 0) {
        size_t n = read_file(r, r->data + r->len, IN_BYTES - r->len);
        r->len += n;
        if (r->error == 0 && (n == 0 || r->len >= GZIP_HEAD_BYTES))
            r->looked = !is_gzip(r->data, r->len) || begin_gzip(r);
    }
    return r->error == 0;
}

void cbt_file_reader_close(struct cbt_file_reader *r)
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

void cbt_file_reader_free(struct cbt_file_reader *r)
{
    cbt_file_reader_close(r);
    if (r->z_ready)
        inflateEnd(&r->z);
    free(r->data);
    free(r->in);
    r->data = r->in = NULL;
    r->z_ready = false;
    r->capacity = 0;
}

/* The end of the file, where gzip may end, or not. */
static void end_of_input(struct cbt_file_reader *r)
{
    r->at_end = true;
    if (r->in_member)
        r->fault = "the gzip file is cut off";
}

/* Behind a member comes the next, or nothing, or zeros that fill up a block. */
static void end_of_member(struct cbt_file_reader *r)
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

static size_t inflate_some(struct cbt_file_reader *r, uint8_t *to, size_t room)
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

static size_t more(struct cbt_file_reader *r, uint8_t *to, size_t room)
{
    if (r->gzip)
        return inflate_some(r, to, room < UINT32_MAX ? room : UINT32_MAX);
    size_t n = read_file(r, to, room);
    r->at_end = n == 0 && r->error == 0;
    return n;
}

bool cbt_file_reader_want(struct cbt_file_reader *r, size_t bytes)
{
    if (!r->looked && !look(r))
        return false;
    if (cbt_file_reader_has(r) >= bytes || r->at_end)
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

void cbt_file_reader_skip(struct cbt_file_reader *r, size_t bytes)
{
    r->pos += bytes;
    r->offset += bytes;
}

bool cbt_file_reader_seek(struct cbt_file_reader *r, uint64_t offset)
{
    if (!r->looked && !look(r))
        return false;
    if (!r->gzip && r->size != CBT_FILE_SIZE_UNKNOWN) {
        if (offset > r->size)
            return false;
        r->at = r->offset = offset;
        r->pos = r->len = 0;
        r->at_end = false;
        return true;
    }
    while (r->offset < offset) {
        uint64_t left = offset - r->offset;
        if (!cbt_file_reader_want(r, 1) || cbt_file_reader_has(r) == 0)
            return false;
        size_t n = cbt_file_reader_has(r);
        cbt_file_reader_skip(r, left < n ? (size_t)left : n);
    }
    return true;
}

size_t cbt_file_reader_get(struct cbt_file_reader *r, uint8_t *to, size_t bytes)
{
    size_t got = cbt_file_reader_has(r) < bytes ? cbt_file_reader_has(r) : bytes;
    memcpy(to, r->data + r->pos, got);
    cbt_file_reader_skip(r, got);
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

void cbt_file_reader_raw(struct cbt_file_reader *r)
{
    begin(r);
    r->looked = true;
}
