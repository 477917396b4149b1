/* SPDX-License-Identifier: MIT */
/*
 * The commands as people and systemd use them: the program beside this test is run with its arguments, and
 * what it writes, how it ends, and what it tells systemd is looked at.
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "config_file.h"
#include "fake_redis.h"
#include "program.h"

/* ---- usage ---- */

static void help_teaches(void **state)
{
    (void)state;
    struct program p;
    static const char *const pages[][2] = {{"help", NULL}, {"--help", NULL}, {"-h", NULL}};
    for (size_t i = 0; i < 3; i++) {
        RUN(&p, pages[i][0]);
        expect_exit(&p, 0);
        expect_text(p.out, "cbtap check --connect");
        expect_text(p.out, "/etc/cbtap/cbtap.conf");
        expect_text(p.out, "kafka.bootstrap.servers");
        expect_text(p.out, "Exit status");
        assert_string_equal(p.err, "");
        release(&p);
    }
    static const char *const commands[] = {"run",  "check",  "version", "help",
                                           "tail", "export", "dlq",     "migrate"};
    for (size_t i = 0; i < 8; i++) {
        char usage[64];
        snprintf(usage, sizeof usage, "Usage: cbtap %s", commands[i]);
        RUN(&p, "help", commands[i]);
        expect_exit(&p, 0);
        expect_text(p.out, usage);
        char *by_help = p.out;
        p.out = NULL;
        release(&p);
        RUN(&p, commands[i], "--help");
        expect_exit(&p, 0);
        assert_string_equal(p.out, by_help);
        assert_string_equal(p.err, "");
        free(by_help);
        release(&p);
    }
    RUN(&p, "help", "run");
    expect_text(p.out, "Examples:");
    expect_text(p.out, "SIGHUP");
    expect_text(p.out, "Exit status:");
    release(&p);
}

static void version_is_data(void **state)
{
    (void)state;
    struct program p;
    RUN(&p, "version");
    expect_exit(&p, 0);
    expect_text(p.out, "cbtap " CBTAP_VERSION "\n");
    assert_string_equal(p.err, "");
    release(&p);
    RUN(&p, "--version");
    expect_exit(&p, 0);
    release(&p);
}

static void wrong_usage_exits_2_and_says_what_was_meant(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[6];
        const char *expected;
    } rows[] = {
        {{"rnu"}, "error unknown command command=rnu hint=\"did you mean \\\"run\\\"?\""},
        {{"help", "chek"}, "did you mean \\\"check\\\"?"},
        {{"help", "run", "check"}, "one command at a time"},
        {{"check", "--conect"},
         "error unknown option option=--conect hint=\"did you mean \\\"--connect\\\"?\""},
        {{"run", "--print"}, "error unknown option option=--print"},
        {{"run", "-x"}, "error unknown option option=-x"},
        {{"check", "-c"}, "the option needs a value option=-c"},
        {{"run", "-s"}, "the option needs a value option=-s"},
        {{"run", "now"}, "an argument too many command=run argument=now"},
        {{"version", "-c", "x"}, "unknown option option=-c"},
        {{"tail", "-c", "/nowhere/cbtap.conf"}, "cannot read the configuration \"/nowhere/cbtap.conf\""},
        {{"tail", "-c", "/dev/null"}, "no [source.NAME] of type amqp or redis to listen to"},
        {{"tail", "-c", "/dev/null", "--format", "leef"}, "option=--format reason=\"is table or json\""},
        {{"tail", "--from", "0:1"}, "error unknown option option=--from"},
        {{"migrate", "x"}, "not built in this version command=migrate"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct program p;
        start(&p, rows[i].arguments);
        finish(&p);
        expect_exit(&p, 2);
        expect_text(p.err, rows[i].expected);
        assert_string_equal(p.out, "");
        release(&p);
    }
    struct program p;
    start(&p, (const char *const[]){NULL});
    finish(&p);
    expect_exit(&p, 2);
    assert_string_equal(p.out, "");
    expect_text(p.err, "Usage: cbtap COMMAND");
    release(&p);
}

static void configuration_reference_is_written(void **state)
{
    (void)state;
    struct program p;
    RUN(&p, "help", "--configuration-md");
    expect_exit(&p, 0);
    expect_text(p.out, "# Configuration");
    expect_text(p.out, "| `inflight_bytes` |");
    release(&p);
}

static void events_reference_is_written(void **state)
{
    (void)state;
    struct program p;
    RUN(&p, "help", "--events-md");
    expect_exit(&p, 0);
    expect_text(p.out, "# Events");
    expect_text(p.out, "| `process_guid` |");
    release(&p);
}

/* ---- check ---- */

#define KAFKA_NOWHERE "kafka.bootstrap.servers=127.0.0.1:1\n"
#define BUS_NOWHERE   "[source.bus]\ntype=amqp\nurl=amqp://u:HIDDEN@127.0.0.1:1/%2F\n"

static void check_validates_without_touching_a_peer(void **state)
{
    (void)state;
    struct config_file file;
    struct program p;
    static const char text[] = BUS_NOWHERE "[sink.k]\ntype=kafka\n" KAFKA_NOWHERE;
    config_file_write(&file, text, sizeof text - 1);
    RUN(&p, "check", "-c", file.path);
    expect_exit(&p, 0);
    expect_text(p.err, "info the configuration is valid");
    assert_string_equal(p.out, "");
    release(&p);

    RUN(&p, "check", "-c", file.path, "-s", "cbtap.workesr=1");
    expect_exit(&p, 2);
    expect_text(p.err, "error -s: [cbtap] workesr: unknown key; did you mean \"workers\"?");
    release(&p);
    /* What only the sink can judge is judged, too. */
    RUN(&p, "check", "-c", file.path, "-s", "sink.k.kafka.message.timeout.ms=5");
    expect_exit(&p, 2);
    expect_text(p.err, "message.timeout.ms");
    release(&p);
    config_file_remove(&file);
    RUN(&p, "check", "-c", file.path);
    expect_exit(&p, 2);
    expect_text(p.err, "No such file or directory");
    release(&p);
}

static void check_warns_whatever_the_level(void **state)
{
    (void)state;
    struct program p;
    RUN(&p, "check", "-c", "/dev/null", "-s", "source.b.type=amqp", "-s", "source.b.events=#", "-s",
        "sink.k.type=kafka", "-s", "sink.k.kafka.bootstrap.servers=127.0.0.1:1", "-s",
        "cbtap.log.level=error", "-s", "cbtap.log.format=json");
    expect_exit(&p, 0);
    expect_text(p.err, "\"level\":\"warning\"");
    expect_text(p.err, "every event will be delivered twice");
    assert_null(strstr(p.err, "\nwarning"));
    release(&p);
}

static void check_shows_the_shortest_configuration_where_there_is_none(void **state)
{
    (void)state;
    struct program p;
    RUN(&p, "check", "-c", "/dev/null");
    expect_exit(&p, 2);
    expect_text(p.err, "error /dev/null: no [source.NAME] section; the shortest configuration that "
                       "works:\n\n[source.bus]\n");
    release(&p);
}

static void check_print_masks_and_reads_back(void **state)
{
    (void)state;
    struct config_file file, printed_file;
    struct program p;
    static const char text[] =
        BUS_NOWHERE "[sink.k]\ntype=kafka\n" KAFKA_NOWHERE "kafka.sasl.password=HIDDEN\n";
    config_file_write(&file, text, sizeof text - 1);
    RUN(&p, "check", "--print", "-c", file.path, "-s", "cbtap.workers=3");
    expect_exit(&p, 0);
    assert_null(strstr(p.out, "HIDDEN"));
    assert_null(strstr(p.err, "HIDDEN"));
    expect_text(p.out, "\nworkers = 3\n");
    expect_text(p.out, "\nurl = amqp://u:********@127.0.0.1:1/%2F\n");
    config_file_write(&printed_file, p.out, strlen(p.out));
    char *first = p.out;
    p.out = NULL;
    release(&p);
    RUN(&p, "check", "--print", "-c", printed_file.path);
    expect_exit(&p, 0);
    assert_string_equal(p.out, first);
    free(first);
    release(&p);
    config_file_remove(&file);
    config_file_remove(&printed_file);
}

static void check_connect_says_who_is_not_there(void **state)
{
    (void)state;
    struct program p;
    struct redis redis = {0};
    char port[64];
    redis_listen(&redis);
    redis_accept(&redis);
    snprintf(port, sizeof port, "source.here.port=%u", redis.port);
    RUN(&p, "check", "--connect", "-c", "/dev/null", "-s", "source.here.type=redis", "-s", port, "-s",
        "source.there.type=redis", "-s", "source.there.port=1", "-s", "sink.k.type=kafka", "-s",
        "sink.k.kafka.bootstrap.servers=127.0.0.1:1", "-s", "sink.k.kafka.test.mock.num.brokers=1");
    redis_hang_up(&redis);
    close(redis.listener);
    expect_exit(&p, 1);
    expect_text(p.err, "info ok section=source.here found=\"Redis at 127.0.0.1:");
    expect_text(p.err,
                "error failed section=source.there reason=\"Redis at 127.0.0.1:1: Connection refused\"");
    expect_text(p.err, "section=sink.k");
    assert_string_equal(p.out, "");
    release(&p);
}

/* ---- run ---- */

struct daemon {
    struct program program;
    int notify_fd;
    char notify_path[64];
    char text[1024]; /* the last notification */
};

/* Starts `run` with systemd's socket, a source that is a Redis of the test's (or nobody) and the sink `sink`.
 */
static void daemon_start(struct daemon *d, unsigned redis_port, const char *const more[])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char port[64];
    snprintf(d->notify_path, sizeof d->notify_path, "/tmp/cbtap-notify-%d", (int)getpid());
    snprintf(address.sun_path, sizeof address.sun_path, "%s", d->notify_path);
    unlink(d->notify_path);
    d->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(d->notify_fd, (struct sockaddr *)&address, sizeof address), 0);
    setenv("NOTIFY_SOCKET", d->notify_path, 1);
    snprintf(port, sizeof port, "source.r.port=%u", redis_port);
    const char *arguments[40] = {"run",
                                 "-c",
                                 "/dev/null",
                                 "-s",
                                 "source.r.type=redis",
                                 "-s",
                                 port,
                                 "-s",
                                 "sink.k.type=kafka",
                                 "-s",
                                 "sink.k.kafka.bootstrap.servers=127.0.0.1:1",
                                 "-s",
                                 "cbtap.http_listen=",
                                 "-s",
                                 "sink.k.dead_letter_dir="};
    size_t count = 15;
    for (size_t i = 0; more && more[i]; i++)
        arguments[count++] = more[i];
    start(&d->program, arguments);
    unsetenv("NOTIFY_SOCKET");
}

/* Waits for the notification that begins with `text`; others pass. */
static void daemon_await(struct daemon *d, const char *text)
{
    struct pollfd fd = {.fd = d->notify_fd, .events = POLLIN};
    for (;;) {
        if (poll(&fd, 1, DEADLINE_MS) != 1) {
            kill(d->program.pid, SIGKILL);
            fail_msg("no %s; log: %s", text, contents(d->program.err_fd));
        }
        ssize_t n = recv(d->notify_fd, d->text, sizeof d->text - 1, 0);
        assert_true(n >= 0);
        d->text[n] = '\0';
        if (strncmp(d->text, text, strlen(text)) == 0)
            return;
    }
}

static void daemon_finish(struct daemon *d, int status)
{
    finish(&d->program);
    expect_exit(&d->program, status);
    close(d->notify_fd);
    unlink(d->notify_path);
}

/* Waits until the log holds `text`. */
static void await_log(const struct daemon *d, const char *text)
{
    for (int i = 0; i < DEADLINE_MS / 5; i++) {
        char *log = contents(d->program.err_fd);
        bool found = strstr(log, text) != NULL;
        free(log);
        if (found)
            return;
        poll(NULL, 0, 5);
    }
    kill(d->program.pid, SIGKILL);
    fail_msg("no \"%s\" in the log: %s", text, contents(d->program.err_fd));
}

/* Waits until a message is in flight, as the status says. */
static void await_inflight(const struct daemon *d)
{
    for (int i = 0; i < DEADLINE_MS / 5; i++) {
        kill(d->program.pid, SIGUSR1);
        poll(NULL, 0, 5);
        char *log = contents(d->program.err_fd);
        bool found = strstr(log, " inflight_frames=1 ") != NULL;
        free(log);
        if (found)
            return;
    }
    kill(d->program.pid, SIGKILL);
    fail_msg("no message in flight: %s", contents(d->program.err_fd));
}

#define MOCK_KAFKA "-s", "sink.k.kafka.test.mock.num.brokers=1"

static int listen_somewhere(unsigned *ret_port)
{
    struct redis listener;
    redis_listen(&listener);
    *ret_port = listener.port;
    return listener.listener;
}

static void run_whose_http_address_is_taken_ends_before_it_reads(void **state)
{
    (void)state;
    struct daemon d;
    unsigned http_port = 0, redis_port = 0;
    int taken = listen_somewhere(&http_port), redis = listen_somewhere(&redis_port);
    char http_listen[64];
    snprintf(http_listen, sizeof http_listen, "cbtap.http_listen=127.0.0.1:%u", http_port);
    daemon_start(&d, redis_port, (const char *const[]){MOCK_KAFKA, "-s", http_listen, NULL});
    daemon_finish(&d, 1);
    expect_text(d.program.err, "the address is in use");
    assert_int_equal(fcntl(redis, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(accept(redis, NULL, NULL), -1); /* nobody has connected */
    close(redis);
    close(taken);
    release(&d.program);
}

static void run_tells_systemd_and_stops_by_signal(void **state)
{
    (void)state;
    static const int signals[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        struct daemon d;
        daemon_start(&d, 1, (const char *const[]){MOCK_KAFKA, NULL});
        daemon_await(&d, "READY=1");
        daemon_await(&d, "STATUS=waiting: source r");
        kill(d.program.pid, signals[i]);
        daemon_await(&d, "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000");
        daemon_finish(&d, 0);
        expect_text(d.program.err, "info started version=" CBTAP_VERSION);
        expect_text(d.program.err, i == 0 ? "info stopping signal=SIGTERM" : "info stopping signal=SIGINT");
        expect_text(d.program.err, "info stopped\n");
        assert_string_equal(d.program.out, "");
        release(&d.program);
    }
}

static void run_exits_2_for_its_configuration(void **state)
{
    (void)state;
    struct program p;
    RUN(&p, "run", "-c", "/dev/null");
    expect_exit(&p, 2);
    release(&p);
    RUN(&p, "run", "-c", "/nonexistent/cbtap.conf");
    expect_exit(&p, 2);
    release(&p);
}

static void watchdog_gets_signs_of_life(void **state)
{
    (void)state;
    struct daemon d;
    setenv("WATCHDOG_USEC", "100000", 1);
    daemon_start(&d, 1, (const char *const[]){MOCK_KAFKA, NULL});
    unsetenv("WATCHDOG_USEC");
    for (int i = 0; i < 5; i++)
        daemon_await(&d, "WATCHDOG=1");
    kill(d.program.pid, SIGTERM);
    daemon_finish(&d, 0);
    release(&d.program);
}

static void sighup_reloads_or_keeps_the_old(void **state)
{
    (void)state;
    struct daemon d;
    struct config_file file;
    config_file_write(&file, "[cbtap]\nlog.level=info\n", 23);
    daemon_start(&d, 1, (const char *const[]){MOCK_KAFKA, "-c", file.path, NULL});
    daemon_await(&d, "READY=1");
    kill(d.program.pid, SIGHUP);
    daemon_await(&d, "RELOADING=1\nMONOTONIC_USEC=");
    daemon_await(&d, "READY=1");
    await_log(&d, "info configuration loaded again");

    FILE *out = fopen(file.path, "w");
    assert_non_null(out);
    fputs("[cbtap]\nlog.level=info\nworkers=2\n[filter]\ndrop=netconn\n", out);
    fclose(out);
    kill(d.program.pid, SIGHUP);
    await_log(&d, "the change takes effect with a restart only section=cbtap key=workers");

    out = fopen(file.path, "w");
    assert_non_null(out);
    fputs("[cbtap]\nlog.levle=debug\n", out);
    fclose(out);
    kill(d.program.pid, SIGHUP);
    await_log(&d, "the old one stays in effect");
    await_log(&d, "did you mean \\\"log.level\\\"?");

    /* The level takes effect: from here on only errors. */
    out = fopen(file.path, "w");
    assert_non_null(out);
    fputs("[cbtap]\nlog.level=error\nlog.format=json\n", out);
    fclose(out);
    daemon_await(&d, "READY=1"); /* of the second reload */
    daemon_await(&d, "READY=1"); /* and of the third */
    kill(d.program.pid, SIGHUP);
    daemon_await(&d, "RELOADING=1");
    daemon_await(&d, "READY=1");
    kill(d.program.pid, SIGTERM);
    daemon_finish(&d, 0);
    assert_null(strstr(d.program.err, "info stopped"));
    assert_null(strstr(d.program.err, "\"level\":\"info\""));
    release(&d.program);
    config_file_remove(&file);
}

static void sigusr1_writes_the_status(void **state)
{
    (void)state;
    struct daemon d;
    daemon_start(&d, 1, (const char *const[]){MOCK_KAFKA, NULL});
    daemon_await(&d, "READY=1");
    kill(d.program.pid, SIGUSR1);
    await_log(&d, "info status received_frames=0");
    kill(d.program.pid, SIGPIPE);
    kill(d.program.pid, SIGTERM);
    daemon_finish(&d, 0);
    release(&d.program);
}

static void second_signal_ends_at_once(void **state)
{
    (void)state;
    struct daemon d;
    struct redis redis = {0};
    static const char message[] = "*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n$3\r\n{}x\r\n";
    redis_listen(&redis);
    redis.greeting = message;
    redis_accept(&redis);
    /* Kafka is not there, so the message stays in flight. */
    daemon_start(&d, redis.port, (const char *const[]){"-s", "cbtap.shutdown_timeout_ms=600000", NULL});
    await_log(&d, "info connected source=r");
    await_inflight(&d);
    kill(d.program.pid, SIGTERM);
    daemon_await(&d, "STOPPING=1");
    /* It does not end by itself. */
    struct pollfd fd = {.fd = d.notify_fd, .events = POLLIN};
    poll(&fd, 1, 300);
    int status = 0;
    assert_int_equal(waitpid(d.program.pid, &status, WNOHANG), 0);
    kill(d.program.pid, SIGTERM);
    daemon_finish(&d, 1);
    assert_null(strstr(d.program.err, "info stopped"));
    release(&d.program);
    redis_hang_up(&redis);
    close(redis.listener);
}

static void shutdown_timeout_ends_with_a_warning(void **state)
{
    (void)state;
    struct daemon d;
    struct redis redis = {0};
    redis_listen(&redis);
    redis.greeting = "*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n$3\r\n{}x\r\n";
    redis_accept(&redis);
    daemon_start(&d, redis.port, (const char *const[]){"-s", "cbtap.shutdown_timeout_ms=200", NULL});
    await_log(&d, "info connected source=r");
    await_inflight(&d);
    kill(d.program.pid, SIGTERM);
    daemon_finish(&d, 0);
    expect_text(d.program.err, "warning stopped with messages in flight");
    release(&d.program);
    redis_hang_up(&redis);
    close(redis.listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_teaches),
        cmocka_unit_test(version_is_data),
        cmocka_unit_test(wrong_usage_exits_2_and_says_what_was_meant),
        cmocka_unit_test(configuration_reference_is_written),
        cmocka_unit_test(events_reference_is_written),
        cmocka_unit_test(check_validates_without_touching_a_peer),
        cmocka_unit_test(check_warns_whatever_the_level),
        cmocka_unit_test(check_shows_the_shortest_configuration_where_there_is_none),
        cmocka_unit_test(check_print_masks_and_reads_back),
        cmocka_unit_test(check_connect_says_who_is_not_there),
        cmocka_unit_test(run_whose_http_address_is_taken_ends_before_it_reads),
        cmocka_unit_test(run_tells_systemd_and_stops_by_signal),
        cmocka_unit_test(run_exits_2_for_its_configuration),
        cmocka_unit_test(watchdog_gets_signs_of_life),
        cmocka_unit_test(sighup_reloads_or_keeps_the_old),
        cmocka_unit_test(sigusr1_writes_the_status),
        cmocka_unit_test(second_signal_ends_at_once),
        cmocka_unit_test(shutdown_timeout_ends_with_a_warning),
    };
    return cmocka_run_group_tests(tests, find_program, NULL);
}
