/* SPDX-License-Identifier: MIT */
/* Finds the known word that somebody may have meant. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/config_internal.h"

/* Longer words are compared by their beginning. */
#define WORD_MAX 64

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t cbt_edit_distance(const char *a, const char *b)
{
    size_t a_len = strnlen(a, WORD_MAX);
    size_t b_len = strnlen(b, WORD_MAX);
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_len; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            int x = tolower((unsigned char)a[i - 1]);
            int y = tolower((unsigned char)b[j - 1]);
            row[j] = least(least(row[j - 1], last[j]) + 1, last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *recycled = before;
        before = last;
        last = row;
        row = recycled;
    }
    return last[b_len];
}

const char *cbt_nearest(const char *word, const char *const words[], size_t count)
{
    const char *nearest = NULL;
    size_t best = 0;
    for (size_t i = 0; i < count; i++) {
        size_t distance = cbt_edit_distance(word, words[i]);
        if (!nearest || distance < best) {
            nearest = words[i];
            best = distance;
        }
    }
    return nearest;
}

void cbt_nearest_phrase(const char *word, const char *nearest, char *ret_text, size_t text_bytes)
{
    size_t near = strlen(word) / 3 + 1;
    snprintf(ret_text, text_bytes,
             cbt_edit_distance(word, nearest) <= near ? "did you mean \"%s\"?"
                                                      : "the nearest known one is \"%s\"",
             nearest);
}
