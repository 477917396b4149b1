/* SPDX-License-Identifier: MIT */
/* Which values are secret, and which part of them: for what is printed, and for the command line. */
#include <string.h>
#include <strings.h>

#include "core/config_internal.h"

bool cbt_config_secret_property(const char *key)
{
    static const char *const parts[] = {"password", "secret", "key.pem", "jaas", "oauthbearer.config"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strcasestr(key, parts[i]))
            return true;
    return false;
}

struct cbt_text cbt_config_url_password(const char *url)
{
    const char *scheme = strstr(url, "://");
    const char *user = scheme ? scheme + 3 : url;
    const char *at = strrchr(user, '@');
    const char *colon = at ? memchr(user, ':', (size_t)(at - user)) : NULL;
    if (!colon)
        return (struct cbt_text){0};
    return (struct cbt_text){(const uint8_t *)colon + 1, (size_t)(at - colon - 1)};
}

static bool has_kind(const char *key, enum cbt_option_kind kind)
{
    for (size_t i = 0; i < cbt_option_count; i++)
        if (cbt_options[i].kind == kind && strcasecmp(cbt_options[i].key, key) == 0)
            return true;
    return false;
}

/* ${NAME} and @FILE say where the secret is, and not what it is. */
static bool is_reference(struct cbt_text text)
{
    const char *s = (const char *)text.data;
    return (text.len > 3 && s[0] == '$' && s[1] == '{' && s[text.len - 1] == '}' &&
            !memchr(s + 2, '$', text.len - 2)) ||
           (text.len > 1 && s[0] == '@' && s[1] != '@');
}

/* The key of "section.key=", as cbt_settings_override takes it apart; empty where it is too long to be one.
 */
static void copy_key(const char *override, const char *equal, char *ret_key, size_t key_bytes)
{
    const char *dot = strchr(override, '.');
    if (dot && (strncasecmp(override, "source.", 7) == 0 || strncasecmp(override, "sink.", 5) == 0))
        dot = strchr(dot + 1, '.');
    const char *key = dot && dot < equal ? dot + 1 : override;
    key += strspn(key, " \t");
    size_t len = strcspn(key, " \t=");
    ret_key[0] = '\0';
    if (len < key_bytes)
        snprintf(ret_key, key_bytes, "%.*s", (int)len, key);
}

struct cbt_text cbt_config_override_secret(const char *override)
{
    const char *equal = strchr(override, '=');
    if (!equal)
        return (struct cbt_text){0};
    char key[256];
    copy_key(override, equal, key, sizeof key);
    const char *value = equal + 1 + strspn(equal + 1, " \t");
    struct cbt_text secret = {0};
    if (has_kind(key, CBT_KIND_secret) || cbt_config_secret_property(key))
        secret = (struct cbt_text){(const uint8_t *)value, strlen(value)};
    else if (has_kind(key, CBT_KIND_url) || strstr(value, "://"))
        secret = cbt_config_url_password(value);
    return is_reference(secret) ? (struct cbt_text){0} : secret;
}
