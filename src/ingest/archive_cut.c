/* SPDX-License-Identifier: MIT */
/*
 * From a file to frames. A bundle is cut between records, so that each cut is a bundle by itself; a cut's end
 * depends on its beginning alone, so that after a crash the same cuts come again. What is no bundle goes as
 * one frame, and is told apart by the decoder (kind.c) as from every other source.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cbtap/log.h"
#include "decode/kind.h"
#include "ingest/archive.h"

void cbt_archive_stop_reading(struct cbt_archive *self, bool failed)
{
    struct cbt_archive_file *file = self->reading;
    self->reading = NULL;
    file->is_cut = true;
    file->failed = failed;
    cbt_archive_reader_close(&self->reader);
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

/* spec bus.md: what a bundle looks like. How long what comes out of gzip is nobody knows yet. */
static enum cbt_archive_kind kind_of(const struct cbt_archive_reader *r)
{
    const uint8_t *data = r->data + r->pos;
    size_t len = cbt_archive_reader_has(r);
    if (len < 5 || data[4] != 0x0A)
        return CBT_ARCHIVE_WHOLE;
    uint32_t record = cbt_le32(data);
    bool fits = r->gzip && !r->at_end ? true : record <= (r->gzip ? len : r->size) - 4;
    return fits ? CBT_ARCHIVE_BUNDLE : CBT_ARCHIVE_WHOLE;
}

/* Whole records up to CBT_ARCHIVE_CUT_BYTES; where there is none, what the first one needs. */
static size_t measure(const struct cbt_archive_reader *r, uint32_t *ret_records, uint64_t *ret_need)
{
    const uint8_t *data = r->data + r->pos;
    size_t len = cbt_archive_reader_has(r), at = 0;
    if (len > CBT_ARCHIVE_CUT_BYTES)
        len = CBT_ARCHIVE_CUT_BYTES;
    *ret_records = 0;
    *ret_need = len < 4 ? 4 : UINT64_C(4) + cbt_le32(data);
    while (len - at >= 4 && cbt_le32(data + at) <= len - at - 4) {
        at += 4 + (size_t)cbt_le32(data + at);
        (*ret_records)++;
    }
    return at;
}

static void choose_lane(struct cbt_archive *self, struct cbt_text cut)
{
    if (self->has_lane || self->env.has_sensor_id)
        return;
    self->has_lane = true;
    if (!cbt_peek_sensor_id(cut, (struct cbt_text){0}, CBT_FRAMING_BUNDLE, &self->lane))
        self->lane = 0;
}

static int push_records(struct cbt_archive *self, size_t bytes, uint32_t records)
{
    struct cbt_archive_reader *r = &self->reader;
    const uint8_t *data = r->data + r->pos;
    choose_lane(self, (struct cbt_text){data, bytes});
    struct cbt_frame *frame = cbt_archive_take(self, bytes);
    if (!frame)
        return CBT_ELIMIT;
    memcpy((uint8_t *)(uintptr_t)frame->body.data, data, bytes);
    frame->framing = CBT_FRAMING_BUNDLE;
    cbt_archive_reader_skip(r, bytes);
    self->index += records;
    cbt_count(self->stats, CBT_COUNT_archive_records, records);
    cbt_archive_push(self, frame, r->offset, self->index);
    return 1;
}

static int break_off(struct cbt_archive *self, enum cbt_dead_reason reason, const char *detail)
{
    self->kind = CBT_ARCHIVE_BROKEN;
    self->broken_reason = reason;
    self->broken_detail = detail;
    return cbt_archive_set_aside(self);
}

/* A record that is larger than a cut, or the torn end. */
static int cut_large(struct cbt_archive *self, uint64_t need)
{
    struct cbt_archive_reader *r = &self->reader;
    size_t max = cbt_receiver_frame_max_bytes(self->receiver);
    char detail[128];
    if (r->fault)
        return break_off(self, CBT_DEAD_gzip_malformed, r->fault);
    uint64_t left = r->gzip ? need : r->size - r->offset;
    uint64_t bytes = need < left ? need : left;
    if (bytes > max && r->gzip)
        return break_off(self, CBT_DEAD_frame_too_large,
                         "a record of it is larger than frame_max_bytes: the whole file is here");
    if (bytes > max) {
        snprintf(detail, sizeof detail, "a record has %" PRIu64 " bytes, frame_max_bytes is %zu", need, max);
        return cbt_archive_spill(self, bytes, CBT_DEAD_frame_too_large, detail);
    }
    if (!cbt_archive_reader_want(r, (size_t)bytes))
        return cannot_read(self);
    size_t has = cbt_archive_reader_has(r);
    if (has < bytes && r->fault)
        return break_off(self, CBT_DEAD_gzip_malformed, r->fault);
    return push_records(self, has < bytes ? has : (size_t)bytes, 1);
}

static int cut_bundle(struct cbt_archive *self)
{
    uint32_t records;
    uint64_t need;
    size_t bytes = measure(&self->reader, &records, &need);
    return bytes > 0 ? push_records(self, bytes, records) : cut_large(self, need);
}

static int cut_whole(struct cbt_archive *self)
{
    struct cbt_archive_reader *r = &self->reader;
    size_t max = cbt_receiver_frame_max_bytes(self->receiver);
    char detail[128];
    if (!r->gzip && r->size > max) {
        snprintf(detail, sizeof detail, "the file has %" PRIu64 " bytes, frame_max_bytes is %zu", r->size,
                 max);
        return cbt_archive_spill(self, r->size, CBT_DEAD_frame_too_large, detail);
    }
    if (r->gzip && !cbt_archive_reader_want(r, max + 1))
        return cannot_read(self);
    if (r->fault)
        return break_off(self, CBT_DEAD_gzip_malformed, r->fault);
    if (r->gzip && cbt_archive_reader_has(r) > max)
        return break_off(self, CBT_DEAD_frame_too_large,
                         "it inflates to no bundle and to more than frame_max_bytes");
    size_t bytes = r->gzip ? cbt_archive_reader_has(r) : (size_t)r->size;
    struct cbt_frame *frame = cbt_archive_take(self, bytes);
    if (!frame)
        return CBT_ELIMIT;
    size_t got = cbt_archive_reader_get(r, (uint8_t *)(uintptr_t)frame->body.data, bytes);
    if (got == SIZE_MAX) {
        cbt_receiver_untake(self->receiver, frame);
        return cannot_read(self);
    }
    frame->body.len = got;
    frame->framing = CBT_FRAMING_DETECT;
    cbt_archive_push(self, frame, r->offset, 0);
    return 1;
}

int cbt_archive_cut_next(struct cbt_archive *self)
{
    struct cbt_archive_reader *r = &self->reader;
    if (self->kind == CBT_ARCHIVE_BROKEN)
        return self->is_aside ? end_of_file(self) : cbt_archive_set_aside(self);
    if (!cbt_archive_reader_want(r, CBT_ARCHIVE_CUT_BYTES))
        return cannot_read(self);
    if (cbt_archive_reader_has(r) == 0)
        return r->fault ? break_off(self, CBT_DEAD_gzip_malformed, r->fault) : end_of_file(self);
    if (self->kind == CBT_ARCHIVE_UNKNOWN)
        self->kind = kind_of(r);
    return self->kind == CBT_ARCHIVE_BUNDLE ? cut_bundle(self) : cut_whole(self);
}
