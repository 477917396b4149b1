/* SPDX-License-Identifier: MIT */
/*
 * From the wire to the structures that protobuf-c generates, by tables that are made of its descriptors.
 *
 * In place of protobuf_c_message_unpack, which takes four fifths of the instructions of decoding an
 * endpoint's small messages, and which a hostile record drives into quadratic time. What differs: a text lies
 * where it lay on the wire, so that the wire must stay; unknown fields are passed over; a sub-message that
 * comes again is merged into what is there, as protobuf defines it; a bool that is no varint is malformed, as
 * any other field of a wire type not its own. Whether a required field is there is the caller's to see.
 */
#ifndef CBTAP_DECODE_UNPACK_H
#define CBTAP_DECODE_UNPACK_H

#include <protobuf-c/protobuf-c.h>

#include "cbtap/arena.h"
#include "cbtap/text.h"

/* The highest number of a field is below this; 0 is none. */
#define CBT_UNPACK_NUMBERS 32
/* As often a sub-message may come that may come often: paths of an event, of which real ones have a handful.
 */
#define CBT_UNPACK_REPEATS_MAX 65536u

enum cbt_unpack_kind {
    CBT_UNPACK_UNKNOWN, /* there is no such field */
    CBT_UNPACK_BOOL,
    CBT_UNPACK_32BIT, /* int32, uint32, enum */
    CBT_UNPACK_64BIT, /* int64, uint64 */
    CBT_UNPACK_BYTES,
    CBT_UNPACK_MESSAGE,
    CBT_UNPACK_MESSAGES,
};

/* A field of a message: eight bytes. */
struct cbt_unpack_row {
    uint8_t kind;
    uint8_t wire;        /* its type on the wire */
    uint8_t shape;       /* of a sub-message: its index */
    uint16_t offset;     /* in the structure */
    uint16_t quantifier; /* of has_NAME or n_NAME; 0: there is none */
};

/* A message. */
struct cbt_unpack_shape {
    const ProtobufCMessageDescriptor *descriptor;
    struct cbt_unpack_row rows[CBT_UNPACK_NUMBERS]; /* by number */
};

/* The shape of CbEventMsg, the first of all; made at the first call. @thread any */
const struct cbt_unpack_shape *cbt_unpack_shapes(void);

/*
 * Unpacks what one field of a structure holds: the sub-message of `row`, which has all of `payload` and goes
 * to where the row says in `parent`. The bits of the numbers of its fields are added to *seen. CBT_EINVAL:
 * malformed; CBT_ELIMIT: the arena is full, or there are too many. What was unpacked points into `payload`.
 * @thread the arena's owner
 */
int cbt_unpack(struct cbt_arena *arena, const struct cbt_unpack_row *row, struct cbt_text payload,
               void *parent, uint32_t *seen);

#endif
