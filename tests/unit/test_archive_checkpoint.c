/* SPDX-License-Identifier: MIT */
/* The archive's checkpoint: what one life has written the next knows, whatever became of the file. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "captured.h"
#include "ingest/archive_checkpoint_file.h"
#include "ingest/spool_files.h"

static char folder[64], path[96];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/cbtap-checkpoint-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/state/archive.checkpoint", folder);
    return 0;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"state/archive.checkpoint", "state/archive.checkpoint.lock",
                                        "state/archive.checkpoint.new", "state"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s/%s", folder, names[i]);
        (void)remove(name);
    }
    return rmdir(folder);
}

static struct cbt_archive_checkpoint *open_it(void)
{
    struct cbt_archive_checkpoint *c = NULL;
    struct cbt_err err = {0};
    if (cbt_archive_checkpoint_open(&c, path, "old", &err) != 0)
        fail_msg("%s", err.text);
    return c;
}

/* The same, and what it said. */
static struct cbt_archive_checkpoint *open_and_hear(char **ret_said)
{
    struct captured captured;
    capture_begin(&captured);
    struct cbt_archive_checkpoint *c = NULL;
    int rc = cbt_archive_checkpoint_open(&c, path, "old", NULL);
    *ret_said = capture_end(&captured);
    assert_int_equal(rc, 0);
    return c;
}

static void write_it(struct cbt_archive_checkpoint *c)
{
    struct cbt_err err = {0};
    if (cbt_archive_checkpoint_write(c, &err) != 0)
        fail_msg("%s", err.text);
    assert_false(cbt_archive_checkpoint_dirty(c));
}

/* A file of that inode, and nothing else. */
static struct cbt_archive_key key_of(uint64_t ino)
{
    struct statx stx = {.stx_ino = ino, .stx_size = 100, .stx_mask = STATX_BTIME};
    return cbt_archive_key_of(&stx);
}

static void deliver(struct cbt_archive_checkpoint *c, uint64_t ino)
{
    struct cbt_archive_progress progress;
    assert_true(cbt_archive_checkpoint_begin(c, key_of(ino), &progress));
    cbt_archive_checkpoint_done(c, key_of(ino));
}

static void a_changed_file_is_another(void **state)
{
    (void)state;
    struct statx a = {.stx_ino = 7, .stx_size = 100, .stx_mask = STATX_BTIME}, b[7];
    for (unsigned i = 0; i < 7; i++)
        b[i] = a;
    b[0].stx_ino++;
    b[1].stx_size++;
    b[2].stx_mtime.tv_nsec++;
    b[3].stx_mtime.tv_sec++;
    b[4].stx_btime.tv_nsec++;
    b[5].stx_btime.tv_sec++;
    b[6].stx_dev_minor++;
    struct cbt_archive_key key = cbt_archive_key_of(&a);
    for (unsigned i = 0; i < 7; i++)
        assert_false(memcmp(&(struct cbt_archive_key){0}, &key, sizeof key) == 0 ||
                     (cbt_archive_key_of(&b[i]).hi == key.hi && cbt_archive_key_of(&b[i]).lo == key.lo));
    a.stx_ctime.tv_sec++; /* renamed, or read */
    a.stx_atime.tv_sec++;
    assert_true(cbt_archive_key_of(&a).hi == key.hi && cbt_archive_key_of(&a).lo == key.lo);
}

static void the_next_life_knows_what_is_done_and_what_is_half_way(void **state)
{
    (void)state;
    struct cbt_archive_progress progress;
    struct cbt_archive_checkpoint *c = open_it();
    deliver(c, 1);
    assert_true(cbt_archive_checkpoint_begin(c, key_of(2), &progress));
    assert_true(cbt_archive_checkpoint_begin(c, key_of(3), &progress));
    assert_int_equal(progress.offset, 0);
    cbt_archive_checkpoint_advance(c, key_of(2), 1000, 10);
    write_it(c);
    cbt_archive_checkpoint_advance(c, key_of(2), 5000000000, 20);
    cbt_archive_checkpoint_advance(c, key_of(3), 77, 1);
    cbt_archive_checkpoint_done(c, key_of(3));
    assert_true(cbt_archive_checkpoint_dirty(c));
    write_it(c);
    deliver(c, 4); /* and the process dies before it is written */
    cbt_archive_checkpoint_close(c);

    c = open_it();
    assert_int_equal(cbt_archive_checkpoint_done_count(c), 2);
    assert_int_equal(cbt_archive_checkpoint_look(c, key_of(1)), CBT_ARCHIVE_DONE);
    assert_int_equal(cbt_archive_checkpoint_look(c, key_of(2)), CBT_ARCHIVE_NEW);
    assert_int_equal(cbt_archive_checkpoint_look(c, key_of(3)), CBT_ARCHIVE_DONE);
    assert_int_equal(cbt_archive_checkpoint_look(c, key_of(4)), CBT_ARCHIVE_NEW);
    assert_true(cbt_archive_checkpoint_begin(c, key_of(2), &progress));
    assert_true(progress.offset == 5000000000 && progress.index == 20);
    assert_int_equal(cbt_archive_checkpoint_look(c, key_of(2)), CBT_ARCHIVE_IN_FLIGHT);
    cbt_archive_checkpoint_let_go(c, key_of(2));
    assert_int_equal(cbt_archive_checkpoint_look(c, key_of(2)), CBT_ARCHIVE_NEW);
    assert_true(cbt_archive_checkpoint_begin(c, key_of(2), &progress));
    assert_true(progress.offset == 5000000000);
    cbt_archive_checkpoint_close(c);
}

/* Cut at every length, what whole records there are is known. */
static void a_torn_file_is_cut_and_told(void **state)
{
    (void)state;
    struct cbt_archive_checkpoint *c = open_it();
    for (unsigned i = 0; i < 4; i++)
        deliver(c, i);
    write_it(c);
    char *said;
    uint64_t bytes = cbt_archive_checkpoint_file_bytes(c);
    cbt_archive_checkpoint_close(c);
    assert_int_equal(bytes, CBT_ARCHIVE_HEAD_BYTES + 4 * CBT_ARCHIVE_RECORD_BYTES);
    for (uint64_t cut = bytes; cut-- > CBT_ARCHIVE_HEAD_BYTES;) {
        assert_int_equal(truncate(path, (off_t)cut), 0);
        c = open_and_hear(&said);
        unsigned whole = (unsigned)((cut - CBT_ARCHIVE_HEAD_BYTES) / CBT_ARCHIVE_RECORD_BYTES);
        assert_int_equal(cbt_archive_checkpoint_done_count(c), whole);
        bool torn = (cut - CBT_ARCHIVE_HEAD_BYTES) % CBT_ARCHIVE_RECORD_BYTES != 0;
        assert_true((strstr(said, "torn") != NULL) == torn);
        free(said);
        assert_true(cbt_archive_checkpoint_dirty(c) == torn);
        cbt_archive_checkpoint_close(c); /* writes nothing, so the next cut is of the same file */
    }
}

static void flip(off_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void a_damaged_record_costs_itself(void **state)
{
    (void)state;
    char *said;
    struct cbt_archive_checkpoint *c = open_it();
    for (unsigned i = 0; i < 4; i++)
        deliver(c, i);
    write_it(c);
    cbt_archive_checkpoint_close(c);
    for (unsigned at = 0; at < CBT_ARCHIVE_RECORD_BYTES; at++) {
        flip(CBT_ARCHIVE_HEAD_BYTES + CBT_ARCHIVE_RECORD_BYTES + at);
        c = open_and_hear(&said);
        assert_non_null(strstr(said, "bytes=32"));
        free(said);
        assert_int_equal(cbt_archive_checkpoint_done_count(c), 3);
        assert_int_equal(cbt_archive_checkpoint_look(c, key_of(1)), CBT_ARCHIVE_NEW);
        cbt_archive_checkpoint_close(c);
        flip(CBT_ARCHIVE_HEAD_BYTES + CBT_ARCHIVE_RECORD_BYTES + at);
    }
    flip(CBT_ARCHIVE_HEAD_BYTES + 5);
    c = open_it();
    write_it(c);
    cbt_archive_checkpoint_close(c);
    c = open_and_hear(&said);
    assert_string_equal(said, "");
    free(said);
    assert_int_equal(cbt_archive_checkpoint_done_count(c), 3);
    cbt_archive_checkpoint_close(c);
}

static void expect_refusal(const char *words)
{
    struct cbt_archive_checkpoint *c = NULL;
    struct cbt_err err = {0};
    assert_int_equal(cbt_archive_checkpoint_open(&c, path, "old", &err), CBT_EINVAL);
    if (!strstr(err.text, words))
        fail_msg("%s", err.text);
}

static void what_is_not_ours_is_refused_and_left_alone(void **state)
{
    (void)state;
    char text[64] = {0};
    cbt_archive_checkpoint_close(open_it());
    FILE *file = fopen(path, "w");
    fputs("[source.archive]\ntype = archive\n", file);
    fclose(file);
    expect_refusal("no checkpoint of cbtap's");
    file = fopen(path, "r");
    assert_int_equal(fread(text, 1, sizeof text, file), 32);
    fclose(file);
    assert_int_equal(unlink(path), 0);

    struct cbt_archive_checkpoint *c = open_it();
    expect_refusal("in use by another cbtap");
    cbt_archive_checkpoint_close(c);
    flip(9);
    expect_refusal("damaged");
    flip(9);
    uint8_t head[CBT_ARCHIVE_HEAD_BYTES] = "cbtarchv\2";
    cbt_spool_put32(head + 12, cbt_spool_crc(0, head, 12));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, head, sizeof head, 0), sizeof head);
    close(fd);
    expect_refusal("has format 2, this version knows 1");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    expect_refusal("Too many levels of symbolic links");
    assert_int_equal(unlink(path), 0);
}

/* The list of what is to be written does not grow while nothing can be; then all of it is. */
static void a_disk_that_takes_nothing_costs_no_memory(void **state)
{
    (void)state;
    struct rlimit none = {0, RLIM_INFINITY}, before;
    struct cbt_err err = {0};
    struct cbt_archive_checkpoint *c = open_it();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    for (unsigned i = 0; i < 300; i++) {
        deliver(c, i);
        assert_int_equal(cbt_archive_checkpoint_write(c, &err), CBT_EIO);
        assert_true(cbt_archive_checkpoint_dirty(c));
    }
    assert_true(c->out_capacity <= 64 * CBT_ARCHIVE_RECORD_BYTES);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    write_it(c);
    cbt_archive_checkpoint_close(c);
    c = open_it();
    assert_int_equal(cbt_archive_checkpoint_done_count(c), 300);
    cbt_archive_checkpoint_close(c);
}

static void what_left_the_tree_is_forgotten(void **state)
{
    (void)state;
    struct cbt_archive_checkpoint *c = open_it();
    for (unsigned i = 0; i < 5000; i++)
        deliver(c, i);
    write_it(c);
    size_t memory = cbt_archive_checkpoint_memory_bytes(c);

    /* A scan that sees none, or that could not see all, takes nothing for gone. */
    cbt_archive_checkpoint_scan_begins(c);
    cbt_archive_checkpoint_scan_ends(c, true);
    assert_int_equal(cbt_archive_checkpoint_done_count(c), 5000);
    cbt_archive_checkpoint_scan_begins(c);
    cbt_archive_checkpoint_look(c, key_of(1));
    cbt_archive_checkpoint_scan_ends(c, false);
    assert_int_equal(cbt_archive_checkpoint_done_count(c), 5000);

    cbt_archive_checkpoint_scan_begins(c);
    for (unsigned i = 0; i < 10; i++)
        cbt_archive_checkpoint_look(c, key_of(i));
    deliver(c, 6000); /* in a folder that the scan has passed */
    cbt_archive_checkpoint_scan_ends(c, true);
    assert_int_equal(cbt_archive_checkpoint_done_count(c), 11);
    assert_int_equal(cbt_archive_checkpoint_look(c, key_of(6000)), CBT_ARCHIVE_DONE);
    assert_int_equal(cbt_archive_checkpoint_look(c, key_of(10)), CBT_ARCHIVE_NEW);
    assert_true(cbt_archive_checkpoint_memory_bytes(c) < memory);
    write_it(c);
    assert_true(cbt_archive_checkpoint_file_bytes(c) < 1024);
    cbt_archive_checkpoint_close(c);
}

/* `after = remove`, for ever: neither the file nor the set grows. */
static void files_that_come_and_go_leave_nothing(void **state)
{
    (void)state;
    struct cbt_archive_checkpoint *c = open_it();
    for (unsigned i = 0; i < 20000; i++) {
        deliver(c, i);
        if (i % 100 == 99) {
            write_it(c);
            for (unsigned k = i - 99; k <= i; k++)
                cbt_archive_checkpoint_forget(c, key_of(k));
        }
        assert_true(cbt_archive_checkpoint_file_bytes(c) < 1300 * CBT_ARCHIVE_RECORD_BYTES);
    }
    assert_int_equal(cbt_archive_checkpoint_done_count(c), 0);
    assert_true(cbt_archive_checkpoint_memory_bytes(c) < 64 * 1024);
    cbt_archive_checkpoint_close(c);
}

/* The set against a plain array, with removals amid chains. */
static void the_set_holds_what_was_put_into_it(void **state)
{
    enum { KEYS = 4000 };
    static bool there[KEYS];
    struct cbt_archive_set set = {0};
    uint32_t dice = 12345;
    (void)state;
    memset(there, 0, sizeof there);
    for (unsigned step = 0; step < 60000; step++) {
        unsigned i = (dice = dice * 1664525u + 1013904223u) >> 8;
        i %= KEYS;
        /* Few homes, so that chains are long. */
        struct cbt_archive_key key = {i % 64, (uint64_t)(i + 1) << 2};
        if ((dice >> 4) % 3 != 0)
            assert_non_null(cbt_archive_set_add(&set, key));
        else
            cbt_archive_set_remove(&set, key);
        there[i] = (dice >> 4) % 3 != 0;
    }
    size_t count = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        struct cbt_archive_key key = {i % 64, (uint64_t)(i + 1) << 2};
        assert_true((cbt_archive_set_find(&set, key) != NULL) == there[i]);
        count += there[i];
    }
    assert_int_equal(set.count, count);
    cbt_archive_set_free(&set);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_changed_file_is_another),
        cmocka_unit_test(the_set_holds_what_was_put_into_it),
        TEST(the_next_life_knows_what_is_done_and_what_is_half_way),
        TEST(a_torn_file_is_cut_and_told),
        TEST(a_damaged_record_costs_itself),
        TEST(what_is_not_ours_is_refused_and_left_alone),
        TEST(a_disk_that_takes_nothing_costs_no_memory),
        TEST(what_left_the_tree_is_forgotten),
        TEST(files_that_come_and_go_leave_nothing),
    };
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
