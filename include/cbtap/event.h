/* SPDX-License-Identifier: MIT */
/* An event: one decoded CbEventMsg or one server notification, as the formats see it. */
#ifndef CBTAP_EVENT_H
#define CBTAP_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "cbtap/text.h"

struct CbEventMsg;
struct cbt_arena;
struct cbt_notification;

/* The types of endpoint events, in the order that counts where several members are set (spec events.md). */
enum cbt_event_type {
#define CBT_EVENT_TYPE(id, name, event_type) CBT_TYPE_##id,
#include "cbtap/event_types.def"
    CBT_TYPE_NOTIFICATION,
    CBT_TYPES,
};

/* `name` is without "ingress.event."; for CBT_TYPE_NOTIFICATION "other". @thread any */
const char *cbt_event_type_name(enum cbt_event_type type);

/* Where the event came from, as the message's headers or the record's own `env` tell. */
struct cbt_environment {
    int32_t sensor_id;
    int32_t node_id;
    int64_t host_id;
    struct cbt_text host_name;
    bool has_sensor_id, has_host_name, has_host_id, has_node_id;
};

struct cbt_event {
    enum cbt_event_type type;
    struct cbt_text type_name;       /* "ingress.event.procstart", "watchlist.hit.process" */
    struct cbt_text event_type_name; /* "proc"; for a notification the same as type_name */
    struct cbt_environment env;      /* resolved: env.endpoint field by field, else the frame's */
    const struct CbEventMsg
        *msg; /* in the decoder's arena; NULL for a notification and for CBT_TYPE_unknown */
    const struct cbt_notification *notification; /* of a notification, else NULL */
    struct cbt_text raw; /* the record without its length, or the notification's whole JSON text */
    struct cbt_text routing_key;
    int64_t unix_ms; /* the event's own time, 0 where unknown */
    /* The decoder's arena, where a format may put what it needs while it encodes; given back with the next
     * event. */
    struct cbt_arena *arena;
};

#endif
