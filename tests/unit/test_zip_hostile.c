/* SPDX-License-Identifier: MIT */
/* Zips that were made to cost time or memory, or to hide what is in them. */
#include "walk_expect.h"

#define END_BYTES 22

/* The zip and `copies` more of its end record. */
static struct pb with_further_ends(const struct pb *zip, unsigned copies)
{
    struct pb out = {0};
    pb_raw(&out, zip->data, zip->len);
    for (unsigned i = 0; i < copies; i++)
        pb_raw(&out, zip->data + zip->len - END_BYTES, END_BYTES);
    return out;
}

/* libzip reads a whole directory for each place that looks like an end record. */
static void many_end_records_are_refused_before_their_directories_are_read(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(3, 1);
    struct cbt_walk *walk = walk_new(fixture_limits);
    struct zb_entry entries[] = {{.name = "a", .content = pb_text(&bundle), .method = 8},
                                 {.name = "b", .content = pb_text(&bundle)}};
    struct pb zip = zb_build((struct zb){0}, entries, 2);
    struct pb few = with_further_ends(&zip, 7), many = with_further_ends(&zip, 8);
    start(walk, &few);
    expect_records(walk, 3, 1, 0);
    expect_records(walk, 3, 1, 1);
    expect_end(walk);
    start(walk, &many);
    expect_whole_body_broken(walk, &many, CBT_DEAD_zip_malformed);
    cbt_walk_free(walk);
    pb_free(&few);
    pb_free(&many);
    pb_free(&zip);
    pb_free(&bundle);
}

/* Info-ZIP announces the number of entries modulo 65,536, and libzip believes the directory. */
static void directory_with_more_entries_than_announced_is_counted_itself(void **state)
{
    (void)state;
    struct cbt_decode_limits limits = fixture_limits;
    limits.zip_entries_max = 3;
    struct pb bundle = bundle_of(1, 1);
    struct cbt_walk *walk = walk_new(limits);
    struct zb_entry entries[4];
    for (unsigned i = 0; i < 4; i++)
        entries[i] = (struct zb_entry){.name = "a", .content = pb_text(&bundle)};
    struct pb zip = zb_build((struct zb){.entries_error = 65536 - 4}, entries, 4);
    start(walk, &zip);
    expect_whole_body_broken(walk, &zip, CBT_DEAD_zip_entries);
    pb_free(&zip);
    cbt_walk_free(walk);
    pb_free(&bundle);
}

/* libzip copies the names of all entries. */
static void names_beyond_measure_are_not_copied(void **state)
{
    (void)state;
    enum { NAME = 60000, MANY = 6 };
    struct cbt_decode_limits limits = fixture_limits;
    limits.zip_entries_max = MANY;
    struct pb bundle = bundle_of(1, 1);
    struct cbt_walk *walk = walk_new(limits);
    static char name[NAME + 1];
    struct zb_entry entries[MANY];
    memset(name, 'n', NAME);
    for (unsigned i = 0; i < MANY; i++)
        entries[i] = (struct zb_entry){.name = name, .content = pb_text(&bundle)};
    struct pb zip = zb_build((struct zb){0}, entries, MANY);
    start(walk, &zip);
    expect_whole_body_broken(walk, &zip, CBT_DEAD_zip_entries);
    pb_free(&zip);
    zip = zb_build((struct zb){0}, entries, 2); /* long names alone are no crime */
    start(walk, &zip);
    expect_records(walk, 1, 1, 0);
    expect_records(walk, 1, 1, 1);
    expect_end(walk);
    pb_free(&zip);
    cbt_walk_free(walk);
    pb_free(&bundle);
}

/* Streams that end short of what is promised cost the time of all of it. */
static void entries_that_fail_count_against_the_inflated_limit(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(20, 5), small = bundle_of(1, 6); /* 1,080 and 54 bytes */
    struct cbt_decode_limits limits = fixture_limits;
    limits.zip_inflated_max_bytes = 2 * 1080 + 100;
    struct cbt_walk *walk = walk_new(limits);
    struct zb_entry entries[] = {{.name = "short", .content = pb_text(&bundle), .method = 8, .size_error = 1},
                                 {.name = "crc", .content = pb_text(&bundle), .method = 8, .crc_error = 1},
                                 {.name = "right", .content = pb_text(&bundle), .method = 8},
                                 {.name = "small", .content = pb_text(&small), .method = 8}};
    struct pb zip = zb_build((struct zb){0}, entries, 4);
    start(walk, &zip);
    expect_broken(walk, CBT_DEAD_zip_malformed, 0);
    expect_broken(walk, CBT_DEAD_zip_crc, 1);
    expect_broken(walk, CBT_DEAD_zip_inflated, 2);
    expect_records(walk, 1, 6, 3);
    expect_end(walk);
    pb_free(&zip);
    cbt_walk_free(walk);
    pb_free(&bundle);
    pb_free(&small);
}

/* The directory record of entry `index`; all names have one byte. */
static uint8_t *directory_record(const struct pb *zip, unsigned index)
{
    uint8_t *first = memmem(zip->data, zip->len, "PK\1\2", 4);
    assert_non_null(first);
    return first + (size_t)index * 47;
}

/* An entry that cannot be cut out is in the whole body, once; no other entry is held up by it. */
static void entry_that_is_not_to_be_found_does_not_hold_up_the_others(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(3, 1);
    struct cbt_walk *walk = walk_new(fixture_limits);
    enum { OFFSET_BEYOND, SIZE_BEYOND, FOUR_GIB, WAYS };
    for (unsigned way = 0; way < WAYS; way++) {
        struct zb_entry entries[] = {{.name = "a", .content = pb_text(&bundle), .method = 8},
                                     {.name = "b", .content = pb_text(&bundle), .method = 8},
                                     {.name = "c", .content = pb_text(&bundle)},
                                     {.name = "d", .content = pb_text(&bundle), .method = 8},
                                     {.name = "e", .content = pb_text(&bundle)}};
        struct pb zip = zb_build((struct zb){0}, entries, 5);
        for (unsigned lost = 1; lost <= 3; lost += 2) {
            if (way == OFFSET_BEYOND)
                memset(directory_record(&zip, lost) + 42, 0x7F, 4);
            else
                memset(directory_record(&zip, lost) + 20, way == FOUR_GIB ? 0xFF : 0x7F, 4);
            if (way == FOUR_GIB)
                directory_record(&zip, lost)[20] = 0xFE; /* all ones would be a mark of zip64 */
        }
        start(walk, &zip);
        expect_records(walk, 3, 1, 0);
        struct cbt_part part = expect_broken(walk, CBT_DEAD_zip_malformed, 1);
        assert_ptr_equal(part.data.data, zip.data);
        assert_int_equal(part.data.len, zip.len);
        assert_true(part.in_body);
        expect_records(walk, 3, 1, 2);
        expect_records(walk, 3, 1, 4);
        expect_end(walk);
        start(walk, &zip); /* the next message has its own */
        expect_records(walk, 3, 1, 0);
        expect_broken(walk, CBT_DEAD_zip_malformed, 1);
        pb_free(&zip);
    }
    cbt_walk_free(walk);
    pb_free(&bundle);
}

/* The dead letter of an entry has no zip64 fields: what it says must stay as much out of bounds. */
static void entry_that_claims_more_than_4_gib_is_as_broken_by_itself(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(3, 1);
    struct cbt_walk *walk = walk_new(fixture_limits), *again = walk_new(fixture_limits);
    struct zb_entry entries[] = {
        {.name = "a", .content = pb_text(&bundle), .method = 8},
        {.name = "b", .content = pb_text(&bundle), .method = 8, .zip64 = 1, .size_error = UINT32_MAX},
        {.name = "c", .content = pb_text(&bundle), .method = 8},
    };
    struct pb zip = zb_build((struct zb){0}, entries, 3);
    start(walk, &zip);
    expect_records(walk, 3, 1, 0);
    struct cbt_part part = expect_broken(walk, CBT_DEAD_zip_inflated, 1);
    cbt_walk_start(again, part.data, no_type, CBT_FRAMING_DETECT);
    expect_broken(again, CBT_DEAD_zip_inflated, 0);
    expect_end(again);
    expect_records(walk, 3, 1, 2);
    expect_end(walk);
    pb_free(&zip);
    cbt_walk_free(walk);
    cbt_walk_free(again);
    pb_free(&bundle);
}

/* An entry's content is a bundle, whatever it looks like: nothing is unpacked twice. */
static void zip_within_a_zip_is_one_broken_part(void **state)
{
    (void)state;
    struct pb bundle = bundle_of(3, 1);
    struct cbt_walk *walk = walk_new(fixture_limits);
    struct zb_entry inner = {.name = "a", .content = pb_text(&bundle), .method = 8};
    struct pb nested = zb_build((struct zb){0}, &inner, 1);
    for (unsigned i = 0; i < 4; i++) { /* deflated and stored; by the short way, and by libzip */
        struct zb_entry entries[] = {{.name = "z", .content = pb_text(&nested), .method = i & 1 ? 8 : 0},
                                     {.name = "b", .content = pb_text(&bundle)}};
        struct pb zip = zb_build((struct zb){0}, entries, 1 + i / 2);
        start(walk, &zip);
        struct cbt_part part = expect_broken(walk, CBT_DEAD_truncated, 0);
        assert_int_equal(part.data.len, nested.len);
        assert_memory_equal(part.data.data, nested.data, nested.len);
        if (i >= 2)
            expect_records(walk, 3, 1, 1);
        expect_end(walk);
        pb_free(&zip);
    }
    cbt_walk_free(walk);
    pb_free(&nested);
    pb_free(&bundle);
}

/* The limit is the ratio alone, for small entries as well: 1,000 to 1 is more than any bundle has. */
static void ratio_holds_for_small_entries_to_the_byte(void **state)
{
    (void)state;
    static uint8_t zeros[20000];
    struct cbt_decode_limits limits = fixture_limits;
    limits.zip_ratio_max = 10;
    struct cbt_walk *walk = walk_new(limits);
    struct zb_entry entry = {.name = "a", .content = {zeros, 1000}, .method = 8};
    struct pb zip = zb_build((struct zb){0}, &entry, 1);
    size_t compressed = entry.compressed_len;
    pb_free(&zip);
    assert_in_range(compressed, 5, 50);
    uint8_t *directory;
    for (unsigned over = 0; over < 2; over++) {
        zip = zb_build((struct zb){0}, &entry, 1);
        directory = directory_record(&zip, 0);
        uint32_t bytes = (uint32_t)(compressed * 10 + over);
        memcpy(zip.data + 22, &bytes, 4);
        memcpy(directory + 24, &bytes, 4);
        start(walk, &zip);
        expect_whole_body_broken(walk, &zip, over ? CBT_DEAD_zip_ratio : CBT_DEAD_zip_malformed);
        pb_free(&zip);
    }
    cbt_walk_free(walk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_end_records_are_refused_before_their_directories_are_read),
        cmocka_unit_test(directory_with_more_entries_than_announced_is_counted_itself),
        cmocka_unit_test(names_beyond_measure_are_not_copied),
        cmocka_unit_test(entries_that_fail_count_against_the_inflated_limit),
        cmocka_unit_test(entry_that_is_not_to_be_found_does_not_hold_up_the_others),
        cmocka_unit_test(entry_that_claims_more_than_4_gib_is_as_broken_by_itself),
        cmocka_unit_test(zip_within_a_zip_is_one_broken_part),
        cmocka_unit_test(ratio_holds_for_small_entries_to_the_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
