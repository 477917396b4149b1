/* SPDX-License-Identifier: MIT */
/*
 * The csv format: RFC 4180, a line an event, without its LF, for whoever writes records as lines adds that;
 * the head names the columns.
 *
 * Happy path: as of the table format. A value that has commas, quotes or line ends is quoted; an object or an
 * array is its JSON text. Control characters but those and the tabulator are none of RFC 4180, and could be
 * commands of a terminal: they become U+FFFD. Failure: no more room in the record, or in the arena, is
 * CBT_ELIMIT; the arena is left as it was found. Owns the names of the fields and an instance of the json
 * format.
 */
#include <stdlib.h>

#include "cbtap/utf8.h"
#include "format/cells.h"
#include "format/table.h"

extern const struct cbt_format cbt_format_json;

#define REPLACEMENT 0xFFFDu

/* What tells events apart, before what their type has. */
#define COMMON_FIELDS "timestamp,type,sensor_id,computer_name,process_guid,pid,process_path"
#define MIXED_FIELDS                                                                                         \
    COMMON_FIELDS                                                                                            \
    ",action,path,md5,sha256,command_line,parent_pid,parent_path,username,child_pid,"                        \
    "target_pid,target_path,direction,protocol,local_ip,local_port,remote_ip,remote_port,domain"

struct csv {
    void *json;
    struct cbt_fields fields;
};

static bool needs_quotes(const struct cbt_cell *cell)
{
    const uint8_t *at = cell->text.data, *end = at + cell->text.len;
    while (at < end) {
        uint32_t c = cbt_cell_char(cell, &at, end);
        if (c == ',' || c == '"' || c == '\n' || c == '\r')
            return true;
    }
    return false;
}

static void put_cell(struct cbt_buf *out, const struct cbt_cell *cell)
{
    bool quotes = needs_quotes(cell);
    const uint8_t *at = cell->text.data, *end = at + cell->text.len;
    if (quotes)
        cbt_buf_put(out, "\"", 1);
    while (at < end && cbt_buf_reserve(out, 5)) {
        uint32_t c = cbt_cell_char(cell, &at, end);
        if (c == '"')
            *out->pos++ = '"';
        else if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (c >= 0x7F && c < 0xA0))
            c = REPLACEMENT;
        out->pos = cbt_utf8_put(out->pos, c);
    }
    if (quotes)
        cbt_buf_put(out, "\"", 1);
}

static void put_line(struct cbt_buf *out, const struct cbt_fields *fields, const struct cbt_cells *cells)
{
    for (size_t i = 0; i < fields->count; i++) {
        struct cbt_cell cell = {.text = fields->name[i]};
        if (cells != NULL)
            cell = cbt_cell_find(cells, fields->name[i]);
        if (i > 0)
            cbt_buf_put(out, ",", 1);
        put_cell(out, &cell);
    }
    cbt_buf_put(out, "\r", 1);
}

static void head(const void *self, struct cbt_buf *out)
{
    const struct csv *csv = self;
    put_line(out, &csv->fields, NULL);
}

static int encode(const void *self, const struct cbt_event *event, struct cbt_buf *out, struct cbt_err *err)
{
    const struct csv *csv = self;
    struct cbt_arena *arena = event->arena;
    size_t mark = arena->used;
    struct cbt_cells cells;
    int rc = cbt_cells_cut(csv->json, event, &cells, err);
    if (rc == 0)
        put_line(out, &csv->fields, &cells);
    cbt_arena_rewind(arena, mark);
    if (arena->exhausted)
        return cbt_err_set(err, CBT_ELIMIT, "as CSV the event needs more than decode.arena_max_bytes (%zu)",
                           arena->capacity);
    if (out->failed)
        return cbt_err_set(err, CBT_ELIMIT, "the event is larger as CSV than a record may be");
    return rc;
}

static bool is_listed(const char *list, struct cbt_text key)
{
    for (;;) {
        size_t len = strcspn(list, ",");
        if (len == key.len && memcmp(list, key.data, len) == 0)
            return true;
        if (list[len] == '\0')
            return false;
        list += len + 1;
    }
}

/* The keys that table.def has for the type, each once, behind those of every event. */
static void fields_of(const char *columns, char *list, size_t list_bytes)
{
    struct cbt_text key;
    while (cbt_table_next_key(&columns, &key)) {
        size_t len = strlen(list);
        if (len + 1 + key.len >= list_bytes || is_listed(list, key))
            continue;
        list[len] = ',';
        memcpy(list + len + 1, key.data, key.len);
        list[len + 1 + key.len] = '\0';
    }
}

static void close_csv(void *self)
{
    struct csv *csv = self;
    if (csv == NULL)
        return;
    cbt_format_json.close(csv->json);
    cbt_fields_free(&csv->fields);
    free(csv);
}

static int open_csv(void **ret_self, const struct cbt_format_options *options, struct cbt_err *err)
{
    struct csv *csv = calloc(1, sizeof(*csv));
    if (csv == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the csv format");
    char list[1024] = COMMON_FIELDS;
    const char *fields = options->fields;
    if (fields == NULL || fields[0] == '\0') {
        fields = MIXED_FIELDS;
        for (enum cbt_event_type type = 0; options->type != NULL && type < CBT_TYPE_NOTIFICATION; type++)
            if (strcmp(options->type, cbt_event_type_name(type)) == 0) {
                fields_of(cbt_table_rows[type].columns, list, sizeof(list));
                fields = list;
            }
    }
    int rc = cbt_format_json.open(&csv->json, options, err);
    if (rc == 0)
        rc = cbt_fields_parse(&csv->fields, fields, err);
    if (rc != 0) {
        close_csv(csv);
        return rc;
    }
    *ret_self = csv;
    return CBT_OK;
}

const struct cbt_format cbt_format_csv = {
    .name = "csv", .head = head, .open = open_csv, .encode = encode, .close = close_csv};
