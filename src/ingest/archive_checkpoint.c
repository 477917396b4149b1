/* SPDX-License-Identifier: MIT */
/* The archive's checkpoint in memory: see archive_checkpoint.h. */
#include "ingest/archive_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "ingest/archive_checkpoint_file.h"

#define STALE_RECORDS_MIN 1024 /* below, a rewrite is not worth its fsyncs */

struct cbt_archive_key cbt_archive_key_of(const struct statx *stx)
{
    const uint64_t parts[] = {
        (uint64_t)stx->stx_dev_major << 32 | stx->stx_dev_minor,
        stx->stx_ino,
        stx->stx_size,
        (uint64_t)stx->stx_mtime.tv_sec,
        stx->stx_mtime.tv_nsec,
        (stx->stx_mask & STATX_BTIME) != 0 ? (uint64_t)stx->stx_btime.tv_sec : 0,
        (stx->stx_mask & STATX_BTIME) != 0 ? stx->stx_btime.tv_nsec : 0,
    };
    XXH128_hash_t hash = XXH3_128bits(parts, sizeof parts);
    struct cbt_archive_key key = {hash.high64, hash.low64 & ~CBT_ARCHIVE_SET_BITS};
    if (key.hi == 0 && key.lo == 0)
        key.hi = 1;
    return key;
}

static char *suffixed(const char *path, const char *suffix)
{
    char *text = NULL;
    return asprintf(&text, "%s%s", path, suffix) < 0 ? NULL : text;
}

int cbt_archive_checkpoint_open(struct cbt_archive_checkpoint **ret_checkpoint, const char *path,
                                const char *source, struct cbt_err *err)
{
    struct cbt_archive_checkpoint *c = calloc(1, sizeof *c);
    if (!c)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    c->lock_fd = c->dir_fd = c->fd = -1;
    c->source = source;
    c->path = strdup(path);
    c->aside = suffixed(path, ".new");
    c->lock_path = suffixed(path, ".lock");
    int rc = c->path && c->aside && c->lock_path ? cbt_archive_checkpoint_file_open(c, err)
                                                 : cbt_err_set(err, CBT_ENOMEM, "out of memory");
    if (rc != 0) {
        cbt_archive_checkpoint_close(c);
        return rc;
    }
    *ret_checkpoint = c;
    return 0;
}

void cbt_archive_checkpoint_close(struct cbt_archive_checkpoint *c)
{
    if (!c)
        return;
    cbt_archive_checkpoint_file_close(c);
    cbt_archive_set_free(&c->set);
    free(c->progress);
    free(c->out);
    free(c->path);
    free(c->aside);
    free(c->lock_path);
    free(c);
}

static struct cbt_archive_progress *find_progress(const struct cbt_archive_checkpoint *c,
                                                  struct cbt_archive_key key)
{
    for (size_t i = 0; i < c->progress_count; i++)
        if (c->progress[i].key.hi == key.hi && c->progress[i].key.lo == key.lo)
            return &c->progress[i];
    return NULL;
}

static void drop_progress(struct cbt_archive_checkpoint *c, struct cbt_archive_key key)
{
    struct cbt_archive_progress *p = find_progress(c, key);
    if (p)
        *p = c->progress[--c->progress_count];
}

/* Without memory the file is only repeated from an earlier place. */
static struct cbt_archive_progress *set_progress(struct cbt_archive_checkpoint *c, struct cbt_archive_key key,
                                                 uint64_t offset, uint32_t index)
{
    struct cbt_archive_progress *p = find_progress(c, key);
    if (!p && c->progress_count == c->progress_capacity) {
        size_t capacity = c->progress_capacity > 0 ? 2 * c->progress_capacity : 16;
        struct cbt_archive_progress *grown = realloc(c->progress, capacity * sizeof *grown);
        if (!grown)
            return NULL;
        c->progress = grown;
        c->progress_capacity = capacity;
    }
    if (!p)
        p = &c->progress[c->progress_count++];
    *p = (struct cbt_archive_progress){.key = key, .offset = offset, .index = index};
    return p;
}

/* Appended at the next write; where there is no memory for it, all is written anew then. */
static void put_record(struct cbt_archive_checkpoint *c, struct cbt_archive_key key, uint64_t offset,
                       uint32_t index)
{
    if (c->rewrite)
        return;
    if (c->out_bytes == c->out_capacity) {
        size_t capacity = c->out_capacity > 0 ? 2 * c->out_capacity : 64 * CBT_ARCHIVE_RECORD_BYTES;
        uint8_t *grown = realloc(c->out, capacity);
        if (!grown) {
            c->rewrite = true;
            return;
        }
        c->out = grown;
        c->out_capacity = capacity;
    }
    cbt_archive_record_encode(c->out + c->out_bytes, key, offset, index);
    c->out_bytes += CBT_ARCHIVE_RECORD_BYTES;
}

static bool set_done(struct cbt_archive_checkpoint *c, struct cbt_archive_key key)
{
    struct cbt_archive_key *slot = cbt_archive_set_add(&c->set, key);
    if (!slot)
        return false;
    c->done += (slot->lo & CBT_ARCHIVE_SET_DONE) == 0;
    slot->lo = (slot->lo & ~CBT_ARCHIVE_SET_BITS) | CBT_ARCHIVE_SET_DONE | c->mark;
    drop_progress(c, key);
    return true;
}

bool cbt_archive_checkpoint_load(struct cbt_archive_checkpoint *c, struct cbt_archive_key key,
                                 uint64_t offset, uint32_t index)
{
    if ((key.hi == 0 && key.lo == 0) || (key.lo & CBT_ARCHIVE_SET_BITS) != 0)
        return true;
    if (offset == CBT_ARCHIVE_ALL)
        return set_done(c, key);
    return set_progress(c, key, offset, index) != NULL;
}

enum cbt_archive_state cbt_archive_checkpoint_look(struct cbt_archive_checkpoint *c,
                                                   struct cbt_archive_key key)
{
    struct cbt_archive_key *slot = cbt_archive_set_find(&c->set, key);
    if (!slot)
        return CBT_ARCHIVE_NEW;
    slot->lo = (slot->lo & ~CBT_ARCHIVE_SET_MARK) | c->mark;
    if ((slot->lo & CBT_ARCHIVE_SET_DONE) == 0)
        return CBT_ARCHIVE_IN_FLIGHT;
    c->seen_done++;
    return CBT_ARCHIVE_DONE;
}

bool cbt_archive_checkpoint_begin(struct cbt_archive_checkpoint *c, struct cbt_archive_key key,
                                  struct cbt_archive_progress *ret_progress)
{
    struct cbt_archive_key *slot = cbt_archive_set_add(&c->set, key);
    const struct cbt_archive_progress *p = find_progress(c, key);
    if (!slot)
        return false;
    slot->lo = (slot->lo & ~CBT_ARCHIVE_SET_BITS) | c->mark;
    *ret_progress = p ? *p : (struct cbt_archive_progress){.key = key};
    return true;
}

void cbt_archive_checkpoint_advance(struct cbt_archive_checkpoint *c, struct cbt_archive_key key,
                                    uint64_t offset, uint32_t index)
{
    struct cbt_archive_progress *p = set_progress(c, key, offset, index);
    if (p)
        p->changed = true;
}

void cbt_archive_checkpoint_done(struct cbt_archive_checkpoint *c, struct cbt_archive_key key)
{
    /* It is in the set, as one in flight. */
    if (set_done(c, key))
        put_record(c, key, CBT_ARCHIVE_ALL, 0);
}

void cbt_archive_checkpoint_let_go(struct cbt_archive_checkpoint *c, struct cbt_archive_key key)
{
    const struct cbt_archive_key *slot = cbt_archive_set_find(&c->set, key);
    if (slot && (slot->lo & CBT_ARCHIVE_SET_DONE) == 0)
        cbt_archive_set_remove(&c->set, key);
}

void cbt_archive_checkpoint_forget(struct cbt_archive_checkpoint *c, struct cbt_archive_key key)
{
    const struct cbt_archive_key *slot = cbt_archive_set_find(&c->set, key);
    if (!slot)
        return;
    c->done -= (slot->lo & CBT_ARCHIVE_SET_DONE) != 0;
    cbt_archive_set_remove(&c->set, key);
    drop_progress(c, key);
}

void cbt_archive_checkpoint_scan_begins(struct cbt_archive_checkpoint *c)
{
    c->mark ^= CBT_ARCHIVE_SET_MARK;
    c->seen_done = 0;
}

static bool is_seen(struct cbt_archive_key slot, void *arg)
{
    const struct cbt_archive_checkpoint *c = arg;
    return (slot.lo & CBT_ARCHIVE_SET_DONE) == 0 || (slot.lo & CBT_ARCHIVE_SET_MARK) == c->mark;
}

void cbt_archive_checkpoint_scan_ends(struct cbt_archive_checkpoint *c, bool complete)
{
    if (complete && c->seen_done > 0)
        c->done -= cbt_archive_set_keep(&c->set, is_seen, c);
}

bool cbt_archive_checkpoint_dirty(const struct cbt_archive_checkpoint *c)
{
    bool dirty = c->rewrite || c->out_bytes > 0;
    for (size_t i = 0; i < c->progress_count && !dirty; i++)
        dirty = c->progress[i].changed;
    return dirty;
}

int cbt_archive_checkpoint_write(struct cbt_archive_checkpoint *c, struct cbt_err *err)
{
    for (size_t i = 0; i < c->progress_count; i++)
        if (c->progress[i].changed)
            put_record(c, c->progress[i].key, c->progress[i].offset, c->progress[i].index);
    uint64_t records = (c->file_bytes + c->out_bytes) / CBT_ARCHIVE_RECORD_BYTES;
    bool stale = records > 2 * (uint64_t)(c->done + c->progress_count) + STALE_RECORDS_MIN;
    int rc = 0;
    if (!c->rewrite && !stale && c->out_bytes > 0)
        rc = cbt_archive_checkpoint_append(c, err);
    else if (c->rewrite || stale)
        rc = cbt_archive_checkpoint_rewrite(c, err);
    /* What could not be appended is in the set: no list of it need grow while the disk is full. */
    c->rewrite = rc != 0;
    c->out_bytes = 0;
    if (rc == 0)
        for (size_t i = 0; i < c->progress_count; i++)
            c->progress[i].changed = false;
    return rc;
}

size_t cbt_archive_checkpoint_done_count(const struct cbt_archive_checkpoint *c)
{
    return c->done;
}

size_t cbt_archive_checkpoint_memory_bytes(const struct cbt_archive_checkpoint *c)
{
    return sizeof *c + c->set.capacity * sizeof *c->set.slots + c->out_capacity +
           c->progress_capacity * sizeof *c->progress;
}

uint64_t cbt_archive_checkpoint_file_bytes(const struct cbt_archive_checkpoint *c)
{
    return c->file_bytes;
}
