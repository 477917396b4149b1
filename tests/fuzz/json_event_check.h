/* SPDX-License-Identifier: MIT */
/* What must hold of an event as JSON: one object in valid Unicode, no key twice, and what it says of itself
 * is what the event says. */
#ifndef TESTS_FUZZ_JSON_EVENT_CHECK_H
#define TESTS_FUZZ_JSON_EVENT_CHECK_H

#include <inttypes.h>
#include <string.h>

#include "cbtap/decode.h"
#include "fuzz.h"
#include "json_check.h"
#include "json_value.h"

/* A member of that kind and text; strings only where the event's text is valid UTF-8, for it is mended else.
 */
static inline void json_check_member(const struct jv *object, const char *key, enum jv_kind kind,
                                     struct cbt_text expected)
{
    const struct jv *value = jv_get(object, key);
    FUZZ_CHECK(value != NULL && value->kind == kind, "no %s, or of another kind", key);
    if (kind == JV_STRING && !utf8_valid(expected.data, expected.len))
        return;
    FUZZ_CHECK(value->len == expected.len &&
                   (expected.len == 0 || memcmp(value->text, expected.data, expected.len) == 0),
               "%s is %s", key, value->text);
}

static inline void json_check_endpoint_event(const struct cbt_event *event, const struct jv *object)
{
    char number[32];
    uint8_t guid[36];
    snprintf(number, sizeof number, "%" PRId32, event->env.sensor_id);
    json_check_member(object, "sensor_id", JV_NUMBER,
                      (struct cbt_text){(const uint8_t *)number, strlen(number)});
    json_check_member(object, "computer_name", JV_STRING, event->env.host_name);
    json_check_member(object, "event_type", JV_STRING, event->event_type_name);
    size_t guid_len = cbt_event_process_guid(event, guid);
    if (guid_len > 0)
        json_check_member(object, "process_guid", JV_STRING, (struct cbt_text){guid, guid_len});
    const struct jv *timestamp = jv_get(object, "timestamp");
    FUZZ_CHECK(timestamp != NULL && timestamp->kind == JV_NUMBER, "no timestamp");
    FUZZ_CHECK(strtoll(timestamp->text, NULL, 10) == event->unix_ms / 1000 || event->unix_ms < 0,
               "timestamp %s, %lld ms", timestamp->text, (long long)event->unix_ms);
}

static inline void json_check_event(const struct cbt_event *event, struct cbt_text json)
{
    const char *fault = json_object_fault(json.data, json.len);
    FUZZ_CHECK(fault == NULL, "%s: %.*s", fault, FUZZ_SHOWN(json));
    struct jv *object = jv_parse(json.data, json.len);
    FUZZ_CHECK(object != NULL, "a key twice: %.*s", FUZZ_SHOWN(json));
    json_check_member(object, "type", JV_STRING, event->type_name);
    FUZZ_CHECK(jv_get(object, "cb_server") != NULL, "no cb_server");
    if (event->type != CBT_TYPE_NOTIFICATION)
        json_check_endpoint_event(event, object);
    jv_free(object);
}

#endif
