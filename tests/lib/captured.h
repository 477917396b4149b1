/* SPDX-License-Identifier: MIT */
/* For tests of what goes to standard error: it goes into a file meanwhile. */
#ifndef CBTAP_TESTS_CAPTURED_H
#define CBTAP_TESTS_CAPTURED_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

struct captured {
    int saved_fd, file_fd;
};

static inline void capture_begin(struct captured *c)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stderr);
    c->file_fd = dup(fileno(file));
    c->saved_fd = dup(STDERR_FILENO);
    assert_true(dup2(c->file_fd, STDERR_FILENO) >= 0);
    fclose(file);
}

/* Puts standard error back; what was written to it, malloc'ed. */
static inline char *capture_end(struct captured *c)
{
    fflush(stderr);
    dup2(c->saved_fd, STDERR_FILENO);
    close(c->saved_fd);
    off_t len = lseek(c->file_fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)len + 1);
    assert_non_null(text);
    assert_int_equal(pread(c->file_fd, text, (size_t)len, 0), len);
    close(c->file_fd);
    return text;
}

#endif
