/* SPDX-License-Identifier: MIT */
/* Blocks and the budget: what is held is what is charged, shares are kept, and all of it comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "cbtap/block.h"

#define MIB    ((size_t)1 << 20)
#define BLOCK  ((size_t)64 << 10)
#define ROUNDS 20000

static void sources_get_half_and_workers_what_is_left(void **state)
{
    (void)state;
    struct cbt_budget budget;
    cbt_budget_init(&budget, 8 * MIB, false);
    assert_true(cbt_budget_take(&budget, CBT_ACCOUNT_SOURCE, 3 * MIB));
    assert_true(cbt_budget_take(&budget, CBT_ACCOUNT_SOURCE, 1 * MIB));
    assert_false(cbt_budget_take(&budget, CBT_ACCOUNT_SOURCE, 1));
    assert_true(cbt_budget_take(&budget, CBT_ACCOUNT_WORKER, 4 * MIB));
    assert_false(cbt_budget_take(&budget, CBT_ACCOUNT_WORKER, 1));
    assert_int_equal(cbt_budget_used(&budget), 8 * MIB);
    cbt_budget_give(&budget, CBT_ACCOUNT_SOURCE, 4 * MIB);
    /* Workers may use what sources leave; sources then get less than their half. */
    assert_true(cbt_budget_take(&budget, CBT_ACCOUNT_WORKER, 3 * MIB));
    assert_true(cbt_budget_take(&budget, CBT_ACCOUNT_SOURCE, 1 * MIB));
    assert_false(cbt_budget_take(&budget, CBT_ACCOUNT_SOURCE, 1));
}

static void pubsub_has_a_quarter_of_its_own(void **state)
{
    (void)state;
    struct cbt_budget budget;
    cbt_budget_init(&budget, 8 * MIB, true);
    assert_true(cbt_budget_take(&budget, CBT_ACCOUNT_WORKER, 6 * MIB));
    assert_false(cbt_budget_take(&budget, CBT_ACCOUNT_WORKER, 1));
    assert_true(cbt_budget_take(&budget, CBT_ACCOUNT_PUBSUB, 2 * MIB));
    assert_false(cbt_budget_take(&budget, CBT_ACCOUNT_PUBSUB, 1));
}

static void what_is_larger_than_the_share_is_admitted_alone(void **state)
{
    (void)state;
    struct cbt_budget budget;
    cbt_budget_init(&budget, 8 * MIB, false);
    assert_true(cbt_budget_take(&budget, CBT_ACCOUNT_SOURCE, 20 * MIB));
    assert_false(cbt_budget_take(&budget, CBT_ACCOUNT_SOURCE, 1));
    cbt_budget_give(&budget, CBT_ACCOUNT_SOURCE, 20 * MIB);
    assert_true(cbt_budget_take(&budget, CBT_ACCOUNT_SOURCE, 1));
}

static void blocks_are_charged_when_taken_and_given_back_with_the_last_reference(void **state)
{
    (void)state;
    struct cbt_budget budget;
    struct cbt_block_pool pool;
    cbt_budget_init(&budget, MIB, false);
    cbt_block_pool_init(&pool, &budget, CBT_ACCOUNT_WORKER, BLOCK, 2);
    assert_true(cbt_block_open(&pool, 100, false));
    struct cbt_block *first = pool.open;
    assert_int_equal(cbt_budget_used(&budget), BLOCK);
    cbt_block_ref(first);
    assert_true(cbt_block_open(&pool, 3 * BLOCK, false));
    assert_ptr_equal(first->next, pool.open);
    assert_true(pool.open->capacity >= 3 * BLOCK);
    assert_true(cbt_budget_used(&budget) > 4 * BLOCK);
    cbt_block_unref(first);
    assert_true(cbt_budget_used(&budget) < 4 * BLOCK);
    cbt_block_close(&pool);
    assert_int_equal(cbt_budget_used(&budget), 0);
    /* The standard block comes out of the cache again. */
    assert_true(cbt_block_open(&pool, 100, false));
    assert_ptr_equal(pool.open, first);
    cbt_block_pool_free(&pool);
    assert_int_equal(cbt_budget_used(&budget), 0);
}

static void a_used_up_budget_leaves_the_open_block_as_it_was(void **state)
{
    (void)state;
    struct cbt_budget budget;
    struct cbt_block_pool pool;
    cbt_budget_init(&budget, 2 * BLOCK, false);
    cbt_block_pool_init(&pool, &budget, CBT_ACCOUNT_WORKER, BLOCK, 2);
    assert_true(cbt_block_open(&pool, 1, false));
    struct cbt_block *open = pool.open;
    cbt_block_ref(open);
    assert_false(cbt_block_open(&pool, 2 * BLOCK, false));
    assert_ptr_equal(pool.open, open);
    assert_true(cbt_block_open(&pool, 2 * BLOCK, true));
    assert_false(cbt_block_open(&pool, SIZE_MAX, true));
    cbt_block_unref(open);
    cbt_block_pool_free(&pool);
    assert_int_equal(cbt_budget_used(&budget), 0);
}

struct returning {
    struct cbt_block *_Atomic slot;
    _Atomic bool done;
};

static void *give_back(void *arg)
{
    struct returning *r = arg;
    while (!atomic_load(&r->done) || atomic_load(&r->slot) != NULL) {
        struct cbt_block *block = atomic_exchange(&r->slot, NULL);
        cbt_block_unref(block);
    }
    return NULL;
}

static void blocks_given_back_by_another_thread_are_reused_and_add_up(void **state)
{
    (void)state;
    struct cbt_budget budget;
    struct cbt_block_pool pool;
    struct returning r = {.done = false};
    cbt_budget_init(&budget, 64 * BLOCK, false);
    cbt_block_pool_init(&pool, &budget, CBT_ACCOUNT_WORKER, BLOCK, 4);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, give_back, &r), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_true(cbt_block_open(&pool, 1, false));
        cbt_block_ref(pool.open);
        cbt_block_unref(atomic_exchange(&r.slot, pool.open));
    }
    atomic_store(&r.done, true);
    pthread_join(thread, NULL);
    cbt_block_pool_free(&pool);
    assert_int_equal(cbt_budget_used(&budget), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources_get_half_and_workers_what_is_left),
        cmocka_unit_test(pubsub_has_a_quarter_of_its_own),
        cmocka_unit_test(what_is_larger_than_the_share_is_admitted_alone),
        cmocka_unit_test(blocks_are_charged_when_taken_and_given_back_with_the_last_reference),
        cmocka_unit_test(a_used_up_budget_leaves_the_open_block_as_it_was),
        cmocka_unit_test(blocks_given_back_by_another_thread_are_reused_and_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
