/* A few threads that work on one step together, in hundreds of small parts one after the other. The caller is thread 0.
 *
 * Between two parts of a step they spin, since a part takes microseconds; between two steps they sleep after a while.
 */
#pragma once

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#include "numbers.h"

#define MOST_THREADS 64
#define SPINS 4000 /* some 100 µs */

typedef void (*Work)(void* what, int thread, int threads);

static struct {
    pthread_mutex_t one_caller, lock;
    pthread_cond_t news;
    int started;                 /* threads that exist beside the caller */
    unsigned first[MOST_THREADS]; /* the call before the first that each hears of */
    atomic_uint call;            /* counts calls: a worker waits for the next */
    int threads;                 /* that take part in this one */
    Work work;
    void* what;
    atomic_uint open;            /* the call that may still be joined; 0: none */
    atomic_int inside;           /* workers that have joined it */
} pool = {.one_caller = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};

INLINE void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* A part of a call: pieces that are claimed one by one, by whoever comes. A thread that the system has taken off its core holds nobody up:
 * the others claim what it does not, and when it is back it finds nothing left and walks on. Only a piece that it had begun is waited for.
 */
typedef struct {
    _Alignas(64) atomic_int claimed, done;
} Part;

INLINE int claim(Part* part, int pieces) {
    if (atomic_load_explicit(&part->claimed, memory_order_relaxed) >= pieces) return pieces;
    return atomic_fetch_add_explicit(&part->claimed, 1, memory_order_relaxed);
}

INLINE void finish(Part* part) { atomic_fetch_add_explicit(&part->done, 1, memory_order_release); }

/* Nobody goes on before all pieces are done. */
INLINE void wait_for(Part* part, int pieces) {
    for (int spins = 0; atomic_load_explicit(&part->done, memory_order_acquire) < pieces; spins++)
        if (spins < SPINS) relax(); else sched_yield(); /* somebody else has the other core */
}

#define PIECES(NUMBER, PART, PIECES_OF_IT) \
    for (int NUMBER; (NUMBER = claim(PART, PIECES_OF_IT)) < (PIECES_OF_IT); finish(PART))

static void* worker(void* number) {
    int thread = (int)(intptr_t)number;
    unsigned seen = pool.first[thread], call;
    for (;;) {
        for (int spins = 0; (call = atomic_load_explicit(&pool.call, memory_order_acquire)) == seen && spins < SPINS; spins++) relax();
        if (call == seen) {
            pthread_mutex_lock(&pool.lock);
            while ((call = atomic_load_explicit(&pool.call, memory_order_acquire)) == seen) pthread_cond_wait(&pool.news, &pool.lock);
            pthread_mutex_unlock(&pool.lock);
        }
        seen = call;
        atomic_fetch_add(&pool.inside, 1); /* first this, then a look whether it is not too late: the caller does it the other way round */
        if (atomic_load(&pool.open) == call && thread < pool.threads) pool.work(pool.what, thread, pool.threads);
        atomic_fetch_sub(&pool.inside, 1);
    }
    return 0;
}

/* In the child of a fork there are no workers yet. */
static void forget_workers(void) {
    pthread_mutex_init(&pool.one_caller, 0);
    pthread_mutex_init(&pool.lock, 0);
    pthread_cond_init(&pool.news, 0);
    pool.started = 0;
    pool.open = 0;
    pool.inside = 0;
}

static void start_workers(int wanted) {
    static int watching_forks = 0;
    if (!watching_forks) watching_forks = !pthread_atfork(0, 0, forget_workers);
    while (pool.started < wanted) {
        pthread_t thread;
        int number = pool.started + 1;
        pool.first[number] = atomic_load(&pool.call);
        if (pthread_create(&thread, 0, worker, (void*)(intptr_t)number)) break;
        pthread_detach(thread);
        pool.started = number;
    }
}

/* work(what, thread, threads) in the caller and in every worker that comes in time. Callers come one after the other. */
static void together(Work work, void* what, int threads) {
    pthread_mutex_lock(&pool.one_caller);
    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    start_workers(threads - 1);
    if (threads > pool.started + 1) threads = pool.started + 1;
    if (threads == 1) {
        work(what, 0, 1);
    } else {
        pthread_mutex_lock(&pool.lock);
        pool.work = work, pool.what = what, pool.threads = threads;
        atomic_store(&pool.open, atomic_load(&pool.call) + 1);
        atomic_fetch_add_explicit(&pool.call, 1, memory_order_release);
        pthread_cond_broadcast(&pool.news);
        pthread_mutex_unlock(&pool.lock);
        work(what, 0, threads);
        atomic_store(&pool.open, 0);
        for (int spins = 0; atomic_load(&pool.inside); spins++)
            if (spins < SPINS) relax(); else sched_yield();
    }
    pthread_mutex_unlock(&pool.one_caller);
}
