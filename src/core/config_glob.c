/* SPDX-License-Identifier: MIT */
/*
 * Decides whether two patterns can match the same text. Redis delivers a message once for each pattern that
 * matches it, so overlapping ones would double events; both patterns are walked at once, as the two automata
 * they are.
 */
#include <stdlib.h>
#include <string.h>

#include "core/config_internal.h"

/* One step of a pattern: the bytes that it takes, or any number of any bytes. */
struct step {
    bool star;
    uint64_t bytes[4];
};

static void add_byte(struct step *step, unsigned byte)
{
    step->bytes[byte / 64] |= (uint64_t)1 << (byte % 64);
}

/* [abc], [^a-z], with \ before what is meant as it stands; unclosed it ends with the pattern, as in Redis. */
static size_t read_class(const uint8_t *s, size_t len, struct step *step)
{
    size_t i = 1;
    bool negated = i < len && s[i] == '^';
    if (negated)
        i++;
    for (; i < len && s[i] != ']'; i++) {
        if (s[i] == '\\' && i + 1 < len) {
            add_byte(step, s[++i]);
        } else if (i + 2 < len && s[i + 1] == '-') {
            unsigned low = s[i] < s[i + 2] ? s[i] : s[i + 2];
            unsigned high = s[i] < s[i + 2] ? s[i + 2] : s[i];
            for (unsigned byte = low; byte <= high; byte++)
                add_byte(step, byte);
            i += 2;
        } else {
            add_byte(step, s[i]);
        }
    }
    for (size_t word = 0; negated && word < 4; word++)
        step->bytes[word] = ~step->bytes[word];
    return i < len ? i + 1 : i;
}

static size_t read_steps(struct cbt_text glob, struct step *steps)
{
    size_t count = 0;
    for (size_t i = 0; i < glob.len;) {
        struct step *step = &steps[count++];
        *step = (struct step){0};
        uint8_t c = glob.data[i];
        if (c == '*' || c == '?') {
            step->star = c == '*';
            memset(step->bytes, 0xFF, sizeof step->bytes);
            i++;
        } else if (c == '[') {
            i += read_class(glob.data + i, glob.len - i, step);
        } else {
            if (c == '\\' && i + 1 < glob.len)
                c = glob.data[++i];
            add_byte(step, c);
            i++;
        }
    }
    return count;
}

static bool meet(const struct step *a, const struct step *b)
{
    return (a->bytes[0] & b->bytes[0]) || (a->bytes[1] & b->bytes[1]) || (a->bytes[2] & b->bytes[2]) ||
           (a->bytes[3] & b->bytes[3]);
}

/* reach[i][j]: the same text can bring the one pattern to step i and the other to step j. Every move goes to
 * a higher i or j, so one pass over the table is enough. */
static bool overlap(const struct step *a, size_t a_count, const struct step *b, size_t b_count, bool *reach)
{
    size_t width = b_count + 1;
    reach[0] = true;
    for (size_t i = 0; i <= a_count; i++) {
        for (size_t j = 0; j <= b_count; j++) {
            if (!reach[i * width + j])
                continue;
            bool a_left = i < a_count, b_left = j < b_count;
            bool both = a_left && b_left && meet(&a[i], &b[j]);
            /* A star ends here, or takes the byte that the other takes. */
            if (a_left && a[i].star)
                reach[(i + 1) * width + j] = true;
            if (b_left && b[j].star)
                reach[i * width + j + 1] = true;
            if (both && a[i].star && !b[j].star)
                reach[i * width + j + 1] = true;
            if (both && b[j].star && !a[i].star)
                reach[(i + 1) * width + j] = true;
            if (both && !a[i].star && !b[j].star)
                reach[(i + 1) * width + j + 1] = true;
        }
    }
    return reach[a_count * width + b_count];
}

int cbt_globs_overlap(struct cbt_text a, struct cbt_text b, bool *ret_overlap, struct cbt_err *err)
{
    struct step *a_steps = calloc(a.len + 1, sizeof *a_steps);
    struct step *b_steps = calloc(b.len + 1, sizeof *b_steps);
    bool *reach = calloc((a.len + 1) * (b.len + 1), sizeof *reach);
    int rc = 0;
    if (a_steps && b_steps && reach)
        *ret_overlap = overlap(a_steps, read_steps(a, a_steps), b_steps, read_steps(b, b_steps), reach);
    else
        rc = cbt_err_set(err, CBT_ENOMEM, "out of memory");
    free(a_steps);
    free(b_steps);
    free(reach);
    return rc;
}

bool cbt_list_next(const char **cursor, struct cbt_text *ret_item)
{
    const char *s = *cursor;
    if (!s || s[strspn(s, " \t")] == '\0')
        return false;
    size_t len = strcspn(s, ",");
    *cursor = s[len] == ',' ? s + len + 1 : NULL;
    while (len > 0 && (*s == ' ' || *s == '\t')) {
        s++;
        len--;
    }
    while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
        len--;
    *ret_item = (struct cbt_text){(const uint8_t *)s, len};
    return true;
}

/* `pattern` from here on against the words that are left, of which NULL stands for any one. */
static bool topic_matches(const char *pattern, size_t len, const char *const *words, size_t count)
{
    if (len == 0)
        return count == 0;
    const char *dot = memchr(pattern, '.', len);
    size_t word_len = dot ? (size_t)(dot - pattern) : len;
    const char *rest = dot ? dot + 1 : pattern + len;
    size_t rest_len = (size_t)(pattern + len - rest);
    if (word_len == 1 && *pattern == '#') {
        for (size_t taken = 0; taken <= count; taken++)
            if (topic_matches(rest, rest_len, words + taken, count - taken))
                return true;
        return false;
    }
    if (count == 0)
        return false;
    bool same = !words[0] || (strlen(words[0]) == word_len && memcmp(words[0], pattern, word_len) == 0);
    return (same || (word_len == 1 && *pattern == '*')) &&
           topic_matches(rest, rest_len, words + 1, count - 1);
}

bool cbt_topic_matches_events(struct cbt_text pattern)
{
    static const char *const words[] = {"ingress", "event", NULL};
    /* A pattern of many # would take long, and 255 is the longest routing key (AMQP 0-9-1, shortstr). */
    return pattern.len <= 255 && topic_matches((const char *)pattern.data, pattern.len, words, 3);
}
