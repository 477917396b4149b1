/* SPDX-License-Identifier: MIT */
/* The window of delivery tags: whatever the order of completion, only what is done is acknowledged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/source_amqp.h"

static void prefix_grows_when_its_gap_closes(void **state)
{
    (void)state;
    struct cbt_amqp_acks acks;
    assert_int_equal(cbt_amqp_acks_init(&acks, 10, NULL), 0);
    for (uint64_t tag = 1; tag <= 5; tag++)
        assert_true(cbt_amqp_acks_deliver(&acks, tag));
    assert_true(cbt_amqp_acks_settle(&acks, 2));
    assert_true(cbt_amqp_acks_settle(&acks, 3));
    assert_int_equal(cbt_amqp_acks_due(&acks), 0);
    assert_true(cbt_amqp_acks_settle(&acks, 1));
    assert_int_equal(cbt_amqp_acks_due(&acks), 3);
    assert_int_equal(acks.first, 4);
    assert_true(cbt_amqp_acks_settle(&acks, 5));
    assert_int_equal(cbt_amqp_acks_due(&acks), 3);
    assert_int_equal(acks.settled, 4);
    cbt_amqp_acks_free(&acks);
}

static void tags_out_of_sequence_are_refused(void **state)
{
    (void)state;
    struct cbt_amqp_acks acks;
    assert_int_equal(cbt_amqp_acks_init(&acks, 10, NULL), 0);
    assert_false(cbt_amqp_acks_deliver(&acks, 0));
    assert_false(cbt_amqp_acks_deliver(&acks, 2));
    assert_true(cbt_amqp_acks_deliver(&acks, 1));
    assert_false(cbt_amqp_acks_deliver(&acks, 1));
    assert_false(cbt_amqp_acks_settle(&acks, 0));
    assert_false(cbt_amqp_acks_settle(&acks, 2));
    assert_false(cbt_amqp_acks_settle(&acks, UINT64_MAX));
    assert_true(cbt_amqp_acks_settle(&acks, 1));
    assert_false(cbt_amqp_acks_settle(&acks, 1));
    assert_true(cbt_amqp_acks_deliver(&acks, 2));
    assert_true(cbt_amqp_acks_deliver(&acks, 3));
    assert_true(cbt_amqp_acks_settle(&acks, 3));
    assert_false(cbt_amqp_acks_settle(&acks, 3));
    assert_int_equal(acks.settled, 2);
    cbt_amqp_acks_free(&acks);
}

static void window_is_bounded(void **state)
{
    (void)state;
    struct cbt_amqp_acks acks;
    assert_int_equal(cbt_amqp_acks_init(&acks, 65535, NULL), 0);
    uint64_t tag = 1;
    while (cbt_amqp_acks_deliver(&acks, tag))
        tag++;
    assert_int_equal(tag - 1, 65536);
    /* All but the first done: the window stays shut. */
    for (uint64_t i = tag - 1; i > 1; i--)
        assert_true(cbt_amqp_acks_settle(&acks, i));
    assert_int_equal(cbt_amqp_acks_due(&acks), 0);
    assert_false(cbt_amqp_acks_deliver(&acks, tag));
    assert_true(cbt_amqp_acks_settle(&acks, 1));
    assert_int_equal(cbt_amqp_acks_due(&acks), 65536);
    assert_true(cbt_amqp_acks_deliver(&acks, tag));
    cbt_amqp_acks_free(&acks);
}

static void reset_forgets_everything(void **state)
{
    (void)state;
    struct cbt_amqp_acks acks;
    assert_int_equal(cbt_amqp_acks_init(&acks, 100, NULL), 0);
    for (uint64_t tag = 1; tag <= 50; tag++)
        assert_true(cbt_amqp_acks_deliver(&acks, tag));
    for (uint64_t tag = 10; tag <= 40; tag++)
        assert_true(cbt_amqp_acks_settle(&acks, tag));
    cbt_amqp_acks_reset(&acks);
    assert_int_equal(acks.settled, 0);
    for (uint64_t tag = 1; tag <= 50; tag++)
        assert_true(cbt_amqp_acks_deliver(&acks, tag));
    assert_true(cbt_amqp_acks_settle(&acks, 1));
    assert_int_equal(acks.first, 2);
    cbt_amqp_acks_free(&acks);
}

#define MODEL_TAGS 100000

/* Completions in random order against a plain array of flags, many times round the ring. */
static void never_acknowledges_what_is_not_done(void **state)
{
    (void)state;
    static const uint32_t prefetches[] = {1, 2, 63, 64, 100, 1000};
    for (size_t p = 0; p < sizeof(prefetches) / sizeof(*prefetches); p++) {
        uint32_t prefetch = prefetches[p];
        struct cbt_amqp_acks acks;
        assert_int_equal(cbt_amqp_acks_init(&acks, prefetch, NULL), 0);
        bool *done = calloc(MODEL_TAGS + 2, sizeof(*done));
        uint64_t *inflight = calloc(prefetch, sizeof(*inflight));
        assert_non_null(done);
        assert_non_null(inflight);
        uint64_t delivered = 0, first = 1, settled = 0;
        uint32_t count = 0;
        unsigned seed = 42 + prefetch;
        while (first <= MODEL_TAGS) {
            bool deliver =
                delivered < MODEL_TAGS && delivered - acks.acked < prefetch && rand_r(&seed) % 2 == 0;
            if (deliver) {
                assert_true(cbt_amqp_acks_deliver(&acks, ++delivered));
                inflight[count++] = delivered;
            } else if (count > 0) {
                uint32_t i = (uint32_t)rand_r(&seed) % count;
                uint64_t tag = inflight[i];
                inflight[i] = inflight[--count];
                assert_true(cbt_amqp_acks_settle(&acks, tag));
                done[tag] = true;
                settled++;
                while (done[first])
                    first++;
            }
            assert_int_equal(acks.first, first);
            assert_int_equal(acks.settled, settled);
            assert_int_equal(cbt_amqp_acks_due(&acks), first - 1 - acks.acked);
            if (rand_r(&seed) % 8 == 0 || count == 0)
                acks.acked = acks.first - 1;
        }
        assert_int_equal(settled, MODEL_TAGS);
        free(done);
        free(inflight);
        cbt_amqp_acks_free(&acks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefix_grows_when_its_gap_closes),
        cmocka_unit_test(tags_out_of_sequence_are_refused),
        cmocka_unit_test(window_is_bounded),
        cmocka_unit_test(reset_forgets_everything),
        cmocka_unit_test(never_acknowledges_what_is_not_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
