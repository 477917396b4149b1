/* SPDX-License-Identifier: MIT */
/* UTF-8 as the Unicode standard defines it, well-formed or not. */
#ifndef CBTAP_UTF8_H
#define CBTAP_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length of the sequence at `s` (at least one byte, the first not ASCII): positive where it is well-formed
 * UTF-8, else negative, the length of the maximal subpart (Unicode 15, table 3-7 and chapter 3.9). @thread
 * any */
static inline int cbt_utf8_sequence(const uint8_t *s, const uint8_t *end)
{
    uint8_t lead = s[0], low = 0x80, high = 0xBF;
    int need;
    if (lead >= 0xC2 && lead <= 0xDF) {
        need = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        need = 2;
        low = lead == 0xE0 ? 0xA0 : 0x80;
        high = lead == 0xED ? 0x9F : 0xBF;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        need = 3;
        low = lead == 0xF0 ? 0x90 : 0x80;
        high = lead == 0xF4 ? 0x8F : 0xBF;
    } else {
        return -1;
    }
    for (int i = 1; i <= need; i++) {
        if (end - s <= i || s[i] < low || s[i] > high)
            return -i;
        low = 0x80;
        high = 0xBF;
    }
    return need + 1;
}

/* Bytes that a character takes. @thread any */
static inline size_t cbt_utf8_len(uint32_t c)
{
    return 1u + (c >= 0x80) + (c >= 0x800) + (c >= 0x10000);
}

/* Writes a character, at most four bytes, and returns their end. @thread any */
static inline uint8_t *cbt_utf8_put(uint8_t *p, uint32_t c)
{
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t len = cbt_utf8_len(c);
    for (size_t i = len - 1; i > 0; i--, c >>= 6)
        p[i] = (uint8_t)(0x80 | (c & 0x3F));
    p[0] = (uint8_t)(lead[len] | c);
    return p + len;
}

#endif
