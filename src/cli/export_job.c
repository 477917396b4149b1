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
#include "decode/kind.h"
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

bool cbt_export_is_nothing(const struct cbt_export_file *file, struct cbt_text body)
{
    return body.len == 0 && file->named && strcmp(file->path, "-") == 0;
}

bool cbt_export_is_json(const struct cbt_export_file *file, struct cbt_text body)
{
    if (body.len == 0 || body.data[0] != '{' ||
        cbt_kind_of(body, CBT_TEXT("application/protobuf"), CBT_FRAMING_DETECT) != CBT_KIND_EVENT)
        return false;
    cbt_log_error("the file holds no sensor events; it looks like JSON: --notification KEY reads one "
                  "notification a line",
                  CBT_S("file", file->path));
    return true;
}

bool cbt_export_job_read(struct cbt_export_job *job, const struct cbt_export_file *file,
                         struct cbt_text *ret_body)
{
    struct cbt_err err;
    int rc = cbt_export_read(&job->in, file, job->x->config->cbtap.frame_max_bytes, ret_body, &err);
    if (rc == 1) {
        cbt_log_warning("it went away before it was read", CBT_S("file", file->path));
        return false;
    }
    job->files++;
    if (rc == 0)
        return true;
    cbt_log_error("cannot read", CBT_S("file", file->path), CBT_S("reason", err.text));
    job->unreadable++;
    return false;
}

/* For the progress. */
static void show(struct cbt_export_job *job)
{
    uint64_t events = 0;
    for (size_t i = 0; i < CBT_TYPES; i++)
        events += job->counts[i].events + job->counts[i].filtered;
    atomic_store_explicit(&job->shown_events, events, memory_order_relaxed);
    atomic_fetch_add_explicit(&job->shown_bytes, job->in.len, memory_order_relaxed);
}

/* False: the output failed. */
static bool take_file(struct cbt_export_job *job, const struct cbt_export_file *file)
{
    struct cbt_text body;
    bool written = true;
    struct cbt_export_follow *follow = job->x->follow;
    struct stat found;
    bool is_found = follow != NULL && fstatat(file->dir_fd, file->name, &found, 0) == 0;
    if (is_found && !cbt_export_follow_wants(follow, &found))
        return true;
    if (!cbt_export_job_read(job, file, &body)) {
        if (is_found)
            cbt_export_follow_pass_by(follow, &found);
        return true;
    }
    if (cbt_export_is_nothing(file, body))
        return true;
    size_t all = body.len;
    if (job->x->follow &&
        !cbt_export_follow_cut(job->x->follow, &job->in.stat, job->x->args->notification, job->in.gz, &body))
        return true;
    bool whole = body.data + body.len == (job->in.gz ? job->in.inflated : job->in.data) + all;
    job->set_aside = false;
    if (job->x->args->notification) {
        written = cbt_export_notifications(job, file->path, body);
    } else if (cbt_export_is_json(file, body)) {
        job->unreadable++;
        return true;
    } else {
        job->env = cbt_export_environment(job->x, file);
        written = cbt_export_sensor_events(job, file->path, body);
    }
    show(job);
    if (written && job->x->args->remove && !job->set_aside && whole)
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
