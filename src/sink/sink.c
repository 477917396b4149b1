/* SPDX-License-Identifier: MIT */
/* The table of sinks. */
#include "cbtap/sink.h"

#include <string.h>

#define CBT_SINK(type) extern const struct cbt_sink cbt_sink_##type;
#include "sink/sinks.def"

static const struct cbt_sink *const sinks[] = {
#define CBT_SINK(type) &cbt_sink_##type,
#include "sink/sinks.def"
};

const struct cbt_sink *cbt_sink_find(const char *type)
{
    for (size_t i = 0; i < sizeof(sinks) / sizeof(sinks[0]); i++)
        if (strcmp(sinks[i]->type, type) == 0)
            return sinks[i];
    return NULL;
}
