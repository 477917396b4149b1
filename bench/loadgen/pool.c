/* SPDX-License-Identifier: MIT */
/* Makes the pool's events with protobuf-c, in the proportions of a real bundle: modload 43 %, filemod 31 %,
 * regmod 14 %, crossproc 6 %, childproc 3 %, netconn 2 %, process 1 %. */
#include "pool.h"

#include <sensor_events.pb-c.h>

#include "fleet.h"
#include "wire.h"

#define PROCESSES_AT_A_TIME 6
#define SCRATCH_BYTES       4096

enum kind { MODLOAD, FILEMOD, REGMOD, CROSSPROC, CHILDPROC, NETCONN, PROCESS, KINDS };

/* In thousandths. One endpoint of five runs Linux, which has no registry; the two rows give the real mix
 * together. */
static const uint32_t mix[2][KINDS] = {
    [CBT_OS_WINDOWS] = {430, 275, 175, 60, 30, 20, 10},
    [CBT_OS_LINUX] = {430, 450, 0, 60, 30, 20, 10},
};

struct process {
    uint8_t path[256], command_line[512];
    size_t path_len, command_line_len;
    uint8_t md5[16], sha256[32];
    uint32_t user;
    bool by_user;
    int32_t pid;
    int64_t create_time, guid;
};

struct maker {
    struct cbt_random random;
    enum cbt_os os;
    struct process processes[PROCESSES_AT_A_TIME];
    const struct process *process; /* whose event is being made */
    struct cbt_bytes scratch;      /* the event's texts, until it is packed */
    struct cbt_pool *pool;
};

static ProtobufCBinaryData bytes_of(const void *data, size_t len)
{
    union {
        const void *in;
        uint8_t *out;
    } view = {data}; /* protobuf-c's type has no const; packing only reads */
    return (ProtobufCBinaryData){len, view.out};
}

static struct cbt_random digest_of(const uint8_t *name, size_t name_len, uint64_t kind)
{
    struct cbt_random digest = {0xcbf29ce484222325u + kind};
    for (size_t i = 0; i < name_len; i++)
        digest.state = (digest.state ^ name[i]) * 0x100000001b3u;
    return digest;
}

/* A digest that is the same for the same name, as a file's hash would be. */
static ProtobufCBinaryData put_digest(struct maker *m, const uint8_t *name, size_t name_len,
                                      size_t digest_len)
{
    struct cbt_random digest = digest_of(name, name_len, digest_len);
    uint8_t *at = cbt_bytes_reserve(&m->scratch, digest_len);
    for (size_t i = 0; i < digest_len; i++)
        at[i] = (uint8_t)cbt_random_next(&digest);
    m->scratch.len += digest_len;
    return bytes_of(at, digest_len);
}

/* The endpoint's number of a path or a file: also the same for the same name. */
static int64_t guid_of(const ProtobufCBinaryData *name, uint64_t kind)
{
    struct cbt_random digest = digest_of(name->data, name->len, kind);
    return (int64_t)cbt_random_next(&digest);
}

static ProtobufCBinaryData put_name(struct maker *m, const char *pattern)
{
    const size_t at = m->scratch.len;
    cbt_names_fill(&m->random, pattern, m->process->user, &m->scratch);
    return bytes_of(m->scratch.data + at, m->scratch.len - at);
}

static int64_t some_time(struct maker *m)
{
    return (int64_t)(CBT_FLEET_EPOCH_FILETIME - cbt_random_below(&m->random, 864000000) * (uint64_t)1000);
}

static size_t copy(uint8_t *to, size_t room, ProtobufCBinaryData from)
{
    const size_t len = from.len < room ? from.len : room;
    memcpy(to, from.data, len);
    return len;
}

static void start_process(struct maker *m, struct process *p)
{
    const struct cbt_program *program = cbt_names_program(&m->random, m->os);
    m->scratch.len = 0;
    m->process = p;
    *p = (struct process){.user = cbt_random_below(&m->random, CBT_NAMES_USERS), .by_user = program->by_user};
    p->path_len = copy(p->path, sizeof(p->path), put_name(m, program->path));
    p->command_line_len = copy(p->command_line, sizeof(p->command_line), put_name(m, program->command_line));
    copy(p->md5, sizeof(p->md5), put_digest(m, p->path, p->path_len, sizeof(p->md5)));
    copy(p->sha256, sizeof(p->sha256), put_digest(m, p->path, p->path_len, sizeof(p->sha256)));
    p->pid = (int32_t)(4 * (1 + cbt_random_below(&m->random, 8000)));
    p->create_time = some_time(m);
    p->guid = (int64_t)cbt_random_next(&m->random);
}

/* Module loads, file modifications and processes carry the path as a string of its own, by its number. */
static void set_path(struct maker *m, CbEventMsg *e, CbStringMsg *string, const char *pattern)
{
    string->has_utf8string = string->has_guid = string->has_string_type = true;
    string->utf8string = put_name(m, pattern);
    string->guid = guid_of(&string->utf8string, 1);
    string->string_type = CB_STRING_MSG__CB_STRING_TYPE__typeFilepath;
    e->header->has_filepath_string_guid = true;
    e->header->filepath_string_guid = string->guid;
}

static void set_modload(struct maker *m, CbEventMsg *e, CbModuleLoadMsg *load)
{
    const ProtobufCBinaryData *path = &e->strings[0]->utf8string;
    e->modload = load;
    load->has_guid = load->has_handlepath_string_guid = load->has_md5hash = load->has_scanid = true;
    load->has_is_process_base_module = load->has_image_base = load->has_image_size = true;
    load->guid = guid_of(path, 2);
    load->handlepath_string_guid = e->header->filepath_string_guid;
    load->md5hash = put_digest(m, path->data, path->len, 16);
    load->has_sha256hash = cbt_random_below(&m->random, 4) != 0;
    load->sha256hash = put_digest(m, path->data, path->len, 32);
    load->scanid = (int32_t)cbt_random_below(&m->random, 2000);
    load->image_base = (int64_t)cbt_random_below(&m->random, 0x7fff) << 32 | 0x10000;
    load->image_size = 4096 * (1 + cbt_random_below(&m->random, 900));
}

static void set_filemod(struct maker *m, CbEventMsg *e, CbFileModMsg *mod)
{
    static const CbFileModMsg__CbFileType types[] = {
        CB_FILE_MOD_MSG__CB_FILE_TYPE__filetypeUnknown,       CB_FILE_MOD_MSG__CB_FILE_TYPE__filetypePe,
        CB_FILE_MOD_MSG__CB_FILE_TYPE__filetypeOfficeOpenXml, CB_FILE_MOD_MSG__CB_FILE_TYPE__filetypePdf,
        CB_FILE_MOD_MSG__CB_FILE_TYPE__filetypeArchivePkzip,
    };
    const ProtobufCBinaryData *path = &e->strings[0]->utf8string;
    e->filemod = mod;
    mod->has_guid = mod->has_action = mod->has_tamper = true;
    mod->guid = (int64_t)cbt_random_next(&m->random);
    mod->action = (CbFileModMsg__CbFileModAction)(1u << cbt_random_below(&m->random, 4));
    if (mod->action == CB_FILE_MOD_MSG__CB_FILE_MOD_ACTION__actionFileModLastWrite) {
        mod->has_md5hash = mod->has_type = mod->has_sha256hash = true;
        mod->md5hash = put_digest(m, path->data, path->len, 16);
        mod->sha256hash = put_digest(m, path->data, path->len, 32);
        mod->type = types[cbt_random_below(&m->random, 5)];
    }
}

static void set_regmod(struct maker *m, CbEventMsg *e, CbRegModMsg *mod)
{
    e->regmod = mod;
    mod->has_guid = mod->has_action = mod->has_utf8_regpath = mod->has_tamper = true;
    mod->guid = (int64_t)cbt_random_next(&m->random);
    mod->action = (CbRegModMsg__CbRegModAction)(1u << cbt_random_below(&m->random, 4));
    mod->utf8_regpath = put_name(m, cbt_names_key(&m->random));
}

static const struct process *other_process(struct maker *m)
{
    return &m->processes[cbt_random_below(&m->random, PROCESSES_AT_A_TIME)];
}

static void set_open(struct maker *m, CbCrossProcessMsg *cross, CbCrossProcessOpenMsg *open)
{
    const struct process *target = other_process(m);
    cross->open = open;
    open->has_type = open->has_targetpid = open->has_targetproccreatetime = open->has_requestedaccess = true;
    open->has_targetprocpath = open->has_targetprocmd5 = true;
    open->type = cbt_random_below(&m->random, 8) ? CB_CROSS_PROCESS_OPEN_MSG__OPEN_TYPE__OpenProcessHandle
                                                 : CB_CROSS_PROCESS_OPEN_MSG__OPEN_TYPE__OpenThreadHandle;
    open->targetpid = (uint32_t)target->pid;
    open->targetproccreatetime = (uint64_t)target->create_time;
    open->requestedaccess = cbt_random_below(&m->random, 2) ? 0x1fffff : 0x1478;
    open->targetprocpath = bytes_of(target->path, target->path_len);
    open->targetprocmd5 = bytes_of(target->md5, sizeof(target->md5));
}

static void set_remote_thread(struct maker *m, CbCrossProcessMsg *cross, CbCreateRemoteThreadMsg *thread)
{
    const struct process *target = other_process(m);
    cross->remotethread = thread;
    thread->has_remoteprocpid = thread->has_remoteproccreatetime = true;
    thread->has_remoteprocpath = thread->has_remoteprocmd5 = true;
    thread->remoteprocpid = (uint32_t)target->pid;
    thread->remoteproccreatetime = (uint64_t)target->create_time;
    thread->remoteprocpath = bytes_of(target->path, target->path_len);
    thread->remoteprocmd5 = bytes_of(target->md5, sizeof(target->md5));
}

static void set_childproc(struct maker *m, CbEventMsg *e, CbChildProcessMsg *child)
{
    const struct process *process = other_process(m);
    e->childproc = child;
    child->has_created = child->has_parent_guid = child->has_md5hash = child->has_child_guid = true;
    child->has_path = child->has_pid = child->has_create_time = true;
    child->created = cbt_random_below(&m->random, 2) != 0;
    child->parent_guid = e->header->process_guid;
    child->child_guid = process->guid;
    child->md5hash = bytes_of(process->md5, sizeof(process->md5));
    child->has_sha256hash = true;
    child->sha256hash = bytes_of(process->sha256, sizeof(process->sha256));
    child->path = bytes_of(process->path, process->path_len);
    child->pid = process->pid;
    child->create_time = process->create_time;
    if (cbt_random_below(&m->random, 4) == 0) {
        child->has_commandline = true;
        child->commandline = bytes_of(process->command_line, process->command_line_len);
    }
}

static void set_netconn(struct maker *m, CbEventMsg *e, CbNetConnMsgv2 *net, CbIpAddr *remote,
                        CbIpAddr *local)
{
    e->networkv2 = net;
    net->has_protocol = net->has_utf8_netpath = net->has_outbound = net->has_remoteport = net->has_localport =
        true;
    net->protocol = cbt_random_below(&m->random, 3) ? CB_NET_CONN_MSGV2__PROTOCOL_TYPE__ProtoTcp
                                                    : CB_NET_CONN_MSGV2__PROTOCOL_TYPE__ProtoUdp;
    net->utf8_netpath = put_name(m, cbt_names_domain(&m->random));
    net->outbound = cbt_random_below(&m->random, 8) != 0;
    net->remoteport = cbt_random_below(&m->random, 4) ? 0xbb01 : 0x3500; /* 443 and 53 in network order */
    net->localport = cbt_random_below(&m->random, 0x10000);
    net->remoteipaddress = remote;
    net->localipaddress = local;
    if (cbt_random_below(&m->random, 5) == 0) {
        remote->has_bisipv6 = remote->has_ipv6low = remote->has_ipv6high = true;
        remote->bisipv6 = true;
        remote->ipv6high = 0xb80d0120; /* 2001:db8:: */
        remote->ipv6low = cbt_random_next(&m->random);
    } else {
        remote->has_ipv4address = true;
        remote->ipv4address = (uint32_t)cbt_random_next(&m->random);
    }
    local->has_ipv4address = true;
    local->ipv4address = 10 | (uint32_t)cbt_random_next(&m->random) << 8;
}

static void set_process(struct maker *m, CbEventMsg *e, CbProcessMsg *process)
{
    const struct process *p = m->process, *parent = other_process(m);
    e->process = process;
    process->has_pid = process->has_created = process->has_parent_pid = process->has_parent_create_time =
        true;
    process->has_parent_guid = process->has_md5hash = process->has_commandline = process->has_parent_md5 =
        true;
    process->has_parent_path = process->has_username = process->has_uid = process->has_creationobserved =
        true;
    process->pid = p->pid;
    process->created = cbt_random_below(&m->random, 2) != 0;
    process->parent_pid = parent->pid;
    process->parent_create_time = parent->create_time;
    process->parent_guid = parent->guid;
    process->md5hash = bytes_of(p->md5, sizeof(p->md5));
    process->has_sha256hash = true;
    process->sha256hash = bytes_of(p->sha256, sizeof(p->sha256));
    process->commandline = bytes_of(p->command_line, p->command_line_len);
    process->parent_md5 = bytes_of(parent->md5, sizeof(parent->md5));
    process->parent_path = bytes_of(parent->path, parent->path_len);
    process->username = p->by_user ? put_name(m, m->os == CBT_OS_LINUX ? "{user}" : "CORP\\{user}")
                                   : put_name(m, m->os == CBT_OS_LINUX ? "root" : "SYSTEM");
    process->uid = p->by_user ? put_name(m, m->os == CBT_OS_LINUX ? "1000" : "{sid}")
                              : put_name(m, m->os == CBT_OS_LINUX ? "0" : "S-1-5-18");
}

/* The header is packed first and the time stamp is one of its first fields, so both places are found by a
 * walk. */
static void add_to_pool(struct maker *m, size_t index, const CbEventMsg *e)
{
    struct cbt_pool *pool = m->pool;
    struct cbt_pool_event *event = &pool->events[index];
    const size_t len = cb_event_msg__get_packed_size(e);
    event->at = (uint32_t)pool->data.len;
    event->len = (uint32_t)len;
    cb_event_msg__pack(e, cbt_bytes_reserve(&pool->data, len));
    pool->data.len += len;

    const struct cbt_text record = {pool->data.data + event->at, len};
    struct cbt_wire_field header, field;
    if (cbt_wire_find(record, 1, &header) && cbt_wire_find(header.bytes, 4, &field))
        event->timestamp_at = (uint32_t)(field.start + 1 - record.data);
    event->env_at = event->len;
    struct cbt_wire wire = cbt_wire_of(record);
    while (cbt_wire_next(&wire, &field))
        if (field.number > 13) {
            event->env_at = (uint32_t)(field.start - record.data);
            break;
        }
    event->type = cbt_wire_event_type(record);
}

static void set_header(const struct maker *m, CbHeaderMsg *header)
{
    const struct process *p = m->process;
    header->version = 4;
    header->has_timestamp = header->has_process_guid = header->has_process_create_time =
        header->has_process_pid = true;
    header->has_process_md5 = header->has_process_path = header->has_process_sha256 = true;
    header->timestamp = (int64_t)CBT_FLEET_EPOCH_FILETIME;
    header->process_guid = p->guid;
    header->process_create_time = p->create_time;
    header->process_pid = p->pid;
    header->process_md5 = bytes_of(p->md5, sizeof(p->md5));
    header->process_path = bytes_of(p->path, p->path_len);
    header->process_sha256 = bytes_of(p->sha256, sizeof(p->sha256));
}

static void make_event(struct maker *m, size_t index, enum kind kind)
{
    CbEventMsg e = CB_EVENT_MSG__INIT;
    CbHeaderMsg header = CB_HEADER_MSG__INIT;
    CbStringMsg string = CB_STRING_MSG__INIT, *strings[] = {&string};
    CbModuleLoadMsg load = CB_MODULE_LOAD_MSG__INIT;
    CbFileModMsg filemod = CB_FILE_MOD_MSG__INIT;
    CbRegModMsg regmod = CB_REG_MOD_MSG__INIT;
    CbCrossProcessMsg cross = CB_CROSS_PROCESS_MSG__INIT;
    CbCrossProcessOpenMsg open = CB_CROSS_PROCESS_OPEN_MSG__INIT;
    CbCreateRemoteThreadMsg thread = CB_CREATE_REMOTE_THREAD_MSG__INIT;
    CbChildProcessMsg child = CB_CHILD_PROCESS_MSG__INIT;
    CbNetConnMsgv2 net = CB_NET_CONN_MSGV2__INIT;
    CbIpAddr remote = CB_IP_ADDR__INIT, local = CB_IP_ADDR__INIT;
    CbProcessMsg process = CB_PROCESS_MSG__INIT;

    m->scratch.len = 0;
    cbt_bytes_reserve(&m->scratch,
                      SCRATCH_BYTES); /* so that it does not move while the event points into it */
    e.header = &header;
    set_header(m, &header);
    if (kind == MODLOAD || kind == FILEMOD || kind == PROCESS) {
        e.n_strings = 1;
        e.strings = strings;
        if (kind == PROCESS)
            set_path(m, &e, &string, "");
        else
            set_path(m, &e, &string,
                     kind == MODLOAD ? cbt_names_module(&m->random, m->os)
                                     : cbt_names_file(&m->random, m->os));
    }
    switch (kind) {
    case MODLOAD:
        set_modload(m, &e, &load);
        break;
    case FILEMOD:
        set_filemod(m, &e, &filemod);
        break;
    case REGMOD:
        set_regmod(m, &e, &regmod);
        break;
    case CROSSPROC:
        e.crossproc = &cross;
        cross.has_tamper = cross.has_istarget = true;
        cross.istarget = cbt_random_below(&m->random, 4) == 0;
        if (cbt_random_below(&m->random, 6))
            set_open(m, &cross, &open);
        else
            set_remote_thread(m, &cross, &thread);
        break;
    case CHILDPROC:
        set_childproc(m, &e, &child);
        break;
    case NETCONN:
        set_netconn(m, &e, &net, &remote, &local);
        break;
    default:
        string.utf8string = header.process_path;
        set_process(m, &e, &process);
        break;
    }
    add_to_pool(m, index, &e);
}

static enum kind draw_kind(struct maker *m)
{
    uint32_t left = cbt_random_below(&m->random, 1000);
    enum kind kind = MODLOAD;
    while (kind + 1 < KINDS && left >= mix[m->os][kind])
        left -= mix[m->os][kind++];
    return kind;
}

struct cbt_pool *cbt_pool_new(uint64_t seed, enum cbt_os os)
{
    struct maker m = {.random = {cbt_random_mix(seed + 1) + (uint64_t)os}, .os = os};
    m.pool = cbt_bytes_checked(calloc(1, sizeof(*m.pool)));
    for (size_t i = 0; i < PROCESSES_AT_A_TIME; i++)
        start_process(&m, &m.processes[i]);
    for (uint32_t i = 0; i < CBT_POOL_EVENTS; i++) {
        if (cbt_random_below(&m.random, 30) == 0)
            start_process(&m, &m.processes[cbt_random_below(&m.random, PROCESSES_AT_A_TIME)]);
        if (i == 0 || cbt_random_below(&m.random, 12) == 0)
            m.process = other_process(&m);
        make_event(&m, i, draw_kind(&m));
    }
    cbt_bytes_free(&m.scratch);
    return m.pool;
}

void cbt_pool_free(struct cbt_pool *pool)
{
    if (!pool)
        return;
    cbt_bytes_free(&pool->data);
    free(pool);
}
