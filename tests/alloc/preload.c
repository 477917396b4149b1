/* SPDX-License-Identifier: MIT */
/*
 * Stands before the C library's allocator in a whole process (LD_PRELOAD), and fails the calls that the plan
 * names. Only those of the libraries count whose names begin with a word of CBTAP_ALLOC_LIBRARIES, and not
 * those that end the process where they get no memory, by their library's decision: librdkafka's (rd_malloc),
 * but for its threads, and hiredis's hi_malloc and its like.
 */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include "failing.h"

#define RANGES_MAX 64

/* glibc's own names for what is replaced here. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static struct {
    uintptr_t base, begin, end;
    const char *object; /* the loader's own text */
} ranges[RANGES_MAX];
static unsigned range_count;

typedef int thread_fn(thrd_t *, thrd_start_t, void *);

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool is_listed(const char *name, const char *words)
{
    while (*words != '\0') {
        size_t len = strcspn(words, " ");
        if (len > 0 && strncmp(name, words, len) == 0)
            return true;
        words += len + (words[len] == ' ');
    }
    return false;
}

static int add_library(struct dl_phdr_info *library, size_t size, void *words)
{
    (void)size;
    const char *name = name_of(library->dlpi_name);
    if (!is_listed(name, words))
        return 0;
    for (int i = 0; i < library->dlpi_phnum && range_count < RANGES_MAX; i++) {
        const ElfW(Phdr) *part = &library->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0)
            continue;
        ranges[range_count].object = name;
        ranges[range_count].base = library->dlpi_addr;
        ranges[range_count].begin = library->dlpi_addr + part->p_vaddr;
        ranges[range_count].end = ranges[range_count].begin + part->p_memsz;
        range_count++;
    }
    return 0;
}

/* Libraries are initialised before main, this one after those that it is before: what they allocate until
 * then does not count. */
__attribute__((constructor)) static void find_libraries(void)
{
    char *words = getenv("CBTAP_ALLOC_LIBRARIES");
    if (words != NULL)
        dl_iterate_phdr(add_library, words);
}

static bool aborts(const void *site, const char *object)
{
    Dl_info info;
    return strncmp(object, "librdkafka", 10) == 0 ||
           (dladdr(site, &info) != 0 && info.dli_sname != NULL && strncmp(info.dli_sname, "hi_", 3) == 0);
}

static bool fails_at(const void *site, bool thread)
{
    uintptr_t at = (uintptr_t)site;
    unsigned i = 0;
    while (i < range_count && (at < ranges[i].begin || at >= ranges[i].end))
        i++;
    if (i == range_count || (!thread && aborts(site, ranges[i].object)) ||
        !alloc_fails(at - ranges[i].base, ranges[i].object))
        return false;
    errno = ENOMEM;
    return true;
}

#define FAILS() fails_at(__builtin_return_address(0), false)

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */

void *malloc(size_t bytes)
{
    return FAILS() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return FAILS() ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    return FAILS() ? NULL : __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return FAILS() ? NULL : __libc_memalign(alignment, bytes);
}

int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    void *made = FAILS() ? NULL : __libc_memalign(alignment, bytes);
    if (made == NULL)
        return ENOMEM;
    *memory = made;
    return 0;
}

/* Of the C library those that hide who wants the memory. */
char *strndup(const char *text, size_t len)
{
    size_t bytes = strnlen(text, len);
    char *copy = FAILS() ? NULL : __libc_malloc(bytes + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    return copy;
}

char *strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = FAILS() ? NULL : __libc_malloc(bytes);
    return copy != NULL ? memcpy(copy, text, bytes) : NULL;
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *argument)
{
    static _Atomic(thread_fn *) real;
    if (fails_at(__builtin_return_address(0), true))
        return thrd_nomem;
    if (atomic_load(&real) == NULL)
        atomic_store(&real, (thread_fn *)dlsym(RTLD_NEXT, "thrd_create"));
    return atomic_load(&real)(thread, run, argument);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
