/* SPDX-License-Identifier: MIT */
/*
 * tail: live events on the terminal, beside the daemon and without a trace of it.
 *
 * Happy path: it listens to the source's bus in a way that ends with its connection (tail_amqp.c,
 * tail_redis.c), decodes as the daemon does (tail_body.c), and writes what standard output takes
 * (tail_out.c). Failure: a bus that cannot be reached at the start ends it; one that goes away later is tried
 * again, and both is said. A reader that goes away (a closed pipe) ends it quietly. Nothing is changed of the
 * terminal, so nothing is to be restored; a colour begins and ends in one line.
 */
#include "cli/tail.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "decode/limits.h"

#define NS_PER_MS INT64_C(1000000)

#define TAKE_MS         50 /* the longest that a signal, or output that waits, is not looked after */
#define LAST_FLUSH_MS   200
#define RETRY_MS        500
#define RETRY_SLOW_MS   5000
#define TELL_MS         2000
#define SOURCE_NAME_MAX 128

volatile sig_atomic_t cbt_tail_stopped, cbt_tail_resized;

static void on_signal(int number)
{
    if (number == SIGWINCH)
        cbt_tail_resized = 1;
    else
        cbt_tail_stopped = 1;
}

static int usage(const char *option, const char *text)
{
    cbt_log_error("wrong usage", CBT_S("option", option), CBT_S("reason", text),
                  CBT_S("help", "cbtap help tail"));
    return CBT_EXIT_USAGE;
}

static const struct cbt_tail_bus *bus_of(const struct cbt_source_config *source)
{
    static const struct cbt_tail_bus *const buses[] = {&cbt_tail_amqp, &cbt_tail_redis};
    for (size_t i = 0; i < sizeof buses / sizeof buses[0]; i++)
        if (strcmp(source->type, buses[i]->type) == 0)
            return buses[i];
    return NULL;
}

/* The one of --source, else the first of type amqp, else the first that there is a bus for. */
static int choose_source(struct cbt_tail *tail)
{
    const char *name = tail->args->source;
    for (size_t i = 0; i < tail->config->source_count; i++) {
        const struct cbt_source_config *source = &tail->config->sources[i];
        const struct cbt_tail_bus *bus = bus_of(source);
        bool better = !tail->source || (bus == &cbt_tail_amqp && tail->bus != &cbt_tail_amqp);
        if (bus && (name ? strcmp(source->name, name) == 0 : better)) {
            tail->source = source;
            tail->bus = bus;
        }
    }
    if (tail->source)
        return 0;
    cbt_log_error("no [source.NAME] of type amqp or redis to listen to",
                  CBT_S("file", tail->args->config_path), CBT_S("source", name ? name : ""));
    return CBT_EXIT_USAGE;
}

static int open_format(struct cbt_tail *tail, struct cbt_err *err)
{
    void *opened = NULL;
    tail->options.width = cbt_tail_out_width(&tail->out);
    int rc = tail->format->open(&opened, &tail->options, err);
    if (rc != 0)
        return rc;
    if (tail->format_self)
        tail->format->close(tail->format_self);
    tail->format_self = opened;
    return 0;
}

static int open_chain(struct cbt_tail *tail, const char *format, struct cbt_err *err)
{
    const struct cbt_decode_limits limits = cbt_decode_limits_of(&tail->config->decode);
    const struct cbt_options_filter *filter = &tail->config->filter;
    const char *types = tail->args->types;
    const char *no_color = getenv("NO_COLOR");
    int rc = cbt_tail_out_init(&tail->out, err);
    if (rc != 0)
        return rc;
    tail->format = cbt_format_find(format);
    tail->options =
        (struct cbt_format_options){.server_name = tail->config->cbtap.server_name,
                                    .server_url = tail->config->cbtap.server_url,
                                    .float_time = filter->float_time,
                                    .colours = tail->out.is_terminal && (!no_color || !*no_color)};
    rc = open_format(tail, err);
    if (rc == 0)
        rc = cbt_filter_new(&tail->filter, types ? types : filter->types, types ? "" : filter->drop, err);
    if (rc != 0 && types && !tail->filter)
        cbt_err_prefix(err, "--type");
    if (rc == 0)
        rc = cbt_walk_new(&tail->walk, &limits, err);
    if (rc == 0)
        rc = cbt_decoder_new(&tail->decoder, &limits, err);
    if (rc == 0)
        rc = tail->bus->open(tail, err);
    return rc;
}

static int set_up(struct cbt_tail *tail)
{
    const struct cbt_args *args = tail->args;
    const char *format = args->format ? args->format : "table";
    struct cbt_err err;
    if (cbt_config_load_without_ends(&tail->config, args->config_path, args->overrides, args->override_count,
                                     &err) != 0)
        return cbt_cli_fail(&err);
    cbt_cli_configure_log(tail->config);
    if (strcmp(format, "table") != 0 && strcmp(format, "json") != 0)
        return usage("--format", "is table or json");
    int status = choose_source(tail);
    if (status == 0 && open_chain(tail, format, &err) != 0)
        status = cbt_cli_fail(&err);
    return status;
}

static void tear_down(struct cbt_tail *tail)
{
    if (tail->bus) {
        tail->bus->disconnect(tail);
        tail->bus->close(tail);
    }
    if (tail->format_self)
        tail->format->close(tail->format_self);
    cbt_filter_free(tail->filter);
    cbt_walk_free(tail->walk);
    cbt_decoder_free(tail->decoder);
    cbt_tail_out_free(&tail->out);
    cbt_config_free(tail->config);
}

/* Between lines: standard error may be the same terminal. */
static void tell(struct cbt_tail *tail, int64_t *told_ns)
{
    int64_t now_ns = cbt_now_ns();
    if (now_ns - *told_ns < TELL_MS * NS_PER_MS || tail->out.in_line)
        return;
    if (tail->skipped != tail->skipped_told)
        cbt_log_warning("more comes than standard output takes: events are skipped",
                        CBT_I("skipped", tail->skipped - tail->skipped_told));
    if (tail->broken != tail->broken_told)
        cbt_log_warning("left out what cannot be decoded; log.level = debug says why",
                        CBT_I("parts", tail->broken - tail->broken_told));
    tail->skipped_told = tail->skipped;
    tail->broken_told = tail->broken;
    *told_ns = now_ns;
}

/* Waits before it is tried again, looking after output and signals. */
static void wait_between(struct cbt_tail *tail, int64_t wait_ms)
{
    int64_t end_ns = cbt_now_ns() + wait_ms * NS_PER_MS;
    for (int64_t left_ms; (left_ms = (end_ns - cbt_now_ns()) / NS_PER_MS) > 0 && !cbt_tail_done(tail);) {
        cbt_tail_out_flush(&tail->out, 0);
        poll(NULL, 0, left_ms < TAKE_MS ? (int)left_ms : TAKE_MS);
    }
}

static void connect_again(struct cbt_tail *tail)
{
    char told[CBT_ERR_TEXT_BYTES] = "";
    struct cbt_err err;
    while (!cbt_tail_done(tail)) {
        int rc = tail->bus->connect(tail, &err);
        if (rc == 0) {
            cbt_log_info("connected again; what was published meanwhile is not shown",
                         CBT_S("source", tail->source->name), CBT_S("to", tail->listens_to));
            return;
        }
        if (strcmp(told, err.text) != 0)
            cbt_log_warning("cannot connect, trying again", CBT_S("source", tail->source->name),
                            CBT_S("reason", err.text));
        memcpy(told, err.text, sizeof told);
        wait_between(tail, rc == CBT_EIO ? RETRY_MS : RETRY_SLOW_MS);
    }
}

static void listen_to_bus(struct cbt_tail *tail)
{
    int64_t told_ns = 0;
    struct cbt_err err;
    while (!cbt_tail_done(tail)) {
        /* While there is more it is read, and written when enough has gathered. */
        bool waits = cbt_tail_out_pending(&tail->out) > 0;
        int rc = tail->bus->take(tail, waits ? 0 : TAKE_MS, &err);
        if (rc < 0) {
            cbt_log_warning("lost the connection, connecting again", CBT_S("source", tail->source->name),
                            CBT_S("reason", err.text));
            tail->bus->disconnect(tail);
            wait_between(tail, RETRY_MS);
            connect_again(tail);
            continue;
        }
        if (rc == 0)
            cbt_tail_out_flush(&tail->out, waits ? TAKE_MS : 0);
        else if (cbt_tail_out_pending(&tail->out) >= CBT_TAIL_PENDING_BYTES_MAX / 4)
            cbt_tail_out_flush(&tail->out, 0);
        tell(tail, &told_ns);
        if (cbt_tail_resized) {
            cbt_tail_resized = 0;
            (void)open_format(tail, &err);
        }
    }
}

/* What was shown is written whole, unless it is to end at once; then a line is not left half-way, nor its
 * colour. */
static void finish_output(struct cbt_tail *tail)
{
    struct cbt_tail_out *out = &tail->out;
    while (!cbt_tail_stopped && out->error == 0 && cbt_tail_out_pending(out) > 0)
        cbt_tail_out_flush(out, TAKE_MS);
    if (cbt_tail_out_pending(out) > 0 && out->error == 0)
        cbt_tail_out_flush(out, LAST_FLUSH_MS);
    if (out->error == 0 && out->in_line && out->is_terminal) {
        static const char end[] = "\033[0m\n";
        struct pollfd fd = {.fd = STDOUT_FILENO, .events = POLLOUT};
        if (poll(&fd, 1, 0) == 1 && (fd.revents & POLLOUT) != 0 &&
            write(STDOUT_FILENO, end, sizeof end - 1) < 0)
            out->error = errno;
    }
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    /* A second one ends it at once: a step of connecting may take connect_timeout_ms. */
    const struct sigaction stop = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    const struct sigaction resize = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &stop, NULL);
    sigaction(SIGWINCH, &resize, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int cbt_cmd_tail(const struct cbt_args *args)
{
    struct cbt_tail tail = {.args = args, .selection.host = args->host};
    struct cbt_err err;
    catch_signals();
    int status = set_up(&tail);
    if (status == 0 && tail.bus->connect(&tail, &err) != 0)
        status = cbt_cli_fail(&err);
    if (status == 0) {
        if (!args->quiet)
            cbt_log_info("listening", CBT_S("source", tail.source->name), CBT_S("to", tail.listens_to));
        listen_to_bus(&tail);
        tail.bus->disconnect(&tail);
        finish_output(&tail);
        if (tail.out.error != 0 && tail.out.error != EPIPE) {
            cbt_log_error("cannot write to standard output", CBT_S("reason", strerror(tail.out.error)));
            status = CBT_EXIT_FAILED;
        }
        if (!args->quiet || tail.skipped > 0)
            cbt_log_info("done", CBT_I("shown", tail.shown), CBT_I("skipped", tail.skipped),
                         CBT_I("left_out", tail.broken));
    }
    tear_down(&tail);
    return status;
}
