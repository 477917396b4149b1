/* SPDX-License-Identifier: MIT */
/*
 * docs/EVENTS.md is what the tables give, and what the tables say of each key is true: that it is there,
 * when, of which JSON type, with which values, and that each of its sources counts. The records are made of
 * the protobuf descriptors, every field of them, so that a new field or key needs nothing here.
 */
#include "fixture.h"
#include "json_value.h"
#include "pb_build.h"

#include "format/json.h"
#include "format/json_docs.h"
#include "format/json_names.h"

#define SEEDS      400u
#define KEYS_MAX   96u
#define PATH_BYTES 160
#define UNNAMED    77u /* a value that no enum has a name for */

static struct cbt_decoder *decoder;
static void *documented, *cbef, *without_links;

static int open_all(void **state)
{
    (void)state;
    struct cbt_err err;
    assert_int_equal(cbt_decoder_new(&decoder, &fixture_limits, &err), 0);
    documented = json_open(&(struct cbt_format_options){.server_name = "s", .server_url = "https://u"});
    cbef = json_open(
        &(struct cbt_format_options){.server_name = "s", .server_url = "https://u", .profile = "cbef-3.8"});
    without_links = json_open(&(struct cbt_format_options){.server_name = "s"});
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    cbt_decoder_free(decoder);
    json_close(documented);
    json_close(cbef);
    json_close(without_links);
    return 0;
}

/* --- records --- */

/* What a record is made of: each field is set, or not, by seed and path; another draw for what is at or below
 * the path `varied`. */
struct make {
    const char *member;
    uint32_t seed;
    const char *varied; /* NULL: none */
};

static uint32_t draw(const struct make *make, const char *path)
{
    uint32_t hash = 2166136261u ^ (make->seed * 2654435761u);
    if (make->varied != NULL) {
        const size_t len = strlen(make->varied);
        if (strncmp(path, make->varied, len) == 0 && (path[len] == '\0' || path[len] == '.'))
            hash ^= 0x9E3779B9u;
    }
    for (; *path != '\0'; path++)
        hash = (hash ^ (uint8_t)*path) * 16777619u;
    hash = (hash ^ hash >> 15) * 2246822519u;
    return hash ^ hash >> 13;
}

static void put_fields(struct pb *pb, const ProtobufCMessageDescriptor *type, const struct make *make,
                       const char *path);

static void put_field(struct pb *pb, const ProtobufCFieldDescriptor *field, const struct make *make,
                      const char *path)
{
    const uint32_t value = draw(make, path) >> 8;
    struct pb sub = {0};
    char text[8];
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        put_fields(&sub, field->descriptor, make, path);
        pb_message(pb, field->id, &sub);
        pb_free(&sub);
        return;
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_STRING:
        snprintf(text, sizeof(text), "%X", value % 256);
        pb_bytes(pb, field->id, text, value % 5 == 0 ? 0 : strlen(text));
        return;
    case PROTOBUF_C_TYPE_BOOL:
        pb_number(pb, field->id, value % 2);
        return;
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumDescriptor *values = field->descriptor;
        pb_number(pb, field->id,
                  value % 16 == 0 ? UNNAMED : (uint64_t)values->values[value / 16 % values->n_values].value);
        return;
    }
    default: /* few values, so that a string's guid is that of the header now and then */
        pb_number(pb, field->id, value % 3);
    }
}

static void put_fields(struct pb *pb, const ProtobufCMessageDescriptor *type, const struct make *make,
                       const char *path)
{
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        char below[PATH_BYTES];
        snprintf(below, sizeof(below), "%s%s%s", path, *path != '\0' ? "." : "", field->name);
        const bool is_root = *path == '\0';
        const bool is_wanted = !is_root || strcmp(field->name, "header") == 0 ||
                               strcmp(field->name, "strings") == 0 || strcmp(field->name, "env") == 0 ||
                               strcmp(field->name, make->member) == 0;
        if (is_wanted && (is_root || field->label == PROTOBUF_C_LABEL_REQUIRED || draw(make, below) % 8 != 0))
            put_field(pb, field, make, below);
    }
}

/* The event as JSON, or NULL where the record is of another type. */
static struct jv *encode(const void *json, enum cbt_event_type type, const struct make *make)
{
    struct pb record = {0};
    struct cbt_event event;
    struct cbt_err err = {0};
    enum cbt_dead_reason reason;
    struct jv *value = NULL;
    put_fields(&record, &cb_event_msg__descriptor, make, "");
    if (cbt_decode_event(decoder, pb_text(&record), NULL, &event, &reason, &err) != 0)
        fail_msg("%s, seed %u: %s", make->member, make->seed, err.text);
    if (event.type == type) {
        struct exact_buf out;
        exact_init(&out, 0, SIZE_MAX);
        assert_int_equal(cbt_format_find("json")->encode(json, &event, &out.buf, &err), 0);
        value = jv_parse(out.buf.begin, cbt_buf_len(&out.buf));
        assert_non_null(value);
        exact_free(&out);
    }
    pb_free(&record);
    return value;
}

/* --- what is documented --- */

struct known {
    char name[64]; /* "" where the profile does not have it */
    const struct cbt_json_doc *doc;
    const char *prefix;
    unsigned seen;
};

static size_t known_keys(const struct cbt_json_doc_from *from, bool is_cbef,
                         struct known known[static KEYS_MAX])
{
    const uint32_t common = cbt_json_doc_common[from->type];
    char blocks[160];
    size_t count = 0;
    const struct cbt_json_doc *doc;
    snprintf(blocks, sizeof(blocks), "made event %s %s %s",
             (common & CBT_JSON_PROCESS) != 0 ? "header_process" : "",
             (common & CBT_JSON_HASHES) != 0 ? "header_hashes" : "", from->blocks);
    struct cbt_json_doc_reader reader = {.blocks = blocks};
    while ((doc = cbt_json_doc_next(&reader)) != NULL) {
        assert_true(count < KEYS_MAX);
        const char *key = is_cbef && doc->cbef != NULL ? doc->cbef : doc->key;
        struct known *k = &known[count++];
        *k = (struct known){.doc = doc, .prefix = reader.block->prefix};
        if (*key != '\0')
            snprintf(k->name, sizeof(k->name), "%s%s", k->prefix, key);
    }
    return count;
}

static bool is_of_type(const struct jv *value, const char *type)
{
    static const char *const types[] = {
        [JV_NULL] = "null",     [JV_BOOL] = "boolean", [JV_NUMBER] = "number",
        [JV_STRING] = "string", [JV_ARRAY] = "array",  [JV_OBJECT] = "object"};
    return strcmp(types[value->kind], type) == 0 ||
           (strcmp(type, "string or null") == 0 && (value->kind == JV_STRING || value->kind == JV_NULL));
}

static bool has_name(const struct cbt_json_doc *doc, const struct jv *value)
{
    for (size_t i = 0; i < doc->name_count; i++)
        if (doc->names[i].len == value->len + 2 &&
            memcmp(doc->names[i].text + 1, value->text, value->len) == 0)
            return true;
    return strcmp(value->text, "unknown (77)") == 0;
}

static void check_value(const char *name, const struct cbt_json_doc *doc, const struct jv *value)
{
    if (!is_of_type(value, doc->type))
        fail_msg("%s is not a %s", name, doc->type);
    if (doc->names == NULL)
        return;
    const struct jv *element = value->kind == JV_ARRAY ? value->children : value;
    for (; element != NULL; element = value->kind == JV_ARRAY ? element->next : NULL)
        if (!has_name(doc, element))
            fail_msg("%s has the value %s, which is not documented", name, element->text);
}

/* Finds each key of the object among the known ones. */
static void see(const char *type, const struct jv *object, const char *prefix, struct known *known,
                size_t count)
{
    for (const struct jv *v = object->children; v != NULL; v = v->next) {
        char name[64];
        bool is_known = false;
        snprintf(name, sizeof(name), "%s%s", prefix, v->key);
        for (size_t i = 0; i < count; i++) {
            if (strcmp(known[i].name, name) != 0)
                continue;
            is_known = true;
            known[i].seen++;
            check_value(name, known[i].doc, v);
        }
        if (!is_known)
            fail_msg("%s: the encoder writes the key %s, which is not documented", type, name);
        if (v->kind == JV_OBJECT) {
            snprintf(name, sizeof(name), "%s.", v->key);
            see(type, v, name, known, count);
        }
    }
}

static void check_presence(const char *type, const struct known *k, unsigned events, bool has_links)
{
    const bool is_link = k->doc->link_end != NULL, is_there = *k->name != '\0' && (has_links || !is_link);
    const bool is_always = strcmp(k->doc->present, "always") == 0;
    if (!is_there && k->seen != 0)
        fail_msg("%s: the key %s is there", type, k->doc->key);
    if (is_there && k->seen == 0)
        fail_msg("%s: the key %s is documented, but the encoder does not write it", type, k->name);
    if (is_there && is_always && k->seen != events)
        fail_msg("%s: the key %s is not always there", type, k->name);
    if (is_there && !is_always && !is_link && k->seen == events)
        fail_msg("%s: the key %s is always there, not %s", type, k->name, k->doc->present);
}

static void check_keys(const void *json, bool is_cbef, bool has_links)
{
    for (size_t i = 0; i < cbt_json_doc_from_count; i++) {
        const struct cbt_json_doc_from *from = &cbt_json_doc_froms[i];
        const char *type = cbt_event_type_name(from->type);
        struct known known[KEYS_MAX];
        const size_t count = known_keys(from, is_cbef, known);
        unsigned events = 0;
        for (uint32_t seed = 0; seed < SEEDS; seed++) {
            struct jv *value = encode(json, from->type, &(struct make){from->member, seed, NULL});
            if (value != NULL) {
                see(type, value, "", known, count);
                events++;
            }
            jv_free(value);
        }
        for (size_t k = 0; k < count; k++)
            check_presence(type, &known[k], events, has_links);
    }
}

static void every_key_is_documented_and_there_as_documented(void **state)
{
    (void)state;
    check_keys(documented, false, true);
    check_keys(cbef, true, true);
    check_keys(without_links, false, false);
}

/* --- sources --- */

static const struct jv *value_of(const struct jv *event, const struct known *k)
{
    const size_t len = strlen(k->prefix);
    char object[64];
    if (len == 0)
        return jv_get(event, k->name);
    snprintf(object, sizeof(object), "%.*s", (int)len - 1, k->prefix);
    return jv_get(jv_get(event, object), k->name + len);
}

/* Whether an event's value of that key depends on the field. */
static bool counts(const struct cbt_json_doc_from *from, const struct known *k, const char *path)
{
    bool is_other = false;
    for (uint32_t seed = 0; seed < SEEDS && !is_other; seed++) {
        struct jv *a = encode(documented, from->type, &(struct make){from->member, seed, NULL});
        struct jv *b = encode(documented, from->type, &(struct make){from->member, seed, path});
        const struct jv *x = value_of(a, k), *y = value_of(b, k);
        is_other = x != NULL && y != NULL && !jv_equal(x, y);
        jv_free(a);
        jv_free(b);
    }
    return is_other;
}

static void check_sources(const struct cbt_json_doc_from *from, const struct known *k, unsigned *checked)
{
    char sources[256];
    snprintf(sources, sizeof(sources), "%s", k->doc->source);
    char *rest = sources;
    for (char *word = strsep(&rest, " ,"); word != NULL; word = strsep(&rest, " ,")) {
        char path[PATH_BYTES];
        if (strchr(word, '.') == NULL)
            continue;
        snprintf(path, sizeof(path), "%s%s", *word == '.' ? from->member : "", word);
        if (!counts(from, k, path))
            fail_msg("%s: the key %s does not depend on %s", cbt_event_type_name(from->type), k->name, path);
        ++*checked;
    }
}

/* What no field tells: the type, the configuration, the object of a nested block, the record itself. */
static bool has_no_source(const char *key)
{
    static const char *const keys[] = {"type",   "event_type", "cb_server",
                                       "digsig", "raw",        "cross_process_type"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

static void every_source_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < cbt_json_doc_from_count; i++) {
        struct known known[KEYS_MAX];
        const size_t count = known_keys(&cbt_json_doc_froms[i], false, known);
        for (size_t k = 0; k < count; k++) {
            unsigned checked = 0;
            if (known[k].doc->link_end != NULL)
                continue;
            check_sources(&cbt_json_doc_froms[i], &known[k], &checked);
            if (checked == 0 && !has_no_source(known[k].name))
                fail_msg("%s: no source is documented", known[k].name);
        }
    }
}

/* --- the file --- */

static void docs_events_md_is_what_the_tables_give(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    struct file stored = {0};
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    assert_int_equal(cbt_events_print_docs(out), 0);
    fclose(out);
    if (!file_read(SOURCE_DIR "/docs/EVENTS.md", &stored) || stored.len != len ||
        memcmp(stored.data, text, len) != 0)
        fail_msg("docs/EVENTS.md is stale: cbtap help --events-md > docs/EVENTS.md");
    free(stored.data);
    free(text);
}

/* Each type that is encoded has its section, and each has a name. */
static void every_type_is_documented(void **state)
{
    (void)state;
    bool is_there[CBT_TYPES] = {false};
    for (size_t i = 0; i < cbt_json_doc_from_count; i++)
        is_there[cbt_json_doc_froms[i].type] = true;
    for (int type = 0; type < CBT_TYPE_NOTIFICATION; type++)
        if (is_there[type] == (type == CBT_TYPE_stats)) /* filtered, never encoded */
            fail_msg("%s", cbt_event_type_name((enum cbt_event_type)type));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(docs_events_md_is_what_the_tables_give),
        cmocka_unit_test(every_type_is_documented),
        cmocka_unit_test(every_key_is_documented_and_there_as_documented),
        cmocka_unit_test(every_source_counts),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
