/* SPDX-License-Identifier: MIT */
/*
 * From a file to the pieces that it goes on in: whoever reads files cuts them by this. A bundle is cut
 * between records, so that each piece is a bundle by itself; a piece's end depends on its beginning alone, so
 * that the same pieces come to whoever begins there again. What is no bundle is one piece, and is told apart
 * by the decoder (kind.c) as from every other source. Lines are cut where its reader says that they are
 * lines.
 */
#ifndef CBTAP_INGEST_FILE_CUT_H
#define CBTAP_INGEST_FILE_CUT_H

#include "ingest/file_reader.h"

/* Whole records of a bundle up to so many bytes are a piece: two go into a block of 256 KiB. */
#define CBT_CUT_BYTES (120u * 1024)

enum cbt_cut_kind {
    CBT_CUT_UNKNOWN, /* it is told by the first bytes */
    CBT_CUT_BUNDLE,
    CBT_CUT_WHOLE, /* zip, a single event, JSON */
    CBT_CUT_LINES,
};

enum cbt_cut_state {
    CBT_CUT_END,   /* there is nothing more */
    CBT_CUT_PIECE, /* `bytes` from the reader's place on; where the file is one piece they need not be in the
                      buffer yet */
    CBT_CUT_TORN,  /* the last piece, which is no whole record or line */
    CBT_CUT_TOO_LARGE, /* what is next has `need` bytes, or more where nobody knows, which is too much;
                          `bytes` of them are there */
    CBT_CUT_BROKEN,    /* reader->fault: it cannot be inflated on */
    CBT_CUT_FAILED,    /* reader->error: it cannot be read on for now */
};

struct cbt_cut {
    enum cbt_cut_kind kind;
    uint32_t records; /* in the piece: records, or lines */
    uint64_t bytes, need;
};

/* Finds the next piece, of `max_bytes` at most, and goes past nothing: the same call finds it again. */
enum cbt_cut_state cbt_cut_next(struct cbt_cut *cut, struct cbt_file_reader *reader, size_t max_bytes);
/* Goes past what was CBT_CUT_TOO_LARGE. False: it cannot be read on. */
bool cbt_cut_pass(const struct cbt_cut *cut, struct cbt_file_reader *reader);

#endif
