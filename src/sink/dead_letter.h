/* SPDX-License-Identifier: MIT */
/* A dead letter's record as a file of dead_letter_dir, for every sink alike. */
#ifndef CBTAP_SINK_DEAD_LETTER_H
#define CBTAP_SINK_DEAD_LETTER_H

#include "cbtap/err.h"
#include "cbtap/frame.h"

/* The section that the frame first came from; empty: none is known. @thread any, while the frame lives */
const char *dead_letter_source(const struct cbt_frame *frame);
/* Writes the record, which has `dead`, and what is known of it into `dir`; it is synced when this returns 0.
 * CBT_EINVAL: there is no such directory in the configuration; CBT_EIO. @thread sink */
int dead_letter_store(const char *dir, const struct cbt_record *record, struct cbt_err *err);

#endif
