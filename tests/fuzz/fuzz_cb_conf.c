/* SPDX-License-Identifier: MIT */
/* The text of the server's cb.conf: it is refused with a word of where and why, or its values are clean. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cbtap/cb_conf.h"
#include "core/config_internal.h"
#include "fuzz.h"

static void check_value(const char *key, const struct cbt_cb_conf_value *value)
{
    size_t offset, len = strnlen(value->text, sizeof(value->text));
    const char *reason;
    FUZZ_CHECK(len <= CBT_CB_CONF_VALUE_BYTES_MAX, "%s has no end", key);
    FUZZ_CHECK((value->line != 0) == (len > 0), "%s in line %u has %zu bytes", key, value->line, len);
    FUZZ_CHECK(cbt_config_text_ok(value->text, len, &offset, &reason), "%s %s", key, reason);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cbt_cb_conf conf;
    struct cbt_err err = {0};
    uint16_t port = 0;
    char path[64];
    int fd = memfd_create("cb.conf", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size, "no file in memory");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int rc = cbt_cb_conf_read(&conf, path, &err);
    close(fd);
    FUZZ_CHECK(rc == 0 || (rc == CBT_EINVAL && strstr(err.text, path) != NULL), "%d: %s", rc, err.text);
    if (rc != 0)
        return 0;
#define X(key) check_value(#key, &conf.key);
    CBT_CB_CONF_KEYS(X)
#undef X
    rc = cbt_cb_conf_check_login(&conf, &err);
    FUZZ_CHECK((rc == 0) == (conf.RabbitMQUser.line != 0 && conf.RabbitMQPassword.line != 0), "%d", rc);
    rc = cbt_cb_conf_port(&conf, &conf.RabbitMQPort, "RabbitMQPort", CBT_CB_CONF_RABBITMQ_PORT, &port, &err);
    FUZZ_CHECK(rc != 0 || port != 0, "port 0");
    cbt_cb_conf_wipe(&conf);
    return 0;
}
