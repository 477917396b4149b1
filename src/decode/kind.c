/* SPDX-License-Identifier: MIT */
/* Telling bodies apart: see kind.h. */
#include "decode/kind.h"

#include <string.h>
#include <strings.h>

static bool is_zip(struct cbt_text body)
{
    return body.len >= 4 && (memcmp(body.data, "PK\3\4", 4) == 0 || memcmp(body.data, "PK\5\6", 4) == 0);
}

const char *cbt_framing_name(enum cbt_framing framing)
{
    static const char *const names[] = {
        [CBT_FRAMING_DETECT] = "detect", [CBT_FRAMING_BUNDLE] = "bundle", [CBT_FRAMING_EVENT] = "event"};
    return names[framing];
}

bool cbt_content_type_is(struct cbt_text content_type, const char *name)
{
    const size_t len = strlen(name);
    if (content_type.len < len || strncasecmp((const char *)content_type.data, name, len) != 0)
        return false;
    return content_type.len == len || memchr("; \t", content_type.data[len], 3) != NULL;
}

/* A bundle's first record begins with field 1, length-delimited (the header): byte 0x0A. */
static bool looks_like_bundle(struct cbt_text body)
{
    return body.len >= 5 && cbt_le32(body.data) <= body.len - 4 && body.data[4] == 0x0A;
}

enum cbt_kind cbt_kind_of(struct cbt_text body, struct cbt_text content_type, enum cbt_framing framing)
{
    if (body.len == 0)
        return CBT_KIND_EMPTY;
    if (framing == CBT_FRAMING_EVENT)
        return CBT_KIND_EVENT;
    if (is_zip(body))
        return CBT_KIND_ZIP;
    if (framing == CBT_FRAMING_BUNDLE)
        return CBT_KIND_BUNDLE;
    if (cbt_content_type_is(content_type, "application/json"))
        return CBT_KIND_NOTIFICATION;
    /* Before the look for a brace, which is the first byte of a length of 123, 379, ...; what a JSON text
     * begins with is, as a length, beyond 150 MB. */
    if (looks_like_bundle(body))
        return CBT_KIND_BUNDLE;
    return content_type.len == 0 && body.data[0] == '{' ? CBT_KIND_NOTIFICATION : CBT_KIND_EVENT;
}
