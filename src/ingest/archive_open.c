/* SPDX-License-Identifier: MIT */
/*
 * From the queue to the file that is read: the oldest, if it is still the file that was found.
 *
 * A file that is being written is left alone: it is whole when its writer has closed it (inotify), or when
 * nothing of it has changed for quiet_ms (its change time, which no tool can set).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "ingest/archive.h"
#include "ingest/folder_id.h"

#define NS_PER_MS INT64_C(1000000)

int64_t cbt_archive_mtime_of(const struct statx *stx)
{
    int64_t seconds = stx->stx_mtime.tv_sec, limit = INT64_MAX / 1000000000 - 1;
    seconds = seconds > limit ? limit : seconds < -limit ? -limit : seconds;
    return seconds * 1000000000 + stx->stx_mtime.tv_nsec;
}

bool cbt_archive_is_quiet(const struct cbt_archive *self, const struct statx *stx)
{
    int64_t changed_ms = (int64_t)stx->stx_ctime.tv_sec * 1000 + stx->stx_ctime.tv_nsec / 1000000;
    /* One that lies ahead is of a clock that was put back, unless it is near. */
    int64_t age_ms = cbt_wall_ms() - changed_ms;
    return (age_ms < 0 ? -age_ms : age_ms) >= (int64_t)self->config->archive.quiet_ms;
}

/* "7" of "a/7/x.log": the last folder, which is the root's own for what lies in it. */
static void read_sensor_id(struct cbt_archive *self, const char *path)
{
    const char *end = strrchr(path, '/');
    const char *folder = end ? path : self->config->archive.path;
    self->env = (struct cbt_environment){0};
    self->env.has_sensor_id =
        cbt_folder_sensor_id(folder, end ? (size_t)(end - path) : strlen(folder), &self->env.sensor_id);
}

static struct cbt_archive_file *make_file(struct cbt_archive *self, const char *path,
                                          struct cbt_archive_key key, uint64_t size)
{
    size_t len = strlen(path) + 1;
    struct cbt_archive_file *file = calloc(1, sizeof *file + len);
    if (!file)
        return NULL;
    memcpy(file->path, path, len);
    file->key = key;
    file->size = size;
    file->prefix_seq = file->next_seq = self->next_seq;
    file->older = self->newest;
    if (self->newest)
        self->newest->newer = file;
    else
        self->oldest = file;
    self->newest = file;
    return file;
}

static void cannot_open(struct cbt_archive *self, const char *path)
{
    if (errno == ENOENT) /* it has gone */
        return;
    self->failed = true;
    cbt_count(self->stats, CBT_COUNT_archive_unreadable_files, 1);
    if (!self->unreadable_told)
        cbt_log_error("a file of the archive cannot be read; it is tried again later, as are further ones",
                      CBT_S("source", self->config->name), CBT_S("file", path),
                      CBT_S("reason", strerror(errno)));
    self->unreadable_told = true;
}

/* Begins to read a file that is open, where it is half-way. False: it cannot be read now. */
static bool begin(struct cbt_archive *self, const struct cbt_archive_entry *entry, int fd,
                  const struct statx *stx)
{
    struct cbt_archive_progress progress;
    struct cbt_archive_key key = cbt_archive_key_of(stx);
    if (!cbt_file_reader_open(&self->reader, fd, stx->stx_size)) {
        errno = ENOMEM;
        return false;
    }
    if (!cbt_archive_checkpoint_begin(self->checkpoint, key, &progress) ||
        !(self->reading = make_file(self, entry->path, key, stx->stx_size))) {
        cbt_archive_checkpoint_let_go(self->checkpoint, key);
        cbt_file_reader_close(&self->reader);
        errno = ENOMEM;
        return false;
    }
    self->cut.kind = progress.offset > 0 ? CBT_CUT_BUNDLE : CBT_CUT_UNKNOWN;
    self->index = progress.index;
    self->has_lane = self->is_broken = self->is_aside = false;
    self->lane = 0;
    read_sensor_id(self, entry->path);
    if (progress.offset > 0 && !cbt_file_reader_seek(&self->reader, progress.offset)) {
        errno = self->reader.error != 0 ? self->reader.error : EIO;
        cannot_open(self, entry->path);
        cbt_archive_stop_reading(self, true);
    }
    return true;
}

/* What is to be done with the queue's head, which is open as `fd`. */
enum verdict { TAKE, PASS_OVER, WAIT };

static enum verdict judge(struct cbt_archive *self, const struct cbt_archive_entry *entry, int fd,
                          struct statx *ret_stx, int64_t now_ns)
{
    if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, CBT_ARCHIVE_STATX, ret_stx) != 0) {
        cannot_open(self, entry->path);
        return PASS_OVER;
    }
    if (!S_ISREG(ret_stx->stx_mode) ||
        cbt_archive_checkpoint_look(self->checkpoint, cbt_archive_key_of(ret_stx)) != CBT_ARCHIVE_NEW)
        return PASS_OVER;
    if (ret_stx->stx_size != entry->size || cbt_archive_mtime_of(ret_stx) != entry->mtime_ns) {
        /* Written to since it was found. inotify tells when that is over, else a scan does. */
        if (self->watch.fd < 0)
            cbt_archive_rescan_by(self, now_ns + (int64_t)self->config->archive.quiet_ms * NS_PER_MS);
        return PASS_OVER;
    }
    /* It holds up what is younger, for quiet_ms at most: that may be of the same sensor. */
    return entry->is_whole || cbt_archive_is_quiet(self, ret_stx) ? TAKE : WAIT;
}

bool cbt_archive_open_next(struct cbt_archive *self, int64_t now_ns)
{
    const struct cbt_archive_entry *entry = cbt_archive_queue_head(&self->queue);
    struct statx stx;
    if (!entry)
        return false;
    int fd = cbt_archive_open_below(self->root_fd, entry->path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    enum verdict verdict = judge(self, entry, fd, &stx, now_ns);
    if (verdict == TAKE && !begin(self, entry, fd, &stx)) {
        cannot_open(self, entry->path);
        verdict = PASS_OVER;
    } else if (verdict != TAKE && fd >= 0) {
        close(fd);
    }
    if (verdict == WAIT)
        return false;
    if (verdict == PASS_OVER) {
        self->left_files -= self->left_files > 0;
        self->left_bytes -= self->left_bytes > entry->size ? entry->size : self->left_bytes;
    }
    cbt_archive_queue_pop(&self->queue);
    return true;
}
