/* SPDX-License-Identifier: MIT */
/* Reads a command's arguments; names the nearest known option or command where one is unknown. */
#include <getopt.h>
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

static bool knows(const struct cbt_command *command, int letter)
{
    return letter == 'h' || strchr(command->options, letter == 's' ? 'c' : letter) != NULL;
}

static int unknown_option(const struct cbt_command *command, const char *option)
{
    static const struct {
        const char *word;
        int letter;
    } options[] = {{"--help", 'h'}, {"--connect", 'k'}, {"--print", 'p'}, {"-c", 'c'}, {"-s", 's'}};
    const char *words[5];
    size_t count = 0;
    char phrase[128], see[64], shown[64];
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (knows(command, options[i].letter))
            words[count++] = options[i].word;
    snprintf(shown, sizeof shown, "%.*s", (int)strcspn(option, "="), option);
    cbt_nearest_phrase(shown, cbt_nearest(shown, words, count), phrase, sizeof phrase);
    snprintf(see, sizeof see, "cbtap help %s", command->name);
    cbt_log_error("unknown option", CBT_S("option", shown), CBT_S("hint", phrase), CBT_S("help", see));
    return CBT_EXIT_USAGE;
}

int cbt_args_parse(struct cbt_args *args, const struct cbt_command *command, int argc, char *argv[])
{
    static const struct option longs[] = {{"help", no_argument, NULL, 'h'},
                                          {"connect", no_argument, NULL, 'k'},
                                          {"print", no_argument, NULL, 'p'},
                                          {"configuration-md", no_argument, NULL, 'm'},
                                          {0}};
    *args = (struct cbt_args){.command = command->name, .config_path = CBT_DEFAULT_CONFIG};
    args->overrides = calloc((size_t)argc + 1, sizeof *args->overrides);
    args->words = calloc((size_t)argc + 1, sizeof *args->words);
    if (!args->overrides || !args->words) {
        cbt_log_error("out of memory");
        return CBT_EXIT_FAILED;
    }
    opterr = 0;
    optind = 1;
    for (;;) {
        int at = optind < argc ? optind : argc - 1;
        int letter = getopt_long(argc, argv, "-:c:s:h", longs, NULL);
        if (letter == -1)
            break;
        if (letter == ':') {
            cbt_log_error("the option needs a value", CBT_S("option", argv[at]));
            return CBT_EXIT_USAGE;
        }
        if (letter == '?' || (letter != 1 && !knows(command, letter)))
            return unknown_option(command, argv[at]);
        if (letter == 1 && !knows(command, 'w')) {
            cbt_log_error("an argument too many", CBT_S("command", command->name), CBT_S("argument", optarg));
            return CBT_EXIT_USAGE;
        }
        if (letter == 'c')
            args->config_path = optarg;
        else if (letter == 's')
            args->overrides[args->override_count++] = optarg;
        else if (letter == 1)
            args->words[args->word_count++] = optarg;
        args->help |= letter == 'h';
        args->connect |= letter == 'k';
        args->print |= letter == 'p';
        args->configuration_md |= letter == 'm';
    }
    return 0;
}

void cbt_args_free(struct cbt_args *args)
{
    free((void *)args->overrides);
    free((void *)args->words);
}
