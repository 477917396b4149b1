/* SPDX-License-Identifier: MIT */
/* filelessscriptload and filebackedscriptload: scripts that processes run. */
#include "format/json_row.h"

uint8_t *cbt_json_filelessscriptload(struct cbt_json_writer *w, uint8_t *p)
{
    const CbScriptExecute *m = w->msg->scriptexe;
#define CBT_JSON_filelessscriptload
#include "format/json_keys.def"
    return p;
}

uint8_t *cbt_json_filebackedscriptload(struct cbt_json_writer *w, uint8_t *p)
{
    const CbFileBackedScriptExecute *m = w->msg->fbscriptexe;
#define CBT_JSON_filebackedscriptload
#include "format/json_keys.def"
    return p;
}
