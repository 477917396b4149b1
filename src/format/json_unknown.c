/* SPDX-License-Identifier: MIT */
/* unknown: a record of a type that is not known, or not written out, forwarded as it came. */
#include "format/json_row.h"

static uint8_t *json_base64(struct cbt_json_writer *w, uint8_t *p, struct cbt_text bytes)
{
    return cbt_json_base64(&w->out, p, bytes.data, bytes.len);
}

uint8_t *cbt_json_unknown(struct cbt_json_writer *w, uint8_t *p)
{
#define CBT_JSON_unknown
#include "format/json_keys.def"
    return p;
}
