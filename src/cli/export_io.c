/* SPDX-License-Identifier: MIT */
/*
 * Whole files in, large blocks out. Files are read, not mapped: one that is cut off meanwhile would end the
 * process by SIGBUS.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/export.h"

#define BLOCK_BYTES      (256u * 1024)
#define RECORD_MAX_BYTES (1u << 30) /* as in the daemon */
#define READ_BYTES       65536u

/* True where a call that failed is to be tried again. Whoever started us may have left a pipe non-blocking.
 */
static bool try_again(int fd, short events)
{
    if (errno == EINTR)
        return true;
    if (errno != EAGAIN)
        return false;
    struct pollfd wait = {.fd = fd, .events = events};
    return poll(&wait, 1, -1) >= 0 || errno == EINTR;
}

static int too_large(uint64_t bytes, size_t max_bytes, struct cbt_err *err)
{
    return cbt_err_set(err, CBT_ELIMIT,
                       "%s%" PRIu64 " bytes: a file is read whole, and cbtap.frame_max_bytes is %zu; "
                       "-s cbtap.frame_max_bytes=NUMBER raises it",
                       bytes > max_bytes + 1 ? "" : "more than ", bytes > max_bytes + 1 ? bytes : max_bytes,
                       max_bytes);
}

static int make_room(struct cbt_export_input *in, size_t bytes, struct cbt_err *err)
{
    if (bytes <= in->capacity)
        return 0;
    uint8_t *grown = realloc(in->data, bytes);
    if (!grown)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for %zu bytes", bytes);
    in->data = grown;
    in->capacity = bytes;
    return 0;
}

/* One byte more than is allowed is read, to know that it is too much. */
static int read_all(struct cbt_export_input *in, int fd, size_t max_bytes, struct cbt_err *err)
{
    struct stat stat;
    in->len = 0;
    size_t expected = READ_BYTES;
    if (fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode)) {
        if ((uint64_t)stat.st_size > max_bytes)
            return too_large((uint64_t)stat.st_size, max_bytes, err);
        expected = (size_t)stat.st_size + 1;
    }
    for (;;) {
        if (in->len > 0 && in->len == in->capacity)
            expected = 2 * in->capacity;
        int rc = make_room(in, expected < max_bytes ? expected : max_bytes + 1, err);
        if (rc != 0)
            return rc;
        ssize_t n = read(fd, in->data + in->len, in->capacity - in->len);
        if (n < 0 && try_again(fd, POLLIN))
            continue;
        if (n < 0)
            return cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
        if (n == 0)
            return 0;
        in->len += (size_t)n;
        if (in->len > max_bytes)
            return too_large(in->len, max_bytes, err);
    }
}

int cbt_export_read(struct cbt_export_input *in, const char *path, size_t max_bytes, struct cbt_err *err)
{
    if (strcmp(path, "-") == 0)
        return read_all(in, STDIN_FILENO, max_bytes, err);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
    int rc = read_all(in, fd, max_bytes, err);
    close(fd);
    return rc;
}

/* Records that are complete stay before the one that is being written. */
static bool grow(struct cbt_buf *buf, size_t bytes)
{
    struct cbt_export_output *out = buf->owner;
    size_t used = (size_t)(buf->pos - out->memory), before = (size_t)(buf->begin - out->memory);
    size_t capacity = (size_t)(buf->end - out->memory);
    if (bytes > RECORD_MAX_BYTES || used - before > RECORD_MAX_BYTES - bytes)
        return false;
    capacity = used + bytes > 2 * capacity ? used + bytes : 2 * capacity;
    uint8_t *grown = realloc(out->memory, capacity);
    if (!grown)
        return false;
    out->memory = grown;
    buf->begin = grown + before;
    buf->pos = grown + used;
    buf->end = grown + capacity;
    return true;
}

int cbt_export_output_init(struct cbt_export_output *out, struct cbt_err *err)
{
    size_t capacity = BLOCK_BYTES + BLOCK_BYTES / 4; /* a block, and the record that makes it full */
    *out = (struct cbt_export_output){.memory = malloc(capacity)};
    if (!out->memory)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the output");
    out->buf = (struct cbt_buf){
        .begin = out->memory, .pos = out->memory, .end = out->memory + capacity, .grow = grow, .owner = out};
    return 0;
}

bool cbt_export_write(struct cbt_export_output *out, bool all)
{
    const uint8_t *from = out->memory;
    size_t left = (size_t)(out->buf.pos - from);
    if (left < BLOCK_BYTES && !all)
        return true;
    while (left > 0 && out->error == 0) {
        ssize_t n = write(STDOUT_FILENO, from, left);
        if (n >= 0) {
            from += n;
            left -= (size_t)n;
        } else if (!try_again(STDOUT_FILENO, POLLOUT)) {
            out->error = errno;
        }
    }
    out->buf.begin = out->buf.pos = out->memory;
    return out->error == 0;
}
