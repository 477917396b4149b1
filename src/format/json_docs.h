/* SPDX-License-Identifier: MIT */
/* The keys of events for people: json_keys.def and json_types.def as data. */
#ifndef CBTAP_FORMAT_JSON_DOCS_H
#define CBTAP_FORMAT_JSON_DOCS_H

#include <stddef.h>
#include <stdint.h>

#include "cbtap/event.h"

struct cbt_json_name;

/* A row of json_keys.def: a key, or where a block begins. */
struct cbt_json_doc {
    const char *block, *prefix; /* where a block begins; of a key NULL */
    const char *key;
    const char *cbef; /* its name in the profile cbef-3.8; NULL: the same; "": it is not there */
    const char *meaning;
    const char *source;  /* for a link the key of the id that it has */
    const char *present; /* "always", "where ..." */
    const char *type;    /* in JSON: string, number, boolean, object, array, string or null */
    const char *unit;
    const struct cbt_json_name *names; /* the values that it has */
    size_t name_count;
    const char *link_end; /* of a link: what follows the id */
};

/* A row CBT_JSON_FROM of json_types.def. */
struct cbt_json_doc_from {
    enum cbt_event_type type;
    const char *member, *words, *blocks;
};

extern const struct cbt_json_doc_from cbt_json_doc_froms[];
extern const size_t cbt_json_doc_from_count;

/* The common keys of each type: CBT_JSON_PROCESS, CBT_JSON_HASHES. */
extern const uint32_t cbt_json_doc_common[CBT_TYPES];

/* Reads the keys of some blocks. */
struct cbt_json_doc_reader {
    const char *blocks; /* their names, with a space between each two */
    const struct cbt_json_doc *block;
    size_t at;
};

/* The next key, in the order of the table, or NULL. reader->block is its block. */
const struct cbt_json_doc *cbt_json_doc_next(struct cbt_json_doc_reader *reader);

/* The prose: before the table of types, behind it, and at the end. */
extern const char cbt_json_docs_intro[], cbt_json_docs_types[], cbt_json_docs_notifications[];

#endif
