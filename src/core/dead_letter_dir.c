/* SPDX-License-Identifier: MIT */
/*
 * dead_letter_dir: one dead letter is two files, NAME.bin with the raw bytes and NAME.json with what is known
 * of them.
 *
 * Happy path: the bytes are written to NAME.part; commit flushes them, writes and flushes NAME.json, renames
 * NAME.part to NAME.bin and flushes the directory. So where there is a .bin, it is whole and has its .json.
 * Failure: whatever fails removes all files of the name. A crash may leave a .part and a .json behind;
 * without a .bin they mean nothing.
 */
#include "cbtap/dead_letter_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cbtap/clock.h"

#define NAME_BYTES 64
/* Another process may have used the same name before a restart gave us its pid. */
#define NAME_TRIES 100

struct cbt_dead_letter_file {
    int dir_fd;
    int fd;
    char dir[512]; /* for messages */
    char name[NAME_BYTES];
    uint64_t bytes;
    char *json;
    size_t json_len;
};

/* ---- the info, as JSON ---- */

/* Length of the well-formed UTF-8 sequence at `p`, 0 where there is none (RFC 3629, section 4). */
static size_t utf8_len(const uint8_t *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || left < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) || (p[0] == 0xF0 && p[1] < 0x90) ||
        (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return len;
}

static void put_string(FILE *out, struct cbt_text text)
{
    fputc('"', out);
    for (size_t i = 0; i < text.len;) {
        const uint8_t *p = text.data + i;
        size_t len = utf8_len(p, text.len - i);
        if (len == 0)
            fputs("\\ufffd", out);
        else if (*p < 0x20 || *p == '"' || *p == '\\' || *p == 0x7F)
            fprintf(out, "\\u%04x", *p);
        else
            fwrite(p, 1, len, out);
        i += len == 0 ? 1 : len;
    }
    fputc('"', out);
}

static void put_member(FILE *out, const char *key, struct cbt_text value)
{
    fprintf(out, ", \"%s\": ", key);
    put_string(out, value);
}

static struct cbt_text text_of(const char *string)
{
    return (struct cbt_text){(const uint8_t *)string, string == NULL ? 0 : strlen(string)};
}

static int make_json(struct cbt_dead_letter_file *file, const struct cbt_dead_letter_info *info,
                     struct cbt_err *err)
{
    FILE *out = open_memstream(&file->json, &file->json_len);
    if (out == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a dead letter");
    fprintf(out, "{\"unix_ms\": %" PRId64, cbt_wall_ms());
    put_member(out, "reason", text_of(info->reason));
    put_member(out, "detail", text_of(info->detail));
    put_member(out, "source", text_of(info->source));
    put_member(out, "routing_key", info->routing_key);
    put_member(out, "content_type", info->content_type);
    put_member(out, "framing", text_of(info->framing));
    if (info->file.len != 0)
        put_member(out, "file", info->file);
    put_member(out, "host_name", info->env.host_name);
    if (info->env.has_host_id)
        fprintf(out, ", \"host_id\": %" PRId64, info->env.host_id);
    if (info->env.has_node_id)
        fprintf(out, ", \"node_id\": %" PRId32, info->env.node_id);
    fprintf(out,
            ", \"sensor_id\": %" PRId32 ", \"entry\": %" PRIu32 ", \"index\": %" PRIu32
            ", \"offset\": %" PRIu64,
            info->sensor_id, info->entry, info->index, info->offset);
    if (info->replays != 0)
        fprintf(out, ", \"replays\": %" PRIu32, info->replays);
    bool failed = ferror(out) != 0;
    failed = fclose(out) != 0 || failed;
    return failed ? cbt_err_set(err, CBT_ENOMEM, "no memory for a dead letter") : CBT_OK;
}

/* ---- files ---- */

static int fail(struct cbt_dead_letter_file *file, const char *what, struct cbt_err *err)
{
    return cbt_err_set(err, CBT_EIO, "dead_letter_dir %s: %s: %s", file->dir, what, strerror(errno));
}

/* Makes `path` and what is missing above it. */
static int make_dirs(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = mkdir(path, 0700);
        *slash = '/';
        if (rc != 0 && errno != EEXIST)
            return -1;
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -1;
}

static int open_dir(struct cbt_dead_letter_file *file, struct cbt_err *err)
{
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    file->dir_fd = open(file->dir, flags);
    if (file->dir_fd < 0 && errno == ENOENT) {
        char path[sizeof(file->dir)];
        memcpy(path, file->dir, sizeof(path));
        if (make_dirs(path) != 0)
            return fail(file, "cannot be made", err);
        file->dir_fd = open(file->dir, flags);
    }
    return file->dir_fd < 0 ? fail(file, "cannot be opened", err) : CBT_OK;
}

static const char *name_of(char out[NAME_BYTES + 8], const struct cbt_dead_letter_file *file,
                           const char *suffix)
{
    snprintf(out, NAME_BYTES + 8, "%s%s", file->name, suffix);
    return out;
}

/* Names sort by time. */
static int open_part(struct cbt_dead_letter_file *file, struct cbt_err *err)
{
    static _Atomic unsigned number;
    for (int i = 0; i < NAME_TRIES; i++) {
        int64_t now_ms = cbt_wall_ms();
        time_t seconds = (time_t)(now_ms / 1000);
        struct tm tm;
        char stamp[32], name[NAME_BYTES + 8];
        gmtime_r(&seconds, &tm);
        strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &tm);
        snprintf(file->name, sizeof(file->name), "%s.%03dZ-%d-%u", stamp, (int)(now_ms % 1000), (int)getpid(),
                 atomic_fetch_add(&number, 1));
        if (faccessat(file->dir_fd, name_of(name, file, ".bin"), F_OK, 0) == 0)
            continue;
        file->fd =
            openat(file->dir_fd, name_of(name, file, ".part"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (file->fd >= 0)
            return CBT_OK;
        if (errno != EEXIST)
            break;
    }
    return fail(file, "cannot make a file", err);
}

static int write_all(int fd, const void *data, size_t len)
{
    const uint8_t *pos = data;
    while (len > 0) {
        ssize_t n = write(fd, pos, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        pos += n;
        len -= (size_t)n;
    }
    return 0;
}

int cbt_dead_letter_begin(struct cbt_dead_letter_file **ret_file, const char *dir,
                          const struct cbt_dead_letter_info *info, struct cbt_err *err)
{
    struct cbt_dead_letter_file *file = calloc(1, sizeof(*file));
    if (file == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a dead letter");
    file->fd = file->dir_fd = -1;
    int rc;
    if (dir[0] == '\0' || (size_t)snprintf(file->dir, sizeof(file->dir), "%s", dir) >= sizeof(file->dir)) {
        rc = cbt_err_set(err, CBT_EINVAL, "dead_letter_dir is empty or longer than %zu bytes",
                         sizeof(file->dir) - 1);
        goto fail;
    }
    if ((rc = make_json(file, info, err)) != 0 || (rc = open_dir(file, err)) != 0 ||
        (rc = open_part(file, err)) != 0)
        goto fail;
    *ret_file = file;
    return CBT_OK;
fail:
    cbt_dead_letter_abort(file);
    return rc;
}

int cbt_dead_letter_append(struct cbt_dead_letter_file *file, const void *data, size_t len,
                           struct cbt_err *err)
{
    if (write_all(file->fd, data, len) != 0)
        return fail(file, "cannot write", err);
    file->bytes += len;
    return CBT_OK;
}

static int write_json(struct cbt_dead_letter_file *file, struct cbt_err *err)
{
    char name[NAME_BYTES + 8], end[48];
    int fd =
        openat(file->dir_fd, name_of(name, file, ".json"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(file, "cannot make a file", err);
    int end_len = snprintf(end, sizeof(end), ", \"bytes\": %" PRIu64 "}\n", file->bytes);
    int rc = CBT_OK;
    if (write_all(fd, file->json, file->json_len) != 0 || write_all(fd, end, (size_t)end_len) != 0 ||
        fsync(fd) != 0)
        rc = fail(file, "cannot write", err);
    if (close(fd) != 0 && rc == 0)
        rc = fail(file, "cannot write", err);
    return rc;
}

int cbt_dead_letter_commit(struct cbt_dead_letter_file *file, struct cbt_err *err)
{
    char part[NAME_BYTES + 8], bin[NAME_BYTES + 8];
    int rc = CBT_OK;
    if (fsync(file->fd) != 0)
        rc = fail(file, "cannot write", err);
    if (rc == 0)
        rc = write_json(file, err);
    if (rc == 0 &&
        renameat(file->dir_fd, name_of(part, file, ".part"), file->dir_fd, name_of(bin, file, ".bin")) != 0)
        rc = fail(file, "cannot rename", err);
    if (rc == 0 && fsync(file->dir_fd) != 0)
        rc = fail(file, "cannot write", err);
    if (rc == 0)
        file->name[0] = '\0'; /* kept: nothing to remove */
    cbt_dead_letter_abort(file);
    return rc;
}

void cbt_dead_letter_abort(struct cbt_dead_letter_file *file)
{
    if (file == NULL)
        return;
    if (file->fd >= 0) {
        close(file->fd);
        for (int i = 0; file->name[0] != '\0' && i < 3; i++) {
            static const char *const suffixes[] = {".part", ".bin", ".json"};
            char name[NAME_BYTES + 8];
            unlinkat(file->dir_fd, name_of(name, file, suffixes[i]), 0);
        }
    }
    if (file->dir_fd >= 0)
        close(file->dir_fd);
    free(file->json);
    free(file);
}
