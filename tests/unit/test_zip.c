/* SPDX-License-Identifier: MIT */
/* Zip bodies: every shape that is allowed, every limit, and what is broken. */
#include "walk_expect.h"

/* --- one entry --- */

static void single_entry_in_every_shape_gives_its_records(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(66, 7);
    struct cbt_walk *walk = walk_new(fixture_limits);
    for (unsigned shape = 0; shape < 2 * 3 * 2 * 2 * 2 * 2; shape++) {
        const unsigned descriptors[] = {0, 12, 16};
        struct zb_entry entry = {.name = "EventLog.log",
                                 .content = pb_text(&bundle),
                                 .method = shape % 2 ? 8 : 0,
                                 .descriptor = descriptors[shape / 2 % 3],
                                 .zip64 = (int)(shape / 6 % 2)};
        struct zb options = {.zip64_end = (int)(shape / 12 % 2),
                             .comment = shape / 24 % 2 ? "a comment" : NULL};
        if (shape / 48 % 2)
            entry.name = "";
        if (entry.zip64 && entry.descriptor != 0)
            continue;
        struct pb zip = zb_build(options, &entry, 1);
        start(walk, &zip);
        expect_records(walk, 66, 7, 0);
        expect_end(walk);
        cbt_walk_start(walk, pb_text(&zip), no_type, CBT_FRAMING_DETECT);
        expect_records(walk, 66, 7, 0);
        expect_end(walk);
        pb_free(&zip);
    }
    cbt_walk_free(walk);
    pb_free(&bundle);
}

static void stored_entry_is_not_copied_and_inflated_memory_is_counted(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(10, 1);
    struct cbt_walk *walk = walk_new(fixture_limits);
    struct zb_entry entry = {.name = "a", .content = pb_text(&bundle)};
    struct pb zip = zb_build((struct zb){0}, &entry, 1);
    struct cbt_part part = {0};
    start(walk, &zip);
    assert_true(cbt_walk_next(walk, &part));
    assert_true(part.in_body);
    assert_true(part.data.data > zip.data && part.data.data < zip.data + zip.len);
    assert_int_equal(cbt_walk_held_bytes(walk), 0);
    pb_free(&zip);
    entry.method = 8;
    zip = zb_build((struct zb){0}, &entry, 1);
    start(walk, &zip);
    assert_true(cbt_walk_next(walk, &part));
    assert_false(part.in_body);
    assert_in_range(cbt_walk_held_bytes(walk), bundle.len, bundle.len + 8);
    pb_free(&zip);
    cbt_walk_free(walk);
    pb_free(&bundle);
}

static void empty_zips_entries_and_directories_give_nothing(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(2, 1);
    struct cbt_walk *walk = walk_new(fixture_limits);
    struct zb_entry none = {.name = "a"}, packed = {.name = "a", .method = 8}, directory = {.name = "a/"};
    struct zb_entry full_directory = {.name = "a/", .content = pb_text(&bundle)};
    struct zb_entry bare = {.name = "a", .method = 8, .bare = 1};
    struct zb_entry *alone[] = {&none, &packed, &bare, &directory, &full_directory};
    for (unsigned i = 0; i < 2; i++) { /* by the short way, and by libzip */
        struct zb options = {.comment = i ? "c" : NULL};
        struct pb zip = zb_build(options, NULL, 0);
        start(walk, &zip);
        expect_end(walk);
        pb_free(&zip);
        for (unsigned k = 0; k < sizeof(alone) / sizeof(alone[0]); k++) {
            zip = zb_build(options, alone[k], 1);
            start(walk, &zip);
            expect_end(walk);
            pb_free(&zip);
        }
    }
    cbt_walk_free(walk);
    pb_free(&bundle);
}

/* --- several entries --- */

static void several_entries_come_in_the_order_of_the_directory(void **state)
{
    (void)state;
    struct pb one = bundle_of(3, 1), two = bundle_of(40, 2), three = bundle_of(1, 3);
    struct cbt_walk *walk = walk_new(fixture_limits);
    for (unsigned shape = 0; shape < 8; shape++) {
        struct zb_entry entries[] = {
            {.name = "a", .content = pb_text(&one), .method = 8, .descriptor = 16},
            {.name = "dir/"},
            {.name = "b", .content = pb_text(&two), .method = 8, .zip64 = (int)(shape & 1)},
            {.name = "empty"},
            {.name = "c", .content = pb_text(&three)},
        };
        struct zb options = {
            .comment = shape & 2 ? "PK\5\6 in a comment that is long enough to be an end record" : NULL,
            .zip64_end = (int)(shape >> 2 & 1)};
        struct pb zip = zb_build(options, entries, 5);
        start(walk, &zip);
        expect_records(walk, 3, 1, 0);
        expect_records(walk, 40, 2, 2);
        expect_records(walk, 1, 3, 4);
        expect_end(walk);
        assert_int_equal(cbt_walk_held_bytes(walk) < 1 << 20, 1);
        pb_free(&zip);
    }
    cbt_walk_free(walk);
    pb_free(&one);
    pb_free(&two);
    pb_free(&three);
}

static void entry_cut_off_inside_is_truncated_and_the_next_entry_goes_on(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(3, 1);
    struct cbt_walk *walk = walk_new(fixture_limits);
    struct cbt_text cut = {bundle.data, bundle.len - 10};
    struct zb_entry entries[] = {{.name = "a", .content = cut, .method = 8},
                                 {.name = "b", .content = pb_text(&bundle), .method = 8}};
    struct pb zip = zb_build((struct zb){0}, entries, 2);
    start(walk, &zip);
    expect_records(walk, 2, 1, 0);
    struct cbt_part part = expect_broken(walk, CBT_DEAD_truncated, 0);
    assert_int_equal(part.index, 2);
    assert_int_equal(part.offset, 108);
    assert_int_equal(part.data.len, 44);
    assert_false(part.in_body);
    expect_records(walk, 3, 1, 1);
    expect_end(walk);
    pb_free(&zip);
    cbt_walk_free(walk);
    pb_free(&bundle);
}

/* --- what is broken or over a limit: each with its own reason, alone and among others --- */

struct broken_row {
    struct zb_entry entry;
    enum cbt_dead_reason reason;
};

/* A broken entry comes as a zip of its own, which is broken in the same way, and its neighbours are whole. */
static void expect_entry_broken_among_others(const struct broken_row *row, struct cbt_decode_limits limits)
{
    struct pb good = bundle_of(2, 9);
    struct cbt_walk *walk = walk_new(limits), *again = walk_new(limits);
    struct zb_entry entries[] = {{.name = "x", .content = pb_text(&good), .method = 8},
                                 row->entry,
                                 {.name = "y", .content = pb_text(&good)}};
    struct pb zip = zb_build((struct zb){0}, entries, 3);
    start(walk, &zip);
    expect_records(walk, 2, 9, 0);
    struct cbt_part part = expect_broken(walk, row->reason, 1);
    assert_false(part.in_body);
    cbt_walk_start(again, part.data, no_type, CBT_FRAMING_DETECT);
    struct cbt_part same = expect_broken(again, row->reason, 0);
    assert_int_equal(same.data.len, part.data.len);
    expect_end(again);
    expect_records(walk, 2, 9, 2);
    expect_end(walk);
    pb_free(&zip);
    cbt_walk_free(walk);
    cbt_walk_free(again);
    pb_free(&good);
}

static void broken_entries_have_their_reasons_alone_and_among_others(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(20, 5);
    static uint8_t zeros[1 << 20];
    struct cbt_decode_limits limits = fixture_limits;
    limits.zip_inflated_max_bytes = 100000;
    limits.zip_ratio_max = 100;
    const struct cbt_text content = pb_text(&bundle);
    const struct broken_row rows[] = {
        {{.name = "crc", .content = content, .method = 8, .crc_error = 1}, CBT_DEAD_zip_crc},
        {{.name = "crc", .content = content, .crc_error = 0x80000000}, CBT_DEAD_zip_crc},
        {{.name = "long", .content = content, .method = 8, .size_error = 1}, CBT_DEAD_zip_malformed},
        {{.name = "short", .content = content, .method = 8, .size_error = (uint32_t)-1},
         CBT_DEAD_zip_malformed},
        {{.name = "stored", .content = content, .size_error = 1}, CBT_DEAD_zip_malformed},
        {{.name = "bzip2", .content = content, .method = 12}, CBT_DEAD_zip_unsupported},
        {{.name = "secret", .content = content, .method = 8, .flags = 1}, CBT_DEAD_zip_unsupported},
        {{.name = "ratio", .content = {zeros, 50000}, .method = 8}, CBT_DEAD_zip_ratio},
        {{.name = "huge", .content = {zeros, 100001}, .method = 8}, CBT_DEAD_zip_inflated},
        {{.name = "liar", .content = content, .method = 8, .size_error = 0x40000000}, CBT_DEAD_zip_inflated},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct zb_entry entry = rows[i].entry;
        struct cbt_walk *walk = walk_new(limits);
        struct pb zip = zb_build((struct zb){0}, &entry, 1);
        start(walk, &zip);
        expect_whole_body_broken(walk, &zip, rows[i].reason);
        pb_free(&zip);
        cbt_walk_free(walk);
        expect_entry_broken_among_others(&rows[i], limits);
    }
    pb_free(&bundle);
}

/* A zip of its own has 32 bits for its size. */
static void entry_that_claims_more_than_4_gib_is_over_the_limit_by_itself_too(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(20, 5);
    const struct broken_row row = {
        {.name = "liar", .content = pb_text(&bundle), .method = 8, .zip64 = 1, .size_error = UINT32_MAX},
        CBT_DEAD_zip_inflated};
    expect_entry_broken_among_others(&row, fixture_limits);
    pb_free(&bundle);
}

static void garbage_in_the_deflate_stream_is_malformed(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(20, 5);
    struct cbt_walk *walk = walk_new(fixture_limits);
    struct zb_entry entry = {.name = "a", .content = pb_text(&bundle), .method = 8};
    struct pb zip = zb_build((struct zb){0}, &entry, 1);
    memset(zip.data + 31, 0xFF, 20);
    start(walk, &zip);
    expect_whole_body_broken(walk, &zip, CBT_DEAD_zip_malformed);
    pb_free(&zip);
    cbt_walk_free(walk);
    pb_free(&bundle);
}

static void inflated_limit_counts_all_entries_of_a_message(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(20, 5); /* 1,080 bytes */
    struct cbt_decode_limits limits = fixture_limits;
    limits.zip_inflated_max_bytes = 2 * 1080 + 100;
    struct cbt_walk *walk = walk_new(limits);
    struct pb small = bundle_of(1, 6);
    struct zb_entry entries[] = {{.name = "a", .content = pb_text(&bundle), .method = 8},
                                 {.name = "b", .content = pb_text(&bundle)},
                                 {.name = "c", .content = pb_text(&bundle), .method = 8},
                                 {.name = "d", .content = pb_text(&small), .method = 8}};
    struct pb zip = zb_build((struct zb){0}, entries, 4);
    for (unsigned round = 0; round < 2; round++) { /* the count begins anew with each message */
        start(walk, &zip);
        expect_records(walk, 20, 5, 0);
        expect_records(walk, 20, 5, 1);
        expect_broken(walk, CBT_DEAD_zip_inflated, 2);
        expect_records(walk, 1, 6, 3); /* fits in what is left */
        expect_end(walk);
    }
    pb_free(&zip);
    cbt_walk_free(walk);
    pb_free(&bundle);
    pb_free(&small);
}

static void too_many_entries_make_the_whole_message_one_dead_letter(void **state)
{
    (void)state;
    struct cbt_decode_limits limits = fixture_limits;
    limits.zip_entries_max = 3;
    struct pb bundle = bundle_of(1, 1);
    struct zb_entry entries[4];
    for (unsigned i = 0; i < 4; i++)
        entries[i] = (struct zb_entry){.name = "a", .content = pb_text(&bundle), .method = 8};
    struct cbt_walk *walk = walk_new(limits);
    for (int zip64 = 0; zip64 < 2; zip64++) {
        struct pb zip = zb_build((struct zb){.zip64_end = zip64}, entries, 4);
        start(walk, &zip);
        expect_whole_body_broken(walk, &zip, CBT_DEAD_zip_entries);
        pb_free(&zip);
        zip = zb_build((struct zb){.zip64_end = zip64}, entries, 3);
        start(walk, &zip);
        for (uint32_t i = 0; i < 3; i++)
            expect_records(walk, 1, 1, i);
        expect_end(walk);
        pb_free(&zip);
        /* Announces a thousand million entries and has two: libzip is not even asked. */
        zip = zb_build((struct zb){.zip64_end = zip64, .entries_error = zip64 ? 1000000000 : 60000}, entries,
                       2);
        start(walk, &zip);
        expect_whole_body_broken(walk, &zip, CBT_DEAD_zip_entries);
        pb_free(&zip);
    }
    cbt_walk_free(walk);
    pb_free(&bundle);
}

/* Many directory records that point at the same entry: what is read is never more than the body. */
static void overlapping_entries_give_the_first_and_the_whole_body(void **state)
{
    (void)state;
    static uint8_t zeros[300000];
    struct cbt_walk *walk = walk_new(fixture_limits);
    struct zb_entry entries[8] = {{.name = "kernel", .content = {zeros, sizeof(zeros)}}};
    for (unsigned i = 1; i < 8; i++)
        entries[i] = (struct zb_entry){.name = "kernel", .overlap = 1};
    struct pb zip = zb_build((struct zb){0}, entries, 8);
    /* All directory records tell the size of the first. */
    uint8_t *record = memmem(zip.data, zip.len, "PK\1\2", 4);
    for (unsigned i = 1; i < 8; i++)
        memcpy(record + i * 52 + 16, record + 16, 12);
    struct cbt_part part = {0};
    unsigned broken = 0;
    start(walk, &zip);
    while (cbt_walk_next(walk, &part)) {
        if (part.kind != CBT_PART_BROKEN)
            continue;
        broken++;
        assert_int_equal(part.reason, CBT_DEAD_zip_malformed);
        assert_int_equal(part.data.len, zip.len);
        assert_int_equal(part.entry, 1);
    }
    assert_int_equal(broken, 1);
    pb_free(&zip);
    cbt_walk_free(walk);
}

/* Headers that disagree are not for the short way; libzip decides, and no record is made of what is not
 * there. */
static void headers_that_disagree_do_not_crash(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(5, 5);
    struct cbt_walk *walk = walk_new(fixture_limits);
    struct zb_entry rows[] = {
        {.name = "a", .content = pb_text(&bundle), .method = 8, .local_error = 1},
        {.name = "a", .content = pb_text(&bundle), .method = 8, .local_name = "b"},
        {.name = "a", .content = pb_text(&bundle), .method = 8, .local_name = "longer"},
    };
    for (unsigned i = 0; i < 3; i++) {
        struct pb zip = zb_build((struct zb){0}, &rows[i], 1);
        start(walk, &zip);
        expect_records(walk, 5, 5, 0); /* the directory is right */
        expect_end(walk);
        pb_free(&zip);
    }
    cbt_walk_free(walk);
    pb_free(&bundle);
}

/* A zip to which the same name was added again: the directory knows the second entry only. */
static void entry_that_the_directory_left_behind_is_not_read(void **state)
{
    (void)state;
    struct pb old = bundle_of(5, 1), new = bundle_of(5, 2);
    struct cbt_walk *walk = walk_new(fixture_limits);
    for (unsigned method = 0; method <= 8; method += 8) {
        struct zb_entry entries[] = {{.name = "a", .content = pb_text(&old), .method = method},
                                     {.name = "a", .content = pb_text(&new), .method = method}};
        struct pb zip = zb_build((struct zb){0}, entries, 2);
        uint8_t *directory = memmem(zip.data, zip.len, "PK\1\2", 4);
        memmove(directory, directory + 47, (size_t)(zip.data + zip.len - directory) - 47);
        zip.len -= 47;
        uint8_t *end = zip.data + zip.len - 22;
        end[8] = end[10] = 1;
        end[12] = 47;
        start(walk, &zip);
        expect_records(walk, 5, 2, 0);
        expect_end(walk);
        pb_free(&zip);
    }
    cbt_walk_free(walk);
    pb_free(&old);
    pb_free(&new);
}

/* Cut at every offset and with every byte changed: something comes out, nothing is read out of bounds. */
static void damaged_zips_never_give_more_than_they_have(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(4, 5);
    struct cbt_decode_limits limits = fixture_limits;
    limits.zip_inflated_max_bytes = 1 << 20;
    struct cbt_walk *walk = walk_new(limits);
    for (unsigned many = 0; many < 2; many++) {
        struct zb_entry entries[] = {{.name = "a", .content = pb_text(&bundle), .method = 8},
                                     {.name = "b", .content = pb_text(&bundle), .descriptor = 16}};
        struct pb zip = zb_build((struct zb){.zip64_end = (int)many}, entries, 1 + many);
        for (size_t at = 0; at < zip.len * 9; at++) {
            size_t len = at < zip.len ? at : zip.len;
            uint8_t *body = malloc(len + 1);
            assert_non_null(body);
            memcpy(body, zip.data, len);
            if (at >= zip.len)
                body[at % zip.len] ^= (uint8_t)(1u << (at / zip.len - 1));
            struct cbt_part part = {0};
            unsigned parts = 0;
            cbt_walk_start(walk, (struct cbt_text){body, len}, no_type, CBT_FRAMING_BUNDLE);
            while (cbt_walk_next(walk, &part)) {
                volatile uint8_t sum = 0;
                for (size_t i = 0; i < part.data.len; i++)
                    sum = (uint8_t)(sum + part.data.data[i]);
                parts++;
            }
            assert_true(parts < 100);
            free(body);
        }
        pb_free(&zip);
    }
    cbt_walk_free(walk);
    pb_free(&bundle);
}

static void memory_of_a_large_entry_is_given_back(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(100000, 5), small = bundle_of(1, 5);
    struct cbt_walk *walk = walk_new(fixture_limits);
    struct zb_entry entry = {.name = "a", .content = pb_text(&bundle), .method = 8};
    struct pb zip = zb_build((struct zb){0}, &entry, 1);
    struct cbt_part part = {0};
    start(walk, &zip);
    assert_true(cbt_walk_next(walk, &part));
    assert_true(cbt_walk_held_bytes(walk) >= bundle.len);
    pb_free(&zip);
    entry.content = pb_text(&small);
    zip = zb_build((struct zb){0}, &entry, 1);
    start(walk, &zip);
    expect_records(walk, 1, 5, 0);
    assert_true(cbt_walk_held_bytes(walk) < 100);
    pb_free(&zip);
    cbt_walk_free(walk);
    pb_free(&bundle);
    pb_free(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_entry_in_every_shape_gives_its_records),
        cmocka_unit_test(stored_entry_is_not_copied_and_inflated_memory_is_counted),
        cmocka_unit_test(empty_zips_entries_and_directories_give_nothing),
        cmocka_unit_test(several_entries_come_in_the_order_of_the_directory),
        cmocka_unit_test(entry_cut_off_inside_is_truncated_and_the_next_entry_goes_on),
        cmocka_unit_test(broken_entries_have_their_reasons_alone_and_among_others),
        cmocka_unit_test(entry_that_claims_more_than_4_gib_is_over_the_limit_by_itself_too),
        cmocka_unit_test(garbage_in_the_deflate_stream_is_malformed),
        cmocka_unit_test(inflated_limit_counts_all_entries_of_a_message),
        cmocka_unit_test(too_many_entries_make_the_whole_message_one_dead_letter),
        cmocka_unit_test(overlapping_entries_give_the_first_and_the_whole_body),
        cmocka_unit_test(headers_that_disagree_do_not_crash),
        cmocka_unit_test(entry_that_the_directory_left_behind_is_not_read),
        cmocka_unit_test(damaged_zips_never_give_more_than_they_have),
        cmocka_unit_test(memory_of_a_large_entry_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
