/* SPDX-License-Identifier: MIT */
/*
 * Closed files of a file sink, compressed by a thread of their own at the lowest priority, so that writing
 * never waits for it.
 *
 * Happy path: chunks of 1 MiB become gzip members one behind the other (RFC 1952, section 2.2: a file of
 * several members is their contents in a row) in NAME.gz.part, which is synced and renamed; then the plain
 * file goes. Failure: it is said once, the plain file stays, and is tried again when the next one is closed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cbtap/log.h"
#include "sink/file.h"

#define CHUNK_BYTES (1024 * 1024)
#define LEVEL       6

struct file_compressor {
    char dir[FILE_PATH_MAX];
    const char *base; /* of PATH, behind its last slash */
    const char *sink;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool wanted;
    bool told;
    _Atomic bool quit;
};

static bool write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

/* At most CHUNK_BYTES; fewer only at the end. -1: errno. */
static ssize_t read_chunk(int fd, uint8_t *data)
{
    size_t len = 0;
    while (len < CHUNK_BYTES) {
        ssize_t n = read(fd, data + len, CHUNK_BYTES - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

static int copy(int from, int to, const _Atomic bool *quit, struct cbt_err *err)
{
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(LEVEL);
    size_t bound = compressor != NULL ? libdeflate_gzip_compress_bound(compressor, CHUNK_BYTES) : 0;
    uint8_t *in = malloc(CHUNK_BYTES), *out = malloc(bound != 0 ? bound : 1);
    int rc = CBT_OK;
    if (compressor == NULL || in == NULL || out == NULL)
        rc = cbt_err_set(err, CBT_ENOMEM, "out of memory");
    while (rc == 0) {
        ssize_t n = read_chunk(from, in);
        if (n == 0)
            break;
        size_t len = n > 0 ? libdeflate_gzip_compress(compressor, in, (size_t)n, out, bound) : 0;
        if (n < 0 || !write_all(to, out, len))
            rc = cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
        else if (quit != NULL && atomic_load(quit))
            rc = cbt_err_set(err, CBT_ELIMIT, "the process ends");
    }
    free(in);
    free(out);
    libdeflate_free_compressor(compressor);
    return rc;
}

int file_compress(const char *path, const _Atomic bool *quit, struct cbt_err *err)
{
    char part[FILE_PATH_MAX + 16], done[FILE_PATH_MAX + 16];
    struct stat st;
    snprintf(part, sizeof(part), "%s.gz.part", path);
    snprintf(done, sizeof(done), "%s.gz", path);
    int from = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0 || fstat(from, &st) != 0) {
        int failed = errno;
        if (from >= 0)
            close(from);
        return cbt_err_set(err, CBT_EIO, "%s: %s", path, strerror(failed));
    }
    unlink(part); /* an earlier process's */
    int to = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = to < 0 || fchmod(to, st.st_mode & 07777) != 0 ? cbt_err_set(err, CBT_EIO, "%s", strerror(errno))
                                                           : copy(from, to, quit, err);
    if (rc == 0 && fsync(to) != 0)
        rc = cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
    if (to >= 0 && close(to) != 0 && rc == 0)
        rc = cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
    close(from);
    if (rc == 0 && rename(part, done) != 0)
        rc = cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
    if (rc == 0)
        rc = file_sync_dir(done, err);
    if (rc != 0) {
        unlink(part);
        return cbt_err_prefix(err, "%s", part);
    }
    return unlink(path) == 0 ? CBT_OK
                             : cbt_err_set(err, CBT_EIO, "cannot remove %s: %s", path, strerror(errno));
}

static void compress_all(struct file_compressor *c)
{
    char path[FILE_PATH_MAX + 257];
    struct cbt_err err = {0};
    DIR *dir = opendir(c->dir);
    int rc = CBT_OK;
    if (dir == NULL)
        rc = cbt_err_set(&err, CBT_EIO, "%s: %s", c->dir, strerror(errno));
    for (struct dirent *entry; dir != NULL && rc == 0 && (entry = readdir(dir)) != NULL;) {
        if (!file_is_closed_name(c->base, entry->d_name))
            continue;
        snprintf(path, sizeof(path), "%s/%s", c->dir, entry->d_name);
        rc = file_compress(path, &c->quit, &err);
    }
    if (dir != NULL)
        closedir(dir);
    if (rc != 0 && !c->told && !atomic_load(&c->quit))
        cbt_log_error(
            "a closed file cannot be compressed: it stays as it is, and is tried again when the next "
            "one is closed",
            CBT_S("sink", c->sink), CBT_S("reason", err.text));
    c->told = rc != 0;
}

static void *compressor_main(void *arg)
{
    struct file_compressor *c = arg;
    pthread_setname_np(pthread_self(), "file-gzip");
    /* Of this thread alone, on Linux; where a sandbox forbids it, it has the process's. */
    setpriority(PRIO_PROCESS, 0, 19);
    pthread_mutex_lock(&c->lock);
    while (!atomic_load(&c->quit)) {
        if (!c->wanted) {
            pthread_cond_wait(&c->changed, &c->lock);
            continue;
        }
        c->wanted = false;
        pthread_mutex_unlock(&c->lock);
        compress_all(c);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

int file_compressor_start(struct file_compressor **ret_compressor, const char *path, const char *sink,
                          struct cbt_err *err)
{
    struct file_compressor *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the thread that compresses");
    const char *slash = strrchr(path, '/');
    c->base = slash != NULL ? slash + 1 : path;
    snprintf(c->dir, sizeof(c->dir), "%.*s", slash != NULL ? (int)(slash - path) + (slash == path) : 1,
             slash != NULL ? path : ".");
    c->sink = sink;
    c->wanted = true;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    int failed = pthread_create(&c->thread, NULL, compressor_main, c);
    if (failed != 0) {
        free(c);
        return cbt_err_set(err, CBT_EIO, "cannot start a thread: %s", strerror(failed));
    }
    *ret_compressor = c;
    return CBT_OK;
}

void file_compressor_wake(struct file_compressor *c)
{
    pthread_mutex_lock(&c->lock);
    c->wanted = true;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

void file_compressor_stop(struct file_compressor *c)
{
    if (c == NULL)
        return;
    atomic_store(&c->quit, true);
    file_compressor_wake(c);
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
