/* SPDX-License-Identifier: MIT */
/* From a path to the sensor id that its last folder is named by. */
#include "ingest/folder_id.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 10 /* of INT32_MAX */

struct name {
    const char *begin;
    size_t len;
};

static struct name last_name(const char *path, size_t len)
{
    while (len > 0 && path[len - 1] == '/')
        len--;
    size_t begin = len;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    return (struct name){path + begin, len - begin};
}

static bool read_number(struct name name, int32_t *ret_number)
{
    int64_t number = 0;
    if (name.len == 0 || name.len > DIGITS_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if (name.begin[i] < '0' || name.begin[i] > '9')
            return false;
        number = 10 * number + (name.begin[i] - '0');
    }
    if (number > INT32_MAX)
        return false;
    *ret_number = (int32_t)number;
    return true;
}

/* "." and ".." are folders whose names the path does not say. */
static bool is_unnamed(struct name name)
{
    return (name.len == 1 || name.len == 2) && memcmp(name.begin, "..", name.len) == 0;
}

bool cbt_folder_sensor_id(const char *path, size_t len, int32_t *ret_sensor_id)
{
    char copy[PATH_MAX], real[PATH_MAX];
    struct name name = last_name(path, len);
    if (len > 0 && !is_unnamed(name))
        return read_number(name, ret_sensor_id);
    if (len >= sizeof copy)
        return false;
    memcpy(copy, len > 0 ? path : ".", len > 0 ? len : 1);
    copy[len > 0 ? len : 1] = '\0';
    return realpath(copy, real) != NULL && read_number(last_name(real, strlen(real)), ret_sensor_id);
}
