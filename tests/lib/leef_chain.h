/* SPDX-License-Identifier: MIT */
/* For tests of the leef format: a decoder, the format beside json, and outputs as rows of a table. */
#ifndef TESTS_LIB_LEEF_CHAIN_H
#define TESTS_LIB_LEEF_CHAIN_H

#include "fixture.h"

#include "cbtap/arena.h"

struct chain {
    struct cbt_decoder *decoder;
    void *json, *leef;
};

static struct chain chain;

static inline int open_all(void **state)
{
    (void)state;
    const struct cbt_format_options options = {.server_name = "s"};
    struct cbt_err err;
    assert_int_equal(cbt_decoder_new(&chain.decoder, &fixture_limits, &err), 0);
    chain.json = json_open(&options);
    return cbt_format_find("leef")->open(&chain.leef, &options, &err);
}

static inline int close_all(void **state)
{
    (void)state;
    cbt_decoder_free(chain.decoder);
    json_close(chain.json);
    cbt_format_find("leef")->close(chain.leef);
    return 0;
}

static inline void encode(const char *format, const struct cbt_event *event, size_t step,
                          struct exact_buf *out)
{
    struct cbt_err err = {0};
    size_t used = event->arena->used;
    exact_init(out, step, SIZE_MAX);
    if (cbt_format_find(format)->encode(strcmp(format, "leef") == 0 ? chain.leef : chain.json, event,
                                        &out->buf, &err) != 0)
        fail_msg("%s: %s", format, err.text);
    if (strcmp(format, "leef") == 0)
        assert_int_equal(event->arena->used, used);
}

static inline struct cbt_event decode_notification(struct cbt_text json, const char *key)
{
    struct cbt_event event;
    enum cbt_dead_reason reason;
    struct cbt_err err = {0};
    size_t cursor = 0;
    if (cbt_decode_notification(chain.decoder, json, text_of(key), &cursor, &event, &reason, &err) != 1)
        fail_msg("%.*s: %s", (int)json.len, (const char *)json.data, err.text);
    return event;
}

static inline void expect_leef(const struct cbt_event *event, const char *what, const char *expected,
                               size_t len)
{
    for (size_t step = 0; step < 2; step++) {
        struct exact_buf out;
        encode("leef", event, step * 70, &out);
        if (cbt_buf_len(&out.buf) != len || memcmp(out.buf.begin, expected, len) != 0)
            fail_msg("%s\n is       %.*s\n expected %.*s", what, (int)cbt_buf_len(&out.buf),
                     (char *)out.buf.begin, (int)len, expected);
        exact_free(&out);
    }
}

struct row {
    const char *json, *expected; /* the pairs, but for those of cb_server and type */
};

/* Each row's pairs stand between cb_server and type: their keys begin with letters d to s. */
static inline void expect_rows(const struct row *rows, size_t count)
{
    static char expected[4096];
    for (size_t i = 0; i < count; i++) {
        const struct cbt_event event = decode_notification(text_of(rows[i].json), "a.b");
        const char *pairs = rows[i].expected;
        int len = snprintf(expected, sizeof(expected), "LEEF:1.0|CB|CB|5.1|a.b|cb_server=s\t%s%stype=a.b",
                           pairs, *pairs != '\0' ? "\t" : "");
        expect_leef(&event, rows[i].json, expected, (size_t)len);
    }
}

#endif
