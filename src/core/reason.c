/* SPDX-License-Identifier: MIT */
/* The names behind the enums of reason.h and event.h: label values and sentences, from the same tables. */
#include "cbtap/reason.h"

#include "cbtap/event.h"

#define X_NAME(name, text) #name,
#define X_TEXT(name, text) text,

static const char *const dead_names[] = {CBT_DEAD_REASONS(X_NAME)};
static const char *const dead_texts[] = {CBT_DEAD_REASONS(X_TEXT)};
static const char *const filtered_names[] = {CBT_FILTERED_REASONS(X_NAME)};
static const char *const dropped_names[] = {CBT_DROPPED_REASONS(X_NAME)};
static const char *const gap_names[] = {CBT_GAP_REASONS(X_NAME)};
static const char *const resent_names[] = {CBT_RESENT_REASONS(X_NAME)};
static const char *const type_names[] = {
#define CBT_EVENT_TYPE(id, name, event_type) name,
#include "cbtap/event_types.def"
    "other",
};

/* A value beyond the table can only come from memory gone bad; it is still not worth a crash. */
static const char *lookup(const char *const *names, unsigned count, unsigned value)
{
    return value < count ? names[value] : "other";
}

const char *cbt_dead_reason_name(enum cbt_dead_reason reason)
{
    return lookup(dead_names, CBT_DEAD_COUNT, reason);
}

const char *cbt_dead_reason_text(enum cbt_dead_reason reason)
{
    return lookup(dead_texts, CBT_DEAD_COUNT, reason);
}

const char *cbt_filtered_reason_name(enum cbt_filtered_reason reason)
{
    return lookup(filtered_names, CBT_FILTERED_COUNT, reason);
}

const char *cbt_dropped_reason_name(enum cbt_dropped_reason reason)
{
    return lookup(dropped_names, CBT_DROPPED_COUNT, reason);
}

const char *cbt_gap_reason_name(enum cbt_gap_reason reason)
{
    return lookup(gap_names, CBT_GAP_COUNT, reason);
}

const char *cbt_resent_reason_name(enum cbt_resent_reason reason)
{
    return lookup(resent_names, CBT_RESENT_COUNT, reason);
}

const char *cbt_event_type_name(enum cbt_event_type type)
{
    return lookup(type_names, CBT_TYPES, type);
}
