/* SPDX-License-Identifier: MIT */
/*
 * One archived file as a run of bytes, read in large pieces, inflated where it is gzip: so a file of any size
 * or ratio takes one buffer. It is not mapped, for whoever cuts a mapped file ends the process.
 */
#ifndef CBTAP_INGEST_ARCHIVE_READER_H
#define CBTAP_INGEST_ARCHIVE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#define CBT_ARCHIVE_BUFFER_BYTES (256u * 1024)

struct cbt_archive_reader {
    int fd;          /* -1: none; the reader's */
    uint64_t size;   /* of the file, when it was opened */
    uint64_t at;     /* the next byte to read from the file */
    uint64_t offset; /* of data[pos], in what comes out */
    uint8_t *data;
    size_t capacity, pos, len;
    bool at_end;       /* nothing comes behind data[len - 1] */
    int error;         /* errno: it cannot be read on for now */
    const char *fault; /* gzip: why it cannot be inflated on; NULL: nothing is wrong */

    bool gzip;
    bool in_member;
    uint8_t *in; /* gzip: what has been read and not yet inflated lies in z */
    z_stream z;
    bool z_ready;
};

/* Takes `fd`. False: no memory; `fd` is closed. */
bool cbt_archive_reader_open(struct cbt_archive_reader *reader, int fd, uint64_t size);
void cbt_archive_reader_close(struct cbt_archive_reader *reader);
void cbt_archive_reader_free(struct cbt_archive_reader *reader);

static inline size_t cbt_archive_reader_has(const struct cbt_archive_reader *reader)
{
    return reader->len - reader->pos;
}
/* Makes `bytes` be there, or all that is left. False: error, or no memory for so many. */
bool cbt_archive_reader_want(struct cbt_archive_reader *reader, size_t bytes);
/* Goes past bytes that are there. */
void cbt_archive_reader_skip(struct cbt_archive_reader *reader, size_t bytes);
/* Goes on at that place of what comes out, from the beginning. False: error, or it is beyond the end. */
bool cbt_archive_reader_seek(struct cbt_archive_reader *reader, uint64_t offset);
/* Reads so many into `to`, or as many as there are; SIZE_MAX: error. */
size_t cbt_archive_reader_get(struct cbt_archive_reader *reader, uint8_t *to, size_t bytes);
/* Begins anew with the file as it lies on disk, not inflated. */
bool cbt_archive_reader_raw(struct cbt_archive_reader *reader);

#endif
