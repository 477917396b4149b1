/* SPDX-License-Identifier: MIT */
/* JSON that passes from a notification's text to the output: spans of it, copied. */
#ifndef CBTAP_FORMAT_JSON_SOURCE_H
#define CBTAP_FORMAT_JSON_SOURCE_H

#include "cbtap/notification.h"
#include "format/json_write.h"

/* Copies what lies between two places of a notification's text, without the members that a later one
 * supersedes. What is not valid Unicode in its strings is mended, and line breaks and tabs between its tokens
 * are left out, so that the output is one line. */
uint8_t *cbt_json_source(struct cbt_json_out *out, uint8_t *p, const struct cbt_notification *note,
                         const uint8_t *from, const uint8_t *to);

/* The same for a piece without such members. */
uint8_t *cbt_json_mended(struct cbt_json_out *out, uint8_t *p, struct cbt_text piece);

/* A string's text, without quotes, its ASCII letters upper-cased, also those that are escaped. */
uint8_t *cbt_json_source_upper(struct cbt_json_out *out, uint8_t *p, struct cbt_text source);

#endif
