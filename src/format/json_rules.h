/* SPDX-License-Identifier: MIT */
/* What the rules of events.md make of one object of a notification: itself, or an entry of its docs. */
#ifndef CBTAP_FORMAT_JSON_RULES_H
#define CBTAP_FORMAT_JSON_RULES_H

#include "cbtap/notification.h"
#include "format/json_write.h"

#define NOTE_BIT(key) (UINT64_C(1) << (key))
_Static_assert(CBT_NOTE_KEYS <= 64, "a bit for each key");

#define NOTE_HASHES 3
#define NOTE_IPS    2
enum { NOTE_PROCESS, NOTE_PARENT, NOTE_SIDES };

extern const struct cbt_json_hash_row {
    enum cbt_note_key key, link;
} cbt_json_hash_rows[NOTE_HASHES];

extern const enum cbt_note_key cbt_json_ip_rows[NOTE_IPS];

/* A process, and the parent of one. */
extern const struct cbt_json_side_row {
    enum cbt_note_key unique, otherwise, guid, segment, link;
    struct cbt_text segment_default; /* of a link */
} cbt_json_side_rows[NOTE_SIDES];

struct cbt_json_fixed {
    const struct cbt_notification *note;
    const struct cbt_note_object *object;
    uint64_t replaced; /* bits of keys that do not pass as they came: written by a rule, or not at all */
    bool any;          /* the writer's: a member has been written */
    unsigned ioc_md5;  /* token in the object ioc_type, 0 where there is none */
    uint32_t ip[NOTE_IPS];
    struct {
        struct cbt_text guid; /* as it is written in the text; data is NULL where the rule makes none */
        uint64_t segment;
    } side[NOTE_SIDES];
};

/* Applies all rules; `alert`: the notification is of a type alert.*. */
void cbt_json_read_rules(struct cbt_json_fixed *f, bool alert, bool links);

/* The GUID of a side as it goes out: the rule's, or a string or number that came. */
bool cbt_json_guid_of(const struct cbt_json_fixed *f, unsigned side, struct cbt_text *ret_guid);

static inline bool cbt_json_is_replaced(const struct cbt_json_fixed *f, enum cbt_note_key key)
{
    return (f->replaced >> key & 1) != 0;
}

#endif
