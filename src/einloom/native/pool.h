/* A thread pool for kernels: ranges claimed by compare-and-swap, the caller works too.
 *
 * It needs libc and pthread only (Linux: sleeping threads wait on futexes), so it serves the
 * Python module beside it and ahead-of-time libraries alike.
 */
#ifndef EINLOOM_POOL_H
#define EINLOOM_POOL_H

#include <stdint.h>

/* One part of a kernel: it runs lo..hi of the parallel range, with its scratch at acc_0 elements. */
typedef void (*einloom_entry)(int64_t *block, int64_t acc_0, int64_t lo, int64_t hi);

/* Most threads that a launch uses, the caller included, and most parts that it is cut into. */
enum { EINLOOM_POOL_THREADS = 1024, EINLOOM_POOL_PARTS = 65535 };

/* Run a kernel's range 0..total in parts on up to `threads` threads; return when all is done.
 *
 * Part r runs entry(block, t * acc_step, total * r / parts, total * (r + 1) / parts) on thread t,
 * which is 0 for the caller and below `threads`: scratch is the thread's. Thread t begins with parts
 * t, t + threads, ..., then takes those that others left. Threads are started on demand and kept.
 * Where the pool is serving another caller, or only one thread or part is left, the caller runs the
 * whole range as one part. Returns 1 if the range was shared out.
 */
int einloom_pool_run(einloom_entry entry, int64_t *block, int64_t acc_step, int64_t total,
                     int64_t parts, int64_t threads);

/* The same for work that is not worth waking threads for: it is shared among those
 * that are awake, `threads` with the caller at most. Where none is, the caller runs the whole range;
 * after four such launches in a row, less than 30 us apart, it wakes threads for those to come. */
int einloom_pool_run_small(einloom_entry entry, int64_t *block, int64_t acc_step, int64_t total,
                           int64_t threads);

/* Number of threads that the pool has started in this process (after a fork: none yet). */
int einloom_pool_workers(void);

#endif
