/* SPDX-License-Identifier: MIT */
/* What tests of decoding share: limits, files, and one record through decoder and format. */
#ifndef TESTS_LIB_FIXTURE_H
#define TESTS_LIB_FIXTURE_H

/* cmocka.h wants the others before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/decode.h"
#include "cbtap/format.h"
#include "exact_buf.h"

static const struct cbt_decode_limits fixture_limits = {
    .arena_max_bytes = 32u << 20,
    .record_max_bytes = 16u << 20,
    .zip_entries_max = 1000,
    .zip_inflated_max_bytes = 64u << 20,
    .zip_ratio_max = 1000,
    .records_max = 262144,
};

static inline struct cbt_text text_of(const char *text)
{
    return (struct cbt_text){(const uint8_t *)text, strlen(text)};
}

/* --- files --- */

struct file {
    uint8_t *data;
    size_t len;
};

static inline bool file_read(const char *path, struct file *ret_file)
{
    FILE *stream = fopen(path, "rb");
    if (stream == NULL)
        return false;
    *ret_file = (struct file){0};
    size_t capacity = 0, n;
    do {
        if (ret_file->len + 65536 > capacity) {
            capacity = 2 * capacity + 65536;
            ret_file->data = realloc(ret_file->data, capacity);
            if (ret_file->data == NULL)
                abort();
        }
        n = fread(ret_file->data + ret_file->len, 1, 65536, stream);
        ret_file->len += n;
    } while (n > 0);
    fclose(stream);
    return true;
}

static inline struct cbt_text file_text(const struct file *file)
{
    return (struct cbt_text){file->data, file->len};
}

/* --- the json format --- */

static inline void *json_open(const struct cbt_format_options *options)
{
    void *json = NULL;
    struct cbt_err err = {0};
    if (cbt_format_find("json")->open(&json, options, &err) != 0)
        fail_msg("json format: %s", err.text);
    return json;
}

static inline void json_close(void *json)
{
    cbt_format_find("json")->close(json);
}

#endif
