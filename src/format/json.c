/* SPDX-License-Identifier: MIT */
/*
 * The json format: one JSON object an event, as its documented schema has it. The keys are in json_keys.def;
 * the families of types (json_*.c) write them.
 *
 * Happy path: the beginning of the object up to its first value was made when the format was opened; then one
 * pass, writing straight into the record's memory. Failure: no more room is CBT_ELIMIT. Owns nothing but the
 * parts made of the configuration, which encoding only reads.
 */
#include "format/json_row.h"

#include <stdlib.h>

static const struct row {
    cbt_json_keys_fn *keys;
    uint32_t common;
} rows[CBT_TYPES] = {
#define CBT_JSON_TYPE(type, keys, common) [CBT_TYPE_##type] = {cbt_json_##keys, common},
#include "format/json_types.def"
};

struct cbt_json_id cbt_json_id_of(const struct cbt_json_writer *w, bool complete, uint32_t pid,
                                  uint64_t create_time, int64_t otherwise)
{
    struct cbt_json_id id;
    uint8_t *end = complete ? cbt_json_guid(id.text, (uint32_t)w->event->env.sensor_id, pid, create_time)
                            : cbt_json_i64(id.text, otherwise);
    id.len = (size_t)(end - id.text);
    return id;
}

ProtobufCBinaryData cbt_json_path(const struct cbt_json_writer *w, int64_t guid)
{
    for (size_t i = 0; i < w->msg->n_strings; i++)
        if (w->msg->strings[i]->guid == guid)
            return w->msg->strings[i]->utf8string;
    return (ProtobufCBinaryData){0, NULL};
}

uint8_t *cbt_json_unnamed(uint8_t *p, int32_t value)
{
    p = JSON_LITERAL(p, "\"unknown (");
    p = cbt_json_i64(p, value);
    return JSON_LITERAL(p, ")\"");
}

static uint8_t *put_part(uint8_t *p, const struct cbt_json_part *part)
{
    memcpy(p, part->text, part->len);
    return p + part->len;
}

/* The keys of every event. */
static uint8_t *put_event(struct cbt_json_writer *w, uint8_t *p, enum cbt_event_type type)
{
    const CbHeaderMsg *h = w->header;
    const struct cbt_environment *env = &w->event->env;
    p = put_part(p, &w->json->prefix[type]);
#define CBT_JSON_event
#include "format/json_keys.def"
    return p;
}

/* The keys of every event that a process has caused. */
static uint8_t *put_process(struct cbt_json_writer *w, uint8_t *p)
{
    const CbHeaderMsg *h = w->header;
#define CBT_JSON_header_process
#include "format/json_keys.def"
    return p;
}

static uint8_t *put_hashes(struct cbt_json_writer *w, uint8_t *p)
{
    const CbHeaderMsg *h = w->header;
#define CBT_JSON_header_hashes
#include "format/json_keys.def"
    return p;
}

static uint8_t *put_endpoint_event(struct cbt_json_writer *w, uint8_t *p)
{
    enum cbt_event_type type = rows[w->event->type].keys != NULL ? w->event->type : CBT_TYPE_unknown;
    const struct row *row = &rows[type];
    const CbHeaderMsg *h = w->header;
    w->process =
        cbt_json_id_of(w, w->event->env.has_sensor_id && h->has_process_pid && h->has_process_create_time,
                       (uint32_t)h->process_pid, (uint64_t)h->process_create_time, h->process_guid);
    p = put_event(w, p, type);
    if ((row->common & CBT_JSON_PROCESS) != 0)
        p = put_process(w, p);
    if ((row->common & CBT_JSON_HASHES) != 0)
        p = put_hashes(w, p);
    p = row->keys(w, p);
    *p++ = '}';
    return p;
}

static int encode(const void *self, const struct cbt_event *event, struct cbt_buf *buf, struct cbt_err *err)
{
    const struct cbt_json *json = self;
    uint8_t scratch[JSON_SCRATCH_BYTES];
    struct cbt_json_writer w = {
        .out = {.end = buf->end, .fixed_bytes = json->fixed_bytes, .buf = buf, .scratch = scratch},
        .json = json,
        .event = event,
        .msg = event->msg,
    };
    uint8_t *p = cbt_json_room(&w.out, buf->pos, 0);
    if (event->type == CBT_TYPE_NOTIFICATION && event->notification != NULL) {
        p = cbt_json_notification(&w, p);
    } else if (event->msg == NULL || event->msg->header == NULL || (unsigned)event->type >= CBT_TYPES) {
        return cbt_err_set(err, CBT_EINVAL, "an event without what was decoded of it");
    } else {
        w.header = event->msg->header;
        p = put_endpoint_event(&w, p);
    }
    if (buf->failed)
        return cbt_err_set(err, CBT_ELIMIT, "the event is larger as JSON than a record may be");
    buf->pos = p;
    return CBT_OK;
}

/* --- opening: the parts made of the configuration --- */

#define MADE_BYTES 1024 /* for a start */

static bool grow_heap(struct cbt_buf *buf, size_t bytes)
{
    size_t len = cbt_buf_len(buf), capacity = 2 * (len + bytes);
    uint8_t *memory = realloc(buf->begin, capacity);
    if (memory == NULL)
        return false;
    buf->begin = memory;
    buf->pos = memory + len;
    buf->end = memory + capacity;
    return true;
}

static void put_str(struct cbt_buf *buf, const char *text)
{
    cbt_buf_put(buf, text, strlen(text));
}

static void put_escaped(struct cbt_buf *buf, const char *text)
{
    uint8_t scratch[JSON_SCRATCH_BYTES];
    struct cbt_json_out out = {.end = buf->end, .buf = buf, .scratch = scratch};
    uint8_t *p = cbt_json_escape(&out, buf->pos, (const uint8_t *)text, strlen(text));
    if (!buf->failed)
        buf->pos = p;
}

/* Ends the part that began at *at; only offsets hold until the memory no longer moves. */
static void end_part(const struct cbt_buf *buf, size_t *at, struct cbt_json_part *ret_part)
{
    *ret_part = (struct cbt_json_part){NULL, cbt_buf_len(buf) - *at};
    *at = cbt_buf_len(buf);
}

/* A key of the block `made`: the two texts in a row. The first one of the part opens the object. */
static void put_made(struct cbt_buf *buf, size_t part_at, const char *key, const char *text, const char *more)
{
    put_str(buf, cbt_buf_len(buf) == part_at ? "{\"" : ",\"");
    put_str(buf, key);
    put_str(buf, "\":\"");
    put_escaped(buf, text);
    put_escaped(buf, more);
    put_str(buf, "\"");
}
#define CBT_KEY_MADE(key, meaning, source, text, more) put_made(&buf, at, key, text, more);

struct link {
    struct cbt_json_part *part;
    const char *key, *path;
};

static int make_parts(struct cbt_json *json, const struct cbt_format_options *options, struct cbt_err *err)
{
    static const char *const event_types[] = {
#define CBT_EVENT_TYPE(id, name, event_type) event_type,
#include "cbtap/event_types.def"
    };
    const char *server_name = options->server_name != NULL ? options->server_name : "";
    const char *url = options->server_url != NULL ? options->server_url : "";
    const char *slash = url[0] != '\0' && url[strlen(url) - 1] != '/' ? "/" : "";
    const struct link links[] = {
#define LINK(name, path) {&json->name, #name, path},
        CBT_JSON_LINKS(LINK)
#undef LINK
            {&json->link_hash[0], "link_md5", "#/binary/"},
        {&json->link_hash[1], "link_parent_md5", "#/binary/"},
        {&json->link_hash[2], "link_process_md5", "#/binary/"},
    };
    const size_t link_count = sizeof(links) / sizeof(links[0]);
    struct cbt_buf buf = {.grow = grow_heap};
    size_t at = 0;
    /* Before anything is put: a buffer without memory has no address to put it to. */
    if (!cbt_buf_reserve(&buf, MADE_BYTES))
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the json format");
    put_str(&buf, "\"cb_server\":\"");
    put_escaped(&buf, server_name);
    put_str(&buf, "\"");
    end_part(&buf, &at, &json->server);
    for (size_t i = 0; i < link_count; i++) {
        put_str(&buf, ",\"");
        put_str(&buf, links[i].key);
        put_str(&buf, "\":\"");
        put_escaped(&buf, url);
        put_str(&buf, slash);
        put_str(&buf, links[i].path);
        end_part(&buf, &at, links[i].part);
    }
    for (enum cbt_event_type type = 0; type < CBT_TYPE_NOTIFICATION; type++) {
#define CBT_JSON_made
#include "format/json_keys.def"
        end_part(&buf, &at, &json->prefix[type]);
    }
    json->memory = buf.begin;
    if (buf.failed)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the json format");
    if (json->server.len > JSON_CONFIG_BYTES_MAX || json->link_process.len > JSON_CONFIG_BYTES_MAX)
        return cbt_err_set(err, CBT_EINVAL, "%s is too long: about 1000 bytes at most",
                           json->server.len > JSON_CONFIG_BYTES_MAX ? "server_name" : "server_url");
    const uint8_t *text = buf.begin;
    json->server.text = text;
    text += json->server.len;
    for (size_t i = 0; i < link_count; text += links[i++].part->len)
        links[i].part->text = text;
    for (int type = 0; type < CBT_TYPE_NOTIFICATION; text += json->prefix[type++].len)
        json->prefix[type].text = text;
    json->links = url[0] != '\0';
    json->fixed_bytes = JSON_FIXED_BYTES + json->server.len + 3 * json->link_process.len;
    return CBT_OK;
}

static void close_json(void *self)
{
    struct cbt_json *json = self;
    if (json == NULL)
        return;
    free(json->memory);
    free(json);
}

static int open_json(void **ret_self, const struct cbt_format_options *options, struct cbt_err *err)
{
    const char *profile = options->profile != NULL ? options->profile : "documented";
    const bool cbef = strcmp(profile, "cbef-3.8") == 0;
    if (!cbef && strcmp(profile, "documented") != 0)
        return cbt_err_set(err, CBT_EINVAL, "json.profile = '%s' is not known: documented or cbef-3.8",
                           profile);
    struct cbt_json *json = calloc(1, sizeof(*json));
    if (json == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the json format");
    json->float_time = options->float_time;
    json->cbef = cbef;
    int rc = make_parts(json, options, err);
    if (rc != 0) {
        close_json(json);
        return rc;
    }
    *ret_self = json;
    return CBT_OK;
}

const struct cbt_format cbt_format_json = {
    .name = "json", .open = open_json, .encode = encode, .close = close_json};
