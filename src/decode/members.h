/* SPDX-License-Identifier: MIT */
/* The members of CbEventMsg as protobuf-c's tables describe them, and the merging of those that come twice.
 */
#ifndef CBTAP_DECODE_MEMBERS_H
#define CBTAP_DECODE_MEMBERS_H

#include <protobuf-c/protobuf-c.h>

#include "cbtap/arena.h"
#include "decode/record.h"

struct cbt_member_row {
    const ProtobufCMessageDescriptor *descriptor;
    uint32_t offset;   /* of the pointer in struct CbEventMsg */
    uint32_t singular; /* a bit for each of its own fields that is a sub-message and not repeated */
    const char *name;
};

/* Fills rows 1 to CBT_MEMBERS - 1 from the descriptor of CbEventMsg. */
void cbt_members_init(struct cbt_member_row rows[CBT_MEMBERS]);

/* All occurrences of a member in a record, their payloads joined: by the definition of protobuf that is the
 * merged member. CBT_EINVAL where one of them is malformed on its own, CBT_ELIMIT where the arena is full. */
int cbt_member_join(struct cbt_arena *arena, struct cbt_text record, uint32_t number,
                    struct cbt_text *ret_payload);

/* Whether a member's payload repeats a singular sub-message: 1, 0, or -1 where it is malformed. */
int cbt_member_repeats(const struct cbt_member_row *row, struct cbt_text payload);

/* Rewrites such a payload so that each comes once. CBT_EINVAL and CBT_ELIMIT as above. */
int cbt_member_flatten(struct cbt_arena *arena, const struct cbt_member_row *row, struct cbt_text *payload);

#endif
