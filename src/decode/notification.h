/* SPDX-License-Identifier: MIT */
/* The steps of decoding a notification: which keys count, what its query says. */
#ifndef CBTAP_DECODE_NOTIFICATION_H
#define CBTAP_DECODE_NOTIFICATION_H

#include "cbtap/arena.h"
#include "cbtap/notification.h"

/* Finds the keys that come twice in any object: sets note->marks (to memory of the arena, returned, for
 * cbt_note_mark) and note->cuts. NULL where the arena is full. Takes n log n of the text. */
uint8_t *cbt_note_find_twice(struct cbt_notification *note, struct cbt_arena *arena);

/* Marks the known keys of an object. */
void cbt_note_mark(const struct cbt_notification *note, uint8_t *marks, unsigned object);

/* Finds the values of an object's known keys, by its marks; leaves `query` NULL. */
void cbt_note_collect(const struct cbt_notification *note, unsigned object, struct cbt_note_object *ret);

/* Decodes ioc_value where ioc_type is "query" and it is a query; else *ret_query is NULL. False where the
 * arena is full. */
bool cbt_note_read_query(const struct cbt_notification *note, const struct cbt_note_object *object,
                         struct cbt_arena *arena, struct cbt_note_query **ret_query);

#endif
