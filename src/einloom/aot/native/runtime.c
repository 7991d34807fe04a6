/* What every shipped library has: memory, threads, copies, launches. The driver includes it, after
 * pool.c, and defines LIBRARY_CPUS and what else is named in capitals here.
 */
#include "pages.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 64,
    /* Memory that a call takes from its stack instead of the heap. */
    STACK_MEMORY = 8192,
    PARTS_PER_THREAD = 4,
    MAX_RANK = 64,
};

/* One call, as the functions of variants see it. */
typedef struct {
    char *const *inputs;
    char *const *outputs;
    const int64_t *sizes; /* of symbols */
    char *memory;         /* NULL: say how much is needed, and run nothing */
    int64_t threads;      /* 0: settled by the amount of work */
    int is_asked;         /* whether the caller named a number of threads */
    int is_long;          /* set with the memory: whether others may want what the caller holds */
    int64_t scratch;      /* set with the memory: bytes of it that kernels may write copies to */
    int reads_packed;     /* set with the memory: whether kernels read packed constants */
} Request;

/* What a caller does around work that takes long. */
typedef struct {
    void *(*begin)(void);
    void (*end)(void *);
} Pause;

/* Return the bytes of memory that are needed, or a negative error code. */
typedef int64_t (*Variant)(Request *request);

static inline int64_t floordiv(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static inline int64_t floormod(int64_t a, int64_t b) { return a - floordiv(a, b) * b; }

static inline int64_t largest(int64_t a, int64_t b) { return a > b ? a : b; }

static inline int64_t aligned(int64_t bytes) { return (bytes + ALIGNMENT - 1) & -(int64_t)ALIGNMENT; }

/* --- CPU levels -------------------------------------------------------------------------------
 * Source: x86-64 psABI, "Micro-architecture levels"; Intel SDM volume 2, CPUID and XGETBV. */

#if defined(__x86_64__)
typedef struct {
    uint32_t a, b, c, d;
} Registers;

static Registers cpuid(uint32_t leaf, uint32_t sub) {
    Registers r;
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
    return r;
}

static uint32_t enabled_states(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static int has(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

/* The psABI level of this CPU, 1 to 4. */
static int cpu_level(void) {
    Registers one = cpuid(1, 0), top = cpuid(0x80000000u, 0), most = cpuid(0, 0);
    uint32_t extended = top.a >= 0x80000001u ? cpuid(0x80000001u, 0).c : 0;
    /* SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; LAHF */
    if (!has(one.c, 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23) ||
        !has(extended, 1u << 0))
        return 1;
    /* FMA, MOVBE, OSXSAVE, AVX, F16C; LZCNT */
    if (!has(one.c, 1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29) ||
        !has(extended, 1u << 5) || most.a < 7)
        return 2;
    uint32_t states = enabled_states(), seven = cpuid(7, 0).b;
    /* BMI1, AVX2, BMI2 */
    if (!has(states, 6u) || !has(seven, 1u << 3 | 1u << 5 | 1u << 8))
        return 2;
    /* AVX512F, DQ, CD, BW, VL */
    if (!has(states, 0xe6u) || !has(seven, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31))
        return 3;
    return 4;
}

static int is_model(const char *vendor, int family, int model) {
    Registers name = cpuid(0, 0), one = cpuid(1, 0);
    uint32_t words[] = {name.b, name.d, name.c};
    int own_family = (int)(one.a >> 8 & 15), own_model = (int)(one.a >> 4 & 15);
    if (own_family == 6 || own_family == 15)
        own_model += (int)(one.a >> 16 & 15) << 4;
    if (own_family == 15)
        own_family += (int)(one.a >> 20 & 255);
    return strlen(vendor) == sizeof words && memcmp(vendor, words, sizeof words) == 0 &&
           own_family == family && own_model == model;
}
#else
static int cpu_level(void) { return 0; }

static int is_model(const char *vendor, int family, int model) {
    (void)vendor, (void)family, (void)model;
    return 1;
}
#endif

struct Packing; /* packing.c */

/* What runs on some CPUs. */
typedef struct {
    int needs;          /* the least psABI level */
    const char *vendor; /* empty, or of the one model whose CPUs run it */
    int family, model;
    const char *name;
    const Variant *choice; /* by cell */
    const struct Packing *packings;
    int n_packings;
    int64_t packed_bytes;
} Level;

static int runs_here(const Level *level, int own) {
    return level->needs <= own &&
           (*level->vendor == '\0' || is_model(level->vendor, level->family, level->model));
}

/* --- threads ---------------------------------------------------------------------------------- */

static int64_t positive_variable(const char *name) {
    const char *text = getenv(name);
    if (text == NULL || *text < '0' || *text > '9')
        return 0;
    char *end;
    long long value = strtoll(text, &end, 10);
    return (*end == '\0' || *end == ',') && value > 0 ? value : 0;
}

/* CPUs that the control group allows, rounded up; of a container, its own group. */
static int64_t quota_cpus(void) {
    char text[64] = {0};
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (file == NULL)
        return INT64_MAX;
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    char *rest;
    long long quota = n == 0 ? 0 : strtoll(text, &rest, 10);
    long long period = quota > 0 ? strtoll(rest, NULL, 10) : 0;
    return quota > 0 && period > 0 ? (quota + period - 1) / period : INT64_MAX;
}

/* How many threads large work gets unasked. Limits may change while a process runs: they are read
 * again once a second. */
static int64_t available_threads(void) {
    static _Atomic int64_t known = 0, read_at = 0;
    int64_t now = now_ns(), found = atomic_load_explicit(&known, memory_order_relaxed);
    if (found > 0 && now - atomic_load_explicit(&read_at, memory_order_relaxed) < 1000000000)
        return found;
    found = positive_variable("EINLOOM_NUM_THREADS");
    if (found == 0) {
        int64_t limits[] = {quota_cpus(), positive_variable("OMP_NUM_THREADS"),
                            positive_variable("SLURM_CPUS_PER_TASK")};
        found = n_cpus();
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
            if (limits[i] > 0 && limits[i] < found)
                found = limits[i];
    }
    if (found < 1)
        found = 1;
    atomic_store_explicit(&known, found, memory_order_relaxed);
    atomic_store_explicit(&read_at, now, memory_order_relaxed);
    return found;
}

/* Settle how many threads a call has, for which memory is reserved. */
static void settle_threads(Request *request, int is_large, int is_long) {
    request->is_long = is_long;
    if (request->threads == 0)
        request->threads = is_large ? available_threads() : 1;
    if (request->threads > EINLOOM_POOL_THREADS)
        request->threads = EINLOOM_POOL_THREADS;
}

/* Return how many threads a launch has; less than 0 where it has so many of those that are awake. */
static inline int64_t threads_of(const Request *request, int is_large, int64_t most_awake) {
    if (request->is_asked || is_large)
        return request->threads;
    return most_awake < request->threads ? -most_awake : -request->threads;
}

/* Choose what was planned for 1, 2, 4, ... 64 threads. */
static int64_t pick(int64_t threads, const int64_t *planned) {
    int n = 0;
    while (n < 6 && (threads < 0 ? -threads : threads) > (INT64_C(1) << n))
        n++;
    return planned[n];
}

__attribute__((noinline)) static void launch(einloom_entry entry, int64_t *block, int64_t acc_step, int64_t total,
                   int64_t threads) {
    int is_small = threads < 0;
    threads = is_small ? -threads : threads;
    if (threads > total)
        threads = total;
    if (threads <= 1)
        entry(block, 0, 0, total);
    else if (is_small)
        einloom_pool_run_small(entry, block, acc_step, total, threads);
    else
        einloom_pool_run(entry, block, acc_step, total, threads * PARTS_PER_THREAD, threads);
}

/* --- memory ------------------------------------------------------------------------------------
 * A thread keeps what its calls needed, until it ends or gives it back. */

typedef struct {
    int64_t bytes;
    int is_huge;
    char *aligned;
} Kept;

static pthread_key_t kept_key;
static int has_key = 0;

static void prepare_memory(void) { has_key = pthread_key_create(&kept_key, free) == 0; }

static void release_memory(void) {
    if (has_key) {
        free(pthread_getspecific(kept_key));
        pthread_setspecific(kept_key, NULL);
    }
}

/* Scratch has room for copies of the largest blocks of operands. Where arrays are small, little of it
 * is written, and huge pages would only be cleared: half a millisecond of a first call. */
static char *own_memory(int64_t bytes, int64_t arrays) {
    if (!has_key)
        return NULL;
    int is_huge = bytes >= HUGE_BYTES && arrays >= HUGE_BYTES;
    Kept *kept = pthread_getspecific(kept_key);
    if (kept == NULL || kept->bytes < bytes || kept->is_huge < is_huge) {
        release_memory();
        kept = malloc(sizeof *kept + (size_t)bytes + ALIGNMENT);
        if (kept == NULL)
            return NULL;
        if (is_huge)
            want_huge_pages((char *)kept, bytes);
        kept->bytes = bytes;
        kept->is_huge = is_huge;
        kept->aligned = (char *)(uintptr_t)aligned((int64_t)(uintptr_t)(kept + 1));
        pthread_setspecific(kept_key, kept);
    }
    return kept->aligned;
}

/* --- arrays ------------------------------------------------------------------------------------ */

/* Return the bytes of a shape, or -1 where they are no sensible number. */
static int64_t shape_bytes(const int64_t *shape, int rank, int64_t itemsize) {
    int64_t bytes = itemsize;
    for (int axis = 0; axis < rank; axis++)
        if (shape[axis] < 0 || __builtin_mul_overflow(bytes, shape[axis], &bytes) ||
            bytes > INT64_C(1) << 46)
            return -1;
    return bytes;
}

/* Strides are in elements. */
static int is_c_order(const int64_t *shape, const int64_t *strides, int rank) {
    int64_t step = 1;
    for (int axis = rank - 1; axis >= 0; axis--) {
        if (shape[axis] == 0)
            return 1;
        if (shape[axis] != 1 && strides[axis] != step)
            return 0;
        step *= shape[axis];
    }
    return 1;
}

/* Copy between strided memory and C order. */
static void copy_strided(char *strided, char *packed, const int64_t *shape, const int64_t *strides,
                         int rank, int64_t itemsize, int is_gather) {
    int64_t point[MAX_RANK] = {0};
    int64_t run = rank > 0 ? shape[rank - 1] : 1, step = rank > 0 ? strides[rank - 1] * itemsize : 0;
    for (int axis = 0; axis < rank; axis++)
        if (shape[axis] == 0)
            return;
    for (;;) {
        int64_t offset = 0;
        for (int axis = 0; axis < rank - 1; axis++)
            offset += point[axis] * strides[axis] * itemsize;
        char *element = strided + offset;
        if (step == itemsize) {
            memcpy(is_gather ? packed : element, is_gather ? element : packed,
                   (size_t)(run * itemsize));
            packed += run * itemsize;
        } else {
            for (int64_t i = 0; i < run; i++, element += step, packed += itemsize)
                memcpy(is_gather ? packed : element, is_gather ? element : packed,
                       (size_t)itemsize);
        }
        int axis = rank - 2;
        while (axis >= 0 && ++point[axis] == shape[axis])
            point[axis--] = 0;
        if (axis < 0)
            return;
    }
}

/* Write 0, 1, 2, ... */
static void count_up(char *target, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        memcpy(target + 8 * i, &i, 8);
}

/* Copy rows of a table; return 0 where an index names none. */
static int gather(char *target, const char *table, const char *indices, int index_bytes,
                  int is_signed, int64_t extent, int64_t count, int64_t row_bytes) {
    for (int64_t i = 0; i < count; i++, indices += index_bytes, target += row_bytes) {
        uint64_t index = 0;
        memcpy(&index, indices, (size_t)index_bytes); /* both architectures are little-endian */
        int n_bits = 8 * index_bytes;
        if (is_signed && index_bytes < 8 && (index >> (n_bits - 1) & 1) != 0)
            return 0;
        if (index >= (uint64_t)extent) /* a negative one of 64 bits is larger, too */
            return 0;
        memcpy(target, table + (int64_t)index * row_bytes, (size_t)row_bytes);
    }
    return 1;
}

/* Fill the offsets of all points of a group of axes; a row is an extent, then `columns` strides. */
static void fill_offsets(int64_t *table, const int64_t *axes, int n_axes, int columns) {
    int64_t points = 1;
    for (int column = 0; column < columns; column++)
        table[column] = 0;
    /* The fastest axis is last: build from the slowest, expanding in place from the end. */
    for (int axis = 0; axis < n_axes; axis++) {
        const int64_t *row = axes + axis * (columns + 1);
        for (int64_t p = points - 1; p >= 0; p--)
            for (int64_t i = row[0] - 1; i >= 0; i--)
                for (int column = 0; column < columns; column++)
                    table[(p * row[0] + i) * columns + column] =
                        table[p * columns + column] + i * row[1 + column];
        points *= row[0];
    }
}
