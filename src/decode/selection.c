/* SPDX-License-Identifier: MIT */
/* Hosts by pattern and times by range: see selection.h. */
#include "decode/selection.h"

#include <fnmatch.h>
#include <string.h>

#include "cbtap/json_string.h"
#include "cbtap/notification.h"
#include "cbtap/utf8.h"

#define HOST_MAX_BYTES  1024 /* longer than any name in the DNS; of a longer one this much is looked at */
#define UTF8_CHAR_BYTES 4

static bool text_matches(const char *pattern, struct cbt_text name)
{
    char host[HOST_MAX_BYTES + 1];
    size_t len = name.len < HOST_MAX_BYTES ? name.len : HOST_MAX_BYTES;
    if (len > 0)
        memcpy(host, name.data, len);
    host[len] = '\0';
    /* Windows does not tell the cases of a host's name apart, nor does DNS. */
    return fnmatch(pattern, host, FNM_CASEFOLD) == 0;
}

/* The value at that token where it is a string, or an array of one; 0: it is no name. */
static unsigned name_at(const struct cbt_notification *note, unsigned value)
{
    const jsmntok_t *token = &note->tokens.token[value];
    if (value != 0 && token->type == JSMN_ARRAY && token->size == 1)
        value++;
    return cbt_note_is_string(note, value) ? value : 0;
}

static bool string_matches(const char *pattern, struct cbt_text string)
{
    uint8_t host[HOST_MAX_BYTES + UTF8_CHAR_BYTES], *to = host;
    for (const uint8_t *s = string.data, *end = s + string.len; s < end && to < host + HOST_MAX_BYTES;)
        to = cbt_utf8_put(to, cbt_json_char(&s, end));
    return text_matches(pattern, (struct cbt_text){host, (size_t)(to - host)});
}

static bool notification_matches(const char *pattern, const struct cbt_notification *note)
{
    const unsigned *own = note->top.value, *of_entry = note->entry_object.value;
    bool entry = note->entry_is_object, named = false;
    const unsigned values[] = {own[CBT_NOTE_hostname], own[CBT_NOTE_computer_name],
                               entry ? of_entry[CBT_NOTE_hostname] : 0,
                               entry ? of_entry[CBT_NOTE_computer_name] : 0};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        unsigned name = name_at(note, values[i]);
        if (name != 0 && string_matches(pattern, cbt_json_token_text(&note->tokens, name)))
            return true;
        named |= name != 0;
    }
    return !named && text_matches(pattern, (struct cbt_text){0});
}

bool cbt_selection_takes(const struct cbt_selection *selection, const struct cbt_event *event)
{
    int64_t time = event->unix_ms;
    if (selection->timed && (time == 0 || time < selection->since_ms || time >= selection->until_ms))
        return false;
    if (selection->host == NULL)
        return true;
    return event->notification != NULL ? notification_matches(selection->host, event->notification)
                                       : text_matches(selection->host, event->env.host_name);
}
