/* SPDX-License-Identifier: MIT */
/* The names of enums' values as JSON has them, for the encoder and for docs/EVENTS.md. */
#ifndef CBTAP_FORMAT_JSON_NAMES_H
#define CBTAP_FORMAT_JSON_NAMES_H

#include <stdint.h>

/* The name of the value that is its index. */
struct cbt_json_name {
    uint8_t len; /* 0: no such value */
    char text[39];
};

#define JSON_NAME(name)                                                                                      \
    {                                                                                                        \
        (uint8_t)(sizeof(name) + 1), "\"" name "\""                                                          \
    }

static const struct cbt_json_name filemod_actions[] = {
    [1] = JSON_NAME("create"),    [2] = JSON_NAME("write"), [4] = JSON_NAME("delete"),
    [8] = JSON_NAME("lastwrite"), [16] = JSON_NAME("open"),
};

/* Without "filetype". */
static const struct cbt_json_name filetypes[] = {
    [0] = JSON_NAME("Unknown"),        [1] = JSON_NAME("Pe"),           [2] = JSON_NAME("Elf"),
    [3] = JSON_NAME("UniversalBin"),   [8] = JSON_NAME("Eicar"),        [16] = JSON_NAME("OfficeLegacy"),
    [17] = JSON_NAME("OfficeOpenXml"), [48] = JSON_NAME("Pdf"),         [64] = JSON_NAME("ArchivePkzip"),
    [65] = JSON_NAME("ArchiveLzh"),    [66] = JSON_NAME("ArchiveLzw"),  [67] = JSON_NAME("ArchiveRar"),
    [68] = JSON_NAME("ArchiveTar"),    [69] = JSON_NAME("Archive7zip"), [96] = JSON_NAME("MsLnk"),
    [112] = JSON_NAME("FlashFlv"),     [113] = JSON_NAME("FlashSwf"),
};

static const struct cbt_json_name regmod_actions[] = {
    [1] = JSON_NAME("createkey"),
    [2] = JSON_NAME("writeval"),
    [4] = JSON_NAME("delkey"),
    [8] = JSON_NAME("delval"),
};

static const struct cbt_json_name netconn_block_types[] = {[1] = JSON_NAME("NetworkIsolation")};

/* Without "childProc". */
static const struct cbt_json_name childproc_types[] = {JSON_NAME("Exec"), JSON_NAME("Fork"),
                                                       JSON_NAME("OtherExec")};

static const struct cbt_json_name open_types[] = {[1] = JSON_NAME("open_process"), JSON_NAME("open_thread")};

static const struct cbt_json_name remote_thread[] = {JSON_NAME("remote_thread")};

/* EMET's, without "action". */
static const struct cbt_json_name mitigation_types[] = {
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

/* Without "Alert". */
static const struct cbt_json_name tamper_types[] = {
    [1] = JSON_NAME("CoreDriverUnloaded"), [2] = JSON_NAME("NetworkDriverUnloaded"),
    [3] = JSON_NAME("CbServiceStopped"),   [4] = JSON_NAME("CbProcessTerminated"),
    [5] = JSON_NAME("CbCodeInjection"),
};

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

#endif
