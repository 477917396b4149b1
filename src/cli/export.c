/* SPDX-License-Identifier: MIT */
/*
 * export: turns files into their events, without a server: bundles, zips and single events, or notifications
 * one a line, to standard output or a file. Jobs work side by side, each on one folder at a time.
 *
 * Failure: what cannot be decoded, and a file that cannot be read, is a line on standard error, the rest goes
 * on, and the exit status says that there was something. A reader that goes away (a closed pipe) ends it
 * quietly; any other fault of the output at once, and loudly.
 */
#include "cli/export.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cbtap/log.h"

static bool is_terminal(const struct cbt_export *x)
{
    return x->target.path == NULL && isatty(STDOUT_FILENO);
}

static unsigned terminal_width(const struct cbt_export *x)
{
    struct winsize size;
    return is_terminal(x) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static bool wants_colours(const struct cbt_export *x)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return is_terminal(x) && (no_color == NULL || *no_color == '\0') &&
           (term == NULL || strcmp(term, "dumb") != 0);
}

/* After the configuration, for errors are to look as it says. */
static int open_chain(struct cbt_export *x, const char *format, const char *profile, struct cbt_err *err)
{
    const struct cbt_options_filter *filter = &x->config->filter;
    const struct cbt_format_options options = {.server_name = x->config->cbtap.server_name,
                                               .server_url = x->config->cbtap.server_url,
                                               .float_time = filter->float_time,
                                               .profile = profile,
                                               .fields = x->args->fields,
                                               .type = x->args->types,
                                               .width = terminal_width(x),
                                               .colours = wants_colours(x)};
    x->format = cbt_format_find(format);
    if (!x->format)
        return cbt_err_set(err, CBT_EUNBUILT, "--format %s is not built in this version (%s)", format,
                           CBTAP_VERSION);
    x->lengths = strcmp(format, "raw") == 0;
    int rc = x->format->open(&x->format_self, &options, err);
    if (rc == 0)
        rc = cbt_filter_new(&x->filter, x->args->types ? x->args->types : filter->types, filter->drop, err);
    return rc;
}

static int set_up(struct cbt_export *x)
{
    const char *format = "json", *profile = "documented";
    const struct cbt_args *args = x->args;
    struct cbt_err err;
    if (cbt_export_load(x, &err) != 0)
        return cbt_cli_fail(&err);
    cbt_cli_configure_log(x->config);
    int status = cbt_export_options(x, &format, &profile);
    x->target.path = args->to && strcmp(args->to, "stdout") != 0 ? args->to : NULL;
    if (status == 0 && !cbt_export_is_sink(args->to) && open_chain(x, format, profile, &err) != 0)
        status = cbt_cli_fail(&err);
    if (status == 0 && cbt_export_walk_new(&x->files, args->words, args->word_count, &x->told, &err) != 0)
        status = cbt_cli_fail(&err);
    return status;
}

static void tear_down(struct cbt_export *x)
{
    if (x->format_self)
        x->format->close(x->format_self);
    cbt_filter_free(x->filter);
    cbt_export_walk_free(x->files);
    cbt_export_follow_free(x->follow);
    cbt_export_told_free(&x->told);
    cbt_config_free(x->config);
}

/* ---- the jobs ---- */

/* What stands before the first event, whichever job writes that. */
static void write_head(const struct cbt_export *x, struct cbt_export_job *job)
{
    if (x->format->head == NULL)
        return;
    x->format->head(x->format_self, &job->out.buf);
    if (job->out.buf.pos > job->out.memory)
        cbt_buf_put(&job->out.buf, "\n", 1);
    cbt_export_write(&job->out, true);
}

/* The first job is this thread. Fewer than asked for are no failure as long as there is one. */
static void run_round(struct cbt_export_job *jobs, struct cbt_export *x)
{
    unsigned started;
    for (started = 1; started < x->jobs; started++)
        if (pthread_create(&jobs[started].thread, NULL, cbt_export_job_run, &jobs[started]) != 0)
            break;
    if (started < x->jobs)
        cbt_log_warning("fewer jobs than asked for: no more threads can be made", CBT_I("jobs", started));
    struct cbt_export_progress *progress = x->follow ? NULL : cbt_export_progress_start(x, jobs);
    cbt_export_job_run(&jobs[0]);
    for (unsigned i = 1; i < started; i++)
        pthread_join(jobs[i].thread, NULL);
    cbt_export_progress_end(progress);
}

static int run_jobs(struct cbt_export_job *jobs, struct cbt_export *x, struct cbt_err *err)
{
    int rc = x->args->follow ? cbt_export_follow_new(&x->follow, err) : CBT_OK;
    for (unsigned i = 0; i < x->jobs && rc == CBT_OK; i++)
        rc = cbt_export_job_init(&jobs[i], x, err);
    if (rc != CBT_OK)
        return rc;
    if (x->follow)
        cbt_export_follow_signals();
    write_head(x, &jobs[0]);
    run_round(jobs, x);
    while (x->follow && x->target.error == 0 && rc == CBT_OK && cbt_export_follow_wait(x->follow)) {
        rc = cbt_export_follow_walk(x, err);
        if (rc == CBT_OK)
            run_round(jobs, x);
    }
    return rc;
}

/* ---- the end ---- */

static struct cbt_export_totals add_up(const struct cbt_export *x, const struct cbt_export_job *jobs)
{
    struct cbt_export_totals t = {.unreadable = x->told.unreadable};
    t.files = t.unreadable;
    for (unsigned j = 0; j < x->jobs; j++) {
        const struct cbt_export_job *job = &jobs[j];
        for (size_t i = 0; i < CBT_TYPES; i++) {
            t.counts[i].events += job->counts[i].events;
            t.counts[i].dead_letters += job->counts[i].dead_letters;
            t.counts[i].filtered += job->counts[i].filtered;
        }
        t.files += job->files;
        t.unreadable += job->unreadable;
        t.removed += job->removed;
        t.kept += job->kept;
    }
    return t;
}

/* The exit status. */
static int finish(struct cbt_export *x, struct cbt_export_job *jobs)
{
    cbt_export_target_close(&x->target, true);
    for (unsigned i = 0; i < x->jobs && x->target.error == 0; i++)
        cbt_export_remove_done(&jobs[i]);
    struct cbt_export_totals t = add_up(x, jobs);
    t.unreadable += cbt_export_follow_unfinished(x->follow);
    bool reader_left = x->target.error == EPIPE;
    bool broken = x->target.error != 0 && !reader_left;
    if (broken && x->target.path)
        cbt_log_error("cannot write", CBT_S("file", x->target.path),
                      CBT_S("reason", strerror(x->target.error)));
    else if (broken)
        cbt_log_error("cannot write to standard output", CBT_S("reason", strerror(x->target.error)));
    else if (!reader_left && !x->args->quiet)
        cbt_export_summarize(x, &t);
    return broken || t.unreadable + t.kept > 0 || cbt_export_sum(&t).dead_letters > 0 ? CBT_EXIT_FAILED
                                                                                      : CBT_EXIT_DONE;
}

static int export_files(struct cbt_export *x, const char *path)
{
    struct cbt_err err;
    struct cbt_export_job *jobs = calloc(x->jobs, sizeof *jobs);
    if (!jobs) {
        cbt_log_error("out of memory");
        return CBT_EXIT_FAILED;
    }
    for (unsigned i = 0; i < x->jobs; i++)
        cbt_export_input_init(&jobs[i].in);
    int rc = cbt_export_target_open(&x->target, path, &err);
    if (rc == CBT_OK)
        rc = run_jobs(jobs, x, &err);
    int status = rc == CBT_OK ? finish(x, jobs) : cbt_cli_fail(&err);
    cbt_export_target_close(&x->target, false);
    for (unsigned i = 0; i < x->jobs; i++)
        cbt_export_job_free(&jobs[i]);
    free(jobs);
    free(x->target.resolved);
    return status;
}

int cbt_cmd_export(const struct cbt_args *args)
{
    struct cbt_export x = {.args = args, .told.lock = PTHREAD_MUTEX_INITIALIZER};
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit of file sizes is a write that fails, as a full disk is */
    int status = set_up(&x);
    if (status == 0)
        status = cbt_export_is_sink(args->to) ? cbt_export_to_sink(&x) : export_files(&x, x.target.path);
    tear_down(&x);
    return status;
}
