/* Calls seen before: from Python arguments to the kernels' native code without running Python.
 *
 * A `Caller` holds records of calls that passed all checks. A record's key is what the checks
 * depend on: of arrays their type, dtype, shape and strides, of other arguments their values. A
 * call that equals a record's key is run from the record: argument blocks are filled in, the result
 * is allocated, kernels are launched. Any other call is made in Python, which may `keep` it.
 *
 * Source: CPython's vectorcall protocol (C API reference, "Call Protocol") and NumPy's C API.
 */
#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <Python.h>
#include <alloca.h>
#include <numpy/arrayobject.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>
#include <time.h>

#include "pool.h"

enum {
    ALIGNMENT = 64,
    MAX_RECORDS = 1024,  /* of one caller; the oldest is dropped first */
    MAX_ARGUMENTS = 128, /* of a call that may have a record */
    MAX_WORDS = 8192,    /* of an argument block, which lives on the stack */
    SCALAR_BYTES = 64,   /* no dtype of a kernel is larger */
};
/* Intermediates up to this size stay with the thread for the next call. */
static const int64_t KEPT_WORKSPACE_BYTES = 64 << 20;

/* --- scratch memory ------------------------------------------------------------------------- */

/* One buffer a thread, grown and reused, freed when the thread ends. PyMem_Raw* needs no GIL and
 * is traced by tracemalloc. */
static pthread_key_t scratch_key;
static _Thread_local struct {
    void *memory;
    char *aligned;
    int64_t bytes;
} scratch;

static char *aligned(void *memory) {
    return (char *)(((uintptr_t)memory + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

static char *scratch_of(int64_t bytes) {
    if (bytes > scratch.bytes) {
        PyMem_RawFree(scratch.memory);
        scratch.bytes = 0;
        scratch.memory = PyMem_RawMalloc((size_t)bytes + ALIGNMENT);
        pthread_setspecific(scratch_key, scratch.memory);
        if (scratch.memory == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        scratch.aligned = aligned(scratch.memory);
        scratch.bytes = bytes;
    }
    return scratch.aligned;
}

/* --- records -------------------------------------------------------------------------------- */

/* An argument: an array's layout, or a plain value. */
typedef struct {
    PyObject *value;    /* a plain value; NULL for an array */
    PyTypeObject *type; /* ndarray, or a subclass that the Python side vouches for */
    int type_num, ndim;
    npy_intp *layout;        /* extents, then strides in bytes */
    npy_intp lowest, beyond; /* bytes it covers, from its first element */
} Argument;

typedef struct {
    int32_t word, slot;
} Patch;

/* One launch of a kernel. */
typedef struct {
    einloom_entry entry;
    int64_t total, acc_step, scratch_bytes, parts_per_thread;
    int is_large; /* it uses threads unasked */
    Py_ssize_t n_words, n_patches;
    int64_t *words; /* numbers, and addresses of tables and constants */
    Patch *patches; /* which words are addresses of operands, result, intermediates */
} Step;

typedef struct Record {
    struct Record *next;   /* of the same bucket */
    struct Record *younger;
    Py_ssize_t n_references; /* the table's and those of calls that run it */
    uint64_t hash;
    Py_ssize_t n_positional, n_arguments, n_operands;
    Argument *arguments; /* positional, then by keyword, without out= and threads= */
    PyObject *keywords;  /* their names */
    int has_out;
    Argument out;
    /* the result */
    PyTypeObject *type;
    PyArray_Descr *dtype;
    int is_scalar;
    int ndim;
    npy_intp *layout;
    /* the launches */
    Py_ssize_t n_steps, n_buffers;
    Step *steps;
    int64_t *buffers; /* offset of each intermediate in the workspace */
    int64_t workspace_bytes, scratch_bytes, max_words;
    int has_large, uses_pool, releases_gil;
    PyObject *owners; /* of the memory that words point to */
} Record;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Py_ssize_t threads; /* of a call that does not say; 0 lets the work decide */
    char takes_threads; /* whether threads= is a keyword of its calls */
    Py_ssize_t n_records, n_buckets;
    Record **buckets;
    Record *oldest, *youngest;
} Caller;

static PyTypeObject CallerType;
static int is_enabled = 1;
static PyObject *text_out, *text_threads, *available_threads;

static void *zeroed(Py_ssize_t n, size_t size) {
    void *memory = PyMem_Calloc(n > 0 ? (size_t)n : 1, size);
    if (memory == NULL)
        PyErr_NoMemory();
    return memory;
}

static void release(Record *record) {
    if (record == NULL || --record->n_references > 0)
        return;
    for (Py_ssize_t i = 0; record->arguments != NULL && i < record->n_arguments; i++) {
        Py_XDECREF(record->arguments[i].value);
        Py_XDECREF((PyObject *)record->arguments[i].type);
        PyMem_Free(record->arguments[i].layout);
    }
    for (Py_ssize_t i = 0; record->steps != NULL && i < record->n_steps; i++) {
        PyMem_Free(record->steps[i].words);
        PyMem_Free(record->steps[i].patches);
    }
    Py_XDECREF((PyObject *)record->out.type);
    PyMem_Free(record->out.layout);
    PyMem_Free(record->arguments);
    PyMem_Free(record->steps);
    PyMem_Free(record->buffers);
    PyMem_Free(record->layout);
    Py_XDECREF(record->keywords);
    Py_XDECREF((PyObject *)record->type);
    Py_XDECREF((PyObject *)record->dtype);
    Py_XDECREF(record->owners);
    PyMem_Free(record);
}

/* --- keys ----------------------------------------------------------------------------------- */

static uint64_t mixed(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

/* Mix a plain value into a hash; return 0 if it is none. Values are told apart by exact type. */
static int mix_plain(uint64_t *hash, PyObject *value) {
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyUnicode_Type || type == &PyLong_Type) {
        Py_hash_t own = PyObject_Hash(value);
        *hash = mixed(*hash, (uint64_t)own);
        return 1;
    }
    if (value == Py_None || type == &PyBool_Type || type == &PyType_Type) {
        *hash = mixed(*hash, (uint64_t)(uintptr_t)value);
        return 1;
    }
    if (type == &PyTuple_Type || type == &PyList_Type) {
        Py_ssize_t n = PySequence_Fast_GET_SIZE(value);
        *hash = mixed(*hash, (uint64_t)n + (type == &PyList_Type ? 1000 : 0));
        if (Py_EnterRecursiveCall(" in an argument of einloom")) {
            PyErr_Clear();
            return 0;
        }
        int is_plain = 1;
        for (Py_ssize_t i = 0; is_plain && i < n; i++)
            is_plain = mix_plain(hash, PySequence_Fast_GET_ITEM(value, i));
        Py_LeaveRecursiveCall();
        return is_plain;
    }
    return 0;
}

static int is_same_plain(PyObject *kept, PyObject *value) {
    PyTypeObject *type = Py_TYPE(value);
    if (type != Py_TYPE(kept))
        return 0;
    if (type == &PyUnicode_Type)
        return kept == value || PyUnicode_Compare(kept, value) == 0;
    if (type == &PyLong_Type)
        return kept == value || PyObject_RichCompareBool(kept, value, Py_EQ) == 1;
    if (type == &PyTuple_Type || type == &PyList_Type) {
        Py_ssize_t n = PySequence_Fast_GET_SIZE(value);
        if (n != PySequence_Fast_GET_SIZE(kept))
            return 0;
        for (Py_ssize_t i = 0; i < n; i++)
            if (!is_same_plain(PySequence_Fast_GET_ITEM(kept, i), PySequence_Fast_GET_ITEM(value, i)))
                return 0;
        return 1;
    }
    return kept == value;
}

/* Return a plain value that the caller's later changes of its lists do not reach. */
static PyObject *frozen(PyObject *value) {
    if (!PyTuple_CheckExact(value) && !PyList_CheckExact(value))
        return Py_NewRef(value);
    Py_ssize_t n = PySequence_Fast_GET_SIZE(value);
    int is_list = PyList_CheckExact(value);
    PyObject *copy = is_list ? PyList_New(n) : PyTuple_New(n);
    for (Py_ssize_t i = 0; copy != NULL && i < n; i++) {
        PyObject *item = frozen(PySequence_Fast_GET_ITEM(value, i));
        if (item == NULL)
            Py_CLEAR(copy);
        else if (is_list)
            PyList_SET_ITEM(copy, i, item);
        else
            PyTuple_SET_ITEM(copy, i, item);
    }
    return copy;
}

static uint64_t mix_array(uint64_t hash, PyArrayObject *array) {
    int ndim = PyArray_NDIM(array);
    const npy_intp *shape = PyArray_DIMS(array), *strides = PyArray_STRIDES(array);
    hash = mixed(hash, (uint64_t)PyArray_TYPE(array) << 8 | (uint64_t)ndim);
    for (int axis = 0; axis < ndim; axis++)
        hash = mixed(hash, (uint64_t)shape[axis] << 20 ^ (uint64_t)strides[axis]);
    return hash;
}

static int is_ready(PyArrayObject *array) {
    return PyArray_ISALIGNED(array) && PyArray_ISNOTSWAPPED(array);
}

static int is_same_array(const Argument *kept, PyArrayObject *array) {
    if (Py_TYPE(array) != kept->type || PyArray_TYPE(array) != kept->type_num ||
        PyArray_NDIM(array) != kept->ndim || !is_ready(array))
        return 0;
    const npy_intp *shape = PyArray_DIMS(array), *strides = PyArray_STRIDES(array);
    for (int axis = 0; axis < kept->ndim; axis++)
        if (shape[axis] != kept->layout[axis] || strides[axis] != kept->layout[kept->ndim + axis])
            return 0;
    return 1;
}

/* A call's arguments, without out= and threads=. */
typedef struct {
    PyObject *const *values;
    Py_ssize_t n_positional, n;
    PyObject *items[MAX_ARGUMENTS];
    PyObject *names[MAX_ARGUMENTS]; /* of those by keyword */
    PyArrayObject *out;
    int64_t threads; /* 0 where the call does not say */
    uint64_t hash;
} Call;

/* Read a call; return 0 if it can have no record. No error is set. */
static int read_call(Call *call, const Caller *caller, PyObject *const *values,
                     Py_ssize_t n_positional, PyObject *keywords) {
    Py_ssize_t n_keywords = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    if (n_positional + n_keywords > MAX_ARGUMENTS)
        return 0;
    call->n_positional = call->n = n_positional;
    call->out = NULL;
    call->threads = 0;
    uint64_t hash = (uint64_t)n_positional;
    for (Py_ssize_t i = 0; i < n_positional + n_keywords; i++) {
        PyObject *value = values[i];
        if (i >= n_positional) {
            PyObject *name = PyTuple_GET_ITEM(keywords, i - n_positional);
            if (name == text_out || PyUnicode_Compare(name, text_out) == 0) {
                if (value == Py_None)
                    continue;
                if (!PyArray_Check(value))
                    return 0;
                call->out = (PyArrayObject *)value;
                continue;
            }
            if (caller->takes_threads &&
                (name == text_threads || PyUnicode_Compare(name, text_threads) == 0)) {
                if (value == Py_None)
                    continue;
                if (!PyLong_CheckExact(value))
                    return 0;
                int overflow;
                call->threads = PyLong_AsLongLongAndOverflow(value, &overflow);
                if (overflow || call->threads < 1)
                    return 0;
                continue;
            }
            hash = mixed(hash, (uint64_t)PyObject_Hash(name));
            call->names[call->n] = name;
            call->items[call->n++] = value;
        } else
            call->items[i] = value;
        if (PyArray_Check(value))
            hash = mix_array(hash, (PyArrayObject *)value);
        else if (!mix_plain(&hash, value))
            return 0;
    }
    call->hash = call->out == NULL ? hash : mix_array(hash + 1, call->out);
    return 1;
}

static int is_same_call(const Record *record, const Call *call) {
    if (record->hash != call->hash || record->n_arguments != call->n ||
        record->n_positional != call->n_positional || record->has_out != (call->out != NULL))
        return 0;
    for (Py_ssize_t i = 0; i < call->n; i++) {
        const Argument *kept = &record->arguments[i];
        PyObject *item = call->items[i];
        if (i >= call->n_positional) {
            PyObject *name = PyTuple_GET_ITEM(record->keywords, i - call->n_positional);
            if (name != call->names[i] && PyUnicode_Compare(name, call->names[i]) != 0)
                return 0;
        }
        if (kept->value != NULL) {
            if (!is_same_plain(kept->value, item))
                return 0;
        } else if (!PyArray_Check(item) || !is_same_array(kept, (PyArrayObject *)item))
            return 0;
    }
    return call->out == NULL ||
           (is_same_array(&record->out, call->out) && PyArray_ISWRITEABLE(call->out));
}

static Record *found(const Caller *caller, const Call *call) {
    if (caller->n_records == 0)
        return NULL;
    Record *record = caller->buckets[call->hash & (uint64_t)(caller->n_buckets - 1)];
    while (record != NULL && !is_same_call(record, call))
        record = record->next;
    return record;
}

/* --- running a record ------------------------------------------------------------------------ */

static int64_t parts_of(const Step *step, int64_t threads) {
    int64_t parts = threads <= 1 ? 1 : threads * step->parts_per_thread;
    parts = parts < step->total ? parts : step->total;
    return parts < EINLOOM_POOL_PARTS ? parts : EINLOOM_POOL_PARTS;
}

/* Return how many threads large work gets, -1 with an error set. The environment's and the
 * system's word is kept for as long as the variables are the same, a second at most. */
static int64_t threads_now(void) {
    static uint64_t last;
    static int64_t number;
    static const char *const variables[] = {"EINLOOM_NUM_THREADS", "OMP_NUM_THREADS",
                                            "SLURM_CPUS_PER_TASK"};
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    uint64_t now = mixed(1, (uint64_t)time.tv_sec);
    for (int i = 0; i < 3; i++) {
        now = mixed(now, 1);
        const char *value = getenv(variables[i]);
        for (; value != NULL && *value != 0; value++)
            now = mixed(now, (unsigned char)*value);
    }
    if (now != last || number == 0) {
        PyObject *answer = PyObject_CallNoArgs(available_threads);
        if (answer == NULL)
            return -1;
        number = PyLong_AsLongLong(answer);
        Py_DECREF(answer);
        if (number == -1 && PyErr_Occurred())
            return -1;
        last = now;
    }
    return number;
}

static void launch(const Record *record, void *const *addresses, char *workspace, char *memory,
                   int64_t asked, int64_t available) {
    int64_t *block = alloca((size_t)record->max_words * sizeof *block);
    for (Py_ssize_t s = 0; s < record->n_steps; s++) {
        const Step *step = &record->steps[s];
        memcpy(block, step->words, (size_t)step->n_words * sizeof *block);
        for (Py_ssize_t p = 0; p < step->n_patches; p++) {
            int32_t slot = step->patches[p].slot;
            block[step->patches[p].word] = (int64_t)(intptr_t)(
                slot <= record->n_operands
                    ? (char *)addresses[slot]
                    : workspace + record->buffers[slot - record->n_operands - 1]);
        }
        block[step->n_words - 1] = (int64_t)(intptr_t)memory;
        int64_t threads = asked != 0 ? asked : step->is_large ? available : 1;
        if (threads <= 1)
            step->entry(block, 0, 0, step->total);
        else
            einloom_pool_run(step->entry, block, step->acc_step, step->total,
                             parts_of(step, threads), threads);
    }
}

/* Return the result of a call by its record; NULL with an error set, or without one if the call
 * must be made in Python. */
static PyObject *run(const Caller *caller, Record *record, const Call *call) {
    void *addresses[MAX_ARGUMENTS + 1];
    char *lowest = NULL, *beyond = NULL;
    if (call->out != NULL) {
        lowest = PyArray_BYTES(call->out) + record->out.lowest;
        beyond = PyArray_BYTES(call->out) + record->out.beyond;
    }
    Py_ssize_t n = 0;
    for (Py_ssize_t i = 0; i < record->n_arguments; i++) {
        const Argument *argument = &record->arguments[i];
        if (argument->value != NULL)
            continue;
        char *data = PyArray_BYTES((PyArrayObject *)call->items[i]);
        if (data + argument->lowest < beyond && lowest < data + argument->beyond)
            return NULL;
        addresses[n++] = data;
    }
    int64_t asked = call->threads != 0 ? call->threads : caller->threads;
    int64_t available = 1;
    if (asked == 0 && record->has_large && (available = threads_now()) < 0)
        return NULL;
    int is_parallel = asked > 1 || available > 1;
    if (is_parallel && !record->uses_pool)
        return NULL;

    int64_t bytes = record->scratch_bytes;
    if (is_parallel)
        for (Py_ssize_t s = 0; s < record->n_steps; s++) {
            const Step *step = &record->steps[s];
            int64_t threads = asked != 0 ? asked : step->is_large ? available : 1;
            int64_t needed = parts_of(step, threads) * step->scratch_bytes;
            bytes = needed > bytes ? needed : bytes;
        }
    char *memory = NULL, *workspace = NULL;
    void *own = NULL;
    int is_kept = record->workspace_bytes <= KEPT_WORKSPACE_BYTES;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    int64_t all = bytes + (is_kept ? record->workspace_bytes : 0);
    if (all > 0) {
        if ((memory = scratch_of(all)) == NULL)
            return NULL;
        workspace = memory + bytes;
    }
    if (!is_kept) {
        own = PyMem_RawMalloc((size_t)record->workspace_bytes + ALIGNMENT);
        if (own == NULL)
            return PyErr_NoMemory();
        workspace = aligned(own);
    }

    _Alignas(ALIGNMENT) char scalar[SCALAR_BYTES];
    PyObject *result = NULL;
    if (call->out != NULL)
        result = Py_NewRef((PyObject *)call->out);
    else if (!record->is_scalar) {
        result = PyArray_NewFromDescr(record->type,
                                      (PyArray_Descr *)Py_NewRef((PyObject *)record->dtype),
                                      record->ndim, record->layout, record->layout + record->ndim,
                                      NULL, 0, NULL);
        if (result == NULL) {
            PyMem_RawFree(own);
            return NULL;
        }
    }
    addresses[n] = result == NULL ? (void *)scalar : PyArray_DATA((PyArrayObject *)result);
    if (is_parallel || record->releases_gil) {
        record->n_references++;
        PyThreadState *state = PyEval_SaveThread();
        launch(record, addresses, workspace, memory, asked, available);
        PyEval_RestoreThread(state);
        if (result == NULL)
            result = PyArray_Scalar(scalar, record->dtype, NULL);
        release(record);
    } else {
        launch(record, addresses, workspace, memory, asked, available);
        if (result == NULL)
            result = PyArray_Scalar(scalar, record->dtype, NULL);
    }
    PyMem_RawFree(own);
    return result;
}

static PyObject *call_python(PyObject *self, PyObject *const *values, size_t n_flagged,
                             PyObject *keywords) {
    if (Py_TYPE(self)->tp_call == PyVectorcall_Call) {
        PyErr_SetString(PyExc_TypeError, "a class derived from Caller defines __call__");
        return NULL;
    }
    Py_ssize_t n = PyVectorcall_NARGS(n_flagged);
    PyObject *arguments = PyTuple_New(n), *named = NULL, *result = NULL;
    if (arguments == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < n; i++)
        PyTuple_SET_ITEM(arguments, i, Py_NewRef(values[i]));
    if (keywords != NULL && PyTuple_GET_SIZE(keywords) > 0) {
        if ((named = PyDict_New()) == NULL)
            goto done;
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keywords); i++)
            if (PyDict_SetItem(named, PyTuple_GET_ITEM(keywords, i), values[n + i]) < 0)
                goto done;
    }
    result = Py_TYPE(self)->tp_call(self, arguments, named);
done:
    Py_DECREF(arguments);
    Py_XDECREF(named);
    return result;
}

static PyObject *Caller_vectorcall(PyObject *self, PyObject *const *values, size_t n_flagged,
                                   PyObject *keywords) {
    Caller *caller = (Caller *)self;
    if (caller->n_records > 0 && is_enabled) {
        Call call;
        if (read_call(&call, caller, values, PyVectorcall_NARGS(n_flagged), keywords)) {
            Record *record = found(caller, &call);
            if (record != NULL) {
                PyObject *result = run(caller, record, &call);
                if (result != NULL || PyErr_Occurred())
                    return result;
            }
        }
    }
    return call_python(self, values, n_flagged, keywords);
}

/* --- keeping a record ------------------------------------------------------------------------ */

static int keep_layout(npy_intp **layout, int ndim, const npy_intp *shape,
                       const npy_intp *strides) {
    if ((*layout = zeroed(2 * ndim, sizeof **layout)) == NULL)
        return -1;
    for (int axis = 0; axis < ndim; axis++) {
        (*layout)[axis] = shape[axis];
        (*layout)[ndim + axis] = strides[axis];
    }
    return 0;
}

static int keep_array(Argument *argument, PyArrayObject *array) {
    if (!is_ready(array)) {
        PyErr_SetString(PyExc_ValueError, "arrays of a kept call are aligned, in native order");
        return -1;
    }
    argument->type = (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(array));
    argument->type_num = PyArray_TYPE(array);
    argument->ndim = PyArray_NDIM(array);
    if (keep_layout(&argument->layout, argument->ndim, PyArray_DIMS(array),
                    PyArray_STRIDES(array)) < 0)
        return -1;
    argument->beyond = PyArray_SIZE(array) == 0 ? 0 : PyArray_ITEMSIZE(array);
    for (int axis = 0; argument->beyond > 0 && axis < argument->ndim; axis++) {
        npy_intp reach = (PyArray_DIM(array, axis) - 1) * PyArray_STRIDE(array, axis);
        *(reach < 0 ? &argument->lowest : &argument->beyond) += reach;
    }
    return 0;
}

static int keep_arguments(Record *record, const Call *call) {
    record->hash = call->hash;
    record->n_positional = call->n_positional;
    record->n_arguments = call->n;
    record->arguments = zeroed(call->n, sizeof *record->arguments);
    record->keywords = PyTuple_New(call->n - call->n_positional);
    if (record->arguments == NULL || record->keywords == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < call->n; i++) {
        PyObject *item = call->items[i];
        if (i >= call->n_positional)
            PyTuple_SET_ITEM(record->keywords, i - call->n_positional, Py_NewRef(call->names[i]));
        if (PyArray_Check(item)) {
            if (keep_array(&record->arguments[i], (PyArrayObject *)item) < 0)
                return -1;
            record->n_operands++;
        } else if ((record->arguments[i].value = frozen(item)) == NULL)
            return -1;
    }
    if (call->out != NULL) {
        record->has_out = 1;
        return keep_array(&record->out, call->out);
    }
    return 0;
}

/* Read a tuple of integers. */
static int64_t *numbers_of(PyObject *tuple, Py_ssize_t *n) {
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "a tuple of integers is needed");
        return NULL;
    }
    *n = PyTuple_GET_SIZE(tuple);
    int64_t *numbers = zeroed(*n, sizeof *numbers);
    for (Py_ssize_t i = 0; numbers != NULL && i < *n; i++) {
        numbers[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, i));
        if (numbers[i] == -1 && PyErr_Occurred()) {
            PyMem_Free(numbers);
            return NULL;
        }
    }
    return numbers;
}

/* (entry, total, acc_step, scratch_bytes, parts_per_thread, is_large, words, slots): the first
 * len(slots) words are the addresses of these slots, where they are no -1. */
static int keep_step(Record *record, Step *step, PyObject *given) {
    unsigned long long entry;
    long long total, acc_step, scratch_bytes, parts_per_thread;
    PyObject *words, *slots;
    if (!PyArg_ParseTuple(given, "KLLLLpO!O!", &entry, &total, &acc_step, &scratch_bytes,
                          &parts_per_thread, &step->is_large, &PyTuple_Type, &words, &PyTuple_Type,
                          &slots))
        return -1;
    step->entry = (einloom_entry)(uintptr_t)entry;
    step->total = total;
    step->acc_step = acc_step;
    step->scratch_bytes = scratch_bytes;
    step->parts_per_thread = parts_per_thread;
    Py_ssize_t n_slots;
    int64_t *numbers = numbers_of(slots, &n_slots);
    if (numbers == NULL)
        return -1;
    step->words = numbers_of(words, &step->n_words);
    step->patches = zeroed(n_slots, sizeof *step->patches);
    int is_kept = step->words != NULL && step->patches != NULL;
    for (Py_ssize_t i = 0; is_kept && i < n_slots; i++) {
        if (numbers[i] < 0)
            continue;
        if (numbers[i] > record->n_operands + record->n_buffers || i >= step->n_words) {
            PyErr_Format(PyExc_ValueError, "word %zd is to hold slot %lld, which is not there", i,
                         (long long)numbers[i]);
            is_kept = 0;
        }
        step->patches[step->n_patches++] = (Patch){(int32_t)i, (int32_t)numbers[i]};
    }
    PyMem_Free(numbers);
    if (!is_kept)
        return -1;
    if (entry == 0 || step->n_words < 1 || step->n_words > MAX_WORDS || total < 0 ||
        parts_per_thread < 1) {
        PyErr_SetString(PyExc_ValueError, "a kept launch needs an entry, words and parts");
        return -1;
    }
    if (step->n_words > record->max_words)
        record->max_words = step->n_words;
    if (scratch_bytes > record->scratch_bytes)
        record->scratch_bytes = scratch_bytes;
    record->has_large |= step->is_large;
    return 0;
}

static int keep_result(Record *record, PyObject *result) {
    if (PyArray_Check(result)) {
        PyArrayObject *array = (PyArrayObject *)result;
        record->type = (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(array));
        record->dtype = (PyArray_Descr *)Py_NewRef((PyObject *)PyArray_DESCR(array));
        record->ndim = PyArray_NDIM(array);
        return keep_layout(&record->layout, record->ndim, PyArray_DIMS(array),
                           PyArray_STRIDES(array));
    }
    if (!PyArray_IsScalar(result, Generic)) {
        PyErr_SetString(PyExc_TypeError, "a kept result is an array or a NumPy scalar");
        return -1;
    }
    record->is_scalar = 1;
    record->dtype = PyArray_DescrFromScalar(result);
    if (record->dtype == NULL)
        return -1;
    if (PyDataType_ELSIZE(record->dtype) > SCALAR_BYTES) {
        PyErr_SetString(PyExc_ValueError, "the scalar is too large to be kept");
        return -1;
    }
    return 0;
}

/* Return a record of (result, (steps), (buffers), workspace_bytes, uses_pool, releases_gil, owners),
 * NULL with an error set. */
static Record *kept_record(const Call *call, PyObject *plan) {
    PyObject *result, *steps, *buffers, *owners;
    long long workspace_bytes;
    int uses_pool, releases_gil;
    if (!PyArg_ParseTuple(plan, "OO!O!LppO", &result, &PyTuple_Type, &steps, &PyTuple_Type,
                          &buffers, &workspace_bytes, &uses_pool, &releases_gil, &owners))
        return NULL;
    Record *record = zeroed(1, sizeof *record);
    if (record == NULL)
        return NULL;
    record->n_references = 1;
    record->workspace_bytes = workspace_bytes;
    record->uses_pool = uses_pool;
    record->releases_gil = releases_gil;
    record->owners = Py_NewRef(owners);
    if (keep_arguments(record, call) < 0 || keep_result(record, result) < 0)
        goto failed;
    if ((record->buffers = numbers_of(buffers, &record->n_buffers)) == NULL)
        goto failed;
    record->n_steps = PyTuple_GET_SIZE(steps);
    if ((record->steps = zeroed(record->n_steps, sizeof *record->steps)) == NULL)
        goto failed;
    for (Py_ssize_t i = 0; i < record->n_steps; i++)
        if (keep_step(record, &record->steps[i], PyTuple_GET_ITEM(steps, i)) < 0)
            goto failed;
    return record;
failed:
    release(record);
    return NULL;
}

static void unlink_oldest(Caller *caller) {
    Record *record = caller->oldest;
    Record **link = &caller->buckets[record->hash & (uint64_t)(caller->n_buckets - 1)];
    while (*link != record)
        link = &(*link)->next;
    *link = record->next;
    caller->oldest = record->younger;
    if (caller->oldest == NULL)
        caller->youngest = NULL;
    caller->n_records--;
    release(record);
}

static int grow_buckets(Caller *caller) {
    if (caller->n_records < caller->n_buckets)
        return 0;
    Py_ssize_t n = caller->n_buckets == 0 ? 8 : 2 * caller->n_buckets;
    Record **buckets = zeroed(n, sizeof *buckets);
    if (buckets == NULL)
        return -1;
    for (Record *record = caller->oldest; record != NULL; record = record->younger) {
        Record **bucket = &buckets[record->hash & (uint64_t)(n - 1)];
        record->next = *bucket;
        *bucket = record;
    }
    PyMem_Free(caller->buckets);
    caller->buckets = buckets;
    caller->n_buckets = n;
    return 0;
}

PyDoc_STRVAR(keep_doc,
             "keep($self, arguments, keywords, plan, /)\n--\n\n"
             "Remember a call that passed all checks; say whether it can be remembered.\n\n"
             "Its arrays are operand slots 0, 1, ... in order, the result is the next slot, then\n"
             "come the intermediates. See ``kept_record`` in module.c for the plan.");

static PyObject *Caller_keep(Caller *caller, PyObject *given) {
    PyObject *arguments, *keywords, *plan;
    if (!PyArg_ParseTuple(given, "O!O!O!", &PyTuple_Type, &arguments, &PyDict_Type, &keywords,
                          &PyTuple_Type, &plan))
        return NULL;
    Py_ssize_t n = PyTuple_GET_SIZE(arguments), n_keywords = PyDict_GET_SIZE(keywords);
    if (n + n_keywords > MAX_ARGUMENTS)
        Py_RETURN_FALSE;
    PyObject *values[MAX_ARGUMENTS], *names = PyTuple_New(n_keywords), *name, *value;
    if (names == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < n; i++)
        values[i] = PyTuple_GET_ITEM(arguments, i);
    for (Py_ssize_t position = 0, i = 0; PyDict_Next(keywords, &position, &name, &value); i++) {
        PyTuple_SET_ITEM(names, i, Py_NewRef(name));
        values[n + i] = value;
    }
    Call call;
    Record *record = NULL;
    int can_be = read_call(&call, caller, values, n, names);
    int is_new = can_be && found(caller, &call) == NULL;
    if (is_new)
        record = kept_record(&call, plan);
    Py_DECREF(names);
    if (!is_new)
        return PyBool_FromLong(can_be);
    if (record == NULL)
        return NULL;
    if (grow_buckets(caller) < 0) {
        release(record);
        return NULL;
    }
    Record **bucket = &caller->buckets[record->hash & (uint64_t)(caller->n_buckets - 1)];
    record->next = *bucket;
    *bucket = record;
    if (caller->youngest == NULL)
        caller->oldest = record;
    else
        caller->youngest->younger = record;
    caller->youngest = record;
    if (++caller->n_records > MAX_RECORDS)
        unlink_oldest(caller);
    Py_RETURN_TRUE;
}

static PyObject *Caller_forget(Caller *caller, PyObject *Py_UNUSED(ignored)) {
    while (caller->oldest != NULL)
        unlink_oldest(caller);
    Py_RETURN_NONE;
}

/* --- the type -------------------------------------------------------------------------------- */

static PyObject *Caller_new(PyTypeObject *type, PyObject *Py_UNUSED(arguments),
                            PyObject *Py_UNUSED(keywords)) {
    Caller *caller = (Caller *)type->tp_alloc(type, 0);
    if (caller != NULL)
        caller->vectorcall = Caller_vectorcall;
    return (PyObject *)caller;
}

static int Caller_traverse(Caller *caller, visitproc visit, void *arg) {
    for (Record *record = caller->oldest; record != NULL; record = record->younger)
        if (record->n_references == 1)
            Py_VISIT(record->owners);
    return 0;
}

static int Caller_clear(Caller *caller) {
    Py_XDECREF(Caller_forget(caller, NULL));
    return 0;
}

static void Caller_dealloc(Caller *caller) {
    PyObject_GC_UnTrack(caller);
    Caller_clear(caller);
    PyMem_Free(caller->buckets);
    Py_TYPE(caller)->tp_free((PyObject *)caller);
}

static PyMemberDef Caller_members[] = {
    {"_default_threads", T_PYSSIZET, offsetof(Caller, threads), 0,
     "Threads of a call that does not say; 0 lets the work decide."},
    {"_takes_threads", T_BOOL, offsetof(Caller, takes_threads), 0,
     "Whether threads= is a keyword of its calls."},
    {"_n_kept", T_PYSSIZET, offsetof(Caller, n_records), READONLY, "Number of calls kept."},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef Caller_methods[] = {
    {"_keep", (PyCFunction)Caller_keep, METH_VARARGS, keep_doc},
    {"_forget", (PyCFunction)Caller_forget, METH_NOARGS,
     "_forget($self, /)\n--\n\nForget all calls."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject CallerType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "einloom._native.Caller",
    .tp_doc = PyDoc_STR("A callable that runs calls seen before without Python."),
    .tp_basicsize = sizeof(Caller),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_new = Caller_new,
    .tp_dealloc = (destructor)Caller_dealloc,
    .tp_traverse = (traverseproc)Caller_traverse,
    .tp_clear = (inquiry)Caller_clear,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(Caller, vectorcall),
    .tp_members = Caller_members,
    .tp_methods = Caller_methods,
};

/* --- the module ------------------------------------------------------------------------------ */

static PyTypeObject *subtype(PyObject *type) {
    if (PyType_Check(type) && PyType_IsSubtype((PyTypeObject *)type, &CallerType))
        return (PyTypeObject *)type;
    PyErr_SetString(PyExc_TypeError, "a class derived from Caller is needed");
    return NULL;
}

/* CPython does not give a Python class its base's vectorcall where it defines __call__ (and before
 * 3.12 never), since the two might differ. For these classes they agree: __call__ is what
 * Caller_vectorcall falls back on. */
static PyObject *adopt(PyObject *Py_UNUSED(module), PyObject *given) {
    PyTypeObject *type = subtype(given);
    if (type == NULL)
        return NULL;
    type->tp_vectorcall_offset = offsetof(Caller, vectorcall);
    type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
    PyType_Modified(type);
    Py_RETURN_NONE;
}

static PyObject *disown(PyObject *Py_UNUSED(module), PyObject *given) {
    PyTypeObject *type = subtype(given);
    if (type == NULL)
        return NULL;
    type->tp_flags &= ~Py_TPFLAGS_HAVE_VECTORCALL;
    PyType_Modified(type);
    Py_RETURN_NONE;
}

static PyObject *set_enabled(PyObject *Py_UNUSED(module), PyObject *value) {
    int was_enabled = is_enabled, is_true = PyObject_IsTrue(value);
    if (is_true < 0)
        return NULL;
    is_enabled = is_true;
    return PyBool_FromLong(was_enabled);
}

static PyObject *set_available_threads(PyObject *Py_UNUSED(module), PyObject *function) {
    Py_XSETREF(available_threads, Py_NewRef(function));
    Py_RETURN_NONE;
}

/* run(entry, block, acc_step, total, parts, threads) */
static PyObject *run_kernel(PyObject *Py_UNUSED(module), PyObject *given) {
    unsigned long long entry, block;
    long long acc_step, total, parts, threads;
    int is_shared = 0;
    if (!PyArg_ParseTuple(given, "KKLLLL", &entry, &block, &acc_step, &total, &parts, &threads))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    is_shared = einloom_pool_run((einloom_entry)(uintptr_t)entry, (int64_t *)(uintptr_t)block,
                                 acc_step, total, parts, threads);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(is_shared);
}

static PyObject *scratch_address(PyObject *Py_UNUSED(module), PyObject *value) {
    long long bytes = PyLong_AsLongLong(value);
    if (bytes == -1 && PyErr_Occurred())
        return NULL;
    if (bytes <= 0)
        return PyLong_FromLong(0);
    char *memory = scratch_of(bytes);
    return memory == NULL ? NULL : PyLong_FromVoidPtr(memory);
}

static PyObject *pool_workers(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    return PyLong_FromLong(einloom_pool_workers());
}

static PyMethodDef methods[] = {
    {"adopt", adopt, METH_O, "adopt(type, /)\n--\n\nLet a class be called by vectorcall."},
    {"disown", disown, METH_O, "disown(type, /)\n--\n\nLet a class be called by __call__ only."},
    {"set_enabled", set_enabled, METH_O,
     "set_enabled(value, /)\n--\n\nUse records, or make all calls in Python; return what was."},
    {"set_available_threads", set_available_threads, METH_O,
     "set_available_threads(function, /)\n--\n\nSet what says how many threads large work gets."},
    {"run", run_kernel, METH_VARARGS,
     "run(entry, block, acc_step, total, parts, threads, /)\n--\n\n"
     "Run a kernel, its range shared out over threads; say whether it was. Releases the GIL."},
    {"scratch", scratch_address, METH_O,
     "scratch(bytes, /)\n--\n\nReturn the address of this thread's scratch memory."},
    {"pool_workers", pool_workers, METH_NOARGS,
     "pool_workers()\n--\n\nReturn how many threads the pool has started."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_einloom_native",
    .m_doc = "Calls seen before and the thread pool, in native code.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__einloom_native(void) {
    import_array();
    text_out = PyUnicode_InternFromString("out");
    text_threads = PyUnicode_InternFromString("threads");
    if (text_out == NULL || text_threads == NULL || PyType_Ready(&CallerType) < 0)
        return NULL;
    if (pthread_key_create(&scratch_key, PyMem_RawFree) != 0)
        return PyErr_Format(PyExc_RuntimeError, "no key for thread-local memory is left");
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    if (PyModule_AddObjectRef(module, "Caller", (PyObject *)&CallerType) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
