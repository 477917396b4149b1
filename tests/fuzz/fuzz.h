/* SPDX-License-Identifier: MIT */
/* What fuzz targets share: a check that ends the process, and an input taken apart from its beginning. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "cbtap/text.h"

/* One input. Returns 0; what is wrong with the code under test ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every input; the message is that of printf. */
#define FUZZ_CHECK(holds, ...)                                                                               \
    do {                                                                                                     \
        if (!(holds)) {                                                                                      \
            fprintf(stderr, "%s:%d: not true: %s: ", __FILE__, __LINE__, #holds);                            \
            fprintf(stderr, __VA_ARGS__);                                                                    \
            fputc('\n', stderr);                                                                             \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* Text as arguments of "%.*s". */
#define FUZZ_SHOWN(text) (int)(text).len, (const char *)(text).data

/* The first byte, which the input loses; 0 where there is none. */
static inline uint8_t fuzz_byte(struct cbt_text *input)
{
    if (input->len == 0)
        return 0;
    input->len--;
    return *input->data++;
}

/* Up to the first `end`, which the input loses, too; all of it where there is none. */
static inline struct cbt_text fuzz_line(struct cbt_text *input, uint8_t end)
{
    struct cbt_text line = {input->data, 0};
    while (line.len < input->len && line.data[line.len] != end)
        line.len++;
    size_t taken = line.len < input->len ? line.len + 1 : line.len;
    input->data += taken;
    input->len -= taken;
    return line;
}

#endif
