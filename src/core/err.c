/* SPDX-License-Identifier: MIT */
/* Fills and prefixes errors (err.h). */
#include "cbtap/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int cbt_err_set(struct cbt_err *err, enum cbt_rc rc, const char *fmt, ...)
{
    if (err) {
        /* By way of a copy: an argument may be err->text itself. */
        char text[CBT_ERR_TEXT_BYTES];
        va_list args;
        va_start(args, fmt);
        vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        memcpy(err->text, text, sizeof text);
        err->rc = rc;
    }
    return rc;
}

int cbt_err_prefix(struct cbt_err *err, const char *fmt, ...)
{
    if (!err)
        return CBT_EIO;
    char text[CBT_ERR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t used = strlen(text);
    size_t room = sizeof text - 1 - used;
    size_t old = strlen(err->text);
    if (room > 2) {
        text[used++] = ':';
        text[used++] = ' ';
        room -= 2;
        memcpy(text + used, err->text, old < room ? old : room);
        used += old < room ? old : room;
    }
    memcpy(err->text, text, used);
    err->text[used] = '\0';
    return err->rc;
}
