/* How a launch goes.
 *
 * The caller writes the job's fields, then publishes `claim`: the job's generation, the next part
 * and the number of parts in one word. Whoever adds one to `next` owns that part. A thread reads
 * the fields before it claims: since they are written only while no part can be claimed, a
 * successful compare-and-swap of the same generation shows that what it read was whole.
 *
 * Nobody waits for a thread to show up: the caller goes on claiming until nothing is left, and then
 * waits only for parts that others have claimed. A neighbour that occupies the cores thus costs no
 * more than the parts it delays.
 *
 * Idle threads spin for some microseconds, then sleep, each on a futex of its own. A launch wakes
 * sleepers as a tree: whoever claims a part wakes two more while parts are left, so that no thread
 * pays for all, and a job that is over quickly wakes few.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    CACHE_LINE = 64,
    MAX_WORKERS = EINLOOM_POOL_THREADS - 1,
    /* Kernels need little stack; address space is bounded on some clusters. */
    STACK_BYTES = 1 << 20,
    PAUSES_PER_CLOCK_READ = 8,
    SLEEPERS_WOKEN_PER_PART = 2,
    WORKERS_LOOKED_AT_PER_PART = 8,
};

/* How long an idle thread spins. A futex wake-up takes 5 to 50 us, so that back-to-back launches
 * are served while spinning; with more threads than CPUs spinning only takes time from others. */
static const int64_t SPIN_NS = 30 * 1000;
static const int64_t SPIN_CROWDED_NS = 1000;

typedef struct {
    _Alignas(CACHE_LINE) _Atomic uint32_t is_asleep;
    pid_t thread;   /* these are written before is_asleep is set, and belong to the waker after */
    int is_confined;
    cpu_set_t cpus; /* what to go back to if so */
} Worker;

/* Each word that different threads write has a cache line of its own. */
static struct {
    _Alignas(CACHE_LINE) _Atomic int is_busy;
    _Atomic uint32_t n_workers;
    _Atomic int is_crowded;
    /* generation << 32 | next part << 16 | parts */
    _Alignas(CACHE_LINE) _Atomic uint64_t claim;
    /* generation << 32 | next worker to be woken */
    _Alignas(CACHE_LINE) _Atomic uint64_t wake;
    _Alignas(CACHE_LINE) _Atomic uint32_t done;
    _Atomic uint32_t caller_waits;
    _Alignas(CACHE_LINE) _Atomic(einloom_entry) entry;
    _Atomic(int64_t *) block;
    _Atomic int64_t acc_step;
    _Atomic int64_t total;
    _Atomic uint32_t limit; /* workers that may take part */
    Worker workers[MAX_WORKERS];
} pool;

typedef struct {
    einloom_entry entry;
    int64_t *block;
    int64_t acc_step, total;
    uint32_t limit;
} Job;

static uint32_t generation_of(uint64_t word) { return (uint32_t)(word >> 32); }
static uint32_t next_of(uint64_t word) { return (uint32_t)(word >> 16) & 0xffff; }
static uint32_t parts_of(uint64_t word) { return (uint32_t)word & 0xffff; }

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#else
    sched_yield();
#endif
}

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Keep a sleeper from waking on the caller's CPU, where it would wait until the caller's part is
 * done: Linux may put it there where no CPU was idle lately. Measured 2026-11 on 2 cores: of
 * launches of 3.5 ms after a rest, 60 % took twice as long, both threads on one CPU, and 1 % do so
 * with this. The thread frees itself at once. */
static void keep_off(Worker *worker, int here) {
    cpu_set_t others;
    if (here < 0 || sched_getaffinity(worker->thread, sizeof worker->cpus, &worker->cpus) != 0)
        return;
    others = worker->cpus;
    CPU_CLR(here, &others);
    if (CPU_COUNT(&others) != 0 && sched_setaffinity(worker->thread, sizeof others, &others) == 0)
        worker->is_confined = 1;
}

static int64_t spin_ns(void) {
    return atomic_load_explicit(&pool.is_crowded, memory_order_relaxed) ? SPIN_CROWDED_NS : SPIN_NS;
}

/* Wake sleepers of this job's tree: a few, whoever calls. */
static void wake_some(uint32_t generation, uint32_t limit) {
    uint64_t word = atomic_load_explicit(&pool.wake, memory_order_relaxed);
    int woken = 0;
    for (int look = 0; look < WORKERS_LOOKED_AT_PER_PART; look++) {
        do {
            if (generation_of(word) != generation || (uint32_t)word >= limit)
                return;
        } while (!atomic_compare_exchange_weak_explicit(
            &pool.wake, &word, word + 1, memory_order_relaxed, memory_order_relaxed));
        Worker *worker = &pool.workers[(uint32_t)word];
        uint32_t asleep = 1;
        if (atomic_load(&worker->is_asleep) &&
            atomic_compare_exchange_strong(&worker->is_asleep, &asleep, 2)) {
            keep_off(worker, sched_getcpu());
            atomic_store(&worker->is_asleep, 0);
            futex_wake(&worker->is_asleep);
            if (++woken == SLEEPERS_WOKEN_PER_PART)
                return;
        }
        word++;
    }
}

/* Claim and run parts until none is left; return how many. `index` is MAX_WORKERS for the caller,
 * who always may. */
static uint32_t run_parts(uint32_t index) {
    int64_t thread = index < MAX_WORKERS ? (int64_t)index + 1 : 0;
    uint32_t n = 0;
    uint64_t word = atomic_load(&pool.claim);
    while (next_of(word) < parts_of(word)) {
        Job job = {
            atomic_load_explicit(&pool.entry, memory_order_relaxed),
            atomic_load_explicit(&pool.block, memory_order_relaxed),
            atomic_load_explicit(&pool.acc_step, memory_order_relaxed),
            atomic_load_explicit(&pool.total, memory_order_relaxed),
            atomic_load_explicit(&pool.limit, memory_order_relaxed),
        };
        if (index < MAX_WORKERS && index >= job.limit)
            break;
        if (!atomic_compare_exchange_weak(&pool.claim, &word, word + (1 << 16)))
            continue;
        int64_t part = next_of(word), parts = parts_of(word);
        if (part + 1 < parts)
            wake_some(generation_of(word), job.limit);
        job.entry(job.block, thread * job.acc_step, job.total * part / parts,
                  job.total * (part + 1) / parts);
        n++;
        if (index < MAX_WORKERS) {
            atomic_fetch_add(&pool.done, 1);
            if (atomic_load(&pool.caller_waits))
                futex_wake(&pool.done);
        }
        word = atomic_load(&pool.claim);
    }
    return n;
}

static int has_work(uint64_t word, uint32_t seen) {
    return generation_of(word) != seen && next_of(word) < parts_of(word);
}

static void *serve(void *argument) {
    uint32_t index = (uint32_t)(uintptr_t)argument;
    Worker *self = &pool.workers[index];
    _Atomic uint32_t *is_asleep = &self->is_asleep;
    self->thread = (pid_t)syscall(SYS_gettid);
    self->is_confined = 0;
    uint32_t seen = 0; /* the job this thread has taken part in, or may not */
    int64_t deadline = now_ns() + spin_ns();
    for (;;) {
        uint64_t word = atomic_load_explicit(&pool.claim, memory_order_acquire);
        if (has_work(word, seen)) {
            seen = generation_of(word);
            if (run_parts(index))
                deadline = now_ns() + spin_ns();
            continue;
        }
        for (int i = 0; i < PAUSES_PER_CLOCK_READ; i++) {
            if (atomic_load_explicit(&pool.claim, memory_order_relaxed) != word)
                break;
            pause_briefly();
        }
        if (now_ns() < deadline)
            continue;
        /* Announce the sleep, then look again: the caller publishes, then looks for sleepers.
         * 1 is asleep, 2 is being woken: the waker still has to do with this worker's fields. */
        atomic_store(is_asleep, 1);
        uint32_t asleep = 1;
        if (has_work(atomic_load(&pool.claim), seen))
            atomic_compare_exchange_strong(is_asleep, &asleep, 0);
        while ((asleep = atomic_load(is_asleep)) != 0)
            futex_wait(is_asleep, asleep);
        if (self->is_confined) {
            self->is_confined = 0;
            sched_setaffinity(0, sizeof self->cpus, &self->cpus);
        }
        deadline = now_ns() + spin_ns();
    }
    return NULL;
}

/* In a forked child no thread of the pool exists, whatever they were doing in the parent. */
static void forget_threads(void) {
    uint32_t n = atomic_load(&pool.n_workers);
    for (uint32_t i = 0; i < n; i++)
        atomic_store(&pool.workers[i].is_asleep, 0);
    atomic_store(&pool.n_workers, 0);
    atomic_store(&pool.claim, 0);
    atomic_store(&pool.wake, 0);
    atomic_store(&pool.done, 0);
    atomic_store(&pool.caller_waits, 0);
    atomic_store(&pool.is_busy, 0);
}

static int64_t n_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    return sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than the set has room for */
}

/* Start threads until there are `wanted`, or the system gives no more; return how many there are.
 * Only the owner of the pool calls it. */
static uint32_t grow(uint32_t wanted) {
    static int is_fork_watched = 0;
    uint32_t n = atomic_load_explicit(&pool.n_workers, memory_order_relaxed);
    if (n >= wanted)
        return n;
    if (!is_fork_watched) {
        if (pthread_atfork(NULL, NULL, forget_threads) != 0)
            return n;
        is_fork_watched = 1;
    }
    pthread_attr_t attributes;
    sigset_t all, before;
    if (pthread_attr_init(&attributes) != 0)
        return n;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all); /* signals are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (n < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, serve, (void *)(uintptr_t)n) != 0)
            break;
        pthread_setname_np(thread, "einloom");
        atomic_store(&pool.n_workers, ++n);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    atomic_store_explicit(&pool.is_crowded, n + 1 > n_cpus(), memory_order_relaxed);
    return n;
}

/* Wait until `expected` parts have been finished by other threads. */
static void wait_for(uint32_t expected) {
    int64_t deadline = 0;
    for (;;) {
        for (int i = 0; i < PAUSES_PER_CLOCK_READ; i++) {
            if (atomic_load(&pool.done) == expected)
                return;
            pause_briefly();
        }
        if (deadline == 0)
            deadline = now_ns() + spin_ns();
        else if (now_ns() > deadline)
            break;
    }
    atomic_store(&pool.caller_waits, 1);
    for (;;) {
        uint32_t done = atomic_load(&pool.done);
        if (done == expected)
            break;
        futex_wait(&pool.done, done);
    }
    atomic_store(&pool.caller_waits, 0);
}

int einloom_pool_run(einloom_entry entry, int64_t *block, int64_t acc_step, int64_t total,
                     int64_t parts, int64_t threads) {
    if (parts > total)
        parts = total;
    if (parts > EINLOOM_POOL_PARTS)
        parts = EINLOOM_POOL_PARTS;
    if (threads > parts)
        threads = parts;
    if (threads > EINLOOM_POOL_THREADS)
        threads = EINLOOM_POOL_THREADS;
    int is_free = 0;
    if (threads <= 1 || !atomic_compare_exchange_strong(&pool.is_busy, &is_free, 1)) {
        entry(block, 0, 0, total);
        return 0;
    }
    uint32_t limit = grow((uint32_t)threads - 1);
    if (limit > (uint32_t)threads - 1)
        limit = (uint32_t)threads - 1;
    if (limit == 0) {
        atomic_store(&pool.is_busy, 0);
        entry(block, 0, 0, total);
        return 0;
    }
    uint64_t generation = generation_of(atomic_load(&pool.claim)) + 1u;
    if ((uint32_t)generation == 0)
        generation = 1; /* 0 is what a new thread has seen */
    generation = (uint64_t)(uint32_t)generation << 32;
    atomic_store_explicit(&pool.entry, entry, memory_order_relaxed);
    atomic_store_explicit(&pool.block, block, memory_order_relaxed);
    atomic_store_explicit(&pool.acc_step, acc_step, memory_order_relaxed);
    atomic_store_explicit(&pool.total, total, memory_order_relaxed);
    atomic_store_explicit(&pool.limit, limit, memory_order_relaxed);
    atomic_store_explicit(&pool.done, 0, memory_order_relaxed);
    atomic_store_explicit(&pool.wake, generation, memory_order_relaxed);
    atomic_store(&pool.claim, generation | (uint64_t)parts);
    uint32_t mine = run_parts(MAX_WORKERS);
    wait_for((uint32_t)parts - mine);
    atomic_store(&pool.is_busy, 0);
    return 1;
}

int einloom_pool_workers(void) { return (int)atomic_load(&pool.n_workers); }
