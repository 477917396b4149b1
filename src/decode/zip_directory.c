/* SPDX-License-Identifier: MIT */
/*
 * A look at a zip's directory before libzip reads it. libzip tries each place that could be the end record,
 * and reads the directory that each points to, names and all, as far as directory records follow each other:
 * beyond the number that is announced, too, for Info-ZIP announces it modulo 65,536. A hostile body of 64 MiB
 * would so cost minutes, or hundreds of megabytes. Here each place costs a few steps, and no memory.
 */
#include <string.h>

#include "decode/kind.h"
#include "decode/zip.h"

#define CENTRAL_BYTES 46u
#define END_BYTES     22u
#define END64_BYTES   56u
#define LOCATOR_BYTES 20u
#define COMMENT_MAX   65535u

/* A body has one end record; further places are chance, or a zip within the zip. */
#define ENDS_MAX 8u
/* Names, extra fields and comments: so much for each entry that is allowed, and for one large comment. */
#define ENTRY_TEXT_BYTES  1024u
#define EXCESS_TEXT_BYTES 262144u

static uint64_t le64(const uint8_t *at)
{
    return cbt_le32(at) | (uint64_t)cbt_le32(at + 4) << 32;
}

struct directory {
    uint64_t entries; /* announced */
    uint64_t at;
};

/* The directory by the end record at `end`, or by zip64's record where there is one. False: that is no end
 * record but four bytes of something else, for example of a comment; libzip does not follow it either. */
static bool read_end(struct cbt_text body, size_t end, struct directory *ret_directory)
{
    const uint8_t *record = body.data + end;
    uint64_t disks = cbt_le32(record + 4), here = cbt_le16(record + 8), entries = cbt_le16(record + 10);
    uint64_t bytes = cbt_le32(record + 12), at = cbt_le32(record + 16);
    if (end >= LOCATOR_BYTES && memcmp(record - LOCATOR_BYTES, "PK\6\7", 4) == 0) {
        uint64_t end64 = le64(record - LOCATOR_BYTES + 8);
        if (end64 < body.len && body.len - end64 >= END64_BYTES &&
            memcmp(body.data + end64, "PK\6\6", 4) == 0) {
            record = body.data + end64;
            disks = 0; /* which libzip does not look at here */
            here = le64(record + 24);
            entries = le64(record + 32);
            bytes = le64(record + 40);
            at = le64(record + 48);
        }
    }
    *ret_directory = (struct directory){entries, at};
    return disks == 0 && here == entries && bytes <= body.len && at <= body.len - bytes;
}

static bool within_bounds(const struct cbt_zip *zip, struct directory directory)
{
    const struct cbt_text body = zip->body;
    const uint64_t bytes_max = EXCESS_TEXT_BYTES + (uint64_t)zip->entries_max * ENTRY_TEXT_BYTES;
    if (directory.entries > zip->entries_max)
        return false;
    uint64_t at = directory.at;
    for (uint32_t count = 0; at < body.len && body.len - at >= CENTRAL_BYTES; count++) {
        const uint8_t *record = body.data + at;
        if (memcmp(record, "PK\1\2", 4) != 0)
            break;
        if (count == zip->entries_max || at - directory.at > bytes_max)
            return false;
        at += CENTRAL_BYTES + cbt_le16(record + 28) + cbt_le16(record + 30) + cbt_le16(record + 32);
    }
    return true;
}

bool cbt_zip_check_directory(const struct cbt_zip *zip, enum cbt_dead_reason *ret_reason)
{
    struct cbt_text body = zip->body;
    *ret_reason = CBT_DEAD_zip_malformed;
    if (body.len < END_BYTES)
        return false;
    size_t from = body.len > END_BYTES + COMMENT_MAX ? body.len - END_BYTES - COMMENT_MAX : 0;
    const uint8_t *at = body.data + from;
    const uint8_t *last = body.data + body.len - END_BYTES;
    for (unsigned ends = 0; at <= last; at++) {
        struct directory directory;
        at = memmem(at, (size_t)(last - at) + 4, "PK\5\6", 4);
        if (at == NULL)
            break;
        if (!read_end(body, (size_t)(at - body.data), &directory))
            continue;
        if (ends++ == ENDS_MAX)
            return false;
        if (!within_bounds(zip, directory)) {
            *ret_reason = CBT_DEAD_zip_entries;
            return false;
        }
    }
    return true;
}
