/* SPDX-License-Identifier: MIT */
/* The order in which the Kafka sink sends again what came back. */
#include "kafka_bed.h"

#define RECORDS 20000

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Puts records on the list of what came back, in an order by chance. */
static void come_back(struct kafka_recovery *r, struct cbt_record *records, size_t count, uint64_t *random)
{
    for (size_t i = 0; i < count; i++)
        records[i].seq = i;
    size_t *order = calloc(count + 1, sizeof(*order));
    assert_non_null(order);
    for (size_t i = 0; i < count; i++) {
        size_t other = next_random(random) % (i + 1);
        order[i] = order[other];
        order[other] = i;
    }
    for (size_t i = 0; i < count; i++) {
        records[order[i]].next = r->unconfirmed;
        r->unconfirmed = &records[order[i]];
        r->unconfirmed_count++;
    }
    free(order);
}

/* Length of a list, which must be in order. */
static size_t in_order(const struct cbt_record *list)
{
    size_t count = 0;
    for (; list != NULL; list = list->next, count++)
        assert_true(list->next == NULL || list->seq < list->next->seq);
    return count;
}

static void everything_goes_again_in_the_order_of_its_submission(void **state)
{
    (void)state;
    uint64_t random = 42;
    struct cbt_record *records = calloc(RECORDS, sizeof(*records));
    assert_non_null(records);
    static const size_t counts[] = {0, 1, 2, 3, 1000, RECORDS};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct kafka_recovery r = {.phase = KAFKA_WAITING};
        come_back(&r, records, counts[i], &random);
        kafka_sort_unconfirmed(&r);
        assert_null(r.alone);
        assert_null(r.unconfirmed);
        assert_int_equal(r.unconfirmed_count, 0);
        assert_int_equal(in_order(r.rest), counts[i]);
        kafka_keep_list(&r, &r.rest);
        assert_null(r.rest);
        assert_int_equal(r.unconfirmed_count, counts[i]);
    }
    free(records);
}

/* What the two lists must be, worked out the slow way. */
static bool goes_first(const struct cbt_record *records, size_t count, size_t i)
{
    for (size_t later = i; later < count; later++)
        if (records[later].state == KAFKA_ALONE && records[later].topic == records[i].topic &&
            records[later].partition == records[i].partition)
            return true;
    return false;
}

static void nothing_of_a_partition_is_overtaken_by_what_goes_alone(void **state)
{
    (void)state;
    uint64_t random = 7;
    struct cbt_record records[300];
    /* Also more partitions than are told apart, when others may go along with them. */
    for (unsigned partitions = 1; partitions < 100; partitions += 7) {
        struct kafka_recovery r = {.phase = KAFKA_WAITING};
        memset(records, 0, sizeof(records));
        for (size_t i = 0; i < 300; i++) {
            records[i].topic = (uint16_t)(next_random(&random) % 2);
            records[i].partition = (int32_t)(next_random(&random) % partitions);
            records[i].state = next_random(&random) % 10 == 0 ? KAFKA_ALONE : KAFKA_FRESH;
        }
        come_back(&r, records, 300, &random);
        kafka_sort_unconfirmed(&r);
        size_t first = in_order(r.alone);
        assert_int_equal(first + in_order(r.rest), 300);
        for (const struct cbt_record *record = r.rest; record != NULL; record = record->next)
            assert_false(goes_first(records, 300, (size_t)(record - records)));
        for (const struct cbt_record *record = r.alone; partitions < 10 && record != NULL;
             record = record->next)
            assert_true(goes_first(records, 300, (size_t)(record - records)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_goes_again_in_the_order_of_its_submission),
        cmocka_unit_test(nothing_of_a_partition_is_overtaken_by_what_goes_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
