/* SPDX-License-Identifier: MIT */
/* From a file to pieces: see file_cut.h. */
#include "ingest/file_cut.h"

#include <string.h>

#include "decode/kind.h"

static const uint8_t *at(const struct cbt_file_reader *r)
{
    return r->data + r->pos;
}

/* How long what comes out of gzip or a pipe is nobody knows before its end. */
static uint64_t left_of(const struct cbt_file_reader *r)
{
    return r->at_end ? cbt_file_reader_has(r) : cbt_file_reader_left(r);
}

/* spec bus.md: what a bundle looks like. */
static enum cbt_cut_kind kind_of(const struct cbt_file_reader *r)
{
    size_t has = cbt_file_reader_has(r);
    if (has < 5 || at(r)[4] != 0x0A || memcmp(at(r), "PK\3\4", 4) == 0)
        return CBT_CUT_WHOLE;
    return cbt_le32(at(r)) <= left_of(r) - 4 ? CBT_CUT_BUNDLE : CBT_CUT_WHOLE;
}

/* As many whole records as are a piece. */
static bool measure(struct cbt_cut *cut, const struct cbt_file_reader *r, size_t max_bytes)
{
    const uint8_t *data = at(r);
    size_t len = cbt_file_reader_has(r), end = 0;
    size_t most = max_bytes < CBT_CUT_BYTES ? max_bytes : CBT_CUT_BYTES;
    len = len < most ? len : most;
    cut->records = 0;
    while (len - end >= 4 && cbt_le32(data + end) <= len - end - 4) {
        end += 4 + (size_t)cbt_le32(data + end);
        cut->records++;
    }
    cut->bytes = end;
    return end > 0;
}

/* A record that is larger than a piece, or the torn end. */
static enum cbt_cut_state cut_record(struct cbt_cut *cut, struct cbt_file_reader *r, size_t max_bytes)
{
    size_t has = cbt_file_reader_has(r);
    uint64_t left = left_of(r);
    cut->records = 1;
    cut->need = has < 4 ? 4 : UINT64_C(4) + cbt_le32(at(r));
    cut->bytes = cut->need < left ? cut->need : left;
    if (has < cut->need && r->fault)
        return CBT_CUT_BROKEN;
    if (cut->bytes > max_bytes)
        return CBT_CUT_TOO_LARGE;
    if (!cbt_file_reader_want(r, (size_t)cut->bytes))
        return CBT_CUT_FAILED;
    has = cbt_file_reader_has(r);
    if (has >= cut->need)
        return CBT_CUT_PIECE;
    cut->bytes = has;
    return r->fault ? CBT_CUT_BROKEN : CBT_CUT_TORN;
}

static enum cbt_cut_state cut_whole(struct cbt_cut *cut, struct cbt_file_reader *r, size_t max_bytes)
{
    if (left_of(r) == CBT_FILE_SIZE_UNKNOWN && !cbt_file_reader_want(r, max_bytes + 1))
        return CBT_CUT_FAILED;
    if (r->fault)
        return CBT_CUT_BROKEN;
    uint64_t left = left_of(r);
    cut->records = 1;
    cut->bytes = left == CBT_FILE_SIZE_UNKNOWN ? cbt_file_reader_has(r) : left;
    cut->need = cut->bytes;
    return cut->bytes > max_bytes ? CBT_CUT_TOO_LARGE : CBT_CUT_PIECE;
}

static enum cbt_cut_state cut_line(struct cbt_cut *cut, struct cbt_file_reader *r, size_t max_bytes)
{
    size_t searched = 0;
    cut->records = 1;
    for (;;) {
        size_t has = cbt_file_reader_has(r);
        const uint8_t *newline = memchr(at(r) + searched, '\n', has - searched);
        size_t len = newline ? (size_t)(newline - at(r)) : has;
        cut->need = len;
        cut->bytes = newline ? len + 1 : len;
        if (len > max_bytes)
            return CBT_CUT_TOO_LARGE;
        if (newline)
            return CBT_CUT_PIECE;
        if (r->at_end)
            return r->fault ? CBT_CUT_BROKEN : CBT_CUT_TORN;
        searched = has;
        if (!cbt_file_reader_want(r, 2 * has <= max_bytes ? 2 * has : max_bytes + 1))
            return CBT_CUT_FAILED;
    }
}

enum cbt_cut_state cbt_cut_next(struct cbt_cut *cut, struct cbt_file_reader *r, size_t max_bytes)
{
    if (!cbt_file_reader_want(r, CBT_CUT_BYTES))
        return CBT_CUT_FAILED;
    if (cbt_file_reader_has(r) == 0)
        return r->fault ? CBT_CUT_BROKEN : CBT_CUT_END;
    if (cut->kind == CBT_CUT_UNKNOWN)
        cut->kind = kind_of(r);
    if (cut->kind == CBT_CUT_WHOLE)
        return cut_whole(cut, r, max_bytes);
    if (cut->kind == CBT_CUT_LINES)
        return cut_line(cut, r, max_bytes);
    return measure(cut, r, max_bytes) ? CBT_CUT_PIECE : cut_record(cut, r, max_bytes);
}

bool cbt_cut_pass(const struct cbt_cut *cut, struct cbt_file_reader *r)
{
    if (cut->kind != CBT_CUT_LINES)
        return cbt_file_reader_seek(r, r->offset + cut->bytes) || r->error == 0;
    bool line_ended = false;
    while (!line_ended && cbt_file_reader_want(r, 1) && cbt_file_reader_has(r) > 0) {
        const uint8_t *newline = memchr(at(r), '\n', cbt_file_reader_has(r));
        line_ended = newline != NULL;
        cbt_file_reader_skip(r, newline ? (size_t)(newline - at(r)) + 1 : cbt_file_reader_has(r));
    }
    return r->error == 0;
}
