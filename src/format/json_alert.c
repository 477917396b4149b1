/* SPDX-License-Identifier: MIT */
/* emetmitigation, tamper and processblock: what was prevented, or should have been. */
#include "format/json_row.h"

uint8_t *cbt_json_emetmitigation(struct cbt_json_writer *w, uint8_t *p)
{
    const CbEmetMitigationMsg *m = w->msg->emet;
    const CbEmetMitigationAction *action = m->action;
    const int mitigation = action != NULL ? (int)action->mitigationtype
                                          : CB_EMET_MITIGATION_ACTION__CB_EMET_MITIGATION_TYPES__actionDep;
#define CBT_JSON_emetmitigation
#include "format/json_keys.def"
    return p;
}

uint8_t *cbt_json_tamper(struct cbt_json_writer *w, uint8_t *p)
{
    const CbTamperAlertMsg *m = w->msg->tamperalert;
#define CBT_JSON_tamper
#include "format/json_keys.def"
    return p;
}

uint8_t *cbt_json_processblock(struct cbt_json_writer *w, uint8_t *p)
{
    const CbProcessBlockedMsg *m = w->msg->blocked;
    const int result = (int)m->blockresult;
    const bool failed = result == CB_PROCESS_BLOCKED_MSG__BLOCK_RESULT__NotTerminatedOpenProcessError ||
                        result == CB_PROCESS_BLOCKED_MSG__BLOCK_RESULT__NotTerminatedTerminateError;
    const bool prevented = m->blockedevent == CB_PROCESS_BLOCKED_MSG__BLOCK_EVENT__ProcessCreate &&
                           result == CB_PROCESS_BLOCKED_MSG__BLOCK_RESULT__ProcessTerminated;
    const struct cbt_json_id blocked =
        cbt_json_id_of(w, true, (uint32_t)m->blockedpid, m->blockedproccreatetime, 0);
#define CBT_JSON_processblock
#include "format/json_keys.def"
    return p;
}
