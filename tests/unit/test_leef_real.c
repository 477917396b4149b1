/* SPDX-License-Identifier: MIT */
/* Real events and notifications as LEEF, read back and compared with their JSON by value. */
#include "json_value.h"
#include "leef_chain.h"

#include <dirent.h>
#include <strings.h>

/* One field up to a separator that is not escaped; decoded in place. Returns what follows the separator. */
static char *take_field(char *s, char *end, char separator, char **ret_text, size_t *ret_len)
{
    char *to = s;
    *ret_text = s;
    for (; s < end && *s != separator; s++) {
        if (*s == '\\' && s + 1 < end) {
            s++;
            *to++ = (char)(*s == 'n' ? '\n' : *s == 'r' ? '\r' : *s == 't' ? '\t' : *s);
        } else {
            *to++ = *s;
        }
    }
    *ret_len = (size_t)(to - *ret_text);
    return s < end ? s + 1 : end;
}

static const struct jv *expected_value(const struct jv *event, const struct jv *entry, const char *key)
{
    const struct jv *ioc =
        jv_get(entry, "ioc_attr") != NULL ? jv_get(entry, "ioc_attr") : jv_get(event, "ioc_attr");
    const struct jv *from = ioc != NULL && ioc->kind == JV_OBJECT ? ioc : NULL;
    const struct jv *type = jv_get(event, "type");
    if (strncmp(type->text, "ingress.event.netconn", strlen("ingress.event.netconn")) == 0)
        from = event;
    const struct jv *direction = jv_get(from, "direction");
    bool inbound = direction != NULL && strcasecmp(direction->text, "inbound") == 0;
    static const char *const names[][3] = {{"src", "local_ip", "remote_ip"},
                                           {"dst", "remote_ip", "local_ip"},
                                           {"srcPort", "local_port", "remote_port"},
                                           {"dstPort", "remote_port", "local_port"},
                                           {"proto", "protocol", "protocol"}};
    for (unsigned i = 0; i < 5; i++)
        if (strcmp(key, names[i][0]) == 0 && jv_get(from, names[i][1 + inbound]) != NULL)
            return jv_get(from, names[i][1 + inbound]);
    return jv_get(entry, key) != NULL ? jv_get(entry, key) : jv_get(event, key);
}

static bool value_equals(const struct jv *value, const char *text, size_t len)
{
    if (value->kind == JV_ARRAY && value->children != NULL && value->children->next == NULL &&
        value->children->kind == JV_STRING)
        value = value->children;
    switch (value->kind) {
    case JV_STRING:
    case JV_NUMBER:
        return value->len == len && memcmp(value->text, text, len) == 0;
    case JV_BOOL:
        return len == (value->boolean ? 4 : 5) && memcmp(text, value->boolean ? "true" : "false", len) == 0;
    case JV_NULL:
        return false;
    default:
        break;
    }
    if (value->children == NULL)
        return len == 0;
    struct jv *parsed = jv_parse(text, len);
    bool equal = jv_equal(parsed, value);
    jv_free(parsed);
    return equal;
}

/* How many pairs there must be. */
static size_t expected_count(const struct jv *event, const struct jv *entry)
{
    size_t count = 0;
    static const char *const added[] = {"src", "dst", "srcPort", "dstPort", "proto"};
    for (const struct jv *v = event->children; v != NULL; v = v->next)
        count += v->kind != JV_NULL && jv_get(entry, v->key) == NULL && strcmp(v->key, "docs") != 0;
    for (const struct jv *v = entry != NULL ? entry->children : NULL; v != NULL; v = v->next)
        count += v->kind != JV_NULL && strcmp(v->key, "docs") != 0;
    for (unsigned i = 0; i < 5; i++)
        count += expected_value(event, entry, added[i]) != NULL && jv_get(event, added[i]) == NULL;
    return count;
}

struct tally {
    unsigned events, pairs, with_ends;
};

static void check_header(char **s, char *end, const struct jv *event, const struct jv *entry)
{
    static const char *const fixed[] = {"LEEF:1.0", "CB", "CB"};
    char *text;
    size_t len;
    for (unsigned i = 0; i < 3; i++) {
        *s = take_field(*s, end, '|', &text, &len);
        assert_int_equal(len, strlen(fixed[i]));
        assert_memory_equal(text, fixed[i], len);
    }
    const struct jv *version = expected_value(event, entry, "cb_version");
    *s = take_field(*s, end, '|', &text, &len);
    assert_int_equal(len, version != NULL ? version->len : 3);
    assert_memory_equal(text, version != NULL ? version->text : "5.1", len);
    const char *type = expected_value(event, entry, "type")->text;
    type = strcmp(type, "ingress.event.procstart") == 0 ? "ingress.event.process" : type;
    *s = take_field(*s, end, '|', &text, &len);
    assert_int_equal(len, strlen(type));
    assert_memory_equal(text, type, len);
}

static void compare(const struct cbt_event *cbt_event, struct tally *tally)
{
    struct exact_buf json, leef;
    encode("json", cbt_event, 0, &json);
    encode("leef", cbt_event, 0, &leef);
    struct jv *event = jv_parse(json.buf.begin, cbt_buf_len(&json.buf));
    assert_non_null(event);
    const struct jv *docs = jv_get(event, "docs"), *entry = NULL;
    if (docs != NULL && docs->children != NULL && docs->children->next == NULL)
        entry = docs->children;
    char *s = (char *)leef.buf.begin, *end = (char *)leef.buf.pos;
    assert_null(memchr(s, '\n', (size_t)(end - s)));
    check_header(&s, end, event, entry);
    size_t pairs = 0, previous_len = 0;
    const char *previous = "";
    while (s < end) {
        char *tab = memchr(s, '\t', (size_t)(end - s)), *pair_end = tab != NULL ? tab : end;
        char *key, *value;
        size_t key_len, value_len;
        s = take_field(s, pair_end, '=', &key, &key_len);
        take_field(s, pair_end, '\0', &value, &value_len);
        key[key_len] = '\0';
        int order = strcmp(previous, key);
        if (order >= 0 && pairs > 0)
            fail_msg("%s (%zu) before %s", previous, previous_len, key);
        const struct jv *expected = expected_value(event, entry, key);
        if (expected == NULL || !value_equals(expected, value, value_len))
            fail_msg("%s: %.*s, from %.*s", key, (int)value_len, value, (int)cbt_buf_len(&json.buf),
                     (char *)json.buf.begin);
        tally->with_ends += strcmp(key, "src") == 0;
        previous = key;
        previous_len = key_len;
        pairs++;
        s = pair_end < end ? pair_end + 1 : end;
    }
    size_t many_docs = docs != NULL && entry == NULL && docs->children != NULL;
    assert_int_equal(pairs, expected_count(event, entry) + many_docs);
    tally->events++;
    tally->pairs += (unsigned)pairs;
    jv_free(event);
    exact_free(&json);
    exact_free(&leef);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Calls `each` with every file of a folder of the corpus, and its name without the extension. */
static bool each_file(const char *folder,
                      void (*each)(struct cbt_text text, const char *name, struct tally *tally),
                      struct tally *tally)
{
    char path[1024], name[256];
    struct dirent **entries;
    snprintf(path, sizeof(path), CORPUS_DIR "/%s", folder);
    int count = scandir(path, &entries, NULL, by_name);
    for (int i = 0; i < count; i++) {
        struct file in = {0};
        snprintf(name, sizeof(name), "%s", entries[i]->d_name);
        snprintf(path, sizeof(path), CORPUS_DIR "/%s/%s", folder, name);
        free(entries[i]);
        char *dot = strrchr(name, '.');
        if (name[0] == '.' || dot == NULL)
            continue;
        *dot = '\0';
        assert_true(file_read(path, &in));
        each(file_text(&in), name, tally);
        free(in.data);
    }
    if (count >= 0)
        free(entries);
    else
        print_message("SKIPPED: no corpus at %s: nothing was compared\n", CORPUS_DIR);
    return count >= 0;
}

static void compare_bundle(struct cbt_text bundle, const char *name, struct tally *tally)
{
    struct cbt_walk *walk = NULL;
    struct cbt_part part;
    assert_int_equal(cbt_walk_new(&walk, &fixture_limits, NULL), 0);
    cbt_walk_start(walk, bundle, (struct cbt_text){0}, CBT_FRAMING_BUNDLE);
    while (cbt_walk_next(walk, &part)) {
        struct cbt_event event;
        enum cbt_dead_reason reason;
        struct cbt_err err = {0};
        if (cbt_decode_event(chain.decoder, part.data, NULL, &event, &reason, &err) != 0)
            fail_msg("%s: %s", name, err.text);
        compare(&event, tally);
    }
    cbt_walk_free(walk);
}

static void compare_lines(struct cbt_text lines, const char *name, struct tally *tally)
{
    const uint8_t *s = lines.data, *end = s + lines.len;
    while (s < end) {
        const uint8_t *newline = memchr(s, '\n', (size_t)(end - s)), *line_end = newline ? newline : end;
        struct cbt_text line = {s, (size_t)(line_end - s)};
        struct cbt_event event;
        enum cbt_dead_reason reason;
        struct cbt_err err = {0};
        size_t cursor = 0;
        int rc;
        while ((rc = cbt_decode_notification(chain.decoder, line, text_of(name), &cursor, &event, &reason,
                                             &err)) > 0)
            compare(&event, tally);
        if (rc != 0)
            fail_msg("%s: %s", name, err.text);
        s = line_end + 1;
    }
}

static void real_events_say_the_same_as_their_json(void **state)
{
    (void)state;
    struct tally tally = {0};
    if (!each_file("events", compare_bundle, &tally))
        skip();
    print_message("%u events, %u pairs, %u with a source\n", tally.events, tally.pairs, tally.with_ends);
    assert_true(tally.events > 0 && tally.with_ends > 0);
}

static void real_notifications_say_the_same_as_their_json(void **state)
{
    (void)state;
    struct tally tally = {0};
    if (!each_file("notifications", compare_lines, &tally))
        skip();
    print_message("%u notifications, %u pairs, %u with a source\n", tally.events, tally.pairs,
                  tally.with_ends);
    assert_true(tally.events > 0 && tally.with_ends > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_events_say_the_same_as_their_json),
        cmocka_unit_test(real_notifications_say_the_same_as_their_json),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
