/* SPDX-License-Identifier: MIT */
/* processmeta: what the sensor counted of a process, every field that is set. */
#include "format/json_row.h"

static uint8_t *json_mitigations(struct cbt_json_writer *w, uint8_t *p, const CbProcessMetadataMsg *m)
{
    for (size_t i = 0; i < m->n_actions; i++) {
        p = cbt_json_room(&w->out, p, sizeof(struct cbt_json_name));
        *p++ = i == 0 ? '[' : ',';
        p = json_name(w, p, mitigation_types, m->actions[i]->mitigationtype);
    }
    *p++ = ']';
    return p;
}

uint8_t *cbt_json_processmeta(struct cbt_json_writer *w, uint8_t *p)
{
    const CbHeaderMsg *h = w->header;
    const CbProcessMetadataMsg *m = w->msg->processmeta;
#define CBT_JSON_processmeta
#include "format/json_keys.def"
    return p;
}
