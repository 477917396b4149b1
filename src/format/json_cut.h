/* SPDX-License-Identifier: MIT */
/* An event as the tokens of its JSON, for formats that are made of the json format's output. */
#ifndef CBTAP_FORMAT_JSON_CUT_H
#define CBTAP_FORMAT_JSON_CUT_H

#include "cbtap/format.h"
#include "cbtap/json_tokens.h"

/* `json` is an instance of the json format. Text and tokens lie in the event's arena; CBT_ELIMIT: that is
 * used up. @thread worker */
int cbt_json_cut(const void *json, const struct cbt_event *event, struct cbt_json_tokens *ret_tokens,
                 struct cbt_err *err);

#endif
