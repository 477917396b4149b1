/* SPDX-License-Identifier: MIT */
/*
 * The archive source over a tree of the test's own, with the test as its receiver: it shows what it was
 * given, and settles it when it is told to. For one source file of a test.
 */
#ifndef CBTAP_TESTS_ARCHIVE_BED_H
#define CBTAP_TESTS_ARCHIVE_BED_H

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "captured.h"
#include "cbtap/clock.h"
#include "cbtap/source.h"
#include "ingest/archive.h"
#include "pb_build.h"

extern const struct cbt_source cbt_source_archive;

#define BED_FRAMES_MAX 4096

struct cbt_receiver {
    struct cbt_stats stats;
    size_t room; /* frames that it still takes */
    size_t frame_max_bytes;
    const char *dead_letter_dir;
    struct cbt_frame frames[BED_FRAMES_MAX]; /* pushed; body and file are malloc'ed copies */
    size_t count, settled;
};

struct bed {
    struct cbt_receiver receiver;
    struct cbt_source_config config;
    void *source;
    char dir[64], tree[80], dead[80], checkpoint[96], move[96];
};

struct cbt_frame *cbt_receiver_take(struct cbt_receiver *r, size_t bytes)
{
    if (r->room == 0)
        return NULL;
    struct cbt_frame *frame = calloc(1, sizeof *frame);
    uint8_t *data = malloc(bytes + 1);
    assert_true(frame && data);
    frame->body = (struct cbt_text){data, bytes};
    r->room--;
    return frame;
}

void cbt_receiver_untake(struct cbt_receiver *r, struct cbt_frame *frame)
{
    r->room++;
    free((void *)(uintptr_t)frame->body.data);
    free(frame);
}

void cbt_receiver_push(struct cbt_receiver *r, struct cbt_frame *frame)
{
    assert_true(r->count < BED_FRAMES_MAX);
    memcpy(&r->frames[r->count++], frame, sizeof *frame);
    free(frame);
}

struct cbt_stats *cbt_receiver_stats(struct cbt_receiver *r)
{
    return &r->stats;
}

const char *cbt_receiver_name(const struct cbt_receiver *r)
{
    (void)r;
    return "old";
}

size_t cbt_receiver_frame_max_bytes(const struct cbt_receiver *r)
{
    return r->frame_max_bytes;
}

const char *cbt_receiver_dead_letter_dir(const struct cbt_receiver *r)
{
    return r->dead_letter_dir;
}

/* ---- the source's lives ---- */

static inline int bed_try_open(struct bed *bed, struct cbt_err *err)
{
    int rc = cbt_source_archive.open(&bed->source, &bed->config, &bed->receiver, err);
    if (rc == 0)
        rc = cbt_source_archive.start(bed->source, err);
    if (rc != 0) {
        cbt_source_archive.close(bed->source);
        bed->source = NULL;
    }
    return rc;
}

static inline void bed_open(struct bed *bed)
{
    struct cbt_err err = {0};
    if (bed_try_open(bed, &err) != 0 || cbt_source_archive.connect(bed->source, &err) != 0)
        fail_msg("%s", err.text);
}

/* What the source is inside. */
static inline struct cbt_archive *bed_archive(const struct bed *bed)
{
    if (!bed->source)
        abort();
    return bed->source;
}

/* Reads until there is no more to do for now. */
static inline void bed_read(struct bed *bed)
{
    struct cbt_err err = {0};
    int n;
    while ((n = cbt_source_archive.read(bed->source, 1024, &err)) > 0)
        ;
    if (n != CBT_ELIMIT && n < 0)
        fail_msg("%s", err.text);
}

static inline void bed_forget_frames(struct bed *bed)
{
    for (size_t i = 0; i < bed->receiver.count; i++)
        free((void *)(uintptr_t)bed->receiver.frames[i].body.data);
    bed->receiver.count = bed->receiver.settled = 0;
}

/* Settles the frames with these numbers, in the order of the last first. */
static inline void bed_settle(struct bed *bed, size_t from, size_t to)
{
    struct cbt_err err = {0};
    while (to-- > from) {
        struct cbt_frame *done[] = {&bed->receiver.frames[to]};
        assert_int_equal(cbt_source_archive.settle(bed->source, done, 1, &err), 0);
    }
}

/* What the receiver does at the end, or nothing at all: kill -9. */
static inline void bed_close(struct bed *bed)
{
    cbt_source_archive.disconnect(bed->source);
    cbt_source_archive.close(bed->source);
    bed->source = NULL;
    bed_forget_frames(bed);
}

static inline void bed_kill(struct bed *bed)
{
    cbt_source_archive.close(bed->source);
    bed->source = NULL;
    bed_forget_frames(bed);
}

static inline void bed_checkpoint(struct bed *bed)
{
    cbt_archive_tick_checkpoint(bed->source, INT64_MAX);
}

static inline uint64_t bed_counter(const struct bed *bed, enum cbt_counter counter)
{
    return atomic_load(&bed->receiver.stats.counters[counter]);
}

/* ---- files ---- */

static inline void bed_write(const struct bed *bed, const char *path, struct cbt_text content, time_t mtime)
{
    char full[256];
    snprintf(full, sizeof full, "%s/%s", bed->tree, path);
    for (char *slash = strchr(full + strlen(bed->tree) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(content.data, 1, content.len, file), content.len);
    fclose(file);
    if (mtime != 0) {
        const struct timespec times[] = {{.tv_sec = mtime}, {.tv_sec = mtime}};
        assert_int_equal(utimensat(AT_FDCWD, full, times, 0), 0);
    }
}

static inline bool bed_has(const struct bed *bed, const char *path)
{
    char full[256];
    snprintf(full, sizeof full, "%s/%s", bed->tree, path);
    return access(full, F_OK) == 0;
}

/* The frame's file, below the tree. */
static inline void bed_assert_file(const struct bed *bed, size_t frame, const char *path)
{
    char full[256];
    int n = snprintf(full, sizeof full, "%s/%s", bed->tree, path);
    assert_true(frame < bed->receiver.count);
    struct cbt_text file = bed->receiver.frames[frame].file;
    if (file.len != (size_t)n || memcmp(file.data, full, file.len) != 0)
        fail_msg("frame %zu is of %.*s, not of %s", frame, (int)file.len, (const char *)file.data, full);
}

/* A bundle of `records` records of `bytes` bytes each, which begin as records do, and then with their number.
 */
static inline struct cbt_text bed_bundle(uint32_t records, uint32_t bytes)
{
    size_t len = (size_t)records * (4 + (size_t)bytes);
    uint8_t *data = calloc(1, len + 1), *at = data;
    assert_non_null(data);
    for (uint32_t i = 0; i < records; i++, at += 4 + bytes) {
        memcpy(at, &bytes, 4);
        at[4] = 0x0A;
        memcpy(at + 5, &i, 4);
    }
    return (struct cbt_text){data, len};
}

static inline void bed_free_text(struct cbt_text text)
{
    free((void *)(uintptr_t)text.data);
}

static inline int bed_setup_in(void **state, const char *folder)
{
    struct bed *bed = calloc(1, sizeof *bed);
    if (!bed)
        return 1;
    snprintf(bed->dir, sizeof bed->dir, "%s/cbtap-archive-XXXXXX", folder);
    if (!mkdtemp(bed->dir))
        return 1;
    snprintf(bed->tree, sizeof bed->tree, "%s/tree", bed->dir);
    snprintf(bed->dead, sizeof bed->dead, "%s/dead", bed->dir);
    snprintf(bed->checkpoint, sizeof bed->checkpoint, "%s/archive.checkpoint", bed->dir);
    snprintf(bed->move, sizeof bed->move, "move:%s/moved", bed->dir);
    if (mkdir(bed->tree, 0700) != 0)
        return 1;
    bed->receiver.room = BED_FRAMES_MAX;
    bed->receiver.frame_max_bytes = 1 << 20;
    bed->receiver.dead_letter_dir = bed->dead;
    bed->config = (struct cbt_source_config){.name = "old",
                                             .type = "archive",
                                             .archive = {.type = "archive",
                                                         .path = bed->tree,
                                                         .after = "keep",
                                                         .checkpoint = bed->checkpoint,
                                                         .checkpoint_interval_ms = 3600000,
                                                         .rescan_ms = 3600000}};
    *state = bed;
    return 0;
}

static inline int bed_setup(void **state)
{
    return bed_setup_in(state, "/tmp");
}

/* For very many files: in memory. */
static inline int bed_setup_in_memory(void **state)
{
    return bed_setup_in(state, "/dev/shm");
}

static inline int bed_remove(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline int bed_teardown(void **state)
{
    struct bed *bed = *state;
    if (bed->source)
        bed_close(bed);
    bed_forget_frames(bed);
    int rc = nftw(bed->dir, bed_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(bed);
    return rc;
}

#endif
