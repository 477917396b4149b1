/* SPDX-License-Identifier: MIT */
/* A text as gzip. */
#ifndef TESTS_LIB_GZIP_H
#define TESTS_LIB_GZIP_H

/* cmocka.h wants the others before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>
#include <zlib.h>

#include "cbtap/text.h"

/* The caller frees its data. */
static inline struct cbt_text gzipped(struct cbt_text text, int level)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t room = deflateBound(&z, text.len);
    uint8_t *out = malloc(room);
    assert_non_null(out);
    z.next_in = (uint8_t *)(uintptr_t)text.data;
    z.avail_in = (unsigned)text.len;
    z.next_out = out;
    z.avail_out = (unsigned)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return (struct cbt_text){out, z.total_out};
}

#endif
