/* SPDX-License-Identifier: MIT */
/* IPv4 and IPv6 addresses as text. */
#include "format/json_write.h"

static uint8_t *put_octet(uint8_t *p, uint32_t octet)
{
    if (octet >= 100) {
        *p++ = (uint8_t)('0' + octet / 100);
        return cbt_json_pair(p, octet % 100);
    }
    return cbt_json_below_1e8(p, octet);
}

uint8_t *cbt_json_ip4(uint8_t *p, uint32_t address)
{
    p = put_octet(p, address & 0xff);
    *p++ = '.';
    p = put_octet(p, address >> 8 & 0xff);
    *p++ = '.';
    p = put_octet(p, address >> 16 & 0xff);
    *p++ = '.';
    return put_octet(p, address >> 24);
}

static uint8_t *put_group(uint8_t *p, uint32_t group)
{
    static const char digits[] = "0123456789abcdef";
    int shift = group >= 0x1000 ? 12 : group >= 0x100 ? 8 : group >= 0x10 ? 4 : 0;
    for (; shift >= 0; shift -= 4)
        *p++ = (uint8_t)digits[group >> shift & 0xf];
    return p;
}

/* The first of the longest runs of at least two zero groups (RFC 5952, 4.2); its length, or 0. */
static unsigned longest_zeros(const uint32_t group[8], unsigned *ret_start)
{
    unsigned best = 0, run = 0;
    for (unsigned i = 0; i < 8; i++) {
        run = group[i] == 0 ? run + 1 : 0;
        if (run > best && run > 1) {
            best = run;
            *ret_start = i + 1 - run;
        }
    }
    return best;
}

uint8_t *cbt_json_ip6(uint8_t *p, uint64_t high, uint64_t low)
{
    uint32_t group[8];
    for (unsigned i = 0; i < 8; i++) {
        uint64_t half = i < 4 ? high : low;
        uint32_t pair = (uint32_t)(half >> (16 * (i % 4))) & 0xffff;
        group[i] = (pair & 0xff) << 8 | pair >> 8;
    }
    if (high == 0 && group[4] == 0 && group[5] == 0xffff) {
        p = JSON_LITERAL(p, "::ffff:");
        return cbt_json_ip4(p, (uint32_t)(low >> 32));
    }
    unsigned start = 8, zeros = longest_zeros(group, &start);
    for (unsigned i = 0; i < 8; i++) {
        if (zeros > 0 && i == start) {
            p = JSON_LITERAL(p, "::");
            i += zeros - 1;
            continue;
        }
        if (i > 0 && i != start + zeros)
            *p++ = ':';
        p = put_group(p, group[i]);
    }
    return p;
}
