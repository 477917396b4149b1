/* SPDX-License-Identifier: MIT */
/* module: a binary that the endpoint met for the first time. */
#include "format/json_row.h"

static uint8_t *json_digsig(struct cbt_json_writer *w, uint8_t *p, const CbModuleInfoMsg *m)
{
#define CBT_JSON_digsig
#include "format/json_keys.def"
    *p++ = '}';
    return p;
}

uint8_t *cbt_json_module(struct cbt_json_writer *w, uint8_t *p)
{
    const CbModuleInfoMsg *m = w->msg->module;
#define CBT_JSON_module
#include "format/json_keys.def"
    return p;
}
