/* SPDX-License-Identifier: MIT */
/*
 * Whole files in. They are read, not mapped: one that is cut off meanwhile would end the process by SIGBUS. A
 * gz file is inflated in memory, at most to what a file may have; its checksum is checked.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/export.h"

#define READ_BYTES          65536u
#define GZ_HEAD_BYTES       10   /* RFC 1952, section 2.3 */
#define GZ_TAIL_BYTES       8    /* CRC32 and the inflated size, modulo 2^32 */
#define DEFLATE_RATIO_MAX   1032 /* no deflate stream grows more */
#define BUNDLE_FIRST_MEMBER 0x0A

bool cbt_export_try_again(int fd, short events)
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

static int make_room(uint8_t **data, size_t *capacity, size_t bytes, struct cbt_err *err)
{
    if (bytes <= *capacity)
        return CBT_OK;
    uint8_t *grown = realloc(*data, bytes);
    if (!grown)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for %zu bytes", bytes);
    *data = grown;
    *capacity = bytes;
    return CBT_OK;
}

/* One byte more than is allowed is read, to know that it is too much. */
static int read_all(struct cbt_export_input *in, int fd, size_t max_bytes, struct cbt_err *err)
{
    in->len = 0;
    size_t expected = READ_BYTES;
    if (S_ISREG(in->stat.st_mode)) {
        if ((uint64_t)in->stat.st_size > max_bytes)
            return too_large((uint64_t)in->stat.st_size, max_bytes, err);
        expected = (size_t)in->stat.st_size + 1;
    }
    for (;;) {
        if (in->len > 0 && in->len == in->capacity)
            expected = 2 * in->capacity;
        int rc = make_room(&in->data, &in->capacity, expected < max_bytes ? expected : max_bytes + 1, err);
        if (rc != 0)
            return rc;
        ssize_t n = read(fd, in->data + in->len, in->capacity - in->len);
        if (n < 0 && cbt_export_try_again(fd, POLLIN))
            continue;
        if (n < 0)
            return cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
        if (n == 0)
            return CBT_OK;
        in->len += (size_t)n;
        if (in->len > max_bytes)
            return too_large(in->len, max_bytes, err);
    }
}

/* A bundle whose first record has the length that these bytes say goes on as a bundle. */
static bool is_gz(const struct cbt_export_input *in)
{
    const uint8_t *data = in->data;
    return in->len >= GZ_HEAD_BYTES + GZ_TAIL_BYTES && data[0] == 0x1f && data[1] == 0x8b && data[2] == 8 &&
           !(data[3] == 0 && data[4] == BUNDLE_FIRST_MEMBER && in->len > 0x088b1f);
}

static int inflate_member(struct cbt_export_input *in, size_t *at, size_t *inflated, size_t max_bytes,
                          struct cbt_err *err)
{
    size_t left = in->len - *at, used, made;
    size_t most = left < SIZE_MAX / DEFLATE_RATIO_MAX ? left * DEFLATE_RATIO_MAX : SIZE_MAX;
    size_t room = 4 * left < READ_BYTES ? READ_BYTES : 4 * left;
    for (;;) {
        /* One more than allowed, to know of too much. */
        size_t allowed = max_bytes - *inflated + 1;
        room = room < most ? room : most;
        room = room < allowed ? room : allowed;
        int rc = make_room(&in->inflated, &in->inflated_capacity, *inflated + room, err);
        if (rc != 0)
            return rc;
        enum libdeflate_result result =
            libdeflate_gzip_decompress_ex(in->inflater, in->data + *at, left, in->inflated + *inflated,
                                          in->inflated_capacity - *inflated, &used, &made);
        if (result == LIBDEFLATE_SUCCESS) {
            *at += used;
            *inflated += made;
            return *inflated > max_bytes ? too_large(*inflated, max_bytes, err) : CBT_OK;
        }
        if (result != LIBDEFLATE_INSUFFICIENT_SPACE)
            return cbt_err_set(err, CBT_EINVAL, "the gz file is broken at byte %zu or behind it", *at);
        if (room == allowed)
            return too_large(max_bytes + 1, max_bytes, err);
        if (room == most)
            return cbt_err_set(err, CBT_EINVAL, "the gz file is broken at byte %zu or behind it", *at);
        room *= 2;
    }
}

/* Members in turn (RFC 1952, section 2.2). */
static int inflate(struct cbt_export_input *in, size_t max_bytes, size_t *ret_len, struct cbt_err *err)
{
    size_t at = 0, inflated = 0;
    int rc = CBT_OK;
    if (in->inflater == NULL)
        in->inflater = libdeflate_alloc_decompressor();
    if (in->inflater == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory to inflate it");
    while (at < in->len && rc == CBT_OK)
        rc = inflate_member(in, &at, &inflated, max_bytes, err);
    *ret_len = inflated;
    return rc;
}

static int open_file(const struct cbt_export_file *file)
{
    if (file->named && strcmp(file->path, "-") == 0)
        return STDIN_FILENO;
    int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY;
    /* What the walk found was a file; if it is another thing now, opening must neither follow nor wait. */
    return openat(file->dir_fd, file->name, file->named ? flags : flags | O_NOFOLLOW | O_NONBLOCK);
}

int cbt_export_read(struct cbt_export_input *in, const struct cbt_export_file *file, size_t max_bytes,
                    struct cbt_text *ret_body, struct cbt_err *err)
{
    int rc = CBT_OK, fd = open_file(file);
    if (fd < 0 && !file->named && (errno == ENOENT || errno == ELOOP))
        return 1;
    if (fd < 0)
        return cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
    if (fstat(fd, &in->stat) != 0)
        rc = cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
    else if (!file->named && !S_ISREG(in->stat.st_mode))
        rc = 1;
    else
        rc = read_all(in, fd, max_bytes, err);
    if (fd != STDIN_FILENO)
        close(fd);
    if (rc != CBT_OK)
        return rc;
    *ret_body = (struct cbt_text){in->data, in->len};
    in->gz = is_gz(in);
    if (in->gz) {
        size_t len = 0;
        if ((rc = inflate(in, max_bytes, &len, err)) == CBT_OK)
            *ret_body = (struct cbt_text){in->inflated, len};
    }
    return rc;
}

void cbt_export_input_free(struct cbt_export_input *in)
{
    free(in->data);
    free(in->inflated);
    if (in->inflater != NULL)
        libdeflate_free_decompressor(in->inflater);
}
