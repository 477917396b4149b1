/* SPDX-License-Identifier: MIT */
/* Loads the configuration for a command and tells people what is wrong with it. */
#include <string.h>
#include <sys/prctl.h>

#include "cbtap/log.h"
#include "cli/cli.h"

int cbt_cli_fail(const struct cbt_err *err)
{
    char first[CBT_ERR_TEXT_BYTES];
    size_t len = strcspn(err->text, "\n");
    memcpy(first, err->text, len);
    first[len] = '\0';
    cbt_log_error(first);
    if (err->text[len])
        fputs(err->text + len + 1, stderr);
    return err->rc == CBT_EINVAL || err->rc == CBT_EUNBUILT ? CBT_EXIT_USAGE : CBT_EXIT_FAILED;
}

void cbt_cli_configure_log(const struct cbt_config *config)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    enum cbt_log_level level = CBT_LOG_INFO;
    for (unsigned i = 0; i < 4; i++)
        if (strcmp(config->cbtap.log_level, levels[i]) == 0)
            level = (enum cbt_log_level)i;
    cbt_log_configure(level, strcmp(config->cbtap.log_format, "json") == 0 ? CBT_LOG_JSON : CBT_LOG_TEXT);
}

int cbt_cli_load(struct cbt_config **ret_config, const struct cbt_args *args)
{
    struct cbt_err err;
    if (cbt_config_load(ret_config, args->config_path, args->overrides, args->override_count, &err) != 0)
        return cbt_cli_fail(&err);
    cbt_cli_configure_log(*ret_config);
    if ((*ret_config)->cbtap.core_dumps)
        prctl(PR_SET_DUMPABLE, 1);
    return 0;
}
