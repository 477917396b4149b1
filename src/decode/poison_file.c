/* SPDX-License-Identifier: MIT */
/*
 * The poison journal's file: opened, checked, begun anew where it is none, and what the last process left in
 * it counted.
 *
 * Happy path: no mark is left, and nothing is suspect. After a crash each mark that is whole becomes a
 * suspect, or raises one's count, once a start; marks are cleared before that, so that who is killed amid it
 * counts too little and never too much. Failure: a file that is no journal of this version is begun anew; one
 * that cannot be had is an error, with which the daemon goes on without. Owns: the mapping and the lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "decode/poison.h"

#define MAGIC "cbtpois"
/* A message that has not come again by then never will: its queue is gone, or another daemon has had it. */
#define SUSPECT_MAX_S (7 * 86400)

static int fail(const char *dir, const char *what, int error, struct cbt_err *err)
{
    return cbt_err_set(err, CBT_EIO, "state_dir %s: %s: %s", dir, what, strerror(error));
}

static int open_file(struct cbt_poison *p, const char *dir, struct cbt_err *err)
{
    struct stat st;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return fail(dir, "cannot be made", errno, err);
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return fail(dir, "cannot be opened", errno, err);
    p->fd = openat(dir_fd, CBT_POISON_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    int error = errno;
    close(dir_fd);
    if (p->fd < 0)
        return fail(dir, CBT_POISON_FILE " cannot be opened", error, err);
    if (fstat(p->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return cbt_err_set(err, CBT_EIO, "state_dir %s: " CBT_POISON_FILE " is not a file", dir);
    if (flock(p->fd, LOCK_EX | LOCK_NB) != 0)
        return errno != EWOULDBLOCK
                   ? fail(dir, CBT_POISON_FILE " cannot be locked", errno, err)
                   : cbt_err_set(err, CBT_EIO, "state_dir %s: another cbtap uses it: give each its own", dir);
    return CBT_OK;
}

/* Every byte has its place on the disk before it is mapped: a store that finds none would end the process. */
static int map_file(struct cbt_poison *p, const char *dir, bool *ret_old, struct cbt_err *err)
{
    struct stat st;
    const size_t bytes = sizeof(struct cbt_poison_file);
    if (fstat(p->fd, &st) != 0)
        return fail(dir, CBT_POISON_FILE " cannot be read", errno, err);
    *ret_old = st.st_size != 0;
    if (st.st_size != (off_t)bytes && ftruncate(p->fd, 0) != 0)
        return fail(dir, CBT_POISON_FILE " cannot be begun anew", errno, err);
    int error = posix_fallocate(p->fd, 0, (off_t)bytes);
    if (error != 0)
        return fail(dir, CBT_POISON_FILE " gets no room", error, err);
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
    if (at == MAP_FAILED)
        return fail(dir, CBT_POISON_FILE " cannot be mapped", errno, err);
    p->file = at;
    return CBT_OK;
}

static uint64_t header_check(const struct cbt_poison_file *file)
{
    return XXH3_64bits(file, offsetof(struct cbt_poison_file, check));
}

static bool is_journal(const struct cbt_poison_file *file)
{
    return memcmp(file->magic, MAGIC, sizeof(MAGIC)) == 0 && file->version == CBT_POISON_VERSION &&
           file->file_bytes == sizeof(*file) && file->check == header_check(file);
}

/* The check is stored last: what is interrupted is begun anew again. */
static int begin_anew(struct cbt_poison_file *file, struct cbt_err *err)
{
    memset(file, 0, sizeof(*file));
    memcpy(file->magic, MAGIC, sizeof(MAGIC));
    file->version = CBT_POISON_VERSION;
    file->file_bytes = sizeof(*file);
    if (getrandom(file->secret, sizeof(file->secret), 0) != (ssize_t)sizeof(file->secret))
        return cbt_err_set(err, CBT_EIO, "no random bytes for the poison journal");
    file->check = header_check(file);
    return CBT_OK;
}

/* ---- what the last process left ---- */

struct table {
    struct cbt_poison_suspect suspects[CBT_POISON_SUSPECTS];
    bool counted[CBT_POISON_SUSPECTS]; /* marked when the last process died */
    unsigned count;
};

static void read_suspects(const struct cbt_poison_file *file, int64_t now_s, struct table *table)
{
    for (unsigned i = 0; i < CBT_POISON_SUSPECTS; i++) {
        struct cbt_poison_suspect suspect = file->suspects[i];
        if (suspect.tries == 0 || suspect.check != cbt_poison_suspect_check(&suspect, suspect.tries) ||
            suspect.seen_unix_s > now_s || now_s - suspect.seen_unix_s > SUSPECT_MAX_S)
            continue;
        table->suspects[table->count++] = suspect;
    }
}

/* Where the table is full, the place of who has the fewest tries, and of these the one not seen for longest.
 */
static unsigned place(struct table *table)
{
    if (table->count < CBT_POISON_SUSPECTS)
        return table->count++;
    unsigned least = 0;
    for (unsigned i = 1; i < CBT_POISON_SUSPECTS; i++) {
        const struct cbt_poison_suspect *a = &table->suspects[i], *b = &table->suspects[least];
        if (a->tries < b->tries || (a->tries == b->tries && a->seen_unix_s < b->seen_unix_s))
            least = i;
    }
    return least;
}

static void count_mark(struct table *table, const struct cbt_poison_id *id, int64_t now_s)
{
    unsigned i = 0;
    while (i < table->count && !cbt_poison_same(&table->suspects[i].id, id))
        i++;
    if (i == table->count) {
        i = place(table);
        table->suspects[i] = (struct cbt_poison_suspect){.id = *id};
        table->counted[i] = false;
    }
    struct cbt_poison_suspect *suspect = &table->suspects[i];
    if ((id->whole[0] | id->whole[1]) != 0)
        suspect->id = *id;
    /* Two workers may have had the same message: the process died once. */
    if (!table->counted[i])
        suspect->tries++;
    table->counted[i] = true;
    suspect->seen_unix_s = now_s;
}

static void tell(const struct cbt_poison_suspect *suspect, bool counted)
{
    char name[CBT_POISON_NAME_BYTES];
    cbt_poison_name(name, &suspect->id);
    if (counted)
        cbt_log_warning("the last process died while it decoded this message, perhaps of it; it is tried "
                        "again until poison_tries when the broker delivers it again",
                        CBT_S("message", name), CBT_I("bytes", suspect->id.body_bytes),
                        CBT_I("tries", suspect->tries));
    else
        cbt_log_info("a process before died while it decoded this message, which has not come again yet",
                     CBT_S("message", name), CBT_I("bytes", suspect->id.body_bytes),
                     CBT_I("tries", suspect->tries));
}

static void take_over(struct cbt_poison *p)
{
    struct cbt_poison_file *file = p->file;
    struct cbt_poison_id left[CBT_POISON_MARKS];
    struct table table = {0};
    unsigned left_count = 0;
    int64_t now_s = cbt_wall_ms() / 1000;
    read_suspects(file, now_s, &table);
    for (unsigned i = 0; i < CBT_POISON_MARKS; i++) {
        struct cbt_poison_mark *mark = &file->marks[i];
        if (mark->check == cbt_poison_id_check(&mark->id))
            left[left_count++] = mark->id;
        mark->check = 0;
    }
    for (unsigned i = 0; i < left_count; i++)
        count_mark(&table, &left[i], now_s);
    for (unsigned i = 0; i < CBT_POISON_SUSPECTS; i++) {
        struct cbt_poison_suspect *suspect = &table.suspects[i];
        if (i < table.count) {
            suspect->check = cbt_poison_suspect_check(suspect, suspect->tries);
            tell(suspect, table.counted[i]);
        }
        file->suspects[i] = *suspect;
    }
    p->suspect_count = table.count;
}

int cbt_poison_open(struct cbt_poison **ret_poison, const char *dir, struct cbt_err *err)
{
    bool old = false;
    struct cbt_poison *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the poison journal");
    p->fd = -1;
    pthread_mutex_init(&p->one_suspect, NULL);
    int rc;
    if ((rc = open_file(p, dir, err)) != 0 || (rc = map_file(p, dir, &old, err)) != 0)
        goto fail;
    if (!is_journal(p->file)) {
        if (old)
            cbt_log_warning("the poison journal is damaged or of another version: it is begun anew, and what "
                            "was suspect is not known any more",
                            CBT_S("state_dir", dir));
        if ((rc = begin_anew(p->file, err)) != 0)
            goto fail;
    }
    take_over(p);
    *ret_poison = p;
    return CBT_OK;
fail:
    cbt_poison_close(p);
    return rc;
}

void cbt_poison_close(struct cbt_poison *p)
{
    if (p == NULL)
        return;
    if (p->file != NULL)
        munmap(p->file, sizeof(*p->file));
    if (p->fd >= 0)
        close(p->fd);
    pthread_mutex_destroy(&p->one_suspect);
    free(p);
}
