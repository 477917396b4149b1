/* SPDX-License-Identifier: MIT */
/* The source that feeds files into the daemon's pipeline, for export --to. */
#ifndef CBTAP_CLI_EXPORT_FEED_H
#define CBTAP_CLI_EXPORT_FEED_H

#include "cli/export.h"
#include "cli/feed.h"

/* A file of which frames are in flight. */
struct cbt_export_open_file {
    struct cbt_export_open_file *newer, *older; /* in flight */
    struct cbt_export_identity identity;
    unsigned frames;
    bool ended;     /* all of it is frames */
    bool failed;    /* but what could not be read, which was said */
    bool is_torn;   /* but its last record, which is not whole yet */
    bool set_aside; /* some of it is a dead letter */
    struct cbt_export_reached reached;
    char path[];
};

struct cbt_export_feed {
    struct cbt_feed feed;
    struct cbt_export *x;
    struct cbt_export_job job; /* what it reads with, and its counts */
    struct cbt_export_sequence sequence;
    struct cbt_export_open_file *file; /* at hand, or NULL */
    struct cbt_export_open_file *newest;
    bool in_sequence;
    struct cbt_environment env;                 /* of the file at hand */
    bool at_end;                                /* of the walk */
    unsigned in_flight;                         /* files */
    uint64_t settled, set_aside, removed, kept; /* files; kept: they could not be removed */
};

extern const struct cbt_source cbt_export_source;
void cbt_export_feed_free(struct cbt_export_feed *feed);

#endif
