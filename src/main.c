/* SPDX-License-Identifier: MIT */
/* Finds the command and runs it. */
#include <string.h>

#include "cbtap/log.h"
#include "cli/cli.h"

int main(int argc, char *argv[])
{
    struct cbt_args args;
    if (argc < 2) {
        cbt_print_help(NULL, stderr);
        return CBT_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    else if (strcmp(name, "--version") == 0)
        name = "version";
    const struct cbt_command *command = cbt_command_find(name);
    if (!command)
        return cbt_unknown_command(name);
    int status = cbt_args_parse(&args, command, argc - 1, argv + 1);
    if (status == 0 && args.help)
        cbt_print_help(command, stdout);
    else if (status == 0)
        status = command->run(&args);
    cbt_args_free(&args);
    return status;
}
