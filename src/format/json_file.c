/* SPDX-License-Identifier: MIT */
/* moduleload, filemod and regmod: what processes do to files and the registry. */
#include "format/json_row.h"

uint8_t *cbt_json_moduleload(struct cbt_json_writer *w, uint8_t *p)
{
    const CbHeaderMsg *h = w->header;
    const CbModuleLoadMsg *m = w->msg->modload;
#define CBT_JSON_moduleload
#include "format/json_keys.def"
    return p;
}

uint8_t *cbt_json_filemod(struct cbt_json_writer *w, uint8_t *p)
{
    const CbHeaderMsg *h = w->header;
    const CbFileModMsg *m = w->msg->filemod;
#define CBT_JSON_filemod
#include "format/json_keys.def"
    return p;
}

uint8_t *cbt_json_regmod(struct cbt_json_writer *w, uint8_t *p)
{
    const CbRegModMsg *m = w->msg->regmod;
#define CBT_JSON_regmod
#include "format/json_keys.def"
    return p;
}
