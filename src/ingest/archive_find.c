/* SPDX-License-Identifier: MIT */
/*
 * What there is to read: scans of the tree, and what inotify tells in between, into the queue. A scan begins
 * when the queue is empty, so that the oldest of it are always read first.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "ingest/archive.h"

#define NS_PER_MS    INT64_C(1000000)
#define STEP_ENTRIES 2048
#define SCAN_SHARE   10 /* scans that are not for want of work take a tenth of the time at most */
#define HINT_GAP_MS  200

void cbt_archive_rescan_by(struct cbt_archive *self, int64_t at_ns)
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
    cbt_archive_queue_offer(&self->queue, &(struct cbt_archive_entry){.mtime_ns = cbt_archive_mtime_of(stx),
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
    take_file(self, path, stx, cbt_archive_is_quiet(self, stx));
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
    cbt_archive_rescan_by(self, at_ns > now_ns ? at_ns : now_ns);
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
    if (self->queue.entries_max < self->scan.entries / CBT_ARCHIVE_QUEUE_SHARE)
        self->queue.entries_max = self->scan.entries / CBT_ARCHIVE_QUEUE_SHARE;
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
    cbt_log_debug("the archive was looked through", CBT_S("source", self->config->name),
                  CBT_I("entries", self->scan.entries), CBT_I("files_waiting", self->queue.count),
                  CBT_I("milliseconds", self->scan_took_ns / NS_PER_MS));
    tell_findings(self);
    int64_t gap_ns = SCAN_SHARE * self->scan_took_ns;
    int64_t rescan_ns = (int64_t)archive->rescan_ms * NS_PER_MS;
    if (self->queue.left_out)
        cbt_archive_rescan_by(self, now_ns);
    if (archive->follow || self->failed)
        cbt_archive_rescan_by(self, now_ns + (rescan_ns > gap_ns ? rescan_ns : gap_ns));
}

static void tell_finished(struct cbt_archive *self, int64_t now_ns)
{
    bool idle = self->queue.count == 0 && !self->reading && !self->oldest;
    if (idle && self->pending_count > 0)
        cbt_archive_tick_checkpoint(self, INT64_MAX);
    /* A file that was let go, or could not be removed or moved, comes again after rescan_ms, with or without
     * follow. */
    if (idle && self->failed && self->rescan_at_ns == INT64_MAX)
        cbt_archive_rescan_by(self, now_ns + (int64_t)self->config->archive.rescan_ms * NS_PER_MS);
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
