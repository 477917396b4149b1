/* SPDX-License-Identifier: MIT */
/*
 * The memory in flight. Bodies and records are cut, one after the other, from large blocks; a block is
 * charged to the budget when it is taken and given back when the last frame that has bytes in it is done. So
 * what the budget says is what the process holds, and an event costs an addition, not an allocation.
 */
#ifndef CBTAP_BLOCK_H
#define CBTAP_BLOCK_H

#include <ck_stack.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbtap/err.h"

/* Who takes memory: each has its own share (DESIGN.md, section 2, in docs/ARCHITECTURE.md). */
enum cbt_account {
    CBT_ACCOUNT_SOURCE, /* bodies of sources that deliver again: half of the limit together */
    CBT_ACCOUNT_PUBSUB, /* bodies of sources that cannot: a reserved quarter of the limit */
    CBT_ACCOUNT_WORKER, /* records: all that is left; one worker at a time may overdraw */
    CBT_ACCOUNTS,
};

struct cbt_budget {
    size_t limit_bytes;
    size_t source_limit_bytes;
    size_t pubsub_limit_bytes; /* 0 where there is no PUBSUB source */
    _Atomic size_t used_bytes[CBT_ACCOUNTS];
    _Atomic unsigned overdrawing; /* 1 while a worker overdraws to finish its frame */
    _Atomic unsigned waiting;     /* workers that wait for bytes to be given back */
};

void cbt_budget_init(struct cbt_budget *budget, size_t limit_bytes, bool has_pubsub);

/* Takes `bytes` if the account's share allows, or if the account holds nothing at all (a frame larger than
 * its share is admitted alone). @thread any */
bool cbt_budget_take(struct cbt_budget *budget, enum cbt_account account, size_t bytes);

/* True when the account holds something and its share is used up. @thread any */
bool cbt_budget_spent(const struct cbt_budget *budget, enum cbt_account account);

/* Takes without asking, for the one worker that overdraws and for what cannot wait. @thread any */
void cbt_budget_force(struct cbt_budget *budget, enum cbt_account account, size_t bytes);
void cbt_budget_give(struct cbt_budget *budget, enum cbt_account account, size_t bytes);

/* Bytes held by all accounts. @thread any */
size_t cbt_budget_used(const struct cbt_budget *budget);

struct cbt_block_pool;

struct cbt_block {
    ck_stack_entry_t link; /* in the pool's stack of returned blocks */
    struct cbt_block_pool *pool;
    struct cbt_block *next; /* the block that the same thread opened after this one */
    _Atomic uint32_t refs;
    size_t capacity; /* bytes in data */
    size_t used;
    uint8_t data[];
};

/* Each receiver and each worker has one; any thread may give blocks back. */
struct cbt_block_pool {
    struct cbt_budget *budget;
    enum cbt_account account;
    size_t block_bytes; /* size of a standard block, head included; larger ones are made for what is larger */
    unsigned cached_max; /* standard blocks kept for reuse; those beyond go back to the system */
    struct cbt_block *open;
    struct cbt_block *spare; /* taken off `returned`, owner only */
    struct ck_stack returned;
    _Atomic unsigned cached;
};

void cbt_block_pool_init(struct cbt_block_pool *pool, struct cbt_budget *budget, enum cbt_account account,
                         size_t block_bytes, unsigned cached_max);
/* Every block must have been given back. */
void cbt_block_pool_free(struct cbt_block_pool *pool);

/* Makes pool->open a block with at least `bytes` free, which `force` takes even beyond the budget; false
 * where the budget or the memory does not allow it (pool->open is then as before). The pool holds one
 * reference on its open block. @thread the pool's owner */
bool cbt_block_open(struct cbt_block_pool *pool, size_t bytes, bool force);

/* Lets the open block go, so that an idle thread holds no memory. @thread the pool's owner */
void cbt_block_close(struct cbt_block_pool *pool);

void cbt_block_ref(struct cbt_block *block);
/* @thread any */
void cbt_block_unref(struct cbt_block *block);

#endif
