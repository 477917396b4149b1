/* SPDX-License-Identifier: MIT */
/*
 * The filter of [filter] types and drop: lists of globs. For endpoint events the answers are made once, in a
 * table; a notification's name is matched when it comes. Immutable once made, so that workers share it.
 */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/decode.h"

#define PREFIX "ingress.event."

/* Longer than any routing key (AMQP 0-9-1: 255 bytes). */
#define NAME_MAX_BYTES 512

struct globs {
    char *text; /* the list, its commas made NUL */
    const char **at;
    size_t count;
};

struct cbt_filter {
    struct globs types;
    struct globs drop;
    bool takes[CBT_TYPES];
};

static void globs_free(struct globs *globs)
{
    free(globs->text);
    free(globs->at);
}

/* Splits at commas, spaces trimmed, empty items left out. */
static int globs_parse(struct globs *globs, const char *list, struct cbt_err *err)
{
    size_t items = 1;
    for (const char *c = list; *c != '\0'; c++)
        items += *c == ',';
    globs->text = strdup(list);
    globs->at = calloc(items, sizeof(*globs->at));
    if (globs->text == NULL || globs->at == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the filter");
    char *rest = globs->text, *item;
    while ((item = strsep(&rest, ",")) != NULL) {
        item += strspn(item, " \t");
        size_t len = strlen(item);
        while (len > 0 && (item[len - 1] == ' ' || item[len - 1] == '\t'))
            item[--len] = '\0';
        if (len > 0)
            globs->at[globs->count++] = item;
    }
    return CBT_OK;
}

/* Whether one of the globs matches the name, or the name without "ingress.event.". */
static bool globs_match(const struct globs *globs, const char *name)
{
    const char *bare = strncmp(name, PREFIX, strlen(PREFIX)) == 0 ? name + strlen(PREFIX) : name;
    for (size_t i = 0; i < globs->count; i++)
        if (fnmatch(globs->at[i], name, 0) == 0 || (bare != name && fnmatch(globs->at[i], bare, 0) == 0))
            return true;
    return false;
}

static bool takes(const struct cbt_filter *filter, const char *name)
{
    return globs_match(&filter->types, name) && !globs_match(&filter->drop, name);
}

/* An item that can only be meant as an endpoint type must be one: it has neither glob characters nor, like
 * every notification's name, a dot. */
static int check_items(const struct globs *globs, const char *key, struct cbt_err *err)
{
    for (size_t i = 0; i < globs->count; i++) {
        const char *item = globs->at[i];
        bool whole = strncmp(item, PREFIX, strlen(PREFIX)) == 0;
        const char *bare = whole ? item + strlen(PREFIX) : item;
        bool known = strpbrk(bare, "*?[\\") != NULL || (!whole && strchr(bare, '.') != NULL);
        for (int type = 0; type < CBT_TYPE_NOTIFICATION && !known; type++)
            known = strcmp(bare, cbt_event_type_name((enum cbt_event_type)type)) == 0;
        if (!known)
            return cbt_err_set(err, CBT_EINVAL, "filter.%s: '%s' is no event type; docs/EVENTS.md lists them",
                               key, item);
    }
    return CBT_OK;
}

int cbt_filter_new(struct cbt_filter **ret_filter, const char *types, const char *drop, struct cbt_err *err)
{
    struct cbt_filter *filter = calloc(1, sizeof(*filter));
    if (filter == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the filter");
    int rc;
    if ((rc = globs_parse(&filter->types, types != NULL ? types : "*", err)) != 0 ||
        (rc = globs_parse(&filter->drop, drop != NULL ? drop : "", err)) != 0 ||
        (rc = check_items(&filter->types, "types", err)) != 0 ||
        (rc = check_items(&filter->drop, "drop", err)) != 0)
        goto fail;
    if (filter->types.count == 0) {
        rc = cbt_err_set(err, CBT_EINVAL, "filter.types: nothing would be forwarded (* is all types)");
        goto fail;
    }
    for (int type = 0; type < CBT_TYPE_NOTIFICATION; type++) {
        char name[NAME_MAX_BYTES] = PREFIX;
        strncat(name, cbt_event_type_name((enum cbt_event_type)type), sizeof(name) - sizeof(PREFIX));
        filter->takes[type] = takes(filter, name);
    }
    *ret_filter = filter;
    return CBT_OK;
fail:
    cbt_filter_free(filter);
    return rc;
}

void cbt_filter_free(struct cbt_filter *filter)
{
    if (filter == NULL)
        return;
    globs_free(&filter->types);
    globs_free(&filter->drop);
    free(filter);
}

bool cbt_filter_takes(const struct cbt_filter *filter, enum cbt_event_type type)
{
    return filter->takes[type];
}

bool cbt_filter_takes_name(const struct cbt_filter *filter, struct cbt_text name)
{
    char text[NAME_MAX_BYTES];
    size_t len = name.len < sizeof(text) ? name.len : sizeof(text) - 1;
    if (len > 0)
        memcpy(text, name.data, len);
    text[len] = '\0';
    return takes(filter, text);
}
