/* SPDX-License-Identifier: MIT */
/* help, version, and the commands of the contract that are not built yet. */
#include <amqp.h>
#include <hiredis/hiredis.h>
#include <librdkafka/rdkafka.h>

#include <string.h>

#include "cbtap/format.h"
#include "cbtap/log.h"
#include "cli/cli.h"

static void print_all(FILE *out)
{
    fputs("cbtap " CBTAP_VERSION ": Carbon Black EDR events to Kafka\n"
          "\n"
          "Usage: cbtap COMMAND [OPTION]...\n"
          "\n",
          out);
    for (size_t i = 0; i < cbt_command_count; i++)
        fprintf(out, "  %-8s %s%s\n", cbt_commands[i].name, cbt_commands[i].summary,
                cbt_commands[i].text ? "" : " (not built in this version)");
    fputs("\n"
          "The configuration is " CBT_DEFAULT_CONFIG ", or what -c names. The shortest one that works:\n"
          "\n"
          "  [source.bus]\n"
          "  type = amqp\n"
          "  url  = amqp://USER:PASSWORD@127.0.0.1:5004/%2F\n"
          "\n"
          "  [sink.kafka]\n"
          "  type = kafka\n"
          "  kafka.bootstrap.servers = 127.0.0.1:9092\n"
          "\n"
          "First steps:\n"
          "  cbtap check --connect   is the configuration right, are the peers there?\n"
          "  cbtap run               the daemon\n"
          "  cbtap help run          more about a command\n"
          "\n"
          "Exit status: 0 done, 1 failed while running, 2 wrong usage or configuration.\n",
          out);
}

void cbt_print_help(const struct cbt_command *command, FILE *out)
{
    if (!command) {
        print_all(out);
        return;
    }
    fprintf(out, "Usage: cbtap %s%s%s\n\n", command->name, *command->usage ? " " : "", command->usage);
    if (command->text)
        fprintf(out, "%s%s", command->text, command->examples);
    else
        fprintf(out, "%s: is not built in this version (" CBTAP_VERSION ").\n", command->summary);
}

int cbt_cmd_help(const struct cbt_args *args)
{
    if (args->configuration_md)
        return cbt_config_print_docs(stdout) == 0 ? CBT_EXIT_DONE : CBT_EXIT_FAILED;
    if (args->events_md)
        return cbt_events_print_docs(stdout) == 0 ? CBT_EXIT_DONE : CBT_EXIT_FAILED;
    if (args->word_count > 1) {
        cbt_log_error("help explains one command at a time");
        return CBT_EXIT_USAGE;
    }
    const struct cbt_command *command = args->word_count ? cbt_command_find(args->words[0]) : NULL;
    if (args->word_count && !command)
        return cbt_unknown_command(args->words[0]);
    cbt_print_help(command, stdout);
    return fflush(stdout) == 0 ? CBT_EXIT_DONE : CBT_EXIT_FAILED;
}

int cbt_cmd_version(const struct cbt_args *args)
{
    (void)args;
    printf("cbtap %s\n", CBTAP_VERSION);
    printf("librdkafka %s, rabbitmq-c %s, hiredis %d.%d.%d\n", rd_kafka_version_str(), amqp_version(),
           HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
    return fflush(stdout) == 0 ? CBT_EXIT_DONE : CBT_EXIT_FAILED;
}

int cbt_not_built(const struct cbt_command *command)
{
    cbt_log_error("the command is not built in this version", CBT_S("command", command->name),
                  CBT_S("version", CBTAP_VERSION));
    return CBT_EXIT_USAGE;
}
