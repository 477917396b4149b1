/* SPDX-License-Identifier: MIT */
/* Single values of an event by their keys, for the formats that people read: table and csv. */
#ifndef CBTAP_FORMAT_CELLS_H
#define CBTAP_FORMAT_CELLS_H

#include "cbtap/json_string.h"
#include "format/json_cut.h"

#define CBT_FIELDS_MAX 256

/* A list of keys. */
struct cbt_fields {
    char *memory; /* of the names */
    struct cbt_text name[CBT_FIELDS_MAX];
    size_t count;
};

/* Keys separated by commas, blanks around them left out. CBT_EINVAL: one is empty, or there are too many.
 * @thread main */
int cbt_fields_parse(struct cbt_fields *ret_fields, const char *list, struct cbt_err *err);
void cbt_fields_free(struct cbt_fields *fields);

/* An event's JSON, and of a notification the one entry of its docs (a token; 0: there is none). */
struct cbt_cells {
    struct cbt_json_tokens tokens;
    unsigned doc;
};

/* As cbt_json_cut. */
int cbt_cells_cut(const void *json, const struct cbt_event *event, struct cbt_cells *ret_cells,
                  struct cbt_err *err);

/* A value. Empty where there is no such key, and where it is null or "". */
struct cbt_cell {
    struct cbt_text text;
    bool escaped; /* between the quotes of a string: read it by cbt_cell_char */
};

/* The value of a key: of the object itself, else of its entry of docs. `a.b` is the value of b in the object
 * a where no key is `a.b`. An array of one value is that value. */
struct cbt_cell cbt_cell_find(const struct cbt_cells *cells, struct cbt_text key);

/* The character at *at (before `end`, the cell's end); *at moves behind it. */
static inline uint32_t cbt_cell_char(const struct cbt_cell *cell, const uint8_t **at, const uint8_t *end)
{
    if (!cell->escaped && **at == '\\')
        return *(*at)++;
    return cbt_json_char(at, end);
}

/* Whether a terminal or a reader might take the character for more than a character: controls (also those of
 * ISO 6429 beyond 0x7F), what turns the direction of writing, line separators, and what is invisible. */
bool cbt_char_is_harmful(uint32_t c);
/* Columns of a terminal that it takes: 0, 1 or 2. */
unsigned cbt_char_columns(uint32_t c);

#endif
