/* SPDX-License-Identifier: MIT */
/*
 * What of a file cannot become events: a dead letter that names the file and the place. What is larger than
 * frame_max_bytes goes into dead_letter_dir, piece by piece. Where it cannot be kept there the file is let
 * go, unsettled: it is neither removed nor forgotten, and tried again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cbtap/dead_letter_dir.h"
#include "cbtap/log.h"
#include "ingest/archive.h"

#define PIECE_BYTES (64u * 1024)

static int keep(struct cbt_archive *self, uint64_t bytes, const struct cbt_dead_letter_info *info,
                struct cbt_err *err)
{
    struct cbt_file_reader *r = &self->reader;
    const char *dir = cbt_receiver_dead_letter_dir(self->receiver);
    struct cbt_dead_letter_file *file = NULL;
    if (!dir)
        return cbt_err_set(err, CBT_EREFUSED, "no dead_letter_dir is configured");
    int rc = cbt_dead_letter_begin(&file, dir, info, err);
    if (rc != 0)
        return rc;
    while (bytes > 0 && rc == 0) {
        size_t piece = bytes < PIECE_BYTES ? (size_t)bytes : PIECE_BYTES;
        if (!cbt_file_reader_want(r, piece))
            rc = cbt_err_set(err, CBT_EIO, "the file cannot be read: %s", strerror(r->error));
        else if (cbt_file_reader_has(r) < piece)
            piece = cbt_file_reader_has(r);
        if (rc == 0 && piece == 0)
            break; /* it was cut meanwhile: what there is is kept */
        if (rc == 0)
            rc = cbt_dead_letter_append(file, r->data + r->pos, piece, err);
        if (rc == 0)
            cbt_file_reader_skip(r, piece);
        bytes -= piece;
    }
    if (rc == 0)
        return cbt_dead_letter_commit(file, err);
    cbt_dead_letter_abort(file);
    return rc;
}

int cbt_archive_spill(struct cbt_archive *self, uint64_t bytes, enum cbt_dead_reason reason,
                      const char *detail)
{
    struct cbt_err err = {0};
    struct cbt_frame *frame = cbt_archive_take(self, 0);
    if (!frame)
        return CBT_ELIMIT;
    const struct cbt_dead_letter_info info = {
        .reason = cbt_dead_reason_name(reason),
        .detail = detail,
        .source = self->config->name,
        .file = frame->file,
        .framing =
            cbt_framing_name(self->cut.kind == CBT_CUT_BUNDLE ? CBT_FRAMING_BUNDLE : CBT_FRAMING_DETECT),
        .env = self->env,
        .sensor_id = self->env.sensor_id,
        .index = self->index,
        .offset = self->reader.offset};
    if (keep(self, bytes, &info, &err) != 0) {
        cbt_receiver_untake(self->receiver, frame);
        cbt_log_error("a file cannot be delivered: what is larger than frame_max_bytes must go into "
                      "dead_letter_dir, which does not take it; it is tried again later",
                      CBT_S("source", self->config->name), CBT_S("file", self->reading->path),
                      CBT_I("offset", self->reader.offset), CBT_S("reason", err.text));
        cbt_archive_stop_reading(self, true);
        return 0;
    }
    cbt_log_warning("a part of a file is in dead_letter_dir", CBT_S("source", self->config->name),
                    CBT_S("file", self->reading->path), CBT_I("bytes", bytes),
                    CBT_S("reason", cbt_dead_reason_name(reason)), CBT_S("detail", detail));
    frame->spilled = frame->broken = true;
    frame->broken_reason = reason;
    self->index++;
    cbt_archive_push(self, frame, self->reader.offset, self->index);
    return 1;
}

int cbt_archive_set_aside(struct cbt_archive *self)
{
    struct cbt_file_reader *r = &self->reader;
    uint64_t size = r->size;
    cbt_file_reader_raw(r);
    self->index = 0;
    if (size > cbt_receiver_frame_max_bytes(self->receiver)) {
        int rc = cbt_archive_spill(self, size, self->broken_reason, self->broken_detail);
        self->is_aside = rc == 1;
        return rc;
    }
    struct cbt_frame *frame = cbt_archive_take(self, (size_t)size);
    if (!frame)
        return CBT_ELIMIT;
    size_t got = cbt_file_reader_get(r, (uint8_t *)(uintptr_t)frame->body.data, (size_t)size);
    if (got == SIZE_MAX) {
        cbt_receiver_untake(self->receiver, frame);
        cbt_archive_stop_reading(self, true);
        return 0;
    }
    frame->body.len = got;
    frame->broken = true;
    frame->broken_reason = self->broken_reason;
    frame->broken_detail = self->broken_detail;
    cbt_log_warning("a file is broken: it becomes a dead letter", CBT_S("source", self->config->name),
                    CBT_S("file", self->reading->path),
                    CBT_S("reason", cbt_dead_reason_name(self->broken_reason)),
                    CBT_S("detail", self->broken_detail));
    self->is_aside = true;
    cbt_count(self->stats, CBT_COUNT_archive_broken_files, 1);
    cbt_archive_push(self, frame, got, 0);
    return 1;
}
