/* SPDX-License-Identifier: MIT */
/* What of one endpoint's sequence has arrived: which events, how often, and in which order. */
#ifndef CBT_LOADGEN_SEQUENCE_H
#define CBT_LOADGEN_SEQUENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbers beyond are not of a sequence that a test could send: 12.5 MB of memory each endpoint. */
#define CBT_SEQUENCE_MAX UINT64_C(100000000)

/* It is not known how many were sent: what is below the highest that came is expected. */
#define CBT_SEQUENCE_OPEN UINT64_MAX

struct cbt_sequence {
    uint64_t expected; /* how many were sent, or CBT_SEQUENCE_OPEN */
    uint64_t *seen;    /* a bit for each number */
    size_t words;
    uint64_t first_deliveries;
    uint64_t highest; /* of those, where there is one */
    uint64_t duplicates;
    /* First deliveries that came after one with a higher number. A repeat is never out of order, whatever it
     * follows: at-least-once delivery goes back and starts again. */
    uint64_t out_of_order;
    uint64_t first_out_of_order;
    int32_t partition; /* of the first delivery */
    bool split;        /* seen in several partitions, so that there is no order to speak of */
};

/* False where the number cannot be of this sequence. */
bool cbt_sequence_note(struct cbt_sequence *sequence, uint64_t number, int32_t partition);
uint64_t cbt_sequence_missing(const struct cbt_sequence *sequence);
/* The lowest number that is missing; undefined where none is. */
uint64_t cbt_sequence_first_missing(const struct cbt_sequence *sequence);
void cbt_sequence_free(struct cbt_sequence *sequence);

#endif
