/* SPDX-License-Identifier: MIT */
/* How the Kafka sink ends: what is delivered is settled, what is not is left untouched, and neither a dead
 * Kafka nor a worker that waits keeps it; and how it goes about a Kafka that refuses for long. */
#include "kafka_bed.h"

#include "captured.h"

#define API_PRODUCE  0
#define CLOSE_MAX_MS 10000 /* generous, for sanitizers on a busy machine; by itself it takes at most 2 s */

static struct bed *new_bed(void)
{
    struct bed *bed = bed_new(1);
    rd_kafka_mock_topic_create(bed->cluster, "events", 4, 1);
    rd_kafka_mock_topic_create(bed->cluster, "dead", 1, 1);
    return bed;
}

static void await_ready(struct bed *bed, bool ready)
{
    char reason[256];
    BED_AWAIT(bed->sink->ready(bed->kafka, reason, sizeof(reason)) == ready);
}

struct worker {
    struct bed *bed;
    unsigned index;
    struct bed_frame *frame;
    pthread_t thread;
    _Atomic bool returned;
};

static void *submit(void *arg)
{
    struct worker *worker = arg;
    bed_submit(worker->bed, worker->index, worker->frame);
    atomic_store(&worker->returned, true);
    return NULL;
}

static void start(struct worker *worker)
{
    assert_int_equal(pthread_create(&worker->thread, NULL, submit, worker), 0);
}

/* Closes, and at once does with the frames what their owner does: their memory goes. */
static void close_and_free(struct bed *bed, struct bed_frame *frames[], size_t count)
{
    int64_t start_ns = cbt_now_ns();
    bed_close(bed);
    assert_true(cbt_now_ns() - start_ns < CLOSE_MAX_MS * KAFKA_NS_PER_MS);
    for (size_t i = 0; i < count; i++)
        bed_frame_free(frames[i]);
    bed_free(bed);
}

static void draining_waits_for_the_last_report(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_property(bed, "linger.ms", "300");
    bed_open(bed, 1);
    bed_drain(bed); /* of nothing */
    struct bed_frame *f = bed_frame_new(100, 1, 0, 40);
    bed_submit(bed, 0, f);
    bed_drain(bed);
    assert_ptr_equal(cbt_ring_pop(&bed->ring), &f->frame); /* without waiting for it any more */
    assert_int_equal(bed_counter(bed, CBT_COUNT_delivered_records), 100);
    close_and_free(bed, &f, 1);
}

static void a_worker_that_waits_for_partitions_is_let_go(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    rd_kafka_mock_broker_set_down(bed->cluster, -1);
    bed_open(bed, 2);
    struct worker worker = {.bed = bed, .index = 1, .frame = bed_frame_new(50, 1, 0, 40)};
    start(&worker);
    BED_AWAIT(atomic_load(&bed->stats.has_work) == 1);
    assert_int_equal(bed->sink->drain(bed->kafka, 100, NULL), CBT_ELIMIT);
    assert_false(atomic_load(&worker.returned));
    bed->sink->abandon(bed->kafka);
    pthread_join(worker.thread, NULL);
    assert_int_equal(atomic_load(&worker.frame->frame.pending), 50);
    assert_null(cbt_ring_pop(&bed->ring));
    close_and_free(bed, &worker.frame, 1);
}

static void a_worker_at_the_gate_is_let_go(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_open(bed, 2);
    await_ready(bed, true);
    rd_kafka_mock_push_request_errors(bed->cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    struct bed_frame *first = bed_frame_new(50, 1, 0, 40);
    bed_submit(bed, 0, first);
    await_ready(bed, false);
    struct worker worker = {.bed = bed, .index = 1, .frame = bed_frame_new(50, 2, 0, 40)};
    start(&worker);
    BED_AWAIT(atomic_load(&((struct kafka *)bed->kafka)->waiting) > 0 || atomic_load(&worker.returned));
    assert_false(atomic_load(&worker.returned));
    bed->sink->abandon(bed->kafka);
    pthread_join(worker.thread, NULL);
    assert_int_equal(atomic_load(&first->frame.pending), 50);
    assert_int_equal(atomic_load(&worker.frame->frame.pending), 50);
    close_and_free(bed, (struct bed_frame *[]){first, worker.frame}, 2);
}

static void nothing_is_taken_over_once_it_is_abandoned(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed_open(bed, 1);
    await_ready(bed, true);
    bed->sink->abandon(bed->kafka);
    struct bed_frame *f = bed_frame_new(50, 1, 0, 40);
    bed_submit(bed, 0, f);
    bed_close(bed);
    assert_int_equal(atomic_load(&f->frame.pending), 50);
    bed_frame_free(f);
    bed_free(bed);
}

static void dead_letters_under_way_are_left(void **state)
{
    (void)state;
    static const struct cbt_dead_letter letter = {.reason = CBT_DEAD_malformed, .detail = "a test"};
    struct bed *bed = new_bed();
    bed_property(bed, "message.max.bytes",
                 "1000"); /* so that the sink has memory of its own in the letters */
    bed_open(bed, 1);
    struct bed_frame *first = bed_frame_new(1, 1, 0, 40);
    first->records[0].dead = &letter;
    bed_submit(bed, 0, first);
    bed_await_settled(bed, 1);
    rd_kafka_mock_broker_set_down(bed->cluster, -1);
    await_ready(bed, false);
    struct bed_frame *f = bed_frame_new(300, 1, 0, 900);
    for (unsigned i = 0; i < 100; i++)
        f->records[i].dead = &letter;
    struct bed_frame *large = bed_frame_new(20, 2, 0, 1000);
    bed_submit(bed, 0, f);
    bed_submit(bed, 0, large);
    BED_AWAIT(atomic_load(&bed->stats.dead[CBT_DEAD_refused]) == 20);
    bed->sink->abandon(bed->kafka);
    struct bed_frame *frames[] = {first, f, large};
    int64_t start_ns = cbt_now_ns();
    bed_close(bed);
    assert_true(cbt_now_ns() - start_ns < CLOSE_MAX_MS * KAFKA_NS_PER_MS);
    assert_int_equal(atomic_load(&f->frame.pending), 300);
    assert_int_equal(atomic_load(&large->frame.pending), 20);
    for (size_t i = 0; i < 3; i++)
        bed_frame_free(frames[i]);
    bed_free(bed);
}

static void it_closes_under_load(void **state)
{
    (void)state;
    /* Delivered, under way, in the queue, not handed over: each settled once or not at all. */
    for (unsigned round = 0; round < 4; round++) {
        struct bed *bed = new_bed();
        bed_property(bed, "queue.buffering.max.messages", "500");
        bed_open(bed, 2);
        struct worker workers[2];
        for (unsigned i = 0; i < 2; i++) {
            workers[i] = (struct worker){.bed = bed, .index = i, .frame = bed_frame_new(5000, (int)i, 0, 40)};
            start(&workers[i]);
        }
        if (round > 0)
            BED_AWAIT(bed_counter(bed, CBT_COUNT_settled_records) > 100 * round);
        bed->sink->abandon(bed->kafka);
        for (unsigned i = 0; i < 2; i++)
            pthread_join(workers[i].thread, NULL);
        bed_close(bed);
        uint64_t settled = 0;
        for (unsigned i = 0; i < 2; i++)
            settled += 5000 - atomic_load(&workers[i].frame->frame.pending);
        assert_int_equal(settled, bed_counter(bed, CBT_COUNT_settled_records));
        assert_int_equal(settled, bed_counter(bed, CBT_COUNT_delivered_records));
        for (unsigned i = 0; i < 2; i++)
            bed_frame_free(workers[i].frame);
        bed_free(bed);
    }
}

static void half_open_and_null_are_fine(void **state)
{
    (void)state;
    struct bed *bed = new_bed();
    bed->sink->close(NULL);
    bed_property(bed, "max.in.flight", "100"); /* which idempotence does not allow */
    const struct cbt_sink_context context = {.config = &bed->config,
                                             .options = &bed->options,
                                             .settler = &bed->settler,
                                             .stats = &bed->stats,
                                             .workers = 2,
                                             .records_max = BED_BATCH};
    void *self = NULL;
    struct cbt_err err = {0};
    assert_int_equal(bed->sink->open(&self, &context, &err), CBT_EINVAL);
    assert_non_null(strstr(err.text, "max.in.flight"));
    assert_null(self);
    bed_free(bed);
}

/* ---- a refusal that lasts ---- */

static unsigned count_lines(const char *text, const char *part)
{
    unsigned count = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        count++;
    return count;
}

static void a_lasting_refusal_is_tried_slowly_and_told_once(void **state)
{
    (void)state;
    struct captured log;
    struct bed *bed = new_bed();
    /* The mock cluster takes what is behind a refused batch, as Kafka does not: there must be nothing. */
    bed_property(bed, "max.in.flight.requests.per.connection", "1");
    capture_begin(&log);
    bed_open(bed, 1);
    await_ready(bed, true);
    rd_kafka_mock_push_request_errors(
        bed->cluster, API_PRODUCE, 3, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    struct bed_frame *f = bed_frame_new(100, 1, 0, 40);
    int64_t start_ns = cbt_now_ns();
    bed_submit(bed, 0, f);
    bed_await_settled(bed, 1);
    await_ready(bed, true);
    assert_true(cbt_now_ns() - start_ns > 9000 * KAFKA_NS_PER_MS);
    bed_close(bed);
    char *text = capture_end(&log);
    if (count_lines(text, "were not delivered") != 1 || count_lines(text, "are delivered again") != 1)
        fail_msg("not one line each:\n%s", text);
    free(text);
    assert_int_equal(bed_resent(bed, CBT_RESENT_failed), 300);
    assert_int_equal(bed_counter(bed, CBT_COUNT_producers_replaced), 3);
    assert_int_equal(atomic_load(&bed->stats.dead[CBT_DEAD_refused]), 0);
    bed_frame_free(f);
    bed_free(bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draining_waits_for_the_last_report),
        cmocka_unit_test(a_worker_that_waits_for_partitions_is_let_go),
        cmocka_unit_test(a_worker_at_the_gate_is_let_go),
        cmocka_unit_test(nothing_is_taken_over_once_it_is_abandoned),
        cmocka_unit_test(dead_letters_under_way_are_left),
        cmocka_unit_test(it_closes_under_load),
        cmocka_unit_test(half_open_and_null_are_fine),
        cmocka_unit_test(a_lasting_refusal_is_tried_slowly_and_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
