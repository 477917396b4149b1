/* SPDX-License-Identifier: MIT */
/* Whether a text is a JSON object, by its syntax and depth (yajl). */
#ifndef CBTAP_JSON_JUDGE_H
#define CBTAP_JSON_JUDGE_H

#include "cbtap/arena.h"
#include "cbtap/text.h"

#define CBT_JSON_DEPTH_MAX 100u

enum cbt_json_verdict {
    CBT_JSON_OBJECT,    /* one object and nothing else; what its strings hold need not be valid Unicode */
    CBT_JSON_NONE,      /* no JSON, or another value than an object */
    CBT_JSON_TOO_DEEP,  /* nests deeper than CBT_JSON_DEPTH_MAX */
    CBT_JSON_TOO_LARGE, /* the arena's rest is not four times the text, and a little */
};

/* Takes white space away from both ends of *json and judges the rest. What it allocates in the arena is given
 * back. @thread the arena's owner */
enum cbt_json_verdict cbt_json_judge(struct cbt_text *json, struct cbt_arena *arena);

#endif
