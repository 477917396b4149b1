/* SPDX-License-Identifier: MIT */
/* The characters of JSON strings: see json_string.h. */
#include "cbtap/json_string.h"

#include <string.h>

#include "cbtap/utf8.h"

#define REPLACEMENT 0xFFFDu

int32_t cbt_json_escaped_unit(const uint8_t *s, const uint8_t *end)
{
    int32_t unit = 0;
    if (end - s < 6 || s[0] != '\\' || s[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        uint8_t c = s[i] | 0x20;
        if (s[i] >= '0' && s[i] <= '9')
            unit = unit * 16 + (s[i] - '0');
        else if (c >= 'a' && c <= 'f')
            unit = unit * 16 + (c - 'a' + 10);
        else
            return -1;
    }
    return unit;
}

static uint32_t escaped_char(const uint8_t **text, const uint8_t *end)
{
    static const char letters[] = "bfnrt", controls[] = "\b\f\n\r\t";
    const uint8_t *s = *text;
    int32_t unit = cbt_json_escaped_unit(s, end);
    if (unit < 0) {
        uint8_t letter = end - s < 2 ? '\\' : s[1];
        const char *control = memchr(letters, letter, sizeof(letters) - 1);
        *text = end - s < 2 ? end : s + 2;
        return control != NULL ? (uint32_t)controls[control - letters] : letter;
    }
    *text = s + 6;
    if (unit < 0xD800 || unit > 0xDFFF)
        return (uint32_t)unit;
    int32_t low = unit < 0xDC00 ? cbt_json_escaped_unit(s + 6, end) : -1;
    if (low < 0xDC00 || low > 0xDFFF)
        return REPLACEMENT;
    *text = s + 12;
    return 0x10000u + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
}

uint32_t cbt_json_other_char(const uint8_t **text, const uint8_t *end)
{
    const uint8_t *s = *text;
    if (*s == '\\')
        return escaped_char(text, end);
    if (*s < 0x80) {
        *text = s + 1;
        return *s;
    }
    int len = cbt_utf8_sequence(s, end);
    if (len < 0) {
        *text = s - len;
        return REPLACEMENT;
    }
    *text = s + len;
    uint32_t c = s[0] & (0x7Fu >> len);
    for (int i = 1; i < len; i++)
        c = c << 6 | (s[i] & 0x3Fu);
    return c;
}

int cbt_json_string_compare(struct cbt_text a, struct cbt_text b)
{
    const uint8_t *s = a.data, *s_end = s + a.len, *t = b.data, *t_end = t + b.len;
    while (s < s_end && t < t_end) {
        uint32_t c = cbt_json_char(&s, s_end), d = cbt_json_char(&t, t_end);
        if (c != d)
            return c < d ? -1 : 1;
    }
    return (s < s_end) - (t < t_end);
}

bool cbt_json_string_is(struct cbt_text source, struct cbt_text plain)
{
    const uint8_t *s = source.data, *end = s + source.len;
    size_t i = 0;
    while (s < end && i < plain.len)
        if (cbt_json_char(&s, end) != plain.data[i++])
            return false;
    return s == end && i == plain.len;
}

struct cbt_json_string_size cbt_json_string_size(struct cbt_text source)
{
    struct cbt_json_string_size size = {0};
    for (const uint8_t *s = source.data, *end = s + source.len; s < end; size.chars++)
        size.bytes += cbt_utf8_len(cbt_json_char(&s, end));
    return size;
}

uint8_t *cbt_json_string_decode(struct cbt_text source, uint8_t *out)
{
    for (const uint8_t *s = source.data, *end = s + source.len; s < end;)
        out = cbt_utf8_put(out, cbt_json_char(&s, end));
    return out;
}
