/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a delivered file: see archive_after.h. Between the look at the file and its end nothing
 * else can be put in its place by a rename unseen but in the moment between two system calls, which Linux
 * offers no way to close; whoever may write there may remove the file as well.
 */
#include "ingest/archive_after.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ingest/archive_scan.h"

#define MOVE_TRIES 100 /* names: NAME, NAME.1, ... */

int cbt_archive_after_parse(const char *text, struct cbt_archive_after *ret_after, struct cbt_err *err)
{
    *ret_after = (struct cbt_archive_after){.dir_fd = -1};
    if (strcmp(text, "keep") == 0)
        return 0;
    ret_after->kind = CBT_ARCHIVE_REMOVE;
    if (strcmp(text, "remove") == 0)
        return 0;
    ret_after->kind = CBT_ARCHIVE_MOVE;
    ret_after->dir = text + strlen("move:");
    if (strncmp(text, "move:", 5) == 0 && ret_after->dir[0] == '/')
        return 0;
    return cbt_err_set(err, CBT_EINVAL, "is none of keep, remove, move:DIR with DIR an absolute path");
}

static bool is_below(const char *path, const char *root)
{
    size_t len = strlen(root);
    return strncmp(path, root, len) == 0 && (path[len] == '/' || path[len] == '\0' || strcmp(root, "/") == 0);
}

int cbt_archive_after_open(struct cbt_archive_after *after, const char *root, struct cbt_err *err)
{
    struct statx there, here;
    char dir[PATH_MAX], tree[PATH_MAX];
    if (after->kind != CBT_ARCHIVE_MOVE)
        return 0;
    if (mkdir(after->dir, 0700) != 0 && errno != EEXIST)
        return cbt_err_set(err, CBT_EINVAL, "after = move:%s: cannot be made: %s", after->dir,
                           strerror(errno));
    after->dir_fd = open(after->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (after->dir_fd < 0 || statx(after->dir_fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &there) != 0)
        return cbt_err_set(err, CBT_EINVAL, "after = move:%s: %s", after->dir, strerror(errno));
    /* The tree may not be there yet. */
    if (statx(AT_FDCWD, root, 0, STATX_MNT_ID, &here) != 0 || !realpath(root, tree) ||
        !realpath(after->dir, dir))
        return 0;
    if (is_below(dir, tree))
        return cbt_err_set(err, CBT_EINVAL,
                           "after = move:%s lies in the archive itself, whose files would be found there "
                           "again: name a folder outside of path",
                           after->dir);
    if (here.stx_dev_major != there.stx_dev_major || here.stx_dev_minor != there.stx_dev_minor)
        return cbt_err_set(err, CBT_EINVAL,
                           "after = move:%s is on another file system than path, so that a file would have "
                           "to be copied: name a folder on the same",
                           after->dir);
    /* Known from Linux 5.8 on. */
    if ((here.stx_mask & there.stx_mask & STATX_MNT_ID) != 0 && here.stx_mnt_id != there.stx_mnt_id)
        return cbt_err_set(err, CBT_EINVAL,
                           "after = move:%s is under another mount than path, and Linux renames within one "
                           "only: of a systemd unit each of ReadWritePaths= is one, so name there one folder "
                           "that holds both",
                           after->dir);
    return 0;
}

/* The folder of `path` below the root, and the file's name in it. */
static int open_folder(int root_fd, const char *path, const char **ret_name)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    *ret_name = slash ? slash + 1 : path;
    if (!slash)
        return cbt_archive_open_below(root_fd, ".", O_RDONLY | O_DIRECTORY);
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    return cbt_archive_open_below(root_fd, folder, O_RDONLY | O_DIRECTORY);
}

/* The same folders below DIR, and in them a name that is free. */
static int move(const struct cbt_archive_after *after, int folder_fd, const char *name, const char *path)
{
    char to[PATH_MAX];
    if ((size_t)snprintf(to, sizeof to - 8, "%s", path) >= sizeof to - 8) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (char *slash = strchr(to, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = mkdirat(after->dir_fd, to, 0700);
        *slash = '/';
        if (rc != 0 && errno != EEXIST)
            return -1;
    }
    size_t len = strlen(to);
    for (unsigned i = 0; i < MOVE_TRIES; i++) {
        if (i > 0)
            snprintf(to + len, sizeof to - len, ".%u", i);
        if (renameat2(folder_fd, name, after->dir_fd, to, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EEXIST)
            return -1;
    }
    return -1;
}

int cbt_archive_after_do(const struct cbt_archive_after *after, int root_fd, const char *path,
                         struct cbt_archive_key key, struct cbt_err *err)
{
    struct statx stx;
    const char *name;
    int done = 1, folder_fd = open_folder(root_fd, path, &name);
    bool there = folder_fd >= 0 && statx(folder_fd, name, AT_SYMLINK_NOFOLLOW, CBT_ARCHIVE_STATX, &stx) == 0;
    if (!there) {
        done = errno == ENOENT || errno == ENOTDIR ? 0 : CBT_EIO;
    } else {
        struct cbt_archive_key now = cbt_archive_key_of(&stx);
        if (now.hi != key.hi || now.lo != key.lo)
            done = 0;
        else if (after->kind == CBT_ARCHIVE_REMOVE && unlinkat(folder_fd, name, 0) != 0)
            done = CBT_EIO;
        else if (after->kind == CBT_ARCHIVE_MOVE && move(after, folder_fd, name, path) != 0)
            done = CBT_EIO;
    }
    if (done < 0)
        cbt_err_set(err, CBT_EIO, "%s: %s", path, strerror(errno));
    if (folder_fd >= 0)
        close(folder_fd);
    return done;
}

void cbt_archive_after_close(struct cbt_archive_after *after)
{
    if (after->dir_fd >= 0)
        close(after->dir_fd);
    after->dir_fd = -1;
}
