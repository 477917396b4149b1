/* SPDX-License-Identifier: MIT */
/* Writes docs/EVENTS.md from the tables of types and keys that the encoder is made of. */
#include "format/json_docs.h"

#include <stdio.h>
#include <string.h>

#include "cbtap/format.h"
#include "format/json.h"
#include "format/json_names.h"

/* What a kind is in JSON. */
#define DOC_text(...)           .type = "string"
#define DOC_text_anywhere(...)  .type = "string"
#define DOC_upper(...)          .type = "string", .unit = "upper-case text"
#define DOC_hex(...)            .type = "string", .unit = "upper-case hexadecimal"
#define DOC_base64(...)         .type = "string", .unit = "base64"
#define DOC_base64_or_null(...) .type = "string or null", .unit = "base64"
#define DOC_integer(...)        .type = "number"
#define DOC_unsigned(...)       .type = "number"
#define DOC_enum(...)           .type = "number", .unit = "number of the enum"
#define DOC_bytes(...)          .type = "number", .unit = "bytes"
#define DOC_boolean(...)        .type = "boolean"
#define DOC_time(...)           .type = "number", .unit = "seconds since 1970"
#define DOC_filetime(...)       .type = "number", .unit = "FILETIME"
#define DOC_port(...)           .type = "number"
#define DOC_ip4(...)            .type = "string", .unit = "IPv4 address"
#define DOC_ip(...)             .type = "string", .unit = "IPv4 or IPv6 address"
#define DOC_id(...)             .type = "string", .unit = "GUID"
#define DOC_name(values, value)                                                                              \
    .type = "string", .names = (values), .name_count = sizeof(values) / sizeof((values)[0])
#define DOC_either(condition, yes, no) .type = "string", .unit = "`" yes "`, `" no "`"
#define DOC_mitigations(...)                                                                                 \
    .type = "array", .names = mitigation_types,                                                              \
    .name_count = sizeof(mitigation_types) / sizeof(mitigation_types[0])
#define DOC_digsig(...) .type = "object"

#define DOC(key_, kind, meaning_, source_, ...)                                                              \
    .key = key_, .meaning = meaning_, .source = source_, DOC_##kind(__VA_ARGS__)
#define DOC_LINK(part, meaning_, key_, id, end)                                                              \
    .key = #part, .meaning = (meaning_), .source = (key_), .type = "string", .link_end = (end)
#define CONFIGURED "where `server_url` is configured"

#define CBT_BLOCK(block_, prefix_)              {.block = #block_, .prefix = (prefix_)},
#define CBT_KEY(...)                            {.present = "always", DOC(__VA_ARGS__)},
#define CBT_KEY_FIRST(...)                      {.present = "always", DOC(__VA_ARGS__)},
#define CBT_KEY_IF(condition, ...)              {.present = "where set", DOC(__VA_ARGS__)},
#define CBT_KEY_WHERE(cond, words, ...)         {.present = words, DOC(__VA_ARGS__)},
#define CBT_KEY_CBEF(name, ...)                 {.present = "always", .cbef = name, DOC(__VA_ARGS__)},
#define CBT_KEY_NOT_CBEF(...)                   {.present = "always", .cbef = "", DOC(__VA_ARGS__)},
#define CBT_KEY_MADE(key, meaning, source, ...) CBT_KEY(key, text, meaning, source)
#define CBT_LINK(...)                           {.present = CONFIGURED, DOC_LINK(__VA_ARGS__)},
#define CBT_LINK_WHERE(cond, words, ...)        {.present = CONFIGURED " and " words, DOC_LINK(__VA_ARGS__)},

static const struct cbt_json_doc docs[] = {
#define CBT_JSON_ALL
#include "format/json_keys.def"
};

const struct cbt_json_doc_from cbt_json_doc_froms[] = {
#define CBT_JSON_FROM(type, member, words, blocks) {CBT_TYPE_##type, member, words, blocks},
#include "format/json_types.def"
};
const size_t cbt_json_doc_from_count = sizeof(cbt_json_doc_froms) / sizeof(cbt_json_doc_froms[0]);

const uint32_t cbt_json_doc_common[CBT_TYPES] = {
#define CBT_JSON_TYPE(type, keys, common) [CBT_TYPE_##type] = (common),
#include "format/json_types.def"
};

static const char *const event_types[] = {
#define CBT_EVENT_TYPE(id, name, event_type) event_type,
#include "cbtap/event_types.def"
};

static bool is_listed(const char *list, const char *word)
{
    const size_t len = strlen(word);
    for (; *list != '\0'; list += strspn(list, " ")) {
        const size_t here = strcspn(list, " ");
        if (here == len && memcmp(list, word, len) == 0)
            return true;
        list += here;
    }
    return false;
}

const struct cbt_json_doc *cbt_json_doc_next(struct cbt_json_doc_reader *reader)
{
    while (reader->at < sizeof(docs) / sizeof(docs[0])) {
        const struct cbt_json_doc *doc = &docs[reader->at++];
        if (doc->block != NULL)
            reader->block = is_listed(reader->blocks, doc->block) ? doc : NULL;
        else if (reader->block != NULL)
            return doc;
    }
    return NULL;
}

/* Field names as code, those that begin with a dot below the member; the words between as they are. */
static void write_source(const char *source, const char *member, FILE *out)
{
    for (const char *s = source; *s != '\0';) {
        const size_t len = strcspn(s, " ,");
        if (len > 0 && memchr(s, '.', len) != NULL)
            fprintf(out, "`%s%.*s`", *s == '.' ? member : "", (int)len, s);
        else
            fprintf(out, "%.*s", (int)len, s);
        s += len;
        for (; *s == ' ' || *s == ','; s++)
            fputc(*s, out);
    }
}

static void write_values(const struct cbt_json_doc *doc, FILE *out)
{
    const char *separator = "";
    for (size_t i = 0; i < doc->name_count; i++) {
        const struct cbt_json_name *name = &doc->names[i];
        if (name->len != 0) {
            fprintf(out, "%s`%.*s`", separator, name->len - 2, name->text + 1);
            separator = ", ";
        }
    }
}

static void write_link(const struct cbt_json_doc *doc, FILE *out)
{
    static const char *const links[][2] = {
#define LINK(name, path) {#name, path},
        CBT_JSON_LINKS(LINK)
#undef LINK
    };
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        if (strcmp(links[i][0], doc->key) == 0)
            fprintf(out, "URL: `<server_url>%s<%s>%s`", links[i][1], doc->source, doc->link_end);
}

static void write_keys(const char *blocks, const char *member, FILE *out)
{
    struct cbt_json_doc_reader reader = {.blocks = blocks};
    const struct cbt_json_doc *doc;
    fputs("\n| key | JSON type | meaning | unit, values | source | present |\n|---|---|---|---|---|---|\n",
          out);
    while ((doc = cbt_json_doc_next(&reader)) != NULL) {
        fprintf(out, "| `%s%s`", reader.block->prefix, doc->key);
        if (doc->cbef != NULL && *doc->cbef != '\0')
            fprintf(out, " (cbef-3.8: `%s`)", doc->cbef);
        else if (doc->cbef != NULL)
            fputs(" (not in cbef-3.8)", out);
        fprintf(out, " | %s | %s | %s", doc->type, doc->meaning, doc->unit != NULL ? doc->unit : "");
        write_values(doc, out);
        if (doc->link_end != NULL)
            write_link(doc, out);
        fputs(" | ", out);
        if (doc->link_end == NULL)
            write_source(doc->source, member, out);
        fprintf(out, " | %s |\n", doc->present);
    }
}

static void write_from(const struct cbt_json_doc_from *from, FILE *out)
{
    if (*from->member != '\0')
        fprintf(out, "`%s`%s", from->member, *from->words != '\0' ? " " : "");
    fputs(from->words, out);
}

static void write_types(FILE *out)
{
    fputs("\n| `type` | `event_type` | from |\n|---|---|---|\n", out);
    for (size_t i = 0; i < cbt_json_doc_from_count; i++) {
        const struct cbt_json_doc_from *from = &cbt_json_doc_froms[i];
        const char *name = cbt_event_type_name(from->type);
        fprintf(out, "| [`ingress.event.%s`](#%s) | `%s` | ", name, name, event_types[from->type]);
        write_from(from, out);
        fputs(" |\n", out);
    }
}

static void write_type(const struct cbt_json_doc_from *from, bool is_first, FILE *out)
{
    const uint32_t common = cbt_json_doc_common[from->type];
    char blocks[128];
    if (is_first)
        fprintf(out, "\n## %s\n", cbt_event_type_name(from->type));
    fprintf(out, "\nFrom ");
    write_from(from, out);
    fprintf(out, "; besides the keys of every event%s:\n",
            (common & CBT_JSON_PROCESS) != 0 ? " and those of a process's events" : "");
    snprintf(blocks, sizeof(blocks), "%s %s", (common & CBT_JSON_HASHES) != 0 ? "header_hashes" : "",
             from->blocks);
    write_keys(blocks, from->member, out);
}

static void write_process(FILE *out)
{
    fputs("\n## Keys of a process's events\n\n"
          "The process that caused the event, as the record's header tells of it. Of all types but ",
          out);
    const char *separator = "";
    for (size_t i = 0; i < cbt_json_doc_from_count; i++) {
        const enum cbt_event_type type = cbt_json_doc_froms[i].type;
        if ((cbt_json_doc_common[type] & CBT_JSON_PROCESS) == 0) {
            fprintf(out, "%s`%s`", separator, cbt_event_type_name(type));
            separator = ", ";
        }
    }
    fputs(".\n", out);
    write_keys("header_process", "", out);
}

int cbt_events_print_docs(FILE *out)
{
    fputs(cbt_json_docs_intro, out);
    write_types(out);
    fputs(cbt_json_docs_types, out);
    fputs("\n## Keys of every event\n", out);
    write_keys("made event", "", out);
    write_process(out);
    for (size_t i = 0; i < cbt_json_doc_from_count; i++)
        write_type(&cbt_json_doc_froms[i],
                   i == 0 || cbt_json_doc_froms[i - 1].type != cbt_json_doc_froms[i].type, out);
    fputs(cbt_json_docs_notifications, out);
    return fflush(out) == 0 && !ferror(out) ? 0 : CBT_EIO;
}
