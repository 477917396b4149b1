/* SPDX-License-Identifier: MIT */
/* The command line of cbtap-loadgen. */
#ifndef CBT_LOADGEN_OPTIONS_H
#define CBT_LOADGEN_OPTIONS_H

#include "publish.h"
#include "verify.h"

#define CBT_OPTIONS_LIST_MAX 4096

/* Everything that any command takes. The strings are the command line's own. */
struct cbt_loadgen_options {
    struct cbt_publish_options publish;
    struct cbt_verify_options verify;
    const char *files[CBT_OPTIONS_LIST_MAX + 1];      /* to replay */
    const char *properties[CBT_OPTIONS_LIST_MAX + 1]; /* of librdkafka */
    bool help;
};

enum cbt_command { CBT_COMMAND_PUBLISH, CBT_COMMAND_VERIFY, CBT_COMMAND_ARCHIVE };

/* argv[0] is the command's name. */
int cbt_options_parse(struct cbt_loadgen_options *ret_options, enum cbt_command command, int argc,
                      char **argv, struct cbt_err *err);

#endif
