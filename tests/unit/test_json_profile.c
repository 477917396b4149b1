/* SPDX-License-Identifier: MIT */
/*
 * json.profile: cbef-3.8 differs from the documented schema in exactly the keys listed here, by name only, in
 * nothing else.
 */
#include "fixture.h"
#include "json_value.h"
#include "pb_build.h"

static struct cbt_decoder *decoder;
static void *documented, *cbef;

static int open_all(void **state)
{
    (void)state;
    struct cbt_err err;
    struct cbt_format_options options = {.server_name = "s", .server_url = "https://u", .float_time = true};
    assert_int_equal(cbt_decoder_new(&decoder, &fixture_limits, &err), 0);
    documented = json_open(&options);
    options.profile = "cbef-3.8";
    cbef = json_open(&options);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    cbt_decoder_free(decoder);
    json_close(documented);
    json_close(cbef);
    return 0;
}

static struct jv *encode(const void *json, const struct cbt_event *event)
{
    struct exact_buf out;
    struct cbt_err err = {0};
    exact_init(&out, 0, SIZE_MAX);
    assert_int_equal(cbt_format_find("json")->encode(json, event, &out.buf, &err), 0);
    struct jv *value = jv_parse(out.buf.begin, cbt_buf_len(&out.buf));
    assert_non_null(value);
    exact_free(&out);
    return value;
}

struct difference {
    const char *key, *name; /* NULL: cbef-3.8 does not have it */
};

/* Gives the documented event the names of cbef-3.8; every difference must be there. */
static void apply(struct jv *value, const struct difference *differences, const char *record_text)
{
    for (const struct difference *d = differences; d->key != NULL; d++) {
        struct jv **at = &value->children;
        while (*at != NULL &&
               ((*at)->key_len != strlen(d->key) || memcmp((*at)->key, d->key, (*at)->key_len) != 0))
            at = &(*at)->next;
        struct jv *child = *at;
        if (child == NULL) {
            fail_msg("%s: no key %s in the documented profile", record_text, d->key);
            return;
        }
        if (d->name != NULL) {
            free(child->key);
            child->key = jv_copy(d->name, strlen(d->name));
            child->key_len = strlen(d->name);
        } else {
            *at = child->next;
            child->next = NULL;
            jv_free(child);
        }
    }
}

static void expect_differences(const char *record_text, const struct difference *differences)
{
    struct pb record = pb_parse(record_text);
    struct cbt_event event;
    struct cbt_err err = {0};
    enum cbt_dead_reason reason;
    if (cbt_decode_event(decoder, pb_text(&record), NULL, &event, &reason, &err) != 0)
        fail_msg("%s: %s", record_text, err.text);
    struct jv *expected = encode(documented, &event), *is = encode(cbef, &event);
    apply(expected, differences, record_text);
    if (!jv_equal(is, expected))
        fail_msg("%s: the profiles differ otherwise than they should", record_text);
    jv_free(expected);
    jv_free(is);
    pb_free(&record);
}

/* A header with all that counts, and a sensor. */
#define FULL                                                                                                 \
    "1{1:4 4:130921702131467731 5:-99 6:5 9:130921702131467731 10:708 11:x0A 12:'c:\\prog.exe' 13:-7 "       \
    "14:xFF} "                                                                                               \
    "2{1:5 2:'path'} 13{1{1:7 2:'host'}} "

static void cbef_renames_and_leaves_out_what_it_should(void **state)
{
    (void)state;
    static const struct difference process[] = {{"parent_process_guid", NULL}, {0}};
    static const struct difference childproc[] = {
        {"child_process_guid", NULL}, {"child_suppressed", "childproc_suppressed"}, {0}};
    static const struct difference filemod[] = {
        {"actiontype", "action_type"}, {"filetype", "file_type"}, {0}};
    static const struct difference regmod[] = {{"actiontype", "action_type"}, {0}};
    static const struct difference module[] = {{"utf8_copied_module_length", "utf_8_copied_module_length"},
                                               {"utf8_file_description", "utf_8_file_description"},
                                               {"utf8_company_name", "utf_8_company_name"},
                                               {"utf8_product_name", "utf_8_product_name"},
                                               {"utf8_file_version", "utf_8_file_version"},
                                               {"utf8_comments", "utf_8_comments"},
                                               {"utf8_legal_copyright", "utf_8_legal_copyright"},
                                               {"utf8_legal_trademark", "utf_8_legal_trademark"},
                                               {"utf8_internal_name", "utf_8_internal_name"},
                                               {"utf8_original_file_name", "utf_8_original_file_name"},
                                               {"utf8_product_description", "utf_8_product_description"},
                                               {"utf8_product_version", "utf_8_product_version"},
                                               {"utf8_private_build", "utf_8_private_build"},
                                               {"utf8_special_build", "utf_8_special_build"},
                                               {"utf8_on_disk_filename", "utf_8_on_disk_filename"},
                                               {0}};
    expect_differences(FULL "3{2:1 3:4 4:5 5:-6 6:xAA 10:xBB 15:'u' 20:xDD}", process);
    expect_differences(FULL "3{2:0 3:4 4:5 5:-6}", process);
    expect_differences("1{1:4} 3{}", process);
    expect_differences(FULL "12{1:1 2:-1 4:-2 6:4 7:255 9{1:1} 10:'cmd' 11:'user'}", childproc);
    expect_differences("1{1:4} 12{}", childproc);
    expect_differences(FULL "5{2:16 4:x01 5:113 6:1 7:1 8:x02}", filemod);
    expect_differences(FULL "7{2:8 4:'\\registry' 5:1}", regmod);
    expect_differences(FULL
                       "9{1:'d8' 2:4 3:5 4:'4' 5:'5' 6:'6' 7:'7' 8:'8' 9:'9' 10:'a' 11:'b' 12:'c' 13:'d' "
                       "14:'e' 15:'f' 16:'g' 17:'h' 18:'i' 19:'j' 20:'k' 21:'l' 22:'m' 23:'n' 24:x01 25:x02 "
                       "26:'o' 27:'p'}",
                       module);
    expect_differences("1{1:4} 9{}", module);
}

static void all_other_types_are_the_same(void **state)
{
    (void)state;
    static const char *const records[] = {
        FULL "4{3:x0A 8:x0B}",
        FULL "20{1:17 2:'d' 4:1 5{2:1} 6:2 7:'p' 8{2:3} 9:4 10{2:5} 11:6 12:'J' 13:'S'}",
        FULL "6{2:1 5:2 6:17 7:'d' 13:3 14:4 15:5 16:6}",
        FULL "14{1{1:2 2:3 3:4 4:5 5:'t' 6:x01 7:x02} 3:1 4:1 5:1}",
        FULL "14{2{1:3 2:4 3:'t' 4:x01 5:x02} 3:1}",
        FULL "17{1:1 2:2 3{1:8} 4:'E' 5:1}",
        FULL "15{1:4}",
        FULL "16{1:1 2:2 3:x0A 4:'p' 5:5 6:1 7:2 8:3 9:'c'}",
        FULL "16{2:1 5:0 7:9 10:'u' 11:'n'}",
        FULL "21{1:1 6:1 7{2:1} 9:'x' 10{2:2} 14:'J'}",
        FULL "18{1:1 2:1 5:2 13:3 15:4}",
        FULL "23{1:'s' 2:'h'}",
        FULL "24{1:'s' 2:'h' 3:'f'}",
        FULL "10{1:x01 2:x02 3:1 4:'w' 5:'f' 6:x03}",
        FULL "11{1:x01 2:x02}",
        FULL "19{2:-2 3:-3 4:x04 8:'8' 9:-9 10:-10 24{1:8} 27:-2}",
        FULL "99{1:1}",
    };
    static const struct difference none[] = {{0}};
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
        expect_differences(records[i], none);
}

static void an_unknown_profile_is_refused_and_the_known_are_named(void **state)
{
    (void)state;
    void *json = NULL;
    struct cbt_err err = {0};
    const struct cbt_format_options options = {.profile = "cbef-3.9"};
    assert_int_equal(cbt_format_find("json")->open(&json, &options, &err), CBT_EINVAL);
    assert_string_equal(err.text, "json.profile = 'cbef-3.9' is not known: documented or cbef-3.8");
    assert_null(json);
}

/* Both names of the default give the same. */
static void the_default_is_documented(void **state)
{
    (void)state;
    struct pb record = pb_parse(FULL "5{2:16}");
    struct cbt_event event;
    struct cbt_err err = {0};
    enum cbt_dead_reason reason;
    void *named = json_open(&(struct cbt_format_options){.profile = "documented"});
    void *unnamed = json_open(&(struct cbt_format_options){.profile = NULL});
    assert_int_equal(cbt_decode_event(decoder, pb_text(&record), NULL, &event, &reason, &err), 0);
    struct jv *a = encode(named, &event), *b = encode(unnamed, &event);
    assert_non_null(jv_get(a, "actiontype"));
    assert_true(jv_equal(a, b));
    jv_free(a);
    jv_free(b);
    json_close(named);
    json_close(unnamed);
    pb_free(&record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cbef_renames_and_leaves_out_what_it_should),
        cmocka_unit_test(all_other_types_are_the_same),
        cmocka_unit_test(an_unknown_profile_is_refused_and_the_known_are_named),
        cmocka_unit_test(the_default_is_documented),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
