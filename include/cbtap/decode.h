/* SPDX-License-Identifier: MIT */
/* From a message body to its events: the walk over zip entries and records, and the decoding of one record.
 */
#ifndef CBTAP_DECODE_H
#define CBTAP_DECODE_H

#include "cbtap/err.h"
#include "cbtap/event.h"
#include "cbtap/reason.h"

struct cbt_decode_limits {
    size_t arena_max_bytes;   /* decode.arena_max_bytes */
    size_t record_max_bytes;  /* decode.record_max_bytes */
    uint32_t zip_entries_max; /* decode.zip.entries_max */
    size_t zip_inflated_max_bytes;
    uint32_t zip_ratio_max;
    uint32_t records_max; /* decode.records_max; 0: no limit */
};

/* After so many parts of a body that cannot be decoded, its rest is one (CBT_DEAD_too_many_broken). */
#define CBT_BROKEN_PARTS_MAX 100

/* What is known of a body's shape beforehand: by its source (spec bus.md), or of a part by where it was. */
enum cbt_framing {
    CBT_FRAMING_DETECT, /* tell by the content type and the body */
    CBT_FRAMING_BUNDLE, /* api.rawsensordata: a zip or a bundle, never a single event */
    CBT_FRAMING_EVENT,  /* api.events with application/protobuf: one CbEventMsg */
};

/* "detect", "bundle", "event". @thread any */
const char *cbt_framing_name(enum cbt_framing framing);

/* "application/json" in any case, with or without parameters (RFC 2045, section 5.1). @thread any */
bool cbt_content_type_is(struct cbt_text content_type, const char *name);

enum cbt_part_kind {
    CBT_PART_EVENT,        /* data is one CbEventMsg */
    CBT_PART_NOTIFICATION, /* data is one JSON text */
    CBT_PART_BROKEN,       /* data is what cannot be decoded: a dead letter with `reason` */
};

struct cbt_part {
    enum cbt_part_kind kind;
    enum cbt_dead_reason reason; /* of a broken part */
    struct cbt_text data;        /* valid until the next call on the walk */
    enum cbt_framing framing;    /* how data is to be walked if it comes again by itself */
    bool in_body;                /* data lies within the body that was given (not in inflated memory) */
    uint32_t entry;              /* index of the zip entry, 0 where there is no zip */
    uint32_t index;              /* index of the record in its bundle */
    uint64_t offset;             /* byte offset of the record's length (or of the JSON text) in its bundle */
};

/* One for each worker: inflate state and buffer, reused from frame to frame. */
struct cbt_walk;

int cbt_walk_new(struct cbt_walk **ret_walk, const struct cbt_decode_limits *limits, struct cbt_err *err);
void cbt_walk_free(struct cbt_walk *walk);

/* Starts on a body, which must stay until the last cbt_walk_next. Never fails: what is wrong comes as broken
 * parts. `content_type` may be empty. @thread worker */
void cbt_walk_start(struct cbt_walk *walk, struct cbt_text body, struct cbt_text content_type,
                    enum cbt_framing framing);

/* The next part in order; false at the end. A cut-off bundle gives every whole record, then one broken part
 * for the rest. @thread worker */
bool cbt_walk_next(struct cbt_walk *walk, struct cbt_part *ret_part);

/* Bytes that the walk holds for the entry at hand (inflated, or copied), for the budget; some of that, at
 * most CBT_ARENA_KEEP_BYTES, also at the end. @thread worker */
size_t cbt_walk_held_bytes(const struct cbt_walk *walk);

/* Lets go of the body, where the end is not waited for. @thread worker */
void cbt_walk_stop(struct cbt_walk *walk);

/* The sensor id of a body's first record, by a peek at the wire (zip: false). For choosing a lane, and for
 * what cannot be decoded. @thread receiver, worker */
bool cbt_peek_sensor_id(struct cbt_text body, struct cbt_text content_type, enum cbt_framing framing,
                        int32_t *ret_sensor_id);

/* One for each worker: the arena. */
struct cbt_decoder;

int cbt_decoder_new(struct cbt_decoder **ret_decoder, const struct cbt_decode_limits *limits,
                    struct cbt_err *err);
void cbt_decoder_free(struct cbt_decoder *decoder);

/* The same as of the walk, for the record at hand. @thread worker */
size_t cbt_decoder_held_bytes(const struct cbt_decoder *decoder);
void cbt_decoder_stop(struct cbt_decoder *decoder);

/* The type of a record by a scan of its top level, without decoding it. A record that does not even scan is
 * CBT_TYPE_unknown: decoding will say why. @thread worker */
enum cbt_event_type cbt_peek_type(struct cbt_text record);

/* Decodes one record; the event lives until the next call. `frame_env` fills what the record's own env leaves
 * out. Returns 0, or CBT_EINVAL / CBT_ELIMIT with *ret_reason and a text that names the place. @thread worker
 */
int cbt_decode_event(struct cbt_decoder *decoder, struct cbt_text record,
                     const struct cbt_environment *frame_env, struct cbt_event *ret_event,
                     enum cbt_dead_reason *ret_reason, struct cbt_err *err);

/* The type of a notification, which its routing key alone tells (feed.<id>.<rest> is feed.<rest>), for the
 * filter; the text lives until the next call on the decoder. False where even for that the arena is too
 * small: decoding will say so. @thread worker */
bool cbt_notification_type(struct cbt_decoder *decoder, struct cbt_text routing_key,
                           struct cbt_text *ret_type);

/* One notification: type from the routing key (feed.<id>.<rest> is feed.<rest>), sensor id and time where it,
 * or else this event's entry of docs, has them. A notification gives an event for each entry of its docs:
 * call with *cursor = 0 first, until it returns 0 for no more; 1: an event, which lives until the next call;
 * negative: *ret_reason set (not a JSON object; too complex), and so only at the first call, before any
 * event. @thread worker */
int cbt_decode_notification(struct cbt_decoder *decoder, struct cbt_text json, struct cbt_text routing_key,
                            size_t *cursor, struct cbt_event *ret_event, enum cbt_dead_reason *ret_reason,
                            struct cbt_err *err);

/* Writes the event's process_guid (spec events.md) at `out`, at most 36 bytes, and returns its length; 0 for
 * an event that has none. @thread worker */
size_t cbt_event_process_guid(const struct cbt_event *event, uint8_t out[36]);

/* The filter of [filter] types and drop: globs over type names with or without "ingress.event.". */
struct cbt_filter;
int cbt_filter_new(struct cbt_filter **ret_filter, const char *types, const char *drop, struct cbt_err *err);
void cbt_filter_free(struct cbt_filter *filter);
/* An endpoint type: a table look-up. @thread worker */
bool cbt_filter_takes(const struct cbt_filter *filter, enum cbt_event_type type);
/* A notification by its name. @thread worker */
bool cbt_filter_takes_name(const struct cbt_filter *filter, struct cbt_text name);

#endif
