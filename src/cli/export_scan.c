/* SPDX-License-Identifier: MIT */
/*
 * The entries of a folder in order, with memory for two chunks of them however many there are: each chunk is
 * a reading of the folder that keeps the first ones behind those already given.
 *
 * Symbolic links are not followed, and what is neither file nor folder is not opened: both are counted.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/export.h"

#define CHUNK 262144u

static int compare(const struct cbt_export_entry *a, const struct cbt_export_entry *b)
{
    if (a->mtime_ns != b->mtime_ns)
        return a->mtime_ns < b->mtime_ns ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int compare_for_sort(const void *a, const void *b)
{
    return compare(*(struct cbt_export_entry *const *)a, *(struct cbt_export_entry *const *)b);
}

static void drop_from(struct cbt_export_scan *scan, size_t first)
{
    for (size_t i = first; i < scan->count; i++)
        free(scan->entries[i]);
    if (scan->count > first)
        scan->count = first;
}

void cbt_export_scan_free(struct cbt_export_scan *scan)
{
    drop_from(scan, 0);
    free(scan->entries);
    free(scan->last);
    *scan = (struct cbt_export_scan){0};
}

/* Sorts, and keeps a chunk. */
static void cut(struct cbt_export_scan *scan)
{
    if (scan->count > 0)
        qsort(scan->entries, scan->count, sizeof(struct cbt_export_entry *), compare_for_sort);
    if (scan->count <= CHUNK)
        return;
    drop_from(scan, CHUNK);
    scan->more = true;
}

static int add(struct cbt_export_scan *scan, const char *name, int64_t mtime_ns, struct cbt_err *err)
{
    size_t name_bytes = strlen(name) + 1;
    struct cbt_export_entry *entry = malloc(sizeof *entry + name_bytes);
    if (entry == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the names in a folder");
    entry->mtime_ns = mtime_ns;
    memcpy(entry->name, name, name_bytes);
    if (scan->last != NULL && compare(entry, scan->last) <= 0) {
        free(entry);
        return CBT_OK;
    }
    if (scan->count == 2 * (size_t)CHUNK)
        cut(scan);
    if (scan->count == scan->capacity) {
        size_t capacity = scan->capacity == 0 ? 64 : 2 * scan->capacity;
        struct cbt_export_entry **grown =
            realloc(scan->entries, capacity * sizeof(struct cbt_export_entry *));
        if (grown == NULL) {
            free(entry);
            return cbt_err_set(err, CBT_ENOMEM, "no memory for %zu names in a folder", capacity);
        }
        scan->entries = grown;
        scan->capacity = capacity;
    }
    scan->entries[scan->count++] = entry;
    return CBT_OK;
}

/* Its kind as DT_*; DT_UNKNOWN: it is gone. */
static int kind_of(int dir_fd, const struct dirent *found, enum cbt_export_want want, struct stat *ret_stat)
{
    bool known = found->d_type != DT_UNKNOWN;
    if (known && (found->d_type != DT_REG || want != CBT_EXPORT_FILES))
        return found->d_type;
    if (fstatat(dir_fd, found->d_name, ret_stat, AT_SYMLINK_NOFOLLOW) != 0)
        return DT_UNKNOWN;
    return (int)IFTODT(ret_stat->st_mode);
}

static int take(struct cbt_export_scan *scan, int dir_fd, const struct dirent *found,
                enum cbt_export_want want, struct cbt_err *err)
{
    struct stat stat = {0};
    if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0)
        return CBT_OK;
    int kind = kind_of(dir_fd, found, want, &stat);
    if (kind == (want == CBT_EXPORT_FILES ? DT_REG : DT_DIR))
        return add(scan, found->d_name,
                   want == CBT_EXPORT_FILES ? (int64_t)stat.st_mtim.tv_sec * 1000000000 + stat.st_mtim.tv_nsec
                                            : 0,
                   err);
    if (want == CBT_EXPORT_FILES && scan->last == NULL) {
        scan->symlinks += kind == DT_LNK;
        scan->others += kind != DT_LNK && kind != DT_DIR && kind != DT_UNKNOWN;
    }
    return CBT_OK;
}

static int read_chunk(struct cbt_export_scan *scan, int dir_fd, enum cbt_export_want want,
                      struct cbt_err *err)
{
    int own_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = own_fd >= 0 ? fdopendir(own_fd) : NULL;
    const struct dirent *found = NULL;
    int rc = CBT_OK;
    if (dir == NULL) {
        rc = cbt_err_set(err, errno == ENOMEM ? CBT_ENOMEM : CBT_EIO, "%s", strerror(errno));
        if (own_fd >= 0)
            close(own_fd);
        return rc;
    }
    scan->more = false;
    errno = 0;
    while (rc == CBT_OK && (found = readdir(dir)) != NULL) {
        rc = take(scan, dir_fd, found, want, err);
        errno = 0;
    }
    if (rc == CBT_OK && errno != 0)
        rc = cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
    closedir(dir);
    cut(scan);
    return rc;
}

const struct cbt_export_entry *cbt_export_scan_next(struct cbt_export_scan *scan, int dir_fd,
                                                    enum cbt_export_want want, int *ret_rc,
                                                    struct cbt_err *err)
{
    *ret_rc = CBT_OK;
    bool first = scan->count == 0 && scan->last == NULL;
    if (scan->at == scan->count && (first || scan->more)) {
        if (scan->count > 0) {
            free(scan->last);
            scan->last = scan->entries[--scan->count];
            drop_from(scan, 0);
        }
        scan->at = 0;
        *ret_rc = read_chunk(scan, dir_fd, want, err);
    }
    if (*ret_rc != CBT_OK || scan->at == scan->count)
        return NULL;
    return scan->entries[scan->at++];
}
