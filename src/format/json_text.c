/* SPDX-License-Identifier: MIT */
/*
 * Text, hashes and raw bytes as JSON strings. The scan for what must be escaped looks at 16 bytes at once and
 * copies them on the way; what needs no escape, nearly all of it, costs a load, a few compares and a store.
 */
#include "cbtap/utf8.h"
#include "format/json_write.h"

#define TAIL_BYTES 48u

uint8_t *cbt_json_grow(struct cbt_json_out *out, uint8_t *p, size_t bytes)
{
    if (!out->buf->failed) {
        out->buf->pos = p;
        if (cbt_buf_reserve(out->buf, bytes)) {
            out->end = out->buf->end;
            return out->buf->pos;
        }
    }
    out->end = out->scratch + JSON_SCRATCH_BYTES;
    return out->scratch;
}

/* What a byte below 0x80 becomes, in seven bytes, and how many of them count; only for what must be escaped.
 */
struct escape {
    char text[7];
    uint8_t len;
};

#define U(c, hex) [c] = {"\\u00" hex, 6}
#define S(c, e)   [c] = {"\\" e, 2}
static const struct escape escapes[128] = {
    U(0, "00"),  U(1, "01"),  U(2, "02"),  U(3, "03"),  U(4, "04"),   U(5, "05"),    U(6, "06"),
    U(7, "07"),  S(8, "b"),   S(9, "t"),   S(10, "n"),  U(11, "0b"),  S(12, "f"),    S(13, "r"),
    U(14, "0e"), U(15, "0f"), U(16, "10"), U(17, "11"), U(18, "12"),  U(19, "13"),   U(20, "14"),
    U(21, "15"), U(22, "16"), U(23, "17"), U(24, "18"), U(25, "19"),  U(26, "1a"),   U(27, "1b"),
    U(28, "1c"), U(29, "1d"), U(30, "1e"), U(31, "1f"), S('"', "\""), S('\\', "\\"),
};
#undef U
#undef S

uint8_t *cbt_json_mend(uint8_t *p, const uint8_t **text, const uint8_t *soft, const uint8_t *end)
{
    const uint8_t *s = *text;
    while (s < soft && *s >= 0x80) {
        int len = cbt_utf8_sequence(s, end);
        if (len > 0) {
            for (int i = 0; i < len; i++)
                *p++ = s[i];
            s += len;
        } else {
            p = JSON_LITERAL(p, "\xEF\xBF\xBD");
            s -= len;
        }
    }
    *text = s;
    return p;
}

#ifdef __SSE2__

/* A bit for each of 16 bytes that is below 0x20, not ASCII, a quote or a backslash. */
static inline uint32_t specials(__m128i in)
{
    __m128i below = _mm_cmplt_epi8(in, _mm_set1_epi8(0x20)); /* signed: 0x80 and above, too */
    __m128i quote = _mm_cmpeq_epi8(in, _mm_set1_epi8('"'));
    __m128i backslash = _mm_cmpeq_epi8(in, _mm_set1_epi8('\\'));
    return (uint32_t)_mm_movemask_epi8(_mm_or_si128(below, _mm_or_si128(quote, backslash)));
}

static inline __m128i load16(const uint8_t *s)
{
    return _mm_loadu_si128((const __m128i *)s);
}

static inline void store16(uint8_t *p, __m128i bytes)
{
    _mm_storeu_si128((__m128i *)p, bytes);
}

/* Escapes [*text, soft), up to 16 bytes more where it ends within a block, never beyond `end`. Reads up to 32
 * bytes beyond `end`. A byte that is escaped shifts what follows it in its block, which is simply stored
 * again. */
static inline uint8_t *escape(uint8_t *p, const uint8_t **text, const uint8_t *soft, const uint8_t *end)
{
    const uint8_t *s = *text;
    while (s < soft) {
        size_t step = (size_t)(end - s);
        __m128i block = load16(s);
        uint32_t mask = specials(block);
        store16(p, block);
        if (step < 16)
            mask &= (1u << step) - 1;
        else
            step = 16;
        while (mask != 0) {
            unsigned at = (unsigned)__builtin_ctz(mask);
            uint8_t byte = s[at];
            if (byte >= 0x80) {
                s += at;
                p = cbt_json_mend(p + at, &s, soft, end);
                goto next_block;
            }
            memcpy(p + at, &escapes[byte], sizeof(struct escape));
            p += escapes[byte].len - 1;
            store16(p + at + 1, load16(s + at + 1));
            mask &= mask - 1;
        }
        p += step;
        s += step;
    next_block:;
    }
    *text = s;
    return p;
}

#else

static inline uint8_t *escape(uint8_t *p, const uint8_t **text, const uint8_t *soft, const uint8_t *end)
{
    const uint8_t *s = *text;
    while (s < soft) {
        if (*s >= 0x80) {
            p = cbt_json_mend(p, &s, soft, end);
        } else if (escapes[*s].len != 0) {
            memcpy(p, &escapes[*s], sizeof(struct escape));
            p += escapes[*s++].len;
        } else {
            *p++ = *s++;
        }
    }
    *text = s;
    return p;
}

#endif

static inline const uint8_t *piece_end(const uint8_t *s, const uint8_t *end)
{
    return (size_t)(end - s) > JSON_PIECE_BYTES ? s + JSON_PIECE_BYTES : end;
}

uint8_t *cbt_json_string(struct cbt_json_out *out, uint8_t *p, const uint8_t *text, size_t len)
{
    if (len == 0)
        return JSON_LITERAL(p, "\"\"");
    const uint8_t *end = text + len;
    *p++ = '"';
    while (text < end) {
        const uint8_t *soft = piece_end(text, end);
        p = cbt_json_room(out, p, JSON_ROOM((size_t)(soft - text)));
        p = escape(p, &text, soft, end);
    }
    *p++ = '"';
    return p;
}

uint8_t *cbt_json_escape(struct cbt_json_out *out, uint8_t *p, const uint8_t *text, size_t len)
{
    if (len == 0)
        return p;
    const uint8_t *end = text + len;
    while ((size_t)(end - text) > TAIL_BYTES) {
        const uint8_t *soft = piece_end(text, end - TAIL_BYTES);
        p = cbt_json_room(out, p, JSON_ROOM((size_t)(soft - text)));
        p = escape(p, &text, soft, end);
    }
    uint8_t tail[TAIL_BYTES + 64];
    size_t left = (size_t)(end - text);
    memcpy(tail, text, left);
    text = tail;
    p = cbt_json_room(out, p, JSON_ROOM(left));
    return escape(p, &text, tail + left, tail + left);
}

uint8_t *cbt_json_upper(struct cbt_json_out *out, uint8_t *p, ProtobufCBinaryData text)
{
    if (text.len == 0)
        return JSON_LITERAL(p, "\"\"");
    const uint8_t *s = text.data, *end = s + text.len;
    *p++ = '"';
    while (s < end) {
        const uint8_t *soft = piece_end(s, end);
        p = cbt_json_room(out, p, JSON_ROOM((size_t)(soft - s)));
        while (s < soft) {
            if (*s >= 0x80) {
                p = cbt_json_mend(p, &s, soft, end);
            } else if (escapes[*s].len != 0) {
                memcpy(p, &escapes[*s], sizeof(struct escape));
                p += escapes[*s++].len;
            } else {
                *p++ = (uint8_t)(*s >= 'a' && *s <= 'z' ? *s - 'a' + 'A' : *s);
                s++;
            }
        }
    }
    *p++ = '"';
    return p;
}

uint8_t *cbt_json_hex_any(struct cbt_json_out *out, uint8_t *p, const uint8_t *bytes, size_t len)
{
    *p++ = '"';
    while (len > 0) {
        size_t piece = len < JSON_PIECE_BYTES ? len : JSON_PIECE_BYTES;
        p = cbt_json_room(out, p, JSON_ROOM(piece));
        for (size_t i = 0; i < piece; i += 16) {
            uint8_t block[16] = {0};
            size_t n = piece - i < 16 ? piece - i : 16;
            memcpy(block, bytes + i, n);
            cbt_json_hex16(p, block, 'A');
            p += 2 * n;
        }
        bytes += piece;
        len -= piece;
    }
    *p++ = '"';
    return p;
}

static inline uint8_t *put_base64(uint8_t *p, uint32_t three)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    p[0] = (uint8_t)digits[three >> 18];
    p[1] = (uint8_t)digits[three >> 12 & 63];
    p[2] = (uint8_t)digits[three >> 6 & 63];
    p[3] = (uint8_t)digits[three & 63];
    return p + 4;
}

uint8_t *cbt_json_base64(struct cbt_json_out *out, uint8_t *p, const uint8_t *bytes, size_t len)
{
    *p++ = '"';
    while (len > 0) {
        size_t piece = len < JSON_PIECE_BYTES ? len : JSON_PIECE_BYTES, rest = piece % 3;
        const uint8_t *whole_end = bytes + piece - rest;
        p = cbt_json_room(out, p, JSON_ROOM(piece));
        for (; bytes < whole_end; bytes += 3)
            p = put_base64(p, (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2]);
        if (rest > 0) {
            p = put_base64(p, (uint32_t)bytes[0] << 16 | (rest > 1 ? (uint32_t)bytes[1] << 8 : 0));
            memset(p - (3 - rest), '=', 3 - rest);
            bytes += rest;
        }
        len -= piece;
    }
    *p++ = '"';
    return p;
}

const char cbt_json_digit_pairs[200] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940"
    "4142434445464748495051525354555657585960616263646566676869707172737475767778798081"
    "828384858687888990919293949596979899";
