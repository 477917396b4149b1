/* SPDX-License-Identifier: MIT */
/* The options of [decode] as decoding takes them. */
#ifndef CBTAP_DECODE_LIMITS_H
#define CBTAP_DECODE_LIMITS_H

#include "cbtap/config.h"
#include "cbtap/decode.h"

static inline struct cbt_decode_limits cbt_decode_limits_of(const struct cbt_options_decode *options)
{
    return (struct cbt_decode_limits){.arena_max_bytes = options->arena_max_bytes,
                                      .record_max_bytes = options->record_max_bytes,
                                      .zip_entries_max = (uint32_t)options->zip_entries_max,
                                      .zip_inflated_max_bytes = options->zip_inflated_max_bytes,
                                      .zip_ratio_max = (uint32_t)options->zip_ratio_max,
                                      .records_max = (uint32_t)options->records_max};
}

#endif
