/* SPDX-License-Identifier: MIT */
/* What tests of notifications share: a decoder, and the json format with and without links. */
#ifndef TESTS_LIB_NOTIFICATION_BED_H
#define TESTS_LIB_NOTIFICATION_BED_H

#include "fixture.h"
#include "json_value.h"

static struct cbt_decoder *decoder;
static void *json, *json_links;

static inline int bed_open(void **state)
{
    (void)state;
    struct cbt_err err;
    assert_int_equal(cbt_decoder_new(&decoder, &fixture_limits, &err), 0);
    json = json_open(&(struct cbt_format_options){.server_name = "s"});
    json_links = json_open(&(struct cbt_format_options){.server_name = "s", .server_url = "https://e"});
    return 0;
}

static inline int bed_close(void **state)
{
    (void)state;
    cbt_decoder_free(decoder);
    json_close(json);
    json_close(json_links);
    return 0;
}

/* A text in memory of exactly its size, for the caller to free. */
static inline struct cbt_text exact_copy(const char *text, size_t len)
{
    uint8_t *copy = malloc(len + !len);
    if (copy == NULL)
        abort();
    if (len > 0)
        memcpy(copy, text, len);
    return (struct cbt_text){copy, len};
}

/* One event's output equals the members that are expected besides type and cb_server. */
static inline void expect_members(void *format, const struct cbt_event *event, const char *expected)
{
    size_t size = strlen(expected) + event->type_name.len + 64;
    char *want_text = malloc(size);
    if (want_text == NULL)
        abort();
    snprintf(want_text, size, "{\"type\":\"%.*s\",\"cb_server\":\"s\"%s%s}", (int)event->type_name.len,
             (const char *)event->type_name.data, expected[0] != '\0' ? "," : "", expected);
    struct jv *want = jv_parse(want_text, strlen(want_text));
    if (want == NULL)
        fail_msg("the test expects what is no JSON: %s", want_text);
    for (size_t step = 0; step < 3; step++) {
        struct exact_buf out;
        struct cbt_err err = {0};
        exact_init(&out, step * 70, SIZE_MAX);
        if (cbt_format_find("json")->encode(format, event, &out.buf, &err) != 0)
            fail_msg("encode: %s", err.text);
        size_t len = cbt_buf_len(&out.buf);
        struct jv *is = jv_parse(out.buf.begin, len);
        if (is == NULL || !jv_equal(is, want) || memchr(out.buf.begin, '\n', len) != NULL)
            fail_msg("of       %.*s\n is       %.*s\n expected %s", (int)event->raw.len,
                     (const char *)event->raw.data, (int)len, (char *)out.buf.begin, want_text);
        jv_free(is);
        exact_free(&out);
    }
    jv_free(want);
    free(want_text);
}

/* A notification gives exactly the events whose members are expected; the last one is NULL. */
static inline void expect_events(void *format, const char *key, const char *text, const char *const *expected)
{
    struct cbt_text copy = exact_copy(text, strlen(text));
    size_t cursor = 0;
    for (unsigned i = 0;; i++) {
        struct cbt_event event;
        enum cbt_dead_reason reason;
        struct cbt_err err = {0};
        int rc = cbt_decode_notification(decoder, copy, text_of(key), &cursor, &event, &reason, &err);
        if (rc != (expected[i] != NULL)) {
            fail_msg("%s\n event %u: %d %s", text, i, rc, rc < 0 ? err.text : "");
            break;
        }
        if (expected[i] == NULL)
            break;
        expect_members(format, &event, expected[i]);
    }
    free((void *)(uintptr_t)copy.data);
}

struct rule_row {
    const char *text, *expected;
};

/* Each text gives one event; so does the same as the entry of docs, but where the key is not the entry's. */
static inline void expect_rows(void *format, const char *key, const struct rule_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        expect_events(format, key, rows[i].text, (const char *const[]){rows[i].expected, NULL});
}

static inline void expect_rows_in_docs(void *format, const char *key, const struct rule_row *rows,
                                       size_t count)
{
    static char text[8192], expected[8192];
    for (size_t i = 0; i < count; i++) {
        snprintf(text, sizeof(text), "{\"docs\":[%s],\"a\":1}", rows[i].text);
        snprintf(expected, sizeof(expected), "\"a\":1,\"docs\":[{%s}]", rows[i].expected);
        expect_events(format, key, text, (const char *const[]){expected, NULL});
    }
}

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
#define EXPECT_EVERYWHERE(format, key, rows)                                                                 \
    (expect_rows(format, key, rows, COUNT(rows)), expect_rows_in_docs(format, key, rows, COUNT(rows)))

#endif
