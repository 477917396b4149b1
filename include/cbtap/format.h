/* SPDX-License-Identifier: MIT */
/* Output formats: from an event to the bytes of a record's value. Pure: no I/O, no globals, any thread. */
#ifndef CBTAP_FORMAT_H
#define CBTAP_FORMAT_H

#include <stdio.h>

#include "cbtap/buf.h"
#include "cbtap/err.h"
#include "cbtap/event.h"

struct cbt_format_options {
    const char *server_name; /* cb_server */
    const char *server_url;  /* NULL or "": no links; need not end in '/' */
    bool float_time;
    const char *profile; /* json.profile; NULL: documented */
    /* Of table and csv alone. */
    const char *fields; /* keys of the json format, separated by commas; NULL or "": the format's choice */
    const char *type;   /* csv: the only type that comes, for that choice; NULL: there are several */
    unsigned width;     /* table: columns of the terminal; 0: lines are whole */
    bool colours;       /* table: the type in colour, by escape sequences */
};

struct cbt_format {
    const char *name;
    /* Its records say type, sensor_id and host in headers, where the sink has such; the value alone would
     * not. */
    bool headers;
    /* NULL, or: appends what stands before the first event, which may be nothing. A newline is to follow
     * where it is something. @thread main */
    void (*head)(const void *self, struct cbt_buf *out);
    /* Copies what it needs of the options. One instance serves all workers: encode only reads it. @thread
     * main */
    int (*open)(void **ret_self, const struct cbt_format_options *options, struct cbt_err *err);
    /* Appends one record's value to `out`. CBT_EINVAL: the event cannot be written (text says why);
     * CBT_ELIMIT: out->failed, or event->arena->exhausted. On failure what was appended is to be ignored. No
     * allocation but in event->arena, no locale, no printf. @thread worker */
    int (*encode)(const void *self, const struct cbt_event *event, struct cbt_buf *out, struct cbt_err *err);
    void (*close)(void *self); /* NULL is fine. @thread main */
};

/* The row of formats.def with that name, or NULL. @thread any */
const struct cbt_format *cbt_format_find(const char *name);

/* Writes docs/EVENTS.md from the tables of the json format. @thread main */
int cbt_events_print_docs(FILE *out);

#endif
