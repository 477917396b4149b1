/* SPDX-License-Identifier: MIT */
/*
 * The archive's checkpoint on disk. Its head, little-endian: "cbtarchv", version (32 bits), a checksum of
 * these (32). Then records of 32 bytes: a key (2 times 64), an offset (64; all ones: the file is done),
 * records before it (32), a checksum of the record (32). The last record of a key counts.
 */
#ifndef CBTAP_INGEST_ARCHIVE_CHECKPOINT_FILE_H
#define CBTAP_INGEST_ARCHIVE_CHECKPOINT_FILE_H

#include "ingest/archive_checkpoint.h"
#include "ingest/archive_set.h"

#define CBT_ARCHIVE_HEAD_BYTES   16
#define CBT_ARCHIVE_RECORD_BYTES 32
#define CBT_ARCHIVE_ALL          UINT64_MAX /* the offset of a file that is done */

struct cbt_archive_checkpoint {
    char *path, *aside, *lock_path;
    const char *source;
    int lock_fd, dir_fd, fd;
    uint64_t file_bytes;
    bool rewrite; /* what is on disk does not hold what is known: it is to be written anew */

    struct cbt_archive_set set;
    size_t done;      /* keys in the set that are done */
    uint64_t mark;    /* CBT_ARCHIVE_SET_MARK or 0: what those that the scan has seen have */
    size_t seen_done; /* by the scan */

    struct cbt_archive_progress *progress; /* of files that are half-way */
    size_t progress_count, progress_capacity;

    uint8_t *out; /* records to be appended */
    size_t out_bytes, out_capacity;
};

void cbt_archive_record_encode(uint8_t *ret_record, struct cbt_archive_key key, uint64_t offset,
                               uint32_t index);
bool cbt_archive_record_decode(const uint8_t *record, struct cbt_archive_key *ret_key, uint64_t *ret_offset,
                               uint32_t *ret_index);

/* Opens and locks; reads what is there, giving each record to cbt_archive_checkpoint_load. */
int cbt_archive_checkpoint_file_open(struct cbt_archive_checkpoint *checkpoint, struct cbt_err *err);
void cbt_archive_checkpoint_file_close(struct cbt_archive_checkpoint *checkpoint);
/* False: no memory. */
bool cbt_archive_checkpoint_load(struct cbt_archive_checkpoint *checkpoint, struct cbt_archive_key key,
                                 uint64_t offset, uint32_t index);
int cbt_archive_checkpoint_append(struct cbt_archive_checkpoint *checkpoint, struct cbt_err *err);
int cbt_archive_checkpoint_rewrite(struct cbt_archive_checkpoint *checkpoint, struct cbt_err *err);

#endif
