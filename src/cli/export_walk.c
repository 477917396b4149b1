/* SPDX-License-Identifier: MIT */
/*
 * From the words of the command line to sequences of files. A folder is walked depth first, its folders by
 * name; the files of each are a sequence. Named files of one folder are a sequence, too, wherever they stand.
 *
 * Below a named folder no symbolic link is followed, in no part of a path, so there are no loops and no way
 * out. Memory: a chunk of names for each level of folders (export_scan.c). Failure: a word or folder that
 * cannot be read is said and counted, and the walk goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/log.h"
#include "cli/export.h"
#include "ingest/folder_id.h"

struct cbt_export_word {
    char *path;
    bool is_dir;
    size_t folder_len; /* how much of the path its folder is */
    size_t index;      /* in the command line */
    size_t first;      /* that of the first word of its sequence */
    const char *folder;
};

/* A folder whose own folders are being walked. */
struct level {
    size_t path_len; /* how much of walk->path it is */
    int fd;
    struct cbt_export_scan scan;
};

struct cbt_export_walk {
    pthread_mutex_t lock;
    struct cbt_export_word *words;
    size_t word_count, word_capacity, at;
    struct level *levels;
    size_t depth, level_capacity;
    char *path; /* of the deepest level */
    size_t path_bytes;
    struct cbt_export_told *told; /* NULL: it is silent */
};

static void tell(struct cbt_export_walk *walk, const char *path, const char *reason)
{
    if (walk->told == NULL || !cbt_export_told_first(walk->told, path))
        return;
    walk->told->unreadable++;
    cbt_log_error("cannot read", CBT_S("file", path), CBT_S("reason", reason));
}

/* ---- words ---- */

static int add_word(struct cbt_export_walk *walk, const char *path, struct cbt_err *err)
{
    struct stat found;
    if (walk->word_count == walk->word_capacity) {
        size_t capacity = walk->word_capacity == 0 ? 16 : 2 * walk->word_capacity;
        struct cbt_export_word *grown = realloc(walk->words, capacity * sizeof *grown);
        if (grown == NULL)
            return cbt_err_set(err, CBT_ENOMEM, "no memory for %zu files", capacity);
        walk->words = grown;
        walk->word_capacity = capacity;
    }
    struct cbt_export_word word = {.path = strdup(path), .index = walk->word_count};
    if (word.path == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a file's name");
    word.is_dir = strcmp(path, "-") != 0 && stat(path, &found) == 0 && S_ISDIR(found.st_mode);
    const char *slash = strrchr(word.path, '/');
    word.folder = word.path;
    word.folder_len = slash == NULL ? 0 : slash == word.path ? 1 : (size_t)(slash - word.path);
    /* Standard input belongs to what was named before it. */
    if (strcmp(path, "-") == 0 && walk->word_count > 0) {
        const struct cbt_export_word *before = &walk->words[walk->word_count - 1];
        word.folder = before->folder;
        word.folder_len = before->folder_len;
    }
    walk->words[walk->word_count++] = word;
    return CBT_OK;
}

static int add_glob(struct cbt_export_walk *walk, const char *pattern, struct cbt_err *err)
{
    glob_t found;
    int rc = glob(pattern, 0, NULL, &found);
    if (rc == GLOB_NOSPACE)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for what %s matches", pattern);
    if (rc != 0) {
        tell(walk, pattern, rc == GLOB_NOMATCH ? "no file matches" : "a folder cannot be read");
        return CBT_OK;
    }
    for (size_t i = 0; i < found.gl_pathc && rc == CBT_OK; i++)
        rc = add_word(walk, found.gl_pathv[i], err);
    globfree(&found);
    return rc;
}

static int compare_by_folder(const void *a, const void *b)
{
    const struct cbt_export_word *x = a, *y = b;
    if (x->is_dir != y->is_dir)
        return x->is_dir ? 1 : -1;
    int order = 0;
    if (!x->is_dir) {
        size_t shorter = x->folder_len < y->folder_len ? x->folder_len : y->folder_len;
        order = memcmp(x->folder, y->folder, shorter);
        if (order == 0 && x->folder_len != y->folder_len)
            order = x->folder_len < y->folder_len ? -1 : 1;
    }
    return order != 0 ? order : x->index < y->index ? -1 : 1;
}

static int compare_by_first(const void *a, const void *b)
{
    const struct cbt_export_word *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static bool same_folder(const struct cbt_export_word *a, const struct cbt_export_word *b)
{
    return !a->is_dir && !b->is_dir && a->folder_len == b->folder_len &&
           memcmp(a->folder, b->folder, a->folder_len) == 0;
}

static void gather_sequences(struct cbt_export_walk *walk)
{
    struct cbt_export_word *words = walk->words;
    if (walk->word_count == 0)
        return;
    qsort(words, walk->word_count, sizeof *words, compare_by_folder);
    for (size_t i = 0; i < walk->word_count; i++)
        words[i].first = i > 0 && same_folder(&words[i - 1], &words[i]) ? words[i - 1].first : words[i].index;
    qsort(words, walk->word_count, sizeof *words, compare_by_first);
}

int cbt_export_walk_new(struct cbt_export_walk **ret_walk, const char *const words[], size_t count,
                        struct cbt_export_told *told, struct cbt_err *err)
{
    struct cbt_export_walk *walk = calloc(1, sizeof *walk);
    int rc = CBT_OK;
    if (walk == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the files");
    pthread_mutex_init(&walk->lock, NULL);
    walk->told = told;
    for (size_t i = 0; i < count && rc == CBT_OK; i++) {
        bool is_glob = strpbrk(words[i], "*?[") != NULL && access(words[i], F_OK) != 0;
        rc = is_glob ? add_glob(walk, words[i], err) : add_word(walk, words[i], err);
    }
    if (rc != CBT_OK) {
        cbt_export_walk_free(walk);
        return rc;
    }
    gather_sequences(walk);
    *ret_walk = walk;
    return CBT_OK;
}

static void leave_level(struct cbt_export_walk *walk)
{
    struct level *level = &walk->levels[--walk->depth];
    cbt_export_scan_free(&level->scan);
    close(level->fd);
}

void cbt_export_walk_free(struct cbt_export_walk *walk)
{
    if (walk == NULL)
        return;
    while (walk->depth > 0)
        leave_level(walk);
    for (size_t i = 0; i < walk->word_count; i++)
        free(walk->words[i].path);
    free(walk->words);
    free(walk->levels);
    free(walk->path);
    pthread_mutex_destroy(&walk->lock);
    free(walk);
}

/* ---- folders ---- */

/* Sets `*buf` from offset on to name, with a slash between unless there is one. */
static int put_path(char **buf, size_t *bytes, size_t offset, const char *name)
{
    size_t name_bytes = strlen(name) + 1;
    if (*buf == NULL || offset + name_bytes + 1 > *bytes) {
        size_t grown_bytes = 2 * (offset + name_bytes + 1);
        char *grown = realloc(*buf, grown_bytes);
        if (grown == NULL)
            return CBT_ENOMEM;
        *buf = grown;
        *bytes = grown_bytes;
    }
    if (offset > 0 && (*buf)[offset - 1] != '/')
        (*buf)[offset++] = '/';
    memcpy(*buf + offset, name, name_bytes);
    return CBT_OK;
}

/* Goes down into it. */
static bool enter(struct cbt_export_walk *walk, int parent_fd, const char *name, bool named)
{
    size_t parent_len = walk->depth > 0 ? walk->levels[walk->depth - 1].path_len : 0;
    if (put_path(&walk->path, &walk->path_bytes, parent_len, name) != 0) {
        tell(walk, name, "no memory");
        return false;
    }
    if (walk->depth == walk->level_capacity) {
        size_t capacity = walk->level_capacity == 0 ? 8 : 2 * walk->level_capacity;
        struct level *grown = realloc(walk->levels, capacity * sizeof *grown);
        if (grown == NULL) {
            tell(walk, walk->path, "no memory");
            return false;
        }
        walk->levels = grown;
        walk->level_capacity = capacity;
    }
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (named ? 0 : O_NOFOLLOW));
    if (fd < 0) {
        /* Gone, or another thing in its place: there is nothing to be read. */
        if (named || (errno != ENOENT && errno != ENOTDIR && errno != ELOOP))
            tell(walk, walk->path, strerror(errno));
        return false;
    }
    walk->levels[walk->depth++] = (struct level){.path_len = strlen(walk->path), .fd = fd};
    return true;
}

/* The next folder: one below, or beside, or the word at hand. */
static bool go_on(struct cbt_export_walk *walk)
{
    struct cbt_err err;
    int rc;
    while (walk->depth > 0) {
        struct level *level = &walk->levels[walk->depth - 1];
        const struct cbt_export_entry *entry =
            cbt_export_scan_next(&level->scan, level->fd, CBT_EXPORT_FOLDERS, &rc, &err);
        if (rc != CBT_OK) {
            walk->path[level->path_len] = '\0';
            tell(walk, walk->path, err.text);
        }
        if (entry == NULL)
            leave_level(walk);
        else if (enter(walk, level->fd, entry->name, false))
            return true;
    }
    return false;
}

void cbt_export_sequence_free(struct cbt_export_sequence *sequence)
{
    cbt_export_scan_free(&sequence->scan);
    if (sequence->dir_fd > 0)
        close(sequence->dir_fd);
    free(sequence->folder);
    free(sequence->path);
    *sequence = (struct cbt_export_sequence){0};
}

/* The files of the folder that was entered last. */
static bool give_folder(struct cbt_export_walk *walk, struct cbt_export_sequence *sequence)
{
    const struct level *level = &walk->levels[walk->depth - 1];
    sequence->folder = strdup(walk->path);
    sequence->dir_fd = fcntl(level->fd, F_DUPFD_CLOEXEC, 3);
    sequence->has_sensor_id = cbt_folder_sensor_id(walk->path, level->path_len, &sequence->sensor_id);
    if (sequence->folder != NULL && sequence->dir_fd >= 0)
        return true;
    tell(walk, walk->path, sequence->folder == NULL ? "no memory" : strerror(errno));
    cbt_export_sequence_free(sequence);
    return false;
}

static void give_words(struct cbt_export_walk *walk, struct cbt_export_sequence *sequence)
{
    sequence->dir_fd = AT_FDCWD;
    sequence->words = &walk->words[walk->at];
    while (walk->at < walk->word_count && walk->words[walk->at].first == sequence->words->first) {
        walk->at++;
        sequence->word_count++;
    }
}

int cbt_export_walk_next(struct cbt_export_walk *walk, struct cbt_export_sequence *sequence)
{
    bool given = false;
    cbt_export_sequence_free(sequence);
    pthread_mutex_lock(&walk->lock);
    while (!given && (go_on(walk) || walk->at < walk->word_count)) {
        if (walk->depth > 0) {
            given = give_folder(walk, sequence);
        } else if (!walk->words[walk->at].is_dir) {
            give_words(walk, sequence);
            given = true;
        } else if (enter(walk, AT_FDCWD, walk->words[walk->at++].path, true)) {
            given = give_folder(walk, sequence);
        }
    }
    pthread_mutex_unlock(&walk->lock);
    return given;
}

/* ---- files ---- */

static void tell_skipped(struct cbt_export_walk *walk, const struct cbt_export_sequence *sequence)
{
    const struct cbt_export_scan *scan = &sequence->scan;
    if (scan->symlinks + scan->others == 0 || walk->told == NULL)
        return;
    if (!atomic_exchange(&walk->told->links, true))
        cbt_log_warning("symbolic links and what is no file are not taken; this is said once",
                        CBT_S("folder", sequence->folder), CBT_I("symbolic_links", scan->symlinks),
                        CBT_I("others", scan->others));
}

static int next_in_folder(struct cbt_export_walk *walk, struct cbt_export_sequence *sequence,
                          struct cbt_export_file *ret_file)
{
    struct cbt_err err;
    int rc;
    const struct cbt_export_entry *entry =
        cbt_export_scan_next(&sequence->scan, sequence->dir_fd, CBT_EXPORT_FILES, &rc, &err);
    if (rc != CBT_OK)
        tell(walk, sequence->folder, err.text);
    if (entry == NULL) {
        tell_skipped(walk, sequence);
        return 0;
    }
    size_t len = strlen(sequence->folder);
    if (sequence->path == NULL &&
        put_path(&sequence->path, &sequence->path_bytes, 0, sequence->folder) != 0) {
        tell(walk, sequence->folder, "no memory");
        return 0;
    }
    if (put_path(&sequence->path, &sequence->path_bytes, len, entry->name) != 0) {
        tell(walk, sequence->folder, "no memory");
        return 0;
    }
    *ret_file = (struct cbt_export_file){.path = sequence->path,
                                         .name = entry->name,
                                         .dir_fd = sequence->dir_fd,
                                         .has_sensor_id = sequence->has_sensor_id,
                                         .sensor_id = sequence->sensor_id};
    return 1;
}

int cbt_export_sequence_next(struct cbt_export_walk *walk, struct cbt_export_sequence *sequence,
                             struct cbt_export_file *ret_file)
{
    if (sequence->words == NULL)
        return next_in_folder(walk, sequence, ret_file);
    if (sequence->word_at == sequence->word_count)
        return 0;
    const struct cbt_export_word *word = &sequence->words[sequence->word_at++];
    *ret_file =
        (struct cbt_export_file){.path = word->path, .name = word->path, .dir_fd = AT_FDCWD, .named = true};
    /* Standard input comes from nowhere, least of all from the working directory. */
    if (word->folder_len > 0 || strcmp(word->path, "-") != 0)
        ret_file->has_sensor_id = cbt_folder_sensor_id(word->folder, word->folder_len, &ret_file->sensor_id);
    return 1;
}
