/* SPDX-License-Identifier: MIT */
/* Writes each message into a file of its own, DIR/SENSOR ID/NAME, as a server archives its sensor event logs.
 * Nothing is overwritten: a name that is taken is passed over. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target.h"

struct archive_target {
    const char *folder;
    uint64_t files;
};

static int make_folder(const char *path, struct cbt_err *err)
{
    if (mkdir(path, 0777) && errno != EEXIST)
        return cbt_err_set(err, CBT_EIO, "cannot make the folder %s: %s", path, strerror(errno));
    return 0;
}

static int open_target(void **ret_self, const struct cbt_target_options *options, struct cbt_err *err)
{
    const int rc = make_folder(options->url, err);
    if (rc)
        return rc;
    struct archive_target *t = cbt_bytes_checked(calloc(1, sizeof(*t)));
    t->folder = options->url;
    *ret_self = t;
    return 0;
}

static int write_all(int fd, struct cbt_text body)
{
    while (body.len) {
        const ssize_t n = write(fd, body.data, body.len);
        if (n < 0 && errno != EINTR)
            return -1;
        body.data += n > 0 ? n : 0;
        body.len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int publish(void *self, const struct cbt_message *message, struct cbt_err *err)
{
    struct archive_target *t = self;
    char path[PATH_MAX];
    const char *end = strcmp(message->content_type, "application/zip") == 0 ? "zip" : "log";
    snprintf(path, sizeof(path), "%s/%" PRId32, t->folder, message->sensor_id);
    int fd, rc = make_folder(path, err);
    if (rc)
        return rc;
    do {
        if (snprintf(path, sizeof(path), "%s/%" PRId32 "/EventLog_%010" PRIu64 ".%s", t->folder,
                     message->sensor_id, t->files++, end) >= (int)sizeof(path))
            return cbt_err_set(err, CBT_EINVAL, "the path %s is too long", t->folder);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EEXIST);
    if (fd < 0 || write_all(fd, message->body))
        rc = cbt_err_set(err, CBT_EIO, "cannot write %s: %s", path, strerror(errno));
    if (fd >= 0 && close(fd) && !rc)
        rc = cbt_err_set(err, CBT_EIO, "cannot write %s: %s", path, strerror(errno));
    return rc;
}

static int flush(void *self, struct cbt_err *err)
{
    (void)self;
    (void)err;
    return 0;
}

static void close_target(void *self)
{
    free(self);
}

const struct cbt_target cbt_target_archive = {open_target, publish, flush, flush, close_target};
