/* SPDX-License-Identifier: MIT */
/*
 * Files in, piece by piece (ingest/file_cut.h), so that a file of any size takes a buffer. What is no bundle
 * is one piece, which is read whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "cli/export.h"

void cbt_export_input_init(struct cbt_export_input *in)
{
    *in = (struct cbt_export_input){.reader.fd = -1};
}

void cbt_export_input_free(struct cbt_export_input *in)
{
    cbt_file_reader_free(&in->reader);
}

static bool is_stdin(const struct cbt_export_file *file)
{
    return file->named && strcmp(file->path, "-") == 0;
}

static int open_file(const struct cbt_export_file *file)
{
    if (is_stdin(file))
        return fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY;
    /* What the walk found was a file; if it is another thing now, opening must neither follow nor wait. */
    return openat(file->dir_fd, file->name, file->named ? flags : flags | O_NOFOLLOW | O_NONBLOCK);
}

int cbt_export_open(struct cbt_export_input *in, const struct cbt_export_file *file, bool lines,
                    struct cbt_err *err)
{
    int fd = open_file(file);
    if (fd < 0 && !file->named && (errno == ENOENT || errno == ELOOP))
        return 1;
    if (fd < 0)
        return cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
    if (fstat(fd, &in->stat) != 0) {
        cbt_err_set(err, CBT_EIO, "%s", strerror(errno));
        close(fd);
        return err->rc;
    }
    bool is_file = S_ISREG(in->stat.st_mode);
    /* A named one may be a pipe, but a folder only where it has become one since the walk began. */
    if (S_ISDIR(in->stat.st_mode) || (!file->named && !is_file)) {
        close(fd);
        return 1;
    }
    in->cut = (struct cbt_cut){.kind = lines ? CBT_CUT_LINES : CBT_CUT_UNKNOWN};
    in->records = 0;
    in->left_out = in->failed = in->begun = in->waits = in->is_torn = false;
    in->may_be_empty = lines || is_stdin(file);
    /* Standard input goes on where it is; what says that it has no bytes may have some (/proc). */
    bool sized = is_file && in->stat.st_size > 0 && !is_stdin(file);
    if (cbt_file_reader_open(&in->reader, fd, sized ? (uint64_t)in->stat.st_size : CBT_FILE_SIZE_UNKNOWN))
        return CBT_OK;
    return cbt_err_set(err, CBT_ENOMEM, "no memory to read it");
}

static int too_large(const struct cbt_export_input *in, size_t max_bytes, struct cbt_err *err)
{
    bool known = in->cut.kind == CBT_CUT_BUNDLE || cbt_file_reader_left(&in->reader) == in->cut.need;
    const char *what = in->cut.kind == CBT_CUT_BUNDLE  ? "a record"
                       : in->cut.kind == CBT_CUT_LINES ? "a line"
                                                       : "what is no bundle";
    return cbt_err_set(err, CBT_ELIMIT,
                       "%s%" PRIu64 " bytes: %s is read whole, and cbtap.frame_max_bytes is %zu; "
                       "-s cbtap.frame_max_bytes=NUMBER raises it",
                       known ? "" : "more than ", known ? in->cut.need : max_bytes, what, max_bytes);
}

/* What is no bundle need not be in the buffer yet, and may have shrunk. */
static int hold(struct cbt_export_input *in, struct cbt_err *err)
{
    if (!cbt_file_reader_want(&in->reader, (size_t)in->cut.bytes))
        return cbt_err_set(err, CBT_EIO, "%s", strerror(in->reader.error));
    size_t has = cbt_file_reader_has(&in->reader);
    if (has < in->cut.bytes)
        in->cut.bytes = has;
    return CBT_EXPORT_PIECE;
}

int cbt_export_next(struct cbt_export_input *in, size_t max_bytes, struct cbt_text *ret_piece,
                    struct cbt_err *err)
{
    struct cbt_file_reader *r = &in->reader;
    int rc = CBT_EXPORT_PIECE;
    switch (cbt_cut_next(&in->cut, r, max_bytes)) {
    case CBT_CUT_TORN:
        in->is_torn = in->waits;
        if (in->waits)
            return CBT_EXPORT_END;
        /* fallthrough */
    case CBT_CUT_PIECE:
        rc = hold(in, err);
        break;
    case CBT_CUT_TOO_LARGE:
        in->is_torn = in->waits && in->cut.kind == CBT_CUT_BUNDLE && in->cut.bytes < in->cut.need;
        return in->is_torn ? CBT_EXPORT_END : too_large(in, max_bytes, err);
    case CBT_CUT_BROKEN:
        return cbt_err_set(err, CBT_EINVAL, "the gz file is broken at byte %" PRIu64 " or before it: %s",
                           r->at - r->z.avail_in, r->fault);
    case CBT_CUT_FAILED:
        if (r->error == EAGAIN)
            return CBT_EXPORT_LATER;
        return cbt_err_set(err, CBT_EIO, "%s", strerror(r->error));
    default:
        /* A file that has no events is one that lost them, or has none yet. */
        in->is_torn = in->waits && !in->begun;
        if (in->begun || in->waits || in->may_be_empty)
            return CBT_EXPORT_END;
        in->cut.bytes = in->cut.records = 0;
    }
    *ret_piece = (struct cbt_text){r->data + r->pos, (size_t)in->cut.bytes};
    if (in->cut.kind == CBT_CUT_LINES && ret_piece->len > 0 && ret_piece->data[ret_piece->len - 1] == '\n')
        ret_piece->len--;
    return rc;
}

void cbt_export_pass(struct cbt_export_input *in)
{
    in->begun = true;
    in->records += in->cut.records;
    cbt_file_reader_skip(&in->reader, (size_t)in->cut.bytes);
}

bool cbt_export_pass_too_large(struct cbt_export_input *in)
{
    in->begun = true;
    in->records += in->cut.records;
    /* It is not left half-way. */
    bool impatient = in->reader.impatient;
    in->reader.impatient = false;
    bool passed = cbt_cut_pass(&in->cut, &in->reader);
    in->reader.impatient = impatient;
    return passed;
}
