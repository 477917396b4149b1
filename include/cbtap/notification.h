/* SPDX-License-Identifier: MIT */
/* A server notification as the formats see it: spans of its text, and where the keys are that its rules (spec
 * events.md) know. One with an array `docs` becomes an event for each entry. */
#ifndef CBTAP_NOTIFICATION_H
#define CBTAP_NOTIFICATION_H

#include <stdbool.h>

#include "cbtap/buf.h"
#include "cbtap/json_tokens.h"

/* The keys that a rule reads, writes or removes, in the notification and in the entries of its docs. */
#define CBT_NOTIFICATION_KEYS(X)                                                                             \
    X(type)                                                                                                  \
    X(cb_server)                                                                                             \
    X(docs)                                                                                                  \
    X(highlights)                                                                                            \
    X(event_timestamp)                                                                                       \
    X(timestamp)                                                                                             \
    X(hostname)                                                                                              \
    X(computer_name)                                                                                         \
    X(md5)                                                                                                   \
    X(parent_md5)                                                                                            \
    X(process_md5)                                                                                           \
    X(ioc_type)                                                                                              \
    X(ioc_value)                                                                                             \
    X(ioc_query_index)                                                                                       \
    X(ioc_query_string)                                                                                      \
    X(comms_ip)                                                                                              \
    X(interface_ip)                                                                                          \
    X(unique_id)                                                                                             \
    X(process_id)                                                                                            \
    X(process_guid)                                                                                          \
    X(segment_id)                                                                                            \
    X(parent_unique_id)                                                                                      \
    X(parent_guid)                                                                                           \
    X(parent_segment_id)                                                                                     \
    X(sensor_id)                                                                                             \
    X(link_sensor)                                                                                           \
    X(link_process)                                                                                          \
    X(link_parent)                                                                                           \
    X(link_md5)                                                                                              \
    X(link_parent_md5)                                                                                       \
    X(link_process_md5)

enum cbt_note_key {
    CBT_NOTE_OTHER,
#define X(name) CBT_NOTE_##name,
    CBT_NOTIFICATION_KEYS(X)
#undef X
        CBT_NOTE_KEYS,
    CBT_NOTE_SUPERSEDED = 255, /* the same key comes once more in its object: the last counts */
};

/* A member that does not count: from its key's quote to the next key's. */
struct cbt_note_cut {
    const uint8_t *begin, *end;
};

/* What ioc_value of an object asks for, decoded, in the arena; not known to be valid UTF-8. */
struct cbt_note_query {
    const struct cbt_note_query *next; /* of the notification, in the order of the text */
    unsigned object;                   /* token */
    struct cbt_text index, string;
    bool has_string;
};

/* The notification, or an entry that is an object. */
struct cbt_note_object {
    unsigned token, end;           /* the object's token, and the first one behind it */
    unsigned value[CBT_NOTE_KEYS]; /* token of the value that counts, 0 where there is none */
    const struct cbt_note_query *query;
};

struct cbt_notification {
    struct cbt_json_tokens tokens;
    const uint8_t *marks; /* of each token: enum cbt_note_key for a key of the notification or of an entry;
                             CBT_NOTE_SUPERSEDED for one of any object */
    const struct cbt_note_cut *cuts; /* in the order of the text; none lies in another */
    size_t cut_count;
    struct cbt_note_object top;
    /* This event's entry of docs: 0 where docs is no array, is empty or is not there. */
    unsigned entry;
    unsigned docs_end;                   /* with an entry: the first token behind docs */
    bool entry_is_object;                /* then it is */
    struct cbt_note_object entry_object; /* this one */
};

/* Whether a token is a string. @thread any */
static inline bool cbt_note_is_string(const struct cbt_notification *note, unsigned token)
{
    return token != 0 && note->tokens.token[token].type == JSMN_STRING;
}

/* Whether it is a number. @thread any */
static inline bool cbt_note_is_number(const struct cbt_notification *note, unsigned token)
{
    const jsmntok_t *t = &note->tokens.token[token];
    uint8_t first = note->tokens.json.data[t->start];
    return token != 0 && t->type == JSMN_PRIMITIVE && (first == '-' || (first >= '0' && first <= '9'));
}

/* A value's whole text, a string with its quotes. @thread any */
static inline struct cbt_text cbt_note_span(const struct cbt_notification *note, unsigned token)
{
    size_t quote = note->tokens.token[token].type == JSMN_STRING;
    struct cbt_text text = cbt_json_token_text(&note->tokens, token);
    return (struct cbt_text){text.data - quote, text.len + 2 * quote};
}

/* Whether it becomes other events, too. @thread any */
static inline bool cbt_note_has_others(const struct cbt_notification *note)
{
    return note->entry != 0 && note->tokens.token[note->top.value[CBT_NOTE_docs]].size > 1;
}

/* Bytes of the text with docs cut to this event's entry. @thread any */
static inline size_t cbt_note_text_bytes(const struct cbt_notification *note)
{
    if (note->entry == 0)
        return note->tokens.json.len;
    return note->tokens.json.len - cbt_note_span(note, note->top.value[CBT_NOTE_docs]).len + 2 +
           cbt_note_span(note, note->entry).len;
}

/* Writes the text as it came, but for its last docs, which is cut to this event's entry; unchanged where that
 * is no array or an empty one. @thread the buffer's owner */
static inline void cbt_note_put_text(const struct cbt_notification *note, struct cbt_buf *out)
{
    struct cbt_text text = note->tokens.json;
    if (note->entry != 0) {
        struct cbt_text docs = cbt_note_span(note, note->top.value[CBT_NOTE_docs]);
        struct cbt_text entry = cbt_note_span(note, note->entry);
        const uint8_t *docs_end = docs.data + docs.len - 1;
        cbt_buf_put(out, text.data, (size_t)(docs.data + 1 - text.data));
        cbt_buf_put(out, entry.data, entry.len);
        text = (struct cbt_text){docs_end, (size_t)(text.data + text.len - docs_end)};
    }
    cbt_buf_put(out, text.data, text.len);
}

#endif
