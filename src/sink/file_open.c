/* SPDX-License-Identifier: MIT */
/*
 * Opening the file of a file sink, and what it is called when it is closed.
 *
 * Happy path: PATH is appended to. Failure: a process that was killed may have left half a line at its end,
 * whose event is not settled and comes again: it is cut off. A file that another process writes is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/file.h"

#define SCAN_BYTES  65536
#define NAMES_TRIED 1000

static int cut_torn_line(const char *path, int fd, struct stat *st, struct cbt_err *err)
{
    char bytes[SCAN_BYTES];
    off_t end = st->st_size, whole = 0;
    while (end > 0 && whole == 0) {
        off_t begin = end > SCAN_BYTES ? end - SCAN_BYTES : 0;
        ssize_t n = pread(fd, bytes, (size_t)(end - begin), begin);
        if (n != end - begin)
            return cbt_err_set(err, CBT_EIO, "cannot read its end: %s",
                               n < 0 ? strerror(errno) : "it shrinks");
        const char *found = memrchr(bytes, '\n', (size_t)n);
        if (found != NULL)
            whole = begin + (found - bytes) + 1;
        end = begin;
    }
    if (whole == st->st_size)
        return CBT_OK;
    if (ftruncate(fd, whole) != 0)
        return cbt_err_set(err, CBT_EIO, "cannot cut off half a line at its end: %s", strerror(errno));
    cbt_log_warning("half a line at the end of the file was cut off: its event comes again",
                    CBT_S("path", path), CBT_I("bytes", st->st_size - whole));
    st->st_size = whole;
    return CBT_OK;
}

static int64_t age_ms(int fd)
{
    struct statx sx;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &sx) != 0 || (sx.stx_mask & STATX_BTIME) == 0)
        return 0;
    int64_t age = cbt_wall_ms() - (sx.stx_btime.tv_sec * 1000 + sx.stx_btime.tv_nsec / 1000000);
    return age > 0 ? age : 0;
}

static int prepare(const char *path, int fd, struct stat *ret_stat, struct cbt_err *err)
{
    if (fstat(fd, ret_stat) != 0)
        return cbt_err_set(err, CBT_EIO, "fstat: %s", strerror(errno));
    if (S_ISCHR(ret_stat->st_mode))
        return CBT_OK; /* /dev/null */
    if (!S_ISREG(ret_stat->st_mode))
        return cbt_err_set(err, CBT_EINVAL, "is not a regular file");
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return cbt_err_set(err, CBT_EIO, "%s",
                           errno == EWOULDBLOCK ? "another process, or another sink, writes it"
                                                : strerror(errno));
    return cut_torn_line(path, fd, ret_stat, err);
}

int file_open(const char *path, mode_t mode, int *ret_fd, struct stat *ret_stat, int64_t *ret_age_ms,
              struct cbt_err *err)
{
    const int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    bool created = false;
    int fd = open(path, flags);
    if (fd < 0 && errno == ENOENT) {
        fd = open(path, flags | O_CREAT | O_EXCL, 0600);
        created = fd >= 0;
    }
    if (fd < 0)
        return cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
    if (created && fchmod(fd, mode) != 0) {
        close(fd);
        return cbt_err_set(err, CBT_EIO, "cannot set its permissions: %s", strerror(errno));
    }
    int rc = prepare(path, fd, ret_stat, err);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    *ret_age_ms = S_ISREG(ret_stat->st_mode) ? age_ms(fd) : 0;
    *ret_fd = fd;
    return CBT_OK;
}

bool file_is_closed_name(const char *base, const char *name)
{
    static const char shape[FILE_STAMP_BYTES + 1] = "00000000T000000.000Z";
    size_t len = strlen(base);
    if (strncmp(name, base, len) != 0 || name[len] != '.' || strlen(name) != len + 1 + FILE_STAMP_BYTES)
        return false;
    for (size_t i = 0; i < FILE_STAMP_BYTES; i++) {
        char c = name[len + 1 + i];
        if (shape[i] == '0' ? c < '0' || c > '9' : c != shape[i])
            return false;
    }
    return true;
}

int file_give_name(const char *path, struct cbt_err *err)
{
    char name[FILE_PATH_MAX], compressed[FILE_PATH_MAX + 4], stamp[16];
    int64_t now = cbt_wall_ms();
    for (unsigned i = 0; i < NAMES_TRIED; i++, now++) {
        time_t second = (time_t)(now / 1000);
        struct tm tm;
        gmtime_r(&second, &tm);
        strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &tm);
        if (snprintf(name, sizeof(name), "%s.%s.%03dZ", path, stamp, (int)(now % 1000)) >= (int)sizeof(name))
            return cbt_err_set(err, CBT_EINVAL, "its name is too long");
        snprintf(compressed, sizeof(compressed), "%s.gz", name);
        if (access(compressed, F_OK) == 0)
            continue;
        if (renameat2(AT_FDCWD, path, AT_FDCWD, name, RENAME_NOREPLACE) == 0)
            return CBT_OK;
        /* A file system without that flag: nobody but this thread gives such names. */
        if (errno == EINVAL && access(name, F_OK) != 0 && rename(path, name) == 0)
            return CBT_OK;
        if (errno != EEXIST && errno != EINVAL)
            break;
    }
    return cbt_err_set(err, CBT_EIO, "cannot rename it: %s", strerror(errno));
}

int file_sync_dir(const char *path, struct cbt_err *err)
{
    char dir[FILE_PATH_MAX];
    snprintf(dir, sizeof(dir), "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash != NULL)
        slash[slash == dir] = '\0';
    int fd = open(slash != NULL ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return failed == 0 ? CBT_OK
                       : cbt_err_set(err, CBT_EIO, "cannot sync its directory: %s", strerror(failed));
}
