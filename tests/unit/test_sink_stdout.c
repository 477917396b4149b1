/* SPDX-License-Identifier: MIT */
/* The sink of standard output before a pipe and a file: order, a reader that waits, a reader that is gone. */
#include "writer_bed.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

struct swap {
    int saved;
};

/* Standard output is `fd` until swap_back; cmocka's own words are not among what is tested. */
static struct swap swap_in(int fd)
{
    fflush(stdout);
    struct swap swap = {dup(STDOUT_FILENO)};
    assert_true(swap.saved >= 0);
    assert_true(dup2(fd, STDOUT_FILENO) >= 0);
    close(fd);
    return swap;
}

static void swap_back(struct swap swap)
{
    assert_true(dup2(swap.saved, STDOUT_FILENO) >= 0);
    close(swap.saved);
}

static struct bed *new_bed(void)
{
    struct bed *bed = bed_new("stdout");
    bed->config.standard_output = (struct cbt_options_stdout){.type = "stdout",
                                                              .format = "json",
                                                              .json_profile = "documented",
                                                              .dead_letter_dir = bed->dead,
                                                              .queue_records = 65536};
    return bed;
}

static void read_and_judge(int fd, size_t bytes, struct bed_found *found)
{
    char *data = malloc(bytes);
    assert_non_null(data);
    for (size_t len = 0; len < bytes;) {
        ssize_t n = read(fd, data + len, bytes - len);
        if (n <= 0)
            fail_msg("the output ends after %zu of %zu bytes", len, bytes);
        len += (size_t)n;
    }
    bed_judge_lines(found, data, bytes);
    free(data);
}

/* A pipe and a socket hold less than what is written, so the sink has to wait for the reader, without
 * blocking the thread: closing it would hang otherwise. */
static void a_reader_that_waits_is_waited_for(void **state)
{
    (void)state;
    for (int socket = 0; socket < 2; socket++) {
        int fds[2];
        struct bed *bed = new_bed();
        struct bed_frame *frame = bed_frame_new(3000, 1, 0, 1000);
        struct bed_found found = {0};
        struct cbt_err err = {0};
        if (socket)
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        else
            assert_int_equal(pipe(fds), 0);
        struct swap swap = swap_in(fds[1]);
        bed_open(bed);
        bed_submit(bed, frame);
        int drained = bed->sink->drain(bed->self, 100, &err);
        bool nothing = bed_nothing_settled(bed);
        read_and_judge(fds[0], (size_t)3000 * 1001, &found);
        bed_await_settled(bed, 1);
        atomic_store(&frame->frame.pending, frame->count);
        bed_submit(bed, frame); /* again, and nobody reads */
        bed_close(bed);
        swap_back(swap);
        assert_int_equal(drained, CBT_ELIMIT);
        assert_true(nothing);
        assert_int_equal(found.records, 3000);
        assert_int_equal(found.duplicates + found.broken, 0);
        close(fds[0]);
        bed_free(bed);
        bed_frame_free(frame);
    }
}

static void a_file_is_appended_to_where_it_stands(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    struct bed_frame *frame = bed_frame_new(10, 1, 1, 50);
    struct bed_found found = {0};
    int fd = open(bed->path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, "1 0 .\n", 6), 6);
    struct swap swap = swap_in(fd);
    bed_open(bed);
    bed_submit(bed, frame);
    bed_await_settled(bed, 1);
    bed_close(bed);
    swap_back(swap);
    bed_judge_file(&found, bed->path);
    assert_int_equal(found.records, 11);
    assert_int_equal(found.duplicates + found.broken, 0);
    bed_free(bed);
    bed_frame_free(frame);
}

static void a_reader_that_is_gone_is_said_and_nothing_settled(void **state)
{
    (void)state;
    int fds[2];
    char reason[512] = "";
    struct bed *bed = new_bed();
    struct bed_frame *frame = bed_frame_new(10, 1, 0, 50);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe(fds), 0);
    struct swap swap = swap_in(fds[1]);
    close(fds[0]);
    bed_open(bed);
    bed_submit(bed, frame);
    BED_AWAIT(!bed->sink->ready(bed->self, reason, sizeof(reason)) && strstr(reason, "gone") != NULL);
    bed_close(bed);
    swap_back(swap);
    assert_true(bed_nothing_settled(bed));
    bed_free(bed);
    bed_frame_free(frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_that_waits_is_waited_for),
        cmocka_unit_test(a_file_is_appended_to_where_it_stands),
        cmocka_unit_test(a_reader_that_is_gone_is_said_and_nothing_settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
