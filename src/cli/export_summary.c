/* SPDX-License-Identifier: MIT */
/* What export says at its end, whatever it wrote to: how many files, and what became of the events. */
#include <stdio.h>

#include "cbtap/log.h"
#include "cli/export.h"
#include "decode/limits.h"

#define TYPE_BYTES 256 /* more than a routing key has */

struct cbt_export_count cbt_export_sum(const struct cbt_export_totals *totals)
{
    struct cbt_export_count sum = {0};
    for (size_t i = 0; i < CBT_TYPES; i++) {
        sum.events += totals->counts[i].events;
        sum.dead_letters += totals->counts[i].dead_letters;
        sum.filtered += totals->counts[i].filtered;
    }
    return sum;
}

/* All notifications are of one type, which the routing key tells. */
static void name_notifications(const struct cbt_export *x, char out[TYPE_BYTES])
{
    const struct cbt_decode_limits limits = cbt_decode_limits_of(&x->config->decode);
    struct cbt_decoder *decoder = NULL;
    struct cbt_text type = x->routing_key;
    struct cbt_err err;
    if (cbt_decoder_new(&decoder, &limits, &err) == CBT_OK)
        cbt_notification_type(decoder, x->routing_key, &type);
    snprintf(out, TYPE_BYTES, "%.*s", (int)type.len, (const char *)type.data);
    cbt_decoder_free(decoder);
}

void cbt_export_summarize(const struct cbt_export *x, const struct cbt_export_totals *totals)
{
    const struct cbt_export_count sum = cbt_export_sum(totals);
    char notifications[TYPE_BYTES] = "";
    if (x->args->notification != NULL)
        name_notifications(x, notifications);
    cbt_log_info("exported", CBT_I("files", totals->files), CBT_I("unreadable", totals->unreadable),
                 CBT_I("events", sum.events), CBT_I("dead_letters", sum.dead_letters),
                 CBT_I("filtered", sum.filtered));
    if (x->args->remove)
        cbt_log_info("removed", CBT_I("files", totals->removed), CBT_I("kept", totals->kept));
    for (size_t i = 0; i < CBT_TYPES; i++) {
        const struct cbt_export_count *count = &totals->counts[i];
        const char *name = i == CBT_TYPE_NOTIFICATION && *notifications
                               ? notifications
                               : cbt_event_type_name((enum cbt_event_type)i);
        if (count->events + count->dead_letters + count->filtered > 0)
            cbt_log_info("exported", CBT_S("type", name), CBT_I("events", count->events),
                         CBT_I("dead_letters", count->dead_letters), CBT_I("filtered", count->filtered));
    }
}
