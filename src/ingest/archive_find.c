/* SPDX-License-Identifier: MIT */
/*
 * What there is to read: scans of the tree, and what inotify tells in between, into the queue; from the queue
 * the next file. A scan begins when the queue is empty, so that the oldest of it are always read first.
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

#define NS_PER_MS    INT64_C(1000000)
#define STEP_ENTRIES 2048
#define SCAN_SHARE   10 /* scans that are not for want of work take a tenth of the time at most */
#define HINT_GAP_MS  200

static int64_t mtime_of(const struct statx *stx)
{
    int64_t seconds = stx->stx_mtime.tv_sec, limit = INT64_MAX / 1000000000 - 1;
    seconds = seconds > limit ? limit : seconds < -limit ? -limit : seconds;
    return seconds * 1000000000 + stx->stx_mtime.tv_nsec;
}

static bool is_quiet(const struct cbt_archive *self, const struct statx *stx)
{
    int64_t changed_ms = (int64_t)stx->stx_ctime.tv_sec * 1000 + stx->stx_ctime.tv_nsec / 1000000;
    /* One that lies ahead is of a clock that was put back, unless it is near. */
    int64_t age_ms = cbt_wall_ms() - changed_ms;
    return (age_ms < 0 ? -age_ms : age_ms) >= (int64_t)self->config->archive.quiet_ms;
}

static void rescan_by(struct cbt_archive *self, int64_t at_ns)
{
    if (at_ns < self->rescan_at_ns)
        self->rescan_at_ns = at_ns;
}

static void take_file(struct cbt_archive *self, const char *path, const struct statx *stx, bool is_whole)
{
    struct cbt_archive_key key = cbt_archive_key_of(stx);
    /* There is nothing to deliver, and its writer may be about to write. */
    if (stx->stx_size == 0)
        return;
    switch (cbt_archive_checkpoint_look(self->checkpoint, key)) {
    case CBT_ARCHIVE_IN_FLIGHT:
        return;
    case CBT_ARCHIVE_DONE:
        cbt_archive_add_pending(self, path, key);
        return;
    default:
        break;
    }
    cbt_archive_queue_offer(&self->queue, &(struct cbt_archive_entry){.mtime_ns = mtime_of(stx),
                                                                      .size = stx->stx_size,
                                                                      .path = (char *)(uintptr_t)path,
                                                                      .is_whole = is_whole});
    self->left_files++;
    self->left_bytes += stx->stx_size;
}

static void scan_folder(void *arg, const char *path)
{
    struct cbt_archive *self = arg;
    if (self->watch.fd >= 0)
        cbt_archive_watch_add(&self->watch, self->config->archive.path, path);
}

static void scan_file(void *arg, const char *path, const struct statx *stx)
{
    struct cbt_archive *self = arg;
    take_file(self, path, stx, is_quiet(self, stx));
}

static void hear_whole(void *arg, const char *path)
{
    struct cbt_archive *self = arg;
    struct statx stx;
    if (statx(self->root_fd, path, AT_SYMLINK_NOFOLLOW, CBT_ARCHIVE_STATX, &stx) == 0 &&
        S_ISREG(stx.stx_mode))
        take_file(self, path, &stx, true);
}

static void hear_rescan(void *arg, bool overflow)
{
    struct cbt_archive *self = arg;
    int64_t now_ns = cbt_now_ns();
    if (overflow)
        cbt_log_warning(
            "inotify had more news than its queue holds (fs.inotify.max_queued_events): the archive "
            "is looked through",
            CBT_S("source", self->config->name));
    int64_t gap_ns = SCAN_SHARE * self->scan_took_ns;
    int64_t at_ns =
        self->scan_began_ns + (gap_ns > HINT_GAP_MS * NS_PER_MS ? gap_ns : HINT_GAP_MS * NS_PER_MS);
    rescan_by(self, at_ns > now_ns ? at_ns : now_ns);
}

static int open_root(struct cbt_archive *self, struct cbt_err *err)
{
    const char *path = self->config->archive.path;
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        cbt_err_set(err, errno == ENOENT || errno == EACCES || errno == ENOTDIR ? CBT_EREFUSED : CBT_EIO,
                    "path = %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return err->rc;
    }
    /* Mounted or made anew: watches are of the old one. */
    if (self->root_fd >= 0 && (st.st_dev != self->root_dev || st.st_ino != self->root_ino)) {
        cbt_archive_watch_close(&self->watch);
        if (self->config->archive.follow)
            (void)cbt_archive_watch_open(&self->watch);
    }
    if (self->root_fd >= 0)
        close(self->root_fd);
    self->root_fd = fd;
    self->root_dev = st.st_dev;
    self->root_ino = st.st_ino;
    return 0;
}

int cbt_archive_connect(void *arg, struct cbt_err *err)
{
    struct cbt_archive *self = arg;
    int rc = open_root(self, err);
    if (rc != 0)
        return rc;
    self->scan.folder = scan_folder;
    self->scan.file = scan_file;
    self->watch.whole = hear_whole;
    self->watch.rescan = hear_rescan;
    self->scan.arg = self->watch.arg = self;
    if (self->config->archive.follow && self->watch.fd < 0 && !cbt_archive_watch_open(&self->watch)) {
        self->watch.failed = true;
        self->watch.failed_errno = errno;
    }
    self->rescan_at_ns = 0;
    return 0;
}

void cbt_archive_find_stop(struct cbt_archive *self)
{
    cbt_archive_scan_stop(&self->scan);
    cbt_archive_watch_close(&self->watch);
    cbt_archive_queue_free(&self->queue);
    self->queue.filling = false;
    if (self->root_fd >= 0)
        close(self->root_fd);
    self->root_fd = -1;
}

/* Each once, not at every scan. */
static void tell_findings(struct cbt_archive *self)
{
    const struct cbt_archive_scan *scan = &self->scan;
    const char *name = self->config->name;
    if (scan->symlinks > 0 && !self->symlinks_told)
        cbt_log_warning("symbolic links in the archive are not followed", CBT_S("source", name),
                        CBT_I("links", scan->symlinks));
    if (scan->unreadable > 0 && !self->unreadable_told)
        cbt_log_error(
            "a part of the archive cannot be read: cbtap's user needs to read its files and to read "
            "and enter its folders",
            CBT_S("source", name), CBT_S("first", scan->unreadable_path),
            CBT_S("reason", strerror(scan->unreadable_errno)), CBT_I("in_all", scan->unreadable));
    if (self->watch.failed && !self->watch_told)
        cbt_log_warning(
            "not all of the archive can be watched (fs.inotify.max_user_watches): new files are found "
            "every rescan_ms",
            CBT_S("source", name), CBT_S("reason", strerror(self->watch.failed_errno)));
    self->symlinks_told = self->symlinks_told || scan->symlinks > 0;
    self->unreadable_told = scan->unreadable > 0;
    self->watch_told = self->watch_told || self->watch.failed;
}

static int begin_scan(struct cbt_archive *self, int64_t now_ns, struct cbt_err *err)
{
    int rc = open_root(self, err);
    if (rc != 0)
        return CBT_EIO;
    int fd = openat(self->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    self->scan_began_ns = now_ns;
    self->rescan_at_ns = INT64_MAX;
    self->failed = false;
    /* What is in flight is left, too; the rest is counted anew. */
    self->left_files = self->left_bytes = 0;
    for (const struct cbt_archive_file *file = self->oldest; file; file = file->newer) {
        self->left_files++;
        self->left_bytes += file->size;
    }
    cbt_archive_queue_fill(&self->queue);
    cbt_archive_checkpoint_scan_begins(self->checkpoint);
    if (cbt_archive_scan_begin(&self->scan, fd))
        return 1;
    self->queue.filling = false;
    return cbt_err_set(err, CBT_EIO, "path = %s: %s", self->config->archive.path, strerror(errno));
}

static void end_scan(struct cbt_archive *self, int64_t now_ns)
{
    const struct cbt_options_archive *archive = &self->config->archive;
    cbt_archive_queue_seal(&self->queue);
    cbt_archive_checkpoint_scan_ends(self->checkpoint, self->scan.unreadable == 0);
    self->scan_took_ns = now_ns - self->scan_began_ns;
    tell_findings(self);
    int64_t gap_ns = SCAN_SHARE * self->scan_took_ns;
    int64_t rescan_ns = (int64_t)archive->rescan_ms * NS_PER_MS;
    if (self->queue.left_out)
        rescan_by(self, now_ns);
    if (archive->follow || self->failed)
        rescan_by(self, now_ns + (rescan_ns > gap_ns ? rescan_ns : gap_ns));
}

static void tell_finished(struct cbt_archive *self, int64_t now_ns)
{
    bool idle = self->queue.count == 0 && !self->reading && !self->oldest;
    /* A file that was let go comes again after rescan_ms, with or without follow. */
    if (idle && self->failed && self->rescan_at_ns == INT64_MAX)
        rescan_by(self, now_ns + (int64_t)self->config->archive.rescan_ms * NS_PER_MS);
    if (!idle || self->rescan_at_ns != INT64_MAX || self->finished)
        return;
    self->finished = true;
    cbt_archive_tick_checkpoint(self, INT64_MAX);
    cbt_log_info(
        "all of the archive is delivered; without follow there is nothing more to do for this source",
        CBT_S("source", self->config->name),
        CBT_I("files", atomic_load(&self->stats->counters[CBT_COUNT_archive_files])),
        CBT_I("bytes", atomic_load(&self->stats->counters[CBT_COUNT_archive_bytes])),
        CBT_I("unreadable", self->scan.unreadable));
}

int cbt_archive_find(struct cbt_archive *self, int64_t now_ns, struct cbt_err *err)
{
    if (self->watch.fd >= 0)
        cbt_archive_watch_drain(&self->watch);
    if (cbt_archive_scan_goes_on(&self->scan)) {
        if (cbt_archive_scan_step(&self->scan, STEP_ENTRIES))
            return 1;
        end_scan(self, cbt_now_ns());
        return 1;
    }
    if (self->queue.count == 0 && !self->reading) {
        if (now_ns >= self->rescan_at_ns && !self->finished)
            return begin_scan(self, now_ns, err);
        if (self->queue.left_out) {
            self->queue.left_out = false;
            self->rescan_at_ns = now_ns;
            return 1;
        }
        if (!self->config->archive.follow)
            tell_finished(self, now_ns);
    }
    return 0;
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
    if (!cbt_archive_reader_open(&self->reader, fd, stx->stx_size)) {
        errno = ENOMEM;
        return false;
    }
    if (!cbt_archive_checkpoint_begin(self->checkpoint, key, &progress) ||
        !(self->reading = make_file(self, entry->path, key, stx->stx_size))) {
        cbt_archive_checkpoint_let_go(self->checkpoint, key);
        cbt_archive_reader_close(&self->reader);
        errno = ENOMEM;
        return false;
    }
    self->kind = progress.offset > 0 ? CBT_ARCHIVE_BUNDLE : CBT_ARCHIVE_UNKNOWN;
    self->index = progress.index;
    self->has_lane = self->is_aside = false;
    self->lane = 0;
    read_sensor_id(self, entry->path);
    if (progress.offset > 0 && !cbt_archive_reader_seek(&self->reader, progress.offset)) {
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
    if (ret_stx->stx_size != entry->size || mtime_of(ret_stx) != entry->mtime_ns) {
        /* Written to since it was found. inotify tells when that is over, else a scan does. */
        if (self->watch.fd < 0)
            rescan_by(self, now_ns + (int64_t)self->config->archive.quiet_ms * NS_PER_MS);
        return PASS_OVER;
    }
    /* It holds up what is younger, for quiet_ms at most: that may be of the same sensor. */
    return entry->is_whole || is_quiet(self, ret_stx) ? TAKE : WAIT;
}

bool cbt_archive_open_next(struct cbt_archive *self, int64_t now_ns)
{
    const struct cbt_archive_entry *entry;
    while (!self->reading && (entry = cbt_archive_queue_head(&self->queue)) != NULL) {
        struct statx stx;
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
    }
    return self->reading != NULL;
}
