/* SPDX-License-Identifier: MIT */
/* What must hold of an event's bytes in FUZZ_FORMAT, the format that this program is for. */
#ifndef TESTS_FUZZ_FORMAT_CHECK_H
#define TESTS_FUZZ_FORMAT_CHECK_H

#include "encode_check.h"
#include "json_event_check.h"
#include "leef_check.h"

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

static inline void raw_check_event(const struct cbt_event *event, struct cbt_text raw)
{
    FUZZ_CHECK(raw.len == event->raw.len && (raw.len == 0 || memcmp(raw.data, event->raw.data, raw.len) == 0),
               "%zu bytes of %zu", raw.len, event->raw.len);
}

static inline void format_check(const struct cbt_event *event, struct cbt_text bytes)
{
    static const struct {
        const char *format;
        void (*check)(const struct cbt_event *event, struct cbt_text bytes);
    } rows[] = {{"json", json_check_event}, {"leef", leef_check_event}, {"raw", raw_check_event}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].format, FUZZ_FORMAT) == 0)
            rows[i].check(event, bytes);
}

#endif
