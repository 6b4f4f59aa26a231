/* A few threads that work on one step together, in hundreds of small parts one after the other. The caller is thread 0.
 *
 * Between two parts of a step they spin, since a part takes microseconds; between two steps they sleep after a while.
 */
#pragma once

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

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

/* A part of a call: pieces in order, cut into a few ranges. Every thread begins with a range of its own, so that it reads one stretch of the
 * weights from end to end, the same in each step, and then claims what is left of the others'. A thread that the system has taken off its core
 * holds nobody up: the others claim what it does not, and when it is back it finds nothing left and walks on. Only a piece that it had begun
 * is waited for.
 */
#define RANGES 4

typedef struct {
    _Alignas(64) atomic_int done;
    struct {
        _Alignas(64) atomic_int claimed;
    } range[RANGES];
} Part;

/* What one kind of part has cost thread 0, for those who ask. */
typedef struct {
    int64_t parts, working_ns, waiting_ns;
} Spent;

/* One thread on its way through the parts of a call, one after the other. */
typedef struct {
    Part* part;
    int ranges, own;  /* of all ranges, the one that it begins with */
    int looked, did;  /* in this part: ranges that have nothing left, pieces done */
    Spent* spent;     /* by kind, or 0 */
    int64_t since;    /* ns */
} Walk;

INLINE int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

INLINE Walk walk_of(Part* parts, Spent* spent, int thread, int threads) {
    int ranges = threads < RANGES ? threads : RANGES;
    return (Walk){parts, ranges, thread * ranges / threads, 0, 0, thread ? 0 : spent, spent && !thread ? now_ns() : 0};
}

/* The first piece of a thread's own range. */
INLINE int first_of(const Walk* walk, int range, int pieces) { return (int)((int64_t)pieces * range / walk->ranges); }

/* A piece that nobody else has, or -1. */
INLINE int claim(Walk* walk, int pieces) {
    for (; walk->looked < walk->ranges; walk->looked++) {
        int range = (walk->own + walk->looked) % walk->ranges;
        int first = first_of(walk, range, pieces), count = first_of(walk, range + 1, pieces) - first;
        atomic_int* claimed = &walk->part->range[range].claimed;
        if (atomic_load_explicit(claimed, memory_order_relaxed) >= count) continue;
        int piece = atomic_fetch_add_explicit(claimed, 1, memory_order_relaxed);
        if (piece < count) return first + piece;
    }
    return -1;
}

#define PIECES(NUMBER, WALK, PIECES_OF_IT) for (int NUMBER; (NUMBER = claim(WALK, PIECES_OF_IT)) >= 0; (WALK)->did++)

INLINE void wait_until(Part* part, int pieces) {
    for (int spins = 0; atomic_load_explicit(&part->done, memory_order_acquire) < pieces; spins++)
        if (spins < SPINS) relax(); else sched_yield(); /* somebody else has the other core */
}

/* On to the next part, though others may still be at this: what needs its pieces waits for them later. */
INLINE void leave(Walk* walk) {
    if (walk->did) atomic_fetch_add_explicit(&walk->part->done, walk->did, memory_order_release);
    walk->part++;
    walk->looked = walk->did = 0;
}

/* Nobody goes on to the next part before all pieces of this are done. */
INLINE void wait_for(Walk* walk, int pieces, int kind) {
    int64_t begun = walk->spent ? now_ns() : 0;
    Part* part = walk->part;
    leave(walk);
    wait_until(part, pieces);
    if (walk->spent) {
        Spent* spent = walk->spent + kind;
        int64_t now = now_ns();
        spent->parts++;
        spent->working_ns += begun - walk->since;
        spent->waiting_ns += now - begun;
        walk->since = now;
    }
}

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
