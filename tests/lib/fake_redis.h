/* SPDX-License-Identifier: MIT */
/* A Redis on a loopback port that says what a test wants it to: it serves one handshake, then the test
 * writes. */
#ifndef CBTAP_TESTS_FAKE_REDIS_H
#define CBTAP_TESTS_FAKE_REDIS_H

#include <arpa/inet.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COMMANDS_MAX 16

struct redis {
    int listener, fd;
    uint16_t port;
    pthread_t thread;
    bool running;
    /* What it answers to a command in place of +OK; NULL: as Redis does. */
    const char *command, *answer;
    /* Written right behind the confirmations. */
    const char *greeting;
    char commands[COMMANDS_MAX][256];
    size_t command_count;
};

static inline void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        assert_true(n > 0);
        data += n;
        len -= (size_t)n;
    }
}

/* One command, its words with blanks between, from what clients send: arrays of bulk strings. False at the
 * end. */
static inline bool read_command(FILE *in, char *ret_text, size_t text_bytes, int *ret_argc)
{
    char line[64], word[256];
    ret_text[0] = '\0';
    if (!fgets(line, sizeof line, in) || line[0] != '*')
        return false;
    *ret_argc = (int)strtol(line + 1, NULL, 10);
    for (int i = 0; i < *ret_argc; i++) {
        if (!fgets(line, sizeof line, in))
            return false;
        size_t len = strtoul(line + 1, NULL, 10);
        if (len >= sizeof word || fread(word, 1, len, in) != len || !fgets(line, sizeof line, in))
            return false;
        word[len] = '\0';
        size_t used = strlen(ret_text);
        snprintf(ret_text + used, text_bytes - used, "%s%s", i ? " " : "", word);
    }
    return true;
}

static inline void answer_command(struct redis *redis, const char *text, int argc)
{
    char reply[128];
    if (redis->command && strncmp(text, redis->command, strlen(redis->command)) == 0) {
        write_all(redis->fd, redis->answer, strlen(redis->answer));
    } else if (strncmp(text, "PSUBSCRIBE", 10) == 0) {
        for (int i = 1; i < argc; i++) {
            int len = snprintf(reply, sizeof reply, "*3\r\n$10\r\npsubscribe\r\n$1\r\np\r\n:%d\r\n", i);
            write_all(redis->fd, reply, (size_t)len);
        }
        if (redis->greeting)
            write_all(redis->fd, redis->greeting, strlen(redis->greeting));
    } else {
        write_all(redis->fd, "+OK\r\n", 5);
    }
}

/* Serves one connection until its subscription, or its end. What comes after that is the test's to read. */
static inline void *redis_main(void *arg)
{
    struct redis *redis = arg;
    redis->fd = accept(redis->listener, NULL, NULL);
    FILE *in = fdopen(dup(redis->fd), "r");
    int argc = 0;
    setvbuf(in, NULL, _IONBF, 0);
    while (redis->command_count < COMMANDS_MAX) {
        char *text = redis->commands[redis->command_count];
        if (!read_command(in, text, sizeof redis->commands[0], &argc))
            break;
        redis->command_count++;
        answer_command(redis, text, argc);
        if (strncmp(text, "PSUBSCRIBE", 10) == 0)
            break;
    }
    fclose(in);
    return NULL;
}

static inline void redis_accept(struct redis *redis)
{
    redis->command_count = 0;
    redis->fd = -1;
    assert_int_equal(pthread_create(&redis->thread, NULL, redis_main, redis), 0);
    redis->running = true;
}

/* Until the handshake is over; its results are visible then. */
static inline void redis_join(struct redis *redis)
{
    if (redis->running)
        pthread_join(redis->thread, NULL);
    redis->running = false;
}

static inline void redis_hang_up(struct redis *redis)
{
    redis_join(redis);
    if (redis->fd >= 0)
        close(redis->fd);
    redis->fd = -1;
}

static inline void redis_listen(struct redis *redis)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    redis->fd = -1;
    redis->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(redis->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(redis->listener, 4), 0);
    assert_int_equal(getsockname(redis->listener, (struct sockaddr *)&address, &len), 0);
    redis->port = ntohs(address.sin_port);
}

#endif
