/* SPDX-License-Identifier: MIT */
/* Sinks: where records go. Each has threads of its own, which report deliveries by settling frames. */
#ifndef CBTAP_SINK_H
#define CBTAP_SINK_H

#include "cbtap/config.h"
#include "cbtap/err.h"
#include "cbtap/frame.h"
#include "cbtap/metrics.h"
#include "cbtap/settle.h"

#define CBT_SINKS_MAX 8

struct cbt_sink_context {
    const struct cbt_sink_config *config;
    const struct cbt_options_cbtap *options; /* server_name, inflight_bytes, ... */
    struct cbt_settler *settler; /* for the sink's delivery thread, which is the only one to use it */
    struct cbt_stats *stats;     /* the delivery thread's counters */
    unsigned workers;            /* submit is called from that many threads, with worker in [0, workers) */
    uint32_t records_max;        /* of one submit call */
};

struct cbt_sink {
    const char *type; /* "kafka" */

    /* Starts its threads. A peer that is absent is no error: it is tried for ever. @thread main */
    int (*open)(void **ret_self, const struct cbt_sink_context *context, struct cbt_err *err);

    /* Takes the records over, in order; waits where the sink is full, gone, or does not yet know its
     * partitions. After that the sink owes cbt_settle(record->frame, 1) for each: when it is delivered, or is
     * a dead letter that is delivered or stored. `recs` itself may be reused at once; the records live in
     * their frames. @thread worker */
    void (*submit)(void *self, unsigned worker, struct cbt_record *const recs[], size_t count);

    /* Waits until all is delivered, at most timeout_ms; 0, or CBT_ELIMIT with a text that says how many are
     * left. No submit may be under way. @thread main */
    int (*drain)(void *self, int timeout_ms, struct cbt_err *err);

    /* submit returns at once from now on, without taking anything over (shutdown time-out). @thread main */
    void (*abandon)(void *self);

    void (*close)(void *self);

    /* True when records would be delivered now; else why not, for people. @thread any */
    bool (*ready)(void *self, char *ret_reason, size_t reason_bytes);

    /* SIGHUP: reads files that it was given by name again, without a loss. NULL: it has none. @thread main */
    void (*reload)(void *self);

    int (*probe)(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                 char *ret_report, size_t report_bytes, struct cbt_err *err);

    /* Checks what the option table cannot (properties refused, warnings logged); no I/O. @thread main */
    int (*check)(const struct cbt_sink_config *config, const struct cbt_options_cbtap *options,
                 struct cbt_err *err);
};

/* The row of sinks.def with that type, or NULL. @thread any */
const struct cbt_sink *cbt_sink_find(const char *type);

#endif
