/* SPDX-License-Identifier: MIT */
/*
 * Removes what was exported, once it is sure to be kept elsewhere, unless it is no longer what was read. What
 * a job has exported and not removed yet is in a file without a name, for there may be millions.
 */
#include "cli/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/log.h"

#define SETTLE_FILES 256u

struct cbt_export_identity cbt_export_identity_of(const struct stat *stat)
{
    return (struct cbt_export_identity){.device = stat->st_dev,
                                        .inode = stat->st_ino,
                                        .bytes = S_ISREG(stat->st_mode) ? stat->st_size : -1,
                                        .mtime = stat->st_mtim};
}

int cbt_export_remove(const char *path, const struct cbt_export_identity *as_read, bool comes_again)
{
    struct stat now;
    /* A pipe, or standard input. */
    if (as_read->bytes < 0)
        return 1;
    if (lstat(path, &now) == 0 &&
        (now.st_dev != as_read->device || now.st_ino != as_read->inode || now.st_size != as_read->bytes ||
         now.st_mtim.tv_sec != as_read->mtime.tv_sec || now.st_mtim.tv_nsec != as_read->mtime.tv_nsec)) {
        if (comes_again)
            return 0;
        cbt_log_error("exported, and not removed: it is not what was read", CBT_S("file", path));
        return CBT_EIO;
    }
    if (unlink(path) == 0 || errno == ENOENT)
        return 1;
    cbt_log_error("exported, and cannot be removed", CBT_S("file", path), CBT_S("reason", strerror(errno)));
    return CBT_EIO;
}

void cbt_export_note_done(struct cbt_export_job *job, const struct cbt_export_file *file)
{
    const struct cbt_export_identity identity = cbt_export_identity_of(&job->in.stat);
    size_t path_bytes = strlen(file->path) + 1;
    if (identity.bytes < 0)
        return;
    if (job->done == NULL)
        job->done = tmpfile();
    if (job->done == NULL || fwrite(&identity, sizeof identity, 1, job->done) != 1 ||
        fwrite(&path_bytes, sizeof path_bytes, 1, job->done) != 1 ||
        fwrite(file->path, path_bytes, 1, job->done) != 1) {
        cbt_log_error("exported, and not removed: it cannot be noted", CBT_S("file", file->path),
                      CBT_S("reason", strerror(errno)));
        job->kept++;
        return;
    }
    job->done_count++;
    /* A file has its name only at the end. */
    if (job->done_count >= SETTLE_FILES && job->x->target.path == NULL)
        cbt_export_remove_done(job);
}

static bool read_noted(FILE *done, struct cbt_export_identity *ret_identity, char **path, size_t *capacity)
{
    size_t path_bytes;
    if (fread(ret_identity, sizeof *ret_identity, 1, done) != 1 ||
        fread(&path_bytes, sizeof path_bytes, 1, done) != 1)
        return false;
    if (path_bytes > *capacity) {
        char *grown = realloc(*path, path_bytes);
        if (grown == NULL)
            return false;
        *path = grown;
        *capacity = path_bytes;
    }
    return fread(*path, path_bytes, 1, done) == 1;
}

void cbt_export_remove_done(struct cbt_export_job *job)
{
    struct cbt_export_target *target = &job->x->target;
    struct cbt_export_identity identity;
    char *path = NULL;
    size_t capacity = 0;
    uint64_t left = job->done_count;
    if (left == 0)
        return;
    bool written = cbt_export_write(&job->out, true) && target->error == 0;
    if (written && target->temporary == NULL && target->path == NULL && target->regular &&
        fsync(target->fd) != 0) {
        target->error = errno;
        written = false;
    }
    if (written && fflush(job->done) == 0) {
        rewind(job->done);
        while (left > 0 && read_noted(job->done, &identity, &path, &capacity)) {
            left--;
            int rc = cbt_export_remove(path, &identity, job->x->follow != NULL);
            job->removed += rc == 1;
            job->kept += rc < 0;
            if (rc == 1 && job->x->follow)
                cbt_export_follow_forget(job->x->follow, &identity);
        }
        rewind(job->done);
        if (ftruncate(fileno(job->done), 0) != 0)
            job->kept += left;
    }
    job->kept += left;
    job->done_count = 0;
    free(path);
}
