/* SPDX-License-Identifier: MIT */
/* What the user sees while it runs, and how it is told to stop. */
#include "progress.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "cbtap/clock.h"

#define TERMINAL_INTERVAL_NS INT64_C(200000000)
#define FILE_INTERVAL_NS     INT64_C(5000000000)
#define BEHIND_WORTH_SAYING  INT64_C(1000000000)

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    stopped = 1;
    signal(number, SIG_DFL);
}

void cbt_stop_on_signals(void)
{
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cbt_stopped(void)
{
    return stopped;
}

void cbt_progress_start(struct cbt_progress *p, const char *verb, uint64_t total, bool quiet)
{
    const int64_t now = cbt_now_ns();
    *p = (struct cbt_progress){
        .verb = verb, .total = total, .quiet = quiet, .terminal = isatty(STDERR_FILENO)};
    p->started_ns = p->shown_ns = now;
}

void cbt_progress_show(struct cbt_progress *p, uint64_t count, int64_t behind_ns)
{
    if (p->quiet)
        return;
    const int64_t now = cbt_now_ns();
    if (now - p->shown_ns < (p->terminal ? TERMINAL_INTERVAL_NS : FILE_INTERVAL_NS))
        return;
    const double rate = (double)(count - p->shown_count) * 1e9 / (double)(now - p->shown_ns);
    fprintf(stderr, "%s%s %" PRIu64, p->terminal ? "\r\033[K" : "", p->verb, count);
    if (p->total)
        fprintf(stderr, " of %" PRIu64 " events (%.0f %%)", p->total,
                100.0 * (double)count / (double)p->total);
    else
        fputs(" events", stderr);
    fprintf(stderr, ", %.0f events/s, %.0f s", rate, (double)(now - p->started_ns) / 1e9);
    if (behind_ns >= BEHIND_WORTH_SAYING)
        fprintf(stderr, ", BEHIND the schedule by %.1f s", (double)behind_ns / 1e9);
    if (!p->terminal)
        fputc('\n', stderr);
    fflush(stderr);
    p->shown = p->terminal;
    p->shown_ns = now;
    p->shown_count = count;
}

void cbt_progress_end(struct cbt_progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}

void cbt_say(struct cbt_progress *p, const char *fmt, ...)
{
    va_list args;
    if (p)
        cbt_progress_end(p);
    fputs("cbtap-loadgen: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}
