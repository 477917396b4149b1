/* SPDX-License-Identifier: MIT */
/* dead_letter_dir: what is committed is there, whole and described; what is not leaves nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

#include "cbtap/dead_letter_dir.h"

static char root[64];

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/cbtap-test-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return unlink(path);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char child[512];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
        if (entry->d_type == DT_DIR ? remove_tree(child) : unlink(child))
            return 1;
    }
    closedir(dir);
    return rmdir(path);
}

static int remove_root(void **state)
{
    (void)state;
    return remove_tree(root);
}

static const struct cbt_dead_letter_info info = {
    .reason = "frame_too_large",
    .detail = "a \"quoted\"\ndetail",
    .source = "bus",
    .routing_key = {(const uint8_t *)"watchlist.\xC3\xA4\xFF", 13},
    .content_type = {(const uint8_t *)"application/zip", 15},
    .file = {(const uint8_t *)"/archive/7/a.log", 16},
    .framing = "bundle",
    .env = {.host_name = {(const uint8_t *)"h\0st", 4},
            .host_id = INT64_MIN,
            .node_id = -3,
            .has_host_id = true,
            .has_node_id = true},
    .sensor_id = -7,
    .entry = 1,
    .index = 2,
    .offset = UINT64_C(12345678901234),
};

/* Names of the files in `dir` with the suffix; the first of them into `ret_name`. */
static int count_files(const char *dir, const char *suffix, char ret_name[256])
{
    DIR *d = opendir(dir);
    int count = 0;
    if (d == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        size_t len = strlen(entry->d_name), suffix_len = strlen(suffix);
        if (entry->d_name[0] == '.' || len < suffix_len ||
            strcmp(entry->d_name + len - suffix_len, suffix) != 0)
            continue;
        count++;
        if (ret_name != NULL)
            snprintf(ret_name, 256, "%s", entry->d_name);
    }
    closedir(d);
    return count;
}

static size_t read_file(const char *dir, const char *name, char *ret_data, size_t size)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t len = fread(ret_data, 1, size - 1, f);
    ret_data[len] = '\0';
    fclose(f);
    return len;
}

static const char *string_at(yajl_val tree, const char *key)
{
    const char *path[] = {key, NULL};
    yajl_val value = yajl_tree_get(tree, path, yajl_t_string);
    assert_non_null(value);
    return YAJL_GET_STRING(value);
}

static long long number_at(yajl_val tree, const char *key)
{
    const char *path[] = {key, NULL};
    yajl_val value = yajl_tree_get(tree, path, yajl_t_number);
    assert_non_null(value);
    return YAJL_GET_INTEGER(value);
}

static void committed_letter_is_whole_and_described(void **state)
{
    (void)state;
    char dir[128], name[256], json_name[256], data[1024];
    struct cbt_err err;
    struct cbt_dead_letter_file *file;
    snprintf(dir, sizeof(dir), "%s/made/here", root);
    assert_int_equal(cbt_dead_letter_begin(&file, dir, &info, &err), 0);
    assert_int_equal(cbt_dead_letter_append(file, "raw\0", 4, &err), 0);
    assert_int_equal(cbt_dead_letter_append(file, "bytes", 5, &err), 0);
    assert_int_equal(count_files(dir, ".bin", NULL), 0);
    assert_int_equal(cbt_dead_letter_commit(file, &err), 0);

    assert_int_equal(count_files(dir, "", NULL), 2);
    assert_int_equal(count_files(dir, ".bin", name), 1);
    assert_int_equal(count_files(dir, ".json", json_name), 1);
    assert_int_equal(strlen(name) + 1, strlen(json_name));
    assert_memory_equal(name, json_name, strlen(name) - 3);
    assert_int_equal(read_file(dir, name, data, sizeof(data)), 9);
    assert_memory_equal(data, "raw\0bytes", 9);

    struct stat st;
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    read_file(dir, json_name, data, sizeof(data));
    char error[128];
    yajl_val tree = yajl_tree_parse(data, error, sizeof(error));
    assert_non_null(tree);
    assert_string_equal(string_at(tree, "reason"), "frame_too_large");
    assert_string_equal(string_at(tree, "detail"), "a \"quoted\"\ndetail");
    assert_string_equal(string_at(tree, "source"), "bus");
    assert_string_equal(string_at(tree, "routing_key"), "watchlist.\xC3\xA4\xEF\xBF\xBD");
    assert_string_equal(string_at(tree, "content_type"), "application/zip");
    assert_int_equal(number_at(tree, "sensor_id"), -7);
    assert_string_equal(string_at(tree, "framing"), "bundle");
    assert_string_equal(string_at(tree, "file"), "/archive/7/a.log");
    assert_true(number_at(tree, "host_id") == INT64_MIN);
    assert_int_equal(number_at(tree, "node_id"), -3);
    assert_int_equal(number_at(tree, "entry"), 1);
    assert_int_equal(number_at(tree, "index"), 2);
    assert_true(number_at(tree, "offset") == 12345678901234);
    assert_int_equal(number_at(tree, "bytes"), 9);
    assert_true(number_at(tree, "unix_ms") > 1700000000000);
    assert_non_null(strstr(data, "\"h\\u0000st\""));
    yajl_tree_free(tree);
}

static void every_letter_has_its_own_name(void **state)
{
    (void)state;
    char dir[128];
    snprintf(dir, sizeof(dir), "%s/many", root);
    for (int i = 0; i < 50; i++) {
        struct cbt_dead_letter_file *file;
        assert_int_equal(cbt_dead_letter_begin(&file, dir, &info, NULL), 0);
        assert_int_equal(cbt_dead_letter_commit(file, NULL), 0);
    }
    assert_int_equal(count_files(dir, ".bin", NULL), 50);
    assert_int_equal(count_files(dir, ".json", NULL), 50);
}

static void aborted_letter_leaves_nothing(void **state)
{
    (void)state;
    char dir[128];
    snprintf(dir, sizeof(dir), "%s/aborted", root);
    struct cbt_dead_letter_file *file;
    assert_int_equal(cbt_dead_letter_begin(&file, dir, &info, NULL), 0);
    assert_int_equal(cbt_dead_letter_append(file, "x", 1, NULL), 0);
    assert_int_equal(count_files(dir, ".part", NULL), 1);
    cbt_dead_letter_abort(file);
    assert_int_equal(count_files(dir, "", NULL), 0);
    cbt_dead_letter_abort(NULL);
}

static void directory_that_cannot_be_made_is_an_error(void **state)
{
    (void)state;
    char path[128], dir[160];
    snprintf(path, sizeof(path), "%s/file", root);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    snprintf(dir, sizeof(dir), "%s/below", path);
    struct cbt_dead_letter_file *file = NULL;
    struct cbt_err err = {0};
    assert_int_equal(cbt_dead_letter_begin(&file, dir, &info, &err), CBT_EIO);
    assert_null(file);
    assert_non_null(strstr(err.text, dir));
    assert_int_equal(cbt_dead_letter_begin(&file, "", &info, &err), CBT_EINVAL);
    char long_dir[2000];
    memset(long_dir, 'x', sizeof(long_dir) - 1);
    long_dir[sizeof(long_dir) - 1] = '\0';
    assert_int_equal(cbt_dead_letter_begin(&file, long_dir, &info, &err), CBT_EINVAL);
    assert_null(file);
}

/* A limit on the file's size stands for the disk that is full. */
static void failed_write_leaves_nothing(void **state)
{
    (void)state;
    char dir[128];
    static const char data[8192];
    snprintf(dir, sizeof(dir), "%s/full", root);
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    struct cbt_dead_letter_file *file;
    struct cbt_err err = {0};
    assert_int_equal(cbt_dead_letter_begin(&file, dir, &info, &err), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int rc = cbt_dead_letter_append(file, data, sizeof(data), &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, CBT_EIO);
    assert_non_null(strstr(err.text, "File too large"));
    cbt_dead_letter_abort(file);
    assert_int_equal(count_files(dir, "", NULL), 0);

    /* The bytes fit, their description does not. */
    assert_int_equal(cbt_dead_letter_begin(&file, dir, &info, &err), 0);
    assert_int_equal(cbt_dead_letter_append(file, data, 10, &err), 0);
    limit.rlim_cur = 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    rc = cbt_dead_letter_commit(file, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, CBT_EIO);
    assert_int_equal(count_files(dir, "", NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(committed_letter_is_whole_and_described),
        cmocka_unit_test(every_letter_has_its_own_name),
        cmocka_unit_test(aborted_letter_leaves_nothing),
        cmocka_unit_test(directory_that_cannot_be_made_is_an_error),
        cmocka_unit_test(failed_write_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
