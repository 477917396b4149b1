/* SPDX-License-Identifier: MIT */
/* Characters for LEEF: decoded from JSON's escapes, then escaped with a backslash where LEEF wants it. */
#include "format/leef.h"

#include "cbtap/json_string.h"
#include "cbtap/utf8.h"

#define PIECE_BYTES 4096u /* of input, for each of which there is one check for room */
#define SLACK_BYTES 16u   /* an escape that begins in a piece may end behind it */

#define WHITE ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['\\'] = '\\'
const uint8_t cbt_leef_in_pair[256] = {WHITE, ['='] = '='};
const uint8_t cbt_leef_in_header[256] = {WHITE, ['|'] = '|'};

static inline uint8_t *put_byte(uint8_t *p, uint8_t byte, const uint8_t escapes[256])
{
    if (__builtin_expect(escapes[byte] != 0, 0)) {
        *p++ = '\\';
        byte = escapes[byte];
    }
    *p++ = byte;
    return p;
}

static inline uint8_t *put_escape(uint8_t *p, uint32_t c, const uint8_t escapes[256])
{
    return c < 0x80 ? put_byte(p, (uint8_t)c, escapes) : cbt_utf8_put(p, c);
}

/* Decodes from *text up to `soft`, or behind it where an escape goes on; writes at most twice as much. */
static uint8_t *decode(uint8_t *p, const uint8_t **text, const uint8_t *soft, const uint8_t *end,
                       const uint8_t escapes[256])
{
    const uint8_t *s = *text;
    while (s < soft) {
        if (__builtin_expect(*s == '\\', 0))
            p = put_escape(p, cbt_json_other_char(&s, end), escapes);
        else
            p = put_byte(p, *s++, escapes);
    }
    *text = s;
    return p;
}

static size_t piece_bytes(const uint8_t *s, const uint8_t *end)
{
    return (size_t)(end - s) < PIECE_BYTES ? (size_t)(end - s) : PIECE_BYTES;
}

void cbt_leef_put_text(struct cbt_buf *out, struct cbt_text text, const uint8_t escapes[256])
{
    const uint8_t *s = text.data, *end = s + text.len;
    while (s < end) {
        size_t piece = piece_bytes(s, end);
        if (!cbt_buf_reserve(out, 2 * piece))
            return;
        uint8_t *p = out->pos;
        for (const uint8_t *soft = s + piece; s < soft; s++)
            p = put_byte(p, *s, escapes);
        out->pos = p;
    }
}

void cbt_leef_put_string(struct cbt_buf *out, struct cbt_text span, const uint8_t escapes[256])
{
    const uint8_t *s = span.data, *end = s + span.len;
    while (s < end) {
        size_t piece = piece_bytes(s, end);
        if (!cbt_buf_reserve(out, 2 * piece + SLACK_BYTES))
            return;
        out->pos = decode(out->pos, &s, s + piece, end, escapes);
    }
}

bool cbt_leef_decode(struct cbt_text span, struct cbt_arena *arena, struct cbt_text *ret_text)
{
    *ret_text = span;
    if (span.len == 0 || memchr(span.data, '\\', span.len) == NULL)
        return true;
    uint8_t *text = cbt_arena_alloc(arena, cbt_json_string_size(span).bytes);
    if (text == NULL)
        return false;
    *ret_text = (struct cbt_text){text, (size_t)(cbt_json_string_decode(span, text) - text)};
    return true;
}
