/* SPDX-License-Identifier: MIT */
/*
 * Writers of JSON values. Each takes the place to write at and returns the place behind what it wrote. Before
 * anything of variable length there is one check for room, which leaves room for all that is of fixed length
 * and may follow, so that the rest is written unchecked. Where memory runs out the writers
 * go on, in a scratch area, and the caller finds out->failed.
 */
#ifndef CBTAP_FORMAT_JSON_WRITE_H
#define CBTAP_FORMAT_JSON_WRITE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "cbtap/buf.h"
#include "cbtap/text.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The longest text of configuration that goes into an event (server_name, a link's beginning), escaped. */
#define JSON_CONFIG_BYTES_MAX 1024u
/* All of an event that is neither text, bytes nor repeated: keys, numbers, GUIDs, hashes of 16 bytes; without
 * what comes from the configuration. */
#define JSON_FIXED_BYTES 3072u
/* The same with it: server_name, and at most three links. */
#define JSON_FIXED_BYTES_MAX (JSON_FIXED_BYTES + 4 * JSON_CONFIG_BYTES_MAX)
/* Text and bytes are written in pieces of so much input, for each of which there is a check; a multiple of 3.
 */
#define JSON_PIECE_BYTES 1023u
/* Input becomes at most six bytes each (\u00XX); a piece may end, and vector stores may write, a little
 * beyond. */
#define JSON_ROOM(bytes) (((bytes) + 32) * 6 + 64)

struct cbt_json_out {
    uint8_t *end; /* one past the last byte that may be written */
    size_t fixed_bytes;
    struct cbt_buf *buf;
    uint8_t *scratch; /* JSON_SCRATCH_BYTES */
};

#define JSON_SCRATCH_BYTES (JSON_FIXED_BYTES_MAX + JSON_ROOM(JSON_PIECE_BYTES))

/* More room, or the scratch area. */
uint8_t *cbt_json_grow(struct cbt_json_out *out, uint8_t *p, size_t bytes);

/* Room for `bytes` and all that is of fixed length. */
static inline uint8_t *cbt_json_room(struct cbt_json_out *out, uint8_t *p, size_t bytes)
{
    bytes += out->fixed_bytes;
    if (__builtin_expect((size_t)(out->end - p) >= bytes, 1))
        return p;
    return cbt_json_grow(out, p, bytes);
}

/* A literal; its size is known to the compiler, so this is a move or two. */
#define JSON_LITERAL(p, literal) (memcpy((p), (literal), sizeof(literal) - 1), (p) + sizeof(literal) - 1)

/* --- numbers --- */

extern const char cbt_json_digit_pairs[200];

static inline uint8_t *cbt_json_pair(uint8_t *p, uint32_t below_100)
{
    memcpy(p, cbt_json_digit_pairs + (size_t)below_100 * 2, 2);
    return p + 2;
}

/* A number below 10^8, in eight digits. */
static inline uint8_t *cbt_json_digits8(uint8_t *p, uint32_t n)
{
    uint32_t high = n / 10000, low = n % 10000;
    p = cbt_json_pair(p, high / 100);
    p = cbt_json_pair(p, high % 100);
    p = cbt_json_pair(p, low / 100);
    return cbt_json_pair(p, low % 100);
}

/* A number below 10^8, without leading zeros. */
static inline uint8_t *cbt_json_below_1e8(uint8_t *p, uint32_t n)
{
    if (n < 100) {
        if (n >= 10)
            return cbt_json_pair(p, n);
        *p++ = (uint8_t)('0' + n);
        return p;
    }
    if (n < 10000) {
        if (n >= 1000)
            p = cbt_json_pair(p, n / 100);
        else
            *p++ = (uint8_t)('0' + n / 100);
        return cbt_json_pair(p, n % 100);
    }
    uint32_t high = n / 10000, low = n % 10000;
    if (high >= 100) {
        if (high >= 1000)
            p = cbt_json_pair(p, high / 100);
        else
            *p++ = (uint8_t)('0' + high / 100);
        p = cbt_json_pair(p, high % 100);
    } else if (high >= 10) {
        p = cbt_json_pair(p, high);
    } else {
        *p++ = (uint8_t)('0' + high);
    }
    p = cbt_json_pair(p, low / 100);
    return cbt_json_pair(p, low % 100);
}

static inline uint8_t *cbt_json_u64(uint8_t *p, uint64_t n)
{
    if (n < 100000000)
        return cbt_json_below_1e8(p, (uint32_t)n);
    if (n < UINT64_C(10000000000000000)) {
        p = cbt_json_below_1e8(p, (uint32_t)(n / 100000000));
        return cbt_json_digits8(p, (uint32_t)(n % 100000000));
    }
    p = cbt_json_below_1e8(p, (uint32_t)(n / UINT64_C(10000000000000000)));
    n %= UINT64_C(10000000000000000);
    p = cbt_json_digits8(p, (uint32_t)(n / 100000000));
    return cbt_json_digits8(p, (uint32_t)(n % 100000000));
}

static inline uint8_t *cbt_json_i64(uint8_t *p, int64_t n)
{
    if (n >= 0)
        return cbt_json_u64(p, (uint64_t)n);
    *p++ = '-';
    return cbt_json_u64(p, 0 - (uint64_t)n);
}

static inline uint8_t *cbt_json_bool(uint8_t *p, bool value)
{
    return value ? JSON_LITERAL(p, "true") : JSON_LITERAL(p, "false");
}

/* Windows FILETIME (100 ns since 1601) as Unix time, rounded down; 0 stays 0. */
static inline uint8_t *cbt_json_time(uint8_t *p, int64_t filetime, bool decimals)
{
    const int64_t unit = decimals ? 10000 : 10000000;
    if (filetime == 0) {
        *p++ = '0';
        return p;
    }
    int64_t units = filetime / unit - (filetime % unit < 0);
    if (!decimals)
        return cbt_json_i64(p, units - INT64_C(11644473600));
    int64_t ms = units - INT64_C(11644473600000);
    uint64_t magnitude = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    if (ms < 0)
        *p++ = '-';
    p = cbt_json_u64(p, magnitude / 1000);
    uint32_t rest = (uint32_t)(magnitude % 1000);
    *p++ = '.';
    *p++ = (uint8_t)('0' + rest / 100);
    return cbt_json_pair(p, rest % 100);
}

/* --- hexadecimal --- */

/* 16 bytes to 32 digits; `letter` is 'A' or 'a'. */
static inline void cbt_json_hex16(uint8_t *p, const uint8_t bytes[16], uint8_t letter)
{
#ifdef __SSE2__
    const __m128i low_nibbles = _mm_set1_epi8(0x0f), nine = _mm_set1_epi8(9), zero = _mm_set1_epi8('0');
    const __m128i gap = _mm_set1_epi8((char)(letter - '0' - 10));
    __m128i in = _mm_loadu_si128((const __m128i *)bytes);
    __m128i high = _mm_and_si128(_mm_srli_epi16(in, 4), low_nibbles);
    __m128i low = _mm_and_si128(in, low_nibbles);
    __m128i first = _mm_unpacklo_epi8(high, low), second = _mm_unpackhi_epi8(high, low);
    first = _mm_add_epi8(_mm_add_epi8(first, zero), _mm_and_si128(_mm_cmpgt_epi8(first, nine), gap));
    second = _mm_add_epi8(_mm_add_epi8(second, zero), _mm_and_si128(_mm_cmpgt_epi8(second, nine), gap));
    _mm_storeu_si128((__m128i *)p, first);
    _mm_storeu_si128((__m128i *)(p + 16), second);
#else
    for (unsigned i = 0; i < 16; i++) {
        uint8_t high = bytes[i] >> 4, low = bytes[i] & 0x0f;
        p[2 * i] = (uint8_t)(high < 10 ? '0' + high : letter + high - 10);
        p[2 * i + 1] = (uint8_t)(low < 10 ? '0' + low : letter + low - 10);
    }
#endif
}

/* Bytes as a string of upper-case digits; for other lengths than a hash has. */
uint8_t *cbt_json_hex_any(struct cbt_json_out *out, uint8_t *p, const uint8_t *bytes, size_t len);

static inline uint8_t *cbt_json_hex(struct cbt_json_out *out, uint8_t *p, ProtobufCBinaryData bytes)
{
    if (bytes.len == 16) {
        *p++ = '"';
        cbt_json_hex16(p, bytes.data, 'A');
        p[32] = '"';
        return p + 33;
    }
    if (bytes.len == 0)
        return JSON_LITERAL(p, "\"\"");
    return cbt_json_hex_any(out, p, bytes.data, bytes.len);
}

/* 36 characters, without quotes. */
#define JSON_GUID_BYTES 36u

static inline uint8_t *cbt_json_guid(uint8_t *p, uint32_t sensor_id, uint32_t pid, uint64_t create_time)
{
    uint32_t words[2] = {__builtin_bswap32(sensor_id), __builtin_bswap32(pid)};
    uint64_t time = __builtin_bswap64(create_time);
    uint8_t bytes[16], digits[32];
    memcpy(bytes, words, 8);
    memcpy(bytes + 8, &time, 8);
    cbt_json_hex16(digits, bytes, 'a');
    memcpy(p, digits, 8);
    p[8] = '-';
    memcpy(p + 9, digits + 8, 4);
    p[13] = '-';
    memcpy(p + 14, digits + 12, 4);
    p[18] = '-';
    memcpy(p + 19, digits + 16, 4);
    p[23] = '-';
    memcpy(p + 24, digits + 20, 12);
    return p + JSON_GUID_BYTES;
}

/* --- text --- */

/* Text to a string: escaped, and mended where it is not UTF-8 (U+FFFD for each maximal subpart). For text in
 * a decoder's arena, which may be read beyond its end (CBT_ARENA_SLACK_BYTES). */
uint8_t *cbt_json_string(struct cbt_json_out *out, uint8_t *p, const uint8_t *text, size_t len);

/* The same without quotes, for text that lies anywhere. */
uint8_t *cbt_json_escape(struct cbt_json_out *out, uint8_t *p, const uint8_t *text, size_t len);

/* A run of bytes that are not ASCII, from *text up to `soft` or a few bytes beyond it, never beyond `end`:
 * well-formed sequences as they are, U+FFFD for each maximal subpart of an ill-formed one. Unchecked. */
uint8_t *cbt_json_mend(uint8_t *p, const uint8_t **text, const uint8_t *soft, const uint8_t *end);

/* The same as cbt_json_string, ASCII letters upper-cased. */
uint8_t *cbt_json_upper(struct cbt_json_out *out, uint8_t *p, ProtobufCBinaryData text);

/* Base64 (RFC 4648, padded), as a string. */
uint8_t *cbt_json_base64(struct cbt_json_out *out, uint8_t *p, const uint8_t *bytes, size_t len);

/* --- addresses: json_ip.c --- */

/* Dotted quad, without quotes, the least significant byte first. */
uint8_t *cbt_json_ip4(uint8_t *p, uint32_t address);
/* RFC 5952 text, without quotes, of the 16 bytes of high and low, each least significant byte first. */
uint8_t *cbt_json_ip6(uint8_t *p, uint64_t high, uint64_t low);

#endif
