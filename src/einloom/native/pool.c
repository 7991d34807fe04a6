/* How a launch goes.
 *
 * The caller writes the job's fields, then publishes `job`: its generation, parts and threads in one
 * word. Thread t's share are the parts t, t + threads, ..., the same in every launch of as many, so
 * that what it left in its core's cache is there again; neighbouring parts, which may read the same
 * operands, run at about the same time. A share is one word, too: generation, next and end. A thread
 * takes its own parts from the front, then those of others from the back; the first to touch a share
 * of an older job sets it up, so that a launch writes to no thread's cache line. Measured 2026-11 (2
 * cores): products in eight parts took 0.88 of the time that they took where threads claimed the
 * next part of all.
 *
 * A thread reads the fields before it claims. They are written only while no part can be claimed,
 * and a job is over only when all its shares were set up and emptied: a successful
 * compare-and-swap of a share shows that what it read was whole.
 *
 * Nobody waits for a thread to show up: the caller goes on claiming until nothing is left, and then
 * waits only for parts that others have claimed. A neighbour that occupies the cores thus costs no
 * more than the parts it delays.
 *
 * Idle threads spin for a while, then sleep, each on a futex of its own. A launch wakes sleepers as
 * a tree: whoever claims a part wakes two more while parts are left, so that no thread pays for all,
 * and a job that is over quickly wakes few.
 *
 * Small work wakes nobody: it is shared among threads that spin anyway. Where none does, the caller
 * is alone; after several such launches in a row it wakes threads for those to come.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pool.h"
#include "system.h"

#include <pthread.h>
#include <signal.h>

enum {
    CACHE_LINE = 64,
    MAX_WORKERS = EINLOOM_POOL_THREADS - 1,
    /* Kernels need little stack; address space is bounded on some clusters. */
    STACK_BYTES = 1 << 20,
    PAUSES_PER_CLOCK_READ = 8,
    SLEEPERS_WOKEN_PER_PART = 2,
    SMALL_LAUNCHES_IN_A_ROW = 4,
    /* Two: threads seldom begin at once. Measured 2026-11 (2 cores): launches of 6 to 30 us in two
     * parts took 1.1 to 1.4 of the time of four, in eight up to 1.05. */
    SMALL_PARTS_PER_THREAD = 2,
    WORKERS_LOOKED_AT_PER_PART = 8,
};

/* How long a thread spins, for more work or for others' parts: half as long as it worked, within
 * bounds. A futex wake-up takes 5 to 100 us, most in a virtual machine; back-to-back launches are
 * served while spinning, and threads of long ones end farther apart. Measured 2026-11 (2 cores of a
 * virtual machine), launches of 0.4 to 3 ms: where they spun 30 us, a thread slept in 60 to 100 % of
 * launches, so in 5 %. With more threads than CPUs spinning only takes time from others. */
static const int64_t SPIN_NS = 30 * 1000;
static const int64_t SPIN_MOST_NS = 1000 * 1000;
static const int64_t SPIN_CROWDED_NS = 1000;

typedef struct {
    /* generation << 32 | next << 16 | end, counted among the thread's parts */
    _Alignas(CACHE_LINE) _Atomic uint64_t word;
} Share;

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
    /* small launches in a row that nobody was awake for, and when the last was over */
    _Atomic uint32_t n_alone;
    _Atomic int64_t alone_at;
    _Alignas(CACHE_LINE) _Atomic uint32_t n_awake; /* workers */
    /* generation << 32 | parts << 16 | threads: the caller and the workers that may take part */
    _Alignas(CACHE_LINE) _Atomic uint64_t job;
    /* parts that nobody has claimed */
    _Alignas(CACHE_LINE) _Atomic uint32_t left;
    /* generation << 32 | next worker to be woken */
    _Alignas(CACHE_LINE) _Atomic uint64_t wake;
    _Alignas(CACHE_LINE) _Atomic uint32_t done;
    _Atomic uint32_t caller_waits;
    _Alignas(CACHE_LINE) _Atomic(einloom_entry) entry;
    _Atomic(int64_t *) block;
    _Atomic int64_t acc_step;
    _Atomic int64_t total;
    Share shares[EINLOOM_POOL_THREADS]; /* the caller's first */
    Worker workers[MAX_WORKERS];
} pool;

static uint64_t word_of(uint32_t generation, uint32_t middle, uint32_t low) {
    return (uint64_t)generation << 32 | (uint64_t)middle << 16 | low;
}

static uint32_t generation_of(uint64_t word) { return (uint32_t)(word >> 32); }
static uint32_t middle_of(uint64_t word) { return (uint32_t)(word >> 16) & 0xffff; }
static uint32_t low_of(uint64_t word) { return (uint32_t)word & 0xffff; }
static uint32_t parts_of(uint64_t job) { return middle_of(job); }
static uint32_t sharers_of(uint64_t job) { return low_of(job); }

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

/* When a thread that has worked so long up to now stops to spin. */
static int64_t spin_until(int64_t now, int64_t worked) {
    if (atomic_load_explicit(&pool.is_crowded, memory_order_relaxed))
        return now + SPIN_CROWDED_NS;
    int64_t spin = worked / 2;
    return now + (spin < SPIN_NS ? SPIN_NS : spin > SPIN_MOST_NS ? SPIN_MOST_NS : spin);
}

/* Wake a worker if it is asleep; say whether it was. */
static int wake(Worker *worker) {
    uint32_t asleep = 1;
    if (!atomic_load(&worker->is_asleep) ||
        !atomic_compare_exchange_strong(&worker->is_asleep, &asleep, 2))
        return 0;
    keep_off(worker, sched_getcpu());
    atomic_store(&worker->is_asleep, 0);
    futex_wake(&worker->is_asleep);
    return 1;
}

/* Wake sleepers of this job's tree: a few, whoever calls. */
static void wake_some(uint32_t generation, uint32_t threads) {
    uint64_t word = atomic_load_explicit(&pool.wake, memory_order_relaxed);
    int woken = 0;
    for (int look = 0; look < WORKERS_LOOKED_AT_PER_PART; look++) {
        do {
            if (generation_of(word) != generation || (uint32_t)word + 1 >= threads)
                return;
        } while (!atomic_compare_exchange_weak_explicit(
            &pool.wake, &word, word + 1, memory_order_relaxed, memory_order_relaxed));
        if (wake(&pool.workers[(uint32_t)word]) && ++woken == SLEEPERS_WOKEN_PER_PART)
            return;
        word++;
    }
}

/* Claim a part of a thread's share, its first or its last; return -1 if there is none. */
static int64_t claim(uint64_t job, uint32_t thread, int is_last) {
    _Atomic uint64_t *share = &pool.shares[thread].word;
    uint64_t word = atomic_load(share);
    for (;;) {
        uint32_t next = middle_of(word), end = low_of(word);
        if (generation_of(word) != generation_of(job)) {
            /* It is of an older job, unless this one is over. */
            if (atomic_load(&pool.job) != job)
                return -1;
            next = 0;
            end = (parts_of(job) - thread + sharers_of(job) - 1) / sharers_of(job);
        }
        if (next >= end)
            return -1;
        uint32_t number = is_last ? --end : next++;
        uint64_t claimed = word_of(generation_of(job), next, end);
        if (atomic_compare_exchange_weak(share, &word, claimed))
            return (int64_t)number * sharers_of(job) + thread;
    }
}

/* Claim a part of the thread's own share, or of the next thread's that has one left. */
static int64_t claim_any(uint64_t job, uint32_t thread) {
    uint32_t threads = sharers_of(job);
    int64_t part = claim(job, thread, 0);
    for (uint32_t n = 1; part < 0 && n < threads && atomic_load(&pool.left) > 0; n++)
        part = claim(job, (thread + n) % threads, 1);
    return part;
}

/* Claim and run parts of a job until none is left; return how many. Thread 0 is the caller. */
static uint32_t run_parts(uint64_t job, uint32_t thread) {
    einloom_entry entry = atomic_load_explicit(&pool.entry, memory_order_relaxed);
    int64_t *block = atomic_load_explicit(&pool.block, memory_order_relaxed);
    int64_t acc_step = atomic_load_explicit(&pool.acc_step, memory_order_relaxed);
    int64_t total = atomic_load_explicit(&pool.total, memory_order_relaxed);
    int64_t parts = parts_of(job);
    uint32_t n = 0;
    if (thread >= sharers_of(job))
        return 0;
    for (int64_t part; (part = claim_any(job, thread)) >= 0; n++) {
        if (atomic_fetch_sub(&pool.left, 1) > 1)
            wake_some(generation_of(job), sharers_of(job));
        entry(block, thread * acc_step, total * part / parts, total * (part + 1) / parts);
        if (thread > 0) {
            atomic_fetch_add(&pool.done, 1);
            if (atomic_load(&pool.caller_waits))
                futex_wake(&pool.done);
        }
    }
    return n;
}

static int has_work(uint64_t job, uint32_t seen) {
    return generation_of(job) != seen && atomic_load(&pool.left) > 0;
}

static void *serve(void *argument) {
    uint32_t index = (uint32_t)(uintptr_t)argument;
    Worker *self = &pool.workers[index];
    _Atomic uint32_t *is_asleep = &self->is_asleep;
    self->thread = (pid_t)syscall(SYS_gettid);
    self->is_confined = 0;
    uint32_t seen = 0; /* the job this thread has taken part in, or may not */
    atomic_fetch_add(&pool.n_awake, 1);
    int64_t deadline = spin_until(now_ns(), 0);
    for (;;) {
        uint64_t job = atomic_load(&pool.job);
        if (has_work(job, seen)) {
            seen = generation_of(job);
            int64_t start = now_ns();
            if (run_parts(job, index + 1)) {
                int64_t now = now_ns();
                deadline = spin_until(now, now - start);
            }
            continue;
        }
        for (int i = 0; i < PAUSES_PER_CLOCK_READ; i++) {
            if (atomic_load_explicit(&pool.job, memory_order_relaxed) != job)
                break;
            pause_briefly();
        }
        if (now_ns() < deadline)
            continue;
        /* Announce the sleep, then look again: the caller publishes, then looks for sleepers.
         * 1 is asleep, 2 is being woken: the waker still has to do with this worker's fields. */
        atomic_fetch_sub(&pool.n_awake, 1);
        atomic_store(is_asleep, 1);
        uint32_t asleep = 1;
        if (has_work(atomic_load(&pool.job), seen))
            atomic_compare_exchange_strong(is_asleep, &asleep, 0);
        while ((asleep = atomic_load(is_asleep)) != 0)
            futex_wait(is_asleep, asleep);
        atomic_fetch_add(&pool.n_awake, 1);
        if (self->is_confined) {
            self->is_confined = 0;
            sched_setaffinity(0, sizeof self->cpus, &self->cpus);
        }
        deadline = spin_until(now_ns(), 0);
    }
    return NULL;
}

/* In a forked child no thread of the pool exists, whatever they were doing in the parent. */
static void forget_threads(void) {
    uint32_t n = atomic_load(&pool.n_workers);
    for (uint32_t i = 0; i < n; i++)
        atomic_store(&pool.workers[i].is_asleep, 0);
    for (uint32_t i = 0; i <= n; i++)
        atomic_store(&pool.shares[i].word, 0);
    atomic_store(&pool.n_workers, 0);
    atomic_store(&pool.n_awake, 0);
    atomic_store(&pool.job, 0);
    atomic_store(&pool.left, 0);
    atomic_store(&pool.wake, 0);
    atomic_store(&pool.done, 0);
    atomic_store(&pool.caller_waits, 0);
    atomic_store(&pool.is_busy, 0);
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

/* Wait until `expected` parts have been finished by other threads; the caller began its own at
 * `start`. */
static void wait_for(uint32_t expected, int64_t start) {
    int64_t deadline = 0;
    for (;;) {
        for (int i = 0; i < PAUSES_PER_CLOCK_READ; i++) {
            if (atomic_load(&pool.done) == expected)
                return;
            pause_briefly();
        }
        int64_t now = now_ns();
        if (deadline == 0)
            deadline = spin_until(now, now - start);
        else if (now > deadline)
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

/* Share a range out among the caller and `workers` threads, which there are. Only the owner of the
 * pool calls it. */
static void share_out(einloom_entry entry, int64_t *block, int64_t acc_step, int64_t total,
                      uint32_t parts, uint32_t workers, int wakes) {
    uint32_t generation = generation_of(atomic_load(&pool.job)) + 1u;
    if (generation == 0)
        generation = 1; /* 0 is what a new thread has seen, and of a share that nobody had */
    atomic_store_explicit(&pool.entry, entry, memory_order_relaxed);
    atomic_store_explicit(&pool.block, block, memory_order_relaxed);
    atomic_store_explicit(&pool.acc_step, acc_step, memory_order_relaxed);
    atomic_store_explicit(&pool.total, total, memory_order_relaxed);
    atomic_store_explicit(&pool.done, 0, memory_order_relaxed);
    uint64_t first = word_of(generation, 0, wakes ? 0 : workers);
    atomic_store_explicit(&pool.wake, first, memory_order_relaxed);
    atomic_store_explicit(&pool.left, parts, memory_order_relaxed);
    uint64_t job = word_of(generation, parts, workers + 1);
    atomic_store(&pool.job, job);
    int64_t start = now_ns();
    uint32_t mine = run_parts(job, 0);
    wait_for(parts - mine, start);
}

/* Become the owner of the pool, unless another caller is. */
static int take_pool(void) {
    int is_free = 0;
    return atomic_compare_exchange_strong(&pool.is_busy, &is_free, 1);
}

static void leave_pool(void) { atomic_store(&pool.is_busy, 0); }

static int64_t least(int64_t one, int64_t other) { return one < other ? one : other; }

int einloom_pool_run(einloom_entry entry, int64_t *block, int64_t acc_step, int64_t total,
                     int64_t parts, int64_t threads) {
    parts = least(least(parts, total), EINLOOM_POOL_PARTS);
    threads = least(least(threads, parts), EINLOOM_POOL_THREADS);
    if (threads > 1 && take_pool()) {
        uint32_t workers = (uint32_t)least(grow((uint32_t)threads - 1), threads - 1);
        if (workers > 0)
            share_out(entry, block, acc_step, total, (uint32_t)parts, workers, 1);
        leave_pool();
        if (workers > 0)
            return 1;
    }
    entry(block, 0, 0, total);
    return 0;
}

/* Keep `workers` threads awake for launches like this one, which found none. */
static void be_ready(uint32_t workers) {
    if (atomic_load_explicit(&pool.is_crowded, memory_order_relaxed) || !take_pool())
        return;
    uint32_t n = grow(workers);
    for (uint32_t i = 0; i < n && i < workers; i++)
        wake(&pool.workers[i]);
    leave_pool();
}

int einloom_pool_run_small(einloom_entry entry, int64_t *block, int64_t acc_step, int64_t total,
                           int64_t threads) {
    threads = least(least(threads, total), EINLOOM_POOL_THREADS);
    uint32_t awake = atomic_load_explicit(&pool.n_awake, memory_order_relaxed);
    if (threads > 1 && awake > 0 && take_pool()) {
        uint32_t workers = (uint32_t)least(threads - 1, awake);
        int64_t parts = least(total, (workers + 1) * SMALL_PARTS_PER_THREAD);
        share_out(entry, block, acc_step, total, (uint32_t)parts, workers, 0);
        leave_pool();
        return 1;
    }
    if (threads <= 1 || awake > 0) {
        entry(block, 0, 0, total);
        return 0;
    }
    int64_t rest = now_ns() - atomic_load_explicit(&pool.alone_at, memory_order_relaxed);
    entry(block, 0, 0, total);
    uint32_t n = 1;
    if (rest < SPIN_NS)
        n += atomic_load_explicit(&pool.n_alone, memory_order_relaxed);
    if (n >= SMALL_LAUNCHES_IN_A_ROW) {
        n = 0;
        be_ready((uint32_t)threads - 1);
    }
    atomic_store_explicit(&pool.n_alone, n, memory_order_relaxed);
    atomic_store_explicit(&pool.alone_at, now_ns(), memory_order_relaxed);
    return 0;
}

int einloom_pool_workers(void) { return (int)atomic_load(&pool.n_workers); }
