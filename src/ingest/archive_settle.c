/* SPDX-License-Identifier: MIT */
/*
 * From frames to settled files: cuts have consecutive numbers and settle in any order; a file's prefix of
 * settled cuts is what the checkpoint says of it, and when the last is settled the file is done.
 *
 * Order of what is made durable: first the checkpoint says that a file is delivered, then it is removed or
 * moved. A crash in between finds it delivered, and removes it then. Where the checkpoint cannot be written
 * that is done all the same: it is delivered, and gives back room.
 */
#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "ingest/archive.h"

#define NS_PER_MS   INT64_C(1000000)
#define PENDING_MAX 4096 /* beyond, a scan that finds them does it itself */

static struct cbt_archive_cut *cut_of(const struct cbt_archive *self, uint64_t seq)
{
    return &self->cuts[seq % CBT_ARCHIVE_FRAMES_MAX];
}

/* A frame of the file at hand, with the file's name behind its body; NULL: no room. */
struct cbt_frame *cbt_archive_take(struct cbt_archive *self, size_t bytes)
{
    const struct cbt_archive_file *file = self->reading;
    const char *root = self->config->archive.path;
    size_t root_len = strlen(root), path_len = strlen(file->path);
    if (self->next_seq - self->head_seq == CBT_ARCHIVE_FRAMES_MAX)
        return NULL;
    struct cbt_frame *frame = cbt_receiver_take(self->receiver, bytes + root_len + 1 + path_len);
    if (!frame)
        return NULL;
    uint8_t *name = (uint8_t *)(uintptr_t)frame->body.data + bytes;
    memcpy(name, root, root_len);
    name[root_len] = '/';
    memcpy(name + root_len + 1, file->path, path_len);
    frame->file = (struct cbt_text){name, root_len + 1 + path_len};
    frame->body.len = bytes;
    frame->file_offset = self->reader.offset;
    frame->file_index = self->index;
    frame->env = self->env;
    frame->has_lane = self->has_lane;
    frame->lane = self->lane;
    frame->token = self->next_seq;
    /* Cuts come again as they were, and the oldest first: what was in flight when a process died is among the
     * first of the next. */
    frame->maybe_again = self->next_seq < CBT_ARCHIVE_FRAMES_MAX;
    frame->poison_tries = CBT_ARCHIVE_POISON_TRIES;
    return frame;
}

void cbt_archive_push(struct cbt_archive *self, struct cbt_frame *frame, uint64_t offset, uint32_t index)
{
    *cut_of(self, self->next_seq) =
        (struct cbt_archive_cut){.file = self->reading, .offset = offset, .index = index};
    self->reading->next_seq = ++self->next_seq;
    cbt_receiver_push(self->receiver, frame);
}

void cbt_archive_add_pending(struct cbt_archive *self, const char *path, struct cbt_archive_key key)
{
    if (self->after.kind == CBT_ARCHIVE_KEEP)
        return;
    if (self->pending_count == self->pending_capacity) {
        size_t capacity = self->pending_capacity > 0 ? 2 * self->pending_capacity : 64;
        struct cbt_archive_pending *grown = realloc(self->pending, capacity * sizeof *grown);
        if (!grown)
            return; /* a scan finds it again */
        self->pending = grown;
        self->pending_capacity = capacity;
    }
    char *copy = strdup(path);
    if (copy)
        self->pending[self->pending_count++] = (struct cbt_archive_pending){copy, key};
    if (self->pending_count >= PENDING_MAX)
        cbt_archive_tick_checkpoint(self, INT64_MAX);
}

static void unlink_file(struct cbt_archive *self, struct cbt_archive_file *file)
{
    if (file->older)
        file->older->newer = file->newer;
    else
        self->oldest = file->newer;
    if (file->newer)
        file->newer->older = file->older;
    else
        self->newest = file->older;
    free(file);
}

static void count_left(struct cbt_archive *self, const struct cbt_archive_file *file)
{
    self->left_files -= self->left_files > 0;
    self->left_bytes -= self->left_bytes > file->size ? file->size : self->left_bytes;
}

void cbt_archive_file_ends(struct cbt_archive *self, struct cbt_archive_file *file)
{
    if (!file->is_cut || file->prefix_seq != file->next_seq)
        return;
    count_left(self, file);
    if (file->failed) {
        self->failed = true;
        /* Nobody will ask again how far the file was that is no more. */
        (file->changed ? cbt_archive_checkpoint_forget : cbt_archive_checkpoint_let_go)(self->checkpoint,
                                                                                        file->key);
    } else {
        cbt_archive_checkpoint_done(self->checkpoint, file->key);
        cbt_archive_add_pending(self, file->path, file->key);
        cbt_count(self->stats, CBT_COUNT_archive_files, 1);
        cbt_count(self->stats, CBT_COUNT_archive_bytes, file->size);
        self->backlog_files++;
        self->backlog_bytes += file->size;
    }
    unlink_file(self, file);
}

static void settle_one(struct cbt_archive *self, uint64_t seq)
{
    struct cbt_archive_cut *cut = cut_of(self, seq);
    struct cbt_archive_file *file = cut->file;
    uint64_t before = file->prefix_seq;
    cut->settled = true;
    while (file->prefix_seq < file->next_seq && cut_of(self, file->prefix_seq)->settled) {
        cut = cut_of(self, file->prefix_seq++);
        cut->passed = true;
    }
    while (self->head_seq < self->next_seq && cut_of(self, self->head_seq)->passed)
        self->head_seq++;
    /* Here `cut` is the last of the prefix; a file of one frame is never half-way. */
    if (file->prefix_seq > before && !(file->is_cut && file->prefix_seq == file->next_seq) && cut->index > 0)
        cbt_archive_checkpoint_advance(self->checkpoint, file->key, cut->offset, cut->index);
    cbt_archive_file_ends(self, file);
}

int cbt_archive_settle(void *arg, struct cbt_frame *const done[], size_t count, struct cbt_err *err)
{
    struct cbt_archive *self = arg;
    (void)err;
    for (size_t i = 0; i < count; i++)
        settle_one(self, done[i]->token);
    cbt_count(self->stats, CBT_COUNT_settled_frames, count);
    cbt_archive_tick_checkpoint(self, cbt_now_ns());
    return 0;
}

static void write_checkpoint(struct cbt_archive *self)
{
    struct cbt_err err = {0};
    if (!cbt_archive_checkpoint_dirty(self->checkpoint))
        return;
    int rc = cbt_archive_checkpoint_write(self->checkpoint, &err);
    if (rc != 0 && !self->checkpoint_failed)
        cbt_log_error(
            "the checkpoint cannot be written: files go on being delivered, and what it does not know "
            "would be delivered again after a restart",
            CBT_S("source", self->config->name), CBT_S("reason", err.text));
    if (rc == 0 && self->checkpoint_failed)
        cbt_log_warning("the checkpoint is written again", CBT_S("source", self->config->name));
    self->checkpoint_failed = rc != 0;
}

static void do_pending(struct cbt_archive *self)
{
    unsigned failures = 0;
    for (size_t i = 0; i < self->pending_count; i++) {
        struct cbt_archive_pending *p = &self->pending[i];
        struct cbt_err err = {0};
        int rc =
            self->root_fd >= 0 ? cbt_archive_after_do(&self->after, self->root_fd, p->path, p->key, &err) : 0;
        if (rc == 1)
            cbt_archive_checkpoint_forget(self->checkpoint, p->key);
        if (rc < 0 && !self->after_failed) {
            self->after_failed = true;
            cbt_log_error("delivered, but cannot be removed or moved: it stays where it is, and is not "
                          "delivered again",
                          CBT_S("source", self->config->name), CBT_S("after", self->config->archive.after),
                          CBT_S("reason", err.text));
        }
        failures += rc < 0;
        self->failed = self->failed || rc < 0;
        free(p->path);
    }
    /* Told again when it has worked in between. */
    if (self->pending_count > 0 && failures == 0)
        self->after_failed = false;
    self->pending_count = 0;
}

void cbt_archive_tick_checkpoint(struct cbt_archive *self, int64_t now_ns)
{
    if (now_ns < self->checkpoint_at_ns)
        return;
    self->checkpoint_at_ns = cbt_now_ns() + (int64_t)self->config->archive.checkpoint_interval_ms * NS_PER_MS;
    write_checkpoint(self);
    do_pending(self);
}
