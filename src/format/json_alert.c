/* SPDX-License-Identifier: MIT */
/* emetmitigation, tamper and processblock: what was prevented, or should have been. */
#include "format/json_row.h"

const struct cbt_json_name cbt_json_mitigations[19] = {
    [1] = JSON_NAME("Dep"),
    [2] = JSON_NAME("Sehop"),
    [3] = JSON_NAME("Asr"),
    [4] = JSON_NAME("Aslr"),
    [5] = JSON_NAME("NullPage"),
    [6] = JSON_NAME("HeapSpray"),
    [7] = JSON_NAME("MandatoryAslr"),
    [8] = JSON_NAME("Eaf"),
    [9] = JSON_NAME("EafPlus"),
    [10] = JSON_NAME("BottomUpAslr"),
    [11] = JSON_NAME("LoadLibrary"),
    [12] = JSON_NAME("MemoryProtection"),
    [13] = JSON_NAME("SimulateExecFlow"),
    [14] = JSON_NAME("StackPivot"),
    [15] = JSON_NAME("CallerChecks"),
    [16] = JSON_NAME("BannedFunctions"),
    [17] = JSON_NAME("DeepHooks"),
    [18] = JSON_NAME("AntiDetours"),
};

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

static const struct cbt_json_name tamper_types[] = {
    [1] = JSON_NAME("CoreDriverUnloaded"), [2] = JSON_NAME("NetworkDriverUnloaded"),
    [3] = JSON_NAME("CbServiceStopped"),   [4] = JSON_NAME("CbProcessTerminated"),
    [5] = JSON_NAME("CbCodeInjection"),
};

uint8_t *cbt_json_tamper(struct cbt_json_writer *w, uint8_t *p)
{
    const CbTamperAlertMsg *m = w->msg->tamperalert;
#define CBT_JSON_tamper
#include "format/json_keys.def"
    return p;
}

static const struct cbt_json_name block_types[] = {[1] = JSON_NAME("Md5Hash")};
static const struct cbt_json_name block_events[] = {[1] = JSON_NAME("ProcessCreate"),
                                                    JSON_NAME("RunningProcess")};
static const struct cbt_json_name block_results[] = {
    [0] = JSON_NAME("ProcessTerminated"),
    [1] = JSON_NAME("NotTerminatedCBProcess"),
    [2] = JSON_NAME("NotTerminatedSystemProcess"),
    [3] = JSON_NAME("NotTerminatedCriticalSystemProcess"),
    [4] = JSON_NAME("NotTerminatedWhitelistPath"), /* named so in the documented schema */
    [5] = JSON_NAME("NotTerminatedOpenProcessError"),
    [6] = JSON_NAME("NotTerminatedTerminateError"),
};

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
    if (m->has_blockedpid) {
        CBT_LINK(link_target, "The process in the server's console", blocked, "1")
    }
    return p;
}
