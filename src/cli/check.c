/* SPDX-License-Identifier: MIT */
/*
 * check: builds the whole pipeline from the configuration, without starting it, and takes it down again; with
 * --connect it then asks every source and sink for its peer. Data (--print) goes to standard output, findings
 * to standard error.
 */
#include <string.h>

#include "cbtap/log.h"
#include "cbtap/pipeline.h"
#include "cbtap/sink.h"
#include "cbtap/source.h"
#include "cli/cli.h"
#include "core/config_internal.h"

#define REPORT_BYTES 1024

static bool report(const char *section, int rc, const char *found, const struct cbt_err *err)
{
    if (rc == 0)
        cbt_log_info("ok", CBT_S("section", section), CBT_S("found", found));
    else
        cbt_log_error("failed", CBT_S("section", section), CBT_S("reason", err->text));
    return rc == 0;
}

static bool probe_all(const struct cbt_config *config)
{
    char section[128], found[REPORT_BYTES];
    bool all = true;
    struct cbt_err err;
    for (size_t i = 0; i < config->source_count; i++) {
        const struct cbt_source *source = cbt_source_find(config->sources[i].type);
        snprintf(section, sizeof section, "source.%s", config->sources[i].name);
        found[0] = '\0';
        int rc = source ? source->probe(&config->sources[i], found, sizeof found, &err)
                        : cbt_err_set(&err, CBT_EUNBUILT, "no such source");
        all &= report(section, rc, found, &err);
    }
    for (size_t i = 0; i < config->sink_count; i++) {
        const struct cbt_sink *sink = cbt_sink_find(config->sinks[i].type);
        snprintf(section, sizeof section, "sink.%s", config->sinks[i].name);
        found[0] = '\0';
        int rc = sink ? sink->probe(&config->sinks[i], &config->cbtap, found, sizeof found, &err)
                      : cbt_err_set(&err, CBT_EUNBUILT, "no such sink");
        all &= report(section, rc, found, &err);
    }
    return all;
}

int cbt_cmd_check(const struct cbt_args *args)
{
    struct cbt_config *config = NULL;
    struct cbt_pipeline *pipeline = NULL;
    struct cbt_err err;
    int status = cbt_cli_load(&config, args);
    if (status != 0)
        return status;
    /* The findings are what was asked for, whatever the log's level. */
    cbt_log_configure(CBT_LOG_INFO,
                      strcmp(config->cbtap.log_format, "json") == 0 ? CBT_LOG_JSON : CBT_LOG_TEXT);
    cbt_config_warn(config);
    if (cbt_pipeline_new(&pipeline, config, &err) != 0) {
        status = cbt_cli_fail(&err);
        goto out;
    }
    if (args->print && cbt_config_print(config, stdout) != 0) {
        cbt_log_error("cannot write to standard output");
        status = CBT_EXIT_FAILED;
    }
    cbt_log_info("the configuration is valid", CBT_S("file", args->config_path),
                 CBT_I("sources", config->source_count), CBT_I("sinks", config->sink_count));
    if (args->connect && !probe_all(config))
        status = CBT_EXIT_FAILED;
out:
    cbt_pipeline_free(pipeline);
    cbt_config_free(config);
    return status;
}
