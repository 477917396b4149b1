/* SPDX-License-Identifier: MIT */
/*
 * export --follow: rounds over the paths, each of which takes what is new or has grown, by jobs or for a
 * sink. inotify tells when the next one is due; every few seconds there is one in any case, for what inotify
 * does not tell (network file systems, its limits). A file is taken when it has been quiet for a second, and
 * only up to its last whole record: the rest waits for the file to grow.
 *
 * Owns: for each file that was taken 128 to 256 bytes that say which one it was, and how much of it was
 * taken.
 */
#include "cli/export.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>
#include <xxhash.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"

#define QUIET_NS   1000000000
#define SOON_NS    (QUIET_NS + 100000000)
#define RESCAN_NS  INT64_C(5000000000)
#define EVENTS     (IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_DONT_FOLLOW)
#define FIRST_ROOM 1024u
#define HEAD_BYTES 256u

/* A file as it was taken last. */
struct taken {
    bool used;
    bool busy;     /* it is being taken */
    uint32_t head; /* head_of it */
    struct cbt_export_identity identity;
    struct cbt_export_reached reached;
};

struct cbt_export_follow {
    pthread_mutex_t lock;
    struct taken *table; /* by device and inode, open addressing */
    size_t room, count;
    int inotify_fd;
    bool told_no_watch;
    _Atomic bool postponed; /* a file was not quiet, or is being taken */
    bool soon;              /* that was so in the round before */
    bool told;              /* by inotify, that another round is due */
    int64_t rested_ns;      /* when the round before ended */
};

static _Atomic int stop_asked; /* the signal; jobs read it, and any thread may be the one that takes it */

static void ask_to_stop(int signal_number)
{
    stop_asked = signal_number;
}

static struct taken *find(const struct cbt_export_follow *follow, const struct cbt_export_identity *identity)
{
    size_t at =
        ((size_t)identity->inode * 0x9E3779B97F4A7C15u + (size_t)identity->device) & (follow->room - 1);
    while (follow->table[at].used && (follow->table[at].identity.inode != identity->inode ||
                                      follow->table[at].identity.device != identity->device))
        at = (at + 1) & (follow->room - 1);
    return &follow->table[at];
}

static bool grow(struct cbt_export_follow *follow)
{
    struct cbt_export_follow grown = {.room = follow->room == 0 ? FIRST_ROOM : 2 * follow->room};
    grown.table = calloc(grown.room, sizeof *grown.table);
    if (grown.table == NULL)
        return false;
    for (size_t i = 0; i < follow->room; i++)
        if (follow->table[i].used)
            *find(&grown, &follow->table[i].identity) = follow->table[i];
    free(follow->table);
    follow->table = grown.table;
    follow->room = grown.room;
    return true;
}

int cbt_export_follow_new(struct cbt_export_follow **ret_follow, struct cbt_err *err)
{
    struct cbt_export_follow *follow = calloc(1, sizeof *follow);
    if (follow == NULL || !grow(follow)) {
        free(follow);
        return cbt_err_set(err, CBT_ENOMEM, "no memory for --follow");
    }
    pthread_mutex_init(&follow->lock, NULL);
    follow->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    *ret_follow = follow;
    return CBT_OK;
}

void cbt_export_follow_signals(void)
{
    struct sigaction action = {.sa_handler = ask_to_stop, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void cbt_export_follow_free(struct cbt_export_follow *follow)
{
    if (follow == NULL)
        return;
    if (follow->inotify_fd >= 0)
        close(follow->inotify_fd);
    free(follow->table);
    pthread_mutex_destroy(&follow->lock);
    free(follow);
}

void cbt_export_follow_watch(struct cbt_export_follow *follow, const char *path)
{
    if (inotify_add_watch(follow->inotify_fd, path, EVENTS) >= 0 || errno == ENOENT || errno == EACCES)
        return;
    pthread_mutex_lock(&follow->lock);
    bool told = follow->told_no_watch;
    follow->told_no_watch = true;
    pthread_mutex_unlock(&follow->lock);
    if (!told)
        cbt_log_warning("not all can be watched: what is new is found only every few seconds; sysctl "
                        "fs.inotify.max_user_watches raises the limit",
                        CBT_S("path", path), CBT_S("reason", strerror(errno)));
}

static bool same_contents(const struct cbt_export_identity *a, const struct cbt_export_identity *b)
{
    return a->bytes == b->bytes && a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}

bool cbt_export_follow_wants(struct cbt_export_follow *follow, const struct stat *stat)
{
    const struct cbt_export_identity now = cbt_export_identity_of(stat);
    int64_t quiet_ns = cbt_wall_ms() * 1000000 - ((int64_t)now.mtime.tv_sec * 1000000000 + now.mtime.tv_nsec);
    pthread_mutex_lock(&follow->lock);
    const struct taken *taken = find(follow, &now);
    bool same = taken->used && same_contents(&taken->identity, &now), busy = taken->used && taken->busy;
    pthread_mutex_unlock(&follow->lock);
    if (same)
        return false;
    /* A time that lies ahead is not waited for. */
    if (busy || (quiet_ns >= 0 && quiet_ns < QUIET_NS)) {
        follow->postponed = true;
        return false;
    }
    return true;
}

/* A hash of a file's first bytes: file systems give the number of a removed file to the next one at once,
 * which begins otherwise, by the time of its first event if by nothing else. */
static uint32_t head_of(struct cbt_text head, int64_t bytes)
{
    size_t len = head.len < HEAD_BYTES ? head.len : HEAD_BYTES;
    if (bytes < (int64_t)len)
        len = bytes > 0 ? (size_t)bytes : 0;
    return (uint32_t)XXH3_64bits(head.data, len);
}

/* Its place in the table; NULL: no memory. Under the lock. */
static struct taken *place_of(struct cbt_export_follow *follow, const struct cbt_export_identity *identity)
{
    if (2 * (follow->count + 1) > follow->room && !grow(follow)) {
        cbt_log_error("no memory to note what was taken: the file is left for the next round");
        return NULL;
    }
    struct taken *taken = find(follow, identity);
    follow->count += !taken->used;
    if (!taken->used)
        *taken = (struct taken){.used = true, .identity = {identity->device, identity->inode, .bytes = -1}};
    return taken;
}

bool cbt_export_follow_begin(struct cbt_export_follow *follow, const struct stat *stat, struct cbt_text head,
                             bool can_go_on, struct cbt_export_reached *ret_from)
{
    const struct cbt_export_identity now = cbt_export_identity_of(stat);
    bool begun = false;
    *ret_from = (struct cbt_export_reached){0};
    pthread_mutex_lock(&follow->lock);
    struct taken *taken = place_of(follow, &now);
    if (taken != NULL && !taken->busy && !same_contents(&taken->identity, &now)) {
        begun = true;
        /* Else it was cut off, or is another file under the same number. */
        if (can_go_on && taken->reached.goes_on && taken->identity.bytes <= now.bytes &&
            taken->head == head_of(head, taken->identity.bytes))
            *ret_from = taken->reached;
        *taken = (struct taken){.used = true,
                                .busy = true,
                                .head = head_of(head, now.bytes),
                                .identity = now,
                                .reached = *ret_from};
    }
    pthread_mutex_unlock(&follow->lock);
    return begun;
}

void cbt_export_follow_end(struct cbt_export_follow *follow, const struct cbt_export_identity *identity,
                           const struct cbt_export_reached *reached)
{
    pthread_mutex_lock(&follow->lock);
    struct taken *taken = find(follow, identity);
    taken->busy = false;
    taken->reached = *reached;
    pthread_mutex_unlock(&follow->lock);
}

uint64_t cbt_export_follow_unfinished(const struct cbt_export_follow *follow)
{
    uint64_t count = 0;
    for (size_t i = 0; follow != NULL && i < follow->room; i++) {
        const struct taken *taken = &follow->table[i];
        count += taken->used && !taken->busy && taken->identity.bytes >= 0 &&
                 taken->reached.bytes < (uint64_t)taken->identity.bytes;
    }
    if (count > 0)
        cbt_log_error("files end amid a record, which is left out", CBT_I("files", count));
    return count;
}

void cbt_export_follow_forget(struct cbt_export_follow *follow, const struct cbt_export_identity *identity)
{
    pthread_mutex_lock(&follow->lock);
    struct taken *taken = find(follow, identity);
    if (taken->used)
        *taken = (struct taken){.used = true, .identity = {identity->device, identity->inode, .bytes = -1}};
    pthread_mutex_unlock(&follow->lock);
}

int cbt_export_follow_walk(struct cbt_export *x, struct cbt_err *err)
{
    struct cbt_export_walk *files;
    cbt_export_told_next_round(&x->told);
    int rc = cbt_export_walk_new(&files, x->args->words, x->args->word_count, &x->told, err);
    if (rc != CBT_OK)
        return rc;
    cbt_export_walk_free(x->files);
    x->files = files;
    return CBT_OK;
}

void cbt_export_follow_rest(struct cbt_export_follow *follow)
{
    follow->soon = atomic_exchange(&follow->postponed, false);
    follow->rested_ns = cbt_now_ns();
}

static int64_t rest_ns(const struct cbt_export_follow *follow)
{
    return follow->rested_ns + (follow->soon ? SOON_NS : RESCAN_NS) - cbt_now_ns();
}

bool cbt_export_follow_due(struct cbt_export_follow *follow)
{
    char events[4096];
    while (follow->inotify_fd >= 0 && read(follow->inotify_fd, events, sizeof events) > 0)
        follow->told = true;
    /* While a file is being written, its events come without end: then the time is waited for. */
    bool due = (follow->told && !follow->soon) || rest_ns(follow) <= 0;
    follow->told = follow->told && !due;
    return due;
}

bool cbt_export_follow_wait(struct cbt_export_follow *follow)
{
    sigset_t ours, before;
    struct pollfd told = {.fd = follow->inotify_fd, .events = POLLIN};
    cbt_export_follow_rest(follow);
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    while (!stop_asked && !cbt_export_follow_due(follow)) {
        int64_t ns = rest_ns(follow);
        ns = ns > 0 ? ns : 0;
        const struct timespec limit = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
        ppoll(&told, follow->soon || follow->inotify_fd < 0 ? 0 : 1, &limit, &before);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !stop_asked;
}

bool cbt_export_follow_stopped(void)
{
    return stop_asked != 0;
}
