/* SPDX-License-Identifier: MIT */
/* The poison journal: what was marked at a crash is suspect, and nothing else is; the innocent are cleared.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "decode/poison.h"

#define TRIES 3

static char dir[64], path[96];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/cbtap-test-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/" CBT_POISON_FILE, dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static struct cbt_poison *open_journal(void)
{
    struct cbt_poison *poison = NULL;
    struct cbt_err err = {0};
    if (cbt_poison_open(&poison, dir, &err) != 0)
        fail_msg("%s", err.text);
    return poison;
}

/* A message delivered again, of a source that does. */
static struct cbt_frame again(const char *body)
{
    return (struct cbt_frame){.body = text_of(body),
                              .routing_key = text_of("ingress.event.procstart"),
                              .content_type = text_of("application/protobuf"),
                              .framing = CBT_FRAMING_EVENT,
                              .redelivered = true,
                              .poison_tries = TRIES};
}

/* The process dies at the frame: it ends without having cleared its mark. */
static void die_at(struct cbt_frame frame)
{
    struct cbt_poison *poison = open_journal();
    struct cbt_poison_watch watch;
    cbt_poison_watch_init(&watch, poison, 0);
    assert_true(cbt_poison_begin(&watch, &frame));
    assert_true(watch.marked);
    if (watch.suspect != NULL)
        pthread_mutex_unlock(&poison->one_suspect);
    cbt_poison_close(poison);
}

/* How often the process has died at the frame, as the next one takes it. */
static unsigned tries_of(struct cbt_frame frame)
{
    struct cbt_poison *poison = open_journal();
    struct cbt_poison_watch watch;
    cbt_poison_watch_init(&watch, poison, 0);
    bool taken = cbt_poison_begin(&watch, &frame);
    unsigned tries = watch.suspect != NULL ? (unsigned)watch.suspect->tries : 0;
    assert_int_equal(taken, tries < TRIES);
    assert_true(taken || frame.suspect == watch.suspect);
    cbt_poison_end(&watch, false);
    cbt_poison_close(poison);
    return tries;
}

static unsigned suspects(void)
{
    struct cbt_poison *poison = open_journal();
    unsigned count = 0;
    for (unsigned i = 0; i < CBT_POISON_SUSPECTS; i++)
        count += poison->file->suspects[i].tries != 0;
    assert_int_equal(count, poison->suspect_count);
    cbt_poison_close(poison);
    return count;
}

static struct cbt_poison_file load(void)
{
    struct cbt_poison_file file;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, &file, sizeof(file)), sizeof(file));
    close(fd);
    return file;
}

static void store(const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

static void a_message_is_set_aside_after_its_tries_and_then_forgotten(void **state)
{
    (void)state;
    struct cbt_frame first = again("bad");
    first.redelivered = false;
    assert_int_equal(tries_of(first), 0);
    die_at(first);
    assert_int_equal(tries_of(again("bad")), 1);
    die_at(again("bad"));
    assert_int_equal(tries_of(again("bad")), 2);
    die_at(again("bad"));
    assert_int_equal(tries_of(again("bad")), TRIES);
    assert_int_equal(tries_of(again("bad")), TRIES); /* a death before it is settled takes nothing back */

    struct cbt_poison *poison = open_journal();
    struct cbt_poison_watch watch;
    struct cbt_frame frame = again("bad");
    cbt_poison_watch_init(&watch, poison, 0);
    assert_false(cbt_poison_begin(&watch, &frame));
    cbt_poison_pause(&watch);
    cbt_poison_resume(&watch);
    cbt_poison_end(&watch, true);
    assert_int_equal(frame.suspect->tries, TRIES);
    cbt_poison_forget(frame.suspect);
    cbt_poison_close(poison);
    assert_int_equal(suspects(), 0);
    assert_int_equal(tries_of(again("bad")), 0);
}

static void a_suspect_that_is_decoded_is_none_any_more(void **state)
{
    (void)state;
    die_at(again("innocent"));
    die_at(again("innocent"));
    struct cbt_poison *poison = open_journal();
    struct cbt_poison_watch watch;
    struct cbt_frame frame = again("innocent");
    cbt_poison_watch_init(&watch, poison, 0);
    assert_true(cbt_poison_begin(&watch, &frame));
    cbt_poison_end(&watch, true);
    cbt_poison_close(poison);
    assert_int_equal(tries_of(again("innocent")), 0);
    assert_int_equal(suspects(), 0);
}

static void a_worker_that_was_stopped_leaves_no_suspect_and_clears_none(void **state)
{
    (void)state;
    die_at(again("a"));
    assert_int_equal(tries_of(again("a")), 1); /* ends it as a worker that is told to end does */
    assert_int_equal(tries_of(again("b")), 0);
    assert_int_equal(suspects(), 1);
}

static void only_the_frame_that_was_being_decoded_is_suspect(void **state)
{
    (void)state;
    struct cbt_poison *poison = open_journal();
    struct cbt_poison_watch watch;
    struct cbt_frame done = again("done"), waits = again("waits"), of_redis = again("redis");
    of_redis.poison_tries = 0;
    cbt_poison_watch_init(&watch, poison, 0);
    assert_true(cbt_poison_begin(&watch, &of_redis));
    assert_false(watch.marked);
    cbt_poison_end(&watch, true);
    assert_true(cbt_poison_begin(&watch, &done));
    cbt_poison_end(&watch, true);
    assert_true(cbt_poison_begin(&watch, &waits));
    cbt_poison_pause(&watch);
    cbt_poison_pause(&watch);
    cbt_poison_close(poison); /* killed while it waits for Kafka */
    assert_int_equal(suspects(), 0);

    poison = open_journal();
    cbt_poison_watch_init(&watch, poison, 0);
    assert_true(cbt_poison_begin(&watch, &waits));
    cbt_poison_pause(&watch);
    cbt_poison_resume(&watch);
    cbt_poison_close(poison); /* killed amid the rest of it */
    assert_int_equal(tries_of(waits), 1);
}

static void who_differs_in_anything_is_not_taken_for_it(void **state)
{
    (void)state;
    char body[200], other[200];
    memset(body, 'x', sizeof(body));
    body[sizeof(body) - 1] = '\0';
    memcpy(other, body, sizeof(body));
    other[30] = 'y'; /* no byte of the sample */
    struct cbt_frame key = again(body), type = again(body), framing = again(body), longer = again(body);
    key.routing_key = text_of("ingress.event.procstarT");
    type.content_type = text_of("application/protobuF");
    framing.framing = CBT_FRAMING_BUNDLE;
    longer.body.len--;
    die_at(again(body));
    assert_int_equal(tries_of(again(other)), 0);
    assert_int_equal(tries_of(key), 0);
    assert_int_equal(tries_of(type), 0);
    assert_int_equal(tries_of(framing), 0);
    assert_int_equal(tries_of(longer), 0);
    assert_int_equal(tries_of(again(body)), 1);
}

static void an_empty_body_is_marked_like_any_other(void **state)
{
    (void)state;
    struct cbt_frame frame = again("");
    frame.body.data = NULL;
    frame.routing_key = frame.content_type = (struct cbt_text){0};
    die_at(frame);
    assert_int_equal(tries_of(frame), 1);
}

static void of_two_at_a_crash_the_innocent_is_cleared_and_the_other_counted_on(void **state)
{
    (void)state;
    struct cbt_frame bad = again("bad"), innocent = again("innocent");
    for (unsigned life = 0; life < 2; life++) {
        struct cbt_poison *poison = open_journal();
        struct cbt_poison_watch watches[2];
        cbt_poison_watch_init(&watches[0], poison, 0);
        cbt_poison_watch_init(&watches[1], poison, CBT_POISON_MARKS - 1);
        assert_true(cbt_poison_begin(&watches[0], &innocent));
        if (life == 1)
            cbt_poison_end(&watches[0], true);
        assert_true(cbt_poison_begin(&watches[1], &bad));
        if (life == 1)
            pthread_mutex_unlock(&poison->one_suspect);
        cbt_poison_close(poison);
    }
    assert_int_equal(tries_of(innocent), 0);
    assert_int_equal(tries_of(bad), 2);
}

static void one_death_counts_once_for_two_workers_with_the_same_message(void **state)
{
    (void)state;
    struct cbt_poison *poison = open_journal();
    struct cbt_poison_watch watches[2];
    struct cbt_frame frame = again("twice");
    for (unsigned i = 0; i < 2; i++) {
        cbt_poison_watch_init(&watches[i], poison, i);
        assert_true(cbt_poison_begin(&watches[i], &frame));
    }
    cbt_poison_close(poison);
    assert_int_equal(tries_of(frame), 1);
    assert_int_equal(suspects(), 1);
}

struct second {
    struct cbt_poison_watch watch;
    struct cbt_frame frame;
    atomic_bool *first_is_done;
    bool too_soon;
};

static void *decode_second(void *arg)
{
    struct second *second = arg;
    assert_true(cbt_poison_begin(&second->watch, &second->frame));
    second->too_soon = !atomic_load(second->first_is_done);
    cbt_poison_end(&second->watch, true);
    return NULL;
}

static void two_suspects_are_never_decoded_at_once(void **state)
{
    (void)state;
    die_at(again("a"));
    die_at(again("b"));
    struct cbt_poison *poison = open_journal();
    struct cbt_poison_watch watch;
    struct cbt_frame a = again("a"), stranger = again("stranger");
    atomic_bool done = false;
    struct second second = {.frame = again("b"), .first_is_done = &done};
    pthread_t thread;
    cbt_poison_watch_init(&watch, poison, 0);
    cbt_poison_watch_init(&second.watch, poison, 1);
    assert_true(cbt_poison_begin(&watch, &a));
    assert_int_equal(pthread_mutex_trylock(&poison->one_suspect), EBUSY);
    assert_int_equal(pthread_create(&thread, NULL, decode_second, &second), 0);
    atomic_store(&done, true);
    cbt_poison_end(&watch, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_false(second.too_soon);
    assert_true(cbt_poison_begin(&watch, &stranger));
    assert_int_equal(pthread_mutex_trylock(&poison->one_suspect), 0); /* who is none waits for none */
    pthread_mutex_unlock(&poison->one_suspect);
    cbt_poison_end(&watch, true);
    cbt_poison_close(poison);
    assert_int_equal(suspects(), 0);
}

static void a_torn_mark_accuses_nobody(void **state)
{
    (void)state;
    die_at(again("torn"));
    const struct cbt_poison_file whole = load();
    const size_t used = offsetof(struct cbt_poison_mark, unused);
    for (size_t i = 0; i < used; i++) {
        struct cbt_poison_file torn = whole;
        ((uint8_t *)&torn.marks[0])[i] ^= 0xFF;
        store(&torn, sizeof(torn));
        if (suspects() != 0)
            fail_msg("byte %zu", i);
    }
    store(&whole, sizeof(whole));
    assert_int_equal(suspects(), 1);
}

static void a_torn_suspect_is_let_go(void **state)
{
    (void)state;
    die_at(again("torn"));
    assert_int_equal(suspects(), 1);
    const struct cbt_poison_file whole = load();
    for (size_t i = 0; i < offsetof(struct cbt_poison_suspect, unused); i++) {
        struct cbt_poison_file torn = whole;
        ((uint8_t *)&torn.suspects[0])[i] ^= 0xFF;
        store(&torn, sizeof(torn));
        if (suspects() != 0)
            fail_msg("byte %zu", i);
    }
}

static void what_is_no_journal_of_this_version_is_begun_anew(void **state)
{
    (void)state;
    die_at(again("old"));
    const struct cbt_poison_file whole = load();
    for (size_t i = 0; i < offsetof(struct cbt_poison_file, unused); i++) {
        struct cbt_poison_file other = whole;
        ((uint8_t *)&other)[i] ^= 0xFF;
        store(&other, sizeof(other));
        if (suspects() != 0)
            fail_msg("byte %zu", i);
    }
    const size_t lens[] = {0, 1, sizeof(whole) - 1};
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        store(&whole, lens[i]);
        assert_int_equal(suspects(), 0);
        assert_int_equal(load().version, CBT_POISON_VERSION);
        die_at(again("new"));
        assert_int_equal(tries_of(again("new")), 1);
    }
}

static void two_journals_know_a_message_by_different_hashes(void **state)
{
    (void)state;
    die_at(again("same"));
    const struct cbt_poison_file one = load();
    assert_int_equal(unlink(path), 0);
    die_at(again("same"));
    const struct cbt_poison_file two = load();
    assert_memory_not_equal(&one.marks[0].id.sample, &two.marks[0].id.sample, sizeof(uint64_t));
    assert_memory_not_equal(one.marks[0].id.whole, two.marks[0].id.whole, sizeof(one.marks[0].id.whole));
}

static void a_suspect_that_does_not_come_again_is_let_go_after_a_week(void **state)
{
    (void)state;
    die_at(again("gone"));
    assert_int_equal(suspects(), 1);
    struct cbt_poison_file file = load();
    struct cbt_poison_suspect *suspect = &file.suspects[0];
    const int64_t now_s = cbt_wall_ms() / 1000;
    const struct {
        int64_t seen_unix_s;
        unsigned left;
    } cases[] = {{now_s - 7 * 86400 + 3600, 1}, {now_s - 7 * 86400 - 3600, 0}, {now_s + 3600, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        suspect->seen_unix_s = cases[i].seen_unix_s;
        suspect->check = cbt_poison_suspect_check(suspect, suspect->tries);
        store(&file, sizeof(file));
        assert_int_equal(suspects(), cases[i].left);
    }
}

static void a_full_table_keeps_who_has_been_tried_most(void **state)
{
    (void)state;
    char body[16];
    die_at(again("bad"));
    die_at(again("bad"));
    for (unsigned i = 0; i < CBT_POISON_SUSPECTS + 5; i++) {
        snprintf(body, sizeof(body), "other %u", i);
        die_at(again(body));
    }
    assert_int_equal(suspects(), CBT_POISON_SUSPECTS);
    assert_int_equal(tries_of(again("bad")), 2);
    assert_int_equal(tries_of(again(body)), 1); /* the last one found a place */
}

static void a_journal_has_one_process(void **state)
{
    (void)state;
    struct cbt_poison *poison = open_journal(), *second = NULL;
    struct cbt_err err = {0};
    assert_int_equal(cbt_poison_open(&second, dir, &err), CBT_EIO);
    assert_non_null(strstr(err.text, "another cbtap uses it"));
    assert_null(second);
    cbt_poison_close(poison);
    assert_int_equal(suspects(), 0);
}

static void what_cannot_be_had_is_an_error_that_says_why(void **state)
{
    (void)state;
    struct cbt_poison *poison = NULL;
    struct cbt_err err = {0};
    char below[128];
    snprintf(below, sizeof(below), "%s/no/such", dir);
    assert_int_equal(cbt_poison_open(&poison, below, &err), CBT_EIO);
    assert_non_null(strstr(err.text, below));
    assert_non_null(strstr(err.text, "cannot be made: No such file"));
    assert_int_equal(cbt_poison_open(&poison, "/dev/null", &err), CBT_EIO);
    assert_non_null(strstr(err.text, "Not a directory"));
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(cbt_poison_open(&poison, dir, &err), CBT_EIO);
    assert_non_null(strstr(err.text, CBT_POISON_FILE " cannot be opened"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(cbt_poison_open(&poison, dir, &err), CBT_EIO);
    assert_non_null(strstr(err.text, "is not a file"));
    assert_null(poison);
}

static void the_directory_is_made_for_its_user_alone(void **state)
{
    (void)state;
    struct cbt_poison *poison = NULL;
    struct stat st;
    char below[128], file[160];
    snprintf(below, sizeof(below), "%s/state", dir);
    snprintf(file, sizeof(file), "%s/" CBT_POISON_FILE, below);
    assert_int_equal(cbt_poison_open(&poison, below, NULL), 0);
    cbt_poison_close(poison);
    assert_int_equal(stat(below, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(st.st_blocks * 512 >= (blkcnt_t)sizeof(struct cbt_poison_file));
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(below), 0);
}

static void without_a_journal_nothing_is_marked(void **state)
{
    (void)state;
    struct cbt_poison_watch watch;
    struct cbt_frame frame = again("bad");
    cbt_poison_watch_init(&watch, NULL, 0);
    assert_true(cbt_poison_begin(&watch, &frame));
    cbt_poison_pause(&watch);
    cbt_poison_resume(&watch);
    cbt_poison_end(&watch, true);
    assert_false(watch.marked);
    cbt_poison_close(NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_set_aside_after_its_tries_and_then_forgotten),
        TEST(a_suspect_that_is_decoded_is_none_any_more),
        TEST(a_worker_that_was_stopped_leaves_no_suspect_and_clears_none),
        TEST(only_the_frame_that_was_being_decoded_is_suspect),
        TEST(who_differs_in_anything_is_not_taken_for_it),
        TEST(an_empty_body_is_marked_like_any_other),
        TEST(of_two_at_a_crash_the_innocent_is_cleared_and_the_other_counted_on),
        TEST(one_death_counts_once_for_two_workers_with_the_same_message),
        TEST(two_suspects_are_never_decoded_at_once),
        TEST(a_torn_mark_accuses_nobody),
        TEST(a_torn_suspect_is_let_go),
        TEST(what_is_no_journal_of_this_version_is_begun_anew),
        TEST(two_journals_know_a_message_by_different_hashes),
        TEST(a_suspect_that_does_not_come_again_is_let_go_after_a_week),
        TEST(a_full_table_keeps_who_has_been_tried_most),
        TEST(a_journal_has_one_process),
        TEST(what_cannot_be_had_is_an_error_that_says_why),
        TEST(the_directory_is_made_for_its_user_alone),
        TEST(without_a_journal_nothing_is_marked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
