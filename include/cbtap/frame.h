/* SPDX-License-Identifier: MIT */
/*
 * Frames and records. A frame is one message from a source, from its receipt to its settlement; a record is
 * one output made from it. A frame is born and recycled on its receiver's thread; in between exactly one
 * thread owns it.
 */
#ifndef CBTAP_FRAME_H
#define CBTAP_FRAME_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cbtap/block.h"
#include "cbtap/decode.h"
#include "cbtap/event.h"
#include "cbtap/text.h"

struct cbt_receiver;
struct cbt_poison_suspect;

struct cbt_frame {
    /* Written by the source before the frame is handed over, then read only. The texts lie in body_block. */
    struct cbt_text body;
    struct cbt_text routing_key;
    struct cbt_text content_type;
    struct cbt_environment env;
    enum cbt_framing framing;
    bool redelivered;
    bool maybe_again; /* its source cannot tell whether an earlier process had it */
    bool unwanted; /* its routing key is not configured: filtered, see CBT_FILTERED_unmatched_routing_key */
    bool spilled;  /* larger than frame_max_bytes: its body went to dead_letter_dir, there is none here */
    bool broken;   /* its source knows that it cannot be decoded: a dead letter of broken_reason, whole */
    bool has_lane; /* what its source cut it from goes the way of sensor `lane`, whatever its first record */
    enum cbt_dead_reason broken_reason;
    int32_t lane;
    const char *broken_detail; /* static, or NULL */
    uint32_t poison_tries;     /* after how many crashes it is not decoded again, see poison.h; 0: its source
                                  never delivers again */
    uint64_t token;            /* the source's: AMQP delivery tag */
    uint32_t generation;       /* the source's: which channel the token belongs to */
    int64_t arrived_ns;        /* cbt_now_ns */
    int64_t arrived_wall_ms;
    const char *source;   /* of one that is replayed: the section it first came from; NULL: its receiver's */
    uint32_t replays;     /* how often it has been replayed, this time included; 0: it is new */
    struct cbt_text file; /* the file that it was cut from; empty: none. Where it begins there: */
    uint64_t file_offset; /* (of what is compressed, where it would be uncompressed) */
    uint32_t file_index;  /* records before it */

    /* The receiver's. */
    struct cbt_receiver *receiver;
    unsigned receiver_index; /* its settle ring in each settler */
    struct cbt_block *body_block;
    struct cbt_frame *older,
        *newer; /* in flight, in the order of arrival; `newer` links the free ones, too */

    /* The worker's: where its records lie, `record_blocks` blocks from first_block on (block->next). */
    struct cbt_block *first_block;
    uint32_t record_blocks;
    uint32_t records;           /* charged with CBT_RECORD_OVERHEAD_BYTES each until the frame is recycled */
    int64_t submitted_ns;       /* first hand-over to a sink */
    int64_t last_event_unix_ms; /* time of its last event, 0 where none has one */
    struct cbt_poison_suspect *suspect; /* it is poison: to be forgotten when it is settled; else NULL */

    /* Dead letters made of it, by its worker and by sinks, and why the last one: for whoever replays. */
    _Atomic uint32_t dead_letters;
    _Atomic uint32_t dead_reason; /* enum cbt_dead_reason */

    /* Records not yet delivered, and one that the worker holds while it is at it. */
    _Atomic uint32_t pending;
};

/* Notes that a dead letter is made of it. @thread worker, sink; before its record is settled */
static inline void cbt_frame_note_dead(struct cbt_frame *frame, enum cbt_dead_reason reason)
{
    atomic_store_explicit(&frame->dead_reason, reason, memory_order_relaxed);
    atomic_fetch_add_explicit(&frame->dead_letters, 1, memory_order_relaxed);
}

/* What a record is charged for librdkafka's own memory. */
#define CBT_RECORD_OVERHEAD_BYTES 256

/* Why a record is a dead letter, where it stood, and how it is to be read. */
struct cbt_dead_letter {
    enum cbt_dead_reason reason;
    enum cbt_framing framing;
    const char *detail; /* a sentence; in the frame's memory or static; never NULL */
    uint32_t entry, index;
    uint64_t offset;
};

/* One output: its value follows in the same block. Lives until its frame is recycled. */
struct cbt_record {
    struct cbt_frame *frame;
    const struct cbt_dead_letter *dead; /* NULL: an event */
    const uint8_t *value;
    const uint8_t *key; /* NULL: no key */
    struct cbt_text type_name;
    struct cbt_text event_type_name;
    int64_t unix_ms; /* the event's own time, 0 where unknown */
    uint32_t value_len;
    uint32_t key_len;
    int32_t sensor_id;
    uint32_t host_len; /* of the host's name, right behind the value; 0 where the format wants no headers */

    /* The sink's. */
    uint64_t seq; /* submission number: the order in which records are sent again */
    struct cbt_record *next;
    int32_t partition;
    uint16_t topic;
    uint8_t tries;
    uint8_t state;
};

#endif
