/* PyMem_Raw* needs no GIL, so that a thread may free its buffer at any time, and is traced by
 * tracemalloc. */
#include "numpy_api.h" /* Python.h comes before all others */

#include "pages.h"
#include "scratch.h"

#include <pthread.h>

static pthread_key_t key;
static _Thread_local struct {
    void *memory;
    char *aligned;
    int64_t bytes;
} scratch;

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
