/* SPDX-License-Identifier: MIT */
/* Which decoded events a command is asked for, beside their types: those of some hosts, and of some time. */
#ifndef CBTAP_DECODE_SELECTION_H
#define CBTAP_DECODE_SELECTION_H

#include "cbtap/event.h"

struct cbt_selection {
    const char *host;           /* a pattern (fnmatch) of the host's name, in any case; NULL: all */
    bool timed;                 /* by the event's own time: */
    int64_t since_ms, until_ms; /* of [since, until) */
};

/* An event of which host or time cannot be told is none of those asked for; the name of a host that is not
 * told is empty. A notification is of each host that `hostname` and `computer_name` name, its own or those of
 * its entry of docs. @thread any */
bool cbt_selection_takes(const struct cbt_selection *selection, const struct cbt_event *event);

#endif
