/* SPDX-License-Identifier: MIT */
/* The process GUID of an event as a record's key (`key = process_guid`). */
#include <string.h>

#include "cbtap/decode.h"
#include "format/json.h"

static const uint32_t common_keys[CBT_TYPES] = {
#define CBT_JSON_TYPE(type, keys, common) [CBT_TYPE_##type] = (common),
#include "format/json_types.def"
};

size_t cbt_event_process_guid(const struct cbt_event *event, uint8_t out[36])
{
    if (event->msg == NULL || event->msg->header == NULL ||
        (common_keys[event->type] & CBT_JSON_PROCESS) == 0)
        return 0;
    const CbHeaderMsg *header = event->msg->header;
    uint8_t text[64]; /* the writers may store a little beyond the end */
    uint8_t *end;
    if (event->env.has_sensor_id && header->has_process_pid && header->has_process_create_time)
        end = cbt_json_guid(text, (uint32_t)event->env.sensor_id, (uint32_t)header->process_pid,
                            (uint64_t)header->process_create_time);
    else
        end = cbt_json_i64(text, header->process_guid);
    size_t len = (size_t)(end - text);
    memcpy(out, text, len);
    return len;
}
