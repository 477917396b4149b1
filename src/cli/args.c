/* SPDX-License-Identifier: MIT */
/* Reads a command's arguments; names the nearest known option or command where one is unknown. */
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/log.h"
#include "cli/cli.h"
#include "core/config_internal.h"

int cbt_unknown_command(const char *name)
{
    const char *names[16];
    char phrase[128];
    for (size_t i = 0; i < cbt_command_count; i++)
        names[i] = cbt_commands[i].name;
    cbt_nearest_phrase(name, cbt_nearest(name, names, cbt_command_count), phrase, sizeof phrase);
    cbt_log_error("unknown command", CBT_S("command", name), CBT_S("hint", phrase),
                  CBT_S("all", "cbtap help"));
    return CBT_EXIT_USAGE;
}

/* The letters are those of struct cbt_command; of these only h is an option of its own, too. */
static const struct option longs[] = {{"help", no_argument, NULL, 'h'},
                                      {"connect", no_argument, NULL, 'k'},
                                      {"print", no_argument, NULL, 'p'},
                                      {"configuration-md", no_argument, NULL, 'm'},
                                      {"events-md", no_argument, NULL, 'e'},
                                      {"format", required_argument, NULL, 'F'},
                                      {"profile", required_argument, NULL, 'P'},
                                      {"header", required_argument, NULL, 'H'},
                                      {"notification", required_argument, NULL, 'N'},
                                      {"quiet", no_argument, NULL, 'q'},
                                      {"reason", required_argument, NULL, 'R'},
                                      {"source", required_argument, NULL, 'S'},
                                      {"since", required_argument, NULL, 'T'},
                                      {"until", required_argument, NULL, 'U'},
                                      {"type", required_argument, NULL, 't'},
                                      {"host", required_argument, NULL, 'O'},
                                      {"to", required_argument, NULL, 'o'},
                                      {"jobs", required_argument, NULL, 'j'},
                                      {"remove", no_argument, NULL, 'x'},
                                      {"fields", required_argument, NULL, 'i'},
                                      {"follow", no_argument, NULL, 'l'},
                                      {"raw", no_argument, NULL, 'r'},
                                      {"all", no_argument, NULL, 'a'},
                                      {"dry-run", no_argument, NULL, 'y'},
                                      {"from", required_argument, NULL, 'f'},
                                      {0}};
#define LONGS (sizeof longs / sizeof longs[0] - 1)

static bool knows(const struct cbt_command *command, int letter)
{
    return letter == 'h' || strchr(command->options, letter == 's' ? 'c' : letter) != NULL;
}

static int unknown_option(const struct cbt_command *command, const char *option)
{
    char dashed[LONGS][24], phrase[128], see[64], shown[64];
    const char *words[LONGS + 3];
    size_t count = 0;
    for (size_t i = 0; i < LONGS; i++) {
        if (!knows(command, longs[i].val))
            continue;
        snprintf(dashed[i], sizeof dashed[i], "--%s", longs[i].name);
        words[count++] = dashed[i];
    }
    if (knows(command, 'c')) {
        words[count++] = "-c";
        words[count++] = "-s";
    }
    if (knows(command, 'n'))
        words[count++] = "-n";
    snprintf(shown, sizeof shown, "%.*s", (int)strcspn(option, "="), option);
    cbt_nearest_phrase(shown, cbt_nearest(shown, words, count), phrase, sizeof phrase);
    snprintf(see, sizeof see, "cbtap help %s", command->name);
    cbt_log_error("unknown option", CBT_S("option", shown), CBT_S("hint", phrase), CBT_S("help", see));
    return CBT_EXIT_USAGE;
}

static void take(struct cbt_args *args, int letter, const char *value)
{
    switch (letter) {
    case 'c':
        args->config_path = value;
        break;
    case 'F':
        args->format = value;
        break;
    case 'P':
        args->profile = value;
        break;
    case 'H':
        args->headers[args->header_count++] = value;
        break;
    case 'N':
        args->notification = value;
        break;
    case 'R':
        args->reason = value;
        break;
    case 'S':
        args->source = value;
        break;
    case 'T':
        args->since = value;
        break;
    case 'U':
        args->until = value;
        break;
    case 't':
        args->types = value;
        break;
    case 'O':
        args->host = value;
        break;
    case 'o':
        args->to = value;
        break;
    case 'i':
        args->fields = value;
        break;
    case 'j':
        args->jobs = value;
        break;
    case 'f':
        args->froms[args->from_count++] = value;
        break;
    default:
        break;
    }
    args->raw |= letter == 'r';
    args->all |= letter == 'a';
    args->dry_run |= letter == 'y';
    args->remove |= letter == 'x';
    args->follow |= letter == 'l';
    args->help |= letter == 'h';
    args->connect |= letter == 'k';
    args->print |= letter == 'p';
    args->configuration_md |= letter == 'm';
    args->events_md |= letter == 'e';
    args->quiet |= letter == 'q';
}

/* Keeps a copy of what -s gives, and takes a secret out of the process list. */
static int take_override(struct cbt_args *args, char *value)
{
    char *copy = strdup(value);
    if (!copy) {
        cbt_log_error("out of memory");
        return CBT_EXIT_FAILED;
    }
    args->overrides[args->override_count++] = copy;
    struct cbt_text secret = cbt_config_override_secret(copy);
    if (secret.len == 0)
        return 0;
    memset(value + ((const char *)secret.data - copy), '*', secret.len);
    char key[128];
    snprintf(key, sizeof key, "%.*s", (int)strcspn(copy, "="), copy);
    cbt_log_warning("a secret on the command line: it is overwritten, but was there to read; write key=@FILE",
                    CBT_S("key", key));
    return 0;
}

static int take_count(struct cbt_args *args, const char *value)
{
    char *end;
    errno = 0;
    unsigned long long count = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || errno != 0 || count == 0 || count > SIZE_MAX / 2) {
        cbt_log_error("wrong usage", CBT_S("option", "-n"), CBT_S("reason", "is a number from 1 on"));
        return CBT_EXIT_USAGE;
    }
    args->count = count;
    return 0;
}

static int take_word(struct cbt_args *args, const struct cbt_command *command, const char *word)
{
    if (!knows(command, 'w')) {
        cbt_log_error("an argument too many", CBT_S("command", command->name), CBT_S("argument", word));
        return CBT_EXIT_USAGE;
    }
    args->words[args->word_count++] = word;
    return 0;
}

int cbt_args_parse(struct cbt_args *args, const struct cbt_command *command, int argc, char *argv[])
{
    *args = (struct cbt_args){.command = command->name,
                              .config_path = knows(command, 'd') ? CBT_DEFAULT_CONFIG : NULL};
    args->overrides = calloc((size_t)argc + 1, sizeof *args->overrides);
    args->headers = calloc((size_t)argc + 1, sizeof *args->headers);
    args->words = calloc((size_t)argc + 1, sizeof *args->words);
    args->froms = calloc((size_t)argc + 1, sizeof *args->froms);
    if (!args->overrides || !args->headers || !args->words || !args->froms) {
        cbt_log_error("out of memory");
        return CBT_EXIT_FAILED;
    }
    opterr = 0;
    optind = 1;
    int status = 0;
    while (status == 0) {
        int at = optind < argc ? optind : argc - 1;
        int letter = getopt_long(argc, argv, "-:c:s:n:h", longs, NULL);
        if (letter == -1)
            break;
        if (letter == ':') {
            cbt_log_error("the option needs a value", CBT_S("option", argv[at]));
            return CBT_EXIT_USAGE;
        }
        if (letter == '?' || (letter != 1 && !knows(command, letter)))
            return unknown_option(command, argv[at]);
        if (letter == 1)
            status = take_word(args, command, optarg);
        else if (letter == 'n')
            status = take_count(args, optarg);
        else if (letter == 's')
            status = take_override(args, optarg);
        else
            take(args, letter, optarg);
    }
    /* What follows "--" is no option, whatever it begins with. */
    while (optind < argc && status == 0)
        status = take_word(args, command, argv[optind++]);
    return status;
}

void cbt_args_free(struct cbt_args *args)
{
    for (size_t i = 0; i < args->override_count; i++)
        free((void *)args->overrides[i]);
    free((void *)args->overrides);
    free((void *)args->headers);
    free((void *)args->froms);
    free((void *)args->words);
}
