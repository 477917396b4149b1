/* SPDX-License-Identifier: MIT */
/* The options of export: what they mean, and what does not go together. */
#include "cli/export.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "cli/dlq.h"
#include "core/config_internal.h"
#include "ingest/source_amqp.h"

#define ROUTING_KEY_MAX_BYTES 255 /* AMQP 0-9-1, shortstr */
#define JOBS_MAX              256

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

/* All formats that there are: of a sink fewer, which its section says. */
static int take_format(const char *value, const char **ret_format)
{
#define CBT_FORMAT(name) #name,
    static const char *const names[] = {
#include "format/formats.def"
    };
#define CBT_FORMAT(name) ", " #name
    static const char list[] =
#include "format/formats.def"
        ;
    const size_t count = sizeof names / sizeof names[0];
    char phrase[128], reason[320];
    if (value == NULL)
        return 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], value) == 0) {
            *ret_format = names[i];
            return 0;
        }
    cbt_nearest_phrase(value, cbt_nearest(value, names, count), phrase, sizeof phrase);
    snprintf(reason, sizeof reason, "\"%.64s\" is none of %s; %s", value, list + strlen(", "), phrase);
    return usage("--format", reason);
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

/* "2h" and "-2h" are the same: so long ago. */
static int take_time(const char *option, const char *text, int64_t *ret_unix_ms)
{
    if (text == NULL || cbt_dlq_parse_time(*text == '-' ? text + 1 : text, cbt_wall_ms(), ret_unix_ms))
        return 0;
    return usage(option, "is a time, 2026-11-26 or 2026-11-26T18:00Z (UTC), or so long ago: -45m, -2h, -7d");
}

static int take_filters(struct cbt_export *x)
{
    const struct cbt_args *args = x->args;
    struct cbt_selection *selection = &x->selection;
    *selection = (struct cbt_selection){.host = args->host,
                                        .timed = args->since || args->until,
                                        .since_ms = INT64_MIN,
                                        .until_ms = INT64_MAX};
    int status = take_time("--since", args->since, &selection->since_ms);
    if (status == 0)
        status = take_time("--until", args->until, &selection->until_ms);
    for (size_t i = 0; i < args->word_count && args->follow && status == 0; i++)
        if (strcmp(args->words[i], "-") == 0)
            status = usage("--follow", "does not go with standard input");
    if (status == 0 && args->remove && (selection->timed || args->host || args->types))
        status = usage("--remove", "would remove what --type, --host, --since or --until leave out");
    if (status == 0 && selection->since_ms >= selection->until_ms)
        status = usage("--until", "is not later than --since: no event is between them");
    return status;
}

static int take_jobs(struct cbt_export *x)
{
    const char *text = x->args->jobs;
    char *end;
    long jobs = text ? strtol(text, &end, 10) : sysconf(_SC_NPROCESSORS_ONLN);
    if (text && (*text < '0' || *text > '9' || *end || jobs < 1 || jobs > JOBS_MAX))
        return usage("--jobs", "is a number from 1 to 256");
    x->jobs = jobs < 1 ? 1 : jobs > JOBS_MAX ? JOBS_MAX : (unsigned)jobs;
    return 0;
}

int cbt_export_options(struct cbt_export *x, const char **ret_format, const char **ret_profile)
{
    const struct cbt_args *args = x->args;
    int status = take_format(args->format, ret_format);
    if (status == 0)
        status = take_choice(args->profile, "--profile", "json.profile", ret_profile);
    for (size_t i = 0; i < args->header_count && status == 0; i++)
        status = take_header(x, args->headers[i]);
    bool has_fields = strcmp(*ret_format, "csv") == 0 || strcmp(*ret_format, "table") == 0;
    if (status == 0 && args->fields && !has_fields)
        status = usage("--fields", "has no effect but with --format csv and table");
    if (status == 0)
        status = take_filters(x);
    if (status == 0)
        status = take_jobs(x);
    if (status != 0)
        return status;
    if (args->word_count == 0)
        return usage("PATH", "none is named; - is standard input");
    if (!args->notification)
        return 0;
    x->routing_key = (struct cbt_text){(const uint8_t *)args->notification, strlen(args->notification)};
    if (x->routing_key.len == 0 || x->routing_key.len > ROUTING_KEY_MAX_BYTES)
        return usage("--notification", "a routing key has 1 to 255 bytes");
    if (args->header_count > 0)
        return usage("--header", "has no effect on notifications: it belongs to sensor events");
    return 0;
}
