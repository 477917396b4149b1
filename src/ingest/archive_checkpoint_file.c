/* SPDX-License-Identifier: MIT */
/*
 * The archive's checkpoint on disk: opened, locked, read, appended to, written anew. An append that fails is
 * not mended but followed by a rewrite: then what is on disk is either the old file or the new one, whole.
 */
#include "ingest/archive_checkpoint_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cbtap/log.h"
#include "ingest/spool_files.h"

#define MAGIC       "cbtarchv"
#define VERSION     1
#define CHUNK_BYTES (2048 * CBT_ARCHIVE_RECORD_BYTES)

void cbt_archive_record_encode(uint8_t *ret_record, struct cbt_archive_key key, uint64_t offset,
                               uint32_t index)
{
    cbt_spool_put64(ret_record, key.hi);
    cbt_spool_put64(ret_record + 8, key.lo & ~CBT_ARCHIVE_SET_BITS);
    cbt_spool_put64(ret_record + 16, offset);
    cbt_spool_put32(ret_record + 24, index);
    cbt_spool_put32(ret_record + 28, cbt_spool_crc(0, ret_record, 28));
}

bool cbt_archive_record_decode(const uint8_t *record, struct cbt_archive_key *ret_key, uint64_t *ret_offset,
                               uint32_t *ret_index)
{
    if (cbt_spool_get32(record + 28) != cbt_spool_crc(0, record, 28))
        return false;
    *ret_key = (struct cbt_archive_key){cbt_spool_get64(record), cbt_spool_get64(record + 8)};
    *ret_offset = cbt_spool_get64(record + 16);
    *ret_index = cbt_spool_get32(record + 24);
    return true;
}

static void encode_head(uint8_t *ret_head)
{
    memcpy(ret_head, MAGIC, 8);
    cbt_spool_put32(ret_head + 8, VERSION);
    cbt_spool_put32(ret_head + 12, cbt_spool_crc(0, ret_head, 12));
}

static int unusable(const struct cbt_archive_checkpoint *c, const char *what, const char *reason,
                    struct cbt_err *err)
{
    return cbt_err_set(err, CBT_EINVAL,
                       "checkpoint = %s: %s%s; name a file, of this source alone, in a folder that cbtap's "
                       "user may write to",
                       c->path, what, reason);
}

static int open_folder(struct cbt_archive_checkpoint *c, struct cbt_err *err)
{
    char *copy = strdup(c->path);
    if (!copy)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    const char *folder = dirname(copy);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        int rc = unusable(c, "its folder cannot be made: ", strerror(errno), err);
        free(copy);
        return rc;
    }
    c->dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    if (c->dir_fd < 0 || faccessat(c->dir_fd, ".", W_OK | X_OK, AT_EACCESS) != 0)
        return unusable(c, "its folder: ", strerror(errno), err);
    c->lock_fd = open(c->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (c->lock_fd < 0)
        return unusable(c, "its lock: ", strerror(errno), err);
    if (flock(c->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return unusable(c, "its lock: ", strerror(errno), err);
    return cbt_err_set(err, CBT_EINVAL,
                       "checkpoint = %s is in use by another cbtap or another source: give each its own, or "
                       "stop the other first",
                       c->path);
}

static int read_head(struct cbt_archive_checkpoint *c, struct cbt_err *err)
{
    uint8_t have[CBT_ARCHIVE_HEAD_BYTES], want[CBT_ARCHIVE_HEAD_BYTES];
    encode_head(want);
    ssize_t n = read(c->fd, have, sizeof have);
    if (n < 0)
        return unusable(c, "", strerror(errno), err);
    if (n == 0) {
        c->rewrite = true;
        return 0;
    }
    if (n != (ssize_t)sizeof have || memcmp(have, want, 8) != 0)
        return unusable(c, "this file is no checkpoint of cbtap's", "", err);
    if (cbt_spool_get32(have + 12) != cbt_spool_crc(0, have, 12))
        return unusable(c,
                        "the head of this checkpoint is damaged: without it all files would be delivered "
                        "again; move it away if that may be",
                        "", err);
    if (memcmp(have, want, sizeof have) != 0)
        return cbt_err_set(err, CBT_EINVAL,
                           "checkpoint = %s has format %u, this version knows %u: run the version of cbtap "
                           "that wrote it, or move it away and have all files delivered again",
                           c->path, cbt_spool_get32(have + 8), VERSION);
    return 0;
}

/* A chunk's whole records; returns how many bytes of it were none. SIZE_MAX: no memory. */
static size_t load_chunk(struct cbt_archive_checkpoint *c, const uint8_t *data, size_t len)
{
    size_t damaged = len % CBT_ARCHIVE_RECORD_BYTES;
    for (size_t at = 0; at + CBT_ARCHIVE_RECORD_BYTES <= len; at += CBT_ARCHIVE_RECORD_BYTES) {
        struct cbt_archive_key key;
        uint64_t offset;
        uint32_t index;
        if (!cbt_archive_record_decode(data + at, &key, &offset, &index))
            damaged += CBT_ARCHIVE_RECORD_BYTES;
        else if (!cbt_archive_checkpoint_load(c, key, offset, index))
            return SIZE_MAX;
    }
    return damaged;
}

static int read_records(struct cbt_archive_checkpoint *c, struct cbt_err *err)
{
    uint8_t *chunk = malloc(CHUNK_BYTES);
    size_t damaged = 0;
    ssize_t n = 1;
    int rc = chunk ? 0 : cbt_err_set(err, CBT_ENOMEM, "out of memory");
    c->file_bytes = CBT_ARCHIVE_HEAD_BYTES;
    while (rc == 0 && n > 0) {
        n = pread(c->fd, chunk, CHUNK_BYTES, (off_t)c->file_bytes);
        size_t bad = n > 0 ? load_chunk(c, chunk, (size_t)n) : 0;
        if (n < 0)
            rc = unusable(c, "", strerror(errno), err);
        else if (bad == SIZE_MAX)
            rc = cbt_err_set(err, CBT_ENOMEM, "no memory for the files of %s", c->path);
        else
            damaged += bad;
        c->file_bytes += n > 0 ? (uint64_t)n : 0;
    }
    free(chunk);
    if (rc == 0 && damaged > 0) {
        c->rewrite = true;
        cbt_log_warning("the checkpoint was torn or damaged: what these bytes told is delivered again",
                        CBT_S("source", c->source), CBT_S("checkpoint", c->path), CBT_I("bytes", damaged));
    }
    return rc;
}

int cbt_archive_checkpoint_file_open(struct cbt_archive_checkpoint *c, struct cbt_err *err)
{
    struct stat st;
    int rc = open_folder(c, err);
    if (rc != 0)
        return rc;
    c->fd = open(c->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (c->fd < 0 && errno == ENOENT) {
        c->rewrite = true;
        /* That it can be written is better known now than after the first file. */
        if (cbt_archive_checkpoint_rewrite(c, err) != 0)
            cbt_log_warning("the checkpoint cannot be written yet", CBT_S("source", c->source),
                            CBT_S("reason", err->text));
        return 0;
    }
    if (c->fd < 0)
        return unusable(c, "", strerror(errno), err);
    if (fstat(c->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return unusable(c, "it is no regular file", "", err);
    if ((rc = read_head(c, err)) == 0 && !c->rewrite)
        rc = read_records(c, err);
    return rc;
}

void cbt_archive_checkpoint_file_close(struct cbt_archive_checkpoint *c)
{
    int *fds[] = {&c->fd, &c->dir_fd, &c->lock_fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}

static int failed(const struct cbt_archive_checkpoint *c, const char *what, struct cbt_err *err)
{
    return cbt_err_set(err, CBT_EIO, "%s: %s: %s", c->path, what, strerror(errno));
}

static bool write_all(int fd, const uint8_t *data, size_t len, uint64_t at)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
        at += (uint64_t)n;
    }
    return true;
}

int cbt_archive_checkpoint_append(struct cbt_archive_checkpoint *c, struct cbt_err *err)
{
    if (!write_all(c->fd, c->out, c->out_bytes, c->file_bytes) || fdatasync(c->fd) != 0)
        return failed(c, "cannot be written", err);
    c->file_bytes += c->out_bytes;
    return 0;
}

struct writer {
    int fd;
    uint64_t at;
    uint8_t *chunk;
    size_t len;
    bool ok;
};

static void put(struct writer *w, struct cbt_archive_key key, uint64_t offset, uint32_t index)
{
    cbt_archive_record_encode(w->chunk + w->len, key, offset, index);
    w->len += CBT_ARCHIVE_RECORD_BYTES;
    if (w->len < CHUNK_BYTES || !w->ok)
        return;
    w->ok = write_all(w->fd, w->chunk, w->len, w->at);
    w->at += w->len;
    w->len = 0;
}

/* Head, what is done, what is half-way. */
static bool write_content(const struct cbt_archive_checkpoint *c, struct writer *w)
{
    uint8_t head[CBT_ARCHIVE_HEAD_BYTES];
    encode_head(head);
    w->ok = write_all(w->fd, head, sizeof head, 0);
    w->at = sizeof head;
    for (size_t i = 0; i < c->set.capacity && w->ok; i++)
        if ((c->set.slots[i].lo & CBT_ARCHIVE_SET_DONE) != 0)
            put(w, c->set.slots[i], CBT_ARCHIVE_ALL, 0);
    for (size_t i = 0; i < c->progress_count && w->ok; i++)
        put(w, c->progress[i].key, c->progress[i].offset, c->progress[i].index);
    w->ok = w->ok && write_all(w->fd, w->chunk, w->len, w->at);
    w->at += w->len;
    return w->ok;
}

int cbt_archive_checkpoint_rewrite(struct cbt_archive_checkpoint *c, struct cbt_err *err)
{
    struct writer w = {.chunk = malloc(CHUNK_BYTES)};
    if (!w.chunk)
        return cbt_err_set(err, CBT_EIO, "out of memory");
    w.fd = open(c->aside, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = 0;
    if (w.fd < 0 || !write_content(c, &w) || fsync(w.fd) != 0 || rename(c->aside, c->path) != 0)
        rc = failed(c, "cannot be written anew", err);
    else if (fsync(c->dir_fd) != 0)
        rc = failed(c, "its folder cannot be synced", err);
    free(w.chunk);
    if (rc != 0) {
        if (w.fd >= 0)
            close(w.fd);
        (void)unlink(c->aside);
        return rc;
    }
    if (c->fd >= 0)
        close(c->fd);
    c->fd = w.fd;
    c->file_bytes = w.at;
    return 0;
}
