/* SPDX-License-Identifier: MIT */
/* options.def as data: what parsing, printing and the documentation go through. */
#include <string.h>
#include <strings.h>

#include "core/config_internal.h"

#define CBT_OPTIONS_ALL
#define CBT_OPTION(section, field, key, kind, deflt, min, max, choices, help)                                \
    {CBT_SECTION_##section,                                                                                  \
     CBT_KIND_##kind,                                                                                        \
     key,                                                                                                    \
     offsetof(struct cbt_options_##section, field),                                                          \
     deflt,                                                                                                  \
     min,                                                                                                    \
     max,                                                                                                    \
     choices,                                                                                                \
     help},
#define CBT_OPTION_MAP(section, field, prefix, help)                                                         \
    {CBT_SECTION_##section,                                                                                  \
     CBT_KIND_map,                                                                                           \
     prefix,                                                                                                 \
     offsetof(struct cbt_options_##section, field),                                                          \
     "",                                                                                                     \
     0,                                                                                                      \
     0,                                                                                                      \
     "",                                                                                                     \
     help},
const struct cbt_option cbt_options[] = {
#include "cbtap/options.def"
};
const size_t cbt_option_count = sizeof cbt_options / sizeof cbt_options[0];

const struct cbt_section_type cbt_section_types[] = {
    {"cbtap", NULL, "The process as a whole.", CBT_SECTION_cbtap},
    {"source", "amqp",
     "Takes events from a RabbitMQ queue. Any number of such sections, each with a name of its own.",
     CBT_SECTION_amqp},
    {"source", "redis",
     "Takes events from Redis PUBSUB, which keeps nothing: at-most-once from Redis to cbtap; with "
     "`spool_dir` "
     "at-least-once from there on.",
     CBT_SECTION_redis},
    {"source", "archive",
     "Takes the sensor event logs that the EDR server archives as files. At-least-once; for each file in "
     "the archive that is delivered and kept about 32 bytes of memory.",
     CBT_SECTION_archive},
    {"decode", NULL, "Bounds of what is unpacked and decoded; beyond is a dead letter.", CBT_SECTION_decode},
    {"filter", NULL, "Which events are forwarded, and how their times look.", CBT_SECTION_filter},
    {"sink", "kafka", "Publishes to Kafka.", CBT_SECTION_kafka},
    {"sink", "file",
     "Writes a line for each event into a file; `docs/SINKS.md` says what each of the sinks warrants.",
     CBT_SECTION_file},
    {"sink", "stdout", "Writes a line for each event to standard output.", CBT_SECTION_stdout},
    {"sink", "tcp", "Sends events over a TCP connection, with or without TLS.", CBT_SECTION_tcp},
    {"sink", "udp", "Sends a datagram for each event: at most once.", CBT_SECTION_udp},
    {"sink", "syslog", "Sends a syslog message (RFC 5424) for each event, over UDP, TCP or TLS.",
     CBT_SECTION_syslog},
};
const size_t cbt_section_type_count = sizeof cbt_section_types / sizeof cbt_section_types[0];

enum cbt_section_kind cbt_section_kind_of(const char *role, const char *type)
{
    size_t i = 0;
    while (i + 1 < cbt_section_type_count &&
           (cbt_section_types[i].type == NULL || strcmp(cbt_section_types[i].role, role) != 0 ||
            strcmp(cbt_section_types[i].type, type) != 0))
        i++;
    return cbt_section_types[i].kind;
}

void *cbt_source_options(struct cbt_source_config *source, enum cbt_section_kind kind)
{
    return kind == CBT_SECTION_amqp    ? (void *)&source->amqp
           : kind == CBT_SECTION_redis ? (void *)&source->redis
                                       : (void *)&source->archive;
}

const struct cbt_option *cbt_option_find(enum cbt_section_kind kind, const char *key)
{
    for (size_t i = 0; i < cbt_option_count; i++) {
        const struct cbt_option *option = &cbt_options[i];
        if (option->section == kind && option->kind != CBT_KIND_map && strcasecmp(option->key, key) == 0)
            return option;
    }
    for (size_t i = 0; i < cbt_option_count; i++) {
        const struct cbt_option *option = &cbt_options[i];
        size_t prefix = strlen(option->key);
        if (option->section == kind && option->kind == CBT_KIND_map &&
            strncasecmp(option->key, key, prefix) == 0 && key[prefix] != '\0')
            return option;
    }
    return NULL;
}
