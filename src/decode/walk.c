/* SPDX-License-Identifier: MIT */
/*
 * The walk over a message body: from zip, bundle, single event or notification to parts, one at a time.
 *
 * Happy path: a zip's entries in turn, each a bundle, each bundle's records in turn, nothing copied. Failure:
 * a bundle that is cut off gives its whole records, then the rest as one broken part; a record over the limit
 * is one broken part and its neighbours go on; what is wrong with a zip is said by entry. No length is
 * believed before it has been held against what is there. Owns: what zip.h owns.
 */
#include <stdlib.h>

#include "decode/kind.h"
#include "decode/zip.h"

enum state {
    AT_END,
    AT_WHOLE,  /* the body is one part */
    AT_BUNDLE, /* in a bundle: the body, or a zip entry */
    AT_ZIP,    /* between zip entries */
};

struct cbt_walk {
    size_t record_max_bytes;
    enum state state;
    bool in_zip;
    bool in_body; /* the bundle at hand lies in the body */
    uint32_t entry;
    uint32_t index;
    size_t offset; /* of the next record in the bundle */
    struct cbt_text bundle;
    struct cbt_part whole;
    struct cbt_zip zip;
};

int cbt_walk_new(struct cbt_walk **ret_walk, const struct cbt_decode_limits *limits, struct cbt_err *err)
{
    struct cbt_walk *walk = calloc(1, sizeof(*walk));
    if (walk == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a bundle walk");
    walk->record_max_bytes = limits->record_max_bytes;
    int rc = cbt_zip_init(&walk->zip, limits, err);
    if (rc != 0) {
        free(walk);
        return rc;
    }
    *ret_walk = walk;
    return CBT_OK;
}

void cbt_walk_free(struct cbt_walk *walk)
{
    if (walk == NULL)
        return;
    cbt_zip_free(&walk->zip);
    free(walk);
}

size_t cbt_walk_held_bytes(const struct cbt_walk *walk)
{
    return cbt_zip_held_bytes(&walk->zip);
}

void cbt_walk_stop(struct cbt_walk *walk)
{
    if (walk->in_zip)
        cbt_zip_finish(&walk->zip);
    walk->in_zip = false;
    walk->state = AT_END;
}

static void start_bundle(struct cbt_walk *walk, struct cbt_text bundle, bool in_body, uint32_t entry)
{
    walk->state = AT_BUNDLE;
    walk->bundle = bundle;
    walk->in_body = in_body;
    walk->entry = entry;
    walk->offset = 0;
    walk->index = 0;
}

void cbt_walk_start(struct cbt_walk *walk, struct cbt_text body, struct cbt_text content_type,
                    enum cbt_framing framing)
{
    cbt_walk_stop(walk);
    walk->state = AT_WHOLE;
    walk->whole =
        (struct cbt_part){.kind = CBT_PART_BROKEN, .data = body, .framing = framing, .in_body = true};
    switch (cbt_kind_of(body, content_type, framing)) {
    case CBT_KIND_EMPTY:
        walk->whole.reason = CBT_DEAD_empty;
        break;
    case CBT_KIND_ZIP:
        walk->in_zip = true;
        walk->state = AT_ZIP;
        cbt_zip_start(&walk->zip, body);
        break;
    case CBT_KIND_BUNDLE:
        start_bundle(walk, body, true, 0);
        break;
    case CBT_KIND_EVENT:
        if (body.len > walk->record_max_bytes)
            walk->whole.reason = CBT_DEAD_record_too_large;
        else
            walk->whole.kind = CBT_PART_EVENT;
        break;
    case CBT_KIND_NOTIFICATION:
        if (body.len > walk->record_max_bytes)
            walk->whole.reason = CBT_DEAD_record_too_large;
        else
            walk->whole.kind = CBT_PART_NOTIFICATION;
        break;
    }
}

/* The next record of the bundle at hand; false at its end. */
static bool next_record(struct cbt_walk *walk, struct cbt_part *ret_part)
{
    const uint8_t *at = walk->bundle.data + walk->offset;
    size_t left = walk->bundle.len - walk->offset;
    if (left == 0)
        return false;
    *ret_part = (struct cbt_part){.kind = CBT_PART_EVENT,
                                  .framing = CBT_FRAMING_EVENT,
                                  .in_body = walk->in_body,
                                  .entry = walk->entry,
                                  .index = walk->index++,
                                  .offset = walk->offset};
    size_t len = left >= 4 ? cbt_le32(at) : 0;
    if (left < 4 || len > left - 4) {
        ret_part->kind = CBT_PART_BROKEN;
        ret_part->reason = CBT_DEAD_truncated;
        ret_part->framing = CBT_FRAMING_BUNDLE;
        ret_part->data = (struct cbt_text){at, left};
        walk->offset = walk->bundle.len;
        return true;
    }
    ret_part->data = (struct cbt_text){at + 4, len};
    if (len > walk->record_max_bytes) {
        ret_part->kind = CBT_PART_BROKEN;
        ret_part->reason = CBT_DEAD_record_too_large;
    }
    walk->offset += 4 + len;
    return true;
}

/* The next zip entry: a bundle begins, a broken part is there, or the zip is over. */
static bool next_entry(struct cbt_walk *walk, struct cbt_part *ret_part)
{
    struct cbt_zip_entry entry;
    switch (cbt_zip_next(&walk->zip, &entry)) {
    case CBT_ZIP_CONTENT:
        start_bundle(walk, entry.data, entry.in_body, entry.index);
        return false;
    case CBT_ZIP_BROKEN:
        *ret_part = (struct cbt_part){.kind = CBT_PART_BROKEN,
                                      .reason = entry.reason,
                                      .data = entry.data,
                                      .framing = CBT_FRAMING_BUNDLE,
                                      .in_body = entry.in_body,
                                      .entry = entry.index};
        return true;
    default:
        walk->state = AT_END;
        cbt_zip_finish(&walk->zip);
        return false;
    }
}

bool cbt_walk_next(struct cbt_walk *walk, struct cbt_part *ret_part)
{
    for (;;) {
        switch (walk->state) {
        case AT_BUNDLE:
            if (next_record(walk, ret_part))
                return true;
            walk->state = walk->in_zip ? AT_ZIP : AT_END;
            break;
        case AT_ZIP:
            if (next_entry(walk, ret_part))
                return true;
            break;
        case AT_WHOLE:
            *ret_part = walk->whole;
            walk->state = AT_END;
            return true;
        case AT_END:
            return false;
        }
    }
}
