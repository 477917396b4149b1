/* SPDX-License-Identifier: MIT */
/* The archive source: which files it takes and in what order, how it cuts them, what a crash repeats. */
#include "archive_bed.h"
#include "gzip.h"

#include <malloc.h>

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
        TEST(many_files_take_several_scans),
        cmocka_unit_test_setup_teardown(very_many_files_take_little_memory, bed_setup_in_memory,
                                        bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
