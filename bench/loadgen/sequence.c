/* SPDX-License-Identifier: MIT */
/* A bit for each event that has arrived, and the counts that follow from it. */
#include "sequence.h"

#include "bytes.h"

static void make_room(struct cbt_sequence *s, uint64_t number)
{
    if (number / 64 < s->words)
        return;
    size_t words = s->words ? s->words : 4;
    while (words <= number / 64)
        words *= 2;
    s->seen = cbt_bytes_checked(realloc(s->seen, words * sizeof(*s->seen)));
    memset(s->seen + s->words, 0, (words - s->words) * sizeof(*s->seen));
    s->words = words;
}

bool cbt_sequence_note(struct cbt_sequence *s, uint64_t number, int32_t partition)
{
    if (number >= CBT_SEQUENCE_MAX || number >= s->expected)
        return false;
    make_room(s, number);
    const uint64_t bit = UINT64_C(1) << number % 64;
    if (s->first_deliveries == 0)
        s->partition = partition;
    else if (s->partition != partition)
        s->split = true;
    if (s->seen[number / 64] & bit) {
        s->duplicates++;
        return true;
    }
    s->seen[number / 64] |= bit;
    if (s->first_deliveries && number < s->highest && s->out_of_order++ == 0)
        s->first_out_of_order = number;
    if (number > s->highest)
        s->highest = number;
    s->first_deliveries++;
    return true;
}

uint64_t cbt_sequence_missing(const struct cbt_sequence *s)
{
    if (s->expected != CBT_SEQUENCE_OPEN)
        return s->expected - s->first_deliveries;
    return s->first_deliveries ? s->highest + 1 - s->first_deliveries : 0;
}

uint64_t cbt_sequence_first_missing(const struct cbt_sequence *s)
{
    for (size_t i = 0; i < s->words; i++)
        if (~s->seen[i])
            return i * 64 + (uint64_t)__builtin_ctzll(~s->seen[i]);
    return s->words * 64;
}

void cbt_sequence_free(struct cbt_sequence *s)
{
    free(s->seen);
    *s = (struct cbt_sequence){0};
}
