/* SPDX-License-Identifier: MIT */
/*
 * The poison journal while messages are decoded: a worker's mark, and what is done with a suspect.
 *
 * Happy path: a frame that comes for the first time is marked by a sample of its bytes, five stores, and the
 * mark is cleared when it is decoded. Only a frame that is delivered again is hashed as a whole and looked
 * up. Failure: what the process died of stays marked, for
 * poison_file.c to count at the next start. The table of suspects only shrinks while workers run, so its ids
 * are read without a lock.
 */
#include "decode/poison.h"

#include <string.h>
#include <xxhash.h>

#include "cbtap/log.h"

#define SAMPLE_BYTES 16 /* from the beginning, the middle and the end of the body */

_Static_assert(sizeof(struct cbt_poison_mark) == 64, "a mark fills its cache line");

/* Both halves of the product: wyhash's step, which is strong where one factor holds a secret. */
static inline uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t check_of(const struct cbt_poison_id *id)
{
    const uint64_t k = UINT64_C(0x9E3779B97F4A7C15), l = UINT64_C(0xD1B54A32D192ED03);
    /* Never 0, which says that there is nothing. */
    return (fold(id->sample ^ k, id->body_bytes ^ l) + fold(id->whole[0] ^ l, id->whole[1] ^ k)) | 1;
}

uint64_t cbt_poison_id_check(const struct cbt_poison_id *id)
{
    return check_of(id);
}

uint64_t cbt_poison_suspect_check(const struct cbt_poison_suspect *suspect, uint64_t tries)
{
    return fold(check_of(&suspect->id) + (uint64_t)suspect->seen_unix_s, ~tries) | 1;
}

bool cbt_poison_same(const struct cbt_poison_id *a, const struct cbt_poison_id *b)
{
    if (a->sample != b->sample || a->body_bytes != b->body_bytes)
        return false;
    bool both_whole = (a->whole[0] | a->whole[1]) != 0 && (b->whole[0] | b->whole[1]) != 0;
    return !both_whole || (a->whole[0] == b->whole[0] && a->whole[1] == b->whole[1]);
}

static inline uint64_t fold_16(const uint8_t *at, const uint64_t *secret)
{
    uint64_t words[2];
    memcpy(words, at, sizeof(words));
    return fold(words[0] ^ secret[0], words[1] ^ secret[1]);
}

static inline uint64_t sample(const struct cbt_frame *frame, const uint64_t *secret)
{
    const uint8_t *body = frame->body.data;
    size_t len = frame->body.len;
    uint8_t padded[SAMPLE_BYTES];
    if (__builtin_expect(len < SAMPLE_BYTES, 0)) {
        memset(padded, 0, sizeof(padded));
        if (len != 0)
            memcpy(padded, body, len);
        body = padded;
    }
    size_t last = len < SAMPLE_BYTES ? 0 : len - SAMPLE_BYTES;
    uint64_t shape = frame->routing_key.len << 32 ^ frame->content_type.len << 8 ^ frame->framing;
    return fold(len ^ secret[0], shape ^ secret[1]) + fold_16(body, secret + 2) +
           fold_16(body + last / 2, secret + 4) + fold_16(body + last, secret + 6);
}

static uint64_t hash_text(struct cbt_text text, const uint64_t *secret)
{
    return XXH3_64bits_withSecret(text.data, text.len, secret, CBT_POISON_SECRET_BYTES);
}

static void hash_whole(const struct cbt_frame *frame, const uint64_t *secret, struct cbt_poison_id *id)
{
    XXH128_hash_t hash =
        XXH3_128bits_withSecret(frame->body.data, frame->body.len, secret, CBT_POISON_SECRET_BYTES);
    uint64_t texts = fold(secret[8] ^ hash_text(frame->routing_key, secret),
                          secret[9] ^ hash_text(frame->content_type, secret));
    id->whole[0] = hash.low64 ^ texts;
    id->whole[1] = hash.high64 + texts + frame->framing;
}

static struct cbt_poison_suspect *find(const struct cbt_poison *poison, const struct cbt_poison_id *id)
{
    for (unsigned i = 0; i < poison->suspect_count; i++) {
        struct cbt_poison_suspect *suspect = &poison->file->suspects[i];
        if (cbt_poison_same(&suspect->id, id) &&
            atomic_load_explicit(&suspect->tries, memory_order_relaxed) != 0)
            return suspect;
    }
    return NULL;
}

void cbt_poison_watch_init(struct cbt_poison_watch *watch, struct cbt_poison *poison, unsigned worker)
{
    *watch = (struct cbt_poison_watch){0};
    if (poison == NULL || worker >= CBT_POISON_MARKS)
        return;
    watch->poison = poison;
    watch->mark = &poison->file->marks[worker];
}

bool cbt_poison_begin(struct cbt_poison_watch *watch, struct cbt_frame *frame)
{
    if (watch->mark == NULL || frame->poison_tries == 0)
        return true;
    const struct cbt_poison *poison = watch->poison;
    watch->suspect = NULL;
    watch->id =
        (struct cbt_poison_id){.sample = sample(frame, poison->file->secret), .body_bytes = frame->body.len};
    if (frame->redelivered || frame->maybe_again) {
        hash_whole(frame, poison->file->secret, &watch->id);
        watch->suspect = find(poison, &watch->id);
    }
    if (watch->suspect != NULL && atomic_load(&watch->suspect->tries) >= frame->poison_tries) {
        frame->suspect = watch->suspect;
        return false;
    }
    watch->check = check_of(&watch->id);
    cbt_poison_resume(watch);
    return true;
}

void cbt_poison_resume(struct cbt_poison_watch *watch)
{
    if (watch->check == 0 || watch->marked)
        return;
    if (watch->suspect != NULL)
        pthread_mutex_lock(&watch->poison->one_suspect);
    watch->marked = true;
    watch->mark->id = watch->id;
    atomic_store_explicit(&watch->mark->check, watch->check, memory_order_release);
    /* Decoding must not begin before the store: what counts is the order in which this thread can die. */
    atomic_signal_fence(memory_order_seq_cst);
}

void cbt_poison_pause(struct cbt_poison_watch *watch)
{
    if (!watch->marked)
        return;
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&watch->mark->check, 0, memory_order_release);
    /* Nor may the next message's id be stored while the check still stands. */
    atomic_signal_fence(memory_order_seq_cst);
    watch->marked = false;
    if (watch->suspect != NULL)
        pthread_mutex_unlock(&watch->poison->one_suspect);
}

void cbt_poison_end(struct cbt_poison_watch *watch, bool decoded)
{
    if (watch->check == 0)
        return;
    cbt_poison_pause(watch);
    watch->check = 0;
    struct cbt_poison_suspect *suspect = watch->suspect;
    watch->suspect = NULL;
    if (suspect == NULL || !decoded)
        return;
    char id[CBT_POISON_NAME_BYTES];
    cbt_log_info("the process did not die of this message: it is no suspect any more",
                 CBT_S("message", cbt_poison_name(id, &suspect->id)), CBT_I("bytes", suspect->id.body_bytes));
    cbt_poison_forget(suspect);
}

void cbt_poison_forget(struct cbt_poison_suspect *suspect)
{
    atomic_store_explicit(&suspect->tries, 0, memory_order_relaxed);
}

const char *cbt_poison_name(char out[CBT_POISON_NAME_BYTES], const struct cbt_poison_id *id)
{
    /* The sample is there from the first time on, so the name stays. */
    snprintf(out, CBT_POISON_NAME_BYTES, "%016llx", (unsigned long long)id->sample);
    return out;
}
