/* SPDX-License-Identifier: MIT */
/* A record's top level: the members of CbEventMsg. */
#ifndef CBTAP_DECODE_RECORD_H
#define CBTAP_DECODE_RECORD_H

#include "cbtap/event.h"
#include "decode/wire.h"

/* Field numbers of CbEventMsg. */
enum cbt_member {
    CBT_MEMBER_header = 1,
    CBT_MEMBER_strings = 2,
    CBT_MEMBER_process = 3,
    CBT_MEMBER_modload = 4,
    CBT_MEMBER_filemod = 5,
    CBT_MEMBER_network = 6,
    CBT_MEMBER_regmod = 7,
    CBT_MEMBER_stats = 8,
    CBT_MEMBER_module = 9,
    CBT_MEMBER_vtwrite = 10,
    CBT_MEMBER_vtload = 11,
    CBT_MEMBER_childproc = 12,
    CBT_MEMBER_env = 13,
    CBT_MEMBER_crossproc = 14,
    CBT_MEMBER_tamperAlert = 15,
    CBT_MEMBER_blocked = 16,
    CBT_MEMBER_emet = 17,
    CBT_MEMBER_netconnBlocked = 18,
    CBT_MEMBER_processMeta = 19,
    CBT_MEMBER_networkv2 = 20,
    CBT_MEMBER_netconnBlockedv2 = 21,
    CBT_MEMBER_internalUse = 22,
    CBT_MEMBER_scriptexe = 23,
    CBT_MEMBER_fbscriptexe = 24,
    CBT_MEMBERS
};

#define CBT_MEMBER_BIT(number) (1u << (number))

/* The type of a record whose top level scans, with these members. */
enum cbt_event_type cbt_record_type(uint32_t present, struct cbt_text record);

#endif
