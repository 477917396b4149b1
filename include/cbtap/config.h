/* SPDX-License-Identifier: MIT */
/* The configuration: options.def as C structures, with their values read, checked and complete. */
#ifndef CBTAP_CONFIG_H
#define CBTAP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cbtap/err.h"

/* Keys under a prefix, in the order of the file. */
struct cbt_map {
    struct cbt_map_entry {
        const char *key; /* without the prefix */
        const char *value;
    } * entries;
    size_t count;
};

/* The value of `key`, or NULL. @thread any */
const char *cbt_map_get(const struct cbt_map *map, const char *key);

#define CBT_C_TYPE_str    const char *
#define CBT_C_TYPE_secret const char *
#define CBT_C_TYPE_url    const char *
#define CBT_C_TYPE_choice const char *
#define CBT_C_TYPE_num    uint64_t
#define CBT_C_TYPE_bool   bool

/* One structure for each section, its fields from the table; strings are never NULL. */
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help) CBT_C_TYPE_##kind field;
#define CBT_OPTION_MAP(section, field, prefix, help)                          struct cbt_map field;
#define CBT_OPTIONS_cbtap
struct cbt_options_cbtap {
#include "cbtap/options.def"
};
#undef CBT_OPTIONS_cbtap
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help) CBT_C_TYPE_##kind field;
#define CBT_OPTION_MAP(section, field, prefix, help)                          struct cbt_map field;
#define CBT_OPTIONS_amqp
struct cbt_options_amqp {
#include "cbtap/options.def"
};
#undef CBT_OPTIONS_amqp
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help) CBT_C_TYPE_##kind field;
#define CBT_OPTION_MAP(section, field, prefix, help)                          struct cbt_map field;
#define CBT_OPTIONS_redis
struct cbt_options_redis {
#include "cbtap/options.def"
};
#undef CBT_OPTIONS_redis
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help) CBT_C_TYPE_##kind field;
#define CBT_OPTION_MAP(section, field, prefix, help)                          struct cbt_map field;
#define CBT_OPTIONS_archive
struct cbt_options_archive {
#include "cbtap/options.def"
};
#undef CBT_OPTIONS_archive
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help) CBT_C_TYPE_##kind field;
#define CBT_OPTION_MAP(section, field, prefix, help)                          struct cbt_map field;
#define CBT_OPTIONS_decode
struct cbt_options_decode {
#include "cbtap/options.def"
};
#undef CBT_OPTIONS_decode
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help) CBT_C_TYPE_##kind field;
#define CBT_OPTION_MAP(section, field, prefix, help)                          struct cbt_map field;
#define CBT_OPTIONS_filter
struct cbt_options_filter {
#include "cbtap/options.def"
};
#undef CBT_OPTIONS_filter
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help) CBT_C_TYPE_##kind field;
#define CBT_OPTION_MAP(section, field, prefix, help)                          struct cbt_map field;
#define CBT_OPTIONS_kafka
struct cbt_options_kafka {
#include "cbtap/options.def"
};
#undef CBT_OPTIONS_kafka
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help) CBT_C_TYPE_##kind field;
#define CBT_OPTION_MAP(section, field, prefix, help)                          struct cbt_map field;
#define CBT_OPTIONS_file
struct cbt_options_file {
#include "cbtap/options.def"
};
#undef CBT_OPTIONS_file
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help) CBT_C_TYPE_##kind field;
#define CBT_OPTION_MAP(section, field, prefix, help)                          struct cbt_map field;
#define CBT_OPTIONS_stdout
struct cbt_options_stdout {
#include "cbtap/options.def"
};
#undef CBT_OPTIONS_stdout
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help) CBT_C_TYPE_##kind field;
#define CBT_OPTION_MAP(section, field, prefix, help)                          struct cbt_map field;
#define CBT_OPTIONS_tcp
struct cbt_options_tcp {
#include "cbtap/options.def"
};
#undef CBT_OPTIONS_tcp
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help) CBT_C_TYPE_##kind field;
#define CBT_OPTION_MAP(section, field, prefix, help)                          struct cbt_map field;
#define CBT_OPTIONS_udp
struct cbt_options_udp {
#include "cbtap/options.def"
};
#undef CBT_OPTIONS_udp
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help) CBT_C_TYPE_##kind field;
#define CBT_OPTION_MAP(section, field, prefix, help)                          struct cbt_map field;
#define CBT_OPTIONS_syslog
struct cbt_options_syslog {
#include "cbtap/options.def"
};
#undef CBT_OPTIONS_syslog

struct cbt_source;

struct cbt_source_config {
    const char *name;                /* NAME of [source.NAME] */
    const char *type;                /* "amqp", "redis", "archive" */
    const struct cbt_source *source; /* one of a command's own; NULL: the one of that type */
    void *own;                       /* what that one's open wants */
    union {
        struct cbt_options_amqp amqp;
        struct cbt_options_redis redis;
        struct cbt_options_archive archive;
    };
};

struct cbt_sink_config {
    const char *name;
    const char *type; /* "kafka" */
    /* What every type has, or "" where it has not: the same as in its own options. */
    const char *format, *json_profile, *key, *dead_letter_topic, *dead_letter_dir;
    union {
        struct cbt_options_kafka kafka;
        struct cbt_options_file file;
        struct cbt_options_stdout standard_output;
        struct cbt_options_tcp tcp;
        struct cbt_options_udp udp;
        struct cbt_options_syslog syslog;
    };
};

/* All values, defaults filled in. Owns its strings. */
struct cbt_config {
    struct cbt_options_cbtap cbtap;
    struct cbt_options_decode decode;
    struct cbt_options_filter filter;
    struct cbt_source_config *sources;
    size_t source_count;
    struct cbt_sink_config *sinks;
    size_t sink_count;
    void *memory; /* the implementation's */
};

/*
 * Reads `path` (NULL: no file) and then the overrides "section.key=value". Every fault is an error with file,
 * line, reason, and the nearest known key where a key is unknown. Substitutes ${NAME} and @FILE. At least one
 * source and one sink, or it is an error. @thread main
 */
int cbt_config_load(struct cbt_config **ret_config, const char *path, const char *const overrides[],
                    size_t override_count, struct cbt_err *err);
/* The same for what reads no bus and feeds no sink: those that there are must be right, but none need be
 * there.
 * @thread main */
int cbt_config_load_without_ends(struct cbt_config **ret_config, const char *path,
                                 const char *const overrides[], size_t override_count, struct cbt_err *err);
void cbt_config_free(struct cbt_config *config);

/* Writes the effective configuration as INI that reads back, secrets masked as "********". @thread main */
int cbt_config_print(const struct cbt_config *config, FILE *out);

/* Writes docs/CONFIGURATION.md from the table. @thread main */
int cbt_config_print_docs(FILE *out);

#endif
