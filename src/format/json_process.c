/* SPDX-License-Identifier: MIT */
/* procstart, procend, childproc, crossprocopen and remotethread: what processes do to processes. */
#include "format/json_row.h"

uint8_t *cbt_json_procend(struct cbt_json_writer *w, uint8_t *p)
{
    const CbHeaderMsg *h = w->header;
    const CbProcessMsg *m = w->msg->process;
    const struct cbt_json_id parent =
        cbt_json_id_of(w, w->event->env.has_sensor_id && m->has_parent_pid && m->has_parent_create_time,
                       (uint32_t)m->parent_pid, (uint64_t)m->parent_create_time, m->parent_guid);
#define CBT_JSON_process
#include "format/json_keys.def"
    return p;
}

/* Its hashes may be its own; for the rest it is a process as at its end. */
uint8_t *cbt_json_procstart(struct cbt_json_writer *w, uint8_t *p)
{
    const CbHeaderMsg *h = w->header;
    const CbProcessMsg *m = w->msg->process;
#define CBT_JSON_procstart
#include "format/json_keys.def"
    return cbt_json_procend(w, p);
}

uint8_t *cbt_json_childproc(struct cbt_json_writer *w, uint8_t *p)
{
    const CbHeaderMsg *h = w->header;
    const CbChildProcessMsg *m = w->msg->childproc;
    const bool has_sensor = w->event->env.has_sensor_id;
    const bool suppressed = m->suppressed != NULL && m->suppressed->bissuppressed;
    const struct cbt_json_id child =
        cbt_json_id_of(w, has_sensor && m->has_pid && m->has_create_time, (uint32_t)m->pid,
                       (uint64_t)m->create_time, m->child_guid);
    const struct cbt_json_id parent =
        cbt_json_id_of(w, has_sensor && h->has_process_pid && h->has_process_create_time,
                       (uint32_t)h->process_pid, (uint64_t)h->process_create_time, m->parent_guid);
#define CBT_JSON_childproc
#include "format/json_keys.def"
    return p;
}

/* What of the target is not there counts as 0: there is no deprecated number for it. */
uint8_t *cbt_json_crossprocopen(struct cbt_json_writer *w, uint8_t *p)
{
    const CbCrossProcessMsg *c = w->msg->crossproc;
    const CbCrossProcessOpenMsg *m = c->open;
    const struct cbt_json_id target = cbt_json_id_of(w, true, m->targetpid, m->targetproccreatetime, 0);
#define CBT_JSON_crossproc
#define CBT_JSON_crossprocopen
#include "format/json_keys.def"
    return p;
}

uint8_t *cbt_json_remotethread(struct cbt_json_writer *w, uint8_t *p)
{
    const CbCrossProcessMsg *c = w->msg->crossproc;
    const CbCreateRemoteThreadMsg *m = c->remotethread;
    const struct cbt_json_id target = cbt_json_id_of(w, true, m->remoteprocpid, m->remoteproccreatetime, 0);
#define CBT_JSON_crossproc
#define CBT_JSON_remotethread
#include "format/json_keys.def"
    return p;
}
