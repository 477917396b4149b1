/* SPDX-License-Identifier: MIT */
/*
 * What every executable of a build with ThreadSanitizer needs besides.
 *
 * C11 threads on top of POSIX threads: it intercepts only these, and Debian's librdkafka uses the former, so
 * that its locks would be unseen and its threads crash. Linked with -rdynamic so that the library finds these
 * functions before glibc's. glibc keeps mtx_t, cnd_t, tss_t and once_flag in the layout of their POSIX
 * counterparts; the assertions hold it to that.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "mtx_t holds a mutex");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t), "cnd_t holds a condition variable");
_Static_assert(sizeof(once_flag) == sizeof(pthread_once_t), "once_flag is a once control");
_Static_assert(sizeof(tss_t) == sizeof(pthread_key_t), "tss_t is a key");
_Static_assert(sizeof(thrd_t) == sizeof(pthread_t), "thrd_t is a thread");

/*
 * It does not understand the fences of concurrencykit's rings and stacks: ring.h and block.c tell it of each
 * hand-over instead. Nor does it see the reference counts of librdkafka, which is not instrumented: what the
 * library itself calls (free, memcpy, strcmp) is left out. Its locks still count, for they come through the
 * functions below; and so does all that our callbacks do.
 */
const char *__tsan_default_suppressions(void); /* NOLINT(bugprone-reserved-identifier): its name for us */
const char *__tsan_default_suppressions(void)
{
    return "race:ck_ring_\n"
           "race:ck_stack_\n"
           "called_from_lib:librdkafka.so\n";
}

static int result(int error)
{
    switch (error) {
    case 0:
        return thrd_success;
    case EBUSY:
        return thrd_busy;
    case ETIMEDOUT:
        return thrd_timedout;
    case ENOMEM:
    case EAGAIN:
        return thrd_nomem;
    default:
        return thrd_error;
    }
}

static pthread_mutex_t *mutex(mtx_t *mtx)
{
    return (pthread_mutex_t *)(void *)mtx;
}

static pthread_cond_t *condition(cnd_t *cnd)
{
    return (pthread_cond_t *)(void *)cnd;
}

struct start {
    thrd_start_t function;
    void *arg;
};

static void *run(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    return (void *)(intptr_t)start.function(start.arg);
}

int thrd_create(thrd_t *thread, thrd_start_t function, void *arg)
{
    struct start *start = malloc(sizeof(*start));
    if (start == NULL)
        return thrd_nomem;
    *start = (struct start){function, arg};
    int error = pthread_create((pthread_t *)thread, NULL, run, start);
    if (error != 0)
        free(start);
    return result(error);
}

int thrd_join(thrd_t thread, int *status)
{
    void *value = NULL;
    int error = pthread_join((pthread_t)thread, &value);
    if (error == 0 && status != NULL)
        *status = (int)(intptr_t)value;
    return result(error);
}

int thrd_detach(thrd_t thread)
{
    return result(pthread_detach((pthread_t)thread));
}

thrd_t thrd_current(void)
{
    return (thrd_t)pthread_self();
}

int thrd_equal(thrd_t a, thrd_t b)
{
    return pthread_equal((pthread_t)a, (pthread_t)b);
}

void thrd_exit(int status)
{
    pthread_exit((void *)(intptr_t)status);
}

void thrd_yield(void)
{
    sched_yield();
}

int mtx_init(mtx_t *mtx, int type)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes,
                              (type & mtx_recursive) ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_NORMAL);
    int error = pthread_mutex_init(mutex(mtx), &attributes);
    pthread_mutexattr_destroy(&attributes);
    return result(error);
}

int mtx_lock(mtx_t *mtx)
{
    return result(pthread_mutex_lock(mutex(mtx)));
}

int mtx_trylock(mtx_t *mtx)
{
    return result(pthread_mutex_trylock(mutex(mtx)));
}

int mtx_timedlock(mtx_t *restrict mtx, const struct timespec *restrict until)
{
    return result(pthread_mutex_timedlock(mutex(mtx), until));
}

int mtx_unlock(mtx_t *mtx)
{
    return result(pthread_mutex_unlock(mutex(mtx)));
}

/* Who destroys a lock knows by a reference count, which is not seen, that all others are done with it; taking
 * it once more shows that they are. */
void mtx_destroy(mtx_t *mtx)
{
    pthread_mutex_lock(mutex(mtx));
    pthread_mutex_unlock(mutex(mtx));
    pthread_mutex_destroy(mutex(mtx));
}

int cnd_init(cnd_t *cnd)
{
    return result(pthread_cond_init(condition(cnd), NULL));
}

int cnd_signal(cnd_t *cnd)
{
    return result(pthread_cond_signal(condition(cnd)));
}

int cnd_broadcast(cnd_t *cnd)
{
    return result(pthread_cond_broadcast(condition(cnd)));
}

int cnd_wait(cnd_t *cnd, mtx_t *mtx)
{
    return result(pthread_cond_wait(condition(cnd), mutex(mtx)));
}

int cnd_timedwait(cnd_t *restrict cnd, mtx_t *restrict mtx, const struct timespec *restrict until)
{
    return result(pthread_cond_timedwait(condition(cnd), mutex(mtx), until));
}

void cnd_destroy(cnd_t *cnd)
{
    pthread_cond_destroy(condition(cnd));
}

int tss_create(tss_t *key, tss_dtor_t destructor)
{
    return result(pthread_key_create((pthread_key_t *)key, destructor));
}

void *tss_get(tss_t key)
{
    return pthread_getspecific((pthread_key_t)key);
}

int tss_set(tss_t key, void *value)
{
    return result(pthread_setspecific((pthread_key_t)key, value));
}

void tss_delete(tss_t key)
{
    pthread_key_delete((pthread_key_t)key);
}

void call_once(once_flag *flag, void (*function)(void))
{
    pthread_once((pthread_once_t *)(void *)flag, function);
}

/* librdkafka calls these by their own names, which would be left out with all else that it calls: so they
 * come by way of us, and go on to ThreadSanitizer's. */
int __interceptor_pthread_rwlock_init(pthread_rwlock_t *lock, const pthread_rwlockattr_t *attributes);
int __interceptor_pthread_rwlock_rdlock(pthread_rwlock_t *lock);
int __interceptor_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __interceptor_pthread_rwlock_unlock(pthread_rwlock_t *lock);
int __interceptor_pthread_rwlock_destroy(pthread_rwlock_t *lock);

int pthread_rwlock_init(pthread_rwlock_t *restrict lock, const pthread_rwlockattr_t *restrict attributes)
{
    return __interceptor_pthread_rwlock_init(lock, attributes);
}

int pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
    return __interceptor_pthread_rwlock_rdlock(lock);
}

int pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
    return __interceptor_pthread_rwlock_wrlock(lock);
}

int pthread_rwlock_unlock(pthread_rwlock_t *lock)
{
    return __interceptor_pthread_rwlock_unlock(lock);
}

int pthread_rwlock_destroy(pthread_rwlock_t *lock)
{
    __interceptor_pthread_rwlock_wrlock(lock);
    __interceptor_pthread_rwlock_unlock(lock);
    return __interceptor_pthread_rwlock_destroy(lock);
}
