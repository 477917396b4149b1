/* SPDX-License-Identifier: MIT */
/* What a sink knows of a dead letter, put into a file of dead_letter_dir. */
#include "sink/dead_letter.h"

#include "cbtap/dead_letter_dir.h"
#include "cbtap/source.h"

const char *dead_letter_source(const struct cbt_frame *frame)
{
    if (frame->source != NULL)
        return frame->source;
    return frame->receiver != NULL ? cbt_receiver_name(frame->receiver) : "";
}

int dead_letter_store(const char *dir, const struct cbt_record *record, struct cbt_err *err)
{
    const struct cbt_frame *frame = record->frame;
    const struct cbt_dead_letter *dead = record->dead;
    const struct cbt_dead_letter_info info = {
        .reason = cbt_dead_reason_name(dead->reason),
        .detail = dead->detail,
        .source = dead_letter_source(frame),
        .routing_key = frame->routing_key,
        .content_type = frame->content_type,
        .file = frame->file,
        .framing = dead->reason == CBT_DEAD_refused ? "" : cbt_framing_name(dead->framing),
        .env = frame->env,
        .sensor_id = record->sensor_id,
        .entry = dead->entry,
        .index = dead->index,
        .offset = dead->offset,
        .replays = frame->replays,
    };
    if (dir[0] == '\0')
        return cbt_err_set(err, CBT_EINVAL, "dead_letter_dir is not set");
    struct cbt_dead_letter_file *file = NULL;
    int rc = cbt_dead_letter_begin(&file, dir, &info, err);
    if (rc != 0)
        return rc;
    if ((rc = cbt_dead_letter_append(file, record->value, record->value_len, err)) != 0) {
        cbt_dead_letter_abort(file);
        return rc;
    }
    return cbt_dead_letter_commit(file, err);
}
