/* SPDX-License-Identifier: MIT */
/* The parts of a JSON text as spans of that very text (jsmn), so that numbers keep their digits. */
#ifndef CBTAP_JSON_TOKENS_H
#define CBTAP_JSON_TOKENS_H

#include "cbtap/arena.h"
#include "cbtap/text.h"

#define JSMN_PARENT_LINKS /* without them closing a bracket looks through all that came before */
#ifndef CBT_JSMN_CODE     /* json_tokens.c alone */
#define JSMN_HEADER
#endif
#include <jsmn.h>

struct cbt_json_tokens {
    struct cbt_text json; /* what start and end of the tokens count in */
    /* In the order of the text. A string's span is without its quotes, its escapes as they are written. An
     * object's `size` counts its keys; a key's is 1, and its value is the token behind it. */
    const jsmntok_t *token;
    unsigned count;
};

/* Cuts a text into tokens, which lie in the arena. The text must be known to be valid JSON: jsmn takes more
 * than that (`01`, `tru`, `[1 2]`). Returns CBT_EINVAL where even jsmn does not take it or its numbers (2
 * GiB) do not reach, CBT_ELIMIT where the arena is too small. @thread the arena's owner */
int cbt_json_tokens(struct cbt_text json, struct cbt_arena *arena, struct cbt_json_tokens *ret_tokens,
                    struct cbt_err *err);

/* The bytes of a token: of a string without its quotes. @thread any */
static inline struct cbt_text cbt_json_token_text(const struct cbt_json_tokens *tokens, unsigned index)
{
    const jsmntok_t *token = &tokens->token[index];
    return (struct cbt_text){tokens->json.data + token->start, (size_t)(token->end - token->start)};
}

/* The index of the first token behind the value at `index` and all that is in it. @thread any */
static inline unsigned cbt_json_token_end(const struct cbt_json_tokens *tokens, unsigned index)
{
    int end = tokens->token[index].end;
    do
        index++;
    while (index < tokens->count && tokens->token[index].start < end);
    return index;
}

#endif
