/* SPDX-License-Identifier: MIT */
/* The archive source: which files it takes and in what order, how it cuts them, when it lets them go. */
#include "archive_bed.h"

#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <zlib.h>

#include "ingest/archive_checkpoint_file.h"

static void oldest_first_and_the_last_folder_is_the_sensor(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 20);
    bed_write(bed, "9/c.log", bundle, 1000);
    bed_write(bed, "x/y/12/a.log", bundle, 3000);
    bed_write(bed, "9/a.log", bundle, 2000);
    bed_write(bed, "name/b.log", bundle, 2000);
    bed_write(bed, "99999999999/d.log", bundle, 500);
    bed_write(bed, "top.log", bundle, 4000);
    bed_write(bed, "9/.hidden", bundle, 1);
    bed_write(bed, "9/empty", (struct cbt_text){(const uint8_t *)"", 0}, 1);
    bed_open(bed);
    bed_read(bed);
    static const struct {
        const char *path;
        int32_t sensor; /* -1: none */
    } expected[] = {{"99999999999/d.log", -1}, {"9/c.log", 9},       {"9/a.log", 9},
                    {"name/b.log", -1},        {"x/y/12/a.log", 12}, {"top.log", -1}};
    assert_int_equal(bed->receiver.count, 6);
    for (size_t i = 0; i < 6; i++) {
        const struct cbt_frame *frame = &bed->receiver.frames[i];
        bed_assert_file(bed, i, expected[i].path);
        assert_true(frame->env.has_sensor_id == (expected[i].sensor >= 0));
        assert_true(!frame->env.has_sensor_id || frame->env.sensor_id == expected[i].sensor);
        assert_true(frame->has_lane != frame->env.has_sensor_id);
        assert_int_equal(frame->framing, CBT_FRAMING_BUNDLE);
        assert_int_equal(frame->body.len, bundle.len);
        assert_memory_equal(frame->body.data, bundle.data, bundle.len);
    }
    assert_int_equal(atomic_load(&bed->receiver.stats.gauge_archive_files), 6);
    bed_settle(bed, 0, 6);
    bed_read(bed);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_files), 6);
    assert_true(bed_has(bed, "9/empty"));
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_records), 18);
    assert_int_equal(bed_counter(bed, CBT_COUNT_settled_frames), 6);
    bed_free_text(bundle);
}

/* Cuts are whole records, without a gap, and a cut's end does not depend on what came before it. */
static void a_large_bundle_is_cut_between_records(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(10000, 271);
    bed_write(bed, "7/a.log", bundle, 0);
    bed_open(bed);
    bed_read(bed);
    assert_in_range(bed->receiver.count, bundle.len / CBT_CUT_BYTES, bundle.len / CBT_CUT_BYTES + 1);
    uint64_t offset = 0, records = 0;
    for (size_t i = 0; i < bed->receiver.count; i++) {
        const struct cbt_frame *frame = &bed->receiver.frames[i];
        assert_true(frame->file_offset == offset && frame->file_index == records);
        assert_true(frame->body.len <= CBT_CUT_BYTES && frame->body.len % 275 == 0);
        assert_memory_equal(frame->body.data, bundle.data + offset, frame->body.len);
        offset += frame->body.len;
        records += frame->body.len / 275;
    }
    assert_true(offset == bundle.len && records == 10000);
    bed_free_text(bundle);
}

/* Settled in any order; what is settled from the beginning on does not come again, and nothing else is left
 * out. */
static void after_a_crash_it_goes_on_where_the_checkpoint_is(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(10000, 271);
    bed_write(bed, "7/a.log", bundle, 0);
    bed_open(bed);
    bed_read(bed);
    size_t cuts = bed->receiver.count;
    uint64_t offset = bed->receiver.frames[5].file_offset;
    bed_settle(bed, 0, 5);
    bed_settle(bed, 6, cuts);
    bed_checkpoint(bed);
    bed_settle(bed, 5, 6); /* all of it is settled, but the checkpoint does not know */
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_files), 1);
    bed_kill(bed);

    bed_open(bed);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, cuts - 5);
    assert_true(bed->receiver.frames[0].file_offset == offset);
    assert_int_equal(bed->receiver.frames[0].file_index, offset / 275);
    bed_settle(bed, 0, cuts - 5);
    bed_close(bed);

    bed_open(bed);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 0);
    bed_free_text(bundle);
}

static void without_room_it_waits_and_loses_nothing(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(10000, 271), large = bed_bundle(1, 300000);
    bed_write(bed, "7/a.log", bundle, 1);
    bed_write(bed, "7/b.log", large, 2);
    bed_write(bed, "7/c.zip", CBT_TEXT("PK\3\4 is a zip"), 3);
    bed_open(bed);
    bed->receiver.room = 0;
    for (size_t frames = 0; frames < bundle.len / CBT_CUT_BYTES + 3; frames++) {
        bed_read(bed);
        bed_read(bed);
        assert_int_equal(bed->receiver.count, frames);
        bed->receiver.room = 1;
    }
    bed_read(bed);
    uint64_t bytes = 0;
    for (size_t i = 0; i < bed->receiver.count; i++)
        bytes += bed->receiver.frames[i].body.len;
    assert_true(bytes == bundle.len + large.len + 13);
    bed_free_text(bundle);
    bed_free_text(large);
}

static size_t count_dead(const struct bed *bed)
{
    size_t count = 0;
    DIR *dir = opendir(bed->dead);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += strstr(entry->d_name, ".bin") != NULL;
    if (dir)
        closedir(dir);
    return count;
}

/* A record that is larger than a frame may be, amid others; a torn end; what is no bundle. */
static void what_is_large_or_broken_does_not_stop_the_others(void **state)
{
    struct bed *bed = *state;
    struct cbt_text a = bed_bundle(2, 300000), b = bed_bundle(1, 2000000), c = bed_bundle(3, 50);
    struct pb all = {0};
    pb_raw(&all, a.data, a.len);
    pb_raw(&all, b.data, b.len);
    pb_raw(&all, c.data, c.len - 10);
    bed_write(bed, "7/a.log", pb_text(&all), 1);
    bed_write(bed, "7/b.log", CBT_TEXT("\xFF\xFF\xFF\x7F\x0A no record"), 2);
    bed_write(bed, "7/c.zip", (struct cbt_text){b.data + 100, 1500000}, 3);
    bed_write(bed, "7/d.log", c, 4);
    bed_open(bed);
    bed_read(bed);
    const struct cbt_frame *frames = bed->receiver.frames;
    assert_int_equal(bed->receiver.count, 8);
    assert_int_equal(frames[0].body.len, 300004);
    assert_int_equal(frames[1].body.len, 300004);
    assert_true(frames[2].spilled && frames[2].broken && frames[2].broken_reason == CBT_DEAD_frame_too_large);
    assert_true(frames[2].body.len == 0 && frames[2].file_index == 2 && frames[2].file_offset == 600008);
    assert_int_equal(frames[3].body.len, 2 * 54); /* whole records, then the torn rest */
    assert_int_equal(frames[4].body.len, 44);
    assert_int_equal(frames[4].file_index, 5);
    assert_int_equal(frames[5].framing, CBT_FRAMING_DETECT);
    assert_true(frames[6].spilled);
    bed_assert_file(bed, 7, "7/d.log");
    assert_int_equal(count_dead(bed), 2);
    bed_settle(bed, 0, 8);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_files), 4);
    bed_free_text(a);
    bed_free_text(b);
    bed_free_text(c);
    pb_free(&all);
}

/* It is neither done nor removed where its dead letter is not kept. */
static void what_cannot_be_kept_is_not_delivered(void **state)
{
    struct bed *bed = *state;
    struct cbt_text large = bed_bundle(1, 2000000), small = bed_bundle(1, 50);
    bed->config.archive.after = "remove";
    bed->receiver.dead_letter_dir = NULL;
    bed_write(bed, "7/a.log", large, 1);
    bed_write(bed, "7/b.log", small, 2);
    bed_open(bed);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 1);
    bed_settle(bed, 0, 1);
    bed_checkpoint(bed);
    assert_true(bed_has(bed, "7/a.log"));
    assert_false(bed_has(bed, "7/b.log"));
    bed_close(bed);
    bed->receiver.dead_letter_dir = bed->dead;
    bed_open(bed);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 1);
    bed_settle(bed, 0, 1);
    bed_checkpoint(bed);
    assert_false(bed_has(bed, "7/a.log"));
    bed_free_text(large);
    bed_free_text(small);
}

static struct cbt_text gzipped(struct cbt_text text, int level)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t room = deflateBound(&z, text.len);
    uint8_t *out = malloc(room);
    assert_non_null(out);
    z.next_in = (uint8_t *)(uintptr_t)text.data;
    z.avail_in = (unsigned)text.len;
    z.next_out = out;
    z.avail_out = (unsigned)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return (struct cbt_text){out, z.total_out};
}

static void gzip_is_inflated_and_goes_on_where_it_was(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(10000, 271),
                    first = gzipped((struct cbt_text){bundle.data, 1000001}, 1);
    struct cbt_text second = gzipped((struct cbt_text){bundle.data + 1000001, bundle.len - 1000001}, 9);
    struct pb members = {0};
    pb_raw(&members, first.data, first.len);
    pb_raw(&members, second.data, second.len);
    pb_raw(&members, (const uint8_t[512]){0}, 512);
    bed_write(bed, "7/a.log.gz", pb_text(&members), 0);
    bed_open(bed);
    for (unsigned life = 0; life < 2; life++) {
        bed_read(bed);
        uint64_t offset = life == 0 ? 0 : bed->receiver.frames[0].file_offset;
        assert_true(life == 0 || offset > 0);
        for (size_t i = 0; i < bed->receiver.count; i++) {
            const struct cbt_frame *frame = &bed->receiver.frames[i];
            assert_true(frame->file_offset == offset && frame->file_index == offset / 275);
            assert_memory_equal(frame->body.data, bundle.data + offset, frame->body.len);
            offset += frame->body.len;
        }
        assert_true(offset == bundle.len);
        bed_settle(bed, 0, life == 0 ? 3 : bed->receiver.count);
        if (life == 0) {
            bed_checkpoint(bed);
            bed_kill(bed);
            bed_open(bed);
        }
    }
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_files), 1);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_bytes), members.len);
    bed_free_text(bundle);
    bed_free_text(first);
    bed_free_text(second);
    pb_free(&members);
}

/* Cut off at any place, with a bit flipped, of a hostile ratio: what came before is delivered, then the file
 * is a dead letter as it lies there; what follows is another file. */
static void broken_gzip_is_a_dead_letter(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(2000, 271), gz = gzipped(bundle, 1), small = bed_bundle(1, 50);
    struct captured captured;
    struct cbt_text zeros = {calloc(1, 64 << 20), 64 << 20};
    assert_non_null(zeros.data);
    /* A record that is longer than anything, and then nothing but zeros. */
    memcpy((uint8_t *)(uintptr_t)zeros.data, "\x10\0\0\0\x0A", 5);
    struct cbt_text bomb = gzipped(zeros, 9);
    bed_write(bed, "7/a.gz", (struct cbt_text){gz.data, gz.len - 1}, 1);
    bed_write(bed, "7/b.gz", (struct cbt_text){gz.data, gz.len / 2}, 2);
    bed_write(bed, "7/c.gz", (struct cbt_text){gz.data, 12}, 3);
    ((uint8_t *)(uintptr_t)gz.data)[gz.len - 6] ^= 1; /* its check */
    bed_write(bed, "7/d.gz", gz, 4);
    bed_write(bed, "7/e.gz", bomb, 5);
    bed_write(bed, "7/f.log", small, 6);
    capture_begin(&captured);
    bed_open(bed);
    bed_read(bed);
    char *said = capture_end(&captured);
    assert_non_null(strstr(said, "cut off"));
    assert_non_null(strstr(said, "incorrect data check"));
    free(said);
    size_t broken = 0, bomb_bytes = 0;
    for (size_t i = 0; i < bed->receiver.count; i++) {
        const struct cbt_frame *frame = &bed->receiver.frames[i];
        bool of_bomb = memmem(frame->file.data, frame->file.len, "e.gz", 4) != NULL;
        broken += frame->broken;
        assert_true(!frame->broken || frame->broken_reason == CBT_DEAD_gzip_malformed);
        assert_true(!frame->broken || frame->file_offset == 0);
        bomb_bytes += of_bomb && !frame->broken ? frame->body.len : 0;
    }
    assert_int_equal(broken, 5);
    assert_true(bomb_bytes < 48 << 20);
    bed_assert_file(bed, bed->receiver.count - 1, "7/f.log");
    bed_settle(bed, 0, bed->receiver.count);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_files), 6);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_broken_files), 5);
    bed_free_text(bundle);
    bed_free_text(gz);
    bed_free_text(small);
    bed_free_text(bomb);
    bed_free_text(zeros);
}

static void a_file_leaves_when_all_of_it_is_settled(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(2000, 271);
    bed->config.archive.after = bed->move;
    bed_write(bed, "7/a.log", bundle, 1);
    bed_write(bed, "7/b.log", bundle, 2);
    bed_open(bed);
    bed_read(bed);
    size_t cuts = bed->receiver.count;
    bed_settle(bed, 0, cuts / 2 - 1);
    bed_settle(bed, cuts / 2, cuts);
    bed_checkpoint(bed);
    assert_true(bed_has(bed, "7/a.log"));
    assert_false(bed_has(bed, "7/b.log"));
    assert_true(bed_has(bed, "../moved/7/b.log"));
    bed_settle(bed, cuts / 2 - 1, cuts / 2);
    assert_true(bed_has(bed, "7/a.log")); /* it is not in the checkpoint yet */
    bed_checkpoint(bed);
    assert_true(bed_has(bed, "../moved/7/a.log"));
    bed_close(bed);

    /* A name that is taken is not lost. */
    bed_write(bed, "7/a.log", bundle, 5);
    bed_open(bed);
    bed_read(bed);
    bed_settle(bed, 0, bed->receiver.count);
    bed_checkpoint(bed);
    assert_false(bed_has(bed, "7/a.log"));
    assert_true(bed_has(bed, "../moved/7/a.log") && bed_has(bed, "../moved/7/a.log.1"));
    bed_free_text(bundle);
}

/* Here since something is in its way; without follow no scan was due any more. */
static void what_cannot_be_moved_is_tried_again(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    struct captured captured;
    char path[256];
    bed->config.archive.after = bed->move;
    bed_write(bed, "7/a.log", bundle, 1);
    bed_write(bed, "../moved/7", bundle, 1);
    bed_open(bed);
    bed_read(bed);
    bed_settle(bed, 0, 1);
    capture_begin(&captured);
    bed_read(bed);
    char *said = capture_end(&captured);
    assert_non_null(strstr(said, "error delivered, but cannot be removed or moved"));
    assert_null(strstr(said, "there is nothing more to do"));
    free(said);
    assert_true(bed_has(bed, "7/a.log"));

    snprintf(path, sizeof path, "%s/moved/7", bed->dir);
    assert_int_equal(unlink(path), 0);
    assert_true(bed_archive(bed)->rescan_at_ns != INT64_MAX);
    bed_archive(bed)->rescan_at_ns = 0;
    capture_begin(&captured);
    bed_read(bed);
    said = capture_end(&captured);
    assert_non_null(strstr(said, "there is nothing more to do"));
    free(said);
    assert_true(bed_has(bed, "../moved/7/a.log") && !bed_has(bed, "7/a.log"));
    assert_int_equal(bed->receiver.count, 1);
    bed_free_text(bundle);
}

static void a_file_that_was_changed_is_not_removed(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    bed->config.archive.after = "remove";
    bed_write(bed, "7/a.log", bundle, 1);
    bed_open(bed);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 1);
    bed_write(bed, "7/a.log", bundle, 2);
    bed_settle(bed, 0, 1);
    bed_checkpoint(bed);
    assert_true(bed_has(bed, "7/a.log"));
    bed_close(bed);
    bed_open(bed);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 1);
    bed_free_text(bundle);
}

/* Killed between the checkpoint and the removal: the next life removes it, and does not read it again. */
static void what_was_delivered_before_a_crash_is_removed_after_it(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    bed_write(bed, "7/a.log", bundle, 1);
    bed_open(bed);
    bed_read(bed);
    bed_settle(bed, 0, 1);
    bed_close(bed);
    assert_true(bed_has(bed, "7/a.log"));
    bed->config.archive.after = "remove";
    bed_open(bed);
    bed_read(bed);
    bed_checkpoint(bed);
    assert_int_equal(bed->receiver.count, 0);
    assert_false(bed_has(bed, "7/a.log"));
    bed_free_text(bundle);
}

/* Said once, and once when it is over; files go on, and leave, for they are delivered. */
static void a_checkpoint_that_cannot_be_written_stops_nothing(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    struct captured captured;
    struct rlimit before, none;
    bed->config.archive.after = "remove";
    bed_write(bed, "7/a.log", bundle, 1);
    bed_write(bed, "7/b.log", bundle, 2);
    bed_open(bed);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    bed->receiver.room = 1;
    bed_read(bed);
    char folder[256];
    snprintf(folder, sizeof folder, "%s.new", bed->checkpoint);
    assert_int_equal(mkdir(folder, 0700), 0); /* so that it cannot be written anew either */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    bed_settle(bed, 0, 1);
    struct cbt_err err = {0};
    assert_true(cbt_archive_checkpoint_dirty(bed_archive(bed)->checkpoint));
    assert_int_equal(cbt_archive_checkpoint_write(bed_archive(bed)->checkpoint, &err), CBT_EIO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    capture_begin(&captured);
    bed_checkpoint(bed);
    bed_checkpoint(bed);
    char *said = capture_end(&captured);
    const char *first = strstr(said, "error the checkpoint cannot be written");
    assert_non_null(first);
    assert_null(strstr(first + 1, "error "));
    free(said);
    assert_false(bed_has(bed, "7/a.log"));
    assert_true(bed_has(bed, "7/b.log"));

    assert_int_equal(rmdir(folder), 0);
    bed->receiver.room = 1;
    bed_read(bed);
    bed_settle(bed, 1, 2);
    capture_begin(&captured);
    bed_checkpoint(bed);
    said = capture_end(&captured);
    assert_non_null(strstr(said, "warning the checkpoint is written again"));
    free(said);
    assert_false(bed_has(bed, "7/b.log"));
    bed_free_text(bundle);
}

static void links_are_not_followed_and_what_vanishes_is_no_error(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    struct captured captured;
    char link[256];
    bed_write(bed, "7/a.log", bundle, 1);
    bed_write(bed, "7/b.log", bundle, 2);
    snprintf(link, sizeof link, "%s/7/link.log", bed->tree);
    assert_int_equal(symlink("a.log", link), 0);
    snprintf(link, sizeof link, "%s/8", bed->tree);
    assert_int_equal(symlink("7", link), 0);
    snprintf(link, sizeof link, "%s/7/pipe", bed->tree);
    assert_int_equal(mkfifo(link, 0600), 0);
    bed_open(bed);
    capture_begin(&captured);
    bed->receiver.room = 0;
    bed_read(bed); /* it has found both, and has the first one open */
    snprintf(link, sizeof link, "%s/7/b.log", bed->tree);
    assert_int_equal(unlink(link), 0);
    bed->receiver.room = 10;
    bed_read(bed);
    char *said = capture_end(&captured);
    assert_int_equal(bed->receiver.count, 1);
    bed_assert_file(bed, 0, "7/a.log");
    assert_non_null(
        strstr(said, "warning symbolic links in the archive are not followed source=old links=2"));
    assert_null(strstr(said, "error"));
    free(said);
    bed_free_text(bundle);
}

/* A whole folder that vanishes is passed over in steps, between which what is delivered can be settled. */
static void what_vanishes_does_not_hold_up_a_turn(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(1, 50);
    struct cbt_err err = {0};
    char path[64], folder[256], aside[256];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(path, sizeof path, "7/%u.log", i);
        bed_write(bed, path, bundle, 0);
    }
    bed_open(bed);
    struct cbt_archive *archive = bed_archive(bed);
    while (archive->queue.count < 1000 || archive->queue.filling)
        assert_true(cbt_archive_find(archive, cbt_now_ns(), &err) == 1);
    snprintf(folder, sizeof folder, "%s/7", bed->tree);
    snprintf(aside, sizeof aside, "%s/aside", bed->dir);
    assert_int_equal(rename(folder, aside), 0);
    for (size_t count = 1000; count > 0; count = archive->queue.count) {
        assert_true(cbt_source_archive.read(bed->source, 1024, &err) > 0);
        assert_in_range(count - archive->queue.count, 1, 100);
    }
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 0);
    assert_int_equal(atomic_load(&bed->receiver.stats.gauge_archive_files), 0);
    bed_free_text(bundle);
}

/* Half of it is delivered, then it is cut off: it comes again from its beginning, and the checkpoint keeps
 * nothing of what it was before. */
static void a_file_that_is_changed_while_it_is_read_comes_again_whole(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(2000, 271), shorter = {bundle.data, 275 * 1000};
    struct captured captured;
    bed_write(bed, "7/a.log", bundle, 1);
    bed_open(bed);
    struct cbt_archive *archive = bed_archive(bed);
    bed->receiver.room = 1;
    bed_read(bed);
    bed_settle(bed, 0, 1);
    bed_checkpoint(bed);
    bed_write(bed, "7/a.log", shorter, 2);
    bed->receiver.room = BED_FRAMES_MAX;
    capture_begin(&captured);
    bed_read(bed);
    char *said = capture_end(&captured);
    assert_non_null(strstr(said, "warning a file was changed while it was read"));
    free(said);
    bed_settle(bed, 1, bed->receiver.count);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_files), 0);
    assert_int_equal(archive->checkpoint->progress_count, 0);

    bed_forget_frames(bed);
    archive->rescan_at_ns = 0;
    bed_read(bed);
    assert_true(bed->receiver.count > 0 && bed->receiver.frames[0].file_offset == 0);
    size_t bytes = 0;
    for (size_t i = 0; i < bed->receiver.count; i++)
        bytes += bed->receiver.frames[i].body.len;
    assert_int_equal(bytes, shorter.len);
    bed_settle(bed, 0, bed->receiver.count);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_files), 1);
    bed_free_text(bundle);
}

/* The folder is moved out of the tree, and a link leads to it: through that nothing is read, and nothing
 * removed. */
static void a_folder_that_becomes_a_link_is_not_entered(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    struct captured captured;
    static const char *const names[] = {"7/a.log", "7/b.log", "7/c.log"};
    char folder[256], outside[256];
    bed->config.archive.after = "remove";
    for (unsigned i = 0; i < 3; i++)
        bed_write(bed, names[i], bundle, 1 + (time_t)i);
    bed_open(bed);
    bed->receiver.room = 1;
    bed_read(bed); /* the first is a frame, the second open, the third waits */
    snprintf(folder, sizeof folder, "%s/7", bed->tree);
    snprintf(outside, sizeof outside, "%s/outside", bed->dir);
    assert_int_equal(rename(folder, outside), 0);
    assert_int_equal(symlink(outside, folder), 0);
    bed->receiver.room = 10;
    capture_begin(&captured);
    bed_read(bed);
    bed_settle(bed, 0, bed->receiver.count);
    bed_checkpoint(bed);
    free(capture_end(&captured));
    assert_int_equal(bed->receiver.count, 2);
    for (unsigned i = 0; i < 3; i++)
        assert_true(bed_has(bed, names[i])); /* by the link */
    bed_free_text(bundle);
}

static void what_cannot_be_read_is_told_once_and_tried_again(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(3, 50);
    struct captured captured;
    char path[256];
    if (geteuid() == 0 && seteuid(65534) != 0)
        skip();
    (void)!seteuid(0);
    bed_write(bed, "7/a.log", bundle, 1);
    bed_write(bed, "7/b.log", bundle, 2);
    bed_write(bed, "7/c.log", bundle, 3);
    bed_write(bed, "8/a.log", bundle, 3);
    snprintf(path, sizeof path, "%s/7/a.log", bed->tree);
    chmod(path, 0);
    snprintf(path, sizeof path, "%s/7/b.log", bed->tree);
    chmod(path, 0);
    bool root = geteuid() == 0;
    for (unsigned i = 0; root && i < 5; i++) {
        static const char *const names[] = {"", "/tree", "/tree/7", "/tree/7/c.log", "/tree/8"};
        snprintf(path, sizeof path, "%s%s", bed->dir, names[i]);
        if (i != 4)
            assert_int_equal(chown(path, 65534, 65534), 0);
        else
            assert_int_equal(chmod(path, 0), 0);
    }
    if (!root) {
        snprintf(path, sizeof path, "%s/8", bed->tree);
        chmod(path, 0);
    }
    if (root)
        assert_int_equal(seteuid(65534), 0);
    capture_begin(&captured);
    bed_open(bed);
    bed_read(bed);
    char *said = capture_end(&captured);
    if (root)
        assert_int_equal(seteuid(0), 0);
    chmod(path, 0700);
    assert_int_equal(bed->receiver.count, 1);
    bed_assert_file(bed, 0, "7/c.log");
    const char *first = strstr(said, "error ");
    assert_non_null(first);
    assert_non_null(strstr(said, "Permission denied"));
    assert_null(strstr(first + 1, "error "));
    free(said);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_unreadable_files), 2);

    /* All is found when it may be read. */
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/7/%c.log", bed->tree, 'a' + (int)i);
        assert_int_equal(chmod(path, 0600), 0);
    }
    bed_archive(bed)->rescan_at_ns = 0;
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 4);
    bed_free_text(bundle);
}

/* More files than the queue holds, of which the youngest come first out of the folder: order is kept, memory
 * is not needed for all of them, and what was delivered is not read again by the next scan. */
static void many_files_take_several_scans(void **state)
{
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(1, 50);
    char path[64];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(path, sizeof path, "%u/%u.log", i % 7, i);
        bed_write(bed, path, bundle, 10000 - (time_t)i);
    }
    bed_open(bed);
    struct cbt_archive *archive = bed_archive(bed);
    archive->queue.entries_max = 64;
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 1000);
    /* All but the first scan took an eighth of what there is. */
    assert_int_equal(archive->queue.entries_max, (1000 + 7) / CBT_ARCHIVE_QUEUE_SHARE);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(path, sizeof path, "%u/%u.log", (999 - i) % 7, 999 - i);
        bed_assert_file(bed, i, path);
    }
    bed_settle(bed, 0, 1000);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_files), 1000);
    bed_free_text(bundle);
}

/* A hundred thousand kept files, as a server makes them: for each 32 bytes on disk and less than 64 in
 * memory, and a new life reads none of them again. */
static void very_many_files_take_little_memory(void **state)
{
    enum { FILES = 100000, FOLDERS = 100 };
    struct bed *bed = *state;
    struct cbt_text bundle = bed_bundle(1, 50);
    char path[256];
    for (unsigned i = 0; i < FOLDERS; i++) {
        snprintf(path, sizeof path, "%s/%u", bed->tree, i);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/%u/EventLog_%010u.log", bed->tree, i % FOLDERS, i);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, bundle.data, bundle.len), bundle.len);
        close(fd);
    }
    size_t before = mallinfo2().uordblks, most = 0, read = 0;
    bed_open(bed);
    struct cbt_archive *archive = bed_archive(bed);
    while (read < FILES) {
        bed->receiver.room = BED_FRAMES_MAX;
        bed_read(bed);
        assert_true(bed->receiver.count > 0);
        read += bed->receiver.count;
        bed_settle(bed, 0, bed->receiver.count);
        bed_forget_frames(bed);
        size_t now = mallinfo2().uordblks;
        most = now - before > most ? now - before : most;
        bed_checkpoint(bed);
    }
    assert_int_equal(read, FILES);
    size_t memory = cbt_archive_checkpoint_memory_bytes(archive->checkpoint);
    uint64_t disk = cbt_archive_checkpoint_file_bytes(archive->checkpoint);
    print_message("%zu bytes of memory at most, %zu of them for the checkpoint, which is %zu bytes\n", most,
                  memory, (size_t)disk);
    assert_true(memory <= 64 * FILES && disk <= 16 + 32 * FILES);
    assert_true(most < (16 << 20) + 64 * FILES);
    bed_close(bed);
    bed->receiver.room = BED_FRAMES_MAX;
    bed_open(bed);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 0);
    bed_free_text(bundle);
}

static void expect_refusal(struct bed *bed, const char *words)
{
    struct cbt_err err = {0};
    assert_int_equal(bed_try_open(bed, &err), CBT_EINVAL);
    if (!strstr(err.text, words))
        fail_msg("%s", err.text);
}

static void places_that_cannot_be_used_are_refused(void **state)
{
    struct bed *bed = *state;
    char text[256];
    snprintf(text, sizeof text, "move:%s/done", bed->tree);
    bed->config.archive.after = text;
    expect_refusal(bed, "lies in the archive itself");
    bed->config.archive.after = "move:/proc/nowhere";
    expect_refusal(bed, "cannot be made");
    bed->config.archive.after = "move:/dev/shm";
    expect_refusal(bed, "another file system");
    bed->config.archive.after = "keep";
    snprintf(text, sizeof text, "%s/checkpoint", bed->tree);
    bed->config.archive.checkpoint = text;
    expect_refusal(bed, "lies in the archive");
    bed->config.archive.checkpoint = "/proc/checkpoint";
    expect_refusal(bed, "name a file");
}

/* As a systemd unit has it that names both folders in ReadWritePaths=. */
static void a_move_from_mount_to_mount_is_refused(void **state)
{
    struct bed *bed = *state;
    char moved[256];
    if (unshare(CLONE_NEWNS) != 0) {
        print_message("SKIPPED: only root may make a mount\n");
        skip();
    }
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    snprintf(moved, sizeof moved, "%s/moved", bed->dir);
    bed->config.archive.after = bed->move;
    bed_open(bed); /* makes the folder */
    bed_close(bed);
    assert_int_equal(mount(moved, moved, NULL, MS_BIND, NULL), 0);
    expect_refusal(bed, "under another mount");
    assert_int_equal(umount(moved), 0);
    bed_open(bed);
}

/* The tree is not there yet, comes, goes, comes again: nothing is read twice. */
static void a_tree_that_is_not_there_is_waited_for(void **state)
{
    struct bed *bed = *state;
    struct cbt_err err = {0};
    struct cbt_text bundle = bed_bundle(1, 50);
    char aside[256];
    bed_write(bed, "7/a.log", bundle, 1);
    snprintf(aside, sizeof aside, "%s/aside", bed->dir);
    assert_int_equal(rename(bed->tree, aside), 0);
    assert_int_equal(bed_try_open(bed, &err), 0);
    assert_int_equal(cbt_source_archive.connect(bed->source, &err), CBT_EREFUSED);
    cbt_source_archive.disconnect(bed->source);
    assert_int_equal(rename(aside, bed->tree), 0);
    assert_int_equal(cbt_source_archive.connect(bed->source, &err), 0);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 1);
    cbt_source_archive.disconnect(bed->source);
    bed_settle(bed, 0, 1);
    assert_int_equal(cbt_source_archive.connect(bed->source, &err), 0);
    bed_read(bed);
    assert_int_equal(bed->receiver.count, 1);
    assert_int_equal(bed_counter(bed, CBT_COUNT_archive_files), 1);
    bed_free_text(bundle);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)
    const struct CMUnitTest tests[] = {
        TEST(oldest_first_and_the_last_folder_is_the_sensor),
        TEST(a_large_bundle_is_cut_between_records),
        TEST(after_a_crash_it_goes_on_where_the_checkpoint_is),
        TEST(without_room_it_waits_and_loses_nothing),
        TEST(what_is_large_or_broken_does_not_stop_the_others),
        TEST(what_cannot_be_kept_is_not_delivered),
        TEST(gzip_is_inflated_and_goes_on_where_it_was),
        TEST(broken_gzip_is_a_dead_letter),
        TEST(a_file_leaves_when_all_of_it_is_settled),
        TEST(what_cannot_be_moved_is_tried_again),
        TEST(a_file_that_was_changed_is_not_removed),
        TEST(what_was_delivered_before_a_crash_is_removed_after_it),
        TEST(a_checkpoint_that_cannot_be_written_stops_nothing),
        TEST(links_are_not_followed_and_what_vanishes_is_no_error),
        TEST(what_vanishes_does_not_hold_up_a_turn),
        TEST(a_file_that_is_changed_while_it_is_read_comes_again_whole),
        TEST(a_folder_that_becomes_a_link_is_not_entered),
        TEST(what_cannot_be_read_is_told_once_and_tried_again),
        TEST(many_files_take_several_scans),
        cmocka_unit_test_setup_teardown(very_many_files_take_little_memory, bed_setup_in_memory,
                                        bed_teardown),
        TEST(places_that_cannot_be_used_are_refused),
        TEST(a_move_from_mount_to_mount_is_refused),
        TEST(a_tree_that_is_not_there_is_waited_for),
    };
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
