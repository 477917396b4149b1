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

#endif
