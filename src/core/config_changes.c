/* SPDX-License-Identifier: MIT */
/* Compares two configurations after SIGHUP: says which changes need a restart. Values may be secret: only
 * keys. */
#include <string.h>
#include <strings.h>

#include "cbtap/log.h"
#include "core/config_internal.h"

static bool takes_effect_at_once(const struct cbt_option *option)
{
    return (option->section == CBT_SECTION_cbtap && strncmp(option->key, "log.", 4) == 0) ||
           (option->section == CBT_SECTION_filter &&
            (strcmp(option->key, "types") == 0 || strcmp(option->key, "drop") == 0));
}

static bool same_map(const struct cbt_map *a, const struct cbt_map *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcasecmp(a->entries[i].key, b->entries[i].key) != 0 ||
            strcmp(a->entries[i].value, b->entries[i].value) != 0)
            return false;
    return true;
}

static bool same_field(const struct cbt_option *option, const void *a, const void *b)
{
    switch (option->kind) {
    case CBT_KIND_num:
        return *(const uint64_t *)a == *(const uint64_t *)b;
    case CBT_KIND_bool:
        return *(const bool *)a == *(const bool *)b;
    case CBT_KIND_map:
        return same_map(a, b);
    case CBT_KIND_str:
    case CBT_KIND_secret:
    case CBT_KIND_url:
    case CBT_KIND_choice:
        break;
    }
    return strcmp(*(const char *const *)a, *(const char *const *)b) == 0;
}

static unsigned compare(const char *section, enum cbt_section_kind kind, const void *a, const void *b)
{
    unsigned changes = 0;
    for (size_t i = 0; i < cbt_option_count; i++) {
        const struct cbt_option *option = &cbt_options[i];
        if (option->section != kind || takes_effect_at_once(option) ||
            same_field(option, (const char *)a + option->offset, (const char *)b + option->offset))
            continue;
        cbt_log_warning("the change takes effect with a restart only", CBT_S("section", section),
                        CBT_S("key", option->key));
        changes++;
    }
    return changes;
}

static unsigned compare_sources(const struct cbt_config *old, const struct cbt_config *new)
{
    unsigned changes = 0;
    if (old->source_count != new->source_count) {
        cbt_log_warning("sources were added or removed: this takes effect with a restart only");
        return 1;
    }
    for (size_t i = 0; i < old->source_count; i++) {
        struct cbt_source_config *a = &old->sources[i], *b = &new->sources[i];
        enum cbt_section_kind kind = cbt_section_kind_of("source", a->type);
        if (strcasecmp(a->name, b->name) != 0 || strcmp(a->type, b->type) != 0) {
            cbt_log_warning("another source: this takes effect with a restart only",
                            CBT_S("source", b->name));
            changes++;
        } else {
            changes += compare(b->name, kind, cbt_source_options(a, kind), cbt_source_options(b, kind));
        }
    }
    return changes;
}

static unsigned compare_sinks(const struct cbt_config *old, const struct cbt_config *new)
{
    unsigned changes = 0;
    if (old->sink_count != new->sink_count) {
        cbt_log_warning("sinks were added or removed: this takes effect with a restart only");
        return 1;
    }
    for (size_t i = 0; i < old->sink_count; i++) {
        if (strcasecmp(old->sinks[i].name, new->sinks[i].name) != 0 ||
            strcmp(old->sinks[i].type, new->sinks[i].type) != 0) {
            cbt_log_warning("another sink: this takes effect with a restart only",
                            CBT_S("sink", new->sinks[i].name));
            changes++;
        } else {
            changes += compare(new->sinks[i].name, cbt_section_kind_of("sink", new->sinks[i].type),
                               &old->sinks[i].kafka, &new->sinks[i].kafka);
        }
    }
    return changes;
}

unsigned cbt_config_log_changes(const struct cbt_config *running, const struct cbt_config *loaded)
{
    return compare("cbtap", CBT_SECTION_cbtap, &running->cbtap, &loaded->cbtap) +
           compare("decode", CBT_SECTION_decode, &running->decode, &loaded->decode) +
           compare("filter", CBT_SECTION_filter, &running->filter, &loaded->filter) +
           compare_sources(running, loaded) + compare_sinks(running, loaded);
}
