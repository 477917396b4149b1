/* SPDX-License-Identifier: MIT */
/*
 * What can be told of a record without decoding it: its type, for the filter, and its sensor, for the lane.
 * Both agree with the full decoding wherever that succeeds, repeated members included.
 */
#include "decode/kind.h"
#include "decode/record.h"

struct cbt_wire_varint cbt_wire_long_varint(const uint8_t *at, const uint8_t *end, unsigned bytes_max,
                                            uint64_t value_max)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes_max && at + i < end; i++) {
        value |= (uint64_t)(at[i] & 0x7f) << (7 * i);
        if (at[i] < 0x80)
            return (struct cbt_wire_varint){value <= value_max ? at + i + 1 : NULL, value};
    }
    return (struct cbt_wire_varint){NULL, 0};
}

/* The members that make a type (process and crossproc by what is inside), in the order that counts where
 * several are set (spec events.md). */
static const struct {
    uint8_t member;
    uint8_t type;
} types_by_member[] = {
    {CBT_MEMBER_process, CBT_TYPE_procend},
    {CBT_MEMBER_modload, CBT_TYPE_moduleload},
    {CBT_MEMBER_filemod, CBT_TYPE_filemod},
    {CBT_MEMBER_networkv2, CBT_TYPE_netconn},
    {CBT_MEMBER_network, CBT_TYPE_netconn},
    {CBT_MEMBER_regmod, CBT_TYPE_regmod},
    {CBT_MEMBER_childproc, CBT_TYPE_childproc},
    {CBT_MEMBER_crossproc, CBT_TYPE_crossprocopen},
    {CBT_MEMBER_emet, CBT_TYPE_emetmitigation},
    {CBT_MEMBER_scriptexe, CBT_TYPE_filelessscriptload},
    {CBT_MEMBER_fbscriptexe, CBT_TYPE_filebackedscriptload},
    {CBT_MEMBER_netconnBlockedv2, CBT_TYPE_netconnblocked},
    {CBT_MEMBER_netconnBlocked, CBT_TYPE_netconnblocked},
    {CBT_MEMBER_tamperAlert, CBT_TYPE_tamper},
    {CBT_MEMBER_blocked, CBT_TYPE_processblock},
    {CBT_MEMBER_module, CBT_TYPE_module},
    {CBT_MEMBER_vtwrite, CBT_TYPE_vtwrite},
    {CBT_MEMBER_vtload, CBT_TYPE_vtload},
    {CBT_MEMBER_processMeta, CBT_TYPE_processmeta},
    {CBT_MEMBER_stats, CBT_TYPE_stats},
};

/* Field numbers inside the members that need a look. */
#define PROCESS_CREATED        2
#define CROSSPROC_OPEN         1
#define CROSSPROC_REMOTETHREAD 2
#define ENV_ENDPOINT           1
#define ENDPOINT_SENSOR_ID     1

/* The type of what has a process or a crossproc, by all its occurrences and as far as they can be read: a
 * broken record has a type, too. */
static enum cbt_event_type look_inside(struct cbt_text record, enum cbt_member member)
{
    struct cbt_wire outer = cbt_wire_of(record);
    struct cbt_field field;
    bool created = false, open = false, remotethread = false;
    while (cbt_wire_next(&outer, &field) > 0) {
        if (field.number != member)
            continue;
        struct cbt_wire wire = cbt_wire_of(field.bytes);
        while (cbt_wire_next(&wire, &field) > 0) {
            if (field.number == PROCESS_CREATED && field.type == CBT_WIRE_VARINT)
                created = field.varint != 0;
            open |= field.number == CROSSPROC_OPEN;
            remotethread |= field.number == CROSSPROC_REMOTETHREAD;
        }
    }
    if (member == CBT_MEMBER_process)
        return created ? CBT_TYPE_procstart : CBT_TYPE_procend;
    if (open)
        return CBT_TYPE_crossprocopen;
    return remotethread ? CBT_TYPE_remotethread : CBT_TYPE_unknown;
}

enum cbt_event_type cbt_record_type(uint32_t present, struct cbt_text record)
{
    for (unsigned i = 0; i < sizeof(types_by_member) / sizeof(types_by_member[0]); i++) {
        enum cbt_member member = (enum cbt_member)types_by_member[i].member;
        if ((present & CBT_MEMBER_BIT(member)) == 0)
            continue;
        if (member == CBT_MEMBER_process || member == CBT_MEMBER_crossproc)
            return look_inside(record, member);
        return (enum cbt_event_type)types_by_member[i].type;
    }
    return CBT_TYPE_unknown;
}

enum cbt_event_type cbt_peek_type(struct cbt_text record)
{
    struct cbt_wire wire = cbt_wire_of(record);
    struct cbt_field field;
    uint32_t present = 0;
    int rc;
    while ((rc = cbt_wire_next(&wire, &field)) > 0) {
        if (field.number >= CBT_MEMBERS)
            continue;
        if (field.type != CBT_WIRE_LEN)
            return CBT_TYPE_unknown;
        present |= CBT_MEMBER_BIT(field.number);
    }
    return rc == 0 ? cbt_record_type(present, record) : CBT_TYPE_unknown;
}

/* The last sensor id in an `env`, if it has one. */
static bool sensor_id_of_env(struct cbt_text env, int32_t *ret_sensor_id)
{
    struct cbt_wire wire = cbt_wire_of(env), endpoint;
    struct cbt_field field;
    bool found = false;
    while (cbt_wire_next(&wire, &field) > 0) {
        if (field.number != ENV_ENDPOINT || field.type != CBT_WIRE_LEN)
            continue;
        endpoint = cbt_wire_of(field.bytes);
        while (cbt_wire_next(&endpoint, &field) > 0) {
            if (field.number == ENDPOINT_SENSOR_ID && field.type == CBT_WIRE_VARINT) {
                *ret_sensor_id = (int32_t)(uint32_t)field.varint;
                found = true;
            }
        }
    }
    return found;
}

bool cbt_peek_sensor_id(struct cbt_text body, struct cbt_text content_type, enum cbt_framing framing,
                        int32_t *ret_sensor_id)
{
    struct cbt_text record = body;
    switch (cbt_kind_of(body, content_type, framing)) {
    case CBT_KIND_EVENT:
        break;
    case CBT_KIND_BUNDLE:
        if (body.len < 4 || cbt_le32(body.data) > body.len - 4)
            return false;
        record = (struct cbt_text){body.data + 4, cbt_le32(body.data)};
        break;
    default:
        return false;
    }
    struct cbt_wire wire = cbt_wire_of(record);
    struct cbt_field field;
    int32_t sensor_id = 0;
    bool found = false;
    while (cbt_wire_next(&wire, &field) > 0)
        if (field.number == CBT_MEMBER_env && field.type == CBT_WIRE_LEN)
            found |= sensor_id_of_env(field.bytes, &sensor_id);
    if (found)
        *ret_sensor_id = sensor_id;
    return found;
}
