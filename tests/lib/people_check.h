/* SPDX-License-Identifier: MIT */
/* What must hold of a line of the formats table and csv, whatever came from the endpoint. */
#ifndef TESTS_LIB_PEOPLE_CHECK_H
#define TESTS_LIB_PEOPLE_CHECK_H

#include <stdbool.h>

#include "cbtap/text.h"
#include "cbtap/utf8.h"

/* The character at *at; -1 where it is not well-formed. */
static inline int64_t people_char(const uint8_t **at, const uint8_t *end)
{
    static const uint8_t masks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const uint8_t *s = *at;
    int len = *s < 0x80 ? 1 : cbt_utf8_sequence(s, end);
    if (len < 0)
        return -1;
    uint32_t c = *s & masks[len];
    for (int i = 1; i < len; i++)
        c = c << 6 | (s[i] & 0x3F);
    *at = s + len;
    return c;
}

/* NULL, or what is wrong with a line without colours. */
static inline const char *table_fault(struct cbt_text line)
{
    const uint8_t *at = line.data, *end = at + line.len;
    while (at < end) {
        int64_t c = people_char(&at, end);
        if (c < 0)
            return "ill-formed UTF-8";
        if (c < 0x20 || (c >= 0x7F && c < 0xA0))
            return "a control character";
        if ((c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x200E || c == 0x200F)
            return "a change of direction";
        if (c == 0x2028 || c == 0x2029)
            return "a line separator";
    }
    return NULL;
}

/* NULL, or what is wrong with a record of so many fields, by RFC 4180 (and UTF-8). */
static inline const char *csv_fault(struct cbt_text line, unsigned fields)
{
    const uint8_t *at = line.data, *end = at + line.len;
    unsigned found = 1;
    bool quoted = false, begins = true, was_quote = false;
    if (line.len == 0 || *--end != '\r')
        return "no CR at the end";
    while (at < end) {
        int64_t c = people_char(&at, end);
        if (c < 0)
            return "ill-formed UTF-8";
        if ((c < 0x20 && c != '\t' && !(quoted && (c == '\r' || c == '\n'))) || (c >= 0x7F && c < 0xA0))
            return "a control character";
        if (begins && c == '"') {
            quoted = true;
            begins = false;
        } else if (quoted && !was_quote) {
            was_quote = c == '"';
        } else if (quoted && c == '"') {
            was_quote = false;
        } else if (c == ',') {
            found++;
            quoted = was_quote = false;
            begins = true;
        } else if (quoted || c == '"') {
            return "a quote out of place";
        } else {
            begins = false;
        }
    }
    if (quoted && !was_quote)
        return "a quote without its end";
    return found == fields ? NULL : "another number of fields";
}

#endif
