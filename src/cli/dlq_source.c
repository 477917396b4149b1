/* SPDX-License-Identifier: MIT */
/*
 * The source of dlq replay: each dead letter is a frame, with its own framing, headers and routing key, so
 * that all behind it is the daemon's: decoding, sinks, settlement.
 *
 * Happy path: a letter is taken in when there is room, and settled when everything made of it is delivered; a
 * file is then removed. Failure: one that cannot be a frame is said and left where it is; one of which there
 * is a dead letter again is said, and that one counts its replays. Owns: a slot for each letter in flight.
 */
#include <inttypes.h>
#include <string.h>

#include "cbtap/log.h"
#include "cli/dlq.h"

#define WAIT_MS 20 /* for the first letter of a turn: settlements wait for no longer */

static uint32_t frames_max(const struct cbt_source_config *config)
{
    (void)config;
    return CBT_DLQ_SLOTS;
}

static void skip(struct cbt_dlq_feed *feed, const char *reason)
{
    feed->skipped++;
    feed->has_letter = false;
    cbt_log_warning("left where it is", CBT_S("where", feed->letter.where), CBT_S("reason", reason));
}

static void look_whether_done(struct cbt_dlq_feed *feed)
{
    if (feed->at_end && feed->used == 0)
        atomic_store(&feed->feed.done, true);
}

/* Reads on where none is at hand. False: none, for now or at all. */
static bool get_letter(struct cbt_dlq_feed *feed, int timeout_ms)
{
    if (feed->has_letter)
        return true;
    if (feed->at_end)
        return false;
    int rc = cbt_dlq_next(feed->dlq, timeout_ms, &feed->letter, &feed->err);
    feed->has_letter = rc == 1;
    feed->at_end = rc != 0 && rc != 1;
    feed->read_failed = rc < 0;
    return feed->has_letter;
}

static struct cbt_dlq_slot *take_slot(struct cbt_dlq_feed *feed, uint64_t *ret_token)
{
    uint64_t i = 0;
    while (feed->slots[i].used) /* there are as many as frames */
        i++;
    *ret_token = i;
    feed->used++;
    return &feed->slots[i];
}

/* Copies a text behind what is there, with a NUL. */
static struct cbt_text put(uint8_t **at, struct cbt_text text)
{
    struct cbt_text copy = {*at, text.len};
    if (text.len > 0)
        memcpy(*at, text.data, text.len);
    (*at)[text.len] = '\0';
    *at += text.len + 1;
    return copy;
}

static void fill(struct cbt_dlq_feed *feed, struct cbt_frame *frame, enum cbt_framing framing)
{
    const struct cbt_dlq_letter *letter = &feed->letter;
    int64_t number;
    uint8_t *at = (uint8_t *)(uintptr_t)frame->body.data;
    frame->env = cbt_dlq_environment(letter);
    frame->body = put(&at, letter->value);
    frame->routing_key = put(&at, cbt_dlq_text(letter, "routing_key"));
    frame->content_type = put(&at, cbt_dlq_text(letter, "content_type"));
    frame->env.host_name = put(&at, frame->env.host_name);
    frame->source = (const char *)put(&at, cbt_dlq_text(letter, "source")).data;
    frame->framing = framing;
    frame->redelivered = true;
    frame->replays = 1;
    if (cbt_dlq_number(letter, "replays", &number) && number > 0 && number < UINT32_MAX)
        frame->replays = (uint32_t)number + 1;
    if (cbt_dlq_number(letter, "arrived_unix_ms", &number) && number > 0)
        frame->arrived_wall_ms = number;
    struct cbt_dlq_slot *slot = take_slot(feed, &frame->token);
    *slot = (struct cbt_dlq_slot){
        .used = true, .in_dir = letter->in_dir, .partition = letter->partition, .offset = letter->offset};
    memcpy(slot->where, letter->where, sizeof slot->where);
}

/* 1: handed over or left out; CBT_ELIMIT: no room. */
static int hand_over(struct cbt_dlq_feed *feed)
{
    static const char *const texts[] = {"routing_key", "content_type", "host_name", "source"};
    struct cbt_dlq_letter *letter = &feed->letter;
    struct cbt_err err = {0};
    enum cbt_framing framing;
    if (!cbt_dlq_framing(letter, &framing)) {
        skip(feed, "it is an encoded event that Kafka refused, which decoding does not take: cbtap dlq show "
                   "says what to do");
        return 1;
    }
    /* Not along with others, which would not get through either. */
    if (feed->dlq->where_count == 0 && cbt_dlq_is_poison(letter)) {
        skip(feed,
             "decoding it ended the daemon: replay it by its place, alone, with a version in which that "
             "is mended");
        return 1;
    }
    if ((!letter->in_dir || letter->value.data == NULL) && cbt_dlq_load(feed->dlq, letter, &err) != 0) {
        skip(feed, err.text);
        return 1;
    }
    size_t bytes = letter->value.len + 1;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        bytes += cbt_dlq_text(letter, texts[i]).len + 1;
    struct cbt_frame *frame = cbt_receiver_take(feed->feed.receiver, bytes);
    if (frame == NULL)
        return CBT_ELIMIT;
    fill(feed, frame, framing);
    feed->has_letter = false;
    cbt_receiver_push(feed->feed.receiver, frame);
    return 1;
}

static int feed_read(void *self, unsigned count_max, struct cbt_err *err)
{
    struct cbt_dlq_feed *feed = self;
    unsigned count = 0;
    (void)err;
    while (count < count_max && get_letter(feed, count == 0 ? WAIT_MS : 0)) {
        if (hand_over(feed) == CBT_ELIMIT)
            return count > 0 ? (int)count : CBT_ELIMIT;
        count++;
    }
    look_whether_done(feed);
    return (int)count;
}

static void tell_failed(const struct cbt_dlq_slot *slot, const struct cbt_frame *frame)
{
    enum cbt_dead_reason reason = (enum cbt_dead_reason)atomic_load(&frame->dead_reason);
    cbt_log_warning("broken still: it is a dead letter again", CBT_S("where", slot->where),
                    CBT_S("reason", cbt_dead_reason_name(reason)),
                    CBT_I("dead_letters", atomic_load(&frame->dead_letters)),
                    CBT_I("replays", frame->replays));
}

static int feed_settle(void *self, struct cbt_frame *const done[], size_t count, struct cbt_err *err)
{
    struct cbt_dlq_feed *feed = self;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        struct cbt_dlq_slot *slot = &feed->slots[done[i]->token];
        struct cbt_err why;
        if (atomic_load(&done[i]->dead_letters) != 0) {
            feed->failed++;
            tell_failed(slot, done[i]);
        } else if (done[i]->records == 0) {
            feed->filtered++;
        } else {
            feed->replayed++;
        }
        /* Its dead letter of now, if there is one, is kept already. */
        if (slot->in_dir && cbt_dlq_dir_remove(&feed->dlq->dir, slot->where, &why) != 0) {
            feed->kept++;
            cbt_log_error("replayed, and cannot be removed: it would be replayed again",
                          CBT_S("where", slot->where), CBT_S("reason", why.text));
        }
        slot->used = false;
        feed->used--;
    }
    cbt_count(cbt_receiver_stats(feed->feed.receiver), CBT_COUNT_settled_frames, count);
    look_whether_done(feed);
    return CBT_OK;
}

const struct cbt_source cbt_dlq_source = {
    .type = "dead letters",
    .frames_max = frames_max,
    .read = feed_read,
    .settle = feed_settle,
    CBT_FEED_CALLS,
};
