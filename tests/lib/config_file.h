/* SPDX-License-Identifier: MIT */
/* For tests of the configuration: a file that lives as long as the test, and loading from text. */
#ifndef CBTAP_TESTS_CONFIG_FILE_H
#define CBTAP_TESTS_CONFIG_FILE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/config.h"

/* The least that loads. */
#define BOTH_ENDS "[source.bus]\ntype = amqp\n[sink.k]\ntype = kafka\n"

struct config_file {
    char path[64];
};

static inline void config_file_write(struct config_file *file, const void *data, size_t len)
{
    snprintf(file->path, sizeof file->path, "/tmp/cbtap-config-XXXXXX");
    int fd = mkstemp(file->path);
    assert_true(fd >= 0);
    const char *rest = data;
    while (len > 0) {
        ssize_t n = write(fd, rest, len);
        assert_true(n > 0);
        rest += n;
        len -= (size_t)n;
    }
    close(fd);
}

static inline void config_file_remove(const struct config_file *file)
{
    unlink(file->path);
}

/* Loads `text`; where that fails *ret_err has the error, with the file's path as "FILE". */
static inline int load_bytes(struct cbt_config **ret_config, const void *data, size_t len,
                             const char *const overrides[], size_t count, struct cbt_err *ret_err)
{
    struct config_file file;
    config_file_write(&file, data, len);
    int rc = cbt_config_load(ret_config, file.path, overrides, count, ret_err);
    config_file_remove(&file);
    char *path = rc != 0 ? strstr(ret_err->text, file.path) : NULL;
    if (path) {
        size_t path_len = strlen(file.path);
        memmove(path + 4, path + path_len, strlen(path + path_len) + 1);
        memcpy(path, "FILE", 4);
    }
    return rc;
}

static inline int load_text(struct cbt_config **ret_config, const char *text, struct cbt_err *ret_err)
{
    return load_bytes(ret_config, text, strlen(text), NULL, 0, ret_err);
}

/* Loads what must load. */
static inline struct cbt_config *must_load(const char *text, const char *const overrides[], size_t count)
{
    struct cbt_config *config = NULL;
    struct cbt_err err = {0};
    if (load_bytes(&config, text, strlen(text), overrides, count, &err) != 0)
        fail_msg("%s", err.text);
    return config;
}

/* What cbt_config_print writes; malloc'ed. */
static inline char *printed(const struct cbt_config *config)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    assert_int_equal(cbt_config_print(config, out), 0);
    fclose(out);
    return text;
}

#endif
