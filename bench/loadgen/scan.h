/* SPDX-License-Identifier: MIT */
/* Finds an event's place in its endpoint's sequence in an encoded record, by a scan of the text. */
#ifndef CBT_LOADGEN_SCAN_H
#define CBT_LOADGEN_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "cbtap/text.h"

/* From one JSON object: the numbers of the keys "sensor_id" and "timestamp" (of that one the whole seconds).
 * False where one of them is not there as a number. */
bool cbt_scan_json(struct cbt_text record, int64_t *ret_sensor_id, int64_t *ret_timestamp);

/* A decimal integer that is the whole text. */
bool cbt_scan_integer(struct cbt_text text, int64_t *ret_value);

#endif
