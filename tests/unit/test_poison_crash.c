/* SPDX-License-Identifier: MIT */
/* A worker whose process really dies of a message, again and again, until the message is set aside. */
#include "pb_build.h"
#include "worker_bed.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "decode/poison.h"

#define TRIES 3

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/cbtap-test-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    (void)state;
    char path[96];
    snprintf(path, sizeof(path), "%s/" CBT_POISON_FILE, dir);
    return unlink(path) != 0 || rmdir(dir) != 0;
}

/* A bundle of so many records; the last of a bad one ends whoever decodes it (crash_on_marker.c). */
static struct pb make_bundle(unsigned records, bool bad)
{
    struct pb bundle = {0};
    for (unsigned i = 0; i < records; i++) {
        struct pb record = {0}, filemod = {0};
        pb_header(&record, 130000000000000000);
        pb_number(&filemod, 1, 1);
        pb_number(&filemod, 2, i);
        pb_str(&filemod, 4, bad && i == records - 1 ? "c:\\-crash-the-decoder-" : "c:\\innocent");
        pb_message(&record, 5, &filemod);
        pb_record(&bundle, pb_text(&record));
        pb_free(&filemod);
        pb_free(&record);
    }
    return bundle;
}

struct life {
    struct worker_bed *bed;
    struct cbt_poison *poison;
    struct pb good, bad;
};

/* A worker that gets a good message and a bad one, with more records than fit into one hand-over. */
static struct life begin_life(bool redelivered)
{
    const struct cbt_format_options options = {.server_name = "s", .server_url = "", .profile = "documented"};
    struct life life = {.bed = worker_bed_new(),
                        .good = make_bundle(3, false),
                        .bad = make_bundle(CBT_BATCH_RECORDS_MAX + 10, true)};
    struct cbt_err err = {0};
    if (cbt_poison_open(&life.poison, dir, &err) != 0)
        fail_msg("%s", err.text);
    life.bed->poison = life.poison;
    life.bed->poison_tries = TRIES;
    life.bed->redelivered = redelivered;
    worker_bed_start(life.bed, "json", &options);
    worker_bed_push(life.bed, pb_text(&life.good), "application/protobuf", "", NULL);
    worker_bed_push(life.bed, pb_text(&life.bad), "application/protobuf", "", NULL);
    return life;
}

static void die_of_it(bool redelivered)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit no_core = {0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL); /* not cmocka's, which would go on */
        struct life life = begin_life(redelivered);
        worker_bed_await(life.bed, SIZE_MAX);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void a_message_that_ends_the_process_becomes_a_dead_letter_after_its_tries(void **state)
{
    (void)state;
    for (unsigned life = 0; life < TRIES; life++)
        die_of_it(life > 0);

    struct life life = begin_life(true);
    worker_bed_await(life.bed, 4);
    const struct cbt_record *last = life.bed->records[3];
    for (unsigned i = 0; i < 3; i++)
        assert_null(life.bed->records[i]->dead);
    assert_non_null(last->dead);
    assert_int_equal(last->dead->reason, CBT_DEAD_poison);
    assert_string_equal(last->dead->detail, "the process died 3 times while it decoded this message");
    assert_int_equal(last->value_len, life.bad.len);
    assert_memory_equal(last->value, life.bad.data, life.bad.len);
    assert_non_null(last->frame->suspect);
    worker_bed_free(life.bed);
    cbt_poison_close(life.poison);
    pb_free(&life.good);
    pb_free(&life.bad);
}

static void a_worker_is_not_marked_while_it_hands_over_nor_when_it_is_done(void **state)
{
    (void)state;
    const struct cbt_format_options options = {.server_name = "s", .server_url = "", .profile = "documented"};
    const unsigned records = CBT_BATCH_RECORDS_MAX + 10;
    struct pb good = make_bundle(records, false);
    struct cbt_poison *poison = NULL;
    assert_int_equal(cbt_poison_open(&poison, dir, NULL), 0);
    struct worker_bed *bed = worker_bed_new();
    bed->poison = poison;
    bed->poison_tries = TRIES;
    bed->redelivered = true;
    worker_bed_start(bed, "json", &options);
    worker_bed_push(bed, pb_text(&good), "application/protobuf", "", NULL);
    worker_bed_await(bed, records);
    bool marked = bed->marked;
    worker_bed_free(bed);
    assert_false(marked);
    assert_int_equal(poison->file->marks[0].id.body_bytes, good.len); /* it was, in between */
    assert_int_equal(poison->file->marks[0].check, 0);
    cbt_poison_close(poison);
    pb_free(&good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_that_ends_the_process_becomes_a_dead_letter_after_its_tries,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_worker_is_not_marked_while_it_hands_over_nor_when_it_is_done,
                                        make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
