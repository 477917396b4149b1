/* SPDX-License-Identifier: MIT */
/* The queue of archived files: whatever comes in whatever order, the oldest leave first, and nothing
 * overtakes what was left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/archive_queue.h"

enum { OFFERS = 400, ROUNDS = 500, AGES = 100 };

static uint32_t dice = 12345;

static uint32_t roll(uint32_t sides)
{
    dice = dice * 1664525u + 1013904223u;
    return (dice >> 8) % sides;
}

/* Its path is its number, and what makes it long: of few files all room is taken. */
static struct cbt_archive_entry offer(struct cbt_archive_queue *queue, unsigned number, char *path)
{
    snprintf(path, 2100, "%06u-%0*u", number, roll(20) == 0 ? 2000 : 20, 0);
    struct cbt_archive_entry entry = {.mtime_ns = roll(AGES), .path = path, .is_whole = true};
    cbt_archive_queue_offer(queue, &entry);
    return entry;
}

/* Takes the oldest out, and returns its age; AGES: there is none. */
static int64_t pop(struct cbt_archive_queue *queue)
{
    const struct cbt_archive_entry *head = cbt_archive_queue_head(queue);
    int64_t age = head ? head->mtime_ns : AGES;
    if (head)
        cbt_archive_queue_pop(queue);
    return age;
}

/* By count in one round, by the bytes of paths in another. */
static void a_scan_keeps_the_oldest(void **state)
{
    (void)state;
    char path[2100];
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct cbt_archive_queue queue = {.entries_max = 8 + roll(64)};
        unsigned offered[AGES] = {0}, kept = 0;
        cbt_archive_queue_fill(&queue);
        for (unsigned i = 0; i < OFFERS; i++)
            offered[offer(&queue, i, path).mtime_ns]++;
        assert_null(cbt_archive_queue_head(&queue));
        cbt_archive_queue_seal(&queue);
        assert_true(queue.left_out && queue.count > 0 && queue.count <= queue.entries_max);
        int64_t youngest = -1;
        for (int64_t age; (age = pop(&queue)) < AGES; kept++) {
            assert_true(age >= youngest && offered[age] > 0);
            offered[age]--;
            youngest = age;
        }
        for (int64_t age = 0; age < youngest; age++)
            assert_int_equal(offered[age], 0);
        assert_true(kept > 0 && queue.path_bytes == 0);
        cbt_archive_queue_free(&queue);
    }
}

/* Offers and departures in turn, against a count of each age. */
static void what_comes_later_takes_its_place_by_age(void **state)
{
    (void)state;
    char path[2100];
    struct cbt_archive_queue queue = {.entries_max = 100000};
    unsigned inside[AGES] = {0};
    cbt_archive_queue_fill(&queue);
    cbt_archive_queue_seal(&queue);
    for (unsigned i = 0; i < 40000; i++) {
        if (roll(5) < 3) {
            inside[offer(&queue, i, path).mtime_ns]++;
            continue;
        }
        int64_t oldest = 0;
        while (oldest < AGES && inside[oldest] == 0)
            oldest++;
        assert_int_equal(pop(&queue), oldest);
        inside[oldest % AGES] -= oldest < AGES;
    }
    assert_false(queue.left_out);
    cbt_archive_queue_free(&queue);
}

static void of_equal_age_the_path_decides(void **state)
{
    (void)state;
    struct cbt_archive_queue queue = {.entries_max = 100};
    static char paths[][8] = {"7/c", "7/a", "7/b", "10/z"};
    cbt_archive_queue_fill(&queue);
    for (unsigned i = 0; i < 4; i++)
        cbt_archive_queue_offer(&queue, &(struct cbt_archive_entry){.mtime_ns = 1, .path = paths[i]});
    cbt_archive_queue_seal(&queue);
    static const char *const expected[] = {"10/z", "7/a", "7/b", "7/c"};
    for (unsigned i = 0; i < 4; i++) {
        assert_string_equal(cbt_archive_queue_head(&queue)->path, expected[i]);
        cbt_archive_queue_pop(&queue);
    }
    cbt_archive_queue_free(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_keeps_the_oldest),
        cmocka_unit_test(what_comes_later_takes_its_place_by_age),
        cmocka_unit_test(of_equal_age_the_path_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
