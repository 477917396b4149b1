/* SPDX-License-Identifier: MIT */
/* The accounts of a verification: one for each endpoint of the fleet, and what belongs to none. */
#ifndef CBT_LOADGEN_TALLY_H
#define CBT_LOADGEN_TALLY_H

#include <stdio.h>

#include "cbtap/text.h"
#include "fleet.h"
#include "sequence.h"

struct cbt_tally {
    struct cbt_fleet_options fleet;
    bool any_key;
    struct cbt_sequence *endpoints;
    uint64_t records, bytes;
    uint64_t events;     /* different ones of the fleet */
    uint64_t foreign;    /* of another sensor, or outside of the sequence */
    uint64_t unreadable; /* without sensor id or time stamp: notifications, for instance */
    uint64_t wrong_key;  /* the key is not the sensor id */
};

struct cbt_tally_sums {
    uint64_t expected, missing, duplicates, out_of_order, split_endpoints;
};

void cbt_tally_open(struct cbt_tally *tally, const struct cbt_fleet_options *fleet, bool any_key);
void cbt_tally_note(struct cbt_tally *tally, struct cbt_text key, struct cbt_text value, int32_t partition);
struct cbt_tally_sums cbt_tally_sum(const struct cbt_tally *tally);

/* One line of totals, then the `worst` endpoints that have something wrong; or the same as one JSON object.
 */
void cbt_tally_print(const struct cbt_tally *tally, uint32_t worst, double seconds, FILE *out);
void cbt_tally_print_json(const struct cbt_tally *tally, uint32_t worst, double seconds, FILE *out);
void cbt_tally_close(struct cbt_tally *tally);

#endif
