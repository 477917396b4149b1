/* SPDX-License-Identifier: MIT */
/*
 * The inside of the file sink, shared by its files:
 *   sink_file.c      the channel: writes, syncs, rotates
 *   file_open.c      opens the file, cuts off a torn last line, names closed files
 *   file_compress.c  a thread that compresses closed files
 */
#ifndef CBTAP_SINK_FILE_H
#define CBTAP_SINK_FILE_H

#include <sys/stat.h>

#include "sink/writer.h"

/* "20260131T235959.123Z": what is put behind PATH and a dot. */
#define FILE_STAMP_BYTES 20
#define FILE_PATH_MAX    4096

struct file_compressor;

/* Opens PATH for appending, locked, its torn last line cut off; created with `mode` where it is missing.
 * *ret_stat is that of the file then; *ret_age_ms its age, 0 where that cannot be known. */
int file_open(const char *path, mode_t mode, int *ret_fd, struct stat *ret_stat, int64_t *ret_age_ms,
              struct cbt_err *err);
/* Gives PATH its name as a closed file, one that is not taken. @thread the writer's */
int file_give_name(const char *path, struct cbt_err *err);
/* Syncs the directory that PATH is in. */
int file_sync_dir(const char *path, struct cbt_err *err);
/* True for the name of a closed file of `base` that is not compressed. */
bool file_is_closed_name(const char *base, const char *name);

/* Starts the thread; it begins with what an earlier process left. @thread main */
int file_compressor_start(struct file_compressor **ret_compressor, const char *path, const char *sink,
                          struct cbt_err *err);
/* There may be another closed file. @thread any */
void file_compressor_wake(struct file_compressor *compressor);
/* Gives up what is under way: the next process begins it anew. NULL is fine. @thread main */
void file_compressor_stop(struct file_compressor *compressor);
/* Compresses one file to PATH.gz and removes it; also for tests. `quit` may be NULL. */
int file_compress(const char *path, const _Atomic bool *quit, struct cbt_err *err);

#endif
