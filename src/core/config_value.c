/* SPDX-License-Identifier: MIT */
/*
 * Values: what ${NAME}, $$, @FILE and @@ stand for, the same backwards for printing, and the kinds of
 * options. Values are never shown in errors unless their kind cannot be secret.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/config_internal.h"

/* Bytes of the well-formed UTF-8 character at `s` (RFC 3629), 0 where there is none. */
static size_t utf8_len(const unsigned char *s, size_t left)
{
    static const struct {
        unsigned char first_min, first_max, second_min, second_max, len;
    } rows[] = {{0x00, 0x7F, 0, 0, 1},       {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
                {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3},
                {0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (s[0] < rows[i].first_min || s[0] > rows[i].first_max)
            continue;
        if (rows[i].len > left ||
            (rows[i].len > 1 && (s[1] < rows[i].second_min || s[1] > rows[i].second_max)))
            return 0;
        for (size_t j = 2; j < rows[i].len; j++)
            if ((s[j] & 0xC0) != 0x80)
                return 0;
        return rows[i].len;
    }
    return 0;
}

bool cbt_config_text_ok(const char *text, size_t len, size_t *ret_offset, const char **ret_reason)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t step = 0;
    for (size_t i = 0; i < len; i += step) {
        step = utf8_len(s + i, len - i);
        *ret_offset = i;
        *ret_reason = s[i] == 0   ? "holds a NUL byte"
                      : step == 0 ? "is not well-formed UTF-8"
                                  : "holds a control character";
        if (step == 0 || (s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7F)
            return false;
    }
    return true;
}

static int read_file(const char *path, char **ret_value, struct cbt_err *err)
{
    int rc = 0;
    char *value = malloc(CBT_CONFIG_VALUE_MAX_BYTES + 2);
    if (!value)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    size_t len = 0;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        rc = cbt_err_set(err, cbt_config_rc(errno), "cannot open the file \"%s\": %s", path, strerror(errno));
        goto out;
    }
    while (len <= CBT_CONFIG_VALUE_MAX_BYTES) {
        n = read(fd, value + len, CBT_CONFIG_VALUE_MAX_BYTES + 1 - len);
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        len += n < 0 ? 0 : (size_t)n;
    }
    if (n < 0) {
        rc = cbt_err_set(err, cbt_config_rc(errno), "cannot read the file \"%s\": %s", path, strerror(errno));
        goto out;
    }
    if (len > 0 && value[len - 1] == '\n')
        len--;
    if (len > CBT_CONFIG_VALUE_MAX_BYTES)
        rc = cbt_err_set(err, CBT_EINVAL, "the file \"%s\" is larger than %d bytes", path,
                         CBT_CONFIG_VALUE_MAX_BYTES);
    else if (memchr(value, '\0', len))
        rc = cbt_err_set(err, CBT_EINVAL, "the file \"%s\" holds a NUL byte", path);
    value[len] = '\0';
out:
    if (fd >= 0)
        close(fd);
    if (rc == 0)
        *ret_value = value;
    else
        free(value);
    return rc;
}

/* The variable whose ${NAME} starts at `dollar`; *ret_end is behind its brace. */
static int variable(const char *dollar, const char **ret_value, const char **ret_end, struct cbt_err *err)
{
    char name[256];
    size_t len = 0;
    const char *s = dollar[1] == '{' ? dollar + 2 : "";
    while (s[len] == '_' || isalpha((unsigned char)s[len]) || (len > 0 && isdigit((unsigned char)s[len])))
        len++;
    if (len == 0 || len >= sizeof name || s[len] != '}')
        return cbt_err_set(err, CBT_EINVAL,
                           "a $ begins ${NAME}, an environment variable; for a dollar sign write $$");
    memcpy(name, s, len);
    name[len] = '\0';
    const char *value = getenv(name);
    if (!value)
        return cbt_err_set(err, CBT_EINVAL, "the environment variable \"%s\" is not set", name);
    *ret_value = value;
    *ret_end = s + len + 1;
    return 0;
}

int cbt_config_substitute(const char *raw, char **ret_value, struct cbt_err *err)
{
    bool is_file = raw[0] == '@' && raw[1] != '@';
    if (raw[0] == '@')
        raw++;
    int rc = 0;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return cbt_err_set(err, CBT_ENOMEM, "out of memory");
    size_t len = 0;
    while (*raw && rc == 0 && len <= CBT_CONFIG_VALUE_MAX_BYTES) {
        const char *piece = raw, *end = raw + 1;
        size_t piece_len = 1;
        if (raw[0] == '$' && raw[1] == '$') {
            end = raw + 2;
        } else if (raw[0] == '$') {
            rc = variable(raw, &piece, &end, err);
            piece_len = rc == 0 ? strlen(piece) : 0;
        }
        fwrite(piece, 1, piece_len, out);
        len += piece_len;
        raw = end;
    }
    bool failed = ferror(out) != 0;
    if ((fclose(out) != 0 || failed || !text) && rc == 0)
        rc = cbt_err_set(err, CBT_ENOMEM, "out of memory");
    if (rc == 0 && len > CBT_CONFIG_VALUE_MAX_BYTES)
        rc = cbt_err_set(err, CBT_EINVAL, "the value is longer than %d bytes", CBT_CONFIG_VALUE_MAX_BYTES);
    if (rc == 0 && is_file) {
        rc = read_file(text, ret_value, err);
    } else if (rc == 0) {
        *ret_value = text;
        text = NULL;
    }
    free(text);
    return rc;
}

bool cbt_config_write_value(const char *value, FILE *out)
{
    size_t len = strlen(value), offset = 0;
    const char *reason = NULL;
    if (!cbt_config_text_ok(value, len, &offset, &reason))
        return false;
    if (len > 0 && (isspace((unsigned char)value[0]) || isspace((unsigned char)value[len - 1])))
        return false;
    if (value[0] == '@')
        fputc('@', out);
    for (const char *s = value; *s; s++) {
        if (*s == '$')
            fputc('$', out);
        fputc(*s, out);
    }
    return true;
}

static int parse_num(const struct cbt_option *option, const char *value, uint64_t *ret_num,
                     struct cbt_err *err)
{
    const char *unit = option->choices;
    size_t digits = strspn(value, "0123456789");
    errno = 0;
    unsigned long long num = strtoull(value, NULL, 10);
    if (digits == 0 || value[digits] != '\0')
        return cbt_err_set(err, CBT_EINVAL, "\"%.64s\" is not a whole number%s%s", value, *unit ? " of " : "",
                           unit);
    if (errno == ERANGE || num < option->min || num > option->max)
        return cbt_err_set(err, CBT_EINVAL, "%.64s is out of range: %" PRIu64 " to %" PRIu64 "%s%s", value,
                           option->min, option->max, *unit ? " " : "", unit);
    *ret_num = num;
    return 0;
}

static int parse_choice(const char *choices, const char *value, const char **ret_choice, struct cbt_err *err)
{
    char copy[256];
    const char *words[32];
    size_t count = 0;
    snprintf(copy, sizeof copy, "%s", choices);
    char *rest = copy;
    for (char *word = strsep(&rest, "|"); word && count < 32; word = strsep(&rest, "|")) {
        words[count++] = word;
        if (strcmp(word, value) == 0) {
            *ret_choice = choices + (word - copy);
            return 0;
        }
    }
    const char *nearest = cbt_nearest(value, words, count);
    char phrase[128], list[256] = "";
    cbt_nearest_phrase(value, nearest, phrase, sizeof phrase);
    for (size_t i = 0; i < count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", words[i]);
    return cbt_err_set(err, CBT_EINVAL, "\"%.64s\" is none of %s; %s", value, list, phrase);
}

int cbt_option_parse(const struct cbt_option *option, const char *value, void *field, struct cbt_err *err)
{
    const char *choice = NULL;
    int rc = 0;
    switch (option->kind) {
    case CBT_KIND_num:
        return parse_num(option, value, field, err);
    case CBT_KIND_bool:
        rc = parse_choice("true|false", value, &choice, err);
        if (choice)
            *(bool *)field = choice[0] == 't';
        return rc;
    case CBT_KIND_choice:
        rc = parse_choice(option->choices, value, &choice, err);
        if (rc == 0)
            *(const char **)field = value;
        return rc;
    case CBT_KIND_str:
    case CBT_KIND_secret:
    case CBT_KIND_url:
        *(const char **)field = value;
        return 0;
    case CBT_KIND_map:
        break;
    }
    return cbt_err_set(err, CBT_EINVAL, "a prefix has no value");
}
