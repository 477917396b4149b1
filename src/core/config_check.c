/* SPDX-License-Identifier: MIT */
/* What concerns several options at once, and values that have a form of their own. */
#include <stdlib.h>
#include <string.h>

#include "cbtap/log.h"
#include "cbtap/sink.h"
#include "core/config_internal.h"

static int need_both_ends(const struct cbt_config *config, const struct cbt_settings *settings,
                          struct cbt_err *err)
{
    if (config->source_count > 0 && config->sink_count > 0)
        return 0;
    return cbt_err_set(err, CBT_EINVAL,
                       "%s%sno [%s.NAME] section; the shortest configuration that works:\n"
                       "\n"
                       "[source.bus]\n"
                       "type = amqp\n"
                       "url  = amqp://USER:PASSWORD@127.0.0.1:5004/%%2F\n"
                       "\n"
                       "[sink.kafka]\n"
                       "type = kafka\n"
                       "kafka.bootstrap.servers = 127.0.0.1:9092\n",
                       settings->path ? settings->path : "", settings->path ? ": " : "",
                       config->source_count == 0 ? "source" : "sink");
}

/* Where a value of `key` in the section came from, for an error; the section itself where it is the default.
 */
static int at_fault(const struct cbt_settings *settings, const char *section_name, const char *key,
                    struct cbt_err *err, const char *reason)
{
    const struct cbt_section *section = cbt_settings_section(settings, section_name);
    const struct cbt_setting *setting = section ? cbt_section_setting(section, key) : NULL;
    if (!section)
        return cbt_err_set(err, CBT_EINVAL, "[%s] %s: %s", section_name, key, reason);
    return cbt_setting_err(settings, section, setting, err, CBT_EINVAL, "%s%s%s", setting ? "" : key,
                           setting ? "" : ": ", reason);
}

static int check_cbtap(const struct cbt_config *config, const struct cbt_settings *settings,
                       struct cbt_err *err)
{
    const char *listen = config->cbtap.http_listen;
    const char *url = config->cbtap.server_url;
    if (*listen) {
        const char *colon = strrchr(listen, ':');
        const char *port = colon ? colon + 1 : "";
        size_t digits = strspn(port, "0123456789");
        if (!colon || digits == 0 || digits > 5 || port[digits] || strtol(port, NULL, 10) > 65535)
            return at_fault(settings, "cbtap", "http_listen", err,
                            "is not HOST:PORT, e.g. 127.0.0.1:9464 or [::1]:9464; empty turns it off");
    }
    if (*url && strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return at_fault(settings, "cbtap", "server_url", err, "does not begin with https:// or http://");
    return 0;
}

static int check_channels(const struct cbt_source_config *source, const struct cbt_settings *settings,
                          struct cbt_err *err)
{
    struct cbt_text patterns[CBT_CONFIG_CHANNELS_MAX];
    size_t count = 0;
    char section[CBT_CONFIG_NAME_MAX_BYTES + 16], reason[CBT_ERR_TEXT_BYTES];
    snprintf(section, sizeof section, "source.%s", source->name);
    const char *cursor = source->redis.channels;
    struct cbt_text pattern;
    while (cbt_list_next(&cursor, &pattern)) {
        if (count == CBT_CONFIG_CHANNELS_MAX)
            return at_fault(settings, section, "channels", err, "more than 64 patterns");
        if (pattern.len == 0 || pattern.len > CBT_CONFIG_CHANNEL_MAX_BYTES)
            return at_fault(settings, section, "channels", err, "a pattern has 1 to 128 bytes");
        for (size_t i = 0; i < count; i++) {
            bool overlap = false;
            int rc = cbt_globs_overlap(patterns[i], pattern, &overlap, err);
            if (rc != 0)
                return rc;
            if (!overlap)
                continue;
            snprintf(reason, sizeof reason,
                     "\"%.*s\" and \"%.*s\" overlap: Redis would deliver each message that both match twice",
                     (int)patterns[i].len, (const char *)patterns[i].data, (int)pattern.len,
                     (const char *)pattern.data);
            return at_fault(settings, section, "channels", err, reason);
        }
        patterns[count++] = pattern;
    }
    if (count == 0)
        return at_fault(settings, section, "channels", err, "no pattern, so nothing would be received");
    return 0;
}

static int check_spool(const struct cbt_source_config *source, const struct cbt_settings *settings,
                       struct cbt_err *err)
{
    char section[CBT_CONFIG_NAME_MAX_BYTES + 16];
    snprintf(section, sizeof section, "source.%s", source->name);
    if (source->redis.spool_segment_bytes > source->redis.spool_max_bytes / 2)
        return at_fault(settings, section, "spool_segment_bytes", err,
                        "is more than half of spool_max_bytes: room comes back a whole file at a time");
    return 0;
}

static int check_archive(const struct cbt_source_config *source, const struct cbt_settings *settings,
                         struct cbt_err *err)
{
    char section[CBT_CONFIG_NAME_MAX_BYTES + 16];
    const struct cbt_options_archive *archive = &source->archive;
    snprintf(section, sizeof section, "source.%s", source->name);
    if (archive->path[0] != '/')
        return at_fault(settings, section, "path", err, "name the archive's folder by an absolute path");
    if (archive->checkpoint[0] != '/')
        return at_fault(settings, section, "checkpoint", err, "name a file by an absolute path");
    bool known = strcmp(archive->after, "keep") == 0 || strcmp(archive->after, "remove") == 0 ||
                 strncmp(archive->after, "move:/", 6) == 0;
    if (!known)
        return at_fault(settings, section, "after", err,
                        "is none of keep, remove, move:DIR with DIR an absolute path");
    return 0;
}

static bool binds_events(const struct cbt_options_amqp *amqp)
{
    const char *cursor = amqp->events;
    struct cbt_text pattern;
    while (cbt_list_next(&cursor, &pattern))
        if (cbt_topic_matches_events(pattern))
            return true;
    return false;
}

/* Endpoint events that come in on two ways are delivered twice. */
static void warn_of_doubles(const struct cbt_config *config)
{
    const char *redis = NULL, *archive = NULL;
    for (size_t i = 0; i < config->source_count; i++) {
        if (strcmp(config->sources[i].type, "redis") == 0)
            redis = config->sources[i].name;
        if (strcmp(config->sources[i].type, "archive") == 0)
            archive = config->sources[i].name;
    }
    if (redis && archive)
        cbt_log_warning(
            "an archive together with a redis source: where both are of one server, every event will "
            "be delivered twice",
            CBT_S("source", archive), CBT_S("redis_source", redis));
    for (size_t i = 0; i < config->source_count; i++) {
        const struct cbt_source_config *source = &config->sources[i];
        if (strcmp(source->type, "amqp") != 0)
            continue;
        bool events = binds_events(&source->amqp);
        if (source->amqp.raw && events)
            cbt_log_warning("raw = true together with ingress.event routing keys in events: every event will "
                            "be delivered twice",
                            CBT_S("source", source->name), CBT_S("events", source->amqp.events));
        if (redis && (source->amqp.raw || events))
            cbt_log_warning("endpoint events from RabbitMQ together with a redis source: every event will be "
                            "delivered twice",
                            CBT_S("source", source->name), CBT_S("redis_source", redis));
        if (archive && (source->amqp.raw || events))
            cbt_log_warning("endpoint events from RabbitMQ together with an archive: where both are of one "
                            "server, every event will be delivered twice",
                            CBT_S("source", source->name), CBT_S("archive_source", archive));
    }
}

static int check_amqp(const struct cbt_source_config *source, const struct cbt_settings *settings,
                      struct cbt_err *err)
{
    char section[CBT_CONFIG_NAME_MAX_BYTES + 16];
    snprintf(section, sizeof section, "source.%s", source->name);
    const char *cursor = source->amqp.events;
    struct cbt_text pattern;
    bool any = source->amqp.raw;
    while (cbt_list_next(&cursor, &pattern)) {
        if (pattern.len == 0 || pattern.len > 255)
            return at_fault(settings, section, "events", err, "a routing key has 1 to 255 bytes");
        any = true;
    }
    if (!any)
        return at_fault(settings, section, "events", err,
                        "is empty and raw is false: nothing would be received");
    if (*source->amqp.cb_conf && cbt_config_url_has_user(source->amqp.url))
        return at_fault(settings, section, "url", err,
                        "has a user, and cb_conf gives user and password, too; leave them out of url "
                        "(amqp://HOST/%2F), or leave cb_conf out");
    struct cbt_err why;
    if (*source->amqp.cb_conf && cbt_config_check_amqp_cb_conf(&source->amqp, &why) != 0) {
        at_fault(settings, section, "cb_conf", err, why.text);
        err->rc = why.rc;
        return why.rc;
    }
    if (!*source->amqp.queue || strlen(source->amqp.queue) > 255)
        return at_fault(settings, section, "queue", err, "the queue needs a name of 1 to 255 bytes");
    return 0;
}

/* Two would mix their lines. */
static int check_standard_output(const struct cbt_config *config, const struct cbt_settings *settings,
                                 struct cbt_err *err)
{
    const char *first = NULL;
    for (size_t i = 0; i < config->sink_count; i++) {
        char section[CBT_CONFIG_NAME_MAX_BYTES + 16];
        if (strcmp(config->sinks[i].type, "stdout") != 0)
            continue;
        snprintf(section, sizeof section, "sink.%s", config->sinks[i].name);
        if (first != NULL)
            return at_fault(settings, section, "type", err,
                            "there is one standard output, and another sink has it");
        first = config->sinks[i].name;
    }
    return 0;
}

int cbt_config_check(const struct cbt_config *config, const struct cbt_settings *settings, bool need_ends,
                     struct cbt_err *err)
{
    int rc = need_ends ? need_both_ends(config, settings, err) : 0;
    if (rc == 0)
        rc = check_cbtap(config, settings, err);
    for (size_t i = 0; i < config->source_count && rc == 0; i++) {
        const struct cbt_source_config *source = &config->sources[i];
        switch (cbt_section_kind_of("source", source->type)) {
        case CBT_SECTION_redis:
            rc = check_channels(source, settings, err);
            if (rc == 0)
                rc = check_spool(source, settings, err);
            break;
        case CBT_SECTION_archive:
            rc = check_archive(source, settings, err);
            break;
        default:
            rc = check_amqp(source, settings, err);
        }
    }
    if (rc == 0 && config->sink_count > CBT_SINKS_MAX)
        rc = cbt_err_set(err, CBT_EINVAL, "more than %d [sink.NAME] sections", CBT_SINKS_MAX);
    if (rc == 0)
        rc = check_standard_output(config, settings, err);
    return rc;
}

void cbt_config_warn(const struct cbt_config *config)
{
    const struct cbt_settings *settings = config->memory;
    warn_of_doubles(config);
    for (size_t i = 0; i < settings->count; i++) {
        const struct cbt_section *section = &settings->sections[i];
        for (size_t j = 0; j < section->count; j++) {
            const struct cbt_setting *setting = &section->settings[j];
            if (setting->line > 0 && strstr(setting->raw, " #"))
                cbt_log_warning(
                    "the value holds \" #\": a comment is a whole line, so this is part of the value",
                    CBT_S("file", settings->path), CBT_I("line", setting->line),
                    CBT_S("section", section->name), CBT_S("key", setting->key));
        }
    }
}
