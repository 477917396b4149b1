/* SPDX-License-Identifier: MIT */
/*
 * What the files of the configuration share: the option table as data, and the settings as they were read,
 * before they become the structures of config.h.
 */
#ifndef CBTAP_CORE_CONFIG_INTERNAL_H
#define CBTAP_CORE_CONFIG_INTERNAL_H

#include <errno.h>

#include "cbtap/cb_conf.h"
#include "cbtap/config.h"
#include "cbtap/text.h"

#define CBT_CONFIG_FILE_MAX_BYTES    1048576
#define CBT_CONFIG_LINES_MAX         10000
#define CBT_CONFIG_SECTIONS_MAX      128
#define CBT_CONFIG_NAME_MAX_BYTES    48    /* NAME of [source.NAME] */
#define CBT_CONFIG_VALUE_MAX_BYTES   65536 /* after substitution; also the size of an @FILE */
#define CBT_CONFIG_CHANNELS_MAX      64    /* patterns of a Redis source */
#define CBT_CONFIG_CHANNEL_MAX_BYTES 128

enum cbt_section_kind {
    CBT_SECTION_cbtap,
    CBT_SECTION_amqp,
    CBT_SECTION_redis,
    CBT_SECTION_archive,
    CBT_SECTION_decode,
    CBT_SECTION_filter,
    CBT_SECTION_kafka,
    CBT_SECTION_file,
    CBT_SECTION_stdout,
    CBT_SECTION_tcp,
    CBT_SECTION_udp,
    CBT_SECTION_syslog,
};

enum cbt_option_kind {
    CBT_KIND_str,
    CBT_KIND_secret,
    CBT_KIND_url,
    CBT_KIND_choice,
    CBT_KIND_num,
    CBT_KIND_bool,
    CBT_KIND_map, /* `key` is a prefix */
};

/* One row of options.def. */
struct cbt_option {
    enum cbt_section_kind section;
    enum cbt_option_kind kind;
    const char *key;
    size_t offset; /* of the field in the section's structure */
    const char *deflt;
    uint64_t min, max;
    const char *choices;
    const char *help;
};

extern const struct cbt_option cbt_options[];
extern const size_t cbt_option_count;

/* A section that options.def knows. */
struct cbt_section_type {
    const char *role; /* "cbtap", "decode", "filter": the section's name; "source", "sink": [role.NAME] */
    const char *type; /* value of `type` where there is one, else NULL */
    const char *help;
    enum cbt_section_kind kind;
};

extern const struct cbt_section_type cbt_section_types[];
extern const size_t cbt_section_type_count;

/* The kind of a [role.NAME] of a type that is known. */
enum cbt_section_kind cbt_section_kind_of(const char *role, const char *type);
/* The structure of a source's options. */
void *cbt_source_options(struct cbt_source_config *source, enum cbt_section_kind kind);

/* What a file or a library failed with while the configuration was read: its fault as a rule, and exit status
 * 2, after which systemd does not try again. A system that is short of memory or descriptors is no such
 * fault. */
static inline enum cbt_rc cbt_config_rc(int error)
{
    return error == ENOMEM || error == EMFILE || error == ENFILE ? CBT_EIO : CBT_EINVAL;
}

/* The row for `key` in a section of that kind (a map's row for a key under its prefix), or NULL. */
const struct cbt_option *cbt_option_find(enum cbt_section_kind kind, const char *key);

struct cbt_setting {
    char *key;
    char *raw;     /* as given */
    char *value;   /* after substitution; NULL until then */
    unsigned line; /* 0: from -s */
};

struct cbt_section {
    char *name;    /* "cbtap", "source.bus" */
    unsigned line; /* 0: from -s */
    struct cbt_setting *settings;
    size_t count;
};

struct cbt_settings {
    char *path;      /* NULL: no file */
    char *host_name; /* server_name where none is given */
    struct cbt_section *sections;
    size_t count;
};

/* config_file.c: the sections of an INI file, in its order. */
int cbt_settings_read(struct cbt_settings *settings, const char *path, struct cbt_err *err);
/* Takes one "section.key=value" in, over what is there. */
int cbt_settings_override(struct cbt_settings *settings, const char *text, struct cbt_err *err);
void cbt_settings_free(struct cbt_settings *settings);
/* The section of that name, whatever the case; NULL where there is none. */
const struct cbt_section *cbt_settings_section(const struct cbt_settings *settings, const char *name);
const struct cbt_setting *cbt_section_setting(const struct cbt_section *section, const char *key);

/* Fills `err` with where the setting stands (file and line, or -s) before the text, and returns rc. `setting`
 * may be NULL: then it is about the section. */
int cbt_setting_err(const struct cbt_settings *settings, const struct cbt_section *section,
                    const struct cbt_setting *setting, struct cbt_err *err, enum cbt_rc rc, const char *fmt,
                    ...) __attribute__((format(printf, 6, 7)));

/* Adds a setting of our own making, where there is none of that key; pointers to the section's settings are
 * void. */
int cbt_section_add(struct cbt_section *section, const char *key, const char *value, struct cbt_err *err);

/* config_cb_conf.c: whether scheme://USER@HOST:PORT/ has that part. */
bool cbt_config_url_has_user(const char *url);
bool cbt_config_url_has_port(const char *url);
/* Puts host and port of the section's cb_conf in, where it does not set them itself. */
int cbt_config_take_redis_cb_conf(const struct cbt_settings *settings, struct cbt_section *section,
                                  struct cbt_err *err);
/* Reads cb_conf, which is set, and finds user and password in it, unless sasl is external; *ret_port is its
 * port where url has none. */
int cbt_config_read_amqp_cb_conf(const struct cbt_options_amqp *amqp, struct cbt_cb_conf *ret_conf,
                                 uint16_t *ret_port, struct cbt_err *err);
/* Whether cb_conf, which is set, gives what is wanted of it now. */
int cbt_config_check_amqp_cb_conf(const struct cbt_options_amqp *amqp, struct cbt_err *err);

/* config_value.c: ${NAME}, $$, @FILE, @@. The result is malloc'ed. */
int cbt_config_substitute(const char *raw, char **ret_value, struct cbt_err *err);
/* The same backwards: `value` written so that it reads back, into `out`; false where INI cannot hold it (line
 * breaks, blanks at an end, ill-formed UTF-8), and then nothing is written. */
bool cbt_config_write_value(const char *value, FILE *out);
/* Parses `value` by the row's kind into the field at `field`. The text must outlive the field. */
int cbt_option_parse(const struct cbt_option *option, const char *value, void *field, struct cbt_err *err);
/* True where text may stand in a configuration: well-formed UTF-8, no control characters but the tab; else
 * *ret_reason says what is wrong with it and *ret_offset where. */
bool cbt_config_text_ok(const char *text, size_t len, size_t *ret_offset, const char **ret_reason);

/* config_secret.c: whether a property of librdkafka, by its own name, holds a secret. */
bool cbt_config_secret_property(const char *key);
/* The password of scheme://USER:PASSWORD@HOST, whatever else is wrong with the URL; empty where there is
 * none. */
struct cbt_text cbt_config_url_password(const char *url);
/* What of a "section.key=value" is a secret in clear text; empty where there is none, or where ${NAME} or
 * @FILE names it. */
struct cbt_text cbt_config_override_secret(const char *override);

/* config_nearest.c: edits (insert, delete, replace, swap neighbours) from `a` to `b`, whatever the case. */
size_t cbt_edit_distance(const char *a, const char *b);
/* The nearest of `count` words, the first of several; NULL for none. */
const char *cbt_nearest(const char *word, const char *const words[], size_t count);
/* "did you mean \"x\"?" where it is near, else "the nearest known is \"x\"". */
void cbt_nearest_phrase(const char *word, const char *nearest, char *ret_text, size_t text_bytes);

/* config_glob.c: true where a channel can match both patterns of Redis. */
int cbt_globs_overlap(struct cbt_text a, struct cbt_text b, bool *ret_overlap, struct cbt_err *err);
/* True where a topic pattern of AMQP can match ingress.event.<something>. */
bool cbt_topic_matches_events(struct cbt_text pattern);

/* The next item of a list with commas, blanks around it taken off; false at the end. An empty list has no
 * item, but "a,,b" has an empty one. Start with *cursor at the list's first byte. */
bool cbt_list_next(const char **cursor, struct cbt_text *ret_item);

/* config_check.c: what concerns several options at once; with `need_ends` a source and a sink, too. */
int cbt_config_check(const struct cbt_config *config, const struct cbt_settings *settings, bool need_ends,
                     struct cbt_err *err);

/* Logs what is no error and yet hardly meant: events that come twice, a value that looks as if a comment
 * followed. To be called when the log is as the configuration wants it. */
void cbt_config_warn(const struct cbt_config *config);

/* config_changes.c: logs every key that differs and takes effect with a restart only; how many there are.
 * `running` is what the process was started with. */
unsigned cbt_config_log_changes(const struct cbt_config *running, const struct cbt_config *loaded);

#endif
