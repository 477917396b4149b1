/* SPDX-License-Identifier: MIT */
/* vtwrite and vtload: files written and modules loaded that are to be looked up. */
#include "format/json_row.h"

uint8_t *cbt_json_vtwrite(struct cbt_json_writer *w, uint8_t *p)
{
    const CbVtWriteMsg *m = w->msg->vtwrite;
#define CBT_JSON_vtwrite
#include "format/json_keys.def"
    return p;
}

uint8_t *cbt_json_vtload(struct cbt_json_writer *w, uint8_t *p)
{
    const CbHeaderMsg *h = w->header;
    const CbVtLoadMsg *m = w->msg->vtload;
#define CBT_JSON_vtload
#include "format/json_keys.def"
    return p;
}
