/* SPDX-License-Identifier: MIT */
/* cbtap-loadgen: fills a broker with the events of a fleet, and says whether all of them came out of Kafka.
 */
#include <stdlib.h>

#include "help.h"
#include "options.h"
#include "progress.h"

#define EXIT_USAGE 2

static int run(enum cbt_command command, int argc, char **argv)
{
    struct cbt_err err;
    struct cbt_loadgen_options *options = cbt_bytes_checked(malloc(sizeof(*options)));
    int status = EXIT_USAGE;
    if (cbt_options_parse(options, command, argc, argv, &err))
        cbt_say(NULL, "%s (see cbtap-loadgen %s --help)", err.text, argv[0]);
    else if (options->help)
        status = cbt_help(argv[0]);
    else if (command == CBT_COMMAND_VERIFY)
        status = cbt_verify(&options->verify);
    else
        status = cbt_publish(&options->publish);
    free(options);
    return status;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (!strcmp(command, "publish"))
        return run(CBT_COMMAND_PUBLISH, argc - 1, argv + 1);
    if (!strcmp(command, "verify"))
        return run(CBT_COMMAND_VERIFY, argc - 1, argv + 1);
    if (!strcmp(command, "archive"))
        return run(CBT_COMMAND_ARCHIVE, argc - 1, argv + 1);
    if (!strcmp(command, "serve")) {
        cbt_say(NULL,
                "serve, a feeder that speaks AMQP without being a broker, does not exist in this version");
        return EXIT_USAGE;
    }
    if (!strcmp(command, "version") || !strcmp(command, "--version")) {
        printf("cbtap-loadgen %s\n", CBTAP_VERSION);
        return 0;
    }
    if (!strcmp(command, "help") || !strcmp(command, "--help") || !strcmp(command, "-h"))
        return cbt_help(argc > 2 ? argv[2] : "");
    cbt_say(NULL,
            command[0] ? "there is no command '%s': publish, verify, archive or help"
                       : "which command? publish, verify, archive or help%s",
            command);
    return EXIT_USAGE;
}
