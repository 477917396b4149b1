/* SPDX-License-Identifier: MIT */
/* The table of sources: see sources.def. */
#include "cbtap/source.h"

#include <string.h>

#define CBT_SOURCE(type) extern const struct cbt_source cbt_source_##type;
#include "ingest/sources.def"

const struct cbt_source *cbt_source_find(const char *type)
{
    static const struct cbt_source *const sources[] = {
#define CBT_SOURCE(type) &cbt_source_##type,
#include "ingest/sources.def"
    };
    for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++)
        if (strcmp(sources[i]->type, type) == 0)
            return sources[i];
    return NULL;
}
