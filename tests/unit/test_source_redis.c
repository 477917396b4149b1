/* SPDX-License-Identifier: MIT */
/*
 * The Redis source against a Redis of our own on a loopback port, which says exactly what a test wants it to.
 * The receiver is the test's, too: it shows what it was given.
 */
#include "redis_bed.h"

static void logs_in_selects_and_subscribes(void **state)
{
    struct fixture *f = *state;
    f->config.redis.username = "tap";
    f->config.redis.password = "secret";
    connect_source(f);
    assert_int_equal(f->redis.command_count, 5);
    assert_string_equal(f->redis.commands[0], "AUTH tap secret");
    assert_string_equal(f->redis.commands[1], "SELECT 1");
    assert_string_equal(f->redis.commands[2], "CLIENT SETNAME cbtap-pubsub");
    assert_string_equal(f->redis.commands[3], "INFO");
    assert_string_equal(f->redis.commands[4], "PSUBSCRIBE ingress.event.* other");
    assert_int_equal(counter(f, CBT_COUNT_gap_milliseconds), 0);
    assert_int_equal(f->receiver.stats.gauge_queue_messages, -1);
}

static void password_alone_is_for_the_default_user(void **state)
{
    struct fixture *f = *state;
    f->config.redis.password = "secret";
    connect_source(f);
    assert_string_equal(f->redis.commands[0], "AUTH secret");
}

static void message_becomes_a_frame_with_its_channel(void **state)
{
    struct fixture *f = *state;
    connect_source(f);
    publish(f, "ingress.event.procstart", "a\0b\r\n", 5);
    publish(f, "ingress.event.netconn", "", 0);
    read_messages(f, 2);
    assert_int_equal(f->receiver.pushed_count, 2);
    assert_int_equal(f->receiver.pushed[0].body_len, 5);
    assert_memory_equal(f->receiver.pushed[0].body, "a\0b\r\n", 5);
    assert_string_equal(f->receiver.pushed[0].channel, "ingress.event.procstart");
    assert_int_equal(f->receiver.pushed[1].body_len, 0);
    assert_string_equal(f->receiver.pushed[1].channel, "ingress.event.netconn");
    assert_int_equal(f->receiver.taken, 2);
}

static void message_right_behind_the_confirmation_is_not_lost(void **state)
{
    struct fixture *f = *state;
    f->redis.greeting = "*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n$5\r\nhello\r\n";
    connect_source(f);
    while (f->receiver.pushed_count == 0)
        read_messages(f, 1);
    assert_string_equal(f->receiver.pushed[0].body, "hello");
}

static void every_cut_of_the_stream_gives_the_same_messages(void **state)
{
    struct fixture *f = *state;
    connect_source(f);
    size_t len = 0;
    struct cbt_err err = {0};
    char *message = make_message("ingress.event.regmod", "0123456789", 10, &len);
    for (size_t cut = 1; cut < len; cut++) {
        size_t before = f->receiver.pushed_count;
        write_all(f->redis.fd, message, cut);
        wait_readable(f);
        assert_int_equal(read_source(f, 16, &err), 0);
        write_all(f->redis.fd, message + cut, len - cut);
        read_messages(f, 1);
        assert_int_equal(f->receiver.pushed_count, before + 1);
        assert_string_equal(f->receiver.pushed[before].body, "0123456789");
        assert_string_equal(f->receiver.pushed[before].channel, "ingress.event.regmod");
    }
    free(message);
}

static void sizes_around_every_limit_arrive_whole(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {4095,  4096,  4097,  8190,  8192,  8193,
                                   12300, 65535, 65536, 65537, 99999, 100000};
    connect_source(f);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *body = pattern_bytes(sizes[i]);
        publish_large(f, "ingress.event.filemod", body, sizes[i]);
        assert_int_equal(f->receiver.pushed_count, i + 1);
        assert_int_equal(f->receiver.pushed[i].body_len, sizes[i]);
        assert_memory_equal(f->receiver.pushed[i].body, body, sizes[i]);
        assert_string_equal(f->receiver.pushed[i].channel, "ingress.event.filemod");
        free(body);
    }
}

static void long_messages_cut_at_random_keep_their_bytes(void **state)
{
    struct fixture *f = *state;
    unsigned seed = 12345;
    connect_source(f);
    char *stream = malloc(4000000);
    assert_non_null(stream);
    size_t len = 0, sizes[60];
    char *body = pattern_bytes(20000);
    for (size_t i = 0; i < 60; i++) {
        size_t bytes = 0;
        sizes[i] = (size_t)rand_r(&seed) % 20000;
        char *message = make_message("ingress.event.childproc", body, sizes[i], &bytes);
        memcpy(stream + len, message, bytes);
        len += bytes;
        free(message);
    }
    struct cbt_err err = {0};
    int count = 0;
    for (size_t at = 0; at < len;) {
        size_t step = 1 + (size_t)rand_r(&seed) % 9000;
        step = step < len - at ? step : len - at;
        write_all(f->redis.fd, stream + at, step);
        at += step;
        wait_readable(f);
        int n = read_source(f, 3, &err);
        assert_true(n >= 0);
        count += n;
    }
    read_messages(f, 60 - count);
    assert_int_equal(f->receiver.pushed_count, 60);
    for (size_t i = 0; i < 60; i++) {
        assert_int_equal(f->receiver.pushed[i].body_len, sizes[i]);
        assert_memory_equal(f->receiver.pushed[i].body, body, sizes[i]);
    }
    free(body);
    free(stream);
}

static void read_takes_no_more_frames_than_it_is_told(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    connect_source(f);
    for (int i = 0; i < 7; i++)
        publish(f, "c", "x", 1);
    publish(f, "c", "end", 3);
    /* All of it is there when the first read begins. */
    char everything[1024];
    size_t bytes = 0;
    free(make_message("c", "x", 1, &bytes));
    while (recv(cbt_source_redis.fd(f->source), everything, sizeof everything, MSG_PEEK) <
           (ssize_t)(8 * bytes + 2))
        ;
    assert_int_equal(read_source(f, 3, &err), 3);
    assert_int_equal(read_source(f, 3, &err), 3);
    assert_int_equal(read_source(f, 3, &err), 2);
    assert_int_equal(read_source(f, 3, &err), 0);
    assert_string_equal(f->receiver.pushed[7].body, "end");
}

static void without_room_whole_messages_are_dropped_and_counted(void **state)
{
    struct fixture *f = *state;
    connect_source(f);
    char *body = pattern_bytes(50000);
    f->receiver.no_room = true;
    publish(f, "c", "short", 5);
    read_messages(f, 1);
    publish_large(f, "c", body, 50000);
    assert_int_equal(f->receiver.dropped[CBT_DROPPED_budget], 2);
    assert_int_equal(f->receiver.dropped_bytes, 50005);
    f->receiver.no_room = false;
    publish(f, "c", "next", 4);
    read_messages(f, 1);
    assert_int_equal(f->receiver.pushed_count, 1);
    assert_string_equal(f->receiver.pushed[0].body, "next");
    free(body);
}

static void too_large_without_a_directory_is_dropped_and_counted(void **state)
{
    struct fixture *f = *state;
    connect_source(f);
    char *body = pattern_bytes(3000000);
    publish_large(f, "c", body, 3000000);
    publish(f, "c", "next", 4);
    read_messages(f, 1);
    assert_int_equal(f->receiver.dropped[CBT_DROPPED_frame_too_large], 1);
    assert_int_equal(f->receiver.dropped_bytes, 3000000);
    assert_int_equal(f->receiver.taken, 1);
    assert_string_equal(f->receiver.pushed[0].body, "next");
    free(body);
}

static void too_large_goes_to_the_dead_letter_directory(void **state)
{
    struct fixture *f = *state;
    f->receiver.dead_letter_dir = f->dir;
    connect_source(f);
    char *body = pattern_bytes(300000);
    publish_large(f, "ingress.event.module", body, 300000);
    assert_int_equal(f->receiver.pushed_count, 1);
    assert_true(f->receiver.pushed[0].spilled);
    assert_int_equal(f->receiver.pushed[0].body_len, 0);
    assert_string_equal(f->receiver.pushed[0].channel, "ingress.event.module");

    DIR *dir = opendir(f->dir);
    assert_non_null(dir);
    char path[512];
    size_t bins = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".bin") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", f->dir, entry->d_name);
        bins++;
    }
    closedir(dir);
    assert_int_equal(bins, 1);
    char *stored = malloc(300001);
    assert_non_null(stored);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(stored, 1, 300001, file), 300000);
    assert_memory_equal(stored, body, 300000);
    fclose(file);
    free(stored);
    free(body);
}

static void too_large_and_the_directory_fails_is_dropped(void **state)
{
    struct fixture *f = *state;
    f->receiver.dead_letter_dir = "/proc/no-such-directory";
    connect_source(f);
    char *body = pattern_bytes(300000);
    publish_large(f, "c", body, 300000);
    assert_int_equal(f->receiver.dropped[CBT_DROPPED_frame_too_large], 1);
    assert_int_equal(f->receiver.untaken, 1);
    assert_int_equal(f->receiver.pushed_count, 0);
    free(body);
}

static void channel_beyond_measure_costs_its_name_not_the_message(void **state)
{
    struct fixture *f = *state;
    connect_source(f);
    for (size_t len = 1000; len < 100000; len = len * 3) {
        char *channel = malloc(len + 1);
        assert_non_null(channel);
        memset(channel, 'c', len);
        channel[len] = '\0';
        publish_large(f, channel, "body", 4);
        struct pushed *last = &f->receiver.pushed[f->receiver.pushed_count - 1];
        assert_string_equal(last->body, "body");
        assert_int_equal(last->channel_len, len <= 1024 ? len : 0);
        free(channel);
    }
}

static void half_a_message_was_never_received(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    connect_source(f);
    size_t len = 0;
    char *body = pattern_bytes(50000);
    char *message = make_message("c", body, 50000, &len);
    write_all(f->redis.fd, message, 20000);
    redis_hang_up(&f->redis);
    int n = 0;
    do {
        wait_readable(f);
        n = read_source(f, 16, &err);
    } while (n == 0);
    assert_int_equal(n, CBT_EIO);
    assert_non_null(strstr(err.text, "closed the connection"));
    cbt_source_redis.disconnect(f->source);
    assert_int_equal(f->receiver.taken, 1);
    assert_int_equal(f->receiver.untaken, 1);
    assert_int_equal(f->receiver.pushed_count, 0);
    assert_int_equal(f->receiver.dropped[CBT_DROPPED_budget], 0);
    /* And nothing of it is left for the next connection. */
    connect_source(f);
    publish(f, "c", "fresh", 5);
    read_messages(f, 1);
    assert_string_equal(f->receiver.pushed[0].body, "fresh");
    free(message);
    free(body);
}

static void disconnection_counts_as_a_gap_with_its_length(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    connect_source(f);
    int64_t before_ns = cbt_now_ns();
    redis_hang_up(&f->redis);
    wait_readable(f);
    assert_int_equal(read_source(f, 16, &err), CBT_EIO);
    int64_t lost_ns = cbt_now_ns();
    cbt_source_redis.disconnect(f->source);
    /* A failed try counts what has passed so far. */
    while (cbt_now_ns() - lost_ns < 30000000)
        poll(NULL, 0, 1);
    f->redis.command = "SELECT";
    f->redis.answer = "-LOADING Redis is loading the dataset in memory\r\n";
    connect_fails(f, CBT_EIO, &err);
    uint64_t first = counter(f, CBT_COUNT_gap_milliseconds);
    assert_in_range(first, 20, (uint64_t)(cbt_now_ns() - before_ns) / 1000000);
    f->redis.command = NULL;
    while (cbt_now_ns() - lost_ns < 60000000)
        poll(NULL, 0, 1);
    connect_source(f);
    uint64_t whole = counter(f, CBT_COUNT_gap_milliseconds);
    assert_in_range(whole, 50, (uint64_t)(cbt_now_ns() - before_ns) / 1000000);
    /* The gap is over. */
    cbt_source_redis.disconnect(f->source);
    redis_hang_up(&f->redis);
    connect_source(f);
    assert_int_equal(counter(f, CBT_COUNT_gap_milliseconds), whole);
}

/* What Redis answers to INFO; the text is the test's to keep. */
static void answer_info(struct fixture *f, char *answer, const char *info)
{
    sprintf(answer, "$%zu\r\n%s\r\n", strlen(info), info);
    f->redis.command = "INFO";
    f->redis.answer = answer;
}

/* Another connection, whose Redis says that of itself; the gap before is counted under the reason. */
static void gap_ends(struct fixture *f, const char *info, enum cbt_gap_reason reason)
{
    struct cbt_err err = {0};
    char answer[512];
    uint64_t before = f->receiver.stats.gaps[reason];
    redis_hang_up(&f->redis);
    wait_readable(f);
    assert_int_equal(read_source(f, 16, &err), CBT_EIO);
    cbt_source_redis.disconnect(f->source);
    answer_info(f, answer, info);
    connect_source(f);
    assert_int_equal(f->receiver.stats.gaps[reason], before + 1);
}

static void a_gap_is_counted_by_what_redis_says_of_itself(void **state)
{
    struct fixture *f = *state;
    char answer[512];
    answer_info(f, answer,
                "# Server\r\nredis_version:7.2\r\nrun_id:aaa\r\n"
                "client_output_buffer_limit_disconnections:3\r\n");
    connect_source(f);
    gap_ends(f, "run_id:aaa\r\nclient_output_buffer_limit_disconnections:3\r\n", CBT_GAP_closed);
    gap_ends(f, "run_id:aaa\r\nclient_output_buffer_limit_disconnections:4\r\n", CBT_GAP_output_buffer);
    gap_ends(f, "run_id:bbb\r\nclient_output_buffer_limit_disconnections:0\r\n", CBT_GAP_restarted);
    gap_ends(f, "run_id:bbb\r\nclient_recent_max_output_buffer:20504\r\n", CBT_GAP_closed);
    gap_ends(f, "run_id:bbb\r\nclient_recent_max_output_buffer:1048576\r\n", CBT_GAP_output_buffer);
    gap_ends(f, "", CBT_GAP_closed);
}

static void a_user_that_may_not_ask_subscribes_all_the_same(void **state)
{
    struct fixture *f = *state;
    f->redis.command = "INFO";
    f->redis.answer = "-NOPERM this user has no permissions to run the 'info' command\r\n";
    connect_source(f);
    publish(f, "c", "x", 1);
    read_messages(f, 1);
    assert_int_equal(f->receiver.pushed_count, 1);
}

static void a_subscriber_that_had_not_read_for_a_second_was_too_slow(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    connect_source(f);
    assert_int_equal(read_source(f, 16, &err), 0); /* the socket is empty */
    int64_t end_ns = cbt_now_ns() + 1050000000;
    while (cbt_now_ns() < end_ns)
        poll(NULL, 0, 50);
    publish(f, "c", "x", 1);
    redis_hang_up(&f->redis);
    int n;
    while ((n = read_source(f, 16, &err)) >= 0)
        if (n == 0)
            wait_readable(f);
    cbt_source_redis.disconnect(f->source);
    connect_source(f);
    assert_int_equal(f->receiver.stats.gaps[CBT_GAP_output_buffer], 1);
}

static void a_subscriber_with_much_in_its_socket_was_too_slow(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    char *body = pattern_bytes(90000);
    int buffer = 200000; /* the kernel doubles it: one side alone holds all that is sent */
    connect_source(f);
    assert_int_equal(setsockopt(f->redis.fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer), 0);
    assert_int_equal(read_source(f, 16, &err), 0);
    for (unsigned i = 0; i < 3; i++)
        publish(f, "c", body, 90000);
    redis_hang_up(&f->redis);
    while (read_source(f, 16, &err) >= 0)
        ;
    assert_int_equal(f->receiver.pushed_count, 3);
    cbt_source_redis.disconnect(f->source);
    connect_source(f);
    assert_int_equal(f->receiver.stats.gaps[CBT_GAP_output_buffer], 1);
    free(body);
}

static void ping_after_silence_and_pong_keeps_the_connection(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    char ping[64];
    connect_source(f);
    int64_t now = cbt_now_ns();
    assert_int_equal(cbt_source_redis.tick(f->source, now + 9000000000, &err), 0);
    assert_int_equal(recv(f->redis.fd, ping, sizeof ping, MSG_DONTWAIT), -1);
    assert_int_equal(cbt_source_redis.tick(f->source, now + 11000000000, &err), 0);
    assert_int_equal(recv(f->redis.fd, ping, sizeof ping, 0), 14);
    assert_memory_equal(ping, "*1\r\n$4\r\nPING\r\n", 14);
    /* One PING at a time. */
    assert_int_equal(cbt_source_redis.tick(f->source, now + 12000000000, &err), 0);
    assert_int_equal(recv(f->redis.fd, ping, sizeof ping, MSG_DONTWAIT), -1);
    write_all(f->redis.fd, "*2\r\n$4\r\npong\r\n$0\r\n\r\n", 20);
    wait_readable(f);
    assert_int_equal(read_source(f, 16, &err), 0);
    assert_int_equal(cbt_source_redis.tick(f->source, cbt_now_ns() + 9000000000, &err), 0);
}

static void ping_without_an_answer_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    connect_source(f);
    int64_t now = cbt_now_ns();
    assert_int_equal(cbt_source_redis.tick(f->source, now + 11000000000, &err), 0);
    assert_int_equal(cbt_source_redis.tick(f->source, now + 20000000000, &err), 0);
    assert_int_equal(cbt_source_redis.tick(f->source, now + 21100000000, &err), CBT_EIO);
    assert_non_null(strstr(err.text, "does not answer PING"));
}

static void unread_bytes_are_a_sign_of_life(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    connect_source(f);
    int64_t now = cbt_now_ns();
    assert_int_equal(cbt_source_redis.tick(f->source, now + 11000000000, &err), 0);
    publish(f, "c", "x", 1);
    wait_readable(f);
    assert_int_equal(cbt_source_redis.tick(f->source, now + 30000000000, &err), 0);
}

static void refusals_come_with_a_hint(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    static const struct {
        const char *command, *answer;
        enum cbt_rc rc;
        const char *hint;
    } rows[] = {
        {"SELECT", "-NOAUTH Authentication required.\r\n", CBT_EREFUSED, "set password"},
        {"AUTH", "-WRONGPASS invalid username-password pair or user is disabled.\r\n", CBT_EREFUSED,
         "check username and password"},
        {"AUTH", "-ERR invalid password\r\n", CBT_EREFUSED, "check password"},
        {"AUTH", "-ERR Client sent AUTH, but no password is set\r\n", CBT_EREFUSED, "leave password empty"},
        {"PSUBSCRIBE", "-NOPERM this user has no permissions to access one of the channels\r\n", CBT_EREFUSED,
         "ACL SETUSER"},
        {"SELECT", "-ERR DB index is out of range\r\n", CBT_EREFUSED, "set db"},
        {"AUTH", "-DENIED Redis is running in protected mode\r\n", CBT_EREFUSED, "protected mode"},
        {"AUTH", "-ERR max number of clients reached\r\n", CBT_EREFUSED, "maxclients"},
        {"AUTH", "-ERR unknown command `AUTH`, with args beginning with: `wrong`, \r\n", CBT_EREFUSED,
         "unknown command `AUTH`"},
        {"SELECT", "-LOADING Redis is loading the dataset in memory\r\n", CBT_EIO, "starting"},
        {"SELECT", "-ERR something else\r\n", CBT_EREFUSED, "something else"},
    };
    f->config.redis.password = "wrong";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        f->redis.command = rows[i].command;
        f->redis.answer = rows[i].answer;
        connect_fails(f, rows[i].rc, &err);
        if (!strstr(err.text, rows[i].hint))
            fail_msg("no \"%s\" in: %s", rows[i].hint, err.text);
        assert_null(strstr(err.text, "wrong"));
    }
}

static void name_that_redis_does_not_take_does_not_matter(void **state)
{
    struct fixture *f = *state;
    f->redis.command = "CLIENT";
    f->redis.answer = "-NOPERM this user has no permissions to run the 'client|setname' command\r\n";
    connect_source(f);
}

static void no_answer_in_time_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    static const char *const commands[] = {"SELECT", "PSUBSCRIBE"};
    f->config.redis.connect_timeout_ms = 100;
    f->redis.answer = "";
    for (size_t i = 0; i < 2; i++) {
        f->redis.command = commands[i];
        int64_t before_ns = cbt_now_ns();
        connect_fails(f, CBT_EIO, &err);
        assert_in_range((cbt_now_ns() - before_ns) / 1000000, 90, 5000);
        assert_non_null(strstr(err.text, "no answer"));
    }
}

static void nobody_listens_is_an_error_that_says_where(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    char where[64];
    close(f->redis.listener);
    f->redis.listener = -1;
    snprintf(where, sizeof where, "127.0.0.1:%u: Connection refused", f->redis.port);
    open_source(f);
    assert_int_equal(cbt_source_redis.connect(f->source, &err), CBT_EIO);
    assert_non_null(strstr(err.text, where));
}

static void garbage_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    static const char *const garbage[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "$-5\r\n",
        "*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n$99999999999999999999999\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        "*99999999999\r\n",
    };
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        connect_source(f);
        write_all(f->redis.fd, garbage[i], strlen(garbage[i]));
        wait_readable(f);
        if (read_source(f, 16, &err) != CBT_EIO)
            fail_msg("row %zu was taken", i);
        assert_non_null(strstr(err.text, "cannot be read"));
        cbt_source_redis.disconnect(f->source);
        redis_hang_up(&f->redis);
    }
    assert_int_equal(f->receiver.pushed_count, 0);
}

static void line_without_an_end_does_not_fill_the_memory(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    connect_source(f);
    char *line = pattern_bytes(60000);
    memset(line, 'x', 60000);
    line[0] = '+';
    write_all(f->redis.fd, line, 60000);
    int n = 0;
    while (n == 0) {
        wait_readable(f);
        n = read_source(f, 16, &err);
    }
    assert_int_equal(n, CBT_EIO);
    assert_non_null(strstr(err.text, "line without an end"));
    free(line);
}

static void other_pushes_are_ignored(void **state)
{
    struct fixture *f = *state;
    connect_source(f);
    static const char noise[] =
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n"
        "*2\r\n$4\r\npong\r\n$0\r\n\r\n"
        "+PONG\r\n:5\r\n$-1\r\n*0\r\n*-1\r\n"
        "-ERR a late error\r\n"
        "*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n$-1\r\n"
        "*4\r\n$8\r\npmessage\r\n*2\r\n$1\r\na\r\n*1\r\n$3\r\nabc\r\n$1\r\nc\r\n:7\r\n";
    write_all(f->redis.fd, noise, sizeof noise - 1);
    publish(f, "c", "real", 4);
    read_messages(f, 1);
    assert_int_equal(f->receiver.pushed_count, 1);
    assert_int_equal(f->receiver.taken, 1);
    assert_string_equal(f->receiver.pushed[0].body, "real");
}

static void settle_counts_and_nothing_is_written(void **state)
{
    struct fixture *f = *state;
    struct cbt_err err = {0};
    char byte;
    connect_source(f);
    struct cbt_frame frame = {0};
    struct cbt_frame *done[] = {&frame, &frame, &frame};
    assert_int_equal(cbt_source_redis.settle(f->source, done, 3, &err), 0);
    assert_int_equal(cbt_source_redis.settle_flush(f->source, &err), 0);
    assert_int_equal(counter(f, CBT_COUNT_settled_frames), 3);
    assert_int_equal(recv(f->redis.fd, &byte, 1, MSG_DONTWAIT), -1);
}

static void says_that_it_is_at_most_once(void **state)
{
    (void)state;
    assert_false(cbt_source_redis.redelivers);
    assert_non_null(strstr(cbt_source_redis.guarantee, "at-most-once"));
    cbt_source_redis.disconnect(NULL);
    cbt_source_redis.close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(logs_in_selects_and_subscribes),
        TEST(password_alone_is_for_the_default_user),
        TEST(message_becomes_a_frame_with_its_channel),
        TEST(message_right_behind_the_confirmation_is_not_lost),
        TEST(every_cut_of_the_stream_gives_the_same_messages),
        TEST(sizes_around_every_limit_arrive_whole),
        TEST(long_messages_cut_at_random_keep_their_bytes),
        TEST(read_takes_no_more_frames_than_it_is_told),
        TEST(without_room_whole_messages_are_dropped_and_counted),
        TEST(too_large_without_a_directory_is_dropped_and_counted),
        TEST(too_large_goes_to_the_dead_letter_directory),
        TEST(too_large_and_the_directory_fails_is_dropped),
        TEST(channel_beyond_measure_costs_its_name_not_the_message),
        TEST(half_a_message_was_never_received),
        TEST(disconnection_counts_as_a_gap_with_its_length),
        TEST(a_gap_is_counted_by_what_redis_says_of_itself),
        TEST(a_user_that_may_not_ask_subscribes_all_the_same),
        TEST(a_subscriber_that_had_not_read_for_a_second_was_too_slow),
        TEST(a_subscriber_with_much_in_its_socket_was_too_slow),
        TEST(ping_after_silence_and_pong_keeps_the_connection),
        TEST(ping_without_an_answer_ends_the_connection),
        TEST(unread_bytes_are_a_sign_of_life),
        TEST(refusals_come_with_a_hint),
        TEST(name_that_redis_does_not_take_does_not_matter),
        TEST(no_answer_in_time_is_an_error),
        TEST(nobody_listens_is_an_error_that_says_where),
        TEST(garbage_ends_the_connection),
        TEST(line_without_an_end_does_not_fill_the_memory),
        TEST(other_pushes_are_ignored),
        TEST(settle_counts_and_nothing_is_written),
        cmocka_unit_test(says_that_it_is_at_most_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
