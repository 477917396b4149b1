/* SPDX-License-Identifier: MIT */
/* Walks over zips: what they are made of, and what is to come out. */
#ifndef TESTS_LIB_WALK_EXPECT_H
#define TESTS_LIB_WALK_EXPECT_H

#include "fixture.h"
#include "zip_build.h"

static const struct cbt_text no_type = {NULL, 0};

/* A bundle of `count` records of 50 bytes that begin with `mark`. */
static inline struct pb bundle_of(unsigned count, uint8_t mark)
{
    struct pb bundle = {0};
    uint8_t record[50] = {0x0A};
    for (unsigned i = 0; i < count; i++) {
        record[1] = mark;
        record[2] = (uint8_t)i;
        pb_record(&bundle, (struct cbt_text){record, sizeof(record)});
    }
    return bundle;
}

static inline struct cbt_walk *walk_new(struct cbt_decode_limits limits)
{
    struct cbt_walk *walk = NULL;
    struct cbt_err err;
    assert_int_equal(cbt_walk_new(&walk, &limits, &err), 0);
    return walk;
}

static inline void start(struct cbt_walk *walk, const struct pb *zip)
{
    cbt_walk_start(walk, pb_text(zip), no_type, CBT_FRAMING_BUNDLE);
}

/* `count` records of `mark`, all from zip entry `entry`. */
static inline void expect_records(struct cbt_walk *walk, unsigned count, uint8_t mark, uint32_t entry)
{
    struct cbt_part part = {0};
    for (unsigned i = 0; i < count; i++) {
        assert_true(cbt_walk_next(walk, &part));
        if (part.kind != CBT_PART_EVENT)
            fail_msg("record %u of entry %u is broken: %s", i, entry, cbt_dead_reason_name(part.reason));
        assert_int_equal(part.data.len, 50);
        assert_int_equal(part.data.data[1], mark);
        assert_int_equal(part.data.data[2], i);
        assert_int_equal(part.entry, entry);
        assert_int_equal(part.index, i);
        assert_int_equal(part.offset, 54u * i);
    }
}

static inline void expect_end(struct cbt_walk *walk)
{
    struct cbt_part part = {0};
    assert_false(cbt_walk_next(walk, &part));
}

static inline struct cbt_part expect_broken(struct cbt_walk *walk, enum cbt_dead_reason reason,
                                            uint32_t entry)
{
    struct cbt_part part = {0};
    assert_true(cbt_walk_next(walk, &part));
    assert_int_equal(part.kind, CBT_PART_BROKEN);
    if (part.reason != reason)
        fail_msg("reason is %s, expected %s", cbt_dead_reason_name(part.reason),
                 cbt_dead_reason_name(reason));
    assert_int_equal(part.entry, entry);
    return part;
}

static inline void expect_whole_body_broken(struct cbt_walk *walk, const struct pb *zip,
                                            enum cbt_dead_reason reason)
{
    struct cbt_part part = expect_broken(walk, reason, 0);
    assert_ptr_equal(part.data.data, zip->data);
    assert_int_equal(part.data.len, zip->len);
    assert_true(part.in_body);
    expect_end(walk);
}

#endif
