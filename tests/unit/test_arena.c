/* SPDX-License-Identifier: MIT */
/* The arena: what fits, what does not, and what AddressSanitizer sees of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cbtap/arena.h"

#define ARENA_BYTES 4096u

static int make_arena(void **state)
{
    static struct cbt_arena arena;
    struct cbt_err err = {0};
    *state = &arena;
    return cbt_arena_init(&arena, ARENA_BYTES, &err);
}

static int free_arena(void **state)
{
    cbt_arena_free(*state);
    return 0;
}

static void allocations_are_aligned_and_apart(void **state)
{
    struct cbt_arena *arena = *state;
    uint8_t *first = cbt_arena_alloc(arena, 1), *second = cbt_arena_alloc(arena, 8);
    assert_int_equal((uintptr_t)first % 8, 0);
    assert_ptr_equal(second, first + 8);
    cbt_arena_reset(arena);
    assert_ptr_equal(cbt_arena_alloc(arena, 1), first);
}

static void the_last_byte_is_given_and_none_beyond(void **state)
{
    struct cbt_arena *arena = *state;
    assert_non_null(cbt_arena_alloc(arena, ARENA_BYTES - 7));
    assert_int_equal(arena->used, ARENA_BYTES);
    assert_null(cbt_arena_alloc(arena, 1));
    assert_true(arena->exhausted);
    cbt_arena_reset(arena);
    assert_false(arena->exhausted);
    assert_null(cbt_arena_alloc(arena, SIZE_MAX));
}

#ifdef __SANITIZE_ADDRESS__
static void what_is_not_allocated_is_forbidden_but_for_the_slack(void **state)
{
    struct cbt_arena *arena = *state;
    assert_true(__asan_address_is_poisoned(arena->base));
    uint8_t *memory = cbt_arena_alloc(arena, 16);
    assert_null(__asan_region_is_poisoned(memory, 16 + CBT_ARENA_SLACK_BYTES));
    assert_true(__asan_address_is_poisoned(memory + 16 + CBT_ARENA_SLACK_BYTES));
    cbt_arena_reset(arena);
    assert_ptr_equal(__asan_region_is_poisoned(memory, 16), memory);
}

static void what_is_rewound_is_forbidden_and_what_stays_keeps_its_slack(void **state)
{
    struct cbt_arena *arena = *state;
    uint8_t *stays = cbt_arena_alloc(arena, 16);
    size_t used = arena->used;
    (void)cbt_arena_alloc(arena, 1000);
    cbt_arena_rewind(arena, used);
    assert_null(__asan_region_is_poisoned(stays, 16 + CBT_ARENA_SLACK_BYTES));
    assert_true(__asan_address_is_poisoned(stays + 16 + CBT_ARENA_SLACK_BYTES));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(allocations_are_aligned_and_apart, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(the_last_byte_is_given_and_none_beyond, make_arena, free_arena),
#ifdef __SANITIZE_ADDRESS__
        cmocka_unit_test_setup_teardown(what_is_not_allocated_is_forbidden_but_for_the_slack, make_arena,
                                        free_arena),
        cmocka_unit_test_setup_teardown(what_is_rewound_is_forbidden_and_what_stays_keeps_its_slack,
                                        make_arena, free_arena),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
