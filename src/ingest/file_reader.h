/* SPDX-License-Identifier: MIT */
/*
 * A file as a run of bytes, read in large pieces, inflated where it is gzip: so a file of any size or ratio
 * takes one buffer. It is not mapped, for whoever cuts a mapped file ends the process.
 */
#ifndef CBTAP_INGEST_FILE_READER_H
#define CBTAP_INGEST_FILE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#define CBT_FILE_BUFFER_BYTES (256u * 1024)
#define CBT_FILE_SIZE_UNKNOWN UINT64_MAX /* of a pipe: it is read from where it is, as it comes */

struct cbt_file_reader {
    int fd;          /* -1: none; the reader's */
    uint64_t size;   /* of the file, when it was opened, or CBT_FILE_SIZE_UNKNOWN */
    uint64_t at;     /* the next byte to read from the file */
    uint64_t offset; /* of data[pos], in what comes out */
    uint8_t *data;
    size_t capacity, pos, len;
    bool at_end;       /* nothing comes behind data[len - 1] */
    int error;         /* errno: it cannot be read on for now */
    const char *fault; /* gzip: why it cannot be inflated on; NULL: nothing is wrong */

    bool impatient; /* the owner's: a pipe in which there is nothing yet is not waited for; error is EAGAIN */
    bool looked;    /* whether it is gzip */
    bool gzip;
    bool in_member;
    uint8_t *in; /* gzip: what has been read and not yet inflated lies in z */
    z_stream z;
    bool z_ready;
};

/* Takes `fd`. False: no memory; `fd` is closed. */
bool cbt_file_reader_open(struct cbt_file_reader *reader, int fd, uint64_t size);
void cbt_file_reader_close(struct cbt_file_reader *reader);
void cbt_file_reader_free(struct cbt_file_reader *reader);

static inline size_t cbt_file_reader_has(const struct cbt_file_reader *reader)
{
    return reader->len - reader->pos;
}
/* Makes `bytes` be there, or all that is left. False: error, or no memory for so many. */
bool cbt_file_reader_want(struct cbt_file_reader *reader, size_t bytes);
/* Goes past bytes that are there. */
void cbt_file_reader_skip(struct cbt_file_reader *reader, size_t bytes);
/* How much of what comes out is left; CBT_FILE_SIZE_UNKNOWN where nobody knows yet. */
static inline uint64_t cbt_file_reader_left(const struct cbt_file_reader *reader)
{
    bool known = !reader->gzip && reader->size != CBT_FILE_SIZE_UNKNOWN;
    return known ? reader->size - reader->offset : CBT_FILE_SIZE_UNKNOWN;
}
/* Goes on at that place of what comes out, which lies ahead. False: error, or it is beyond the end. */
bool cbt_file_reader_seek(struct cbt_file_reader *reader, uint64_t offset);
/* Reads so many into `to`, or as many as there are; SIZE_MAX: error. */
size_t cbt_file_reader_get(struct cbt_file_reader *reader, uint8_t *to, size_t bytes);
/* Begins anew with the file as it lies on disk, not inflated. Its size must be known. */
void cbt_file_reader_raw(struct cbt_file_reader *reader);

#endif
