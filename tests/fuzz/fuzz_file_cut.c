/* SPDX-License-Identifier: MIT */
/* Files and pipes in pieces: together they are the file, byte for byte, and both are cut alike. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "decode/kind.h"
#include "fuzz.h"
#include "ingest/file_cut.h"

#define PIECES_MAX 8192 /* what is not inflated has fewer */

struct pieces {
    struct {
        enum cbt_cut_state state;
        struct cbt_cut cut;
    } all[PIECES_MAX];
    size_t count;
};

static void check_piece(const struct cbt_cut *cut, enum cbt_cut_state state, struct cbt_text piece)
{
    bool is_line = cut->kind == CBT_CUT_LINES;
    size_t at = 0;
    for (uint32_t i = 0; cut->kind == CBT_CUT_BUNDLE && state == CBT_CUT_PIECE && i < cut->records; i++) {
        FUZZ_CHECK(piece.len - at >= 4 && cbt_le32(piece.data + at) <= piece.len - at - 4, "record %u", i);
        at += 4 + cbt_le32(piece.data + at);
    }
    FUZZ_CHECK(at == 0 || at == piece.len, "%zu of %zu bytes are records", at, piece.len);
    const uint8_t *newline = is_line ? memchr(piece.data, '\n', piece.len) : NULL;
    FUZZ_CHECK(!is_line || (state == CBT_CUT_PIECE) == (newline == piece.data + piece.len - 1), "no line");
}

/* Takes `fd`. */
static void cut_all(int fd, uint64_t size, struct cbt_text input, enum cbt_cut_kind kind, size_t max_bytes,
                    struct pieces *ret_pieces)
{
    static struct cbt_file_reader r = {.fd = -1};
    struct cbt_cut cut = {.kind = kind};
    enum cbt_cut_state state;
    FUZZ_CHECK(cbt_file_reader_open(&r, fd, size), "%zu bytes", input.len);
    ret_pieces->count = 0;
    do {
        state = cbt_cut_next(&cut, &r, max_bytes);
        ret_pieces->all[ret_pieces->count].state = state;
        ret_pieces->all[ret_pieces->count++].cut = cut;
        uint64_t before = r.offset;
        if (state == CBT_CUT_TOO_LARGE && cut.kind != CBT_CUT_WHOLE) {
            FUZZ_CHECK(cut.need > max_bytes, "%zu bytes", (size_t)cut.need);
            FUZZ_CHECK(cbt_cut_pass(&cut, &r) && r.offset > before, "at %zu", (size_t)before);
        } else if (state == CBT_CUT_PIECE || state == CBT_CUT_TORN) {
            FUZZ_CHECK(cut.bytes > 0 && cut.bytes <= max_bytes + 1, "%zu bytes", (size_t)cut.bytes);
            FUZZ_CHECK(cbt_file_reader_want(&r, cut.bytes) && cbt_file_reader_has(&r) >= cut.bytes,
                       "not there");
            struct cbt_text piece = {r.data + r.pos, (size_t)cut.bytes};
            if (!r.gzip)
                FUZZ_CHECK(memcmp(piece.data, input.data + before, piece.len) == 0, "at %zu", (size_t)before);
            check_piece(&cut, state, piece);
            cbt_file_reader_skip(&r, piece.len);
        }
    } while (ret_pieces->count < PIECES_MAX && (state == CBT_CUT_PIECE || state == CBT_CUT_TORN ||
                                                (state == CBT_CUT_TOO_LARGE && cut.kind != CBT_CUT_WHOLE)));
    FUZZ_CHECK(r.gzip || ret_pieces->count < PIECES_MAX, "%zu pieces", ret_pieces->count);
    FUZZ_CHECK(state != CBT_CUT_FAILED, "errno %d", r.error);
    FUZZ_CHECK(r.gzip || state != CBT_CUT_BROKEN, "not gzip");
    FUZZ_CHECK(r.gzip || state != CBT_CUT_END || r.offset == input.len, "%zu of %zu bytes", (size_t)r.offset,
               input.len);
    cbt_file_reader_close(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pieces of_file, of_pipe;
    struct cbt_text input = {data, size};
    uint8_t options = fuzz_byte(&input);
    enum cbt_cut_kind kind = (options & 1) != 0 ? CBT_CUT_LINES : CBT_CUT_UNKNOWN;
    size_t max_bytes = options & 2 ? 16u + (options >> 2) : 1u << 20;
    if (input.len > 4096)
        return 0; /* what a pipe takes */
    int fd = memfd_create("input", MFD_CLOEXEC), ends[2];
    FUZZ_CHECK(fd >= 0 && write(fd, input.data, input.len) == (ssize_t)input.len, "no file");
    cut_all(fd, input.len, input, kind, max_bytes, &of_file);
    FUZZ_CHECK(pipe2(ends, O_CLOEXEC) == 0 && write(ends[1], input.data, input.len) == (ssize_t)input.len,
               "no pipe");
    close(ends[1]);
    cut_all(ends[0], CBT_FILE_SIZE_UNKNOWN, input, kind, max_bytes, &of_pipe);
    FUZZ_CHECK(of_file.count == of_pipe.count, "%zu and %zu pieces", of_file.count, of_pipe.count);
    for (size_t i = 0; i < of_file.count; i++) {
        const struct cbt_cut *a = &of_file.all[i].cut, *b = &of_pipe.all[i].cut;
        FUZZ_CHECK(of_file.all[i].state == of_pipe.all[i].state && a->kind == b->kind, "piece %zu", i);
        FUZZ_CHECK(a->bytes == b->bytes && a->records == b->records, "piece %zu", i);
    }
    return 0;
}
