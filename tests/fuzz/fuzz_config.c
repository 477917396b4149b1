/* SPDX-License-Identifier: MIT */
/* The text of a configuration file: it is refused with a word of why, or what is printed of it reads back as
 * the same. */
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cbtap/config.h"
#include "fuzz.h"

/* Loads the text from a file in memory. */
static struct cbt_config *load(const void *text, size_t len, struct cbt_err *ret_err)
{
    struct cbt_config *config = NULL;
    char path[64];
    int fd = memfd_create("cbtap.conf", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, text, len) == (ssize_t)len, "no file in memory");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int rc = cbt_config_load(&config, path, NULL, 0, ret_err);
    FUZZ_CHECK((rc == 0) == (config != NULL), "%d", rc);
    close(fd);
    return config;
}

/* malloc'ed */
static char *print(const struct cbt_config *config)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    FUZZ_CHECK(out != NULL && cbt_config_print(config, out) == 0 && fclose(out) == 0, "cannot print");
    return text;
}

static bool holds(const uint8_t *data, size_t size, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= size; i++)
        if (strncasecmp((const char *)data + i, word, len) == 0)
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Not the files of whoever runs this. */
    if (memchr(data, '@', size) != NULL || holds(data, size, "cb_conf"))
        return 0;
    struct cbt_err err = {0};
    struct cbt_config *config = load(data, size, &err);
    if (config == NULL) {
        FUZZ_CHECK(err.text[0] != '\0' && err.rc < 0, "no word of why");
        return 0;
    }
    char *first = print(config);
    cbt_config_free(config);
    config = load(first, strlen(first), &err);
    FUZZ_CHECK(config != NULL, "does not read back: %s\n%s", err.text, first);
    char *second = print(config);
    FUZZ_CHECK(strcmp(first, second) == 0, "reads back as another:\n%s\n%s", first, second);
    cbt_config_free(config);
    free(first);
    free(second);
    return 0;
}
