/* SPDX-License-Identifier: MIT */
/*
 * export: turns files into their events, without a server: bundles, zips and single events, or notifications
 * one a line, one file after the other, in order, to standard output.
 *
 * Failure: what cannot be decoded, and a file that cannot be read, is a line on standard error, the rest goes
 * on, and the exit status says that there was something. A reader that goes away (a closed pipe) ends it
 * quietly; any other fault of the output at once, and loudly.
 */
#include "cli/export.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/log.h"
#include "core/config_internal.h"
#include "decode/kind.h"
#include "decode/limits.h"
#include "ingest/source_amqp.h"

#define ROUTING_KEY_MAX_BYTES 255 /* AMQP 0-9-1, shortstr */

static int usage(const char *option, const char *text)
{
    cbt_log_error("wrong usage", CBT_S("option", option), CBT_S("reason", text),
                  CBT_S("help", "cbtap help export"));
    return CBT_EXIT_USAGE;
}

/* A value as the option of the same name in [sink.NAME] takes it; `ret_value` keeps its default without one.
 */
static int take_choice(const char *value, const char *option, const char *key, const char **ret_value)
{
    struct cbt_err err;
    if (value && cbt_option_parse(cbt_option_find(CBT_SECTION_kafka, key), value, ret_value, &err) != 0)
        return usage(option, err.text);
    return 0;
}

static int take_header(struct cbt_export *x, const char *text)
{
#define X_NAME(name, field, kind)   #name,
#define X_LISTED(name, field, kind) ", " #name
    static const char *const names[] = {CBT_AMQP_HEADERS(X_NAME)};
    static const char list[] = CBT_AMQP_HEADERS(X_LISTED);
    const size_t count = sizeof names / sizeof names[0];
    const char *value = strchr(text, '=');
    if (!value)
        return usage("--header", "is not NAME=VALUE");
    size_t len = (size_t)(value++ - text), i = 0;
    while (i < count && (strlen(names[i]) != len || memcmp(text, names[i], len) != 0))
        i++;
    if (i == count) {
        char name[64], phrase[128], reason[320];
        snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), text);
        cbt_nearest_phrase(name, cbt_nearest(name, names, count), phrase, sizeof phrase);
        snprintf(reason, sizeof reason, "\"%s\" is none of %s; %s", name, list + strlen(", "), phrase);
        return usage("--header", reason);
    }
    const amqp_table_entry_t header = {
        .key = amqp_cstring_bytes(names[i]),
        .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(value)},
    };
    if (!cbt_amqp_read_header(&header, &x->env))
        cbt_log_warning("the header's value cannot be read: the events go on without it",
                        CBT_S("header", names[i]), CBT_S("value", value));
    return 0;
}

static int take_options(struct cbt_export *x, const char **ret_format, const char **ret_profile)
{
    const struct cbt_args *args = x->args;
    int status = take_choice(args->format, "--format", "format", ret_format);
    if (status == 0)
        status = take_choice(args->profile, "--profile", "json.profile", ret_profile);
    for (size_t i = 0; i < args->header_count && status == 0; i++)
        status = take_header(x, args->headers[i]);
    if (status != 0)
        return status;
    if (args->word_count == 0)
        return usage("FILE", "none is named; - is standard input");
    if (!args->notification)
        return 0;
    x->routing_key = (struct cbt_text){(const uint8_t *)args->notification, strlen(args->notification)};
    if (x->routing_key.len == 0 || x->routing_key.len > ROUTING_KEY_MAX_BYTES)
        return usage("--notification", "a routing key has 1 to 255 bytes");
    if (args->header_count > 0)
        return usage("--header", "has no effect on notifications: it belongs to sensor events");
    return 0;
}

/* After the configuration, for errors are to look as it says. */
static int open_chain(struct cbt_export *x, const char *format, const char *profile, struct cbt_err *err)
{
    const struct cbt_decode_limits limits = cbt_decode_limits_of(&x->config->decode);
    const struct cbt_options_filter *filter = &x->config->filter;
    const struct cbt_format_options options = {.server_name = x->config->cbtap.server_name,
                                               .server_url = x->config->cbtap.server_url,
                                               .float_time = filter->float_time,
                                               .profile = profile};
    x->format = cbt_format_find(format);
    if (!x->format)
        return cbt_err_set(err, CBT_EUNBUILT, "--format %s is not built in this version (%s)", format,
                           CBTAP_VERSION);
    x->lengths = strcmp(format, "raw") == 0;
    int rc = x->format->open(&x->format_self, &options, err);
    if (rc == 0)
        rc = cbt_filter_new(&x->filter, filter->types, filter->drop, err);
    if (rc == 0)
        rc = cbt_walk_new(&x->walk, &limits, err);
    if (rc == 0)
        rc = cbt_decoder_new(&x->decoder, &limits, err);
    if (rc == 0)
        rc = cbt_export_output_init(&x->out, err);
    return rc;
}

static int set_up(struct cbt_export *x)
{
    const char *format = "json", *profile = "documented";
    const struct cbt_args *args = x->args;
    struct cbt_err err;
    if (cbt_config_load_without_ends(&x->config, args->config_path, args->overrides, args->override_count,
                                     &err) != 0)
        return cbt_cli_fail(&err);
    cbt_cli_configure_log(x->config);
    int status = take_options(x, &format, &profile);
    if (status == 0 && open_chain(x, format, profile, &err) != 0)
        status = cbt_cli_fail(&err);
    return status;
}

static void tear_down(struct cbt_export *x)
{
    if (x->format_self)
        x->format->close(x->format_self);
    cbt_filter_free(x->filter);
    cbt_walk_free(x->walk);
    cbt_decoder_free(x->decoder);
    free(x->out.memory);
    cbt_config_free(x->config);
}

/* False: the output failed. */
static bool take_file(struct cbt_export *x, const char *file, struct cbt_text body)
{
    bool is_stdin = strcmp(file, "-") == 0;
    if (x->args->notification)
        return cbt_export_notifications(x, file, body);
    /* What feeds a pipe may have no event to say; an empty file is one that lost its events. */
    if (is_stdin && body.len == 0)
        return true;
    if (body.len > 0 && body.data[0] == '{' &&
        cbt_kind_of(body, CBT_TEXT("application/protobuf"), CBT_FRAMING_DETECT) == CBT_KIND_EVENT) {
        cbt_log_error("the file holds no sensor events; it looks like JSON: --notification KEY reads one "
                      "notification a line",
                      CBT_S("file", file));
        x->unreadable++;
        return true;
    }
    return cbt_export_sensor_events(x, file, body);
}

static void take_files(struct cbt_export *x)
{
    struct cbt_export_input in = {0};
    struct cbt_err err;
    for (size_t i = 0; i < x->args->word_count; i++) {
        const char *file = x->args->words[i];
        if (cbt_export_read(&in, file, x->config->cbtap.frame_max_bytes, &err) != 0) {
            cbt_log_error("cannot read", CBT_S("file", file), CBT_S("reason", err.text));
            x->unreadable++;
        } else if (!take_file(x, file, (struct cbt_text){in.data, in.len})) {
            break;
        }
    }
    free(in.data);
    /* A file system over the network may say only now that there is no room. */
    if (cbt_export_write(&x->out, true) && close(STDOUT_FILENO) != 0 && errno != EBADF && errno != EINTR)
        x->out.error = errno;
}

static const char *type_name(const struct cbt_export *x, size_t type)
{
    if (type != CBT_TYPE_NOTIFICATION || !x->args->notification)
        return cbt_event_type_name((enum cbt_event_type)type);
    return *x->notification_type ? x->notification_type : x->args->notification;
}

static struct cbt_export_count add_up(const struct cbt_export *x)
{
    struct cbt_export_count sum = {0};
    for (size_t i = 0; i < CBT_TYPES; i++) {
        sum.events += x->counts[i].events;
        sum.dead_letters += x->counts[i].dead_letters;
        sum.filtered += x->counts[i].filtered;
    }
    return sum;
}

static void summarize(const struct cbt_export *x)
{
    struct cbt_export_count sum = add_up(x);
    cbt_log_info("exported", CBT_I("files", x->args->word_count), CBT_I("unreadable", x->unreadable),
                 CBT_I("events", sum.events), CBT_I("dead_letters", sum.dead_letters),
                 CBT_I("filtered", sum.filtered));
    for (size_t i = 0; i < CBT_TYPES; i++) {
        const struct cbt_export_count *count = &x->counts[i];
        if (count->events + count->dead_letters + count->filtered > 0)
            cbt_log_info("exported", CBT_S("type", type_name(x, i)), CBT_I("events", count->events),
                         CBT_I("dead_letters", count->dead_letters), CBT_I("filtered", count->filtered));
    }
}

int cbt_cmd_export(const struct cbt_args *args)
{
    struct cbt_export x = {.args = args};
    signal(SIGPIPE, SIG_IGN);
    int status = set_up(&x);
    if (status == 0) {
        take_files(&x);
        bool reader_left = x.out.error == EPIPE;
        bool broken = x.out.error != 0 && !reader_left;
        if (broken)
            cbt_log_error("cannot write to standard output", CBT_S("reason", strerror(x.out.error)));
        else if (!reader_left && !args->quiet)
            summarize(&x);
        if (broken || x.unreadable > 0 || add_up(&x).dead_letters > 0)
            status = CBT_EXIT_FAILED;
    }
    tear_down(&x);
    return status;
}
