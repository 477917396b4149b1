/* SPDX-License-Identifier: MIT */
/*
 * The log (log.h): builds each line in a buffer of its own on the stack and writes it with one write(2), so
 * that lines of several threads do not mix. A line that does not fit is cut and says so (`cut=true`).
 */
#include "cbtap/log.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* PIPE_BUF: what the kernel writes to a pipe in one piece. */
#define LINE_MAX_BYTES 4096
/* Kept free for the closing quote, the mark of a cut line and the newline. */
#define LINE_RESERVE_BYTES 48

static _Atomic int log_level = CBT_LOG_INFO;
static _Atomic int log_format = CBT_LOG_TEXT;

struct line {
    char data[LINE_MAX_BYTES];
    size_t len;
    bool cut;
    enum cbt_log_format format;
};

void cbt_log_configure(enum cbt_log_level level, enum cbt_log_format format)
{
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
    atomic_store_explicit(&log_format, (int)format, memory_order_relaxed);
}

/* Appends what must not be cut: punctuation and what was checked to fit. */
static void put_raw(struct line *line, const char *text)
{
    size_t len = strlen(text);
    if (len > sizeof line->data - line->len)
        return;
    memcpy(line->data + line->len, text, len);
    line->len += len;
}

static void put_piece(struct line *line, const void *data, size_t len)
{
    if (line->cut || len > sizeof line->data - LINE_RESERVE_BYTES - line->len) {
        line->cut = true;
        return;
    }
    memcpy(line->data + line->len, data, len);
    line->len += len;
}

/* Length of the well-formed UTF-8 character at `s` (RFC 3629, table 3-7 of Unicode), 0 where there is none;
 * its code point goes to ret_code. `s` ends in NUL, which no character contains. */
static size_t utf8_char(const unsigned char *s, unsigned *ret_code)
{
    if (s[0] < 0x80) {
        *ret_code = s[0];
        return 1;
    }
    size_t len = s[0] >= 0xC2 && s[0] <= 0xDF   ? 2
                 : (s[0] & 0xF0) == 0xE0        ? 3
                 : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4
                                                : 0;
    if (len == 0)
        return 0;
    unsigned code = s[0] & (0xFFU >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3FU);
    }
    bool overlong = (len == 3 && code < 0x800) || (len == 4 && code < 0x10000);
    if (overlong || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
        return 0;
    *ret_code = code;
    return len;
}

/* Controls (C0, DEL, C1), line separators and what turns the direction of writing: a log line must look like
 * what it is. */
static bool is_control(unsigned code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x2028 && code <= 0x202E) ||
           (code >= 0x2066 && code <= 0x2069) || code == 0x200E || code == 0x200F;
}

/* `quoted`: the text stands in quotes, which it must not end. */
static void put_escaped(struct line *line, const char *text, bool quoted)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s && !line->cut) {
        unsigned code = 0;
        char escape[8];
        size_t len = utf8_char(s, &code);
        if (len == 0) {
            if (line->format == CBT_LOG_JSON)
                put_piece(line, "\\ufffd", 6);
            else
                put_piece(line, escape, (size_t)snprintf(escape, sizeof escape, "\\x%02x", *s));
            s++;
            continue;
        }
        if (quoted && (code == '"' || code == '\\'))
            put_piece(line, code == '"' ? "\\\"" : "\\\\", 2);
        else if (code == '\n')
            put_piece(line, "\\n", 2);
        else if (is_control(code))
            put_piece(line, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", code));
        else
            put_piece(line, s, len);
        s += len;
    }
}

static bool needs_quotes(const char *text)
{
    for (const unsigned char *s = (const unsigned char *)text; *s; s++)
        if (*s <= ' ' || *s == '"' || *s == '\\' || *s == '=' || *s >= 0x7F)
            return true;
    return *text == '\0';
}

static void put_quoted(struct line *line, const char *text)
{
    put_raw(line, "\"");
    put_escaped(line, text, true);
    put_raw(line, "\"");
}

static void put_field(struct line *line, const struct cbt_log_field *field)
{
    char number[40];
    if (strlen(field->key) + sizeof number + 8 > sizeof line->data - LINE_RESERVE_BYTES - line->len) {
        line->cut = true;
        return;
    }
    put_raw(line, line->format == CBT_LOG_JSON ? ",\"" : " ");
    put_escaped(line, field->key, true);
    put_raw(line, line->format == CBT_LOG_JSON ? "\":" : "=");
    const char *text = number;
    switch (field->kind) {
    case CBT_FIELD_STR:
        text = field->value.str ? field->value.str : "";
        if (line->format == CBT_LOG_JSON || needs_quotes(text))
            put_quoted(line, text);
        else
            put_escaped(line, text, false);
        return;
    case CBT_FIELD_INT:
        snprintf(number, sizeof number, "%lld", (long long)field->value.num);
        break;
    case CBT_FIELD_DBL:
        if (isfinite(field->value.dbl))
            snprintf(number, sizeof number, "%.6g", field->value.dbl);
        else
            text = line->format == CBT_LOG_JSON ? "null" : "nan";
        break;
    }
    put_raw(line, text);
}

static void put_head(struct line *line, enum cbt_log_level level, const char *message)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if (line->format == CBT_LOG_TEXT) {
        put_raw(line, names[level]);
        put_raw(line, " ");
        put_escaped(line, message, false);
        return;
    }
    struct timespec now;
    struct tm utc;
    char time[40];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(time + used, sizeof time - used, ".%03ldZ", now.tv_nsec / 1000000);
    put_raw(line, "{\"time\":\"");
    put_raw(line, time);
    put_raw(line, "\",\"level\":\"");
    put_raw(line, names[level]);
    put_raw(line, "\",\"message\":");
    put_quoted(line, message);
}

void cbt_log_fields(enum cbt_log_level level, const char *message, const struct cbt_log_field *fields,
                    unsigned count)
{
    if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed))
        return;
    int saved_errno = errno;
    struct line line;
    line.len = 0;
    line.cut = false;
    line.format = (enum cbt_log_format)atomic_load_explicit(&log_format, memory_order_relaxed);
    put_head(&line, level, message);
    for (unsigned i = 0; i < count && !line.cut; i++)
        put_field(&line, &fields[i]);
    if (line.cut)
        put_raw(&line, line.format == CBT_LOG_JSON ? ",\"cut\":true" : " cut=true");
    put_raw(&line, line.format == CBT_LOG_JSON ? "}\n" : "\n");
    /* A log that cannot be written has nobody to complain to. */
    ssize_t written;
    do
        written = write(STDERR_FILENO, line.data, line.len);
    while (written < 0 && errno == EINTR);
    errno = saved_errno;
}
