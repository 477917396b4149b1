/* SPDX-License-Identifier: MIT */
/*
 * The table format, for people: one line an event, without its newline, in columns, cut to the terminal's
 * width. It shows time (local), host, type, and what table.def has for the type; or the fields asked for.
 *
 * Happy path: the json format encodes into the event's arena, values are picked from its tokens. All that
 * comes from endpoints passes cbt_line_put_cell, which lets no control character through. Failure: no more
 * room in the record, or in the arena, is CBT_ELIMIT; the arena is left as it was found. Owns the names of
 * the fields and an instance of the json format.
 */
#include "format/table.h"

#include <stdlib.h>
#include <time.h>

#include "format/table_line.h"

extern const struct cbt_format cbt_format_json;

#define TIME_COLUMNS 19u
#define HOST_COLUMNS 16u
#define TYPE_COLUMNS 14u
#define MS_PER_S     1000

#define RESET "\033[0m"

const struct cbt_table_row cbt_table_rows[CBT_TYPES] = {
#define CBT_ROW(type, colour, columns) [CBT_TYPE_##type] = {"\033[" colour "m", columns},
#include "format/table.def"
};

struct table {
    void *json;
    struct cbt_fields fields; /* none: what table.def has */
    unsigned width;
    bool colours;
};

bool cbt_table_next_key(const char **at, struct cbt_text *ret_key)
{
    const char *key = *at + strcspn(*at, "{|");
    if (*key == '\0')
        return false;
    key++;
    size_t len = strcspn(key, "|}");
    *ret_key = (struct cbt_text){(const uint8_t *)key, len};
    *at = key + len;
    return true;
}

/* The value of {a|b} at *at, which moves behind the brace; *ret_key is the key that has it. */
static struct cbt_cell choose(const struct cbt_cells *cells, const char **at, struct cbt_text *ret_key)
{
    struct cbt_cell cell = {.text = CBT_TEXT("")};
    const char *end = *at + strcspn(*at, "}") + 1;
    while (*at < end && cell.text.len == 0) {
        const char *key = *at + 1; /* behind { or | */
        size_t len = strcspn(key, "|}");
        *ret_key = (struct cbt_text){(const uint8_t *)key, len};
        cell = cbt_cell_find(cells, *ret_key);
        *at = key + len;
        if (**at == '}')
            break;
    }
    *at = end;
    return cell;
}

static bool has_value(const struct cbt_cells *cells, const char *word, const char *end)
{
    struct cbt_text key;
    while (word < end) {
        if (*word != '{')
            word++;
        else if (choose(cells, &word, &key).text.len > 0)
            return true;
    }
    return false;
}

/* By IANA's protocol numbers. */
static const char *protocol_name(struct cbt_text number)
{
    static const struct {
        struct cbt_text number;
        const char *name;
    } rows[] = {{{(const uint8_t *)"6", 1}, "tcp"},
                {{(const uint8_t *)"17", 2}, "udp"},
                {{(const uint8_t *)"1", 1}, "icmp"},
                {{(const uint8_t *)"58", 2}, "icmpv6"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (number.len == rows[i].number.len && memcmp(number.data, rows[i].number.data, number.len) == 0)
            return rows[i].name;
    return NULL;
}

static bool is_key(struct cbt_text key, const char *name)
{
    return key.len == strlen(name) && memcmp(key.data, name, key.len) == 0;
}

static bool ends_in(struct cbt_text key, const char *end)
{
    size_t len = strlen(end);
    return key.len >= len && memcmp(key.data + key.len - len, end, len) == 0;
}

static void put_value(struct cbt_line *line, struct cbt_text key, const struct cbt_cell *cell)
{
    const char *name = is_key(key, "protocol") && !cell->escaped ? protocol_name(cell->text) : NULL;
    /* RFC 3986, section 3.2.2: else the port could not be told from an IPv6 address. */
    bool brackets =
        ends_in(key, "_ip") && cell->text.len > 0 && memchr(cell->text.data, ':', cell->text.len) != NULL;
    if (name != NULL) {
        cbt_line_put_str(line, name);
        return;
    }
    if (brackets)
        cbt_line_put(line, '[');
    cbt_line_put_cell(line, cell, 0);
    if (brackets)
        cbt_line_put(line, ']');
}

static void put_word(struct cbt_line *line, const struct cbt_cells *cells, const char *word, const char *end)
{
    cbt_line_put(line, ' ');
    while (word < end) {
        if (*word != '{') {
            cbt_line_put(line, *word == '~' ? ' ' : (uint8_t)*word);
            word++;
        } else {
            struct cbt_text key = {0};
            struct cbt_cell cell = choose(cells, &word, &key);
            put_value(line, key, &cell);
        }
    }
}

static void put_columns(struct cbt_line *line, const struct cbt_cells *cells, const char *columns)
{
    while (*columns != '\0') {
        size_t len = strcspn(columns, " ");
        if (has_value(cells, columns, columns + len))
            put_word(line, cells, columns, columns + len);
        columns += len + (columns[len] == ' ');
    }
}

static void put_time(struct cbt_line *line, int64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / MS_PER_S - (unix_ms % MS_PER_S < 0));
    struct tm tm;
    char text[64];
    if (unix_ms == 0 || localtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        strcpy(text, "-");
    cbt_line_put_str(line, text);
}

static void put_host(struct cbt_line *line, const struct cbt_cells *cells)
{
    static const char *const keys[] = {"computer_name", "hostname"};
    const unsigned max = line->width != 0 ? HOST_COLUMNS : 0;
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        struct cbt_cell host =
            cbt_cell_find(cells, (struct cbt_text){(const uint8_t *)keys[i], strlen(keys[i])});
        if (host.text.len > 0) {
            cbt_line_put_cell(line, &host, max);
            return;
        }
    }
    struct cbt_cell sensor = cbt_cell_find(cells, CBT_TEXT("sensor_id"));
    cbt_line_put_str(line, sensor.text.len > 0 ? "sensor " : "-");
    cbt_line_put_cell(line, &sensor, max);
}

static void put_type(struct cbt_line *line, const struct table *table, const struct cbt_event *event,
                     const struct cbt_cells *cells)
{
    static const char prefix[] = "ingress.event.";
    struct cbt_cell type = cbt_cell_find(cells, CBT_TEXT("type"));
    if (event->type != CBT_TYPE_NOTIFICATION && type.text.len > strlen(prefix)) {
        type.text.data += strlen(prefix);
        type.text.len -= strlen(prefix);
    }
    if (table->colours)
        cbt_line_put_sequence(line, cbt_table_rows[event->type].colour);
    cbt_line_put_cell(line, &type, 0);
    if (table->colours)
        cbt_line_put_sequence(line, RESET);
}

/* What the values of a key mostly need. */
static unsigned columns_for(struct cbt_text key)
{
    static const struct {
        const char *end;
        unsigned columns;
    } rows[] = {{"guid", 36}, {"md5", 32}, {"sha256", 64}, {"path", 48}, {"command_line", 64}, {"type", 28}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (ends_in(key, rows[i].end))
            return rows[i].columns;
    return key.len > 15 ? (unsigned)key.len : 15;
}

static void put_fields(struct cbt_line *line, const struct cbt_fields *fields, const struct cbt_cells *cells)
{
    unsigned column = 0;
    for (size_t i = 0; i < fields->count; i++) {
        if (i > 0)
            cbt_line_pad(line, column);
        column = line->column + columns_for(fields->name[i]) + 1;
        if (cells == NULL) {
            cbt_line_put_cell(line, &(struct cbt_cell){.text = fields->name[i]}, 0);
            continue;
        }
        struct cbt_cell cell = cbt_cell_find(cells, fields->name[i]);
        if (cell.text.len > 0)
            cbt_line_put_cell(line, &cell, 0);
        else
            cbt_line_put(line, '-');
    }
}

static int encode_in_arena(const struct table *table, const struct cbt_event *event, struct cbt_line *line,
                           struct cbt_err *err)
{
    struct cbt_cells cells;
    int rc = cbt_cells_cut(table->json, event, &cells, err);
    if (rc != 0)
        return rc;
    if (table->fields.count > 0) {
        put_fields(line, &table->fields, &cells);
        return CBT_OK;
    }
    unsigned column = TIME_COLUMNS + 1;
    put_time(line, event->unix_ms);
    cbt_line_pad(line, column);
    put_host(line, &cells);
    cbt_line_pad(line, column += HOST_COLUMNS + 1);
    put_type(line, table, event, &cells);
    if (line->column < column + TYPE_COLUMNS)
        cbt_line_pad(line, column + TYPE_COLUMNS);
    put_columns(line, &cells, cbt_table_rows[event->type].columns);
    return CBT_OK;
}

static int encode(const void *self, const struct cbt_event *event, struct cbt_buf *out, struct cbt_err *err)
{
    const struct table *table = self;
    struct cbt_line line = {.out = out, .width = table->width};
    struct cbt_arena *arena = event->arena;
    size_t mark = arena->used;
    int rc = encode_in_arena(table, event, &line, err);
    cbt_arena_rewind(arena, mark);
    if (arena->exhausted)
        return cbt_err_set(err, CBT_ELIMIT,
                           "as a line the event needs more than decode.arena_max_bytes (%zu)",
                           arena->capacity);
    /* The cut may have taken the sequence that ends the colour. */
    if (rc == 0 && table->colours && line.full)
        cbt_line_put_sequence(&line, RESET);
    if (out->failed)
        return cbt_err_set(err, CBT_ELIMIT, "the event is larger as a line than a record may be");
    return rc;
}

static void head(const void *self, struct cbt_buf *out)
{
    const struct table *table = self;
    put_fields(&(struct cbt_line){.out = out, .width = table->width}, &table->fields, NULL);
}

static void close_table(void *self)
{
    struct table *table = self;
    if (table == NULL)
        return;
    cbt_format_json.close(table->json);
    cbt_fields_free(&table->fields);
    free(table);
}

static int open_table(void **ret_self, const struct cbt_format_options *options, struct cbt_err *err)
{
    struct table *table = calloc(1, sizeof(*table));
    if (table == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the table format");
    struct cbt_format_options json = *options;
    bool has_fields = options->fields != NULL && options->fields[0] != '\0';
    if (!has_fields)
        json.profile = NULL; /* table.def has the documented keys */
    table->width = options->width;
    table->colours = options->colours;
    tzset();
    int rc = cbt_format_json.open(&table->json, &json, err);
    if (rc == 0 && has_fields)
        rc = cbt_fields_parse(&table->fields, options->fields, err);
    if (rc != 0) {
        close_table(table);
        return rc;
    }
    *ret_self = table;
    return CBT_OK;
}

const struct cbt_format cbt_format_table = {
    .name = "table", .head = head, .open = open_table, .encode = encode, .close = close_table};
