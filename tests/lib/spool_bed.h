/* SPDX-License-Identifier: MIT */
/* A spool in a directory of its own, messages whose content follows from their number, and the files behind.
 */
#ifndef CBTAP_TESTS_SPOOL_BED_H
#define CBTAP_TESTS_SPOOL_BED_H

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ingest/spool_files.h"

#define MESSAGE_MAX_BYTES (4u << 20)

struct bed {
    char dir[64];
    struct cbt_spool_options options;
    struct cbt_spool *spool;
    uint8_t *body, *taken;
};

static inline int bed_set_up(void **state)
{
    struct bed *bed = calloc(1, sizeof *bed);
    if (!bed)
        return 1;
    snprintf(bed->dir, sizeof bed->dir, "/tmp/cbtap-spool-XXXXXX");
    bed->body = malloc(MESSAGE_MAX_BYTES);
    bed->taken = malloc(MESSAGE_MAX_BYTES);
    if (!mkdtemp(bed->dir) || !bed->body || !bed->taken)
        return 1;
    bed->options = (struct cbt_spool_options){.dir = bed->dir,
                                              .source = "pubsub",
                                              .max_bytes = 64u << 20,
                                              .segment_bytes = 4096,
                                              .fsync = CBT_SPOOL_FSYNC_NONE,
                                              .fsync_ms = 1000,
                                              .window = 1024};
    *state = bed;
    return 0;
}

static inline void remove_tree(const char *dir)
{
    DIR *open = opendir(dir);
    if (!open)
        return;
    for (struct dirent *entry; (entry = readdir(open));)
        (void)unlinkat(dirfd(open), entry->d_name, 0);
    closedir(open);
    rmdir(dir);
}

static inline int bed_tear_down(void **state)
{
    struct bed *bed = *state;
    cbt_spool_close(bed->spool);
    remove_tree(bed->dir);
    free(bed->body);
    free(bed->taken);
    free(bed);
    return 0;
}

static inline void open_spool(struct bed *bed)
{
    struct cbt_err err = {0};
    if (cbt_spool_open(&bed->spool, &bed->options, &err) != 0 || !bed->spool) {
        fail_msg("%s", err.text);
        abort();
    }
}

static inline void close_spool(struct bed *bed)
{
    cbt_spool_close(bed->spool);
    bed->spool = NULL;
}

/* The process is gone: what its memory held is, too. */
static inline void kill_spool(struct bed *bed)
{
    struct cbt_spool *spool = bed->spool;
    spool->in_record = false;
    spool->buffered = spool->written;
    spool->pending = 0;
    spool->settled_seq = spool->checkpoint_seq;
    spool->unsynced = false;
    close_spool(bed);
}

/* The body of message `number`, in bed->body. */
static inline size_t make_body(struct bed *bed, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        bed->body[i] = (uint8_t)((number * 2654435761u + i * 40503u) >> 11);
    if (bytes >= 8)
        memcpy(bed->body, &number, 8);
    return bytes;
}

static inline struct cbt_spool_message describe(uint64_t number, size_t bytes, char *channel)
{
    size_t len = (size_t)sprintf(channel, "ingress.event.%u", (unsigned)(number % 1000));
    return (struct cbt_spool_message){.channel = {(const uint8_t *)channel, len},
                                      .body_bytes = bytes,
                                      .arrived_wall_ms = (int64_t)(1000 + number)};
}

/* Appends without writing. */
static inline int append(struct bed *bed, uint64_t number, size_t bytes)
{
    char channel[64];
    struct cbt_err err = {0};
    const struct cbt_spool_message message = describe(number, bytes, channel);
    make_body(bed, number, bytes);
    int rc = cbt_spool_begin(bed->spool, &message, &err);
    if (rc != 0)
        return rc;
    /* In pieces, as it comes from a socket. */
    for (size_t at = 0; at < bytes && rc == 0;) {
        size_t part = bytes - at < 1000 ? bytes - at : 1000;
        rc = cbt_spool_put(bed->spool, bed->body + at, part, &err);
        at += part;
    }
    if (rc == 0)
        rc = cbt_spool_commit(bed->spool, &err);
    if (rc != 0)
        cbt_spool_abort(bed->spool);
    return rc;
}

static inline void write_down(struct bed *bed, uint64_t number, size_t bytes)
{
    assert_int_equal(append(bed, number, bytes), 0);
    assert_int_equal(cbt_spool_flush(bed->spool, NULL), 0);
}

/* Takes the next message, which must be `number` of that size; returns its ticket. */
static inline uint64_t take(struct bed *bed, uint64_t number, size_t bytes)
{
    char channel[64];
    uint64_t ticket = 0;
    struct cbt_spool_message message = {0};
    const struct cbt_spool_message want = describe(number, bytes, channel);
    assert_int_equal(cbt_spool_next(bed->spool, &message), 1);
    assert_int_equal(message.body_bytes, bytes);
    assert_int_equal(message.channel.len, want.channel.len);
    assert_memory_equal(message.channel.data, channel, want.channel.len);
    assert_int_equal(message.arrived_wall_ms, want.arrived_wall_ms);
    assert_int_equal(cbt_spool_take(bed->spool, bed->taken, &ticket), 0);
    make_body(bed, number, bytes);
    assert_memory_equal(bed->taken, bed->body, bytes);
    return ticket;
}

static inline void nothing_to_take(struct bed *bed)
{
    struct cbt_spool_message message;
    assert_int_equal(cbt_spool_next(bed->spool, &message), 0);
}

static inline unsigned count_files(const char *dir, const char *suffix)
{
    unsigned count = 0;
    DIR *open = opendir(dir);
    assert_non_null(open);
    for (struct dirent *entry; (entry = readdir(open));) {
        size_t len = strlen(entry->d_name), tail = strlen(suffix);
        count += len >= tail && strcmp(entry->d_name + len - tail, suffix) == 0;
    }
    closedir(open);
    return count;
}

/* The path of the segment that begins with that message. */
static inline const char *segment_path(const struct bed *bed, uint64_t first_seq)
{
    static char path[160];
    char name[CBT_SPOOL_NAME_BYTES];
    cbt_spool_segment_name(name, first_seq);
    snprintf(path, sizeof path, "%s/%s", bed->dir, name);
    return path;
}

static inline size_t file_bytes(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (size_t)st.st_size;
}

static inline void flip_byte(const char *path, size_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x55;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static inline void copy_file(const char *from_dir, const char *to_dir, const char *name)
{
    char from[400], to[400], buffer[65536];
    snprintf(from, sizeof from, "%s/%s", from_dir, name);
    snprintf(to, sizeof to, "%s/%s", to_dir, name);
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(in >= 0 && out >= 0);
    for (ssize_t n; (n = read(in, buffer, sizeof buffer)) > 0;)
        assert_int_equal(write(out, buffer, (size_t)n), n);
    close(in);
    close(out);
}

/* What is on disk at this moment, as a process would find it that was started now. */
static inline void copy_dir(const char *from, const char *to)
{
    DIR *dir = opendir(from);
    assert_non_null(dir);
    remove_tree(to);
    assert_int_equal(mkdir(to, 0700), 0);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            copy_file(from, to, entry->d_name);
    closedir(dir);
}

#endif
