/* SPDX-License-Identifier: MIT */
/*
 * A job takes one sequence of files after the other from the walk, and each sequence's files in order.
 *
 * Failure: a file that cannot be read is said and counted, and the next one is taken; one that went away
 * since its folder was read is said, and no failure. When the output fails all jobs end.
 */
#include "cli/export.h"

#include <stdlib.h>
#include <string.h>

#include "cbtap/log.h"
#include "decode/limits.h"

int cbt_export_job_init(struct cbt_export_job *job, struct cbt_export *x, struct cbt_err *err)
{
    const struct cbt_decode_limits limits = cbt_decode_limits_of(&x->config->decode);
    job->x = x;
    int rc = cbt_walk_new(&job->walk, &limits, err);
    if (rc == 0)
        rc = cbt_decoder_new(&job->decoder, &limits, err);
    if (rc == 0)
        rc = cbt_export_output_init(&job->out, &x->target, err);
    return rc;
}

void cbt_export_job_free(struct cbt_export_job *job)
{
    cbt_walk_free(job->walk);
    cbt_decoder_free(job->decoder);
    cbt_export_input_free(&job->in);
    free(job->out.memory);
    if (job->done != NULL)
        fclose(job->done);
}

struct cbt_environment cbt_export_environment(const struct cbt_export *x, const struct cbt_export_file *file)
{
    struct cbt_environment env = x->env;
    if (!env.has_sensor_id && file->has_sensor_id) {
        env.has_sensor_id = true;
        env.sensor_id = file->sensor_id;
    }
    return env;
}

/* A bundle of which the first record is not whole yet. */
static bool may_become_bundle(struct cbt_text head)
{
    return head.len < 5 || (head.data[4] == 0x0A && memcmp(head.data, "PK\3\4", 4) != 0);
}

/* With --follow, from where on it is new. False: there is nothing. */
static bool resume(struct cbt_export_job *job)
{
    struct cbt_export_input *in = &job->in;
    struct cbt_file_reader *r = &in->reader;
    struct cbt_export_reached from;
    /* For its kind; what is wrong comes again. */
    (void)cbt_cut_next(&in->cut, r, job->x->config->cbtap.frame_max_bytes);
    struct cbt_text head = {r->data + r->pos, cbt_file_reader_has(r)};
    if (in->cut.kind == CBT_CUT_WHOLE && !r->gzip && may_become_bundle(head))
        in->cut.kind = CBT_CUT_BUNDLE;
    in->waits = !r->gzip && in->cut.kind != CBT_CUT_WHOLE;
    if (!cbt_export_follow_begin(job->x->follow, &in->stat, head, in->waits, &from))
        return false;
    in->records = from.records;
    in->left_out = from.left_out;
    in->begun = from.bytes > 0;
    if (from.bytes > 0)
        (void)cbt_file_reader_seek(r, from.bytes); /* it has so many */
    return true;
}

bool cbt_export_job_open(struct cbt_export_job *job, const struct cbt_export_file *file)
{
    struct cbt_export_follow *follow = job->x->follow;
    struct stat found;
    struct cbt_err err;
    bool is_found = follow && fstatat(file->dir_fd, file->name, &found, 0) == 0;
    if (is_found && !cbt_export_follow_wants(follow, &found))
        return false;
    int rc = cbt_export_open(&job->in, file, job->x->args->notification, &err);
    if (rc == 1) {
        cbt_log_warning("it went away before it was read", CBT_S("file", file->path));
        return false;
    }
    if (rc == 0 && follow && !resume(job)) {
        cbt_file_reader_close(&job->in.reader);
        return false;
    }
    if (rc != 0 && !cbt_export_told_first(&job->x->told, file->path))
        return false;
    job->files++;
    job->bytes_before = job->shown_bytes;
    if (rc == 0)
        return true;
    cbt_log_error("cannot read", CBT_S("file", file->path), CBT_S("reason", err.text));
    job->unreadable++;
    return false;
}

/* True where it holds no sensor events, which is said. */
static bool is_json(const struct cbt_export_job *job, const char *path, struct cbt_text piece)
{
    if (job->in.cut.kind != CBT_CUT_WHOLE || piece.len == 0 || piece.data[0] != '{')
        return false;
    cbt_log_error("the file holds no sensor events; it looks like JSON: --notification KEY reads one "
                  "notification a line",
                  CBT_S("file", path));
    return true;
}

static bool is_blank(struct cbt_text line)
{
    size_t i = 0;
    while (i < line.len && (line.data[i] == ' ' || line.data[i] == '\t' || line.data[i] == '\r'))
        i++;
    return i == line.len;
}

int cbt_export_job_next(struct cbt_export_job *job, const char *path, struct cbt_text *ret_piece)
{
    struct cbt_export_input *in = &job->in;
    struct cbt_err err;
    atomic_store_explicit(&job->shown_bytes, job->bytes_before + in->reader.at, memory_order_relaxed);
    for (;;) {
        int rc = cbt_export_next(in, job->x->config->cbtap.frame_max_bytes, ret_piece, &err);
        if (rc == CBT_ELIMIT && in->cut.kind != CBT_CUT_WHOLE) {
            cbt_export_leave_out_large(job, path, err.text);
            if (cbt_export_pass_too_large(in))
                continue;
            rc = cbt_err_set(&err, CBT_EIO, "%s", strerror(in->reader.error));
        }
        if (rc == CBT_EXPORT_PIECE && in->cut.kind == CBT_CUT_LINES && is_blank(*ret_piece)) {
            cbt_export_pass(in);
            continue;
        }
        in->failed = rc < 0 || (rc == CBT_EXPORT_PIECE && is_json(job, path, *ret_piece));
        if (rc < 0)
            cbt_log_error("cannot read", CBT_S("file", path), CBT_S("reason", err.text),
                          CBT_I("offset", in->reader.offset));
        job->unreadable += in->failed;
        return in->failed ? CBT_EXPORT_END : rc;
    }
}

struct cbt_export_reached cbt_export_job_close(struct cbt_export_job *job)
{
    struct cbt_export_input *in = &job->in;
    bool goes_on = in->waits && !in->failed;
    uint64_t all = in->stat.st_size > 0 ? (uint64_t)in->stat.st_size : 0;
    struct cbt_export_reached reached = {.bytes = goes_on ? in->reader.offset : all,
                                         .records = (uint32_t)in->records,
                                         .goes_on = goes_on,
                                         .left_out = in->left_out};
    cbt_file_reader_close(&in->reader);
    return reached;
}

void cbt_export_job_tell_stopped(const struct cbt_export_job *job, const char *path)
{
    cbt_log_warning("stopped amid a file: what is behind the offset was not read", CBT_S("file", path),
                    CBT_I("offset", job->in.reader.offset));
}

/* For the progress. */
static void show_events(struct cbt_export_job *job)
{
    uint64_t events = 0;
    for (size_t i = 0; i < CBT_TYPES; i++)
        events += job->counts[i].events + job->counts[i].filtered;
    atomic_store_explicit(&job->shown_events, events, memory_order_relaxed);
}

/* False: the output failed. */
static bool take_file(struct cbt_export_job *job, const struct cbt_export_file *file)
{
    struct cbt_export_input *in = &job->in;
    struct cbt_export_follow *follow = job->x->follow;
    struct cbt_text piece;
    bool written = true, at_end = false;
    if (!cbt_export_job_open(job, file))
        return true;
    job->env = cbt_export_environment(job->x, file);
    while (written && !cbt_export_follow_stopped()) {
        at_end = cbt_export_job_next(job, file->path, &piece) == CBT_EXPORT_END;
        if (at_end)
            break;
        written = cbt_export_piece(job, file->path, piece);
        cbt_export_pass(in);
        show_events(job);
    }
    if (written && !at_end)
        cbt_export_job_tell_stopped(job, file->path);
    struct cbt_export_identity identity = cbt_export_identity_of(&in->stat);
    struct cbt_export_reached reached = cbt_export_job_close(job);
    if (follow && at_end)
        cbt_export_follow_end(follow, &identity, &reached);
    if (at_end && job->x->args->remove && !in->left_out && !in->failed && !in->is_torn)
        cbt_export_note_done(job, file);
    return written;
}

static bool goes_on(const struct cbt_export *x)
{
    return !cbt_export_follow_stopped() && x->target.error == 0;
}

void *cbt_export_job_run(void *arg)
{
    struct cbt_export_job *job = arg;
    struct cbt_export *x = job->x;
    struct cbt_export_sequence sequence = {0};
    struct cbt_export_file file;
    while (goes_on(x) && cbt_export_walk_next(x->files, &sequence) == 1) {
        /* Before the folder is read, so that nothing comes between. */
        if (x->follow && sequence.folder)
            cbt_export_follow_watch(x->follow, sequence.folder);
        while (goes_on(x) && cbt_export_sequence_next(x->files, &sequence, &file) == 1)
            if (!take_file(job, &file))
                break;
    }
    cbt_export_sequence_free(&sequence);
    if (cbt_export_write(&job->out, true) && x->target.path == NULL)
        cbt_export_remove_done(job);
    return NULL;
}
