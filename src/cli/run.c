/* SPDX-License-Identifier: MIT */
/*
 * run: the daemon. Starts the pipeline and then serves signals and systemd on the main thread until it is
 * told to stop. Signals are blocked in every thread and taken by sigtimedwait; only while the pipeline stops
 * do SIGTERM and SIGINT have a handler, which ends the process at once.
 *
 * It owns the configurations: each SIGHUP adds one, and all of them live as long as the pipeline, whose
 * threads read them.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "cbtap/pipeline.h"
#include "cli/cli.h"
#include "core/config_internal.h"

#define STATUS_INTERVAL_MS 5000
#define STOP_GRACE_MS      10000       /* on top of shutdown_timeout_ms */
#define STUCK_NS           30000000000 /* as /healthz */

struct daemon {
    const struct cbt_args *args;
    struct cbt_pipeline *pipeline;
    struct cbt_config **configs; /* the first is what the process was started with */
    size_t config_count;
    char status[512]; /* last STATUS= */
    int interval_ms;  /* between two looks at the pipeline */
    bool watchdog;
    bool unhealthy;
};

static void end_at_once(int signal_number)
{
    (void)signal_number;
    _exit(CBT_EXIT_FAILED);
}

static void our_signals(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    sigaddset(ret_set, SIGTERM);
    sigaddset(ret_set, SIGINT);
    sigaddset(ret_set, SIGHUP);
    sigaddset(ret_set, SIGUSR1);
}

/* Before the first thread, so that all inherit it. */
static void block_signals(void)
{
    sigset_t set;
    our_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit of file sizes is a write that fails, as a full disk is */
}

static void let_second_signal_end(void)
{
    struct sigaction action = {.sa_handler = end_at_once};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int keep_config(struct daemon *d, struct cbt_config *config)
{
    struct cbt_config **grown = realloc(d->configs, (d->config_count + 1) * sizeof(struct cbt_config *));
    if (!grown)
        return CBT_ENOMEM;
    d->configs = grown;
    grown[d->config_count++] = config;
    return 0;
}

static void reload(struct daemon *d)
{
    struct cbt_config *config = NULL;
    struct cbt_err err;
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)(cbt_now_ns() / 1000));
    int rc =
        cbt_config_load(&config, d->args->config_path, d->args->overrides, d->args->override_count, &err);
    /* Kept before the pipeline takes it: then nothing may fail any more. */
    if (rc == 0 && (rc = keep_config(d, config)) != 0)
        cbt_err_set(&err, CBT_ENOMEM, "no memory for another configuration");
    if (rc == 0 && (rc = cbt_pipeline_reload(d->pipeline, config, &err)) != 0)
        d->config_count--;
    if (rc == 0) {
        cbt_cli_configure_log(config);
        cbt_config_warn(config);
        cbt_config_log_changes(d->configs[0], config);
        cbt_log_info("configuration loaded again", CBT_S("file", d->args->config_path));
    } else {
        cbt_config_free(config);
        cbt_log_error("the configuration was not loaded again; the old one stays in effect",
                      CBT_S("reason", err.text));
    }
    sd_notify(0, "READY=1");
}

/* STATUS= when it changes, WATCHDOG=1 while no thread is stuck. */
static void look_after(struct daemon *d)
{
    char reasons[400] = "", status[512], stuck[256] = "";
    bool ready = cbt_pipeline_ready(d->pipeline, reasons, sizeof reasons);
    for (char *s = reasons; *s; s++)
        if (*s == '\n')
            *s = s[1] ? ';' : '\0';
    snprintf(status, sizeof status, "STATUS=%s%s",
             ready ? "every source and sink is connected" : "waiting: ", ready ? "" : reasons);
    if (strcmp(status, d->status) != 0) {
        memcpy(d->status, status, sizeof status);
        sd_notify(0, status);
    }
    if (!d->watchdog)
        return;
    bool healthy =
        cbt_metrics_healthy(cbt_pipeline_metrics(d->pipeline), cbt_now_ns(), STUCK_NS, stuck, sizeof stuck);
    if (healthy)
        sd_notify(0, "WATCHDOG=1");
    else if (!d->unhealthy)
        cbt_log_error("a thread does not move: the watchdog gets no sign of life", CBT_S("reason", stuck));
    d->unhealthy = !healthy;
}

/* Until SIGTERM or SIGINT. */
static void serve(struct daemon *d)
{
    sigset_t set;
    our_signals(&set);
    int64_t next_ns = cbt_now_ns();
    for (;;) {
        int64_t left_ns = next_ns - cbt_now_ns();
        if (left_ns <= 0) {
            look_after(d);
            left_ns = (int64_t)d->interval_ms * 1000000;
            next_ns = cbt_now_ns() + left_ns;
        }
        struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
        int signal_number = sigtimedwait(&set, NULL, &left);
        if (signal_number == SIGHUP) {
            reload(d);
        } else if (signal_number == SIGUSR1) {
            cbt_pipeline_log_status(d->pipeline);
        } else if (signal_number == SIGTERM || signal_number == SIGINT) {
            cbt_log_info("stopping", CBT_S("signal", signal_number == SIGTERM ? "SIGTERM" : "SIGINT"),
                         CBT_I("shutdown_timeout_ms", d->configs[0]->cbtap.shutdown_timeout_ms));
            return;
        }
    }
}

static void set_interval(struct daemon *d)
{
    uint64_t watchdog_us = 0;
    d->interval_ms = STATUS_INTERVAL_MS;
    d->watchdog = sd_watchdog_enabled(0, &watchdog_us) > 0;
    if (d->watchdog && watchdog_us / 2000 < STATUS_INTERVAL_MS)
        d->interval_ms = watchdog_us >= 4000 ? (int)(watchdog_us / 2000) : 2;
}

/* While it stops nobody looks at the watchdog, and the time-out is ours: systemd is to wait for both. */
static void tell_stopping(const struct daemon *d)
{
    unsigned long long us = (d->configs[0]->cbtap.shutdown_timeout_ms + STOP_GRACE_MS) * 1000;
    sd_notifyf(0, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu", us);
    if (d->watchdog)
        sd_notifyf(0, "WATCHDOG_USEC=%llu", us);
}

static int start_and_serve(struct daemon *d)
{
    struct cbt_err err;
    if (cbt_pipeline_new(&d->pipeline, d->configs[0], &err) != 0)
        return cbt_cli_fail(&err);
    if (cbt_pipeline_start(d->pipeline, &err) != 0)
        return cbt_cli_fail(&err);
    cbt_log_info("started", CBT_S("version", CBTAP_VERSION), CBT_S("config", d->args->config_path),
                 CBT_I("pid", getpid()));
    sd_notify(0, "READY=1");
    set_interval(d);
    serve(d);
    let_second_signal_end();
    tell_stopping(d);
    if (cbt_pipeline_stop(d->pipeline, &err) != 0)
        cbt_log_warning("stopped with messages in flight", CBT_S("reason", err.text));
    else
        cbt_log_info("stopped");
    return CBT_EXIT_DONE;
}

int cbt_cmd_run(const struct cbt_args *args)
{
    struct daemon d = {.args = args};
    struct cbt_config *config = NULL;
    block_signals();
    int status = cbt_cli_load(&config, args);
    if (status == 0 && keep_config(&d, config) != 0) {
        cbt_log_error("out of memory");
        cbt_config_free(config);
        status = CBT_EXIT_FAILED;
    }
    if (status == 0) {
        cbt_config_warn(config);
        status = start_and_serve(&d);
    }
    cbt_pipeline_free(d.pipeline);
    for (size_t i = 0; i < d.config_count; i++)
        cbt_config_free(d.configs[i]);
    free(d.configs);
    return status;
}
