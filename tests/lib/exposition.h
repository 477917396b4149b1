/* SPDX-License-Identifier: MIT */
/* A strict reader of Prometheus' text format 0.0.4: what it accepts, every scraper does. */
#ifndef CBTAP_TESTS_EXPOSITION_H
#define CBTAP_TESTS_EXPOSITION_H

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPOSITION_SERIES_MAX   8192
#define EXPOSITION_FAMILIES_MAX 256
#define EXPOSITION_LABELS_MAX   8

struct exposition_series {
    char name[128];
    char labels[512]; /* without le, as written: a="b",c="d" */
    char le[32];
    double value;
    unsigned family;
};

struct exposition {
    struct {
        char name[128], type[16];
        unsigned samples;
    } families[EXPOSITION_FAMILIES_MAX];
    unsigned family_count;
    struct exposition_series series[EXPOSITION_SERIES_MAX];
    unsigned series_count;
    char error[512];
};

__attribute__((format(printf, 2, 3))) static inline bool exposition_fail(struct exposition *e,
                                                                         const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(e->error, sizeof(e->error), fmt, args);
    va_end(args);
    return false;
}

/* Length of [a-zA-Z_:][a-zA-Z0-9_:]* (a label's name: without colons). */
static inline size_t exposition_name_len(const char *s, bool colons)
{
    size_t n = 0;
    while (isalpha((unsigned char)s[n]) || s[n] == '_' || (colons && s[n] == ':') ||
           (n > 0 && isdigit((unsigned char)s[n])))
        n++;
    return n;
}

static inline bool exposition_utf8(const unsigned char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        unsigned n = s[i] < 0x80 ? 0 : s[i] >= 0xc2 && s[i] < 0xe0 ? 1 : s[i] >= 0xe0 && s[i] < 0xf0 ? 2 : 3;
        if ((s[i] >= 0x80 && s[i] < 0xc2) || s[i] > 0xf4 || i + n >= len)
            return false;
        for (unsigned k = 1; k <= n; k++)
            if ((s[i + k] & 0xc0) != 0x80)
                return false;
        i += n + 1;
    }
    return true;
}

static inline bool exposition_comment(struct exposition *e, const char *line)
{
    char name[128], type[16];
    int end = 0;
    if (sscanf(line, "# HELP %127s %n", name, &end) == 1) {
        if (end == 0 || line[end] == '\0')
            return exposition_fail(e, "no help: %s", line);
        for (unsigned i = 0; i < e->family_count; i++)
            if (strcmp(e->families[i].name, name) == 0)
                return exposition_fail(e, "family twice, or its lines apart: %s", line);
        if (e->family_count == EXPOSITION_FAMILIES_MAX || exposition_name_len(name, true) != strlen(name))
            return exposition_fail(e, "bad family: %s", line);
        strcpy(e->families[e->family_count].name, name);
        e->families[e->family_count++].type[0] = '\0';
        return true;
    }
    if (sscanf(line, "# TYPE %127s %15s%n", name, type, &end) != 2 || line[end] != '\0')
        return exposition_fail(e, "neither HELP nor TYPE: %s", line);
    if (e->family_count == 0 || strcmp(e->families[e->family_count - 1].name, name) != 0)
        return exposition_fail(e, "TYPE without HELP before it: %s", line);
    if (e->families[e->family_count - 1].type[0] || e->families[e->family_count - 1].samples)
        return exposition_fail(e, "TYPE twice or after samples: %s", line);
    if (strcmp(type, "counter") != 0 && strcmp(type, "gauge") != 0 && strcmp(type, "histogram") != 0)
        return exposition_fail(e, "unknown type: %s", line);
    strcpy(e->families[e->family_count - 1].type, type);
    return true;
}

/* From behind '{' to behind '}'; NULL where the syntax is wrong. */
static inline const char *exposition_labels(struct exposition_series *s, const char *p)
{
    char names[EXPOSITION_LABELS_MAX][64];
    unsigned count = 0;
    for (;;) {
        size_t n = exposition_name_len(p, false);
        if (n == 0 || n > 63 || p[n] != '=' || p[n + 1] != '"' || count == EXPOSITION_LABELS_MAX)
            return NULL;
        snprintf(names[count], sizeof(names[count]), "%.*s", (int)n, p);
        for (unsigned i = 0; i < count; i++)
            if (strcmp(names[i], names[count]) == 0)
                return NULL;
        const char *value = p + n + 2, *end = value;
        for (; *end != '"'; end++) {
            if (*end == '\0' || (*end == '\\' && strchr("\\\"n", *++end) == NULL) || *end == '\0')
                return NULL;
        }
        if (!exposition_utf8((const unsigned char *)value, (size_t)(end - value)))
            return NULL;
        if (strcmp(names[count], "le") == 0) {
            snprintf(s->le, sizeof(s->le), "%.*s", (int)(end - value), value);
        } else {
            size_t used = strlen(s->labels);
            snprintf(s->labels + used, sizeof(s->labels) - used, "%s%.*s", used ? "," : "",
                     (int)(end + 1 - p), p);
        }
        count++;
        p = end + 1;
        if (*p == '}')
            return p + 1;
        if (*p++ != ',')
            return NULL;
    }
}

static inline bool exposition_sample(struct exposition *e, const char *line)
{
    size_t n = exposition_name_len(line, true);
    if (n == 0 || n > 127 || e->family_count == 0 || e->series_count == EXPOSITION_SERIES_MAX)
        return exposition_fail(e, "no family for: %s", line);
    struct exposition_series *s = &e->series[e->series_count++];
    *s = (struct exposition_series){.family = e->family_count - 1};
    snprintf(s->name, sizeof(s->name), "%.*s", (int)n, line);
    const char *family = e->families[s->family].name, *type = e->families[s->family].type;
    const char *suffix = strncmp(s->name, family, strlen(family)) == 0 ? s->name + strlen(family) : "?";
    bool histogram = strcmp(type, "histogram") == 0;
    if (histogram
            ? strcmp(suffix, "_bucket") != 0 && strcmp(suffix, "_sum") != 0 && strcmp(suffix, "_count") != 0
            : *suffix != '\0' || *type == '\0')
        return exposition_fail(e, "not of the family %s: %s", family, line);
    const char *p = line + n;
    if (*p == '{' && (p = exposition_labels(s, p + 1)) == NULL)
        return exposition_fail(e, "bad labels: %s", line);
    if (*p++ != ' ' || *p == ' ' || *p == '\0')
        return exposition_fail(e, "no single space before the value: %s", line);
    char *end = NULL;
    s->value = strtod(p, &end);
    if (*end != '\0' || strpbrk(p, "xXpP") != NULL)
        return exposition_fail(e, "bad value: %s", line);
    if (strcmp(type, "gauge") != 0 && !(s->value >= 0 && isfinite(s->value)))
        return exposition_fail(e, "a counter below 0 or without end: %s", line);
    if (strcmp(suffix, "_bucket") == 0 ? s->le[0] == '\0' : s->le[0] != '\0')
        return exposition_fail(e, "le belongs to buckets, and only there: %s", line);
    e->families[s->family].samples++;
    return true;
}

static inline const struct exposition_series *exposition_find(const struct exposition *e, const char *name,
                                                              const char *labels)
{
    for (unsigned i = 0; i < e->series_count; i++)
        if (strcmp(e->series[i].name, name) == 0 && strcmp(e->series[i].labels, labels) == 0 &&
            e->series[i].le[0] == '\0')
            return &e->series[i];
    return NULL;
}

/* Buckets in a row, ascending to +Inf, cumulative, the last equal to _count, and a _sum. */
static inline bool exposition_histograms(struct exposition *e)
{
    for (unsigned i = 0; i < e->series_count; i++) {
        const struct exposition_series *s = &e->series[i];
        if (s->le[0] == '\0')
            continue;
        const struct exposition_series *before = i > 0 ? s - 1 : NULL;
        bool first = !before || before->le[0] == '\0' || before->family != s->family;
        if (!first && (strcmp(before->labels, s->labels) != 0 ||
                       strtod(before->le, NULL) >= strtod(s->le, NULL) || before->value > s->value))
            return exposition_fail(e, "%s{%s,le=%s} does not go up", s->name, s->labels, s->le);
        bool last = i + 1 == e->series_count || s[1].le[0] == '\0';
        if (!last)
            continue;
        char name[140];
        int stem = (int)strlen(s->name) - 7;
        snprintf(name, sizeof(name), "%.*s_count", stem, s->name);
        const struct exposition_series *count = exposition_find(e, name, s->labels);
        snprintf(name, sizeof(name), "%.*s_sum", stem, s->name);
        if (strcmp(s->le, "+Inf") != 0 || !count || count->value != s->value ||
            !exposition_find(e, name, s->labels))
            return exposition_fail(e, "%s{%s}: +Inf, _count and _sum do not fit", s->name, s->labels);
    }
    return true;
}

static inline int exposition_compare(const void *a, const void *b)
{
    const struct exposition_series *x = *(const struct exposition_series *const *)a;
    const struct exposition_series *y = *(const struct exposition_series *const *)b;
    int c = strcmp(x->name, y->name);
    c = c ? c : strcmp(x->labels, y->labels);
    return c ? c : strcmp(x->le, y->le);
}

static inline bool exposition_unique(struct exposition *e)
{
    const struct exposition_series **sorted = calloc(e->series_count + 1, sizeof(void *));
    bool unique = true;
    for (unsigned i = 0; i < e->series_count; i++)
        sorted[i] = &e->series[i];
    qsort(sorted, e->series_count, sizeof(void *), exposition_compare);
    for (unsigned i = 1; unique && i < e->series_count; i++)
        if (exposition_compare(&sorted[i - 1], &sorted[i]) == 0)
            unique = exposition_fail(e, "series twice: %s{%s} %s", sorted[i]->name, sorted[i]->labels,
                                     sorted[i]->le);
    free(sorted);
    return unique;
}

/* False: e->error says what is wrong. `e` is large: allocate it. */
static inline bool exposition_parse(struct exposition *e, const char *text, size_t len)
{
    memset(e, 0, sizeof(*e));
    if (len == 0 || text[len - 1] != '\n' || strlen(text) != len)
        return exposition_fail(e, "does not end in a newline, or holds NUL");
    for (const char *line = text; *line;) {
        const char *end = strchr(line, '\n');
        char copy[2048];
        if ((size_t)(end - line) >= sizeof(copy) || memchr(line, '\r', (size_t)(end - line)) || end == line)
            return exposition_fail(e, "a line is empty, too long, or has CR");
        memcpy(copy, line, (size_t)(end - line));
        copy[end - line] = '\0';
        if (!(copy[0] == '#' ? exposition_comment(e, copy) : exposition_sample(e, copy)))
            return false;
        line = end + 1;
    }
    for (unsigned i = 0; i < e->family_count; i++)
        if (e->families[i].type[0] == '\0')
            return exposition_fail(e, "no TYPE for %s", e->families[i].name);
    return exposition_unique(e) && exposition_histograms(e);
}

#endif
