/* SPDX-License-Identifier: MIT */
/* What the formats for people show of each type: table.def as C. */
#ifndef CBTAP_FORMAT_TABLE_H
#define CBTAP_FORMAT_TABLE_H

#include "cbtap/event.h"

struct cbt_table_row {
    const char *colour, *columns;
};

extern const struct cbt_table_row cbt_table_rows[CBT_TYPES];

/* The next key of `columns` behind *at, which moves behind it; false at the end. Where there is a choice each
 * is one. @thread any */
bool cbt_table_next_key(const char **at, struct cbt_text *ret_key);

#endif
