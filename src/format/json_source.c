/* SPDX-License-Identifier: MIT */
/* JSON text copied to JSON text: see json_source.h. Numbers keep their very digits, and escapes stay as they
 * are written. */
#include "format/json_source.h"

#include "cbtap/json_string.h"

/* An escape at *text: as it is, or U+FFFD for half of a surrogate pair. */
static uint8_t *put_escape(uint8_t *p, const uint8_t **text, const uint8_t *end)
{
    const uint8_t *s = *text;
    int32_t unit = cbt_json_escaped_unit(s, end);
    ptrdiff_t len = unit < 0 ? 2 : 6;
    if (unit >= 0xD800 && unit <= 0xDFFF) {
        int32_t low = unit < 0xDC00 ? cbt_json_escaped_unit(s + 6, end) : -1;
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

/* Copies blocks of bytes that stay as they are. */
static uint8_t *put_plain(uint8_t *p, const uint8_t **text, const uint8_t *soft)
{
#ifdef __SSE2__
    const uint8_t *s = *text;
    for (; soft - s >= 16; s += 16, p += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)s);
        __m128i other = _mm_or_si128(_mm_cmplt_epi8(block, _mm_set1_epi8(0x20)), /* not ASCII, too */
                                     _mm_cmpeq_epi8(block, _mm_set1_epi8('\\')));
        if (_mm_movemask_epi8(other) != 0)
            break;
        _mm_storeu_si128((__m128i *)p, block);
    }
    *text = s;
#else
    (void)text;
    (void)soft;
#endif
    return p;
}

uint8_t *cbt_json_mended(struct cbt_json_out *out, uint8_t *p, struct cbt_text piece)
{
    const uint8_t *s = piece.data, *end = s + piece.len;
    while (s < end) {
        const uint8_t *soft = (size_t)(end - s) > JSON_PIECE_BYTES ? s + JSON_PIECE_BYTES : end;
        p = cbt_json_room(out, p, JSON_ROOM((size_t)(soft - s)));
        while (s < soft) {
            p = put_plain(p, &s, soft);
            for (const uint8_t *stop = soft - s > 16 ? s + 16 : soft; s < stop;) {
                if (*s >= 0x80)
                    p = cbt_json_mend(p, &s, stop, end);
                else if (*s == '\\')
                    p = put_escape(p, &s, end);
                else if (*s < 0x20) /* in valid JSON only between tokens */
                    s++;
                else
                    *p++ = *s++;
            }
        }
    }
    return p;
}

/* The first cut that does not begin before `from`. */
static size_t find_cut(const struct cbt_notification *note, const uint8_t *from)
{
    size_t low = 0, high = note->cut_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (note->cuts[middle].begin < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint8_t *cbt_json_source(struct cbt_json_out *out, uint8_t *p, const struct cbt_notification *note,
                         const uint8_t *from, const uint8_t *to)
{
    for (size_t i = find_cut(note, from); i < note->cut_count && note->cuts[i].begin < to; i++) {
        p = cbt_json_mended(out, p, (struct cbt_text){from, (size_t)(note->cuts[i].begin - from)});
        from = note->cuts[i].end;
    }
    return cbt_json_mended(out, p, (struct cbt_text){from, (size_t)(to - from)});
}

uint8_t *cbt_json_source_upper(struct cbt_json_out *out, uint8_t *p, struct cbt_text source)
{
    const uint8_t *s = source.data, *end = s + source.len;
    while (s < end) {
        const uint8_t *soft = (size_t)(end - s) > JSON_PIECE_BYTES ? s + JSON_PIECE_BYTES : end;
        p = cbt_json_room(out, p, JSON_ROOM((size_t)(soft - s)));
        while (s < soft) {
            int32_t unit = *s == '\\' ? cbt_json_escaped_unit(s, end) : *s;
            if (unit >= 'a' && unit <= 'z') {
                *p++ = (uint8_t)(unit - 'a' + 'A');
                s += *s == '\\' ? 6 : 1;
            } else if (*s == '\\') {
                p = put_escape(p, &s, end);
            } else if (*s >= 0x80) {
                p = cbt_json_mend(p, &s, soft, end);
            } else {
                *p++ = *s++;
            }
        }
    }
    return p;
}
