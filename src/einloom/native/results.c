/* Source: NumPy's C API, "Memory management" (NEP 49): an array frees its memory by the handler
 * that was set when it was made. NumPy calls it with the GIL held, which guards what is kept here.
 *
 * Kept memory is marked by MADV_FREE: it belongs to the system as soon as that needs it, and costs
 * nothing to take back until then. Measured 2026-11 (2-core Zen 3, huge pages): a product of
 * 42 MB took 2.5 times as long with new pages as with these.
 */
#include "numpy_api.h" /* Python.h comes before all others */

#include "results.h"

#include <string.h>
#include <sys/mman.h>

enum {
    LINE = 64,     /* results begin at cache lines, so that their rows can be streamed */
    MOST_KEPT = 8, /* blocks */
};

/* Smaller results are left to malloc, which keeps them itself. */
static const size_t LEAST_BYTES = 1 << 20;
/* Bytes that are kept at most. */
static const size_t MOST_BYTES = (size_t)256 << 20;
static const size_t PAGE = 4096, HUGE_PAGE = 2 << 20;

/* What stands before a block's data. */
typedef struct {
    size_t length; /* of the whole block */
    char *base;
} Head;

/* Blocks that are free, the one that was dropped last at the end. */
static Head kept[MOST_KEPT];
static int n_kept;
static size_t kept_bytes;

static void drop_first(void) {
    munmap(kept[0].base, kept[0].length);
    kept_bytes -= kept[0].length;
    memmove(kept, kept + 1, (size_t)--n_kept * sizeof *kept);
}

/* Return new memory, huge pages where they pay; base is NULL where there is none left. */
static Head mapped(size_t bytes) {
    size_t unit = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : PAGE;
    Head head = {(bytes + unit - 1) / unit * unit, NULL};
    size_t spare = unit - PAGE; /* to begin at a multiple of the unit */
    char *memory = mmap(NULL, head.length + spare, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return head;
    size_t skipped = (unit - (uintptr_t)memory % unit) % unit;
    head.base = memory + skipped;
    if (skipped > 0)
        munmap(memory, skipped);
    if (spare > skipped)
        munmap(head.base + head.length, spare - skipped);
    if (unit == HUGE_PAGE)
        madvise(head.base, head.length, MADV_HUGEPAGE);
    return head;
}

static void *take(void *Py_UNUSED(context), size_t size) {
    size_t bytes = size + LINE;
    if (bytes < size)
        return NULL;
    int best = -1;
    for (int i = 0; i < n_kept; i++) /* of equals the one that is most likely in the caches */
        if (kept[i].length >= bytes && kept[i].length - bytes <= bytes / 4 + HUGE_PAGE &&
            (best < 0 || kept[i].length <= kept[best].length))
            best = i;
    Head head;
    if (best >= 0) {
        head = kept[best];
        kept_bytes -= head.length;
        memmove(kept + best, kept + best + 1, (size_t)(--n_kept - best) * sizeof *kept);
    } else
        head = mapped(bytes);
    if (head.base == NULL)
        return NULL;
    memcpy(head.base, &head, sizeof head);
    return head.base + LINE;
}

static void give(void *Py_UNUSED(context), void *data, size_t Py_UNUSED(size)) {
    Head head;
    if (data == NULL)
        return;
    memcpy(&head, (char *)data - LINE, sizeof head);
    if (head.length > MOST_BYTES) {
        munmap(head.base, head.length);
        return;
    }
    while (n_kept == MOST_KEPT || kept_bytes + head.length > MOST_BYTES)
        drop_first();
    madvise(head.base, head.length, MADV_FREE);
    kept[n_kept++] = head;
    kept_bytes += head.length;
}

static void *take_zeros(void *context, size_t n, size_t size) {
    size_t bytes = n * size;
    if (size != 0 && bytes / size != n)
        return NULL;
    void *data = take(context, bytes);
    return data == NULL ? NULL : memset(data, 0, bytes);
}

static void *resize(void *context, void *data, size_t size) {
    if (data == NULL)
        return take(context, size);
    Head head;
    memcpy(&head, (char *)data - LINE, sizeof head);
    size_t room = head.length - LINE;
    if (size <= room)
        return data;
    void *moved = take(context, size);
    if (moved != NULL) {
        memcpy(moved, data, room);
        give(context, data, room);
    }
    return moved;
}

static PyDataMem_Handler handler = {
    "einloom", 1, {NULL, take, take_zeros, resize, give}};
static PyObject *capsule;

int results_prepare(void) {
    capsule = PyCapsule_New(&handler, "mem_handler", NULL);
    return capsule == NULL ? -1 : 0;
}

PyObject *result_new(PyTypeObject *type, PyArray_Descr *dtype, int ndim, const npy_intp *shape,
                     const npy_intp *strides, npy_intp bytes) {
    PyObject *before = NULL;
    if ((size_t)bytes >= LEAST_BYTES) {
        if ((before = PyDataMem_SetHandler(capsule)) == NULL)
            return NULL;
        if (before != PyDataMem_DefaultHandler) { /* the user's own goes first */
            PyObject *ours = PyDataMem_SetHandler(before);
            Py_XDECREF(ours);
            Py_CLEAR(before);
        }
    }
    PyObject *result = PyArray_NewFromDescr(type, (PyArray_Descr *)Py_NewRef((PyObject *)dtype),
                                            ndim, shape, strides, NULL, 0, NULL);
    if (before != NULL) {
        PyObject *ours = PyDataMem_SetHandler(before);
        Py_DECREF(before);
        if (ours == NULL) {
            Py_XDECREF(result);
            return NULL;
        }
        Py_DECREF(ours);
    }
    return result;
}
