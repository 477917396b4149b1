/* SPDX-License-Identifier: MIT */
/*
 * Stands in front of the decoder (by the linker's --wrap) and aborts where the record holds a marker: a
 * decoder with a bug that a message sets off.
 */
#include <stdlib.h>
#include <string.h>

#include "cbtap/decode.h"

#define MARKER "-crash-the-decoder-"

int __real_cbt_decode_event(struct cbt_decoder *decoder, struct cbt_text record,
                            const struct cbt_environment *frame_env, struct cbt_event *ret_event,
                            enum cbt_dead_reason *ret_reason, struct cbt_err *err);
int __wrap_cbt_decode_event(struct cbt_decoder *decoder, struct cbt_text record,
                            const struct cbt_environment *frame_env, struct cbt_event *ret_event,
                            enum cbt_dead_reason *ret_reason, struct cbt_err *err);

int __wrap_cbt_decode_event(struct cbt_decoder *decoder, struct cbt_text record,
                            const struct cbt_environment *frame_env, struct cbt_event *ret_event,
                            enum cbt_dead_reason *ret_reason, struct cbt_err *err)
{
    if (memmem(record.data, record.len, MARKER, strlen(MARKER)) != NULL)
        abort();
    return __real_cbt_decode_event(decoder, record, frame_env, ret_event, ret_reason, err);
}
