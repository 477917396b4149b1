/* SPDX-License-Identifier: MIT */
/*
 * Large blocks out: each job gathers whole events, and writes them at once while it holds the target. A file
 * is written under another name, and has its own when all of it is on the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/export.h"
#include "cli/out_buf.h"

#define BLOCK_BYTES (256u * 1024)

/* For the signal handler: what is to be removed. */
static const char *volatile unfinished;

static void remove_unfinished(int signal_number)
{
    if (unfinished != NULL)
        unlink(unfinished);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static const int ending[] = {SIGINT, SIGTERM, SIGHUP};

static int make_temporary(struct cbt_export_target *target, const char *path, struct cbt_err *err)
{
    size_t bytes = strlen(path) + sizeof ".part-XXXXXX";
    target->temporary = malloc(bytes);
    if (target->temporary == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a file's name");
    memcpy(target->temporary, path, strlen(path));
    memcpy(target->temporary + strlen(path), ".part-XXXXXX", sizeof ".part-XXXXXX");
    target->fd = mkostemp(target->temporary, O_CLOEXEC);
    if (target->fd < 0)
        return cbt_err_set(err, CBT_EIO, "cannot create %s: %s", target->temporary, strerror(errno));
    mode_t mask = umask(0);
    umask(mask);
    fchmod(target->fd, 0666 & ~mask);
    unfinished = target->temporary;
    for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++) {
        struct sigaction action = {.sa_handler = remove_unfinished}, before;
        /* nohup stays in effect. */
        if (sigaction(ending[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            sigaction(ending[i], &action, NULL);
    }
    return CBT_OK;
}

/* A signal that ends it comes before there is a file, or when it is known how to remove it. */
static int open_temporary(struct cbt_export_target *target, const char *path, struct cbt_err *err)
{
    sigset_t set, before;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++)
        sigaddset(&set, ending[i]);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    int rc = make_temporary(target, path, err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* What is there and no file (a device, a named pipe) is written to, not replaced; of a symbolic link, what it
 * leads to is. */
static int open_path(struct cbt_export_target *target, const char *path, struct cbt_err *err)
{
    struct stat there;
    if (stat(path, &there) != 0)
        return open_temporary(target, path, err);
    if (S_ISREG(there.st_mode)) {
        target->resolved = realpath(path, NULL);
        if (target->resolved == NULL)
            return cbt_err_set(err, CBT_EIO, "cannot resolve %s: %s", path, strerror(errno));
        target->path = target->resolved;
        return open_temporary(target, target->path, err);
    }
    target->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return target->fd >= 0 ? CBT_OK
                           : cbt_err_set(err, CBT_EIO, "cannot write to %s: %s", path, strerror(errno));
}

int cbt_export_target_open(struct cbt_export_target *target, const char *path, struct cbt_err *err)
{
    struct stat stat;
    *target = (struct cbt_export_target){.path = path, .fd = STDOUT_FILENO};
    pthread_mutex_init(&target->lock, NULL);
    if (path != NULL) {
        int rc = open_path(target, path, err);
        if (rc != CBT_OK)
            return rc;
    }
    target->regular = fstat(target->fd, &stat) == 0 && S_ISREG(stat.st_mode);
    return CBT_OK;
}

/* The name lasts when its folder is on the disk. */
static int sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    int fd = folder != NULL ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(folder);
    if (fd < 0)
        return -1;
    int rc = fsync(fd);
    close(fd);
    return rc;
}

void cbt_export_target_close(struct cbt_export_target *target, bool whole)
{
    if (target->temporary == NULL) {
        /* A file system over the network may say only now that there is no room. */
        if (target->fd >= 0 && whole && target->error == 0 && close(target->fd) != 0 && errno != EBADF &&
            errno != EINTR)
            target->error = errno;
        target->fd = whole ? -1 : target->fd;
        return;
    }
    if (whole && target->error == 0 && target->fd >= 0 &&
        (fsync(target->fd) != 0 || rename(target->temporary, target->path) != 0))
        target->error = errno;
    if (target->fd >= 0) {
        if (!whole || target->error != 0)
            unlink(target->temporary);
        else if (sync_folder(target->path) != 0)
            target->error = errno;
        close(target->fd);
    }
    unfinished = NULL;
    target->fd = -1;
    free(target->temporary);
    target->temporary = NULL;
}

int cbt_export_output_init(struct cbt_export_output *out, struct cbt_export_target *target,
                           struct cbt_err *err)
{
    size_t capacity = BLOCK_BYTES + BLOCK_BYTES / 4; /* a block, and the record that makes it full */
    *out = (struct cbt_export_output){.target = target};
    return cbt_out_buf_init(&out->buf, &out->memory, capacity, err);
}

/* Whoever reads may have made it non-blocking. */
static bool try_again(int fd)
{
    if (errno == EINTR)
        return true;
    if (errno != EAGAIN)
        return false;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    return poll(&wait, 1, -1) >= 0 || errno == EINTR;
}

bool cbt_export_write(struct cbt_export_output *out, bool all)
{
    struct cbt_export_target *target = out->target;
    const uint8_t *from = out->memory;
    size_t left = (size_t)(out->buf.pos - from);
    if (left < BLOCK_BYTES && !all)
        return true;
    pthread_mutex_lock(&target->lock);
    while (left > 0 && target->error == 0) {
        ssize_t n = write(target->fd, from, left);
        if (n >= 0) {
            from += n;
            left -= (size_t)n;
        } else if (!try_again(target->fd)) {
            target->error = errno;
        }
    }
    pthread_mutex_unlock(&target->lock);
    out->buf.begin = out->buf.pos = out->memory;
    return target->error == 0;
}
