/* SPDX-License-Identifier: MIT */
/*
 * The short way through a zip with one entry, as sensors write them: no comment, no zip64, nothing between
 * entry and directory but a data descriptor. Reads each number once, believes it only where both headers
 * agree and it fits the body; whatever is out of the ordinary is left to libzip.
 */
#include <string.h>

#include "decode/kind.h"
#include "decode/zip.h"

/* PKWARE APPNOTE 6.3: sizes of the fixed parts. */
#define LOCAL_BYTES   30u
#define CENTRAL_BYTES 46u
#define END_BYTES     22u

#define FLAG_ENCRYPTED  0x0001u
#define FLAG_DESCRIPTOR 0x0008u
#define FLAG_STRONG     0x0040u
#define FLAG_MASKED     0x2000u
#define FLAG_SAME       (FLAG_ENCRYPTED | FLAG_DESCRIPTOR | FLAG_STRONG | FLAG_MASKED)

/* The end record, which must be the last thing in the body: "n entries, the directory is just before me". */
static bool read_end(struct cbt_text body, uint32_t *ret_entries, uint32_t *ret_directory)
{
    if (body.len < END_BYTES || body.len > UINT32_MAX)
        return false;
    const uint8_t *end = body.data + body.len - END_BYTES;
    if (memcmp(end, "PK\5\6", 4) != 0 || cbt_le32(end + 4) != 0 || cbt_le16(end + 20) != 0)
        return false;
    uint32_t entries = cbt_le16(end + 8), size = cbt_le32(end + 12), offset = cbt_le32(end + 16);
    if (entries != cbt_le16(end + 10) || entries > 1 || (uint64_t)offset + size != body.len - END_BYTES)
        return false;
    if (entries == 0 && offset != 0)
        return false;
    *ret_entries = entries;
    *ret_directory = offset;
    return true;
}

/* Both headers say the same of CRC and sizes, or the local one leaves them to the data descriptor. */
static bool sizes_agree(const uint8_t *local, const uint8_t *central, uint32_t flags)
{
    static const uint8_t nothing[12];
    if (memcmp(local + 14, central + 16, 12) == 0)
        return true;
    return (flags & FLAG_DESCRIPTOR) != 0 && memcmp(local + 14, nothing, 12) == 0;
}

bool cbt_zip_read_single(struct cbt_zip *zip)
{
    const struct cbt_text body = zip->body;
    uint32_t entries, directory;
    if (!read_end(body, &entries, &directory))
        return false;
    if (entries == 0) {
        zip->entries = 0;
        return true;
    }
    if (directory < LOCAL_BYTES || body.len - END_BYTES - directory < CENTRAL_BYTES)
        return false;
    const uint8_t *local = body.data, *central = body.data + directory;
    uint32_t flags = cbt_le16(central + 8), name_bytes = cbt_le16(central + 28);
    uint64_t data_at = (uint64_t)LOCAL_BYTES + cbt_le16(local + 26) + cbt_le16(local + 28);
    uint64_t compressed = cbt_le32(central + 20), bytes = cbt_le32(central + 24);
    if (memcmp(local, "PK\3\4", 4) != 0 || memcmp(central, "PK\1\2", 4) != 0 ||
        (uint64_t)CENTRAL_BYTES + name_bytes + cbt_le16(central + 30) + cbt_le16(central + 32) !=
            body.len - END_BYTES - directory ||
        cbt_le16(central + 34) != 0 || cbt_le32(central + 42) != 0)
        return false;
    if (compressed == UINT32_MAX || bytes == UINT32_MAX || data_at > directory ||
        compressed > directory - data_at)
        return false;
    uint64_t gap = directory - data_at - compressed;
    if (gap != 0 && ((flags & FLAG_DESCRIPTOR) == 0 || (gap != 12 && gap != 16)))
        return false;
    if (((cbt_le16(local + 6) ^ flags) & FLAG_SAME) != 0 || cbt_le16(local + 8) != cbt_le16(central + 10) ||
        cbt_le16(local + 26) != name_bytes ||
        memcmp(local + LOCAL_BYTES, central + CENTRAL_BYTES, name_bytes) != 0 ||
        !sizes_agree(local, central, flags))
        return false;
    zip->only = (struct cbt_zip_stat){
        .method = cbt_le16(central + 10),
        .crc = cbt_le32(central + 16),
        .compressed_bytes = compressed,
        .bytes = bytes,
        .encrypted = (flags & (FLAG_ENCRYPTED | FLAG_STRONG | FLAG_MASKED)) != 0,
        .directory = name_bytes > 0 && central[CENTRAL_BYTES + name_bytes - 1] == '/',
    };
    zip->only_data = body.data + data_at;
    zip->entries = 1;
    return true;
}
