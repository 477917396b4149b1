/* SPDX-License-Identifier: MIT */
/*
 * The file sink: a line for each event.
 *
 * Happy path: batches are appended by writev; what is written counts as delivered at once (fsync = none), or
 * when it is synced. At rotate_bytes or rotate_ms the file gets its name as a closed one and another begins;
 * SIGHUP opens PATH anew where somebody has moved it. Failure: a full disk, or an error of any kind, cuts the
 * file back to what is settled, so that no reader sees half a line or an event twice, and it is opened again
 * every 500 ms. Owns: the file, locked; the thread that compresses.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/file.h"

#define RENAME_RETRY_MS 60000
/* Where nothing has come for this share of fsync_interval_ms, whoever sends may well wait for us. */
#define QUIET_SHARE 10

struct file {
    struct writer_channel channel;
    const struct cbt_options_file *options;
    mode_t mode;
    bool sync, sync_always;
    struct file_compressor *compressor;

    int fd;
    bool regular;
    dev_t device;
    ino_t inode;
    uint64_t size, kept_size;     /* of the file at hand: written, settled */
    uint64_t position, confirmed; /* since the channel was opened */
    int64_t begun_ns, written_ns, synced_ns, rename_ns;
};

static int open_file(struct file *f, struct cbt_err *err)
{
    struct stat st;
    int64_t age_ms;
    int rc = file_open(f->options->path, f->mode, &f->fd, &st, &age_ms, err);
    if (rc != 0)
        return rc;
    f->regular = S_ISREG(st.st_mode);
    f->device = st.st_dev;
    f->inode = st.st_ino;
    f->size = f->kept_size = f->regular ? (uint64_t)st.st_size : 0;
    f->synced_ns = cbt_now_ns();
    f->begun_ns = f->synced_ns - age_ms * WRITER_NS_PER_MS;
    return f->sync && f->regular ? file_sync_dir(f->options->path, err) : CBT_OK;
}

static void drop(struct writer_channel *channel)
{
    struct file *f = (struct file *)channel;
    if (f->fd < 0)
        return;
    if (f->regular && f->size != f->kept_size && ftruncate(f->fd, (off_t)f->kept_size) != 0)
        cbt_log_warning("what is not settled cannot be cut off the file: it will be there twice",
                        CBT_S("path", f->options->path), CBT_S("reason", strerror(errno)));
    close(f->fd);
    f->fd = -1;
}

static int open_channel(struct writer_channel *channel, struct cbt_err *err)
{
    struct file *f = (struct file *)channel;
    f->position = f->confirmed = 0;
    return open_file(f, err);
}

static ssize_t write_batch(struct writer_channel *channel, struct writer_batch *batch, struct cbt_err *err)
{
    struct file *f = (struct file *)channel;
    ssize_t n;
    do
        n = writev(f->fd, batch->iov, (int)(batch->frames * batch->parts));
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
        return -1;
    }
    f->size += (uint64_t)n;
    f->position += (uint64_t)n;
    f->written_ns = cbt_now_ns();
    return n;
}

static uint64_t position(const struct writer_channel *channel)
{
    return ((const struct file *)channel)->position;
}

static int sync_file(struct file *f, int64_t now_ns, struct cbt_err *err)
{
    if (f->sync && f->regular && fdatasync(f->fd) != 0)
        return cbt_err_set(err, CBT_EIO, "cannot sync: %s", strerror(errno));
    f->synced_ns = now_ns;
    f->confirmed = f->position;
    f->kept_size = f->size - f->channel.writer->offset;
    return CBT_OK;
}

static int confirm(struct writer_channel *channel, uint64_t *ret_position, int *ret_again_ms,
                   struct cbt_err *err)
{
    struct file *f = (struct file *)channel;
    int64_t now = cbt_now_ns(), interval = (int64_t)f->options->fsync_interval_ms * WRITER_NS_PER_MS;
    int64_t due = f->synced_ns + interval, quiet = f->written_ns + interval / QUIET_SHARE;
    int rc = CBT_OK;
    if (quiet < due)
        due = quiet;
    if (!f->sync || !f->regular || f->sync_always || now >= due)
        rc = sync_file(f, now, err);
    *ret_position = f->confirmed;
    *ret_again_ms = due > now ? (int)((due - now) / WRITER_NS_PER_MS) + 1 : 0;
    return rc;
}

static bool path_is_ours(const struct file *f)
{
    struct stat st;
    return stat(f->options->path, &st) == 0 && st.st_dev == f->device && st.st_ino == f->inode;
}

/* Ends the file at hand, of which all is written and nothing is half. */
static int begin_another(struct file *f, int64_t now_ns, struct cbt_err *err)
{
    int rc = sync_file(f, now_ns, err);
    if (rc != 0)
        return rc;
    close(f->fd);
    f->fd = -1;
    return open_file(f, err);
}

static bool is_due(const struct file *f, int64_t now_ns)
{
    const struct cbt_options_file *o = f->options;
    if (f->size == 0 || now_ns < f->rename_ns)
        return false;
    return (o->rotate_bytes != 0 && f->size >= o->rotate_bytes) ||
           (o->rotate_ms != 0 && now_ns - f->begun_ns >= (int64_t)o->rotate_ms * WRITER_NS_PER_MS);
}

static int tend(struct writer_channel *channel, int64_t now_ns, bool reopen, struct cbt_err *err)
{
    struct file *f = (struct file *)channel;
    struct cbt_err why = {0};
    bool due = f->regular && is_due(f, now_ns);
    if ((!due && !reopen) || !f->regular)
        return CBT_OK;
    bool ours = path_is_ours(f);
    if (!due && ours)
        return CBT_OK;
    if (ours) {
        /* Before it has its name, for then it is whole. */
        int rc = sync_file(f, now_ns, err);
        if (rc != 0)
            return rc;
        if (file_give_name(f->options->path, &why) != 0) {
            cbt_log_error("the file cannot be closed: it grows on, and it is tried again in a minute",
                          CBT_S("path", f->options->path), CBT_S("reason", why.text));
            f->rename_ns = now_ns + RENAME_RETRY_MS * WRITER_NS_PER_MS;
            return CBT_OK;
        }
    }
    int rc = begin_another(f, now_ns, err);
    if (f->compressor != NULL)
        file_compressor_wake(f->compressor);
    if (!due)
        cbt_log_info("the file was moved: another is begun", CBT_S("path", f->options->path));
    return rc;
}

static void free_channel(struct writer_channel *channel)
{
    struct file *f = (struct file *)channel;
    drop(channel);
    file_compressor_stop(f->compressor);
    free(f);
}

static const struct writer_channel_ops file_ops = {
    .open = open_channel,
    .write = write_batch,
    .position = position,
    .confirm = confirm,
    .tend = tend,
    .drop = drop,
    .free = free_channel,
};

static int sink_open(void **ret_self, const struct cbt_sink_context *context, struct cbt_err *err)
{
    const struct cbt_options_file *options = &context->config->file;
    struct file *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the sink");
    f->channel = (struct writer_channel){.ops = &file_ops, .fd = -1};
    snprintf(f->channel.what, sizeof(f->channel.what), "file %.270s", options->path);
    f->options = options;
    f->fd = -1;
    f->mode = (mode_t)strtoul(options->mode, NULL, 8);
    f->sync = strcmp(options->fsync, "none") != 0;
    f->sync_always = strcmp(options->fsync, "always") == 0;
    if (options->gzip) {
        int rc = file_compressor_start(&f->compressor, options->path, context->config->name, err);
        if (rc != 0) {
            free(f);
            return rc;
        }
    }
    const struct writer_settings settings = {.framing = WRITER_LINES,
                                             .queue_records = options->queue_records,
                                             .retry_min_ms = WRITER_RETRY_MAX_MS};
    return writer_open(ret_self, context, &settings, &f->channel, err);
}

static int check(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                 struct cbt_err *err)
{
    const struct cbt_options_file *file = &config->file;
    const char *mode = file->mode;
    size_t digits = strspn(mode, "01234567");
    (void)options;
    if (file->path[0] == '\0')
        return cbt_err_set(err, CBT_EINVAL, "[sink.%s] path is not set: which file is to be written?",
                           config->name);
    if (strlen(file->path) + FILE_STAMP_BYTES + 16 > FILE_PATH_MAX ||
        file->path[strlen(file->path) - 1] == '/')
        return cbt_err_set(err, CBT_EINVAL, "[sink.%s] path is not the name of a file", config->name);
    if (digits == 0 || digits > 4 || mode[digits] != '\0' || (strtoul(mode, NULL, 8) & ~0666ul) != 0)
        return cbt_err_set(err, CBT_EINVAL,
                           "[sink.%s] mode = %.32s: is not read and write permissions in octal, e.g. 0640",
                           config->name, mode);
    return writer_check(config, WRITER_LINES, err);
}

static int probe(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                 char *ret_report, size_t report_bytes, struct cbt_err *err)
{
    const char *path = config->file.path;
    char dir[FILE_PATH_MAX];
    struct stat st;
    (void)options;
    snprintf(dir, sizeof(dir), "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash != NULL)
        slash[slash == dir] = '\0';
    const char *parent = slash != NULL ? dir : ".";
    if (access(parent, W_OK | X_OK) != 0 && errno != EROFS &&
        (config->file.rotate_bytes | config->file.rotate_ms) != 0)
        return cbt_err_set(err, CBT_EIO, "%s: no file can be created in it: %s", parent, strerror(errno));
    if (stat(path, &st) == 0) {
        if (access(path, R_OK | W_OK) != 0)
            return cbt_err_set(err, CBT_EIO, "%s: %s", path, strerror(errno));
        snprintf(ret_report, report_bytes, "%s has %lld bytes and can be written", path,
                 (long long)st.st_size);
        return CBT_OK;
    }
    if (errno != ENOENT || access(parent, W_OK | X_OK) != 0)
        return cbt_err_set(err, CBT_EIO, "%s: %s", path, strerror(errno));
    snprintf(ret_report, report_bytes, "%s does not exist and can be created", path);
    return CBT_OK;
}

extern const struct cbt_sink cbt_sink_file;
const struct cbt_sink cbt_sink_file = {
    .type = "file",
    .open = sink_open,
    WRITER_CALLS,
    .reload = writer_reload,
    .probe = probe,
    .check = check,
};
