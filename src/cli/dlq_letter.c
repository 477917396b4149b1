/* SPDX-License-Identifier: MIT */
/* A dead letter's fields: what its headers say, in the forms that the command needs. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/dlq.h"

#define MS_PER_S 1000

void cbt_dlq_add_field(struct cbt_dlq_letter *letter, const char *name, struct cbt_text value)
{
    if (letter->field_count < CBT_DLQ_FIELDS_MAX)
        letter->fields[letter->field_count++] = (struct cbt_dlq_field){name, value};
}

struct cbt_text cbt_dlq_text(const struct cbt_dlq_letter *letter, const char *name)
{
    for (size_t i = 0; i < letter->field_count; i++)
        if (strcmp(letter->fields[i].name, name) == 0)
            return letter->fields[i].value;
    return (struct cbt_text){0};
}

bool cbt_dlq_equals(struct cbt_text text, const char *word)
{
    return text.len == strlen(word) && (text.len == 0 || memcmp(text.data, word, text.len) == 0);
}

bool cbt_dlq_number(const struct cbt_dlq_letter *letter, const char *name, int64_t *ret_number)
{
    struct cbt_text text = cbt_dlq_text(letter, name);
    char digits[24], *end;
    if (text.len == 0 || text.len >= sizeof digits || text.data[0] == ' ')
        return false;
    memcpy(digits, text.data, text.len);
    digits[text.len] = '\0';
    errno = 0;
    int64_t number = strtoll(digits, &end, 10);
    if (*end || errno != 0)
        return false;
    *ret_number = number;
    return true;
}

void cbt_dlq_position(const struct cbt_dlq_letter *letter, char *ret_text, size_t text_bytes)
{
    int64_t entry = 0, index = 0, offset = 0;
    *ret_text = '\0';
    if (cbt_dlq_number(letter, "entry", &entry) && cbt_dlq_number(letter, "index", &index) &&
        cbt_dlq_number(letter, "offset", &offset))
        snprintf(ret_text, text_bytes, "entry %" PRId64 " record %" PRId64 " offset %" PRId64, entry, index,
                 offset);
}

void cbt_dlq_time(int64_t unix_ms, char ret_text[32])
{
    char seconds[24];
    struct tm tm;
    time_t t = (time_t)(unix_ms / MS_PER_S);
    snprintf(ret_text, 32, "-");
    if (unix_ms <= 0 || !gmtime_r(&t, &tm) ||
        strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        return;
    snprintf(ret_text, 32, "%s.%03dZ", seconds, (int)(unix_ms % MS_PER_S));
}

bool cbt_dlq_parse_time(const char *text, int64_t now_ms, int64_t *ret_unix_ms)
{
    static const struct {
        char letter;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"};
    size_t digits = strspn(text, "0123456789");
    for (size_t i = 0; digits > 0 && digits < 9 && i < sizeof units / sizeof units[0]; i++) {
        if (text[digits] != units[i].letter || text[digits + 1])
            continue;
        *ret_unix_ms = now_ms - strtoll(text, NULL, 10) * units[i].ms;
        return true;
    }
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);
        if (!end || (*end && strcmp(end, "Z") != 0))
            continue;
        *ret_unix_ms = (int64_t)timegm(&tm) * MS_PER_S;
        return true;
    }
    return false;
}

size_t cbt_dlq_put(FILE *out, struct cbt_text text)
{
    size_t escaped = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        if (byte >= 0x20 && byte < 0x7F && byte != '\\') {
            fputc(byte, out);
        } else {
            fprintf(out, "\\x%02x", byte);
            escaped++;
        }
    }
    return text.len + 3 * escaped;
}

bool cbt_dlq_framing(const struct cbt_dlq_letter *letter, enum cbt_framing *ret_framing)
{
    static const enum cbt_framing framings[] = {CBT_FRAMING_DETECT, CBT_FRAMING_BUNDLE, CBT_FRAMING_EVENT};
    struct cbt_text name = cbt_dlq_text(letter, "framing"), reason = cbt_dlq_text(letter, "reason");
    if (cbt_dlq_equals(reason, cbt_dead_reason_name(CBT_DEAD_refused)))
        return false;
    *ret_framing = CBT_FRAMING_DETECT;
    for (size_t i = 0; i < sizeof framings / sizeof framings[0]; i++)
        if (cbt_dlq_equals(name, cbt_framing_name(framings[i])))
            *ret_framing = framings[i];
    return true;
}
