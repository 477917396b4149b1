/* SPDX-License-Identifier: MIT */
/* The poison journal's inside: what poison_file.c opens and poison.c works with. */
#ifndef CBTAP_DECODE_POISON_H
#define CBTAP_DECODE_POISON_H

#include <pthread.h>
#include <stdio.h>

#include "cbtap/poison.h"

#define CBT_POISON_SECRET_BYTES sizeof(((struct cbt_poison_file *)0)->secret)

struct cbt_poison {
    struct cbt_poison_file *file;
    int fd;                 /* holds the lock */
    unsigned suspect_count; /* the first so many of the table are in use, or were when the process started */
    pthread_mutex_t one_suspect; /* held while a suspect is decoded, never while anything is waited for */
};

/* True where both can be of one message. */
bool cbt_poison_same(const struct cbt_poison_id *a, const struct cbt_poison_id *b);

/* For the log: a few hexadecimal digits. */
#define CBT_POISON_NAME_BYTES 24
const char *cbt_poison_name(char out[CBT_POISON_NAME_BYTES], const struct cbt_poison_id *id);

#endif
