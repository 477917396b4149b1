/* SPDX-License-Identifier: MIT */
/*
 * The raw format: the record or notification as it came (of a notification's `docs` only this event's entry);
 * type, sensor and host are headers.
 *
 * The event was decoded all the same, although nothing of that is written: what is valid, and what is a dead
 * letter, does not depend on the format that a sink happens to have. (What the filter drops is not decoded,
 * here as everywhere.) Owns nothing, and an instance has no state.
 */
#include "cbtap/format.h"
#include "cbtap/notification.h"

static int open_raw(void **ret_self, const struct cbt_format_options *options, struct cbt_err *err)
{
    (void)options;
    (void)err;
    *ret_self = NULL;
    return CBT_OK;
}

static int encode(const void *self, const struct cbt_event *event, struct cbt_buf *out, struct cbt_err *err)
{
    (void)self;
    if (event->notification != NULL)
        cbt_note_put_text(event->notification, out);
    else
        cbt_buf_put(out, event->raw.data, event->raw.len);
    if (out->failed)
        return cbt_err_set(err, CBT_ELIMIT, "the event is larger than a record may be");
    return CBT_OK;
}

static void close_raw(void *self)
{
    (void)self;
}

const struct cbt_format cbt_format_raw = {
    .name = "raw", .headers = true, .open = open_raw, .encode = encode, .close = close_raw};
