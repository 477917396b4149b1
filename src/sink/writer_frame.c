/* SPDX-License-Identifier: MIT */
/*
 * Framing: each record as head, value and end, for writev. A head is written out anew each time, and is the
 * same each time, so that a record that was cut by a full socket goes on where it stopped.
 */
#include <string.h>
#include <time.h>

#include "sink/writer.h"

#define MSGID_MAX_BYTES 32 /* RFC 5424, section 6 */

unsigned writer_parts(const struct writer *w)
{
    bool head = w->settings.framing == WRITER_OCTETS || w->settings.syslog != NULL;
    return 1u + head + (w->settings.framing == WRITER_LINES);
}

static uint8_t *put(uint8_t *pos, const char *text, size_t len)
{
    memcpy(pos, text, len);
    return pos + len;
}

static uint8_t *put_digits(uint8_t *pos, unsigned number, int digits)
{
    for (int i = digits - 1; i >= 0; i--, number /= 10)
        pos[i] = (uint8_t)('0' + number % 10);
    return pos + digits;
}

/* TIMESTAMP of RFC 5424, section 6.2.3. */
static uint8_t *put_time(struct writer_syslog *s, uint8_t *pos, int64_t unix_ms)
{
    int64_t second = unix_ms / 1000;
    struct tm tm;
    if (unix_ms <= 0 || unix_ms > INT64_C(253402300799999)) /* the year 9999 */
        return put(pos, "-", 1);
    if (second != s->second || s->time[0] == '\0') {
        time_t t = (time_t)second;
        gmtime_r(&t, &tm);
        strftime(s->time, sizeof(s->time), "%Y-%m-%dT%H:%M:%S", &tm);
        s->second = second;
    }
    pos = put(pos, s->time, 19);
    *pos++ = '.';
    pos = put_digits(pos, (unsigned)(unix_ms % 1000), 3);
    *pos++ = 'Z';
    return pos;
}

static uint8_t *put_syslog(struct writer_syslog *s, uint8_t *pos, const struct cbt_record *record)
{
    size_t len = record->type_name.len < MSGID_MAX_BYTES ? record->type_name.len : MSGID_MAX_BYTES;
    pos = put(pos, s->before, s->before_len);
    pos = put_time(s, pos, record->unix_ms != 0 ? record->unix_ms : record->frame->arrived_wall_ms);
    pos = put(pos, s->behind, s->behind_len);
    if (len == 0)
        *pos++ = '-';
    for (size_t i = 0; i < len; i++) {
        uint8_t c = record->type_name.data[i];
        *pos++ = c > ' ' && c < 0x7f ? c : (uint8_t)'_';
    }
    return put(pos, " - ", 3); /* no STRUCTURED-DATA */
}

/* Into WRITER_HEAD_MAX_BYTES at `head`, of which the last part is used: the count needs to know what comes
 * after it. */
static struct iovec make_head(struct writer *w, uint8_t *head, const struct cbt_record *record)
{
    uint8_t *begin = head + 16, *end = begin;
    if (w->settings.syslog != NULL)
        end = put_syslog(&w->syslog, begin, record);
    if (w->settings.framing == WRITER_OCTETS) {
        uint64_t octets = (uint64_t)(end - begin) + record->value_len;
        *--begin = ' ';
        do {
            *--begin = (uint8_t)('0' + octets % 10);
            octets /= 10;
        } while (octets != 0);
    }
    return (struct iovec){begin, (size_t)(end - begin)};
}

static struct iovec value_of(const struct cbt_record *record)
{
    union {
        const void *in;
        void *out;
    } both = {record->value}; /* iovec knows no const */
    return (struct iovec){both.out, record->value_len};
}

static size_t fill_one(struct writer *w, uint8_t *head, const struct cbt_record *record, struct iovec *iov)
{
    static char line_feed[] = "\n";
    unsigned n = 0;
    size_t bytes = 0;
    if (head != NULL)
        iov[n++] = make_head(w, head, record);
    iov[n++] = value_of(record);
    if (w->settings.framing == WRITER_LINES)
        iov[n++] = (struct iovec){line_feed, 1};
    for (unsigned i = 0; i < n; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

static void skip(struct iovec *iov, unsigned parts, size_t offset)
{
    for (unsigned i = 0; i < parts; i++) {
        size_t n = offset < iov[i].iov_len ? offset : iov[i].iov_len;
        iov[i] = (struct iovec){(uint8_t *)iov[i].iov_base + n, iov[i].iov_len - n};
        offset -= n;
    }
}

void writer_fill(struct writer *w)
{
    struct writer_batch *batch = &w->batch;
    unsigned frames = 0, parts = batch->parts;
    for (struct cbt_record *record = w->cursor; record != NULL && (frames + 1) * parts <= WRITER_IOV_MAX;
         record = record->next) {
        uint8_t *head = w->heads != NULL ? w->heads + (size_t)frames * WRITER_HEAD_MAX_BYTES : NULL;
        size_t bytes = fill_one(w, head, record, &batch->iov[(size_t)frames * parts]);
        if (w->settings.frame_max_bytes != 0 && bytes > w->settings.frame_max_bytes) {
            if (frames != 0)
                break; /* its turn comes when it is the first */
            writer_refuse_cursor(w);
            batch->frames = 0;
            return;
        }
        frames++;
    }
    if (frames != 0)
        skip(batch->iov, parts, w->offset);
    batch->frames = frames;
}
