/* SPDX-License-Identifier: MIT */
/*
 * Zip files: limits, inflating and CRC, common to both ways of finding the entries.
 *
 * Failure: an entry that is broken, unsupported or over a limit is handed out as it is with its reason, and
 * the others go on; for one whose bytes are not to be found the whole body stands. A zip whose directory
 * cannot be read, or has too many entries, is handed out whole. Owns:
 * the inflate buffer and a copy of the compressed entry where libzip found it.
 */
#include "decode/zip.h"

#include <libdeflate.h>
#include <stdlib.h>

#define METHOD_STORED   0
#define METHOD_DEFLATED 8

int cbt_zip_init(struct cbt_zip *zip, const struct cbt_decode_limits *limits, struct cbt_err *err)
{
    *zip = (struct cbt_zip){.entries_max = limits->zip_entries_max,
                            .ratio_max = limits->zip_ratio_max,
                            .inflated_max_bytes = limits->zip_inflated_max_bytes};
    zip->inflater = libdeflate_alloc_decompressor();
    if (zip->inflater == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for a decompressor");
    int rc = cbt_arena_init(&zip->inflated, limits->zip_inflated_max_bytes, err);
    if (rc != 0)
        cbt_zip_free(zip);
    return rc;
}

void cbt_zip_free(struct cbt_zip *zip)
{
    if (zip == NULL)
        return;
    cbt_zip_finish(zip);
    cbt_arena_free(&zip->inflated);
    if (zip->inflater != NULL)
        libdeflate_free_decompressor(zip->inflater);
    zip->inflater = NULL;
}

void cbt_zip_start(struct cbt_zip *zip, struct cbt_text body)
{
    cbt_zip_finish(zip);
    zip->body = body;
    zip->inflated_bytes = 0;
    zip->compressed_bytes = 0;
    zip->next = 0;
    zip->entries = 0;
    zip->body_given = false;
    zip->single = cbt_zip_read_single(zip);
}

void cbt_zip_finish(struct cbt_zip *zip)
{
    cbt_zip_close_many(zip);
    free(zip->copy);
    zip->copy = NULL;
    zip->copy_capacity = 0;
    cbt_arena_reset(&zip->inflated);
}

size_t cbt_zip_held_bytes(const struct cbt_zip *zip)
{
    return zip->copy_capacity + cbt_arena_held_bytes(&zip->inflated);
}

/* The limits, before a byte is inflated: all of them on what the directory promises, to which the inflating
 * is then held. The compressed size lies within the body: the product does not overflow. */
static bool within_limits(const struct cbt_zip *zip, const struct cbt_zip_stat *stat,
                          enum cbt_dead_reason *ret_reason)
{
    if (stat->encrypted || (stat->method != METHOD_STORED && stat->method != METHOD_DEFLATED)) {
        *ret_reason = CBT_DEAD_zip_unsupported;
        return false;
    }
    if (stat->bytes > zip->inflated_max_bytes - zip->inflated_bytes) {
        *ret_reason = CBT_DEAD_zip_inflated;
        return false;
    }
    if (stat->bytes > stat->compressed_bytes * zip->ratio_max) {
        *ret_reason = CBT_DEAD_zip_ratio;
        return false;
    }
    return true;
}

bool cbt_zip_extract(struct cbt_zip *zip, const struct cbt_zip_stat *stat, const uint8_t *compressed,
                     struct cbt_text *ret_content, enum cbt_dead_reason *ret_reason)
{
    if (!within_limits(zip, stat, ret_reason))
        return false;
    *ret_reason = CBT_DEAD_zip_malformed;
    struct cbt_text content = {compressed, (size_t)stat->bytes};
    zip->inflated_bytes += content.len; /* what fails has cost as much */
    /* Some writers call what has no bytes deflated. */
    if (stat->method == METHOD_STORED || stat->compressed_bytes == 0) {
        if (stat->compressed_bytes != stat->bytes)
            return false;
    } else {
        cbt_arena_reset(&zip->inflated);
        uint8_t *out = cbt_arena_alloc(&zip->inflated, content.len);
        if (out == NULL) {
            *ret_reason = CBT_DEAD_zip_inflated;
            return false;
        }
        if (libdeflate_deflate_decompress(zip->inflater, compressed, (size_t)stat->compressed_bytes, out,
                                          content.len, NULL) != LIBDEFLATE_SUCCESS)
            return false;
        content.data = out;
    }
    if (libdeflate_crc32(0, content.data, content.len) != stat->crc) {
        *ret_reason = CBT_DEAD_zip_crc;
        return false;
    }
    *ret_content = content;
    return true;
}

/* The whole body as one broken part, and the end. */
static enum cbt_zip_rc give_up(struct cbt_zip *zip, struct cbt_zip_entry *ret_entry,
                               enum cbt_dead_reason reason)
{
    *ret_entry =
        (struct cbt_zip_entry){.data = zip->body, .reason = reason, .index = zip->next, .in_body = true};
    zip->entries = 0;
    zip->single = true;
    return CBT_ZIP_BROKEN;
}

enum cbt_zip_rc cbt_zip_next(struct cbt_zip *zip, struct cbt_zip_entry *ret_entry)
{
    enum cbt_dead_reason reason = CBT_DEAD_zip_malformed;
    if (!zip->single) {
        if (zip->many == NULL && !cbt_zip_open_many(zip, &reason))
            return give_up(zip, ret_entry, reason);
        return cbt_zip_next_many(zip, ret_entry);
    }
    if (zip->next >= zip->entries)
        return CBT_ZIP_END;
    zip->next++;
    if (zip->only.directory)
        return CBT_ZIP_END;
    *ret_entry = (struct cbt_zip_entry){.index = 0};
    if (!cbt_zip_extract(zip, &zip->only, zip->only_data, &ret_entry->data, &ret_entry->reason)) {
        ret_entry->data = zip->body;
        ret_entry->in_body = true;
        return CBT_ZIP_BROKEN;
    }
    ret_entry->in_body = zip->only.method == METHOD_STORED;
    return CBT_ZIP_CONTENT;
}
