/* Drives the thread pool hard: many small jobs, several callers, nested calls, forks.
 *
 * Each job adds one to every element of its range by plain, unsynchronised code, so that a part
 * that runs twice, never, or after its job is over shows in the sums, and to ThreadSanitizer.
 * Prints "ok" where all is well.
 */
#include "pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LENGTH = 4096, SLOTS = 512, CALLERS = 4 };

static void fail(const char *what) {
    printf("failed: %s\n", what);
    fflush(stdout);
    _exit(1);
}

/* block: counts, accumulators (one a part, if any), length of the range */
static void add_one(int64_t *block, int64_t acc_0, int64_t lo, int64_t hi) {
    int64_t *counts = (int64_t *)(intptr_t)block[0], *acc = (int64_t *)(intptr_t)block[1];
    for (int64_t i = lo; i < hi; i++)
        counts[i]++;
    if (acc != NULL)
        acc[acc_0] += hi - lo;
}

static void nested(int64_t *block, int64_t acc_0, int64_t lo, int64_t hi) {
    int64_t counts[16] = {0}, inner[2] = {(int64_t)(intptr_t)counts, 0};
    einloom_pool_run(add_one, inner, 0, 16, 4, 4);
    for (int i = 0; i < 16; i++)
        if (counts[i] != 1)
            fail("a nested job");
    add_one(block, acc_0, lo, hi);
}

static void run_jobs(int n_jobs, unsigned seed, int max_threads) {
    int64_t *counts = calloc(LENGTH, sizeof *counts), *acc = calloc(SLOTS, sizeof *acc);
    int64_t block[2] = {(int64_t)(intptr_t)counts, (int64_t)(intptr_t)acc};
    for (int job = 0; job < n_jobs; job++) {
        int64_t total = rand_r(&seed) % LENGTH, parts = 1 + rand_r(&seed) % 40;
        int threads = 1 + rand_r(&seed) % max_threads;
        memset(counts, 0, LENGTH * sizeof *counts);
        memset(acc, 0, SLOTS * sizeof *acc);
        einloom_entry entry = job % 7 == 0 ? nested : add_one;
        if (job / 50 % 2) /* in a row, so that threads are woken for it */
            einloom_pool_run_small(entry, block, 3, total, threads);
        else
            einloom_pool_run(entry, block, 3, total, parts, threads);
        int64_t sum = 0;
        for (int64_t i = 0; i < LENGTH; i++)
            if (counts[i] != (i < total))
                fail("an index that was not met once");
        for (int64_t i = 0; i < SLOTS; i++)
            sum += acc[i];
        if (sum != total)
            fail("the parts' accumulators");
        if (rand_r(&seed) % 64 == 0)
            usleep(rand_r(&seed) % 200); /* let the threads fall asleep */
    }
    free(counts);
    free(acc);
}

static void *caller(void *argument) {
    run_jobs(400, (unsigned)(uintptr_t)argument, 4);
    return NULL;
}

/* Small work is the caller's alone while nobody is awake; done again and again it is shared. */
static void run_small_jobs(void) {
    int64_t *counts = calloc(LENGTH, sizeof *counts);
    int64_t block[2] = {(int64_t)(intptr_t)counts, 0};
    int is_shared = einloom_pool_run_small(add_one, block, 0, LENGTH, 2);
    if (is_shared)
        fail("a small job that starts threads");
    time_t deadline = time(NULL) + 60;
    while (!is_shared && time(NULL) < deadline)
        is_shared = einloom_pool_run_small(add_one, block, 0, LENGTH, 2);
    if (!is_shared)
        fail("small jobs that wake nobody");
    for (int64_t i = 1; i < LENGTH; i++)
        if (counts[i] != counts[0])
            fail("an index that a small job left out");
    free(counts);
}

int main(int n_arguments, char **arguments) {
    int forks = n_arguments > 1 ? atoi(arguments[1]) : 0;
    if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
        run_small_jobs();
    run_jobs(2000, 1, 3);
    if (einloom_pool_workers() < 1)
        fail("no thread was started");
    run_jobs(300, 2, 9); /* more threads than before, and than most machines' CPUs */
    pthread_t callers[CALLERS];
    for (uintptr_t i = 0; i < CALLERS; i++)
        pthread_create(&callers[i], NULL, caller, (void *)(i + 3));
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i], NULL);
    for (int i = 0; i < forks; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            if (einloom_pool_workers() != 0)
                fail("a child that counts its parent's threads");
            run_jobs(50, 11, 4);
            if (einloom_pool_workers() < 1)
                fail("a child without threads of its own");
            _exit(0);
        }
        int status;
        if (waitpid(child, &status, 0) != child || status != 0)
            fail("a forked child");
        run_jobs(20, 12, 4);
    }
    puts("ok");
    return 0;
}
