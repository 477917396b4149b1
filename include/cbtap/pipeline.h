/* SPDX-License-Identifier: MIT */
/* The pipeline: which threads, which rings, in which order they start and stop. */
#ifndef CBTAP_PIPELINE_H
#define CBTAP_PIPELINE_H

#include "cbtap/config.h"
#include "cbtap/err.h"
#include "cbtap/metrics.h"

struct cbt_pipeline;
struct cbt_selection;

/* Builds everything, without starting a thread or touching a peer. `config` must outlive the pipeline.
 * @thread main */
int cbt_pipeline_new(struct cbt_pipeline **ret_pipeline, const struct cbt_config *config,
                     struct cbt_err *err);

/* Which of the events that the filter takes are wanted; without this, all. It must outlive the pipeline.
 * @thread main, before start */
void cbt_pipeline_select(struct cbt_pipeline *pipeline, const struct cbt_selection *selection);

/* Starts sinks, workers, receivers, in that order, and the HTTP listener. @thread main */
int cbt_pipeline_start(struct cbt_pipeline *pipeline, struct cbt_err *err);

/* Stops in order: receivers stop reading; what is in flight is delivered and settled within
 * shutdown_timeout_ms; the rest is not acknowledged. Returns 0, or CBT_ELIMIT when something was left.
 * @thread main */
int cbt_pipeline_stop(struct cbt_pipeline *pipeline, struct cbt_err *err);

void cbt_pipeline_free(struct cbt_pipeline *pipeline);

/* /readyz. @thread any */
bool cbt_pipeline_ready(struct cbt_pipeline *pipeline, char *ret_reasons, size_t reasons_bytes);

/* SIGHUP: filters of `config` take effect, and TLS files that changed. `config` must outlive the pipeline.
 * @thread main */
int cbt_pipeline_reload(struct cbt_pipeline *pipeline, const struct cbt_config *config, struct cbt_err *err);

/* SIGUSR1: a summary to the log. @thread main */
void cbt_pipeline_log_status(struct cbt_pipeline *pipeline);

const struct cbt_metrics *cbt_pipeline_metrics(const struct cbt_pipeline *pipeline);

#endif
