/* SPDX-License-Identifier: MIT */
/* What stands between the quotes of a JSON string, read by character: escapes decoded, and U+FFFD for half of
 * a surrogate pair and for each maximal subpart of ill-formed UTF-8. The text must be known to be valid JSON
 * (json_judge.h); none of these reads beyond its end even where it is not. */
#ifndef CBTAP_JSON_STRING_H
#define CBTAP_JSON_STRING_H

#include <stdbool.h>

#include "cbtap/text.h"

/* The UTF-16 unit of an escape \uXXXX at `s`, or -1 where there is none. @thread any */
int32_t cbt_json_escaped_unit(const uint8_t *s, const uint8_t *end);

/* The character at *text (before `end`) where it is an escape or not ASCII; *text moves behind it. @thread
 * any */
uint32_t cbt_json_other_char(const uint8_t **text, const uint8_t *end);

/* The character at *text (before `end`); *text moves behind it. @thread any */
static inline uint32_t cbt_json_char(const uint8_t **text, const uint8_t *end)
{
    if (__builtin_expect(**text < 0x80 && **text != '\\', 1))
        return *(*text)++;
    return cbt_json_other_char(text, end);
}

/* Less than, equal to or greater than 0, by characters. @thread any */
int cbt_json_string_compare(struct cbt_text a, struct cbt_text b);

/* Whether it is that plain ASCII text. @thread any */
bool cbt_json_string_is(struct cbt_text source, struct cbt_text plain);

/* What it is when decoded. */
struct cbt_json_string_size {
    size_t bytes; /* of UTF-8 */
    size_t chars;
};
struct cbt_json_string_size cbt_json_string_size(struct cbt_text source);

/* Writes it as UTF-8, so many bytes as cbt_json_string_size says, and returns their end. @thread any */
uint8_t *cbt_json_string_decode(struct cbt_text source, uint8_t *out);

#endif
