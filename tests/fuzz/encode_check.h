/* SPDX-License-Identifier: MIT */
/* What must hold of encoding an event in any format: the same bytes however often, and however the memory
 * grows; nothing but a refusal where it may not grow; no more bytes than a small multiple of what came in. */
#ifndef TESTS_FUZZ_ENCODE_CHECK_H
#define TESTS_FUZZ_ENCODE_CHECK_H

#include "cbtap/arena.h"
#include "cbtap/decode.h"
#include "cbtap/format.h"
#include "exact_buf.h"
#include "fuzz.h"

static inline struct cbt_decoder *decoder_open(size_t arena_bytes)
{
    struct cbt_decode_limits limits = {.arena_max_bytes = arena_bytes, .record_max_bytes = 1u << 20};
    struct cbt_decoder *decoder = NULL;
    struct cbt_err err = {0};
    FUZZ_CHECK(cbt_decoder_new(&decoder, &limits, &err) == 0, "%s", err.text);
    return decoder;
}

static inline void *format_open(const struct cbt_format *format, bool links, bool float_time,
                                const char *profile)
{
    const struct cbt_format_options options = {
        .server_name = "cb \"server\"\t\xff",
        .server_url = links ? "https://edr.example" : NULL,
        .float_time = float_time,
        .profile = profile,
    };
    void *self = NULL;
    struct cbt_err err = {0};
    FUZZ_CHECK(format->open(&self, &options, &err) == 0, "%s", err.text);
    return self;
}

/* Text may become six bytes for each, and be escaped a second time; the rest is keys, numbers and links. */
#define ENCODED_BYTES_MAX(event) (16 * ((event)->raw.len + (event)->env.host_name.len) + 16384)

/* A record's memory is never NULL, however little there is. */
static inline void record_init(struct exact_buf *exact, size_t first, size_t step, size_t limit)
{
    exact_init(exact, step, SIZE_MAX / 4);
    FUZZ_CHECK(cbt_buf_reserve(&exact->buf, first + 1), "no memory");
    exact->limit = limit;
}

/* Leaves the arena as it was: what a format takes of it is not the event's. */
static inline int encode_once(const struct cbt_format *format, const void *self,
                              const struct cbt_event *event, struct exact_buf *exact, struct cbt_err *err)
{
    size_t used = event->arena->used;
    int rc = format->encode(self, event, &exact->buf, err);
    bool exhausted = event->arena->exhausted;
    FUZZ_CHECK(rc != CBT_ELIMIT || exact->buf.failed || exhausted, "a limit that was not reached: %s",
               err->text);
    FUZZ_CHECK(rc == 0 || err->text[0] != '\0', "%d without a word", rc);
    FUZZ_CHECK(rc != 0 || !exact->buf.failed, "no failure though memory ran out");
    event->arena->used = used;
    event->arena->exhausted = false;
    return rc;
}

/* Encodes the event into *ret_exact, and again in other ways that `variety` chooses. Returns what encode
 * does. */
static inline int encode_check(const struct cbt_format *format, const void *self,
                               const struct cbt_event *event, uint8_t variety, struct exact_buf *ret_exact)
{
    struct cbt_err err = {0};
    record_init(ret_exact, 0, 0, SIZE_MAX / 4);
    int rc = encode_once(format, self, event, ret_exact, &err);
    size_t len = cbt_buf_len(&ret_exact->buf);
    FUZZ_CHECK(rc == 0 || rc == CBT_ELIMIT, "%d: %s", rc, err.text);
    FUZZ_CHECK(rc != 0 || len <= ENCODED_BYTES_MAX(event), "%zu bytes of a record of %zu", len,
               event->raw.len);

    struct exact_buf other;
    const struct {
        size_t first, step, limit;
    } ways[] = {
        {variety * 8u, variety, SIZE_MAX / 4}, /* begins with memory, grows by more than is asked for */
        {0, 0, len * variety / UINT8_MAX},     /* ends too early */
        {0, 0, len + (size_t)variety * 64},    /* ends here or there behind what is needed */
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        record_init(&other, ways[i].first, ways[i].step, ways[i].limit);
        int other_rc = encode_once(format, self, event, &other, &err);
        FUZZ_CHECK(i > 0 || other_rc == rc, "%d, then %d", rc, other_rc);
        FUZZ_CHECK(other_rc == 0 || other_rc == CBT_ELIMIT, "%d: %s", other_rc, err.text);
        FUZZ_CHECK(other_rc != 0 || (cbt_buf_len(&other.buf) == len &&
                                     memcmp(other.buf.begin, ret_exact->buf.begin, len) == 0),
                   "other bytes where memory grows otherwise (%zu)", i);
        exact_free(&other);
    }
    return rc;
}

#endif
