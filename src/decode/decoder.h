/* SPDX-License-Identifier: MIT */
/* What event and notification decoding share: the decoder. */
#ifndef CBTAP_DECODE_DECODER_H
#define CBTAP_DECODE_DECODER_H

#include "cbtap/arena.h"
#include "cbtap/decode.h"
#include "cbtap/notification.h"
#include "decode/unpack.h"

struct cbt_decoder {
    struct cbt_arena arena;
    size_t record_max_bytes;
    const struct cbt_unpack_row *members; /* of CbEventMsg, by number */
    /* The notification whose events are being taken. */
    struct cbt_notification note;
    const struct cbt_note_query *next_query; /* of an entry that is still to come */
    struct cbt_text note_type;
    size_t note_used; /* of the arena, by what all its events share */
};

#endif
