/* SPDX-License-Identifier: MIT */
/* The json format: what its families of event types share. */
#ifndef CBTAP_FORMAT_JSON_H
#define CBTAP_FORMAT_JSON_H

#include "cbtap/event.h"
#include "cbtap/format.h"
#include "format/json_write.h"
#include "sensor_events.pb-c.h"

/* Text made once, at the start, of the configuration. */
struct cbt_json_part {
    const uint8_t *text;
    size_t len;
};

/* The links that endpoint events may have, and what follows <server_url> in each. */
#define CBT_JSON_LINKS(LINK)                                                                                 \
    LINK(link_process, "#analyze/")                                                                          \
    LINK(link_sensor, "#/host/")                                                                             \
    LINK(link_parent, "#analyze/")                                                                           \
    LINK(link_child, "#analyze/")                                                                            \
    LINK(link_target, "#analyze/")

/* What a type has besides the keys of every event and its own: blocks of json_keys.def. */
#define CBT_JSON_PROCESS 1u /* header_process */
#define CBT_JSON_HASHES  2u /* header_hashes */

struct cbt_json {
    struct cbt_json_part prefix[CBT_TYPES]; /* from the opening brace on: the keys of the block `made` */
    struct cbt_json_part server;            /* "cb_server":"..." */
#define LINK(name, path) struct cbt_json_part name; /* ,"link_process":"<url>#analyze/ */
    CBT_JSON_LINKS(LINK)
#undef LINK
    struct cbt_json_part
        link_hash[3];   /* notifications' md5, parent_md5, process_md5: ,"link_md5":"<url>#/binary/ */
    size_t fixed_bytes; /* JSON_FIXED_BYTES and what of the above an event can have at most */
    bool links;
    bool float_time;
    bool cbef;       /* json.profile = cbef-3.8: the key names of cb-event-forwarder 3.8 */
    uint8_t *memory; /* of all parts */
};

/* A process: a GUID, or the deprecated number that stands for it. */
struct cbt_json_id {
    uint8_t text[JSON_GUID_BYTES + 4];
    size_t len;
};

/* One event being written. */
struct cbt_json_writer {
    struct cbt_json_out out;
    const struct cbt_json *json;
    const struct cbt_event *event;
    const CbEventMsg *msg;
    const CbHeaderMsg *header;
    struct cbt_json_id process;
};

/* The keys of one type (json_*.c), after those of every event. */
typedef uint8_t *cbt_json_keys_fn(struct cbt_json_writer *w, uint8_t *p);

cbt_json_keys_fn cbt_json_procstart, cbt_json_procend, cbt_json_childproc, cbt_json_crossprocopen,
    cbt_json_remotethread;
cbt_json_keys_fn cbt_json_moduleload, cbt_json_filemod, cbt_json_regmod, cbt_json_netconn;
cbt_json_keys_fn cbt_json_emetmitigation, cbt_json_tamper, cbt_json_processblock, cbt_json_module;
cbt_json_keys_fn cbt_json_filelessscriptload, cbt_json_filebackedscriptload, cbt_json_netconnblocked;
cbt_json_keys_fn cbt_json_vtwrite, cbt_json_vtload, cbt_json_processmeta, cbt_json_unknown;

/* A notification, which must have its tokens. */
uint8_t *cbt_json_notification(struct cbt_json_writer *w, uint8_t *p);

/* guid(sensor, pid, create_time), else `otherwise` in decimal. */
struct cbt_json_id cbt_json_id_of(const struct cbt_json_writer *w, bool complete, uint32_t pid,
                                  uint64_t create_time, int64_t otherwise);

/* "unknown (N)", for a value that its enum has no name for. */
uint8_t *cbt_json_unnamed(uint8_t *p, int32_t value);

/* The path of the first of the record's strings with that guid. */
ProtobufCBinaryData cbt_json_path(const struct cbt_json_writer *w, int64_t guid);

#endif
