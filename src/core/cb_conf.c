/* SPDX-License-Identifier: MIT */
/*
 * Reads the EDR server's cb.conf: see cb_conf.h.
 *
 * The file is somebody else's: keys that do not count, and lines that are none, are passed over; those that
 * count must be clear. It holds secrets: what is read is overwritten, and no error tells a value.
 */
#include "cbtap/cb_conf.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/config_internal.h"

#define FILE_BYTES_MAX (1u << 20)

static int cannot_read(const char *path, int error, struct cbt_err *err)
{
    return cbt_err_set(err, cbt_config_rc(error), "cannot read %s: %s%s", path, strerror(error),
                       error == EACCES ? "; let cbtap's user read it (its group, or an ACL)" : "");
}

/* Not blocking: at that path there may be a pipe. */
static int read_file(const char *path, char *text, size_t *ret_len, struct cbt_err *err)
{
    struct stat stat;
    size_t len = 0;
    int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return cannot_read(path, errno, err);
    if (fstat(fd, &stat) != 0)
        rc = cannot_read(path, errno, err);
    else if (!S_ISREG(stat.st_mode))
        rc = cbt_err_set(err, CBT_EINVAL, "%s is no file", path);
    while (rc == 0 && len <= FILE_BYTES_MAX) {
        ssize_t n = read(fd, text + len, FILE_BYTES_MAX + 1 - len);
        if (n == 0)
            break;
        if (n > 0)
            len += (size_t)n;
        else if (errno != EINTR)
            rc = cannot_read(path, errno, err);
    }
    close(fd);
    if (rc == 0 && len > FILE_BYTES_MAX)
        rc = cbt_err_set(err, CBT_EINVAL, "%s is larger than %u bytes: is it the server's cb.conf?", path,
                         FILE_BYTES_MAX);
    *ret_len = len;
    return rc;
}

static struct cbt_text trimmed(const char *begin, const char *end)
{
    while (begin < end && (*begin == ' ' || *begin == '\t'))
        begin++;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
        end--;
    return (struct cbt_text){(const uint8_t *)begin, (size_t)(end - begin)};
}

static struct cbt_cb_conf_value *find(struct cbt_cb_conf *conf, struct cbt_text key, const char **ret_name)
{
#define X(name)                                                                                              \
    if (key.len == sizeof(#name) - 1 && memcmp(key.data, #name, key.len) == 0) {                             \
        *ret_name = #name;                                                                                   \
        return &conf->name;                                                                                  \
    }
    CBT_CB_CONF_KEYS(X)
#undef X
    return NULL;
}

static int take_line(struct cbt_cb_conf *conf, unsigned line, const char *begin, const char *end,
                     struct cbt_err *err)
{
    const char *name = NULL, *reason = NULL;
    const char *equal = memchr(begin, '=', (size_t)(end - begin));
    if (equal == NULL)
        return CBT_OK;
    struct cbt_text value = trimmed(equal + 1, end);
    struct cbt_cb_conf_value *place = find(conf, trimmed(begin, equal), &name);
    size_t offset;
    if (place == NULL || value.len == 0)
        return CBT_OK;
    if (value.len > CBT_CB_CONF_VALUE_BYTES_MAX)
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: %s has more than %d bytes", conf->path, line, name,
                           CBT_CB_CONF_VALUE_BYTES_MAX);
    if (!cbt_config_text_ok((const char *)value.data, value.len, &offset, &reason))
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: the value of %s %s", conf->path, line, name, reason);
    if (place->line != 0 &&
        (strlen(place->text) != value.len || memcmp(place->text, value.data, value.len) != 0))
        return cbt_err_set(err, CBT_EINVAL, "%s:%u: another value of %s than in line %u; leave one of them",
                           conf->path, line, name, place->line);
    memcpy(place->text, value.data, value.len);
    place->text[value.len] = '\0';
    place->line = line;
    return CBT_OK;
}

int cbt_cb_conf_read(struct cbt_cb_conf *ret_conf, const char *path, struct cbt_err *err)
{
    size_t len = 0;
    char *text = malloc(FILE_BYTES_MAX + 1);
    if (text == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for %s", path);
    *ret_conf = (struct cbt_cb_conf){.path = path};
    int rc = read_file(path, text, &len, err);
    const char *at = text, *end = text + len;
    for (unsigned line = 1; rc == 0 && at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline != NULL ? newline : end;
        rc = take_line(ret_conf, line, at, line_end, err);
        at = newline != NULL ? newline + 1 : end;
    }
    explicit_bzero(text, len);
    free(text);
    if (rc != 0)
        cbt_cb_conf_wipe(ret_conf);
    return rc;
}

void cbt_cb_conf_wipe(struct cbt_cb_conf *conf)
{
    if (conf != NULL)
        explicit_bzero(conf, sizeof(*conf));
}

int cbt_cb_conf_check_login(const struct cbt_cb_conf *conf, struct cbt_err *err)
{
    if (conf->RabbitMQPassword.line == 0 && conf->RabbitMQToken.line != 0)
        return cbt_err_set(
            err, CBT_EINVAL,
            "%s:%u: RabbitMQToken in place of RabbitMQPassword: only the server can make the password of "
            "it. Make a user for cbtap (rabbitmqctl add_user, set_permissions), and write url = "
            "amqp://USER:PASSWORD@HOST:PORT/%%2F in place of cb_conf",
            conf->path, conf->RabbitMQToken.line);
    if (conf->RabbitMQUser.line == 0 || conf->RabbitMQPassword.line == 0)
        return cbt_err_set(err, CBT_EINVAL,
                           "%s has no %s: is it the server's cb.conf? Else write user and password into url, "
                           "in place of cb_conf",
                           conf->path, conf->RabbitMQUser.line == 0 ? "RabbitMQUser" : "RabbitMQPassword");
    return CBT_OK;
}

int cbt_cb_conf_port(const struct cbt_cb_conf *conf, const struct cbt_cb_conf_value *value, const char *key,
                     uint16_t otherwise, uint16_t *ret_port, struct cbt_err *err)
{
    unsigned long port = otherwise;
    if (value->line != 0) {
        size_t digits = strspn(value->text, "0123456789");
        port = digits <= 5 && value->text[digits] == '\0' ? strtoul(value->text, NULL, 10) : 0;
        if (port == 0 || port > UINT16_MAX)
            return cbt_err_set(err, CBT_EINVAL, "%s:%u: %s is no port, a number from 1 to 65535", conf->path,
                               value->line, key);
    }
    if (port == 0)
        return cbt_err_set(err, CBT_EINVAL, "%s has no %s: set port", conf->path, key);
    *ret_port = (uint16_t)port;
    return CBT_OK;
}
