/* SPDX-License-Identifier: MIT */
/* Real inputs through walk, decoder and json format, compared with the expected outputs, value by value. */
#include "fixture.h"
#include "json_value.h"

#include <dirent.h>

struct chain {
    struct cbt_walk *walk;
    struct cbt_decoder *decoder;
    void *json;
    size_t growth_step; /* of the output buffer */
};

static int chain_open(void **state)
{
    static struct chain chain;
    const struct cbt_format_options options = {.server_name = "cbserver", .server_url = "https://cbtests/"};
    struct cbt_err err;
    assert_int_equal(cbt_walk_new(&chain.walk, &fixture_limits, &err), 0);
    assert_int_equal(cbt_decoder_new(&chain.decoder, &fixture_limits, &err), 0);
    chain.json = json_open(&options);
    *state = &chain;
    return 0;
}

static int chain_close(void **state)
{
    struct chain *chain = *state;
    cbt_walk_free(chain->walk);
    cbt_decoder_free(chain->decoder);
    json_close(chain->json);
    return 0;
}

static void encode(const struct chain *chain, const struct cbt_event *event, struct exact_buf *out)
{
    struct cbt_err err = {0};
    exact_init(out, chain->growth_step, SIZE_MAX);
    if (cbt_format_find("json")->encode(chain->json, event, &out->buf, &err) != 0)
        fail_msg("encode: %s", err.text);
}

/* The next line of a file, without its newline. */
static bool next_line(struct cbt_text *rest, struct cbt_text *ret_line)
{
    if (rest->len == 0)
        return false;
    const uint8_t *newline = memchr(rest->data, '\n', rest->len);
    size_t len = newline != NULL ? (size_t)(newline - rest->data) : rest->len;
    *ret_line = (struct cbt_text){rest->data, len};
    rest->data += newline != NULL ? len + 1 : len;
    rest->len -= newline != NULL ? len + 1 : len;
    return true;
}

static void compare(const char *name, unsigned number, const struct exact_buf *out, struct cbt_text *golden)
{
    struct cbt_text line = {0};
    if (!next_line(golden, &line))
        fail_msg("%s: more events than expected (%u)", name, number);
    struct jv *is = jv_parse(out->buf.begin, cbt_buf_len(&out->buf));
    struct jv *want = jv_parse(line.data, line.len);
    assert_non_null(want);
    if (is == NULL || !jv_equal(is, want))
        fail_msg("%s, event %u:\n is     %.*s\n expected %.*s", name, number, (int)cbt_buf_len(&out->buf),
                 (char *)out->buf.begin, (int)line.len, (const char *)line.data);
    jv_free(is);
    jv_free(want);
}

static void run(struct chain *chain, const char *input, const char *golden_path,
                const struct cbt_environment *env, enum cbt_framing framing)
{
    struct file in = {0}, expected = {0};
    assert_true(file_read(input, &in));
    assert_true(file_read(golden_path, &expected));
    struct cbt_text golden = file_text(&expected);
    struct cbt_part part;
    unsigned count = 0;
    cbt_walk_start(chain->walk, file_text(&in), (struct cbt_text){0}, framing);
    while (cbt_walk_next(chain->walk, &part)) {
        struct cbt_event event;
        struct cbt_err err = {0};
        enum cbt_dead_reason reason;
        assert_int_equal(part.kind, CBT_PART_EVENT);
        assert_int_equal(part.index, count);
        if (cbt_decode_event(chain->decoder, part.data, env, &event, &reason, &err) != 0)
            fail_msg("%s, record %u: %s", input, count, err.text);
        assert_int_equal(cbt_peek_type(part.data), event.type);
        int32_t peeked = 0;
        assert_int_equal(cbt_peek_sensor_id(part.data, (struct cbt_text){0}, CBT_FRAMING_EVENT, &peeked),
                         event.msg != NULL && env == NULL && event.env.has_sensor_id);
        struct exact_buf out;
        encode(chain, &event, &out);
        compare(input, count++, &out, &golden);
        exact_free(&out);
    }
    assert_int_equal(golden.len, 0);
    print_message("%5u events equal: %s\n", count, input + strlen(CORPUS_DIR) + 1);
    free(in.data);
    free(expected.data);
}

/* Every line of a file is a notification of the routing key that the file is named after. */
static void run_notifications(struct chain *chain, const char *key, unsigned *count, unsigned *events)
{
    char path[1024];
    struct file in = {0}, expected = {0};
    snprintf(path, sizeof(path), CORPUS_DIR "/notifications/%s.ndjson", key);
    assert_true(file_read(path, &in));
    snprintf(path, sizeof(path), CORPUS_DIR "/golden/notifications/%s.ndjson", key);
    assert_true(file_read(path, &expected));
    struct cbt_text rest = file_text(&in), golden = file_text(&expected), line;
    for (; next_line(&rest, &line); (*count)++) {
        struct cbt_part part;
        size_t cursor = 0;
        cbt_walk_start(chain->walk, line, CBT_TEXT("application/json"), CBT_FRAMING_DETECT);
        assert_true(cbt_walk_next(chain->walk, &part));
        assert_int_equal(part.kind, CBT_PART_NOTIFICATION);
        for (;; (*events)++) {
            struct cbt_event event;
            struct cbt_err err = {0};
            enum cbt_dead_reason reason;
            int rc = cbt_decode_notification(chain->decoder, part.data, text_of(key), &cursor, &event,
                                             &reason, &err);
            if (rc < 0)
                fail_msg("%s, line %u: %s", key, *count + 1, err.text);
            if (rc == 0)
                break;
            struct exact_buf out;
            encode(chain, &event, &out);
            compare(key, *events, &out, &golden);
            exact_free(&out);
        }
        assert_false(cbt_walk_next(chain->walk, &part));
    }
    assert_int_equal(golden.len, 0);
    free(in.data);
    free(expected.data);
}

static bool has_corpus(void)
{
    DIR *dir = opendir(CORPUS_DIR "/golden");
    if (dir != NULL)
        closedir(dir);
    else
        print_message("SKIPPED: no corpus at %s: nothing was compared\n", CORPUS_DIR);
    return dir != NULL;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Runs every file of a folder with that extension; `suffix` goes before ".ndjson" in the name of what is
 * expected. */
static void run_folder(struct chain *chain, const char *folder, const char *extension, const char *suffix,
                       const struct cbt_environment *env)
{
    char path[1024], golden[1024];
    struct dirent **entries;
    unsigned files = 0;
    snprintf(path, sizeof(path), CORPUS_DIR "/%s", folder);
    int count = scandir(path, &entries, NULL, by_name);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        const char *dot = strrchr(name, '.');
        if (dot != NULL && strcmp(dot, extension) == 0) {
            snprintf(path, sizeof(path), CORPUS_DIR "/%s/%s", folder, name);
            snprintf(golden, sizeof(golden), CORPUS_DIR "/golden/%s/%.*s%s.ndjson", folder, (int)(dot - name),
                     name, suffix);
            run(chain, path, golden, env, CBT_FRAMING_BUNDLE);
            run(chain, path, golden, env, CBT_FRAMING_DETECT);
            files++;
        }
        free(entries[i]);
    }
    free(entries);
    assert_true(files > 0);
}

static void real_events_equal_golden(void **state)
{
    if (has_corpus())
        run_folder(*state, "events", ".log", "", NULL);
    else
        skip();
}

static void real_zips_equal_golden(void **state)
{
    static const uint8_t host[] = "host-7";
    const struct cbt_environment env = {.sensor_id = 7,
                                        .host_name = {host, 6},
                                        .has_sensor_id = true,
                                        .has_host_name = true,
                                        .has_host_id = true,
                                        .has_node_id = true};
    if (!has_corpus())
        skip();
    run_folder(*state, "zip", ".zip", "", NULL);
    run_folder(*state, "zip", ".zip", ".headers", &env);
}

static void archived_log_equals_golden(void **state)
{
    if (!has_corpus())
        skip();
    run(*state, CORPUS_DIR "/archived-2013.log", CORPUS_DIR "/golden/archived-2013.ndjson", NULL,
        CBT_FRAMING_DETECT);
}

static void real_notifications_equal_golden(void **state)
{
    struct dirent **entries;
    unsigned files = 0, notifications = 0, events = 0;
    if (!has_corpus())
        skip();
    int count = scandir(CORPUS_DIR "/notifications", &entries, NULL, by_name);
    for (int i = 0; i < count; i++) {
        char *dot = strrchr(entries[i]->d_name, '.');
        if (dot != NULL && strcmp(dot, ".ndjson") == 0) {
            *dot = '\0';
            run_notifications(*state, entries[i]->d_name, &notifications, &events);
            files++;
        }
        free(entries[i]);
    }
    free(entries);
    assert_true(files > 0);
    print_message("%5u events equal: %u notifications of %u files\n", events, notifications, files);
}

static void output_is_the_same_however_the_buffer_grows(void **state)
{
    struct chain *chain = *state;
    if (!has_corpus())
        skip();
    for (chain->growth_step = 1; chain->growth_step < 60; chain->growth_step += 29) {
        real_events_equal_golden(state);
        real_notifications_equal_golden(state);
    }
    chain->growth_step = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_events_equal_golden),
        cmocka_unit_test(real_zips_equal_golden),
        cmocka_unit_test(archived_log_equals_golden),
        cmocka_unit_test(real_notifications_equal_golden),
        cmocka_unit_test(output_is_the_same_however_the_buffer_grows),
    };
    return cmocka_run_group_tests(tests, chain_open, chain_close);
}
