/* SPDX-License-Identifier: MIT */
/* The command line: what the commands share. All of it runs on the main thread. */
#ifndef CBTAP_CLI_CLI_H
#define CBTAP_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "cbtap/config.h"

#define CBT_DEFAULT_CONFIG "/etc/cbtap/cbtap.conf"

/* The exit status (interface: part of the contract). */
enum { CBT_EXIT_DONE = 0, CBT_EXIT_FAILED = 1, CBT_EXIT_USAGE = 2 };

struct cbt_args {
    const char *command;
    const char *config_path; /* NULL: none is given, and the command has no default */
    const char **overrides;  /* of -s, in order: copies, owned */
    size_t override_count;
    bool help, connect, print, configuration_md, events_md, quiet;
    const char *format, *profile, *notification; /* as given; NULL: not given */
    const char **headers;                        /* of --header, in order */
    size_t header_count;
    const char *reason, *source, *since;                   /* of dlq; NULL: not given */
    const char *until, *types, *host, *to, *jobs, *fields; /* of export; NULL: not given */
    size_t count;                                          /* of -n; 0: not given */
    bool raw, all, dry_run, remove, follow;
    const char **froms; /* of --from, in order */
    size_t from_count;
    const char **words; /* what is no option */
    size_t word_count;
};

struct cbt_command {
    const char *name;
    const char *usage;    /* "[-c FILE] ..." */
    const char *summary;  /* one line */
    const char *text;     /* the help page; NULL: not built in this version */
    const char *examples; /* and its end: a literal may have 4095 bytes */
    /* What it knows of cbt_args besides --help: 'c' -c and -s, 'd' that -c has a default, 'k' --connect,
     * 'p' --print, 'm' --configuration-md, 'e' --events-md, 'F' --format, 'P' --profile, 'H' --header, 'N'
     * --notification, 'q' --quiet, 'R' --reason, 'S' --source, 'T' --since, 'U' --until, 't' --type, 'O'
     * --host, 'o' --to, 'j' --jobs, 'x' --remove, 'i' --fields, 'l' --follow, 'n' -n, 'r' --raw, 'a' --all,
     * 'y'
     * --dry-run, 'f' --from, 'w' words. */
    const char *options;
    int (*run)(const struct cbt_args *args); /* NULL where text is */
};

extern const struct cbt_command cbt_commands[];
extern const size_t cbt_command_count;
const struct cbt_command *cbt_command_find(const char *name);

/* Reads what follows the command; on failure says so and returns CBT_EXIT_USAGE, else 0. Secrets in argv are
 * overwritten. */
int cbt_args_parse(struct cbt_args *args, const struct cbt_command *command, int argc, char *argv[]);
void cbt_args_free(struct cbt_args *args);

/* Says that there is no such command and which is the nearest; returns CBT_EXIT_USAGE. */
int cbt_unknown_command(const char *name);
/* Says that it is not built in this version; returns CBT_EXIT_USAGE. */
int cbt_not_built(const struct cbt_command *command);

/* Loads the configuration and sets the log up by it; logs what is wrong. 0, or the exit status. */
int cbt_cli_load(struct cbt_config **ret_config, const struct cbt_args *args);
/* Logs `err`: its first line as an error, what follows (an example) as it stands. Returns the exit status. */
int cbt_cli_fail(const struct cbt_err *err);
void cbt_cli_configure_log(const struct cbt_config *config);

int cbt_cmd_run(const struct cbt_args *args);
int cbt_cmd_check(const struct cbt_args *args);
int cbt_cmd_tail(const struct cbt_args *args);
int cbt_cmd_export(const struct cbt_args *args);
int cbt_cmd_dlq(const struct cbt_args *args);
int cbt_cmd_help(const struct cbt_args *args);
int cbt_cmd_version(const struct cbt_args *args);

void cbt_print_help(const struct cbt_command *command, FILE *out); /* NULL: all commands */

#endif
