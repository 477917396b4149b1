/* SPDX-License-Identifier: MIT */
/* Runs a fuzz target over the files and folders it is given: what libFuzzer does with a corpus, for compilers
 * without it. Each input has memory of exactly its size. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned inputs;

static void replay_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(size > 0 ? size : 1);
    FUZZ_CHECK(file != NULL && data != NULL, "%s: %s", path, strerror(errno));
    FUZZ_CHECK(fread(data, 1, size, file) == size, "%s: %s", path, strerror(errno));
    fclose(file);
    fprintf(stderr, "%s\n", path);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    inputs++;
}

static void replay(const char *path)
{
    struct stat st;
    FUZZ_CHECK(stat(path, &st) == 0, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) {
        replay_file(path, (size_t)st.st_size);
        return;
    }
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    FUZZ_CHECK(count >= 0, "%s: %s", path, strerror(errno));
    for (int i = 0; i < count; i++) {
        char child[4096];
        snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            replay(child);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    FUZZ_CHECK(inputs > 0, "no input: give files and folders");
    printf("%u inputs\n", inputs);
    return 0;
}
