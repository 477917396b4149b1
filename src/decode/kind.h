/* SPDX-License-Identifier: MIT */
/* What a message body is: a zip of bundles, a bundle, a single event or a notification (spec bus.md). */
#ifndef CBTAP_DECODE_KIND_H
#define CBTAP_DECODE_KIND_H

#include "cbtap/decode.h"

enum cbt_kind {
    CBT_KIND_EMPTY,
    CBT_KIND_ZIP,
    CBT_KIND_BUNDLE,
    CBT_KIND_EVENT,
    CBT_KIND_NOTIFICATION,
};

/* The body decides; the content type only tells JSON, and `framing` what else its source cannot send. */
enum cbt_kind cbt_kind_of(struct cbt_text body, struct cbt_text content_type, enum cbt_framing framing);

/* A 16- or 32-bit little-endian number at any address. */
static inline uint32_t cbt_le16(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8;
}
static inline uint32_t cbt_le32(const uint8_t *at)
{
    return cbt_le16(at) | cbt_le16(at + 2) << 16;
}

#endif
