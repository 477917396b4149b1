/* SPDX-License-Identifier: MIT */
/* What the renderers of metrics write with: text into memory, numbers without locale, names made harmless. */
#include <inttypes.h>
#include <stdlib.h>

#include "core/metrics_snapshot.h"

char *cbt_put_string(void (*put)(FILE *out, void *arg), void *arg, size_t *ret_len)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return NULL;
    put(out, arg);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    *ret_len = len;
    return text;
}

void cbt_put_fixed(FILE *out, uint64_t value, unsigned decimals)
{
    uint64_t unit = 1;
    for (unsigned i = 0; i < decimals; i++)
        unit *= 10;
    fprintf(out, "%" PRIu64, value / unit);
    if (decimals > 0)
        fprintf(out, ".%0*" PRIu64, (int)decimals, value % unit);
}

/* Bytes of the well-formed UTF-8 sequence at `s` (RFC 3629), 0 where there is none. */
static unsigned utf8_len(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    unsigned len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (unsigned i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

void cbt_put_escaped(FILE *out, const char *text, bool json)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s) {
        unsigned len = utf8_len(s);
        if (len == 0) {
            fputs("\xef\xbf\xbd", out);
            s++;
            continue;
        }
        if (*s == '"' || *s == '\\')
            fprintf(out, "\\%c", *s);
        else if (*s == '\n')
            fputs("\\n", out);
        else if (json && *s < 0x20)
            fprintf(out, "\\u%04x", *s);
        else
            fwrite(s, 1, len, out);
        s += len;
    }
}
