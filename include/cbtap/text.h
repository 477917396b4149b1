/* SPDX-License-Identifier: MIT */
/* A run of bytes that somebody else owns; text that is not known to end in NUL, nor to be valid UTF-8. */
#ifndef CBTAP_TEXT_H
#define CBTAP_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct cbt_text {
    const uint8_t *data;
    size_t len;
};

#define CBT_TEXT(literal) ((struct cbt_text){(const uint8_t *)(literal), sizeof(literal) - 1})

#define CBT_DECIMAL_BYTES 11

/* Writes a number in decimal, at most CBT_DECIMAL_BYTES; returns how many. @thread any */
static inline uint32_t cbt_put_decimal(uint8_t *out, int32_t number)
{
    uint8_t digits[CBT_DECIMAL_BYTES];
    uint32_t count = 0, len = 0;
    uint32_t left = number < 0 ? 0u - (uint32_t)number : (uint32_t)number;
    do {
        digits[count++] = (uint8_t)('0' + left % 10);
        left /= 10;
    } while (left != 0);
    if (number < 0)
        out[len++] = '-';
    while (count > 0)
        out[len++] = digits[--count];
    return len;
}

#endif
