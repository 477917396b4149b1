/* SPDX-License-Identifier: MIT */
/*
 * The letters of dead_letter_dir: NAME.bin, the bytes, beside NAME.json, what is known of them (written by
 * core/dead_letter_dir.c). Nothing of them is believed: a .json that is none is as good as none.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cbtap/json_judge.h"
#include "cbtap/json_tokens.h"
#include "cli/dlq.h"

#define JSON_MAX_BYTES  65536u
#define ARENA_MAX_BYTES (4u << 20)

static int fail(const char *path, struct cbt_err *err)
{
    return cbt_err_set(err, CBT_EIO, "dead_letter_dir %s: %s", path, strerror(errno));
}

static int is_bin(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 4 && len - 4 < CBT_DLQ_NAME_BYTES && strcmp(entry->d_name + len - 4, ".bin") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

int cbt_dlq_dir_open(struct cbt_dlq_dir *dir, const char *path, struct cbt_err *err)
{
    struct dirent **entries = NULL;
    int rc = CBT_OK, count = 0;
    *dir = (struct cbt_dlq_dir){.fd = -1};
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? CBT_OK : fail(path, err);
    dir->fd = fd;
    if ((rc = cbt_arena_init(&dir->arena, ARENA_MAX_BYTES, err)) != 0)
        return rc;
    count = scandirat(fd, ".", &entries, is_bin, by_name);
    if (count < 0)
        return fail(path, err);
    dir->names = calloc((size_t)count + 1, sizeof(char *));
    for (int i = 0; i < count; i++) {
        size_t len = strlen(entries[i]->d_name) - 4;
        if (dir->names != NULL && (dir->names[dir->count] = strndup(entries[i]->d_name, len)) != NULL)
            dir->count++;
        free(entries[i]);
    }
    free(entries);
    return dir->count == (size_t)count ? CBT_OK
                                       : cbt_err_set(err, CBT_ENOMEM, "no memory for a list of files");
}

void cbt_dlq_dir_close(struct cbt_dlq_dir *dir)
{
    for (size_t i = 0; i < dir->count; i++)
        free(dir->names[i]);
    free(dir->names);
    free(dir->body);
    cbt_arena_free(&dir->arena);
    if (dir->fd >= 0)
        close(dir->fd);
    *dir = (struct cbt_dlq_dir){.fd = -1};
}

/* Regular files only: what lies there may have been put there by anybody. */
static int open_file(const struct cbt_dlq_dir *dir, const char *where, const char *suffix,
                     uint64_t *ret_bytes)
{
    char name[CBT_DLQ_NAME_BYTES + 8];
    struct stat st;
    snprintf(name, sizeof name, "%s%s", where, suffix);
    int fd = openat(dir->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        errno = EINVAL;
        return -1;
    }
    *ret_bytes = (uint64_t)st.st_size;
    return fd;
}

static bool read_all(int fd, uint8_t *to, size_t len)
{
    while (len > 0) {
        ssize_t n = read(fd, to, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        to += n;
        len -= (size_t)n;
    }
    return true;
}

/* ---- the .json ---- */

static unsigned hex4(const uint8_t *at)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = at[i];
        value = value << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static uint8_t *put_utf8(uint8_t *out, unsigned code)
{
    if (code < 0x80) {
        *out++ = (uint8_t)code;
    } else if (code < 0x800) {
        *out++ = (uint8_t)(0xC0 | code >> 6);
        *out++ = (uint8_t)(0x80 | (code & 0x3F));
    } else {
        *out++ = (uint8_t)(0xE0 | code >> 12);
        *out++ = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        *out++ = (uint8_t)(0x80 | (code & 0x3F));
    }
    return out;
}

/* The string without its escapes, in the arena. The writer escapes nothing beyond the basic plane, so
 * surrogates are left as they are. The judge has seen that four digits follow. */
static struct cbt_text unescape(struct cbt_arena *arena, struct cbt_text text)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    uint8_t *begin = cbt_arena_alloc(arena, text.len + 1), *out = begin;
    if (begin == NULL)
        return (struct cbt_text){0};
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != '\\' || i + 1 == text.len) {
            *out++ = text.data[i];
            continue;
        }
        uint8_t c = text.data[++i];
        const char *simple = c ? strchr(from, c) : NULL;
        if (c == 'u' && text.len - i > 4) {
            out = put_utf8(out, hex4(text.data + i + 1));
            i += 4;
        } else {
            *out++ = simple ? (uint8_t)to[simple - from] : c;
        }
    }
    *out = '\0';
    return (struct cbt_text){begin, (size_t)(out - begin)};
}

static void read_json(struct cbt_dlq_dir *dir, struct cbt_dlq_letter *letter)
{
    struct cbt_json_tokens tokens;
    uint64_t bytes = 0;
    cbt_arena_reset(&dir->arena);
    int fd = open_file(dir, letter->where, ".json", &bytes);
    if (fd < 0)
        return;
    uint8_t *memory = bytes <= JSON_MAX_BYTES ? cbt_arena_alloc(&dir->arena, (size_t)bytes) : NULL;
    bool whole = memory != NULL && read_all(fd, memory, (size_t)bytes);
    close(fd);
    struct cbt_text json = {memory, (size_t)bytes};
    if (!whole || cbt_json_judge(&json, &dir->arena) != CBT_JSON_OBJECT ||
        cbt_json_tokens(json, &dir->arena, &tokens, NULL) != 0)
        return;
    for (unsigned i = 1; i + 1 < tokens.count; i = cbt_json_token_end(&tokens, i + 1)) {
        struct cbt_text name = unescape(&dir->arena, cbt_json_token_text(&tokens, i));
        struct cbt_text value = cbt_json_token_text(&tokens, i + 1);
        if (tokens.token[i + 1].type == JSMN_STRING)
            value = unescape(&dir->arena, value);
        if (name.data != NULL)
            cbt_dlq_add_field(letter, (const char *)name.data, value);
    }
}

/* ---- letters ---- */

int cbt_dlq_dir_next(struct cbt_dlq_dir *dir, struct cbt_dlq_letter *ret_letter)
{
    while (dir->next < dir->count) {
        const char *name = dir->names[dir->next++];
        *ret_letter = (struct cbt_dlq_letter){.in_dir = true};
        snprintf(ret_letter->where, sizeof ret_letter->where, "%s", name);
        int fd = open_file(dir, name, ".bin", &ret_letter->bytes);
        if (fd < 0)
            continue; /* gone meanwhile, or no file */
        close(fd);
        read_json(dir, ret_letter);
        cbt_dlq_number(ret_letter, "unix_ms", &ret_letter->unix_ms);
        return 1;
    }
    return 2;
}

int cbt_dlq_dir_load(struct cbt_dlq_dir *dir, struct cbt_dlq_letter *letter, size_t max_bytes,
                     struct cbt_err *err)
{
    uint64_t bytes = 0;
    int fd = open_file(dir, letter->where, ".bin", &bytes);
    if (fd < 0)
        return cbt_err_set(err, CBT_EIO, "%s.bin: %s", letter->where, strerror(errno));
    int rc = CBT_OK;
    if (bytes > max_bytes)
        rc = cbt_err_set(err, CBT_ELIMIT, "it has %llu bytes and frame_max_bytes is %zu",
                         (unsigned long long)bytes, max_bytes);
    if (rc == 0 && bytes > dir->body_capacity) {
        free(dir->body);
        dir->body = malloc((size_t)bytes);
        dir->body_capacity = dir->body != NULL ? (size_t)bytes : 0;
        if (dir->body == NULL)
            rc = cbt_err_set(err, CBT_ENOMEM, "no memory for %llu bytes", (unsigned long long)bytes);
    }
    if (rc == 0 && !read_all(fd, dir->body, (size_t)bytes))
        rc = cbt_err_set(err, CBT_EIO, "%s.bin cannot be read to its end", letter->where);
    close(fd);
    if (rc == 0)
        letter->value = (struct cbt_text){dir->body, (size_t)bytes};
    return rc;
}

int cbt_dlq_dir_open_body(const struct cbt_dlq_dir *dir, const char *where)
{
    uint64_t bytes;
    return open_file(dir, where, ".bin", &bytes);
}

int cbt_dlq_dir_remove(const struct cbt_dlq_dir *dir, const char *where, struct cbt_err *err)
{
    static const char *const suffixes[] = {".bin", ".json"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char name[CBT_DLQ_NAME_BYTES + 8];
        snprintf(name, sizeof name, "%s%s", where, suffixes[i]);
        if (unlinkat(dir->fd, name, 0) != 0 && errno != ENOENT)
            return cbt_err_set(err, CBT_EIO, "%s: %s", name, strerror(errno));
    }
    return CBT_OK;
}
