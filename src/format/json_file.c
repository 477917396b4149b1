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

static const struct cbt_json_name filemod_actions[] = {
    [1] = JSON_NAME("create"),    [2] = JSON_NAME("write"), [4] = JSON_NAME("delete"),
    [8] = JSON_NAME("lastwrite"), [16] = JSON_NAME("open"),
};

static const struct cbt_json_name filetypes[] = {
    [0] = JSON_NAME("Unknown"),        [1] = JSON_NAME("Pe"),           [2] = JSON_NAME("Elf"),
    [3] = JSON_NAME("UniversalBin"),   [8] = JSON_NAME("Eicar"),        [16] = JSON_NAME("OfficeLegacy"),
    [17] = JSON_NAME("OfficeOpenXml"), [48] = JSON_NAME("Pdf"),         [64] = JSON_NAME("ArchivePkzip"),
    [65] = JSON_NAME("ArchiveLzh"),    [66] = JSON_NAME("ArchiveLzw"),  [67] = JSON_NAME("ArchiveRar"),
    [68] = JSON_NAME("ArchiveTar"),    [69] = JSON_NAME("Archive7zip"), [96] = JSON_NAME("MsLnk"),
    [112] = JSON_NAME("FlashFlv"),     [113] = JSON_NAME("FlashSwf"),
};

uint8_t *cbt_json_filemod(struct cbt_json_writer *w, uint8_t *p)
{
    const CbHeaderMsg *h = w->header;
    const CbFileModMsg *m = w->msg->filemod;
#define CBT_JSON_filemod
#include "format/json_keys.def"
    return p;
}

static const struct cbt_json_name regmod_actions[] = {
    [1] = JSON_NAME("createkey"),
    [2] = JSON_NAME("writeval"),
    [4] = JSON_NAME("delkey"),
    [8] = JSON_NAME("delval"),
};

uint8_t *cbt_json_regmod(struct cbt_json_writer *w, uint8_t *p)
{
    const CbRegModMsg *m = w->msg->regmod;
#define CBT_JSON_regmod
#include "format/json_keys.def"
    return p;
}
