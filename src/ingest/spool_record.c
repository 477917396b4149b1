/* SPDX-License-Identifier: MIT */
/* How a message lies in a segment: see struct cbt_spool_record. */
#include <libdeflate.h>

#include "ingest/spool_files.h"

void cbt_spool_put32(uint8_t *to, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

void cbt_spool_put64(uint8_t *to, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

uint32_t cbt_spool_get32(const uint8_t *from)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < 4; i++)
        value |= (uint32_t)from[i] << (8 * i);
    return value;
}

uint64_t cbt_spool_get64(const uint8_t *from)
{
    return cbt_spool_get32(from) | (uint64_t)cbt_spool_get32(from + 4) << 32;
}

uint32_t cbt_spool_crc(uint32_t crc, const void *data, size_t len)
{
    return len > 0 ? libdeflate_crc32(crc, data, len) : crc;
}

void cbt_spool_record_encode(struct cbt_spool_record *record, uint8_t *ret_head)
{
    cbt_spool_put32(ret_head, record->body_bytes);
    cbt_spool_put32(ret_head + 4, record->channel_bytes | (uint32_t)record->flags << 16);
    cbt_spool_put64(ret_head + 8, (uint64_t)record->arrived_wall_ms);
    record->head_crc = cbt_spool_crc(0, ret_head, 16);
    cbt_spool_put32(ret_head + 16, record->head_crc);
}

bool cbt_spool_record_decode(const uint8_t *head, struct cbt_spool_record *ret_record)
{
    uint32_t crc = cbt_spool_get32(head + 16);
    if (crc != cbt_spool_crc(0, head, 16))
        return false;
    uint32_t second = cbt_spool_get32(head + 4);
    *ret_record = (struct cbt_spool_record){.body_bytes = cbt_spool_get32(head),
                                            .channel_bytes = (uint16_t)second,
                                            .flags = (uint16_t)(second >> 16),
                                            .arrived_wall_ms = (int64_t)cbt_spool_get64(head + 8),
                                            .head_crc = crc};
    return true;
}

uint64_t cbt_spool_record_bytes(const struct cbt_spool_record *record)
{
    return (uint64_t)CBT_SPOOL_RECORD_BYTES + record->channel_bytes + record->body_bytes;
}
