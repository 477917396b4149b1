/* SPDX-License-Identifier: MIT */
/* The table of output formats. */
#include "cbtap/format.h"

#include <string.h>

#define CBT_FORMAT(name) extern const struct cbt_format cbt_format_##name;
#include "format/formats.def"

static const struct cbt_format *const formats[] = {
#define CBT_FORMAT(name) &cbt_format_##name,
#include "format/formats.def"
};

const struct cbt_format *cbt_format_find(const char *name)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (strcmp(formats[i]->name, name) == 0)
            return formats[i];
    return NULL;
}
