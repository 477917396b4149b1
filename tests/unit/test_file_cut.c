/* SPDX-License-Identifier: MIT */
/* From files, gz files and pipes to pieces: all of it comes, in order, cut where it may be. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>
#include <sys/mman.h>

#include "gzip.h"
#include "ingest/file_cut.h"
#include "pb_build.h"

#define MAX_BYTES 1000000u

/* What is read, and how. */
enum way { FILE_OF, GZIP_OF, PIPE_OF, GZIP_THROUGH_PIPE, WAYS };

struct input {
    int fd;
    uint64_t size;
    pthread_t feeder; /* of a pipe */
    bool fed;
    int feed_fd;
    struct pb data;
};

static void *feed(void *arg)
{
    struct input *in = arg;
    size_t at = 0;
    /* In pieces that end anywhere. */
    for (size_t piece = 1; at < in->data.len; piece = piece * 7 % 65521) {
        size_t len = piece < in->data.len - at ? piece : in->data.len - at;
        ssize_t n = write(in->feed_fd, in->data.data + at, len);
        if (n < 0)
            break; /* the reader has seen enough */
        at += (size_t)n;
    }
    close(in->feed_fd);
    return NULL;
}

static void put_gzip(struct pb *out, struct cbt_text text)
{
    struct cbt_text packed = gzipped(text, 1);
    pb_raw(out, packed.data, packed.len);
    free((void *)(uintptr_t)packed.data);
}

static void open_input(struct input *in, struct cbt_text text, enum way way)
{
    *in = (struct input){.size = CBT_FILE_SIZE_UNKNOWN};
    if (way == GZIP_OF || way == GZIP_THROUGH_PIPE)
        put_gzip(&in->data, text);
    else
        pb_raw(&in->data, text.data, text.len);
    if (way == FILE_OF || way == GZIP_OF) {
        in->fd = memfd_create("input", MFD_CLOEXEC);
        in->size = in->data.len;
        assert_int_equal(write(in->fd, in->data.data, in->data.len), in->data.len);
        return;
    }
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    in->fd = ends[0];
    in->feed_fd = ends[1];
    in->fed = true;
    assert_int_equal(pthread_create(&in->feeder, NULL, feed, in), 0);
}

static void close_input(struct input *in, struct cbt_file_reader *r)
{
    cbt_file_reader_free(r);
    if (in->fed)
        pthread_join(in->feeder, NULL);
    pb_free(&in->data);
}

/* All pieces, one behind the other, and how it ended; each is held against what a piece is. */
static enum cbt_cut_state cut_all(struct cbt_text text, enum way way, enum cbt_cut_kind kind, struct pb *out,
                                  uint64_t *ret_records)
{
    struct input in;
    struct cbt_file_reader r = {.fd = -1};
    struct cbt_cut cut = {.kind = kind};
    enum cbt_cut_state state;
    open_input(&in, text, way);
    assert_true(cbt_file_reader_open(&r, in.fd, in.size));
    *ret_records = 0;
    for (;;) {
        state = cbt_cut_next(&cut, &r, MAX_BYTES);
        if (state == CBT_CUT_TOO_LARGE) {
            assert_true(cut.need > MAX_BYTES);
            if (cut.kind == CBT_CUT_WHOLE)
                break;
            *ret_records += 1000000;
            assert_true(cbt_cut_pass(&cut, &r));
            continue;
        }
        if (state != CBT_CUT_PIECE && state != CBT_CUT_TORN)
            break;
        assert_true(cbt_file_reader_want(&r, cut.bytes));
        assert_true(cut.bytes > 0 && cbt_file_reader_has(&r) >= cut.bytes);
        assert_true(cut.records == 1 || (cut.kind == CBT_CUT_BUNDLE && cut.bytes <= CBT_CUT_BYTES));
        pb_raw(out, r.data + r.pos, (size_t)cut.bytes);
        *ret_records += cut.records;
        cbt_file_reader_skip(&r, (size_t)cut.bytes);
    }
    close_input(&in, &r);
    return state;
}

static void put_record(struct pb *out, size_t bytes, uint8_t fill)
{
    uint8_t *record = malloc(bytes);
    assert_non_null(record);
    memset(record, fill, bytes);
    record[0] = 0x0A;
    pb_record(out, (struct cbt_text){record, bytes});
    free(record);
}

static void bundles_come_whole_by_every_way(void **state)
{
    (void)state;
    struct pb bundle = {0};
    for (unsigned i = 0; i < 3000; i++)
        put_record(&bundle, 1 + i * 7919 % 997, (uint8_t)i);
    put_record(&bundle, 500000, 'l'); /* larger than a piece and than the buffer */
    put_record(&bundle, 3, 's');
    for (size_t torn = 0; torn < 7; torn++) {
        for (enum way way = 0; way < WAYS; way++) {
            struct pb out = {0};
            uint64_t records;
            struct cbt_text text = {bundle.data, bundle.len - torn};
            assert_int_equal(cut_all(text, way, CBT_CUT_UNKNOWN, &out, &records), CBT_CUT_END);
            assert_int_equal(records, 3002);
            assert_int_equal(out.len, text.len);
            assert_memory_equal(out.data, text.data, out.len);
            pb_free(&out);
        }
    }
    pb_free(&bundle);
}

static void a_record_beyond_the_limit_is_passed_and_its_neighbours_come(void **state)
{
    (void)state;
    struct pb bundle = {0}, left = {0};
    put_record(&bundle, 70000, 'a');
    put_record(&bundle, MAX_BYTES - 4, 'm');
    pb_raw(&left, bundle.data, bundle.len);
    put_record(&bundle, MAX_BYTES - 3, 'x');
    put_record(&bundle, 10, 'b');
    put_record(&left, 10, 'b');
    for (enum way way = 0; way < WAYS; way++) {
        struct pb out = {0};
        uint64_t records;
        assert_int_equal(cut_all(pb_text(&bundle), way, CBT_CUT_UNKNOWN, &out, &records), CBT_CUT_END);
        assert_int_equal(records, 1000003);
        assert_int_equal(out.len, left.len);
        assert_memory_equal(out.data, left.data, out.len);
        pb_free(&out);
    }
    pb_free(&bundle);
    pb_free(&left);
}

/* What is no bundle is one piece, or too large; the same bytes through a pipe or gz are told apart alike. */
static void what_is_no_bundle_is_one_piece(void **state)
{
    (void)state;
    struct pb large = {0};
    pb_raw(&large, "{\"a\":\"", 6);
    while (large.len < MAX_BYTES)
        pb_byte(&large, (uint8_t)large.len);
    const struct cbt_text bodies[] = {
        CBT_TEXT("{\"a\":1}"),
        CBT_TEXT("x"),
        CBT_TEXT("\x08\0\0\0\x0Aseven.."),   /* a record that is cut off before any is whole */
        CBT_TEXT("PK\3\4\x0A\0 stored zip"), /* version 1.0 */
        pb_text(&large),
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        for (enum way way = 0; way < WAYS; way++) {
            struct pb out = {0};
            uint64_t records;
            assert_int_equal(cut_all(bodies[i], way, CBT_CUT_UNKNOWN, &out, &records), CBT_CUT_END);
            assert_int_equal(records, 1);
            assert_int_equal(out.len, bodies[i].len);
            assert_memory_equal(out.data, bodies[i].data, out.len);
            pb_free(&out);
        }
    pb_byte(&large, 0);
    for (enum way way = 0; way < WAYS; way++) {
        struct pb out = {0};
        uint64_t records;
        assert_int_equal(cut_all(pb_text(&large), way, CBT_CUT_UNKNOWN, &out, &records), CBT_CUT_TOO_LARGE);
        assert_int_equal(cut_all(CBT_TEXT(""), way, CBT_CUT_UNKNOWN, &out, &records), CBT_CUT_END);
        assert_int_equal(out.len, 0);
    }
    pb_free(&large);
}

static void lines_come_one_by_one(void **state)
{
    (void)state;
    struct pb text = {0}, left = {0};
    for (unsigned i = 0; i < 5000; i++) {
        for (unsigned k = 0; k < i % 200; k++)
            pb_byte(&text, (uint8_t)('a' + k % 26));
        pb_byte(&text, '\n');
    }
    for (size_t i = 0; i < MAX_BYTES; i++)
        pb_byte(&text, 'l');
    pb_raw(&text, "\n", 1);
    pb_raw(&left, text.data, text.len);
    for (size_t i = 0; i < MAX_BYTES + 1; i++)
        pb_byte(&text, 'x');
    pb_raw(&text, "\nno end", 7);
    pb_raw(&left, "no end", 6);
    for (enum way way = 0; way < WAYS; way++) {
        struct pb out = {0};
        uint64_t records;
        assert_int_equal(cut_all(pb_text(&text), way, CBT_CUT_LINES, &out, &records), CBT_CUT_END);
        assert_int_equal(records, 5001 + 1000000 + 1);
        assert_int_equal(out.len, left.len);
        assert_memory_equal(out.data, left.data, out.len);
        pb_free(&out);
    }
    pb_free(&text);
    pb_free(&left);
}

/* A gz file that is cut off gives what is whole, and then says so. */
static void broken_gzip_gives_its_whole_records_first(void **state)
{
    (void)state;
    struct pb bundle = {0}, gz = {0};
    for (unsigned i = 0; i < 3000; i++)
        put_record(&bundle, 300, (uint8_t)(i * 31));
    put_gzip(&gz, pb_text(&bundle));
    const size_t lens[] = {3, 9, 12, gz.len / 2, gz.len - 1};
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct pb out = {0};
        uint64_t records;
        struct cbt_text text = {gz.data, lens[i]};
        assert_int_equal(cut_all(text, i % 2 ? PIPE_OF : FILE_OF, CBT_CUT_UNKNOWN, &out, &records),
                         CBT_CUT_BROKEN);
        assert_int_equal(out.len, records * 304);
        assert_int_equal(i == 4, records == 3000);
        pb_free(&out);
    }
    pb_free(&bundle);
    pb_free(&gz);
}

/* The length of a bundle's first record may be the bytes that gzip begins with; a gz file's time of writing
 * may be the byte that a bundle's first record begins with. */
static void gzip_and_bundles_are_told_apart(void **state)
{
    (void)state;
    struct pb bundle = {0}, record = {0}, gz = {0}, dated = {0}, out = {0};
    uint64_t records;
    pb_header(&record, 116444736000000000);
    while (record.len < 0x088B1F)
        pb_byte(&record, 0);
    pb_record(&bundle, pb_text(&record));
    assert_memory_equal(bundle.data, "\x1F\x8B\x08\0\x0A", 5);
    assert_int_equal(cut_all(pb_text(&bundle), FILE_OF, CBT_CUT_UNKNOWN, &out, &records), CBT_CUT_END);
    assert_int_equal(out.len, bundle.len);
    put_gzip(&gz, pb_text(&bundle));
    if (gz.data == NULL)
        abort(); /* what the linter does not see otherwise */
    pb_raw(&dated, gz.data, 4);
    pb_byte(&dated, 0x0A);
    pb_raw(&dated, gz.data + 5, gz.len - 5);
    out.len = 0;
    assert_int_equal(cut_all(pb_text(&dated), FILE_OF, CBT_CUT_UNKNOWN, &out, &records), CBT_CUT_END);
    assert_int_equal(out.len, bundle.len);
    pb_free(&bundle);
    pb_free(&record);
    pb_free(&gz);
    pb_free(&dated);
    pb_free(&out);
}

/* A file that grows or shrinks while it is read ends where it ended when it was opened, or where it ends. */
static void a_file_that_changes_ends_where_it_was_opened(void **state)
{
    (void)state;
    struct pb bundle = {0};
    for (unsigned i = 0; i < 2000; i++)
        put_record(&bundle, 496, (uint8_t)i);
    for (int grows = 0; grows < 2; grows++) {
        struct cbt_file_reader r = {.fd = -1};
        struct cbt_cut cut = {0};
        int fd = memfd_create("input", MFD_CLOEXEC);
        assert_int_equal(write(fd, bundle.data, bundle.len), bundle.len);
        assert_true(cbt_file_reader_open(&r, fd, bundle.len));
        assert_int_equal(cbt_cut_next(&cut, &r, MAX_BYTES), CBT_CUT_PIECE);
        assert_int_equal(ftruncate(fd, grows ? 2000000 : 500000), 0);
        enum cbt_cut_state found;
        while ((found = cbt_cut_next(&cut, &r, MAX_BYTES)) == CBT_CUT_PIECE)
            cbt_file_reader_skip(&r, (size_t)cut.bytes);
        assert_int_equal(found, CBT_CUT_END);
        assert_int_equal(r.offset, grows ? bundle.len : 500000);
        cbt_file_reader_free(&r);
    }
    pb_free(&bundle);
}

static void the_impatient_do_not_wait_for_a_pipe(void **state)
{
    (void)state;
    struct cbt_file_reader r = {.fd = -1, .impatient = true};
    struct cbt_cut cut = {0};
    struct pb bundle = {0}, gz = {0};
    int ends[2];
    for (unsigned i = 0; i < 2000; i++)
        put_record(&bundle, 100, (uint8_t)(i * 31));
    put_gzip(&gz, pb_text(&bundle));
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(cbt_file_reader_open(&r, ends[0], CBT_FILE_SIZE_UNKNOWN));
    const size_t until[] = {0, 2, 9, 30, 400};
    for (size_t i = 1; i < sizeof until / sizeof until[0]; i++) {
        assert_int_equal(cbt_cut_next(&cut, &r, MAX_BYTES), CBT_CUT_FAILED);
        assert_int_equal(r.error, EAGAIN);
        size_t len = until[i] - until[i - 1];
        assert_int_equal(write(ends[1], gz.data + until[i - 1], len), len);
    }
    assert_in_range(gz.len, 401, 50000); /* what a pipe takes */
    assert_int_equal(write(ends[1], gz.data + 400, gz.len - 400), gz.len - 400);
    assert_int_equal(cbt_cut_next(&cut, &r, MAX_BYTES), CBT_CUT_PIECE);
    assert_memory_equal(r.data + r.pos, bundle.data, cut.bytes);
    cbt_file_reader_skip(&r, (size_t)cut.bytes);
    assert_int_equal(cbt_cut_next(&cut, &r, MAX_BYTES), CBT_CUT_FAILED);
    close(ends[1]);
    assert_int_equal(cbt_cut_next(&cut, &r, MAX_BYTES), CBT_CUT_PIECE);
    assert_int_equal(r.offset + cut.bytes, bundle.len);
    cbt_file_reader_free(&r);
    pb_free(&bundle);
    pb_free(&gz);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bundles_come_whole_by_every_way),
        cmocka_unit_test(a_record_beyond_the_limit_is_passed_and_its_neighbours_come),
        cmocka_unit_test(what_is_no_bundle_is_one_piece),
        cmocka_unit_test(lines_come_one_by_one),
        cmocka_unit_test(broken_gzip_gives_its_whole_records_first),
        cmocka_unit_test(gzip_and_bundles_are_told_apart),
        cmocka_unit_test(a_file_that_changes_ends_where_it_was_opened),
        cmocka_unit_test(the_impatient_do_not_wait_for_a_pipe),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
