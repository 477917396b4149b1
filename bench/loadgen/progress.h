/* SPDX-License-Identifier: MIT */
/* The progress line on standard error: in place on a terminal, else a line every few seconds. */
#ifndef CBT_LOADGEN_PROGRESS_H
#define CBT_LOADGEN_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct cbt_progress {
    const char *verb; /* "published" */
    uint64_t total;   /* 0: unknown */
    bool quiet, terminal, shown;
    int64_t started_ns, shown_ns;
    uint64_t shown_count;
};

void cbt_progress_start(struct cbt_progress *progress, const char *verb, uint64_t total, bool quiet);

/* Shows where it stands if it is time to. `behind_ns`: by how much the schedule is missed; 0: not at all. */
void cbt_progress_show(struct cbt_progress *progress, uint64_t count, int64_t behind_ns);

/* Clears the line, so that something else can be written. */
void cbt_progress_end(struct cbt_progress *progress);

/* Set by SIGINT or SIGTERM once cbt_stop_on_signals was called; a second signal ends the program. */
bool cbt_stopped(void);
void cbt_stop_on_signals(void);

/* "cbtap-loadgen: " and the message, on a line of its own. */
void cbt_say(struct cbt_progress *progress, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
