/* SPDX-License-Identifier: MIT */
/*
 * Server notifications as JSON: the text that came, which the decoder has judged, with `type` and `cb_server`
 * set and what is not valid Unicode in its strings mended. Nothing is parsed into values, so numbers keep
 * their very digits.
 */
#include "format/json.h"

/* Reads on behind a string whose opening quote is at `s`. */
static const uint8_t *skip_string(const uint8_t *s, const uint8_t *end)
{
    for (s++; s < end && *s != '"'; s++)
        s += *s == '\\';
    return s < end ? s + 1 : end;
}

static const uint8_t *skip_space(const uint8_t *s, const uint8_t *end)
{
    while (s < end && (*s == ' ' || *s == '\t' || *s == '\r' || *s == '\n'))
        s++;
    return s;
}

/* The end of a member's value: the comma or brace that is not its own. */
static const uint8_t *skip_value(const uint8_t *s, const uint8_t *end)
{
    unsigned depth = 0;
    while (s < end) {
        if (*s == '"') {
            s = skip_string(s, end);
            continue;
        }
        if (depth == 0 && (*s == ',' || *s == '}'))
            return s;
        if (*s == '{' || *s == '[')
            depth++;
        else if (*s == '}' || *s == ']')
            depth--;
        s++;
    }
    return end;
}

/* The UTF-16 unit of an escape \uXXXX at `s`, or -1. */
static int32_t escaped_unit(const uint8_t *s, const uint8_t *end)
{
    int32_t unit = 0;
    if (end - s < 6 || s[0] != '\\' || s[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        uint8_t c = s[i] | 0x20;
        if (c >= '0' && c <= '9')
            unit = unit * 16 + (c - '0');
        else if (c >= 'a' && c <= 'f')
            unit = unit * 16 + (c - 'a' + 10);
        else
            return -1;
    }
    return unit;
}

/* Whether a key, without its quotes but with its escapes, is `name`. */
static bool key_is(const uint8_t *key, const uint8_t *end, const char *name)
{
    for (; *name != '\0'; name++) {
        int32_t unit = escaped_unit(key, end);
        if (unit < 0 && (key == end || *key == '\\'))
            return false;
        if ((unit >= 0 ? unit : *key) != *name)
            return false;
        key += unit >= 0 ? 6 : 1;
    }
    return key == end;
}

/* An escape at *text: as it is, or U+FFFD for half of a surrogate pair. */
static uint8_t *put_escape(uint8_t *p, const uint8_t **text, const uint8_t *end)
{
    const uint8_t *s = *text;
    int32_t unit = escaped_unit(s, end);
    ptrdiff_t len = unit < 0 ? 2 : 6;
    if (unit >= 0xD800 && unit <= 0xDFFF) {
        int32_t low = unit < 0xDC00 ? escaped_unit(s + 6, end) : -1;
        if (low < 0xDC00 || low > 0xDFFF) {
            *text = s + 6;
            return JSON_LITERAL(p, "\xEF\xBF\xBD");
        }
        len = 12;
    }
    if (len > end - s)
        len = end - s;
    for (ptrdiff_t i = 0; i < len; i++)
        *p++ = s[i];
    *text = s + len;
    return p;
}

/* Copies valid JSON text, its strings mended. */
static uint8_t *put_mended(struct cbt_json_writer *w, uint8_t *p, const uint8_t *s, const uint8_t *end)
{
    while (s < end) {
        const uint8_t *soft = (size_t)(end - s) > JSON_PIECE_BYTES ? s + JSON_PIECE_BYTES : end;
        p = cbt_json_room(&w->out, p, JSON_ROOM((size_t)(soft - s)));
        while (s < soft) {
            if (*s >= 0x80)
                p = cbt_json_mend(p, &s, soft, end);
            else if (*s == '\\')
                p = put_escape(p, &s, end);
            else
                *p++ = *s++;
        }
    }
    return p;
}

uint8_t *cbt_json_notification(struct cbt_json_writer *w, uint8_t *p)
{
    const uint8_t *s = w->event->raw.data, *end = s + w->event->raw.len;
    p = JSON_LITERAL(p, "{\"type\":\"");
    p = cbt_json_escape(&w->out, p, w->event->type_name.data, w->event->type_name.len);
    p = JSON_LITERAL(p, "\",");
    memcpy(p, w->json->server.text, w->json->server.len);
    p += w->json->server.len;
    s = skip_space(s + (s < end), end);
    while (s < end && *s == '"') {
        const uint8_t *key_end = skip_string(s, end), *value_end = skip_value(key_end, end);
        if (!key_is(s + 1, key_end - 1, "type") && !key_is(s + 1, key_end - 1, "cb_server")) {
            *p++ = ',';
            p = put_mended(w, p, s, value_end);
        }
        if (value_end == end || *value_end != ',')
            break;
        s = skip_space(value_end + 1, end);
    }
    *p++ = '}';
    return p;
}
