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
        NULL,
    };
    for (const struct cbt_source *const *source = sources; *source != NULL; source++)
        if (strcmp((*source)->type, type) == 0)
            return *source;
    return NULL;
}

const struct cbt_source *cbt_source_of(const struct cbt_source_config *config)
{
    if (config->source != NULL)
        return config->source;
    const struct cbt_source *source = cbt_source_find(config->type);
    bool spools = source == &cbt_source_redis && config->redis.spool_dir[0] != '\0';
    return spools ? &cbt_source_redis_spool : source;
}
