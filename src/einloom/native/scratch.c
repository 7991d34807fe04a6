/* PyMem_Raw* needs no GIL, so that a thread may free its buffer at any time, and is traced by
 * tracemalloc. */
#include "numpy_api.h" /* Python.h comes before all others */

#include "scratch.h"

#include <pthread.h>
#include <sys/mman.h>

enum { PAGE = 4096 };
/* From so many bytes on, scratch asks for huge pages: walking blocks of packed operands otherwise
 * misses the TLB. Measured 2026-11 (2-core AVX2): 2048 cubed in float32 took 1.3 times as long. */
#define HUGE_BYTES ((int64_t)4 << 20)

static pthread_key_t key;
static _Thread_local struct {
    void *memory;
    char *aligned;
    int64_t bytes;
} scratch;

static void prefer_huge_pages(char *memory, int64_t bytes) {
#ifdef MADV_HUGEPAGE
    if (bytes >= HUGE_BYTES) {
        uintptr_t first = ((uintptr_t)memory + PAGE - 1) / PAGE * PAGE;
        uintptr_t end = ((uintptr_t)memory + (uintptr_t)bytes) / PAGE * PAGE;
        (void)madvise((void *)first, end - first, MADV_HUGEPAGE); /* only ever a wish */
    }
#else
    (void)memory, (void)bytes;
#endif
}

int scratch_prepare(void) { return pthread_key_create(&key, PyMem_RawFree); }

char *scratch_alone(int64_t bytes, void **owner) {
    *owner = PyMem_RawMalloc((size_t)bytes + SCRATCH_ALIGNMENT);
    if (*owner == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    prefer_huge_pages(*owner, bytes);
    uintptr_t address = (uintptr_t)*owner + SCRATCH_ALIGNMENT - 1;
    return (char *)(address / SCRATCH_ALIGNMENT * SCRATCH_ALIGNMENT);
}

char *scratch_of(int64_t bytes) {
    if (bytes > scratch.bytes) {
        PyMem_RawFree(scratch.memory);
        scratch.bytes = 0;
        scratch.aligned = scratch_alone(bytes, &scratch.memory);
        pthread_setspecific(key, scratch.memory);
        if (scratch.aligned == NULL)
            return NULL;
        scratch.bytes = bytes;
    }
    return scratch.aligned;
}
