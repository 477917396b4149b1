/* SPDX-License-Identifier: MIT */
/* A line of the table format: see table_line.h. */
#include "format/table_line.h"

#include "cbtap/utf8.h"

#define ELLIPSIS    0x2026u
#define REPLACEMENT 0xFFFDu

static void put_char(struct cbt_line *line, uint32_t c)
{
    if (cbt_buf_reserve(line->out, 4))
        line->out->pos = cbt_utf8_put(line->out->pos, c);
}

void cbt_line_put(struct cbt_line *line, uint32_t c)
{
    unsigned columns = cbt_char_columns(c);
    if (line->full || line->out->failed)
        return;
    if (line->width == 0 || line->column + columns < line->width) {
        put_char(line, c);
        line->column += columns;
        line->end = cbt_buf_len(line->out);
    } else if (line->column + columns == line->width) {
        put_char(line, c);
        line->column += columns;
    } else {
        line->out->pos = line->out->begin + line->end;
        put_char(line, ELLIPSIS);
        line->full = true;
    }
}

void cbt_line_put_str(struct cbt_line *line, const char *text)
{
    while (*text != '\0')
        cbt_line_put(line, (uint8_t)*text++);
}

void cbt_line_put_sequence(struct cbt_line *line, const char *text)
{
    cbt_buf_put(line->out, text, strlen(text));
    if (line->width == 0 || line->column < line->width)
        line->end = cbt_buf_len(line->out);
}

static uint32_t seen(uint32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r')
        return ' ';
    return cbt_char_is_harmful(c) ? REPLACEMENT : c;
}

/* Columns of a value, counted up to just above `max`. */
static unsigned columns_of(const struct cbt_cell *cell, unsigned max)
{
    unsigned columns = 0;
    const uint8_t *at = cell->text.data, *end = at + cell->text.len;
    while (at < end && columns <= max)
        columns += cbt_char_columns(seen(cbt_cell_char(cell, &at, end)));
    return columns;
}

void cbt_line_put_cell(struct cbt_line *line, const struct cbt_cell *cell, unsigned max)
{
    bool cut = max != 0 && columns_of(cell, max) > max;
    unsigned columns = 0;
    const uint8_t *at = cell->text.data, *end = at + cell->text.len;
    while (at < end && !line->full && !line->out->failed) {
        uint32_t c = seen(cbt_cell_char(cell, &at, end));
        columns += cbt_char_columns(c);
        if (cut && columns >= max) {
            cbt_line_put(line, ELLIPSIS);
            return;
        }
        cbt_line_put(line, c);
    }
}

void cbt_line_pad(struct cbt_line *line, unsigned column)
{
    do
        cbt_line_put(line, ' ');
    while (line->column < column && !line->full && !line->out->failed);
}
