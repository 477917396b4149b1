/* SPDX-License-Identifier: MIT */
/* What event and notification decoding share: the decoder. */
#ifndef CBTAP_DECODE_DECODER_H
#define CBTAP_DECODE_DECODER_H

#include "cbtap/decode.h"
#include "cbtap/arena.h"
#include "decode/members.h"

struct cbt_decoder {
    struct cbt_arena arena;
    size_t record_max_bytes;
    struct cbt_member_row members[CBT_MEMBERS];
};

#endif
