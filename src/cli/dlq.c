/* SPDX-License-Identifier: MIT */
/* dlq: looks at dead letters, and sends them through again. Here its arguments, and which part they ask for.
 */
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "cli/dlq.h"
#include "core/config_internal.h"

struct action {
    const char *name;
    const char *options; /* letters of struct cbt_command that it knows besides those of all */
    int (*run)(struct cbt_dlq *dlq);
};

static const struct action actions[] = {
    {"list", "RSTnF", cbt_dlq_list},
    {"show", "r", cbt_dlq_show},
    {"replay", "RSTayf", cbt_dlq_replay},
};
#define ACTIONS (sizeof actions / sizeof actions[0])

int cbt_dlq_usage(const char *option, const char *text)
{
    cbt_log_error("wrong usage", CBT_S("option", option), CBT_S("reason", text),
                  CBT_S("help", "cbtap help dlq"));
    return CBT_EXIT_USAGE;
}

static const struct action *find_action(const struct cbt_args *args)
{
    const char *names[ACTIONS];
    char phrase[128];
    for (size_t i = 0; i < ACTIONS; i++)
        names[i] = actions[i].name;
    if (args->word_count == 0) {
        cbt_dlq_usage("dlq", "say what to do: list, show or replay");
        return NULL;
    }
    for (size_t i = 0; i < ACTIONS; i++)
        if (strcmp(args->words[0], names[i]) == 0)
            return &actions[i];
    cbt_nearest_phrase(args->words[0], cbt_nearest(args->words[0], names, ACTIONS), phrase, sizeof phrase);
    cbt_dlq_usage(args->words[0], phrase);
    return NULL;
}

/* The options that the action does not know. */
static int refuse_options(const struct action *action, const struct cbt_args *args)
{
    const struct {
        char letter;
        const char *name;
        bool given;
    } options[] = {{'R', "--reason", args->reason != NULL},
                   {'S', "--source", args->source != NULL},
                   {'T', "--since", args->since != NULL},
                   {'n', "-n", args->count > 0},
                   {'F', "--format", args->format != NULL},
                   {'r', "--raw", args->raw},
                   {'a', "--all", args->all},
                   {'y', "--dry-run", args->dry_run},
                   {'f', "--from", args->from_count > 0}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        char reason[64];
        if (!options[i].given || strchr(action->options, options[i].letter))
            continue;
        snprintf(reason, sizeof reason, "dlq %s does not know it", action->name);
        return cbt_dlq_usage(options[i].name, reason);
    }
    return 0;
}

static int check_words(const struct cbt_dlq *dlq, const struct action *action)
{
    const struct cbt_args *args = dlq->args;
    bool all = args->all || args->from_count > 0;
    if (action->run == cbt_dlq_list && dlq->where_count > 0)
        return cbt_dlq_usage(dlq->wheres[0], "list takes no WHERE: show does");
    if (action->run == cbt_dlq_show && dlq->where_count != 1)
        return cbt_dlq_usage("WHERE",
                             "show takes one: PARTITION:OFFSET or a file's name, as list writes them");
    if (action->run == cbt_dlq_replay && all == (dlq->where_count > 0))
        return cbt_dlq_usage("WHERE", "say which, PARTITION:OFFSET or a file's name as list writes them, or "
                                      "--all, or --from PARTITION:OFFSET");
    for (size_t i = 0; i < dlq->where_count; i++)
        if (!*dlq->wheres[i] || strchr(dlq->wheres[i], '/'))
            return cbt_dlq_usage(dlq->wheres[i], "is neither PARTITION:OFFSET nor the name of a file in "
                                                 "dead_letter_dir");
    return 0;
}

static int take_options(struct cbt_dlq *dlq, const struct action *action)
{
    const struct cbt_args *args = dlq->args;
    int32_t partition;
    int64_t offset;
    int status = refuse_options(action, args);
    if (status == 0)
        status = check_words(dlq, action);
    if (status != 0)
        return status;
    if (args->format && strcmp(args->format, "table") != 0 && strcmp(args->format, "json") != 0)
        return cbt_dlq_usage("--format", "is table or json");
    if (args->since && !cbt_dlq_parse_time(args->since, cbt_wall_ms(), &dlq->since_ms))
        return cbt_dlq_usage("--since", "is a time in UTC as 2026-11-26 or 2026-11-26T18:00:05Z, or how long "
                                        "ago: 90s, 45m, 2h, 7d");
    for (size_t i = 0; i < args->from_count; i++)
        if (!cbt_dlq_is_offset(args->froms[i], &partition, &offset))
            return cbt_dlq_usage("--from", "is PARTITION:OFFSET, e.g. 0:1200");
    return 0;
}

int cbt_cmd_dlq(const struct cbt_args *args)
{
    struct cbt_dlq dlq = {.args = args, .dir = {.fd = -1}};
    struct cbt_err err;
    const struct action *action = find_action(args);
    if (!action)
        return CBT_EXIT_USAGE;
    dlq.wheres = args->words + 1;
    dlq.where_count = args->word_count - 1;
    int status = take_options(&dlq, action);
    if (status != 0)
        return status;
    if (cbt_config_load_without_ends(&dlq.config, args->config_path, args->overrides, args->override_count,
                                     &err) != 0)
        return cbt_cli_fail(&err);
    cbt_cli_configure_log(dlq.config);
    if (dlq.config->sink_count == 0) {
        cbt_log_error("no [sink.NAME] section: where dead letters are is said there",
                      CBT_S("config", args->config_path));
        status = CBT_EXIT_USAGE;
    } else {
        dlq.sink = &dlq.config->sinks[0]; /* the one that takes dead letters, see pipeline_make.c */
        status = cbt_dlq_open(&dlq);
        if (status == 0)
            status = action->run(&dlq);
    }
    cbt_dlq_close(&dlq);
    return status;
}
