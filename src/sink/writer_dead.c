/* SPDX-License-Identifier: MIT */
/*
 * Dead letters of a writer: files in dead_letter_dir, whatever the state of the channel.
 *
 * Failure: where a file cannot be written, its message stays unsettled, and it is tried again every 5 s.
 */
#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/dead_letter.h"
#include "sink/writer.h"

#define RETRY_MS     5000
#define STEP_RECORDS 64 /* then the events have their turn */

void writer_dead_add(struct writer *w, struct cbt_record *record)
{
    record->next = NULL;
    *w->dead_end = record;
    w->dead_end = &record->next;
}

void writer_refuse_cursor(struct writer *w)
{
    struct cbt_record *record = w->cursor, **link = &w->head;
    while (*link != record)
        link = &(*link)->next;
    *link = record->next;
    if (w->tail == &record->next)
        w->tail = link;
    w->cursor = record->next;
    w->offset = 0;
    record->dead = &w->too_large;
    /* As an event it is done with; it goes on as a dead letter. */
    cbt_count(w->context.stats, CBT_COUNT_settled_records, 1);
    cbt_add(&w->context.stats->dead[CBT_DEAD_refused], 1);
    cbt_frame_note_dead(record->frame, CBT_DEAD_refused);
    writer_dead_add(w, record);
}

void writer_dead_serve(struct writer *w, int64_t now_ns)
{
    const char *dir = w->context.config->dead_letter_dir;
    struct cbt_err err = {0};
    if (w->dead == NULL || now_ns < w->dead_retry_ns)
        return;
    for (unsigned i = 0; i < STEP_RECORDS && w->dead != NULL; i++) {
        struct cbt_record *record = w->dead;
        if (dead_letter_store(dir, record, &err) != 0) {
            w->dead_retry_ns = now_ns + RETRY_MS * WRITER_NS_PER_MS;
            if (!w->dead_stuck)
                cbt_log_error("a dead letter cannot be kept: what it was made from stays unacknowledged, and "
                              "reading will stop; trying again every 5 s",
                              CBT_S("sink", w->name), CBT_S("dead_letter_dir", dir),
                              CBT_S("reason", err.text));
            w->dead_stuck = true;
            return;
        }
        if (w->dead_stuck)
            cbt_log_info("dead letters are kept again", CBT_S("sink", w->name));
        w->dead_stuck = false;
        w->dead = record->next;
        if (w->dead == NULL)
            w->dead_end = &w->dead;
        cbt_count(w->context.stats, CBT_COUNT_stored_dead_letters, 1);
        writer_settle(w, record);
    }
}
