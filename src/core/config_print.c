/* SPDX-License-Identifier: MIT */
/* Writes the effective configuration as INI that reads back, without its secrets. */
#include <inttypes.h>
#include <string.h>

#include "core/config_internal.h"

#define MASK "********"

static bool write_url(const char *url, FILE *out)
{
    struct cbt_text password = cbt_config_url_password(url);
    if (password.len == 0)
        return cbt_config_write_value(url, out);
    char masked[CBT_CONFIG_VALUE_MAX_BYTES + sizeof MASK];
    snprintf(masked, sizeof masked, "%.*s" MASK "%s", (int)((const char *)password.data - url), url,
             (const char *)password.data + password.len);
    return cbt_config_write_value(masked, out);
}

/* `key = value`; a value that INI cannot hold (of several lines, say) goes out as it was given: by @FILE or
 * ${NAME}. */
static void write_text(const struct cbt_section *section, const char *key, const char *value, FILE *out)
{
    fprintf(out, "%s = ", key);
    if (!cbt_config_write_value(value, out)) {
        const struct cbt_setting *setting = cbt_section_setting(section, key);
        fputs(setting ? setting->raw : "", out);
    }
    fputc('\n', out);
}

static void write_map(const struct cbt_section *section, const struct cbt_option *option,
                      const struct cbt_map *map, FILE *out)
{
    char key[256];
    for (size_t i = 0; i < map->count; i++) {
        snprintf(key, sizeof key, "%s%s", option->key, map->entries[i].key);
        if (*map->entries[i].value && cbt_config_secret_property(key))
            fprintf(out, "%s = %s\n", key, MASK);
        else
            write_text(section, key, map->entries[i].value, out);
    }
}

static void write_option(const struct cbt_section *section, const struct cbt_option *option,
                         const void *field, FILE *out)
{
    const char *text = NULL;
    switch (option->kind) {
    case CBT_KIND_num:
        fprintf(out, "%s = %" PRIu64 "\n", option->key, *(const uint64_t *)field);
        return;
    case CBT_KIND_bool:
        fprintf(out, "%s = %s\n", option->key, *(const bool *)field ? "true" : "false");
        return;
    case CBT_KIND_map:
        write_map(section, option, field, out);
        return;
    case CBT_KIND_secret:
        text = *(const char *const *)field;
        fprintf(out, "%s = %s\n", option->key, *text ? MASK : "");
        return;
    case CBT_KIND_url:
        fprintf(out, "%s = ", option->key);
        if (!write_url(*(const char *const *)field, out))
            fputs(MASK, out);
        fputc('\n', out);
        return;
    case CBT_KIND_str:
    case CBT_KIND_choice:
        write_text(section, option->key, *(const char *const *)field, out);
        return;
    }
}

static void write_section(const struct cbt_config *config, const char *name, enum cbt_section_kind kind,
                          const void *options, FILE *out)
{
    const struct cbt_section *section = cbt_settings_section(config->memory, name);
    fprintf(out, "[%s]\n", name);
    for (size_t i = 0; i < cbt_option_count; i++) {
        const struct cbt_option *option = &cbt_options[i];
        if (option->section == kind)
            write_option(section, option, (const char *)options + option->offset, out);
    }
    fputc('\n', out);
}

int cbt_config_print(const struct cbt_config *config, FILE *out)
{
    char name[CBT_CONFIG_NAME_MAX_BYTES + 16];
    write_section(config, "cbtap", CBT_SECTION_cbtap, &config->cbtap, out);
    for (size_t i = 0; i < config->source_count; i++) {
        struct cbt_source_config *source = &config->sources[i];
        enum cbt_section_kind kind = cbt_section_kind_of("source", source->type);
        snprintf(name, sizeof name, "source.%s", source->name);
        write_section(config, name, kind, cbt_source_options(source, kind), out);
    }
    write_section(config, "decode", CBT_SECTION_decode, &config->decode, out);
    write_section(config, "filter", CBT_SECTION_filter, &config->filter, out);
    for (size_t i = 0; i < config->sink_count; i++) {
        snprintf(name, sizeof name, "sink.%s", config->sinks[i].name);
        write_section(config, name, cbt_section_kind_of("sink", config->sinks[i].type),
                      &config->sinks[i].kafka, out);
    }
    return fflush(out) == 0 && !ferror(out) ? 0 : CBT_EIO;
}
