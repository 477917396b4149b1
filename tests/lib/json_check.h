/* SPDX-License-Identifier: MIT */
/*
 * Whether a text is one JSON object and nothing else, in valid Unicode: judged by yajl and, since yajl lets
 * overlong sequences, encoded surrogates and halves of surrogate pairs pass, by a decoder written for this,
 * which shares nothing with the code under test.
 */
#ifndef TESTS_LIB_JSON_CHECK_H
#define TESTS_LIB_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <yajl/yajl_parse.h>

/* The code point at s[0], whose length goes to *ret_len; negative where there is none (RFC 3629). */
static inline int32_t utf8_code_point(const uint8_t *s, size_t left, size_t *ret_len)
{
    static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (len == 0 || len > left)
        return -1;
    int32_t point = len == 1 ? s[0] : s[0] & (0x7F >> len);
    for (size_t i = 1; i < len; i++) {
        if (s[i] >> 6 != 2)
            return -1;
        point = point << 6 | (s[i] & 0x3F);
    }
    *ret_len = len;
    return point < least[len] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000) ? -1 : point;
}

static inline bool utf8_valid(const uint8_t *s, size_t len)
{
    size_t step = 0;
    for (size_t i = 0; i < len; i += step)
        if (utf8_code_point(s + i, len - i, &step) < 0)
            return false;
    return true;
}

/* The unit of \uXXXX at `s`, -1 where there is none. */
static inline int32_t json_unit(const uint8_t *s, size_t left)
{
    int32_t unit = 0;
    if (left < 6 || s[0] != '\\' || s[1] != 'u')
        return -1;
    for (size_t i = 2; i < 6; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = memchr(digits, s[i] | 0x20, 16);
        if (digit == NULL)
            return -1;
        unit = unit << 4 | (int32_t)(digit - digits);
    }
    return unit;
}

/* Of a valid JSON text: every \uD800 to \uDFFF is half of a pair. */
static inline bool json_surrogates_paired(const uint8_t *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] != '\\')
            continue;
        int32_t unit = json_unit(s + i, len - i);
        if (unit >= 0xDC00 && unit < 0xE000)
            return false;
        if (unit >= 0xD800 && unit < 0xDC00) {
            int32_t low = json_unit(s + i + 6, len - i - 6);
            if (low < 0xDC00 || low >= 0xE000)
                return false;
            i += 6;
        }
        i += unit < 0 ? 1 : 5;
    }
    return true;
}

/* What is wrong with a text that should be one JSON object; NULL where nothing is. Keys may repeat: see
 * jv_parse. */
static inline const char *json_object_fault(const uint8_t *text, size_t len)
{
    if (len < 2 || text[0] != '{' || text[len - 1] != '}')
        return "it is no object from the first to the last byte";
    if (!utf8_valid(text, len))
        return "it is not valid UTF-8";
    yajl_handle yajl = yajl_alloc(NULL, NULL, NULL);
    bool ok = yajl_parse(yajl, text, len) == yajl_status_ok && yajl_complete_parse(yajl) == yajl_status_ok;
    yajl_free(yajl);
    if (!ok)
        return "yajl does not take it";
    return json_surrogates_paired(text, len) ? NULL : "half of a surrogate pair";
}

#endif
