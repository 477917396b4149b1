/* SPDX-License-Identifier: MIT */
/* What must hold of an event's bytes in FUZZ_FORMAT, the format that this program is for. */
#ifndef TESTS_FUZZ_FORMAT_CHECK_H
#define TESTS_FUZZ_FORMAT_CHECK_H

#include "encode_check.h"
#include "json_event_check.h"
#include "leef_check.h"
#include "people_check.h"

static inline void leef_check_event(const struct cbt_event *event, struct cbt_text leef)
{
    struct cbt_text type = {0}, expected = event->type_name;
    const char *fault = leef_fault(leef, &type);
    FUZZ_CHECK(fault == NULL, "%s: %.*s", fault, FUZZ_SHOWN(leef));
    if (event->type == CBT_TYPE_NOTIFICATION)
        return; /* its entry of docs may have a type of its own */
    if (event->type == CBT_TYPE_procstart)
        expected = CBT_TEXT("ingress.event.process");
    FUZZ_CHECK(type.len == expected.len && memcmp(type.data, expected.data, type.len) == 0, "type %.*s",
               FUZZ_SHOWN(type));
}

/* The text of one entry of docs gives that one event again, and no other. */
static inline void raw_check_notification(const struct cbt_event *event, struct cbt_text raw)
{
    static struct cbt_decoder *decoder;
    static const struct cbt_format *json;
    static void *self;
    if (decoder == NULL) {
        decoder = decoder_open(1u << 22);
        json = cbt_format_find("json");
        self = format_open(json, true, false, NULL);
    }
    struct cbt_event again, more;
    struct exact_buf expected, is;
    struct cbt_err err = {0};
    enum cbt_dead_reason reason;
    size_t cursor = 0;
    FUZZ_CHECK(cbt_decode_notification(decoder, raw, event->routing_key, &cursor, &again, &reason, &err) == 1,
               "%s: %.*s", err.text, FUZZ_SHOWN(raw));
    record_init(&expected, 0, 0, SIZE_MAX / 4);
    record_init(&is, 0, 0, SIZE_MAX / 4);
    FUZZ_CHECK(encode_once(json, self, event, &expected, &err) == 0, "%s", err.text);
    FUZZ_CHECK(encode_once(json, self, &again, &is, &err) == 0, "%s", err.text);
    FUZZ_CHECK(cbt_buf_len(&is.buf) == cbt_buf_len(&expected.buf) &&
                   memcmp(is.buf.begin, expected.buf.begin, cbt_buf_len(&is.buf)) == 0,
               "another event: %.*s", FUZZ_SHOWN(raw));
    FUZZ_CHECK(cbt_decode_notification(decoder, raw, event->routing_key, &cursor, &more, &reason, &err) == 0,
               "a second event: %.*s", FUZZ_SHOWN(raw));
    exact_free(&expected);
    exact_free(&is);
}

static inline void raw_check_event(const struct cbt_event *event, struct cbt_text raw)
{
    if (event->type == CBT_TYPE_NOTIFICATION) {
        raw_check_notification(event, raw);
        return;
    }
    FUZZ_CHECK(raw.len == event->raw.len && (raw.len == 0 || memcmp(raw.data, event->raw.data, raw.len) == 0),
               "%zu bytes of %zu", raw.len, event->raw.len);
}

static inline void table_check_event(const struct cbt_event *event, struct cbt_text line)
{
    const char *fault = table_fault(line);
    FUZZ_CHECK(fault == NULL, "%s: %s: %.*s", cbt_event_type_name(event->type), fault, FUZZ_SHOWN(line));
}

static inline void csv_check_event(const struct cbt_event *event, struct cbt_text line)
{
    static unsigned fields;
    if (fields == 0) {
        struct exact_buf head;
        record_init(&head, 0, 0, SIZE_MAX / 4);
        const struct cbt_format *csv = cbt_format_find("csv");
        void *self = format_open(csv, false, false, NULL);
        csv->head(self, &head.buf);
        csv->close(self);
        fields = 1;
        for (const uint8_t *c = head.buf.begin; c < head.buf.pos; c++)
            fields += *c == ',';
        exact_free(&head);
    }
    const char *fault = csv_fault(line, fields);
    FUZZ_CHECK(fault == NULL, "%s: %s: %.*s", cbt_event_type_name(event->type), fault, FUZZ_SHOWN(line));
}

static inline void format_check(const struct cbt_event *event, struct cbt_text bytes)
{
    static const struct {
        const char *format;
        void (*check)(const struct cbt_event *event, struct cbt_text bytes);
    } rows[] = {{"json", json_check_event},
                {"leef", leef_check_event},
                {"raw", raw_check_event},
                {"table", table_check_event},
                {"csv", csv_check_event}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].format, FUZZ_FORMAT) == 0)
            rows[i].check(event, bytes);
}

#endif
