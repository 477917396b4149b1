/* SPDX-License-Identifier: MIT */
/*
 * Makes the configuration from its settings: file, then overrides, then substitution, then each section's
 * structure by the option table, then what concerns several options.
 */
#include "cbtap/config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/config_internal.h"

const char *cbt_map_get(const struct cbt_map *map, const char *key)
{
    for (size_t i = 0; i < map->count; i++)
        if (strcasecmp(map->entries[i].key, key) == 0)
            return map->entries[i].value;
    return NULL;
}

static void *field_of(const struct cbt_option *option, void *options)
{
    return (char *)options + option->offset;
}

static int set_defaults(enum cbt_section_kind kind, void *options, struct cbt_err *err)
{
    for (size_t i = 0; i < cbt_option_count; i++) {
        const struct cbt_option *option = &cbt_options[i];
        if (option->section != kind || option->kind == CBT_KIND_map)
            continue;
        if (option->kind == CBT_KIND_choice && *option->deflt == '\0') {
            *(const char **)field_of(option, options) = option->deflt;
            continue;
        }
        int rc = cbt_option_parse(option, option->deflt, field_of(option, options), err);
        if (rc != 0)
            return cbt_err_prefix(err, "default of %s", option->key);
    }
    return 0;
}

/* The section type that has an option `key`, other than `not_kind`, or NULL. */
static const struct cbt_section_type *home_of(const char *key, enum cbt_section_kind not_kind)
{
    for (size_t i = 0; i < cbt_section_type_count; i++) {
        const struct cbt_section_type *type = &cbt_section_types[i];
        const struct cbt_option *option = type->kind != not_kind ? cbt_option_find(type->kind, key) : NULL;
        if (option)
            return type;
    }
    return NULL;
}

static int unknown_key(const struct cbt_settings *settings, const struct cbt_section *section,
                       const struct cbt_setting *setting, enum cbt_section_kind kind, struct cbt_err *err)
{
    const char *words[128];
    size_t count = 0;
    char phrase[160];
    for (size_t i = 0; i < cbt_option_count && count < 128; i++)
        if (cbt_options[i].section == kind && cbt_options[i].kind != CBT_KIND_map)
            words[count++] = cbt_options[i].key;
    const char *nearest = cbt_nearest(setting->key, words, count);
    cbt_nearest_phrase(setting->key, nearest, phrase, sizeof phrase);
    const struct cbt_section_type *home = home_of(setting->key, kind);
    bool is_near = strncmp(phrase, "did", 3) == 0;
    if (home && home->type)
        snprintf(phrase, sizeof phrase, "it belongs into a [%s.NAME] of type %s", home->role, home->type);
    else if (home)
        snprintf(phrase, sizeof phrase, "it belongs into [%s]", home->role);
    else if (!is_near && kind == CBT_SECTION_kafka && strchr(setting->key, '.') &&
             strncasecmp(setting->key, "kafka.", 6) != 0)
        snprintf(phrase, sizeof phrase, "a librdkafka property is written \"kafka.%.100s\"", setting->key);
    return cbt_setting_err(settings, section, setting, err, CBT_EINVAL, "unknown key; %s", phrase);
}

static int add_to_map(struct cbt_map *map, const char *key, const char *value, struct cbt_err *err)
{
    struct cbt_map_entry *grown = realloc(map->entries, (map->count + 1) * sizeof *grown);
    if (!grown)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    map->entries = grown;
    grown[map->count++] = (struct cbt_map_entry){.key = key, .value = value};
    return 0;
}

/* Fills the structure of one section; `section` may be NULL: then it has its defaults. */
static int fill(const struct cbt_settings *settings, const struct cbt_section *section,
                enum cbt_section_kind kind, void *options, struct cbt_err *err)
{
    int rc = set_defaults(kind, options, err);
    for (size_t i = 0; section && i < section->count && rc == 0; i++) {
        const struct cbt_setting *setting = &section->settings[i];
        const struct cbt_option *option = cbt_option_find(kind, setting->key);
        struct cbt_err why;
        if (!option)
            return unknown_key(settings, section, setting, kind, err);
        if (option->kind == CBT_KIND_map)
            rc = add_to_map(field_of(option, options), setting->key + strlen(option->key), setting->value,
                            &why);
        else
            rc = cbt_option_parse(option, setting->value, field_of(option, options), &why);
        if (rc != 0)
            cbt_setting_err(settings, section, setting, err, why.rc, "%s", why.text);
    }
    return rc;
}

static int check_name(const struct cbt_settings *settings, const struct cbt_section *section,
                      const char *name, struct cbt_err *err)
{
    size_t len = strlen(name);
    for (const char *s = name; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '-' && *s != '_')
            len = 0;
    if (len == 0 || len > CBT_CONFIG_NAME_MAX_BYTES)
        return cbt_setting_err(settings, section, NULL, err, CBT_EINVAL,
                               "a NAME is 1 to %d letters, digits, - and _", CBT_CONFIG_NAME_MAX_BYTES);
    return 0;
}

/* What a [source.NAME] or [sink.NAME] is, by its `type`. */
static int find_type(const struct cbt_settings *settings, const struct cbt_section *section, const char *role,
                     const struct cbt_section_type **ret_type, struct cbt_err *err)
{
    const struct cbt_setting *setting = cbt_section_setting(section, "type");
    const char *words[16];
    size_t count = 0;
    char list[128] = "", phrase[160];
    for (size_t i = 0; i < cbt_section_type_count && count < 16; i++) {
        const struct cbt_section_type *type = &cbt_section_types[i];
        if (strcmp(type->role, role) != 0)
            continue;
        if (setting && strcmp(setting->value, type->type) == 0) {
            *ret_type = type;
            return 0;
        }
        words[count++] = type->type;
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", *list ? ", " : "", type->type);
    }
    if (!setting)
        return cbt_setting_err(settings, section, NULL, err, CBT_EINVAL, "has no type; known: %s", list);
    cbt_nearest_phrase(setting->value, cbt_nearest(setting->value, words, count), phrase, sizeof phrase);
    return cbt_setting_err(settings, section, setting, err, CBT_EINVAL, "unknown type \"%.64s\"; %s",
                           setting->value, phrase);
}

static int unknown_section(const struct cbt_settings *settings, const struct cbt_section *section,
                           struct cbt_err *err)
{
    static const char *const words[] = {"cbtap", "decode", "filter", "source", "sink"};
    char head[64], phrase[160];
    snprintf(head, sizeof head, "%.*s", (int)strcspn(section->name, "."), section->name);
    const char *nearest = cbt_nearest(head, words, 5);
    cbt_nearest_phrase(head, nearest, phrase, sizeof phrase);
    if (nearest[0] == 's') /* [source] and [sink] want a name behind */
        snprintf(phrase, sizeof phrase, "did you mean \"%s.NAME\"?", nearest);
    return cbt_setting_err(settings, section, NULL, err, CBT_EINVAL, "unknown section; %s", phrase);
}

static int take_source(struct cbt_config *config, const struct cbt_settings *settings,
                       struct cbt_section *section, struct cbt_err *err)
{
    const struct cbt_section_type *type = NULL;
    struct cbt_source_config *source = &config->sources[config->source_count];
    source->name = section->name + strlen("source.");
    int rc = check_name(settings, section, source->name, err);
    if (rc == 0)
        rc = find_type(settings, section, "source", &type, err);
    if (!type)
        return rc;
    source->type = type->type;
    config->source_count++;
    if (type->kind == CBT_SECTION_redis)
        rc = cbt_config_take_redis_cb_conf(settings, section, err);
    if (rc == 0)
        rc = fill(settings, section, type->kind, cbt_source_options(source, type->kind), err);
    /* The url's default has a user and a password. */
    if (rc == 0 && type->kind == CBT_SECTION_amqp && *source->amqp.cb_conf &&
        !cbt_section_setting(section, "url"))
        source->amqp.url = "amqp://127.0.0.1/%2F";
    return rc;
}

/* The value of a choice or text of that key; "" where that kind of section has none. */
static const char *text_of(enum cbt_section_kind kind, const char *key, const void *options)
{
    const struct cbt_option *option = cbt_option_find(kind, key);
    if (!option || option->kind == CBT_KIND_map)
        return "";
    return *(const char *const *)(const void *)((const char *)options + option->offset);
}

static int take_sink(struct cbt_config *config, const struct cbt_settings *settings,
                     const struct cbt_section *section, struct cbt_err *err)
{
    const struct cbt_section_type *type = NULL;
    struct cbt_sink_config *sink = &config->sinks[config->sink_count];
    sink->name = section->name + strlen("sink.");
    int rc = check_name(settings, section, sink->name, err);
    if (rc == 0)
        rc = find_type(settings, section, "sink", &type, err);
    if (!type)
        return rc;
    sink->type = type->type;
    config->sink_count++;
    rc = fill(settings, section, type->kind, &sink->kafka, err);
    if (rc != 0)
        return rc;
    sink->format = text_of(type->kind, "format", &sink->kafka);
    sink->json_profile = text_of(type->kind, "json.profile", &sink->kafka);
    sink->key = text_of(type->kind, "key", &sink->kafka);
    sink->dead_letter_topic = text_of(type->kind, "dead_letter_topic", &sink->kafka);
    sink->dead_letter_dir = text_of(type->kind, "dead_letter_dir", &sink->kafka);
    return 0;
}

static int take_named_sections(struct cbt_config *config, const struct cbt_settings *settings,
                               struct cbt_err *err)
{
    int rc = 0;
    config->sources = calloc(settings->count + 1, sizeof *config->sources);
    config->sinks = calloc(settings->count + 1, sizeof *config->sinks);
    if (!config->sources || !config->sinks)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    for (size_t i = 0; i < settings->count && rc == 0; i++) {
        struct cbt_section *section = &settings->sections[i];
        if (strncasecmp(section->name, "source.", 7) == 0)
            rc = take_source(config, settings, section, err);
        else if (strncasecmp(section->name, "sink.", 5) == 0)
            rc = take_sink(config, settings, section, err);
        else if (strcasecmp(section->name, "cbtap") != 0 && strcasecmp(section->name, "decode") != 0 &&
                 strcasecmp(section->name, "filter") != 0)
            rc = unknown_section(settings, section, err);
    }
    return rc;
}

static int substitute_all(struct cbt_settings *settings, struct cbt_err *err)
{
    for (size_t i = 0; i < settings->count; i++) {
        struct cbt_section *section = &settings->sections[i];
        for (size_t j = 0; j < section->count; j++) {
            struct cbt_err why;
            int rc = cbt_config_substitute(section->settings[j].raw, &section->settings[j].value, &why);
            if (rc != 0)
                return cbt_setting_err(settings, section, &section->settings[j], err, why.rc, "%s", why.text);
        }
    }
    return 0;
}

static int take_host_name(struct cbt_config *config, struct cbt_settings *settings, struct cbt_err *err)
{
    char host_name[256] = "";
    if (config->cbtap.server_name && *config->cbtap.server_name)
        return 0;
    if (gethostname(host_name, sizeof host_name - 1) != 0 || !*host_name)
        return cbt_err_set(err, CBT_EINVAL, "cannot find out this host's name: set server_name in [cbtap]");
    settings->host_name = strdup(host_name);
    if (!settings->host_name)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    config->cbtap.server_name = settings->host_name;
    return 0;
}

static int load(struct cbt_config **ret_config, const char *path, const char *const overrides[],
                size_t override_count, bool need_ends, struct cbt_err *err)
{
    int rc = 0;
    struct cbt_config *config = calloc(1, sizeof *config);
    struct cbt_settings *settings = calloc(1, sizeof *settings);
    if (!config || !settings) {
        free(settings);
        free(config);
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    }
    config->memory = settings;
    if (path)
        rc = cbt_settings_read(settings, path, err);
    for (size_t i = 0; i < override_count && rc == 0; i++)
        rc = cbt_settings_override(settings, overrides[i], err);
    if (rc == 0)
        rc = substitute_all(settings, err);
    if (rc == 0)
        rc = fill(settings, cbt_settings_section(settings, "cbtap"), CBT_SECTION_cbtap, &config->cbtap, err);
    if (rc == 0)
        rc = fill(settings, cbt_settings_section(settings, "decode"), CBT_SECTION_decode, &config->decode,
                  err);
    if (rc == 0)
        rc = fill(settings, cbt_settings_section(settings, "filter"), CBT_SECTION_filter, &config->filter,
                  err);
    if (rc == 0)
        rc = take_named_sections(config, settings, err);
    if (rc == 0)
        rc = take_host_name(config, settings, err);
    if (rc == 0)
        rc = cbt_config_check(config, settings, need_ends, err);
    if (rc == 0)
        *ret_config = config;
    else
        cbt_config_free(config);
    return rc;
}

int cbt_config_load(struct cbt_config **ret_config, const char *path, const char *const overrides[],
                    size_t override_count, struct cbt_err *err)
{
    return load(ret_config, path, overrides, override_count, true, err);
}

int cbt_config_load_without_ends(struct cbt_config **ret_config, const char *path,
                                 const char *const overrides[], size_t override_count, struct cbt_err *err)
{
    return load(ret_config, path, overrides, override_count, false, err);
}

void cbt_config_free(struct cbt_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->source_count; i++) {
        if (strcmp(config->sources[i].type, "amqp") == 0)
            free(config->sources[i].amqp.queue_arguments.entries);
    }
    for (size_t i = 0; i < config->sink_count; i++)
        if (strcmp(config->sinks[i].type, "kafka") == 0)
            free(config->sinks[i].kafka.kafka.entries);
    free(config->sources);
    free(config->sinks);
    cbt_settings_free(config->memory);
    free(config->memory);
    free(config);
}
