/* SPDX-License-Identifier: MIT */
/*
 * The spool's life. At the start: the directory is locked, the segments are listed, the last one is read to
 * its end, for what the end of a process or a power failure left of a record there; new messages begin a new
 * segment.
 *
 * A torn tail is a last record that is announced longer than its file, or does not match its checksum at the
 * very end, or nothing but zeros: it was never handed on by a process that is gone with its memory, so it is
 * cut. Whatever else cannot be read is damage: set aside, told, counted.
 */
#include "ingest/spool_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cbtap/log.h"

static int unusable(const struct cbt_spool *spool, const char *what, struct cbt_err *err)
{
    return cbt_err_set(
        err, CBT_EINVAL,
        "spool_dir = %s: %s%s; make it a directory on a local disk that cbtap's user may write "
        "to, or leave spool_dir empty",
        spool->options.dir, what, strerror(errno));
}

static int open_dir(struct cbt_spool *spool, struct cbt_err *err)
{
    const char *dir = spool->options.dir;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return unusable(spool, "cannot be made: ", err);
    spool->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->dir_fd < 0 || faccessat(spool->dir_fd, ".", W_OK | X_OK, AT_EACCESS) != 0)
        return unusable(spool, "", err);
    spool->lock_fd = openat(spool->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (spool->lock_fd < 0)
        return unusable(spool, "lock: ", err);
    if (flock(spool->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return unusable(spool, "lock: ", err);
        return cbt_err_set(err, CBT_EINVAL,
                           "spool_dir = %s is in use by another cbtap or another source: give each its own, "
                           "or stop the other first",
                           dir);
    }
    spool->checkpoint_fd =
        openat(spool->dir_fd, "checkpoint", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return spool->checkpoint_fd < 0 ? unusable(spool, "checkpoint: ", err) : 0;
}

static int compare_seqs(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static int list_seqs(struct cbt_spool *spool, uint64_t **ret_seqs, size_t *ret_count, struct cbt_err *err)
{
    int fd = openat(spool->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    uint64_t *seqs = NULL, seq;
    size_t count = 0, room = 0;
    if (!dir)
        return unusable(spool, "cannot be read: ", err);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!cbt_spool_segment_of_name(entry->d_name, &seq))
            continue;
        if (count == room) {
            room = room > 0 ? 2 * room : 64;
            uint64_t *grown = realloc(seqs, room * sizeof *seqs);
            if (!grown) {
                free(seqs);
                closedir(dir);
                return cbt_err_set(err, CBT_ENOMEM, "out of memory");
            }
            seqs = grown;
        }
        seqs[count++] = seq;
    }
    closedir(dir);
    if (count > 0)
        qsort(seqs, count, sizeof *seqs, compare_seqs);
    *ret_seqs = seqs;
    *ret_count = count;
    return 0;
}

/* A file that is no segment gets out of the way, but for a head that the process did not come to write. */
static void reject_file(struct cbt_spool *spool, const char *name, off_t bytes)
{
    char aside[CBT_SPOOL_NAME_BYTES + 16];
    if (bytes <= (off_t)CBT_SPOOL_SEGMENT_HEAD_BYTES) {
        (void)unlinkat(spool->dir_fd, name, 0);
        return;
    }
    snprintf(aside, sizeof aside, "%s.damaged", name);
    (void)renameat(spool->dir_fd, name, spool->dir_fd, aside);
    cbt_log_error("damaged bytes in the spool: they are passed over and kept in a file of their own",
                  CBT_S("source", spool->options.source), CBT_S("dir", spool->options.dir),
                  CBT_S("file", aside), CBT_I("bytes", bytes), CBT_S("reason", "a segment's head is broken"));
}

static int add_segment(struct cbt_spool *spool, uint64_t seq, struct cbt_err *err)
{
    char name[CBT_SPOOL_NAME_BYTES];
    struct stat st;
    cbt_spool_segment_name(name, seq);
    int fd = openat(spool->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        int rc = unusable(spool, "a segment cannot be opened: ", err);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    bool valid = cbt_spool_segment_head_valid(fd, seq);
    close(fd);
    if (!valid) {
        reject_file(spool, name, st.st_size);
        return 0;
    }
    struct cbt_spool_segment *segment = cbt_spool_segment_add(spool, seq);
    if (!segment)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    segment->bytes = (uint64_t)st.st_size;
    spool->counts.bytes += segment->bytes;
    return 0;
}

static bool all_zero(struct cbt_spool *spool, struct cbt_spool_segment *segment, uint64_t at)
{
    while (at < segment->bytes) {
        uint64_t left = segment->bytes - at;
        size_t len = left < 4096 ? (size_t)left : 4096;
        const uint8_t *data = cbt_spool_window_read(spool, segment, at, len);
        for (size_t i = 0; i < len; i++)
            if (!data || data[i] != 0)
                return false;
        at += len;
    }
    return true;
}

enum tail { TAIL_WHOLE, TAIL_TORN, TAIL_DAMAGED, TAIL_UNREADABLE };

/* Reads a segment up to the first record that is not whole. A damaged body within is for later: it is passed
 * over when it is taken. */
static enum tail scan(struct cbt_spool *spool, struct cbt_spool_segment *segment, uint64_t *ret_at,
                      uint64_t *ret_seq)
{
    struct cbt_spool_record record;
    uint64_t at = CBT_SPOOL_SEGMENT_HEAD_BYTES, seq = segment->first_seq;
    enum tail tail = TAIL_WHOLE;
    while (at < segment->bytes && tail == TAIL_WHOLE) {
        const uint8_t *head = cbt_spool_window_read(spool, segment, at, CBT_SPOOL_RECORD_HEAD_BYTES);
        if (!head) {
            tail = segment->bytes - at < CBT_SPOOL_RECORD_HEAD_BYTES ? TAIL_TORN : TAIL_UNREADABLE;
        } else if (!cbt_spool_record_decode(head, &record)) {
            tail = all_zero(spool, segment, at) ? TAIL_TORN : TAIL_DAMAGED;
        } else if (segment->bytes - at < cbt_spool_record_bytes(&record) ||
                   (segment->bytes - at == cbt_spool_record_bytes(&record) &&
                    !cbt_spool_read_body(spool, segment, at, &record, NULL))) {
            tail = TAIL_TORN;
        } else {
            at += cbt_spool_record_bytes(&record);
            seq++;
        }
    }
    *ret_at = at;
    *ret_seq = seq;
    return tail;
}

/* Ends the last segment with a whole record; returns the number of the message behind. */
static int mend_last(struct cbt_spool *spool, uint64_t *ret_seq, struct cbt_err *err)
{
    struct cbt_spool_segment *segment = spool->last;
    char name[CBT_SPOOL_NAME_BYTES];
    uint64_t at = 0;
    enum tail tail = scan(spool, segment, &at, ret_seq);
    if (tail == TAIL_WHOLE)
        return 0;
    /* Nothing is cut that another try might read. */
    if (tail == TAIL_UNREADABLE)
        return unusable(spool, "its last segment cannot be read: ", err);
    cbt_spool_segment_name(name, segment->first_seq);
    if (tail == TAIL_DAMAGED) {
        cbt_spool_set_aside(
            spool, segment, at, segment->bytes,
            "a record's head is broken, so that nothing behind it in its segment can be read");
        spool->counts.damaged++; /* at least one */
    } else {
        cbt_log_warning(
            "the end of the spool was torn, as the end of a process or a power failure leaves it, "
            "and is cut",
            CBT_S("source", spool->options.source), CBT_S("dir", spool->options.dir), CBT_S("segment", name),
            CBT_I("bytes", segment->bytes - at));
    }
    spool->window.segment = NULL;
    cbt_spool_segment_close(segment);
    int fd = openat(spool->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int rc = fd >= 0 ? ftruncate(fd, (off_t)at) : -1;
    if (rc != 0)
        rc = unusable(spool, "its last segment cannot be cut: ", err);
    if (fd >= 0)
        close(fd);
    spool->counts.bytes -= segment->bytes - at;
    segment->bytes = at;
    return rc;
}

/* A segment without a record would have the name of the one that is to be made next. */
static void remove_last_if_empty(struct cbt_spool *spool)
{
    struct cbt_spool_segment *last = spool->last, *before = NULL;
    char name[CBT_SPOOL_NAME_BYTES];
    if (last->bytes > CBT_SPOOL_SEGMENT_HEAD_BYTES)
        return;
    for (struct cbt_spool_segment *s = spool->first; s != last; s = s->next)
        before = s;
    cbt_spool_segment_name(name, last->first_seq);
    (void)unlinkat(spool->dir_fd, name, 0);
    spool->counts.bytes -= last->bytes;
    spool->window.segment = NULL;
    cbt_spool_segment_close(last);
    free(last);
    spool->last = before;
    if (before)
        before->next = NULL;
    else
        spool->first = NULL;
}

static int recover(struct cbt_spool *spool, struct cbt_err *err)
{
    uint64_t *seqs = NULL, end = 0;
    size_t count = 0;
    bool broken = false;
    uint64_t checkpoint = cbt_spool_read_checkpoint(spool->checkpoint_fd, &broken);
    if (broken)
        cbt_log_warning("the spool's checkpoint cannot be read: all that is on disk is delivered again",
                        CBT_S("source", spool->options.source), CBT_S("dir", spool->options.dir));
    int rc = list_seqs(spool, &seqs, &count, err);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = add_segment(spool, seqs[i], err);
    free(seqs);
    if (rc == 0 && spool->last)
        rc = mend_last(spool, &end, err);
    if (rc != 0)
        return rc;
    if (spool->last)
        remove_last_if_empty(spool);
    uint64_t first = spool->first ? spool->first->first_seq : end;
    spool->settled_seq = checkpoint > first ? checkpoint : first;
    /* A number that the checkpoint has passed is never given again, whatever a power failure took. */
    spool->next_seq = end > spool->settled_seq ? end : spool->settled_seq;
    spool->replay_end = spool->next_seq;
    spool->checkpoint_seq = checkpoint;
    spool->feed = spool->first;
    spool->feed_at = CBT_SPOOL_SEGMENT_HEAD_BYTES;
    spool->feed_seq = first;
    /* Before anything is settled by having nothing in flight: only what the checkpoint says. */
    spool->counts.messages = spool->next_seq - spool->settled_seq;
    while (spool->first && (spool->first->next ? spool->first->next->first_seq <= spool->settled_seq
                                               : spool->next_seq <= spool->settled_seq))
        cbt_spool_segment_remove_first(spool);
    if (spool->counts.messages > 0)
        cbt_log_info("the spool holds messages that are not known to be delivered: they go first",
                     CBT_S("source", spool->options.source), CBT_I("messages", spool->counts.messages),
                     CBT_I("bytes", spool->counts.bytes));
    return 0;
}

int cbt_spool_open(struct cbt_spool **ret_spool, const struct cbt_spool_options *options, struct cbt_err *err)
{
    struct cbt_spool *spool = calloc(1, sizeof *spool);
    if (!spool)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    uint64_t window = 1;
    while (window < options->window)
        window *= 2;
    spool->options = *options;
    spool->dir_fd = spool->lock_fd = spool->checkpoint_fd = -1;
    spool->buffer_at = CBT_SPOOL_SEGMENT_HEAD_BYTES;
    spool->ticket_mask = window - 1;
    spool->tickets = calloc(window, sizeof *spool->tickets);
    spool->buffer = malloc(CBT_SPOOL_BUFFER_BYTES);
    spool->window.data = malloc(CBT_SPOOL_WINDOW_BYTES);
    int rc = 0;
    if (!spool->tickets || !spool->buffer || !spool->window.data)
        rc = cbt_err_set(err, CBT_ENOMEM, "out of memory");
    if (rc == 0)
        rc = open_dir(spool, err);
    if (rc == 0)
        rc = recover(spool, err);
    if (rc == 0)
        *ret_spool = spool;
    else
        cbt_spool_close(spool);
    return rc;
}

void cbt_spool_close(struct cbt_spool *spool)
{
    struct cbt_err err = {0};
    if (!spool)
        return;
    cbt_spool_abort(spool);
    if (cbt_spool_flush(spool, &err) == 0)
        cbt_spool_seal(spool);
    if (err.rc == 0 && spool->settled_seq != spool->checkpoint_seq)
        (void)cbt_spool_write_checkpoint(spool, &err);
    if (err.rc != 0)
        cbt_log_warning("the spool could not be closed cleanly", CBT_S("source", spool->options.source),
                        CBT_S("reason", err.text));
    while (spool->first) {
        struct cbt_spool_segment *next = spool->first->next;
        cbt_spool_segment_close(spool->first);
        free(spool->first);
        spool->first = next;
    }
    for (unsigned i = 0; i < 3; i++) {
        int fd = (int[]){spool->checkpoint_fd, spool->lock_fd, spool->dir_fd}[i];
        if (fd >= 0)
            close(fd);
    }
    free(spool->tickets);
    free(spool->buffer);
    free(spool->window.data);
    free(spool);
}

const struct cbt_spool_counts *cbt_spool_counts(const struct cbt_spool *spool)
{
    return &spool->counts;
}
