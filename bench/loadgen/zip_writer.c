/* SPDX-License-Identifier: MIT */
/* The zip container (APPNOTE.TXT 4.3), as small as it gets: an own writer because libzip costs microseconds a
 * file. */
#include "zip_writer.h"

#define METHOD_STORED  0
#define METHOD_DEFLATE 8
#define VERSION        20
#define DOS_DATE       ((2024 - 1980) << 9 | 1 << 5 | 1)
#define LOCAL_BYTES    30u

struct entry {
    const char *name;
    uint16_t method;
    uint32_t crc, packed, size;
};

/* The fields that the local header and the central directory have in common. */
static void put_common(struct cbt_bytes *out, const struct entry *e)
{
    cbt_bytes_put_u16(out, VERSION);
    cbt_bytes_put_u16(out, 0); /* flags */
    cbt_bytes_put_u16(out, e->method);
    cbt_bytes_put_u16(out, 0); /* midnight */
    cbt_bytes_put_u16(out, DOS_DATE);
    cbt_bytes_put_u32(out, e->crc);
    cbt_bytes_put_u32(out, e->packed);
    cbt_bytes_put_u32(out, e->size);
    cbt_bytes_put_u16(out, (uint32_t)strlen(e->name));
    cbt_bytes_put_u16(out, 0); /* extra field */
}

static void put_directory(struct cbt_bytes *out, const struct entry *e)
{
    const uint32_t at = (uint32_t)out->len;
    cbt_bytes_put_u32(out, 0x02014b50);
    cbt_bytes_put_u16(out, VERSION); /* made by */
    put_common(out, e);
    cbt_bytes_put_u16(out, 0); /* comment */
    cbt_bytes_put_u16(out, 0); /* disk */
    cbt_bytes_put_u16(out, 0); /* attributes, inner and outer */
    cbt_bytes_put_u32(out, 0);
    cbt_bytes_put_u32(out, 0); /* where the local header is */
    cbt_bytes_put(out, e->name, strlen(e->name));
    const uint32_t size = (uint32_t)out->len - at;

    cbt_bytes_put_u32(out, 0x06054b50);
    cbt_bytes_put_u16(out, 0); /* this disk, the directory's disk */
    cbt_bytes_put_u16(out, 0);
    cbt_bytes_put_u16(out, 1); /* entries on this disk, in all */
    cbt_bytes_put_u16(out, 1);
    cbt_bytes_put_u32(out, size);
    cbt_bytes_put_u32(out, at);
    cbt_bytes_put_u16(out, 0); /* comment */
}

void cbt_zip_write(struct libdeflate_compressor *compressor, const char *name, struct cbt_text data,
                   struct cbt_bytes *out)
{
    struct entry e = {.name = name, .method = METHOD_DEFLATE, .size = (uint32_t)data.len};
    const size_t start = LOCAL_BYTES + strlen(name);
    out->len = 0;
    cbt_bytes_reserve(out, start + data.len + 256);
    e.crc = libdeflate_crc32(0, data.data, data.len);
    e.packed =
        (uint32_t)libdeflate_deflate_compress(compressor, data.data, data.len, out->data + start, data.len);
    if (e.packed == 0) {
        e.method = METHOD_STORED;
        e.packed = e.size;
        if (data.len)
            memcpy(out->data + start, data.data, data.len);
    }
    cbt_bytes_put_u32(out, 0x04034b50);
    put_common(out, &e);
    cbt_bytes_put(out, name, strlen(name));
    out->len += e.packed;
    put_directory(out, &e);
}
