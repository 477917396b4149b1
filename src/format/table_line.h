/* SPDX-License-Identifier: MIT */
/* One line for a terminal while it is written: its columns counted, nothing in it but what can be seen. */
#ifndef CBTAP_FORMAT_TABLE_LINE_H
#define CBTAP_FORMAT_TABLE_LINE_H

#include "format/cells.h"

struct cbt_line {
    struct cbt_buf *out;
    unsigned width;  /* 0: without an end */
    unsigned column; /* written */
    size_t end;      /* bytes of the record before the first character in the last column */
    bool full;       /* it was cut: what follows is left out */
};

/* A character; beyond the width the last that fits becomes "...", in one column. */
void cbt_line_put(struct cbt_line *line, uint32_t c);
/* Text of our own, of plain ASCII. */
void cbt_line_put_str(struct cbt_line *line, const char *text);
/* An escape sequence of our own: it takes no column and is never cut. */
void cbt_line_put_sequence(struct cbt_line *line, const char *text);
/* A value, its white space as blanks and what is harmful as U+FFFD; at most `max` columns of it (0: all). */
void cbt_line_put_cell(struct cbt_line *line, const struct cbt_cell *cell, unsigned max);
/* Blanks up to a column, and one in any case. */
void cbt_line_pad(struct cbt_line *line, unsigned column);

#endif
