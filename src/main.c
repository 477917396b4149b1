/* SPDX-License-Identifier: MIT */
/* Finds the command and runs it. */
#include <string.h>
#include <sys/prctl.h>

#include "cbtap/log.h"
#include "cli/cli.h"

static bool asks_for_help(int argc, char *argv[])
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

int main(int argc, char *argv[])
{
    struct cbt_args args;
    /* Memory will hold passwords: no core dump, no debugger but root's, and /proc/PID/environ and mem are
     * root's. core_dumps = true takes it back. */
    prctl(PR_SET_DUMPABLE, 0);
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
    /* Their options are not known yet, so that none is wrong. */
    if (!command->text && asks_for_help(argc, argv)) {
        cbt_print_help(command, stdout);
        return CBT_EXIT_DONE;
    }
    if (!command->text)
        return cbt_not_built(command);
    int status = cbt_args_parse(&args, command, argc - 1, argv + 1);
    if (status == 0 && args.help)
        cbt_print_help(command, stdout);
    else if (status == 0)
        status = command->run(&args);
    cbt_args_free(&args);
    return status;
}
