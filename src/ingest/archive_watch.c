/* SPDX-License-Identifier: MIT */
/* What inotify tells of the archive's tree: see archive_watch.h. */
#include "ingest/archive_watch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define EVENTS      (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ONLYDIR | IN_DONT_FOLLOW)
#define DRAIN_READS 16 /* a turn: the others have to come to their right, too */

bool cbt_archive_watch_open(struct cbt_archive_watch *w)
{
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    return w->fd >= 0;
}

static bool make_room(struct cbt_archive_watch *w, size_t index)
{
    if (index < w->path_count)
        return true;
    size_t count = w->path_count > 0 ? w->path_count : 64;
    while (count <= index)
        count *= 2;
    char **grown = realloc(w->paths, count * sizeof *grown);
    if (!grown)
        return false;
    memset(grown + w->path_count, 0, (count - w->path_count) * sizeof *grown);
    w->paths = grown;
    w->path_count = count;
    return true;
}

void cbt_archive_watch_add(struct cbt_archive_watch *w, const char *root, const char *path)
{
    char full[2 * PATH_MAX];
    snprintf(full, sizeof full, "%s/%s", root, path);
    int wd = inotify_add_watch(w->fd, full, EVENTS);
    if (wd < 0 && errno != ENOENT) {
        w->failed = true;
        w->failed_errno = errno;
    }
    if (wd < 0 || !make_room(w, (size_t)wd))
        return;
    char *have = w->paths[wd];
    if (have && strcmp(have, path) == 0)
        return;
    w->paths[wd] = strdup(path);
    free(have);
}

static void take(struct cbt_archive_watch *w, const struct inotify_event *event)
{
    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        w->rescan(w->arg, true);
        return;
    }
    if (event->wd < 0 || (size_t)event->wd >= w->path_count || !w->paths[event->wd])
        return;
    const char *folder = w->paths[event->wd];
    if ((event->mask & IN_IGNORED) != 0) {
        free(w->paths[event->wd]);
        w->paths[event->wd] = NULL;
    } else if ((event->mask & IN_ISDIR) != 0) {
        w->rescan(w->arg, false);
    } else if ((event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0 && event->len > 0) {
        char path[PATH_MAX];
        int n = snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", event->name);
        if (n > 0 && (size_t)n < sizeof path && event->name[0] != '.')
            w->whole(w->arg, path);
    }
}

void cbt_archive_watch_drain(struct cbt_archive_watch *w)
{
    char buf[64 * 1024] __attribute__((aligned(__alignof__(struct inotify_event))));
    for (unsigned i = 0; i < DRAIN_READS && w->fd >= 0; i++) {
        ssize_t n = read(w->fd, buf, sizeof buf);
        if (n <= 0)
            return;
        for (const char *at = buf; at < buf + n;) {
            const struct inotify_event *event = (const struct inotify_event *)(const void *)at;
            take(w, event);
            at += sizeof *event + event->len;
        }
    }
}

void cbt_archive_watch_close(struct cbt_archive_watch *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    for (size_t i = 0; i < w->path_count; i++)
        free(w->paths[i]);
    free(w->paths);
    w->paths = NULL;
    w->path_count = 0;
}
