/* SPDX-License-Identifier: MIT */
/*
 * Makes messages of files, in the shape that was asked for. All of it is made when it is opened, in memory.
 *
 * Failure modes: a file that cannot be read, a zip that libzip refuses and a bundle that ends within a record
 * are errors that name the file; records are otherwise sent as they are, also when no decoder will like them.
 */
#include "replay.h"

#include <errno.h>
#include <zip.h>

#include "wire.h"
#include "zip_writer.h"

#define FILE_MAX_BYTES  (1u << 30)
#define ENTRY_MAX_BYTES (1u << 30)

struct unit {
    size_t at, len; /* the body, in `bodies` */
    const char *content_type;
    char *key;
    uint32_t events;
};

struct cbt_replay {
    struct cbt_feed_options options;
    struct libdeflate_compressor *compressor;
    struct cbt_bytes bodies;
    struct unit *units;
    size_t count, room;
    size_t next;
    uint64_t events_in_files, sent;
};

static int read_file(const char *path, struct cbt_bytes *out, struct cbt_err *err)
{
    FILE *f = fopen(path, "rbe");
    int rc = 0;
    if (!f)
        return cbt_err_set(err, CBT_EIO, "cannot open %s: %s", path, strerror(errno));
    while (!feof(f) && !ferror(f) && out->len < FILE_MAX_BYTES) {
        cbt_bytes_reserve(out, 65536);
        out->len += fread(out->data + out->len, 1, 65536, f);
    }
    if (ferror(f))
        rc = cbt_err_set(err, CBT_EIO, "cannot read %s: %s", path, strerror(errno));
    else if (out->len >= FILE_MAX_BYTES)
        rc = cbt_err_set(err, CBT_ELIMIT, "%s is larger than %u bytes", path, FILE_MAX_BYTES);
    fclose(f);
    return rc;
}

static void add_unit(struct cbt_replay *r, struct cbt_text body, const char *content_type, char *key,
                     uint32_t events)
{
    if (r->count == r->room) {
        r->room = r->room ? r->room * 2 : 64;
        r->units = cbt_bytes_checked(realloc(r->units, r->room * sizeof(*r->units)));
    }
    r->units[r->count++] = (struct unit){r->bodies.len, body.len, content_type, key, events};
    cbt_bytes_put(&r->bodies, body.data, body.len);
    r->events_in_files += events;
}

static char *make_key(const char *prefix, const char *name, size_t name_len)
{
    char *key = cbt_bytes_checked(malloc(strlen(prefix) + name_len + 1));
    memcpy(key, prefix, strlen(prefix));
    memcpy(key + strlen(prefix), name, name_len);
    key[strlen(prefix) + name_len] = 0;
    return key;
}

static int count_records(struct cbt_text bundle, uint32_t *count, struct cbt_err *err)
{
    struct cbt_text record;
    size_t offset = 0;
    while (cbt_wire_next_record(bundle, &offset, &record))
        ++*count;
    if (offset != bundle.len)
        return cbt_err_set(err, CBT_EINVAL, "no whole record at byte %zu of %zu", offset, bundle.len);
    return 0;
}

/* Every record a message; one without an environment gets the one that was given. */
static void add_records(struct cbt_replay *r, struct cbt_text bundle)
{
    struct cbt_bytes body = {0};
    struct cbt_wire_field env;
    struct cbt_text record;
    size_t offset = 0;
    while (cbt_wire_next_record(bundle, &offset, &record)) {
        const char *type = cbt_wire_event_type(record);
        body.len = 0;
        cbt_bytes_put(&body, record.data, record.len);
        if (r->options.has_environment && !cbt_wire_find(record, 13, &env))
            cbt_endpoint_put_env(&body, r->options.sensor_id, r->options.host_name, r->options.host_id,
                                 r->options.node_id);
        add_unit(r, cbt_bytes_text(&body), "application/protobuf",
                 make_key("ingress.event.", type, strlen(type)), 1);
    }
    cbt_bytes_free(&body);
}

static int add_bundle(struct cbt_replay *r, struct cbt_text bundle, struct cbt_err *err)
{
    uint32_t records = 0;
    if (count_records(bundle, &records, err))
        return CBT_EINVAL;
    if (r->options.shape == CBT_SHAPE_EVENT) {
        add_records(r, bundle);
    } else if (r->options.shape == CBT_SHAPE_ZIP) {
        struct cbt_bytes zip = {0};
        cbt_zip_write(r->compressor, "EventLog.log", bundle, &zip);
        add_unit(r, cbt_bytes_text(&zip), "application/zip", make_key("", "", 0), records);
        cbt_bytes_free(&zip);
    } else {
        add_unit(r, bundle, "application/protobuf", make_key("", "", 0), records);
    }
    return 0;
}

static int read_entry(zip_t *archive, zip_uint64_t index, struct cbt_bytes *out, struct cbt_err *err)
{
    zip_file_t *entry = zip_fopen_index(archive, index, 0);
    zip_int64_t got = entry ? 1 : -1;
    while (got > 0 && out->len < ENTRY_MAX_BYTES) {
        got = zip_fread(entry, cbt_bytes_reserve(out, 65536), 65536);
        out->len += got > 0 ? (size_t)got : 0;
    }
    if (entry)
        zip_fclose(entry);
    if (got)
        return cbt_err_set(err, CBT_EINVAL, "entry %llu of the zip cannot be read: %s",
                           (unsigned long long)index, got > 0 ? "it is too large" : zip_strerror(archive));
    return 0;
}

/* Opens the zip for its entries: to count them where the zip is sent as it is, to send them otherwise. */
static int add_zip(struct cbt_replay *r, struct cbt_text file, struct cbt_err *err)
{
    const bool as_it_is = r->options.shape == CBT_SHAPE_AUTO || r->options.shape == CBT_SHAPE_ZIP;
    struct cbt_bytes entry = {0};
    uint32_t records = 0;
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(file.data, file.len, 0, &error);
    zip_t *archive = source ? zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error) : NULL;
    int rc = 0;
    if (!archive) {
        zip_source_free(source);
        rc =
            cbt_err_set(err, CBT_EINVAL, "it is no zip that libzip can read: %s", zip_error_strerror(&error));
        zip_error_fini(&error);
        return rc;
    }
    const zip_int64_t entries = zip_get_num_entries(archive, 0);
    for (zip_int64_t i = 0; i < entries && !rc; i++) {
        entry.len = 0;
        rc = read_entry(archive, (zip_uint64_t)i, &entry, err);
        if (!rc && as_it_is)
            rc = count_records(cbt_bytes_text(&entry), &records, err);
        else if (!rc)
            rc = add_bundle(r, cbt_bytes_text(&entry), err);
    }
    if (!rc && as_it_is)
        add_unit(r, file, "application/zip", make_key("", "", 0), records);
    cbt_bytes_free(&entry);
    zip_discard(archive);
    return rc;
}

/* Every line a notification; the file's name is its routing key. */
static void add_notifications(struct cbt_replay *r, struct cbt_text file, const char *name, size_t name_len)
{
    const uint8_t *line = file.data, *end = file.data + file.len;
    while (line < end) {
        const uint8_t *newline = memchr(line, '\n', (size_t)(end - line));
        const uint8_t *stop = newline ? newline : end;
        if (stop > line)
            add_unit(r, (struct cbt_text){line, (size_t)(stop - line)}, "application/json",
                     make_key("", name, name_len), 1);
        line = stop + 1;
    }
}

static int add_file(struct cbt_replay *r, const char *path, struct cbt_err *err)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    struct cbt_bytes data = {0};
    int rc = read_file(path, &data, err);
    const struct cbt_text file = cbt_bytes_text(&data);
    if (rc)
        goto out;
    if (dot && !strcmp(dot, ".ndjson"))
        add_notifications(r, file, name, (size_t)(dot - name));
    else if (file.len >= 4 && !memcmp(file.data, "PK", 2) && file.data[2] < 8)
        rc = add_zip(r, file, err);
    else
        rc = add_bundle(r, file, err);
    if (rc)
        rc = cbt_err_prefix(err, "%s", path);
out:
    cbt_bytes_free(&data);
    return rc;
}

int cbt_replay_new(struct cbt_replay **ret_replay, const struct cbt_feed_options *options,
                   struct cbt_err *err)
{
    struct cbt_replay *r = cbt_bytes_checked(calloc(1, sizeof(*r)));
    int rc = 0;
    r->options = *options;
    r->compressor = libdeflate_alloc_compressor(options->zip_level);
    if (!r->compressor)
        rc = cbt_err_set(err, CBT_EINVAL, "libdeflate knows no compression level %d", options->zip_level);
    for (const char *const *path = options->files; *path && !rc; path++)
        rc = add_file(r, *path, err);
    if (!rc && r->events_in_files == 0)
        rc = cbt_err_set(err, CBT_EINVAL, "there is no event in the files");
    if (rc) {
        cbt_replay_free(r);
        return rc;
    }
    *ret_replay = r;
    return 0;
}

bool cbt_replay_next(struct cbt_replay *r, struct cbt_message *ret_message)
{
    if (r->next == r->count) {
        if (!r->options.fleet.events)
            return false;
        r->next = 0;
    }
    if (r->options.fleet.events && r->sent >= r->options.fleet.events)
        return false;
    const struct unit *unit = &r->units[r->next++];
    r->sent += unit->events;
    *ret_message = (struct cbt_message){
        .body = {r->bodies.data + unit->at, unit->len},
        .content_type = unit->content_type,
        .key = unit->key,
        .events = unit->events,
        .has_environment = r->options.has_environment,
        .sensor_id = r->options.sensor_id,
        .node_id = r->options.node_id,
        .host_id = r->options.host_id,
        .host_name = r->options.host_name,
    };
    return true;
}

uint64_t cbt_replay_events(const struct cbt_replay *r)
{
    return r->options.fleet.events ? r->options.fleet.events : r->events_in_files;
}

void cbt_replay_free(struct cbt_replay *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->count; i++)
        free(r->units[i].key);
    free(r->units);
    libdeflate_free_compressor(r->compressor);
    cbt_bytes_free(&r->bodies);
    free(r);
}
