/* SPDX-License-Identifier: MIT */
/* The scan is no JSON parser: a key in quotes and a colon cannot occur inside a JSON string, whose quotes are
 * escaped, so it finds the right place in whatever cbtap writes on one level. */
#include "scan.h"

#include <string.h>

#include "bytes.h"

static bool read_digits(const uint8_t **pos, const uint8_t *end, int64_t *ret_value)
{
    const uint8_t *p = *pos;
    const bool negative = p < end && *p == '-';
    const uint8_t *digits = p + negative;
    uint64_t value = 0;
    for (p = digits; p < end && *p >= '0' && *p <= '9' && p - digits < 18; p++)
        value = value * 10 + (*p - (uint64_t)'0');
    if (p == digits)
        return false;
    *ret_value = negative ? -(int64_t)value : (int64_t)value;
    *pos = p;
    return true;
}

static bool find_number(struct cbt_text record, struct cbt_text key, int64_t *ret_value)
{
    const uint8_t *end = record.data + record.len;
    const uint8_t *p = record.len ? memmem(record.data, record.len, key.data, key.len) : NULL;
    if (!p)
        return false;
    p += key.len;
    while (p < end && *p == ' ')
        p++;
    if (!read_digits(&p, end, ret_value))
        return false;
    return p < end &&
           (*p == ',' || *p == '}' || *p == ' ' || *p == '.'); /* a fraction of a second is left aside */
}

bool cbt_scan_json(struct cbt_text record, int64_t *ret_sensor_id, int64_t *ret_timestamp)
{
    return find_number(record, CBT_TEXT("\"sensor_id\":"), ret_sensor_id) &&
           find_number(record, CBT_TEXT("\"timestamp\":"), ret_timestamp);
}

bool cbt_scan_integer(struct cbt_text text, int64_t *ret_value)
{
    const uint8_t *p = text.data, *end = text.data + text.len;
    int64_t value;
    if (!text.len || !read_digits(&p, end, &value) || p != end)
        return false;
    *ret_value = value;
    return true;
}
