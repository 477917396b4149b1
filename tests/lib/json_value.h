/* SPDX-License-Identifier: MIT */
/*
 * JSON for tests: a strict parser into a tree (yajl, strings validated, numbers kept as their text) and a
 * comparison that takes no account of the order of keys but of every digit. An object with a key twice does
 * not parse.
 */
#ifndef TESTS_LIB_JSON_VALUE_H
#define TESTS_LIB_JSON_VALUE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

enum jv_kind { JV_NULL, JV_BOOL, JV_NUMBER, JV_STRING, JV_ARRAY, JV_OBJECT };

struct jv {
    enum jv_kind kind;
    bool boolean;
    char *text; /* of a string or number */
    size_t len;
    char *key; /* in its object */
    size_t key_len;
    struct jv *children, *last, *next;
};

struct jv_parser {
    struct jv *root;
    struct jv *open[128];
    unsigned depth;
    char *key;
    size_t key_len;
    bool failed;
};

static inline void jv_free(struct jv *value)
{
    while (value != NULL) {
        struct jv *next = value->next;
        jv_free(value->children);
        free(value->text);
        free(value->key);
        free(value);
        value = next;
    }
}

static inline struct jv *jv_get(const struct jv *object, const char *key)
{
    if (object == NULL || object->kind != JV_OBJECT)
        return NULL;
    for (struct jv *v = object->children; v != NULL; v = v->next)
        if (v->key_len == strlen(key) && memcmp(v->key, key, v->key_len) == 0)
            return v;
    return NULL;
}

static inline char *jv_copy(const void *bytes, size_t len)
{
    char *copy = malloc(len + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, bytes, len);
    copy[len] = '\0';
    return copy;
}

static inline struct jv *jv_add(struct jv_parser *parser, enum jv_kind kind, const void *text, size_t len)
{
    struct jv *v = calloc(1, sizeof(*v));
    if (v == NULL)
        abort();
    v->kind = kind;
    if (text != NULL) {
        v->text = jv_copy(text, len);
        v->len = len;
    }
    if (parser->depth == 0) {
        parser->root = v;
        return v;
    }
    struct jv *parent = parser->open[parser->depth - 1];
    if (parent->kind == JV_OBJECT) {
        v->key = parser->key;
        v->key_len = parser->key_len;
        parser->key = NULL;
    }
    if (parent->last != NULL)
        parent->last->next = v;
    else
        parent->children = v;
    parent->last = v;
    return v;
}

static inline int jv_open(struct jv_parser *parser, enum jv_kind kind)
{
    struct jv *v = jv_add(parser, kind, NULL, 0);
    if (parser->depth == sizeof(parser->open) / sizeof(parser->open[0]))
        return 0;
    parser->open[parser->depth++] = v;
    return 1;
}

static inline int jv_on_null(void *p)
{
    jv_add(p, JV_NULL, NULL, 0);
    return 1;
}
static inline int jv_on_bool(void *p, int value)
{
    jv_add(p, JV_BOOL, NULL, 0)->boolean = value != 0;
    return 1;
}
static inline int jv_on_number(void *p, const char *text, size_t len)
{
    jv_add(p, JV_NUMBER, text, len);
    return 1;
}
static inline int jv_on_string(void *p, const unsigned char *text, size_t len)
{
    jv_add(p, JV_STRING, text, len);
    return 1;
}
static inline int jv_on_map(void *p)
{
    return jv_open(p, JV_OBJECT);
}
static inline int jv_on_array(void *p)
{
    return jv_open(p, JV_ARRAY);
}
static inline int jv_on_end(void *p)
{
    ((struct jv_parser *)p)->depth--;
    return 1;
}
static inline int jv_on_key(void *p, const unsigned char *key, size_t len)
{
    struct jv_parser *parser = p;
    char *copy = jv_copy(key, len);
    for (struct jv *v = parser->open[parser->depth - 1]->children; v != NULL; v = v->next) {
        if (v->key_len == len && memcmp(v->key, key, len) == 0) {
            fprintf(stderr, "key twice: %s\n", copy);
            free(copy);
            return 0;
        }
    }
    parser->key = copy;
    parser->key_len = len;
    return 1;
}

/* NULL where the text is not exactly one JSON value in valid UTF-8. */
static inline struct jv *jv_parse(const void *text, size_t len)
{
    static const yajl_callbacks callbacks = {
        .yajl_null = jv_on_null,
        .yajl_boolean = jv_on_bool,
        .yajl_number = jv_on_number,
        .yajl_string = jv_on_string,
        .yajl_start_map = jv_on_map,
        .yajl_map_key = jv_on_key,
        .yajl_end_map = jv_on_end,
        .yajl_start_array = jv_on_array,
        .yajl_end_array = jv_on_end,
    };
    struct jv_parser parser = {0};
    yajl_handle yajl = yajl_alloc(&callbacks, NULL, &parser);
    bool ok = yajl_parse(yajl, text, len) == yajl_status_ok && yajl_complete_parse(yajl) == yajl_status_ok;
    yajl_free(yajl);
    free(parser.key);
    if (!ok) {
        jv_free(parser.root);
        return NULL;
    }
    return parser.root;
}

static inline bool jv_equal(const struct jv *a, const struct jv *b)
{
    if (a == NULL || b == NULL || a->kind != b->kind)
        return false;
    size_t count_a = 0, count_b = 0;
    const struct jv *x, *y;
    switch (a->kind) {
    case JV_NULL:
        return true;
    case JV_BOOL:
        return a->boolean == b->boolean;
    case JV_NUMBER:
    case JV_STRING:
        return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
    case JV_ARRAY:
        for (x = a->children, y = b->children; x != NULL && y != NULL; x = x->next, y = y->next)
            if (!jv_equal(x, y))
                return false;
        return x == NULL && y == NULL;
    case JV_OBJECT:
        for (x = a->children; x != NULL; x = x->next, count_a++) {
            for (y = b->children; y != NULL; y = y->next)
                if (y->key_len == x->key_len && memcmp(y->key, x->key, x->key_len) == 0)
                    break;
            if (y == NULL || !jv_equal(x, y))
                return false;
        }
        for (y = b->children; y != NULL; y = y->next)
            count_b++;
        return count_a == count_b;
    }
    return false;
}

#endif
