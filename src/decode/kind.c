/* SPDX-License-Identifier: MIT */
/* Telling bodies apart: see kind.h. */
#include "decode/kind.h"

#include <string.h>
#include <strings.h>

static bool is_zip(struct cbt_text body)
{
    return body.len >= 4 && (memcmp(body.data, "PK\3\4", 4) == 0 || memcmp(body.data, "PK\5\6", 4) == 0);
}

/* "application/json", with or without parameters, in any case. */
static bool is_json_type(struct cbt_text type)
{
    static const char json[] = "application/json";
    const size_t len = sizeof(json) - 1;
    if (type.len < len || strncasecmp((const char *)type.data, json, len) != 0)
        return false;
    return type.len == len || type.data[len] == ';' || type.data[len] == ' ';
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
    if (is_json_type(content_type) || (content_type.len == 0 && body.data[0] == '{'))
        return CBT_KIND_NOTIFICATION;
    return looks_like_bundle(body) ? CBT_KIND_BUNDLE : CBT_KIND_EVENT;
}
