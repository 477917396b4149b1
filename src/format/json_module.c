/* SPDX-License-Identifier: MIT */
/* module: a binary that the endpoint met for the first time. */
#include "format/json_row.h"

uint8_t *cbt_json_module(struct cbt_json_writer *w, uint8_t *p)
{
    const CbModuleInfoMsg *m = w->msg->module;
#define CBT_JSON_module
#include "format/json_keys.def"
    p = JSON_LITERAL(p, ",\"digsig\":{\"result\":");
    p = json_text(w, p, m->utf8_digsig_result);
#define CBT_JSON_digsig
#include "format/json_keys.def"
    *p++ = '}';
    return p;
}
