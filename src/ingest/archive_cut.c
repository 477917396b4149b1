/* SPDX-License-Identifier: MIT */
/*
 * From a file to frames: each piece of it (file_cut.h) is one, so that after a crash the same come again.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cbtap/log.h"
#include "ingest/archive.h"

void cbt_archive_stop_reading(struct cbt_archive *self, bool failed)
{
    struct cbt_archive_file *file = self->reading;
    self->reading = NULL;
    file->is_cut = true;
    file->failed = failed;
    cbt_file_reader_close(&self->reader);
    cbt_archive_file_ends(self, file);
}

/* The end of the file is reached; it is delivered when its cuts are, if it is still the same file. */
static int end_of_file(struct cbt_archive *self)
{
    struct statx stx;
    struct cbt_archive_file *file = self->reading;
    bool same = false;
    if (statx(self->reader.fd, "", AT_EMPTY_PATH, CBT_ARCHIVE_STATX, &stx) == 0) {
        struct cbt_archive_key key = cbt_archive_key_of(&stx);
        same = key.hi == file->key.hi && key.lo == file->key.lo;
        file->changed = !same;
    }
    if (!same)
        cbt_log_warning("a file was changed while it was read: it will be delivered again, whole; where its "
                        "writer pauses for so long, raise quiet_ms",
                        CBT_S("source", self->config->name), CBT_S("file", file->path));
    cbt_archive_stop_reading(self, !same);
    return 0;
}

static int cannot_read(struct cbt_archive *self)
{
    cbt_log_error("a file cannot be read on: it is tried again later, from where it is delivered",
                  CBT_S("source", self->config->name), CBT_S("file", self->reading->path),
                  CBT_I("offset", self->reader.offset), CBT_S("reason", strerror(self->reader.error)));
    cbt_archive_stop_reading(self, true);
    return 0;
}

static void choose_lane(struct cbt_archive *self, struct cbt_text cut)
{
    if (self->has_lane || self->env.has_sensor_id)
        return;
    self->has_lane = true;
    if (!cbt_peek_sensor_id(cut, (struct cbt_text){0}, CBT_FRAMING_BUNDLE, &self->lane))
        self->lane = 0;
}

static int push_records(struct cbt_archive *self)
{
    struct cbt_file_reader *r = &self->reader;
    const uint8_t *data = r->data + r->pos;
    size_t bytes = (size_t)self->cut.bytes;
    choose_lane(self, (struct cbt_text){data, bytes});
    struct cbt_frame *frame = cbt_archive_take(self, bytes);
    if (!frame)
        return CBT_ELIMIT;
    memcpy((uint8_t *)(uintptr_t)frame->body.data, data, bytes);
    frame->framing = CBT_FRAMING_BUNDLE;
    cbt_file_reader_skip(r, bytes);
    self->index += self->cut.records;
    cbt_count(self->stats, CBT_COUNT_archive_records, self->cut.records);
    cbt_archive_push(self, frame, r->offset, self->index);
    return 1;
}

/* Read at once to where it goes: it may be large. */
static int push_whole(struct cbt_archive *self)
{
    struct cbt_file_reader *r = &self->reader;
    struct cbt_frame *frame = cbt_archive_take(self, (size_t)self->cut.bytes);
    if (!frame)
        return CBT_ELIMIT;
    size_t got = cbt_file_reader_get(r, (uint8_t *)(uintptr_t)frame->body.data, (size_t)self->cut.bytes);
    if (got == SIZE_MAX) {
        cbt_receiver_untake(self->receiver, frame);
        return cannot_read(self);
    }
    frame->body.len = got;
    frame->framing = CBT_FRAMING_DETECT;
    cbt_archive_push(self, frame, r->offset, 0);
    return 1;
}

static int break_off(struct cbt_archive *self, enum cbt_dead_reason reason, const char *detail)
{
    self->is_broken = true;
    self->broken_reason = reason;
    self->broken_detail = detail;
    return cbt_archive_set_aside(self);
}

static int too_large(struct cbt_archive *self)
{
    bool is_record = self->cut.kind == CBT_CUT_BUNDLE;
    char detail[128];
    if (self->reader.gzip)
        return break_off(self, CBT_DEAD_frame_too_large,
                         is_record ? "a record of it is larger than frame_max_bytes: the whole file is here"
                                   : "it inflates to no bundle and to more than frame_max_bytes");
    snprintf(detail, sizeof detail, "%s has %" PRIu64 " bytes, frame_max_bytes is %zu",
             is_record ? "a record" : "the file", self->cut.need,
             cbt_receiver_frame_max_bytes(self->receiver));
    return cbt_archive_spill(self, self->cut.bytes, CBT_DEAD_frame_too_large, detail);
}

int cbt_archive_cut_next(struct cbt_archive *self)
{
    struct cbt_file_reader *r = &self->reader;
    if (self->is_broken)
        return self->is_aside ? end_of_file(self) : cbt_archive_set_aside(self);
    switch (cbt_cut_next(&self->cut, r, cbt_receiver_frame_max_bytes(self->receiver))) {
    case CBT_CUT_PIECE:
    case CBT_CUT_TORN:
        return self->cut.kind == CBT_CUT_BUNDLE ? push_records(self) : push_whole(self);
    case CBT_CUT_TOO_LARGE:
        return too_large(self);
    case CBT_CUT_BROKEN:
        return break_off(self, CBT_DEAD_gzip_malformed, r->fault);
    case CBT_CUT_FAILED:
        return cannot_read(self);
    default:
        return end_of_file(self);
    }
}
