/* SPDX-License-Identifier: MIT */
/* For tests of commands as people use them: runs the program beside the test and keeps what it writes. */
#ifndef CBTAP_TESTS_PROGRAM_H
#define CBTAP_TESTS_PROGRAM_H

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEADLINE_MS 60000 /* a test that gets there has failed */

struct program {
    pid_t pid;
    int out_fd, err_fd; /* temporary files */
    int status;
    char *out, *err;
    size_t out_len;
};

static char program_path[512];

static inline int find_program(void **state)
{
    (void)state;
    ssize_t len = readlink("/proc/self/exe", program_path, sizeof program_path - 16);
    assert_true(len > 0);
    program_path[len] = '\0';
    char *slash = strrchr(program_path, '/');
    assert_non_null(slash);
    snprintf(slash, 16, "/cbtap");
    if (access(program_path, X_OK) != 0) {
        print_error("%s is missing: build the target cbtap first\n", program_path);
        return -1;
    }
    return 0;
}

static inline int temporary_fd(void)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    int fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, 10);
    fclose(file);
    return fd;
}

static inline char *contents(int fd)
{
    off_t len = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)len + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)len, 0), len);
    return text;
}

/* `in_fd`, `out_fd`: its standard input and output, -1 for the test's own and a temporary file. */
static inline void start_between(struct program *p, const char *const arguments[], int in_fd, int out_fd)
{
    const char *argv[40] = {program_path};
    for (size_t i = 0; arguments[i]; i++)
        argv[i + 1] = arguments[i];
    p->out_fd = temporary_fd();
    p->err_fd = temporary_fd();
    p->out = p->err = NULL;
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        if (in_fd >= 0)
            dup2(in_fd, STDIN_FILENO);
        dup2(out_fd >= 0 ? out_fd : p->out_fd, STDOUT_FILENO);
        dup2(p->err_fd, STDERR_FILENO);
        execv(program_path, (char *const *)argv);
        _exit(127);
    }
}

static inline void start(struct program *p, const char *const arguments[])
{
    start_between(p, arguments, -1, -1);
}

/* Waits for its end, at most DEADLINE_MS. */
static inline void finish(struct program *p)
{
    int waited = 0;
    while (waitpid(p->pid, &p->status, WNOHANG) == 0) {
        if (++waited > DEADLINE_MS / 5) {
            kill(p->pid, SIGKILL);
            waitpid(p->pid, &p->status, 0);
            fail_msg("it did not end: %s", contents(p->err_fd));
        }
        poll(NULL, 0, 5);
    }
    p->out = contents(p->out_fd);
    p->err = contents(p->err_fd);
    p->out_len = (size_t)lseek(p->out_fd, 0, SEEK_END);
    close(p->out_fd);
    close(p->err_fd);
}

static inline void release(struct program *p)
{
    free(p->out);
    free(p->err);
}

static inline void expect_exit(const struct program *p, int status)
{
    if (!WIFEXITED(p->status) || WEXITSTATUS(p->status) != status)
        fail_msg("status %d instead of %d: %s", p->status, status, p->err);
}

static inline void expect_text(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in \"%s\"", part, text);
}

#define RUN(p, ...)                                                                                          \
    do {                                                                                                     \
        start((p), (const char *const[]){__VA_ARGS__, NULL});                                                \
        finish(p);                                                                                           \
    } while (0)

#endif
