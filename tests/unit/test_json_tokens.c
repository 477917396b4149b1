/* SPDX-License-Identifier: MIT */
/* JSON texts as tokens: spans, sizes, ends, limits, and that none takes time that grows with its square. */
#include "fixture.h"

#include "cbtap/clock.h"
#include "cbtap/json_tokens.h"

static struct cbt_arena arena;

static int make_arena(void **state)
{
    struct cbt_err err;
    (void)state;
    return cbt_arena_init(&arena, 32u << 20, &err);
}

static int free_arena(void **state)
{
    (void)state;
    cbt_arena_free(&arena);
    return 0;
}

static struct cbt_json_tokens cut(const char *json)
{
    struct cbt_json_tokens tokens = {0};
    struct cbt_err err = {0};
    cbt_arena_reset(&arena);
    assert_int_equal(
        cbt_json_tokens((struct cbt_text){(const uint8_t *)json, strlen(json)}, &arena, &tokens, &err), 0);
    return tokens;
}

static void assert_token(const struct cbt_json_tokens *tokens, unsigned index, jsmntype_t type,
                         const char *text, int size)
{
    struct cbt_text is = cbt_json_token_text(tokens, index);
    assert_true(index < tokens->count);
    assert_int_equal(tokens->token[index].type, type);
    assert_int_equal(tokens->token[index].size, size);
    assert_int_equal(is.len, strlen(text));
    assert_memory_equal(is.data, text, is.len);
}

static void tokens_are_spans_of_the_text(void **state)
{
    (void)state;
    struct cbt_json_tokens tokens = cut("{\"a\\n\":1.50, \"b\":[true, {\"c\":\"\"}], \"d\":null}");
    assert_int_equal(tokens.count, 11);
    assert_token(&tokens, 0, JSMN_OBJECT, "{\"a\\n\":1.50, \"b\":[true, {\"c\":\"\"}], \"d\":null}", 3);
    assert_token(&tokens, 1, JSMN_STRING, "a\\n", 1);
    assert_token(&tokens, 2, JSMN_PRIMITIVE, "1.50", 0);
    assert_token(&tokens, 3, JSMN_STRING, "b", 1);
    assert_token(&tokens, 4, JSMN_ARRAY, "[true, {\"c\":\"\"}]", 2);
    assert_token(&tokens, 8, JSMN_STRING, "", 0);
    assert_token(&tokens, 10, JSMN_PRIMITIVE, "null", 0);
}

static void the_end_of_a_value_is_behind_all_that_is_in_it(void **state)
{
    (void)state;
    struct cbt_json_tokens tokens = cut("{\"a\":[[],[1]],\"b\":\"\",\"c\":{}}");
    assert_int_equal(cbt_json_token_end(&tokens, 0), tokens.count);
    assert_int_equal(cbt_json_token_end(&tokens, 2), 6);
    assert_int_equal(cbt_json_token_end(&tokens, 3), 4);
    assert_int_equal(cbt_json_token_end(&tokens, 7), 8);
    assert_int_equal(cbt_json_token_end(&tokens, 9), 10);
}

static void what_is_no_json_is_an_error(void **state)
{
    (void)state;
    static const char *const texts[] = {"{", "]", "{\"a", "\"\\x\""};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct cbt_json_tokens tokens;
        struct cbt_err err = {0};
        struct cbt_text text = {(const uint8_t *)texts[i], strlen(texts[i])};
        assert_int_equal(cbt_json_tokens(text, &arena, &tokens, &err), CBT_EINVAL);
    }
}

static void an_arena_too_small_is_a_limit_reached(void **state)
{
    struct cbt_arena small;
    struct cbt_json_tokens tokens;
    struct cbt_err err = {0};
    (void)state;
    assert_int_equal(cbt_arena_init(&small, 64, &err), 0);
    assert_int_equal(cbt_json_tokens(CBT_TEXT("[1,2,3,4,5,6]"), &small, &tokens, &err), CBT_ELIMIT);
    assert_non_null(strstr(err.text, "decode.arena_max_bytes (64)"));
    assert_true(small.exhausted);
    cbt_arena_reset(&small);
    assert_int_equal(cbt_json_tokens(CBT_TEXT("[1,2]"), &small, &tokens, &err), 0);
    assert_int_equal(tokens.count, 3);
    assert_false(small.exhausted);
    cbt_arena_free(&small);
}

static void a_million_brackets_take_a_moment(void **state)
{
    enum { PAIRS = 1000000 };
    char *json = malloc(3 * PAIRS + 2);
    (void)state;
    json[0] = '[';
    for (size_t i = 0; i < PAIRS; i++)
        memcpy(json + 1 + 3 * i, "[],", 3);
    memcpy(json + 3 * PAIRS, "]", 2);
    int64_t start = cbt_now_ns();
    struct cbt_json_tokens tokens = cut(json);
    /* A search through all that came before, for each bracket, would take hours. */
    assert_true(cbt_now_ns() - start < INT64_C(10000000000));
    assert_int_equal(tokens.count, PAIRS + 1);
    assert_int_equal(tokens.token[0].size, PAIRS);
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_spans_of_the_text),
        cmocka_unit_test(the_end_of_a_value_is_behind_all_that_is_in_it),
        cmocka_unit_test(what_is_no_json_is_an_error),
        cmocka_unit_test(an_arena_too_small_is_a_limit_reached),
        cmocka_unit_test(a_million_brackets_take_a_moment),
    };
    return cmocka_run_group_tests(tests, make_arena, free_arena);
}
