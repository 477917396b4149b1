/* SPDX-License-Identifier: MIT */
/*
 * The archive source: the sensor event logs that the EDR server saves as files, oldest first.
 *
 * Happy path: a scan finds the files (archive_find.c), each is read and cut into frames (archive_cut.c), and
 * when all of a file is settled the checkpoint says so (archive_settle.c), by which a crash repeats what was
 * settled since the last one and what was in flight, and loses nothing. "Connected" is: the folder is there.
 * Failure: a broken file is a dead letter, one that cannot be read or kept is let go and found again; neither
 * stops the others. No budget: nothing is read.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "ingest/archive.h"

/* Frames, ends of files, or files passed over, a turn: settlements are not kept waiting for longer. */
#define TURN_STEPS 64

static uint32_t archive_frames_max(const struct cbt_source_config *config)
{
    (void)config;
    return CBT_ARCHIVE_FRAMES_MAX;
}

static void archive_close(void *arg)
{
    struct cbt_archive *self = arg;
    if (!self)
        return;
    cbt_archive_find_stop(self);
    cbt_file_reader_free(&self->reader);
    for (struct cbt_archive_file *file = self->oldest, *newer; file; file = newer) {
        newer = file->newer;
        free(file);
    }
    for (size_t i = 0; i < self->pending_count; i++)
        free(self->pending[i].path);
    free(self->pending);
    cbt_archive_after_close(&self->after);
    cbt_archive_checkpoint_close(self->checkpoint);
    free(self->cuts);
    free(self);
}

static int archive_open(void **ret_self, const struct cbt_source_config *config,
                        struct cbt_receiver *receiver, struct cbt_err *err)
{
    struct cbt_archive *self = calloc(1, sizeof *self);
    if (!self)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    self->config = config;
    self->receiver = receiver;
    self->stats = cbt_receiver_stats(receiver);
    self->root_fd = self->reader.fd = self->watch.fd = -1;
    self->queue.entries_max = CBT_ARCHIVE_QUEUE_FILES;
    self->cuts = calloc(CBT_ARCHIVE_FRAMES_MAX, sizeof *self->cuts);
    atomic_store_explicit(&self->stats->gauge_queue_messages, -1, memory_order_relaxed);
    int rc = self->cuts ? cbt_archive_after_parse(config->archive.after, &self->after, err)
                        : cbt_err_set(err, CBT_ENOMEM, "out of memory");
    if (rc != 0) {
        archive_close(self);
        return rc;
    }
    *ret_self = self;
    return 0;
}

static bool is_in_tree(const char *path, const char *root)
{
    char tree[PATH_MAX], file[PATH_MAX];
    if (!realpath(root, tree) || !realpath(path, file))
        return false;
    size_t len = strlen(tree);
    return strncmp(file, tree, len) == 0 && file[len] == '/';
}

static int archive_start(void *arg, struct cbt_err *err)
{
    struct cbt_archive *self = arg;
    const struct cbt_options_archive *archive = &self->config->archive;
    int rc = cbt_archive_checkpoint_open(&self->checkpoint, archive->checkpoint, self->config->name, err);
    if (rc == 0 && is_in_tree(archive->checkpoint, archive->path))
        rc = cbt_err_set(
            err, CBT_EINVAL,
            "checkpoint = %s lies in the archive, and would be taken for a file of it: name a place "
            "outside of path",
            archive->checkpoint);
    return rc != 0 ? rc : cbt_archive_after_open(&self->after, archive->path, err);
}

static int archive_fd(void *arg)
{
    const struct cbt_archive *self = arg;
    return self->watch.fd;
}

static int archive_read(void *arg, unsigned frames_max, struct cbt_err *err)
{
    struct cbt_archive *self = arg;
    int64_t now_ns = cbt_now_ns();
    int more = cbt_archive_find(self, now_ns, err), count = 0, rc = 1;
    if (more < 0)
        return more;
    for (unsigned i = 0; i < TURN_STEPS && rc != CBT_ELIMIT; i++) {
        if (!self->reading && !cbt_archive_open_next(self, now_ns))
            break;
        rc = self->reading ? cbt_archive_cut_next(self) : 0;
        count += rc == 1;
    }
    if (count == 0 && rc == 0)
        more = 1; /* files without a frame; there may be others behind them */
    cbt_archive_tick_checkpoint(self, now_ns);
    cbt_archive_progress(self, now_ns);
    if (more == 1)
        return (int)frames_max;
    return count == 0 && rc == CBT_ELIMIT ? CBT_ELIMIT : count;
}

static int archive_tick(void *arg, int64_t now_ns, struct cbt_err *err)
{
    struct cbt_archive *self = arg;
    (void)err;
    cbt_archive_tick_checkpoint(self, now_ns);
    cbt_archive_progress(self, now_ns);
    return 0;
}

/* The checkpoint has an interval of its own. */
static int archive_settle_flush(void *arg, struct cbt_err *err)
{
    (void)arg;
    (void)err;
    return 0;
}

/* What is in flight settles all the same. */
static void archive_disconnect(void *arg)
{
    struct cbt_archive *self = arg;
    if (!self || !self->checkpoint)
        return;
    if (self->reading)
        cbt_archive_stop_reading(self, true);
    cbt_archive_tick_checkpoint(self, INT64_MAX);
    cbt_archive_find_stop(self);
}

static int archive_probe(const struct cbt_source_config *config, char *ret_report, size_t report_bytes,
                         struct cbt_err *err)
{
    struct cbt_archive_after after;
    DIR *dir = opendir(config->archive.path);
    uint64_t entries = 0;
    if (!dir)
        return cbt_err_set(err, CBT_EIO, "path = %s: %s", config->archive.path, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(dir));)
        entries += entry->d_name[0] != '.';
    closedir(dir);
    int rc = cbt_archive_after_parse(config->archive.after, &after, err);
    if (rc == 0)
        snprintf(ret_report, report_bytes, "%llu folders and files in %s", (unsigned long long)entries,
                 config->archive.path);
    return rc;
}

const struct cbt_source cbt_source_archive = {
    .type = "archive",
    .guarantee = "at-least-once",
    .redelivers = true,
    .meets_poison = true,
    .frames_max = archive_frames_max,
    .open = archive_open,
    .start = archive_start,
    .connect = cbt_archive_connect,
    .fd = archive_fd,
    .read = archive_read,
    .tick = archive_tick,
    .settle = cbt_archive_settle,
    .settle_flush = archive_settle_flush,
    .disconnect = archive_disconnect,
    .close = archive_close,
    .probe = archive_probe,
};
