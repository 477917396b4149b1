/* SPDX-License-Identifier: MIT */
/* dlq list: one line for each dead letter, newest last, as a table or as JSON. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/log.h"
#include "cli/dlq.h"

#define WAIT_MS 500

struct row {
    int64_t unix_ms;
    uint64_t number; /* in the order of reading, for equal times */
    char *line;
};

struct rows {
    struct row *rows;
    size_t count, capacity;
    uint64_t read;
    size_t keep; /* 0: all */
};

static int by_time(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->unix_ms != y->unix_ms)
        return x->unix_ms < y->unix_ms ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

/* Lets go of all but the newest. */
static void prune(struct rows *rows)
{
    if (rows->count == 0)
        return;
    qsort(rows->rows, rows->count, sizeof *rows->rows, by_time);
    if (rows->keep == 0 || rows->count <= rows->keep)
        return;
    size_t gone = rows->count - rows->keep;
    for (size_t i = 0; i < gone; i++)
        free(rows->rows[i].line);
    memmove(rows->rows, rows->rows + gone, rows->keep * sizeof *rows->rows);
    rows->count = rows->keep;
}

static bool add(struct rows *rows, int64_t unix_ms, char *line)
{
    if (rows->keep > 0 && rows->count >= 2 * rows->keep)
        prune(rows);
    if (rows->count == rows->capacity) {
        size_t capacity = rows->capacity ? 2 * rows->capacity : 256;
        struct row *grown = realloc(rows->rows, capacity * sizeof *grown);
        if (grown == NULL)
            return false;
        rows->rows = grown;
        rows->capacity = capacity;
    }
    rows->rows[rows->count++] = (struct row){unix_ms, rows->read++, line};
    return true;
}

static void put_cell(FILE *out, struct cbt_text text, int width)
{
    if (text.len == 0)
        text = CBT_TEXT("-");
    size_t len = cbt_dlq_put(out, text);
    fprintf(out, "%*s  ", len < (size_t)width ? width - (int)len : 0, "");
}

static struct cbt_text text_of(const char *text)
{
    return (struct cbt_text){(const uint8_t *)text, strlen(text)};
}

static void put_row(FILE *out, const struct cbt_text cells[8])
{
    static const int widths[] = {12, 24, 16, 8, 8, 24, 8};
    for (size_t i = 0; i < 7; i++)
        put_cell(out, cells[i], widths[i]);
    cbt_dlq_put(out, cells[7]);
    fputc('\n', out);
}

static void put_table_line(FILE *out, const struct cbt_dlq_letter *letter)
{
    char time[32], bytes[24], position[96];
    cbt_dlq_time(letter->unix_ms, time);
    snprintf(bytes, sizeof bytes, "%" PRIu64, letter->bytes);
    cbt_dlq_position(letter, position, sizeof position);
    put_row(out,
            (const struct cbt_text[]){text_of(letter->where), text_of(time), cbt_dlq_text(letter, "reason"),
                                      cbt_dlq_text(letter, "source"), cbt_dlq_text(letter, "sensor_id"),
                                      cbt_dlq_text(letter, "routing_key"), text_of(bytes),
                                      text_of(*position ? position : "-")});
}

/* Headers are bytes: those beyond ASCII are written as U+00HH, so that nothing is lost and all is JSON. */
static void put_json_string(FILE *out, struct cbt_text text)
{
    fputc('"', out);
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        if (byte >= 0x20 && byte < 0x7F && byte != '"' && byte != '\\')
            fputc(byte, out);
        else
            fprintf(out, "\\u%04x", byte);
    }
    fputc('"', out);
}

static void put_json_line(FILE *out, const struct cbt_dlq_letter *letter)
{
    static const char *const texts[] = {"reason",       "source",  "routing_key",
                                        "content_type", "framing", "detail"};
    static const char *const numbers[] = {"sensor_id", "entry", "index", "offset", "replays"};
    int64_t number;
    fprintf(out, "{\"where\":\"%s\",\"unix_ms\":%" PRId64 ",\"bytes\":%" PRIu64, letter->where,
            letter->unix_ms, letter->bytes);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        fprintf(out, ",\"%s\":", texts[i]);
        put_json_string(out, cbt_dlq_text(letter, texts[i]));
    }
    struct cbt_text file = cbt_dlq_text(letter, "file");
    if (file.len > 0) {
        fputs(",\"file\":", out);
        put_json_string(out, file);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (cbt_dlq_number(letter, numbers[i], &number))
            fprintf(out, ",\"%s\":%" PRId64, numbers[i], number);
    fputs("}\n", out);
}

static bool add_letter(struct rows *rows, const struct cbt_dlq_letter *letter, bool json)
{
    char *line = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&line, &len);
    if (out == NULL)
        return false;
    if (json)
        put_json_line(out, letter);
    else
        put_table_line(out, letter);
    if (fclose(out) != 0 || !add(rows, letter->unix_ms, line)) {
        free(line);
        return false;
    }
    return true;
}

static void print(struct rows *rows, bool json)
{
    if (!json && rows->count > 0)
        put_row(stdout,
                (const struct cbt_text[]){CBT_TEXT("WHERE"), CBT_TEXT("TIME"), CBT_TEXT("REASON"),
                                          CBT_TEXT("SOURCE"), CBT_TEXT("SENSOR"), CBT_TEXT("ROUTING KEY"),
                                          CBT_TEXT("BYTES"), CBT_TEXT("POSITION")});
    for (size_t i = 0; i < rows->count; i++)
        fputs(rows->rows[i].line, stdout);
}

int cbt_dlq_list(struct cbt_dlq *dlq)
{
    struct rows rows = {.keep = dlq->args->count};
    struct cbt_dlq_letter letter;
    struct cbt_err err = {0};
    bool json = dlq->args->format && strcmp(dlq->args->format, "json") == 0;
    int status = dlq->incomplete ? CBT_EXIT_FAILED : CBT_EXIT_DONE;
    int rc;
    while ((rc = cbt_dlq_next(dlq, WAIT_MS, &letter, &err)) == 0 || rc == 1) {
        if (rc == 0 || add_letter(&rows, &letter, json))
            continue;
        rc = cbt_err_set(&err, CBT_ENOMEM, "no memory for so many dead letters: -n N shows the newest N");
        break;
    }
    if (rc < 0) {
        cbt_log_error("the list is not complete", CBT_S("reason", err.text));
        status = CBT_EXIT_FAILED;
    }
    prune(&rows);
    print(&rows, json);
    if (rows.count == 0 && status == CBT_EXIT_DONE)
        cbt_log_info("there are no such dead letters");
    if (fflush(stdout) != 0)
        status = CBT_EXIT_FAILED;
    for (size_t i = 0; i < rows.count; i++)
        free(rows.rows[i].line);
    free(rows.rows);
    return status;
}
