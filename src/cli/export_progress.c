/* SPDX-License-Identifier: MIT */
/*
 * A line on a terminal that says how far export is: share by bytes, rate, time left. A thread of its own adds
 * up what there is to read, meanwhile, and then draws; before the sum is known, and where standard input is
 * read, there is no share and no time left.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "cli/export.h"

#define DRAW_NS          200000000
#define BAR_WIDTH        20u
#define LINE_MAX_COLUMNS 120

struct cbt_export_progress {
    const struct cbt_export *x;
    const struct cbt_export_job *jobs;
    bool colours, end, over; /* over: end, as its own thread knows it */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int64_t begun_ns, drawn_ns;
    uint64_t total_bytes;
    bool total_known, unlimited; /* unlimited: standard input is read */
};

static bool is_shown(const struct cbt_export *x)
{
    const char *term = getenv("TERM");
    /* Events on the same terminal say enough. */
    if (x->target.path == NULL && isatty(STDOUT_FILENO))
        return false;
    return !x->args->quiet && isatty(STDERR_FILENO) && term != NULL && strcmp(term, "dumb") != 0;
}

static void put_bytes(char *out, size_t out_bytes, uint64_t bytes)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    double shown = (double)bytes;
    unsigned unit = 0;
    while (shown >= 1000 && unit < 4) {
        shown /= 1000;
        unit++;
    }
    snprintf(out, out_bytes, "%.*f %s", unit == 0 || shown >= 100 ? 0 : 1, shown, units[unit]);
}

static void put_share(char *out, size_t out_bytes, const struct cbt_export_progress *p, uint64_t bytes,
                      double seconds)
{
    /* Files grow, and gz files are counted as they lie: more than all is all. */
    double share = p->total_bytes == 0 ? 1 : (double)bytes / (double)p->total_bytes;
    share = share > 1 ? 1 : share;
    uint64_t left_s = share > 0 ? (uint64_t)(seconds * (1 - share) / share + 0.5) : 0;
    unsigned full = (unsigned)(share * BAR_WIDTH);
    char total[24];
    put_bytes(total, sizeof total, p->total_bytes);
    snprintf(out, out_bytes, " of %s %s%.*s%s%.*s %3u %%  %" PRIu64 ":%02" PRIu64 ":%02" PRIu64 " left",
             total, p->colours ? "\033[32m" : "", (int)full, "####################",
             p->colours ? "\033[0m" : "", (int)(BAR_WIDTH - full), "....................",
             (unsigned)(share * 100), left_s / 3600, left_s / 60 % 60, left_s % 60);
}

static void draw(struct cbt_export_progress *p)
{
    struct winsize size = {0};
    uint64_t bytes = 0, events = 0;
    int64_t now_ns = cbt_now_ns();
    double seconds = (double)(now_ns - p->begun_ns) / 1e9;
    char done[24], share[160] = "", line[320];
    p->drawn_ns = now_ns;
    for (unsigned i = 0; i < p->x->jobs; i++) {
        bytes += p->jobs[i].shown_bytes;
        events += p->jobs[i].shown_events;
    }
    /* The end may come before the sum does. */
    if (p->over && !p->unlimited) {
        p->total_bytes = bytes;
        p->total_known = true;
    }
    put_bytes(done, sizeof done, bytes);
    /* A line that the terminal breaks could not be drawn over. */
    bool wide =
        ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_col >= LINE_MAX_COLUMNS;
    if (p->total_known && (wide || size.ws_col >= 80))
        put_share(share, sizeof share, p, bytes, seconds);
    int len = snprintf(line, sizeof line, "\r\033[K%s%s  %.0f events/s\r", done, share,
                       seconds > 0 ? (double)events / seconds : 0);
    if (len > 0 && (size_t)len < sizeof line)
        (void)!write(STDERR_FILENO, line, (size_t)len);
}

/* True: it is the end. */
static bool is_ended(struct cbt_export_progress *p)
{
    pthread_mutex_lock(&p->lock);
    bool end = p->end;
    pthread_mutex_unlock(&p->lock);
    return end;
}

/* Adds up what there is to read. */
static void weigh(struct cbt_export_progress *p)
{
    struct cbt_export_walk *walk;
    struct cbt_export_sequence sequence = {0};
    struct cbt_export_file file;
    struct cbt_err err;
    bool known = true;
    const struct cbt_args *args = p->x->args;
    if (cbt_export_walk_new(&walk, args->words, args->word_count, NULL, &err) != 0)
        return;
    while (known && cbt_export_walk_next(walk, &sequence) == 1)
        while (known && cbt_export_sequence_next(walk, &sequence, &file) == 1) {
            struct stat found;
            if (file.named && strcmp(file.path, "-") == 0)
                p->unlimited = true;
            else if (fstatat(file.dir_fd, file.name, &found, 0) == 0)
                p->total_bytes += (uint64_t)found.st_size;
            if (cbt_now_ns() - p->drawn_ns > DRAW_NS) {
                draw(p);
                known = known && !is_ended(p);
            }
        }
    cbt_export_sequence_free(&sequence);
    cbt_export_walk_free(walk);
    p->total_known = known && !p->unlimited;
}

static void *run(void *arg)
{
    struct cbt_export_progress *p = arg;
    struct timespec until;
    weigh(p);
    pthread_mutex_lock(&p->lock);
    while (!p->end) {
        draw(p);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += DRAW_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&p->ended, &p->lock, &until);
    }
    pthread_mutex_unlock(&p->lock);
    p->over = true;
    draw(p);
    (void)!write(STDERR_FILENO, "\n", 1);
    return NULL;
}

struct cbt_export_progress *cbt_export_progress_start(const struct cbt_export *x,
                                                      const struct cbt_export_job *jobs)
{
    struct cbt_export_progress *p = is_shown(x) ? calloc(1, sizeof *p) : NULL;
    if (p == NULL)
        return NULL;
    const char *no_color = getenv("NO_COLOR");
    pthread_condattr_t monotonic;
    *p = (struct cbt_export_progress){
        .x = x, .jobs = jobs, .colours = no_color == NULL || *no_color == '\0', .begun_ns = cbt_now_ns()};
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&p->thread, NULL, run, p) == 0)
        return p;
    free(p);
    return NULL;
}

void cbt_export_progress_end(struct cbt_export_progress *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->end = true;
    pthread_cond_signal(&p->ended);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->ended);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
