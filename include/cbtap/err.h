/* SPDX-License-Identifier: MIT */
/* Errors: a code that callers act on and a text that people read, filled where it happened, logged once, at
 * the top. */
#ifndef CBTAP_ERR_H
#define CBTAP_ERR_H

#include <stdbool.h>
#include <stddef.h>

enum cbt_rc {
    CBT_OK = 0,
    CBT_EINVAL = -1,   /* the input or the configuration is at fault */
    CBT_ENOMEM = -2,   /* out of memory */
    CBT_EIO = -3,      /* a peer or the system failed: try again soon */
    CBT_EREFUSED = -4, /* a peer is there and says no (credentials, missing exchange): try again slowly */
    CBT_ELIMIT = -5,   /* a configured limit was reached */
    CBT_EUNBUILT = -6, /* part of the contract, not built in this version */
};

#define CBT_ERR_TEXT_BYTES 512

struct cbt_err {
    enum cbt_rc rc;
    char text[CBT_ERR_TEXT_BYTES];
};

/* No error so far. Clearing all of the text would cost each event more than many a step of its way.
 * @thread any */
static inline void cbt_err_clear(struct cbt_err *err)
{
    err->rc = CBT_OK;
    err->text[0] = '\0';
}

/* Fills `err` (may be NULL) and returns `rc`, so that `return cbt_err_set(...)` reads well. Cuts at the size.
 * @thread any */
int cbt_err_set(struct cbt_err *err, enum cbt_rc rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "text: " before what is there and returns the code that is there. `err` may be NULL: then CBT_EIO.
 * @thread any */
int cbt_err_prefix(struct cbt_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
