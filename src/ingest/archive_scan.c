/* SPDX-License-Identifier: MIT */
/* A scan of the archive's tree: see archive_scan.h. */
#include "ingest/archive_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int cbt_archive_open_below(int root_fd, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)flags | O_CLOEXEC | O_NOFOLLOW,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof how);
    /* An old kernel, or a filter of system calls that does not know it yet. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = openat(root_fd, path, flags | O_CLOEXEC | O_NOFOLLOW);
    return (int)fd;
}

static void note_unreadable(struct cbt_archive_scan *scan)
{
    if (errno == ENOENT) /* it has gone since its folder was read */
        return;
    if (scan->unreadable++ > 0)
        return;
    scan->unreadable_errno = errno;
    memcpy(scan->unreadable_path, scan->path, strlen(scan->path) + 1);
}

static bool enter(struct cbt_archive_scan *scan, int fd)
{
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        errno = error;
        return false;
    }
    scan->folder(scan->arg, scan->path);
    scan->stack[scan->depth].dir = dir;
    scan->stack[scan->depth].path_len = strlen(scan->path);
    scan->depth++;
    return true;
}

bool cbt_archive_scan_begin(struct cbt_archive_scan *scan, int root_fd)
{
    scan->depth = 0;
    scan->path[0] = '\0';
    scan->entries = scan->symlinks = scan->unreadable = 0;
    return enter(scan, root_fd);
}

static void leave(struct cbt_archive_scan *scan)
{
    closedir(scan->stack[--scan->depth].dir);
}

void cbt_archive_scan_stop(struct cbt_archive_scan *scan)
{
    while (scan->depth > 0)
        leave(scan);
}

static void take_folder(struct cbt_archive_scan *scan, int dir_fd, const char *name)
{
    if (scan->depth == CBT_ARCHIVE_DEPTH_MAX) {
        errno = ELOOP;
        note_unreadable(scan);
    } else if (!enter(scan, openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC))) {
        note_unreadable(scan);
    }
}

static void take(struct cbt_archive_scan *scan, const struct dirent *entry)
{
    struct statx stx;
    size_t len = scan->stack[scan->depth - 1].path_len;
    int dir_fd = dirfd(scan->stack[scan->depth - 1].dir);
    int n = snprintf(scan->path + len, sizeof scan->path - len, "%s%s", len > 0 ? "/" : "", entry->d_name);
    if (n < 0 || (size_t)n >= sizeof scan->path - len) {
        scan->path[len] = '\0';
        errno = ENAMETOOLONG;
        note_unreadable(scan);
    } else if (entry->d_type == DT_LNK) {
        scan->symlinks++;
    } else if (entry->d_type == DT_DIR) {
        take_folder(scan, dir_fd, entry->d_name);
    } else if (entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN) {
        return;
    } else if (statx(dir_fd, entry->d_name, AT_SYMLINK_NOFOLLOW, CBT_ARCHIVE_STATX, &stx) != 0) {
        note_unreadable(scan);
    } else if (S_ISREG(stx.stx_mode)) {
        scan->file(scan->arg, scan->path, &stx);
    } else if (S_ISDIR(stx.stx_mode)) {
        take_folder(scan, dir_fd, entry->d_name);
    } else if (S_ISLNK(stx.stx_mode)) {
        scan->symlinks++;
    }
}

bool cbt_archive_scan_step(struct cbt_archive_scan *scan, unsigned entries_max)
{
    for (unsigned i = 0; i < entries_max && scan->depth > 0; i++) {
        unsigned depth = scan->depth - 1;
        errno = 0;
        const struct dirent *entry = readdir(scan->stack[depth].dir);
        if (!entry) {
            scan->path[scan->stack[depth].path_len] = '\0';
            if (errno != 0)
                note_unreadable(scan);
            leave(scan);
        } else if (entry->d_name[0] != '.') {
            scan->entries++;
            take(scan, entry);
        }
    }
    return scan->depth > 0;
}
