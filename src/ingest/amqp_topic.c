/* SPDX-License-Identifier: MIT */
/* Routing keys against the patterns that are bound, by the rules of AMQP's topic exchange. */
#include <string.h>

#include "ingest/source_amqp.h"

/* A place between the words of a text. The empty text has no words; "a." has two, the second of them empty.
 */
struct words {
    const uint8_t *next; /* NULL: no word left */
    const uint8_t *end;
};

static struct words words_of(struct cbt_text text)
{
    return (struct words){text.len == 0 ? NULL : text.data, text.data + text.len};
}

static struct cbt_text take_word(struct words *w)
{
    const uint8_t *start = w->next;
    const uint8_t *dot = memchr(start, '.', (size_t)(w->end - start));
    w->next = dot == NULL ? NULL : dot + 1;
    return (struct cbt_text){start, (size_t)((dot == NULL ? w->end : dot) - start)};
}

static bool word_matches(struct cbt_text pattern, struct cbt_text word)
{
    return (pattern.len == 1 && pattern.data[0] == '*') ||
           (pattern.len == word.len && memcmp(pattern.data, word.data, word.len) == 0);
}

bool cbt_amqp_topic_matches(struct cbt_text pattern, struct cbt_text key)
{
    struct words p = words_of(pattern), k = words_of(key);
    /* Where to go on when the words after the last '#' do not fit: that '#' takes one word more. An earlier
     * '#' never has to be looked at again, so the work is bounded by the product of the lengths. */
    struct words p_retry = {0}, k_retry = {0};
    bool can_retry = false;
    for (;;) {
        struct cbt_text word = {0};
        bool have = p.next != NULL;
        if (have)
            word = take_word(&p);
        if (have && word.len == 1 && word.data[0] == '#') {
            p_retry = p;
            k_retry = k;
            can_retry = true;
            continue;
        }
        if (!have && k.next == NULL)
            return true;
        if (have && k.next != NULL && word_matches(word, take_word(&k)))
            continue;
        if (!can_retry || k_retry.next == NULL)
            return false;
        take_word(&k_retry);
        p = p_retry;
        k = k_retry;
    }
}

bool cbt_amqp_wanted(struct cbt_amqp_verdicts *verdicts, const char *const patterns[], size_t pattern_count,
                     struct cbt_text key, bool *ret_new)
{
    for (unsigned i = 0; i < verdicts->used; i++) {
        if (verdicts->entries[i].len == key.len &&
            (key.len == 0 || memcmp(verdicts->entries[i].key, key.data, key.len) == 0)) {
            *ret_new = false;
            return verdicts->entries[i].wanted;
        }
    }
    bool wanted = false;
    for (size_t i = 0; i < pattern_count && !wanted; i++)
        wanted =
            cbt_amqp_topic_matches((struct cbt_text){(const uint8_t *)patterns[i], strlen(patterns[i])}, key);
    unsigned slot = verdicts->next;
    verdicts->next = (slot + 1) % CBT_AMQP_VERDICTS;
    if (verdicts->used < CBT_AMQP_VERDICTS)
        verdicts->used++;
    verdicts->entries[slot].wanted = wanted;
    verdicts->entries[slot].len = (uint8_t)key.len;
    if (key.len != 0)
        memcpy(verdicts->entries[slot].key, key.data, key.len);
    *ret_new = true;
    return wanted;
}
