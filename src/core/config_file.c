/* SPDX-License-Identifier: MIT */
/*
 * Reads an INI file into settings with their line numbers, by libini_config, and takes overrides in.
 *
 * libini_config reads hostile files loosely: it loses keys that stand before any section, cuts at NUL, trims
 * control characters, goes quadratic in keys. So the text is looked over line by line before it gets it.
 */
#include <ctype.h>
#include <errno.h>
#include <ini_configobj.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/config_internal.h"

static int out_of_memory(struct cbt_err *err)
{
    return cbt_err_set(err, CBT_ENOMEM, "out of memory");
}

void cbt_settings_free(struct cbt_settings *settings)
{
    if (!settings)
        return;
    for (size_t i = 0; i < settings->count; i++) {
        struct cbt_section *section = &settings->sections[i];
        for (size_t j = 0; j < section->count; j++) {
            free(section->settings[j].key);
            free(section->settings[j].raw);
            free(section->settings[j].value);
        }
        free(section->settings);
        free(section->name);
    }
    free(settings->sections);
    free(settings->path);
    free(settings->host_name);
    *settings = (struct cbt_settings){0};
}

static struct cbt_section *find_section(const struct cbt_settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->count; i++)
        if (strcasecmp(settings->sections[i].name, name) == 0)
            return &settings->sections[i];
    return NULL;
}

const struct cbt_section *cbt_settings_section(const struct cbt_settings *settings, const char *name)
{
    return find_section(settings, name);
}

const struct cbt_setting *cbt_section_setting(const struct cbt_section *section, const char *key)
{
    for (size_t i = 0; section && i < section->count; i++)
        if (strcasecmp(section->settings[i].key, key) == 0)
            return &section->settings[i];
    return NULL;
}

int cbt_setting_err(const struct cbt_settings *settings, const struct cbt_section *section,
                    const struct cbt_setting *setting, struct cbt_err *err, enum cbt_rc rc, const char *fmt,
                    ...)
{
    char text[CBT_ERR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    unsigned line = setting ? setting->line : section->line;
    cbt_err_set(err, rc, "[%.64s]%s%.128s: %s", section->name, setting ? " " : "",
                setting ? setting->key : "", text);
    if (line > 0)
        cbt_err_prefix(err, "%s:%u", settings->path, line);
    else
        cbt_err_prefix(err, "-s");
    return rc;
}

static int add_section(struct cbt_settings *settings, const char *name, unsigned line,
                       struct cbt_section **ret_section, struct cbt_err *err)
{
    if (settings->count >= CBT_CONFIG_SECTIONS_MAX)
        return cbt_err_set(err, CBT_EINVAL, "more than %d sections", CBT_CONFIG_SECTIONS_MAX);
    struct cbt_section *grown = realloc(settings->sections, (settings->count + 1) * sizeof *grown);
    if (!grown)
        return out_of_memory(err);
    settings->sections = grown;
    char *copy = strdup(name);
    if (!copy)
        return out_of_memory(err);
    grown[settings->count] = (struct cbt_section){.name = copy, .line = line};
    *ret_section = &grown[settings->count++];
    return 0;
}

static int add_setting(struct cbt_section *section, const char *key, const char *raw, unsigned line,
                       struct cbt_err *err)
{
    struct cbt_setting *grown = realloc(section->settings, (section->count + 1) * sizeof *grown);
    if (!grown)
        return out_of_memory(err);
    section->settings = grown;
    struct cbt_setting setting = {.key = strdup(key), .raw = strdup(raw), .line = line};
    if (!setting.key || !setting.raw) {
        free(setting.key);
        free(setting.raw);
        return out_of_memory(err);
    }
    grown[section->count++] = setting;
    return 0;
}

int cbt_section_add(struct cbt_section *section, const char *key, const char *value, struct cbt_err *err)
{
    int rc = add_setting(section, key, value, 0, err);
    if (rc == 0) {
        struct cbt_setting *added = &section->settings[section->count - 1];
        added->value = strdup(value);
        if (!added->value)
            rc = out_of_memory(err);
    }
    return rc;
}

static int read_whole(const char *path, char **ret_text, size_t *ret_len, struct cbt_err *err)
{
    int rc = 0;
    size_t len = 0;
    char *text = malloc(CBT_CONFIG_FILE_MAX_BYTES + 1);
    FILE *file = fopen(path, "re");
    if (!text) {
        rc = out_of_memory(err);
        goto out;
    }
    if (file)
        len = fread(text, 1, CBT_CONFIG_FILE_MAX_BYTES + 1, file);
    if (!file || ferror(file)) {
        rc = cbt_err_set(err, cbt_config_rc(errno), "cannot read the configuration \"%s\": %s%s", path,
                         strerror(errno), errno == ENOENT ? "; name another with -c FILE" : "");
        goto out;
    }
    if (len > CBT_CONFIG_FILE_MAX_BYTES)
        rc = cbt_err_set(err, CBT_EINVAL, "%s: larger than %d bytes", path, CBT_CONFIG_FILE_MAX_BYTES);
out:
    if (file)
        fclose(file);
    if (rc == 0) {
        *ret_text = text;
        *ret_len = len;
    } else {
        free(text);
    }
    return rc;
}

/* What one line of the file is, for look_over. */
static int look_at_line(const char *path, unsigned line, struct cbt_text text, unsigned *sections,
                        struct cbt_err *err)
{
    size_t offset = 0;
    const char *reason = NULL;
    const char *s = (const char *)text.data;
    if (!cbt_config_text_ok(s, text.len, &offset, &reason))
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: the line %s (column %zu)", path, line, reason,
                           offset + 1);
    size_t blanks = 0;
    while (blanks < text.len && (s[blanks] == ' ' || s[blanks] == '\t'))
        blanks++;
    if (blanks == text.len || s[0] == '#' || s[0] == ';')
        return 0;
    if (s[blanks] == '#' || s[blanks] == ';' || s[blanks] == '[') {
        if (blanks > 0)
            return cbt_err_set(err, CBT_EINVAL,
                               "%s:%u: blanks before a comment or a section; begin the line with \"%c\"",
                               path, line, s[blanks]);
        if (++*sections > CBT_CONFIG_SECTIONS_MAX)
            return cbt_err_set(err, CBT_EINVAL, "%s:%u: more than %d sections", path, line,
                               CBT_CONFIG_SECTIONS_MAX);
    } else if (*sections == 0) {
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: a key before any section; begin with [cbtap], say", path,
                           line);
    }
    size_t name_len = text.len;
    const char *equal = memchr(s, '=', text.len);
    if (s[blanks] != '[' && equal)
        name_len = (size_t)(equal - s);
    for (size_t i = 0; i < name_len; i++)
        if ((unsigned char)s[i] >= 0x80 || s[i] == '!')
            return cbt_err_set(err, CBT_EINVAL, "%s:%u: no name holds such a character (column %zu)", path,
                               line, i + 1);
    return 0;
}

/* Refuses what libini_config would read otherwise than people mean it. */
static int look_over(const char *path, const char *text, size_t len, struct cbt_err *err)
{
    const char *end = text + len;
    unsigned line = 0, sections = 0;
    if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        text += 3;
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t line_len = (size_t)((newline ? newline : end) - text);
        if (++line > CBT_CONFIG_LINES_MAX)
            return cbt_err_set(err, CBT_EINVAL, "%s: more than %d lines", path, CBT_CONFIG_LINES_MAX);
        if (line_len > 0 && text[line_len - 1] == '\r')
            line_len--;
        int rc = look_at_line(path, line, (struct cbt_text){(const uint8_t *)text, line_len}, &sections, err);
        if (rc != 0)
            return rc;
        text = newline ? newline + 1 : end;
    }
    return 0;
}

/* Copies line `line` of the text, without its end and the blanks around it. */
static void line_text(const char *text, unsigned line, char *ret_line, size_t line_bytes)
{
    for (; line > 1 && *text; text++)
        line -= *text == '\n';
    text += strspn(text, " \t");
    size_t len = strcspn(text, "\r\n");
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    snprintf(ret_line, line_bytes, "%.*s", (int)(len < line_bytes ? len : line_bytes - 1), text);
}

/* The line of section [name]; sections are unique by then. */
static unsigned section_line(const char *text, const char *name)
{
    unsigned line = 1;
    size_t len = strlen(name);
    while (*text) {
        const char *s = text + 1 + strspn(text + 1, " \t");
        if (*text == '[' && strncasecmp(s, name, len) == 0 && s[len + strspn(s + len, " \t")] == ']')
            return line;
        text += strcspn(text, "\n");
        if (*text)
            text++;
        line++;
    }
    return line;
}

/* libini_config's own words ("Error (10) on line 3: ...") as an error of ours. */
static int parse_failure(const char *path, const char *text, struct ini_cfgobj *ini, int parse_rc,
                         struct cbt_err *err)
{
    char **messages = NULL;
    char shown[80] = "";
    unsigned code = 0, line = 0;
    if (ini_config_get_errors(ini, &messages) != 0 || !messages || !messages[0] ||
        sscanf(messages[0], "Error (%u) on line %u:", &code, &line) != 2) { // NOLINT(cert-err34-c)
        ini_config_free_errors(messages);
        return cbt_err_set(err, cbt_config_rc(parse_rc), "%s: cannot be parsed: %s", path,
                           strerror(parse_rc));
    }
    ini_config_free_errors(messages);
    line_text(text, line, shown, sizeof shown);
    shown[strcspn(shown, "=")] = '\0'; /* a value may be secret */
    for (size_t len = strlen(shown); len > 0 && isspace((unsigned char)shown[len - 1]); len--)
        shown[len - 1] = '\0';
    switch (code) {
    case ERR_DUPKEY:
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: key \"%s\" given twice in its section", path, line,
                           shown);
    case ERR_DUPSECTION:
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: section %s given twice", path, line, shown);
    case ERR_NOEQUAL:
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: neither [section] nor key = value nor a comment", path,
                           line);
    case ERR_NOKEY:
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: no key before the equal sign", path, line);
    case ERR_NOCLOSESEC:
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: a section ends in \"]\", with nothing behind it", path,
                           line);
    case ERR_NOSECTION:
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: a section without a name", path, line);
    case ERR_LONGKEY:
    case ERR_SECTIONLONG:
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: the name is too long", path, line);
    default:
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: cannot be parsed (libini_config error %u)", path, line,
                           code);
    }
}

static int take_section(struct cbt_settings *settings, const char *text, struct ini_cfgobj *ini,
                        const char *name, struct cbt_err *err)
{
    struct cbt_section *section = NULL;
    int rc = add_section(settings, name, section_line(text, name), &section, err);
    if (!section)
        return rc;
    int count = 0, ini_rc = 0;
    char **keys = ini_get_attribute_list(ini, name, &count, &ini_rc);
    if (!keys)
        return out_of_memory(err);
    for (int i = 0; i < count && rc == 0; i++) {
        struct value_obj *object = NULL;
        uint32_t line = 0;
        ini_rc = ini_get_config_valueobj(name, keys[i], ini, INI_GET_FIRST_VALUE, &object);
        const char *value = object ? ini_get_const_string_config_value(object, &ini_rc) : NULL;
        if (!value || value_get_line(object, &line) != 0) {
            rc = cbt_setting_err(settings, section, NULL, err, cbt_config_rc(ini_rc),
                                 "cannot read the value of \"%s\"%s%s", keys[i], ini_rc != 0 ? ": " : "",
                                 ini_rc != 0 ? strerror(ini_rc) : "");
            break;
        }
        rc = add_setting(section, keys[i], value, line, err);
    }
    ini_free_attribute_list(keys);
    return rc;
}

static int take_all(struct cbt_settings *settings, const char *text, struct ini_cfgobj *ini,
                    struct cbt_err *err)
{
    int count = 0, ini_rc = 0, rc = 0;
    char **names = ini_get_section_list(ini, &count, &ini_rc);
    if (!names)
        return out_of_memory(err);
    for (int i = 0; i < count && rc == 0; i++)
        rc = take_section(settings, text, ini, names[i], err);
    ini_free_section_list(names);
    return rc;
}

int cbt_settings_read(struct cbt_settings *settings, const char *path, struct cbt_err *err)
{
    struct ini_cfgobj *ini = NULL;
    struct ini_cfgfile *file = NULL;
    char *text = NULL;
    size_t len = 0;
    int rc = read_whole(path, &text, &len, err);
    if (rc != 0)
        return rc;
    text[len] = '\0';
    settings->path = strdup(path);
    rc = settings->path ? look_over(path, text, len, err) : out_of_memory(err);
    if (rc != 0)
        goto out;
    if (ini_config_create(&ini) != 0 || ini_config_file_from_mem(text, (uint32_t)len, &file) != 0) {
        rc = out_of_memory(err);
        goto out;
    }
    int parse_rc = ini_config_parse(file, INI_STOP_ON_ANY, INI_MV1S_ERROR | INI_MV2S_ERROR | INI_MS_ERROR,
                                    INI_PARSE_NOWRAP | INI_PARSE_NO_C_COMMENTS, ini);
    rc = parse_rc == 0 ? take_all(settings, text, ini, err) : parse_failure(path, text, ini, parse_rc, err);
out:
    if (file)
        ini_config_file_destroy(file);
    if (ini)
        ini_config_destroy(ini);
    free(text);
    return rc;
}

static char *trimmed(const char *begin, const char *end)
{
    while (begin < end && isspace((unsigned char)*begin))
        begin++;
    while (end > begin && isspace((unsigned char)end[-1]))
        end--;
    return strndup(begin, (size_t)(end - begin));
}

/* Puts the key into its section over what is there. Takes `raw` over. */
static int put_override(struct cbt_settings *settings, const char *name, const char *key, char *raw,
                        struct cbt_err *err)
{
    int rc = 0;
    struct cbt_section *section = find_section(settings, name);
    if (!section)
        rc = add_section(settings, name, 0, &section, err);
    struct cbt_setting *known = (struct cbt_setting *)cbt_section_setting(section, key);
    if (known) {
        free(known->raw);
        known->raw = raw;
        known->line = 0;
        return 0;
    }
    if (section)
        rc = add_setting(section, key, raw, 0, err);
    free(raw);
    return rc;
}

int cbt_settings_override(struct cbt_settings *settings, const char *text, struct cbt_err *err)
{
    size_t offset = 0;
    const char *reason = NULL;
    const char *equal = strchr(text, '=');
    if (!cbt_config_text_ok(text, strlen(text), &offset, &reason))
        return cbt_err_set(err, CBT_EINVAL, "-s: the argument %s", reason);
    /* source.NAME.key and sink.NAME.key: the NAME holds no dots; else the section is what stands before the
     * first. */
    const char *dot = strchr(text, '.');
    if (dot && (strncasecmp(text, "source.", 7) == 0 || strncasecmp(text, "sink.", 5) == 0))
        dot = strchr(dot + 1, '.');
    if (!equal || !dot || dot > equal)
        return cbt_err_set(
            err, CBT_EINVAL,
            "-s \"%.*s\": write -s section.key=value, e.g. -s cbtap.log.level=debug or -s source.bus.queue=q",
            /* Without an equal sign a secret may follow anything. */
            (int)(equal && equal - text < 64 ? (size_t)(equal - text) : strcspn(text, " \t:=")), text);
    char *name = trimmed(text, dot), *key = trimmed(dot + 1, equal),
         *raw = trimmed(equal + 1, text + strlen(text));
    int rc;
    if (!name || !key || !raw) {
        rc = out_of_memory(err);
    } else if (*name == '\0' || *key == '\0') {
        rc = cbt_err_set(err, CBT_EINVAL, "-s: no section or no key before the equal sign");
    } else {
        rc = put_override(settings, name, key, raw, err);
        raw = NULL;
    }
    free(name);
    free(key);
    free(raw);
    return rc;
}
