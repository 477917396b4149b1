/* SPDX-License-Identifier: MIT */
/* Blocks and the budget: see block.h. */
#include "cbtap/block.h"

#include <sys/mman.h>

#include "cbtap/ring.h"

CK_STACK_CONTAINER(struct cbt_block, link, block_of)

void cbt_budget_init(struct cbt_budget *budget, size_t limit_bytes, bool has_pubsub)
{
    budget->limit_bytes = limit_bytes;
    budget->source_limit_bytes = limit_bytes / 2;
    budget->pubsub_limit_bytes = has_pubsub ? limit_bytes / 4 : 0;
    for (unsigned i = 0; i < CBT_ACCOUNTS; i++)
        atomic_init(&budget->used_bytes[i], 0);
    atomic_init(&budget->overdrawing, 0);
    atomic_init(&budget->waiting, 0);
}

size_t cbt_budget_used(const struct cbt_budget *budget)
{
    size_t sum = 0;
    for (unsigned i = 0; i < CBT_ACCOUNTS; i++)
        sum += atomic_load_explicit(&budget->used_bytes[i], memory_order_relaxed);
    return sum;
}

/* What the account may hold at most, given what the others hold. PUBSUB's quarter is reserved, used or not.
 */
static size_t allowance(const struct cbt_budget *budget, enum cbt_account account)
{
    size_t common = budget->limit_bytes - budget->pubsub_limit_bytes;
    size_t sources = atomic_load(&budget->used_bytes[CBT_ACCOUNT_SOURCE]);
    size_t workers = atomic_load(&budget->used_bytes[CBT_ACCOUNT_WORKER]);
    switch (account) {
    case CBT_ACCOUNT_PUBSUB:
        return budget->pubsub_limit_bytes;
    case CBT_ACCOUNT_SOURCE: {
        size_t left = workers < common ? common - workers : 0;
        return left < budget->source_limit_bytes ? left : budget->source_limit_bytes;
    }
    default:
        return sources < common ? common - sources : 0;
    }
}

bool cbt_budget_take(struct cbt_budget *budget, enum cbt_account account, size_t bytes)
{
    /* Taken first, then judged, both sequentially consistent: of two accounts that take the last bytes at
     * once, at least one sees the other. So the sum never goes beyond the limit. */
    size_t held = atomic_fetch_add(&budget->used_bytes[account], bytes);
    if (held == 0 || held + bytes <= allowance(budget, account))
        return true;
    cbt_budget_give(budget, account, bytes);
    return false;
}

bool cbt_budget_spent(const struct cbt_budget *budget, enum cbt_account account)
{
    size_t held = atomic_load_explicit(&budget->used_bytes[account], memory_order_relaxed);
    return held != 0 && held >= allowance(budget, account);
}

void cbt_budget_force(struct cbt_budget *budget, enum cbt_account account, size_t bytes)
{
    atomic_fetch_add_explicit(&budget->used_bytes[account], bytes, memory_order_relaxed);
}

void cbt_budget_give(struct cbt_budget *budget, enum cbt_account account, size_t bytes)
{
    atomic_fetch_sub_explicit(&budget->used_bytes[account], bytes, memory_order_relaxed);
}

/* Not malloc's: among the small pieces of memory that live as long as a delivery, its heap would go to
 * pieces, and what is given back to it would stay with the process. */
static struct cbt_block *map_block(size_t bytes)
{
    void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return block != MAP_FAILED ? block : NULL;
}

static void unmap_block(struct cbt_block *block, size_t bytes)
{
    munmap(block, bytes);
}

void cbt_block_pool_init(struct cbt_block_pool *pool, struct cbt_budget *budget, enum cbt_account account,
                         size_t block_bytes, unsigned cached_max)
{
    *pool = (struct cbt_block_pool){
        .budget = budget, .account = account, .block_bytes = block_bytes, .cached_max = cached_max};
    ck_stack_init(&pool->returned);
    atomic_init(&pool->cached, 0);
}

void cbt_block_pool_free(struct cbt_block_pool *pool)
{
    if (pool == NULL || pool->budget == NULL)
        return;
    cbt_block_close(pool);
    while (pool->spare != NULL) {
        struct cbt_block *next = pool->spare->next;
        unmap_block(pool->spare, pool->block_bytes);
        pool->spare = next;
    }
    ck_stack_entry_t *entry = ck_stack_batch_pop_upmc(&pool->returned);
    while (entry != NULL) {
        ck_stack_entry_t *next = entry->next;
        unmap_block(block_of(entry), pool->block_bytes);
        entry = next;
    }
}

/* Written within ck_stack's push, whose order ThreadSanitizer does not see: it comes after our release. */
__attribute__((no_sanitize_thread)) static ck_stack_entry_t *next_of(const ck_stack_entry_t *entry)
{
    return entry->next;
}

/* A standard block that somebody gave back, or NULL. */
static struct cbt_block *take_cached(struct cbt_block_pool *pool)
{
    if (pool->spare == NULL) {
        ck_stack_entry_t *entry = ck_stack_batch_pop_upmc(&pool->returned);
        CBT_TSAN_ACQUIRE(&pool->returned);
        while (entry != NULL) {
            struct cbt_block *block = block_of(entry);
            entry = next_of(entry);
            block->next = pool->spare;
            pool->spare = block;
        }
    }
    struct cbt_block *block = pool->spare;
    if (block != NULL) {
        pool->spare = block->next;
        atomic_fetch_sub_explicit(&pool->cached, 1, memory_order_relaxed);
    }
    return block;
}

bool cbt_block_open(struct cbt_block_pool *pool, size_t bytes, bool force)
{
    if (bytes > SIZE_MAX - sizeof(struct cbt_block))
        return false;
    size_t size = sizeof(struct cbt_block) + bytes;
    if (size < pool->block_bytes)
        size = pool->block_bytes;
    if (force)
        cbt_budget_force(pool->budget, pool->account, size);
    else if (!cbt_budget_take(pool->budget, pool->account, size))
        return false;
    struct cbt_block *block = size == pool->block_bytes ? take_cached(pool) : NULL;
    if (block == NULL)
        block = map_block(size);
    if (block == NULL) {
        cbt_budget_give(pool->budget, pool->account, size);
        return false;
    }
    block->pool = pool;
    block->next = NULL;
    block->capacity = size - sizeof(struct cbt_block);
    block->used = 0;
    atomic_init(&block->refs, 1);
    struct cbt_block *before = pool->open;
    if (before != NULL)
        before->next = block;
    pool->open = block;
    cbt_block_unref(before);
    return true;
}

void cbt_block_close(struct cbt_block_pool *pool)
{
    cbt_block_unref(pool->open);
    pool->open = NULL;
}

void cbt_block_ref(struct cbt_block *block)
{
    atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
}

void cbt_block_unref(struct cbt_block *block)
{
    if (block == NULL || atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct cbt_block_pool *pool = block->pool;
    size_t size = sizeof(struct cbt_block) + block->capacity;
    bool keep = size == pool->block_bytes &&
                atomic_fetch_add_explicit(&pool->cached, 1, memory_order_relaxed) < pool->cached_max;
    if (keep) {
        CBT_TSAN_RELEASE(&pool->returned);
        ck_stack_push_mpmc(&pool->returned, &block->link);
    } else {
        if (size == pool->block_bytes)
            atomic_fetch_sub_explicit(&pool->cached, 1, memory_order_relaxed);
        unmap_block(block, size);
    }
    /* Last, so that what the budget says free is free: the pool outlives every charge on it. */
    cbt_budget_give(pool->budget, pool->account, size);
}
