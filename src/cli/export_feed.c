/* SPDX-License-Identifier: MIT */
/*
 * The source of export --to: each piece of a file is a frame, so that all behind it is the daemon's:
 * decoding, sinks, dead letters, settlement.
 *
 * Happy path: a file is read as there is room for frames, and settled when everything made of all of them is
 * delivered; with --remove it is then removed. With --follow there are rounds, until the pipeline is stopped.
 * Failure: one of which there is a dead letter is said, and stays. Owns: each file in flight, and its
 * folder's descriptor.
 */
#include "cli/export_feed.h"

#include <stdlib.h>
#include <string.h>

#include "cbtap/log.h"

#define FRAMES     1024u
#define TURN_FILES 256 /* looked at in a turn: settlements are not kept waiting for longer */

static const struct cbt_text json_type = {(const uint8_t *)"application/json", 16};
static const struct cbt_text protobuf_type = {(const uint8_t *)"application/protobuf", 20};

static uint32_t frames_max(const struct cbt_source_config *config)
{
    (void)config;
    return FRAMES;
}

/* ---- files ---- */

static void look_whether_done(struct cbt_export_feed *feed)
{
    if (feed->x->follow == NULL && feed->at_end && feed->in_flight == 0)
        atomic_store(&feed->feed.done, true);
}

static void drop_file(struct cbt_export_feed *feed, struct cbt_export_open_file *file)
{
    feed->in_flight--;
    if (file->newer != NULL)
        file->newer->older = file->older;
    else
        feed->newest = file->older;
    if (file->older != NULL)
        file->older->newer = file->newer;
    free(file);
}

static void finish_file(struct cbt_export_feed *feed, struct cbt_export_open_file *file)
{
    struct cbt_export_follow *follow = feed->x->follow;
    int removed = 0;
    file->reached.left_out |= file->set_aside;
    if (file->reached.left_out)
        feed->set_aside++;
    else if (!file->failed)
        feed->settled++;
    if (feed->x->args->remove && !file->reached.left_out && !file->failed && !file->is_torn)
        removed = cbt_export_remove(file->path, &file->identity, follow != NULL);
    feed->removed += removed == 1;
    feed->kept += removed < 0;
    if (follow != NULL && removed == 1)
        cbt_export_follow_forget(follow, &file->identity);
    else if (follow != NULL)
        cbt_export_follow_end(follow, &file->identity, &file->reached);
    drop_file(feed, file);
}

static int no_memory(struct cbt_export_feed *feed, const char *path)
{
    feed->job.unreadable++;
    cbt_log_error("cannot read", CBT_S("file", path), CBT_S("reason", "no memory"));
    return CBT_ENOMEM;
}

static int keep_file(struct cbt_export_feed *feed, const struct cbt_export_file *file)
{
    size_t path_len = strlen(file->path);
    struct cbt_export_open_file *open = calloc(1, sizeof *open + path_len + 1);
    if (open == NULL)
        return no_memory(feed, file->path);
    memcpy(open->path, file->path, path_len + 1);
    open->identity = cbt_export_identity_of(&feed->job.in.stat);
    open->older = feed->newest;
    if (open->older != NULL)
        open->older->newer = open;
    feed->newest = open;
    feed->file = open;
    feed->in_flight++;
    feed->env = cbt_export_environment(feed->x, file);
    return CBT_OK;
}

static void take(struct cbt_export_feed *feed, const struct cbt_export_file *file)
{
    if (!cbt_export_job_open(&feed->job, file) || keep_file(feed, file) == CBT_OK)
        return;
    const struct cbt_export_identity identity = cbt_export_identity_of(&feed->job.in.stat);
    (void)cbt_export_job_close(&feed->job);
    if (feed->x->follow != NULL)
        cbt_export_follow_forget(feed->x->follow, &identity);
}

static void next_sequence(struct cbt_export_feed *feed)
{
    struct cbt_export_follow *follow = feed->x->follow;
    feed->in_sequence = cbt_export_walk_next(feed->x->files, &feed->sequence) == 1;
    feed->at_end = !feed->in_sequence;
    /* Before the folder is read, so that nothing comes between. */
    if (follow != NULL && feed->in_sequence && feed->sequence.folder != NULL)
        cbt_export_follow_watch(follow, feed->sequence.folder);
    if (follow != NULL && feed->at_end)
        cbt_export_follow_rest(follow);
}

/* Opens the next file that can be read, unless `*looked` comes to TURN_FILES before. False: none is open. */
static bool next_file(struct cbt_export_feed *feed, unsigned *looked)
{
    struct cbt_export_file file;
    for (; feed->file == NULL && !feed->at_end && *looked < TURN_FILES; (*looked)++) {
        if (feed->in_sequence && cbt_export_sequence_next(feed->x->files, &feed->sequence, &file) == 1)
            take(feed, &file);
        else
            next_sequence(feed);
    }
    return feed->file != NULL;
}

/* With --follow, another round where it is due. */
static void begin_round(struct cbt_export_feed *feed)
{
    struct cbt_export *x = feed->x;
    struct cbt_err err;
    if (x->follow == NULL || !feed->at_end || !cbt_export_follow_due(x->follow))
        return;
    feed->at_end = cbt_export_follow_walk(x, &err) != CBT_OK;
    if (!feed->at_end)
        return;
    cbt_log_error("another round cannot begin; it is tried again", CBT_S("reason", err.text));
    cbt_export_follow_rest(x->follow);
}

static void end_file(struct cbt_export_feed *feed)
{
    struct cbt_export_open_file *file = feed->file;
    const struct cbt_export_input *in = &feed->job.in;
    feed->file = NULL;
    feed->feed.fd = -1;
    file->ended = true;
    file->failed = in->failed;
    file->is_torn = in->is_torn;
    file->reached = cbt_export_job_close(&feed->job);
    if (file->frames == 0)
        finish_file(feed, file);
}

/* ---- frames ---- */

/* 1: handed over; CBT_ELIMIT: no room. */
static int hand_over(struct cbt_export_feed *feed, struct cbt_text part)
{
    const struct cbt_export_input *in = &feed->job.in;
    bool is_bundle = in->cut.kind == CBT_CUT_BUNDLE;
    size_t path_len = strlen(feed->file->path);
    struct cbt_frame *frame = cbt_receiver_take(feed->feed.receiver, part.len + path_len);
    if (frame == NULL)
        return CBT_ELIMIT;
    uint8_t *memory = (uint8_t *)(uintptr_t)frame->body.data;
    if (part.len > 0)
        memcpy(memory, part.data, part.len);
    memcpy(memory + part.len, feed->file->path, path_len);
    frame->body.len = part.len;
    frame->file = (struct cbt_text){memory + part.len, path_len};
    frame->file_offset = in->reader.offset;
    frame->file_index = (uint32_t)in->records;
    frame->env = feed->env;
    frame->content_type = protobuf_type;
    frame->framing = is_bundle ? CBT_FRAMING_BUNDLE : CBT_FRAMING_DETECT;
    if (feed->x->args->notification) {
        frame->content_type = json_type;
        frame->routing_key = feed->x->routing_key;
        frame->framing = CBT_FRAMING_DETECT;
    }
    frame->token = (uint64_t)(uintptr_t)feed->file;
    feed->file->frames++;
    cbt_receiver_push(feed->feed.receiver, frame);
    return 1;
}

static int feed_read(void *self, unsigned count_max, struct cbt_err *err)
{
    struct cbt_export_feed *feed = self;
    struct cbt_export_input *in = &feed->job.in;
    unsigned count = 0, looked = 0;
    struct cbt_text piece;
    (void)err;
    begin_round(feed);
    while (count < count_max && next_file(feed, &looked)) {
        int rc = cbt_export_job_next(&feed->job, feed->file->path, &piece);
        if (rc == CBT_EXPORT_END) {
            end_file(feed);
            continue;
        }
        feed->feed.fd = rc == CBT_EXPORT_LATER ? in->reader.fd : -1;
        if (rc == CBT_EXPORT_LATER)
            return (int)count;
        if (hand_over(feed, piece) == CBT_ELIMIT)
            return count > 0 ? (int)count : CBT_ELIMIT;
        count++;
        atomic_fetch_add_explicit(&feed->job.shown_events, in->cut.records, memory_order_relaxed);
        cbt_export_pass(in);
    }
    look_whether_done(feed);
    return (int)(looked == TURN_FILES ? count_max : count);
}

static int feed_settle(void *self, struct cbt_frame *const done[], size_t count, struct cbt_err *err)
{
    struct cbt_export_feed *feed = self;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        struct cbt_export_open_file *file = (struct cbt_export_open_file *)(uintptr_t)done[i]->token;
        if (atomic_load(&done[i]->dead_letters) != 0 && !file->set_aside) {
            enum cbt_dead_reason reason = (enum cbt_dead_reason)atomic_load(&done[i]->dead_reason);
            file->set_aside = true;
            cbt_log_error("some of it is a dead letter", CBT_S("file", file->path),
                          CBT_S("reason", cbt_dead_reason_name(reason)),
                          CBT_S("text", cbt_dead_reason_text(reason)));
        }
        file->frames--;
        if (file->ended && file->frames == 0)
            finish_file(feed, file);
    }
    cbt_count(cbt_receiver_stats(feed->feed.receiver), CBT_COUNT_settled_frames, count);
    look_whether_done(feed);
    return CBT_OK;
}

void cbt_export_feed_free(struct cbt_export_feed *feed)
{
    struct cbt_export_open_file *older;
    for (struct cbt_export_open_file *file = feed->newest; file != NULL; file = older) {
        older = file->older;
        free(file);
    }
    cbt_export_sequence_free(&feed->sequence);
    cbt_export_job_free(&feed->job);
}

const struct cbt_source cbt_export_source = {
    .type = "files",
    .frames_max = frames_max,
    .read = feed_read,
    .settle = feed_settle,
    CBT_FEED_CALLS,
};
