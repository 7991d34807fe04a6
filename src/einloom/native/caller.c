#include "caller.h"

#include <alloca.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>
#include <time.h>

#include "gather.h"
#include "results.h"
#include "scratch.h"
#include "table.h"

/* Intermediates up to this size stay with the thread for the next call. */
static const int64_t KEPT_WORKSPACE_BYTES = 64 << 20;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Py_ssize_t threads; /* of a call that does not say; 0 lets the work decide */
    char takes_threads; /* whether threads= is a keyword of its calls */
    Table table;
} Caller;

static int is_enabled = 1;
static PyObject *available_threads;

/* --- running a record ------------------------------------------------------------------------ */

/* Parts a thread, so that one that is interrupted does not keep all waiting. */
enum { PARTS_PER_THREAD = 4 };

static int64_t parts_of(const Step *step, int64_t threads) {
    int64_t parts = threads <= 1 ? 1 : threads * PARTS_PER_THREAD;
    parts = parts < step->total ? parts : step->total;
    return parts < EINLOOM_POOL_PARTS ? parts : EINLOOM_POOL_PARTS;
}

/* Return how many threads large work gets, -1 with an error set. What Python says is kept while
 * the variables are the same, a second at most. */
static int64_t threads_now(void) {
    static const char *const variables[] = {"EINLOOM_NUM_THREADS", "OMP_NUM_THREADS",
                                            "SLURM_CPUS_PER_TASK"};
    static uint64_t last;
    static int64_t number;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    uint64_t now = (uint64_t)time.tv_sec;
    for (int i = 0; i < 3; i++) {
        now = now * 31 + 1;
        for (const char *text = getenv(variables[i]); text != NULL && *text != 0; text++)
            now = now * 31 + (unsigned char)*text;
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

/* How a call is launched. */
typedef struct {
    int64_t asked, available; /* threads: what the call or function says, 0 if nothing; the most */
    int64_t scratch_bytes;    /* of all threads of the largest launch */
    int is_parallel;
    int is_long;              /* others run Python meanwhile */
} Effort;

static int64_t threads_of(const Step *step, const Effort *effort) {
    if (effort->asked != 0)
        return effort->asked;
    if (step->is_large || effort->available < step->most_awake)
        return effort->available;
    return step->most_awake;
}

/* Settle threads and scratch; return -1 with an error set. */
static int settle(Effort *effort, const Caller *caller, const Record *record, const Call *call) {
    effort->asked = call->threads != 0 ? call->threads : caller->threads;
    effort->available = 1;
    effort->scratch_bytes = record->scratch_bytes;
    if (effort->asked == 0 && record->has_shared && (effort->available = threads_now()) < 0)
        return -1;
    effort->is_parallel = effort->asked > 1 || effort->available > 1;
    effort->is_long = record->releases_gil || effort->asked > 1 ||
                      (record->has_large && effort->is_parallel);
    for (Py_ssize_t s = 0; effort->is_parallel && s < record->n_steps; s++) {
        const Step *step = &record->steps[s];
        int64_t threads = threads_of(step, effort);
        int64_t bytes = (threads < step->total ? threads : step->total) * step->scratch_bytes;
        if (bytes > effort->scratch_bytes)
            effort->scratch_bytes = bytes;
    }
    return 0;
}

/* Launch all steps; return 0 if a lookup met an index that is not there. */
static int launch(const Record *record, void *const *addresses, const char *workspace,
                  const char *memory, const Effort *effort) {
    Py_ssize_t n_given = record->n_operands + record->n_results;
    int64_t *block = alloca((size_t)record->max_words * sizeof *block);
    for (Py_ssize_t s = 0; s < record->n_steps; s++) {
        const Step *step = &record->steps[s];
        memcpy(block, step->words, (size_t)step->n_words * sizeof *block);
        for (Py_ssize_t p = 0; p < step->n_patches; p++) {
            int32_t slot = step->patches[p].slot;
            const char *address =
                slot < n_given ? addresses[slot] : workspace + record->buffers[slot - n_given];
            block[step->patches[p].word] += (int64_t)(intptr_t)address;
        }
        block[step->n_words - 1] = (int64_t)(intptr_t)memory;
        int64_t threads = threads_of(step, effort);
        if (threads <= 1)
            step->entry(block, 0, 0, step->total);
        else if (effort->asked == 0 && !step->is_large)
            einloom_pool_run_small(step->entry, block, step->acc_step, step->total, threads);
        else
            einloom_pool_run(step->entry, block, step->acc_step, step->total,
                             parts_of(step, threads), threads);
        if (step->is_refusable && block[GATHER_REFUSED])
            return 0;
    }
    return 1;
}

/* Launch all steps, with memory for them; return -1 with an error set, 0 if the call must be made
 * in Python, which says which index of a lookup is wrong. */
static int launch_all(const Record *record, void *const *addresses, const Effort *effort) {
    int64_t bytes = effort->scratch_bytes + SCRATCH_ALIGNMENT - 1;
    bytes -= bytes % SCRATCH_ALIGNMENT;
    int is_kept = record->workspace_bytes <= KEPT_WORKSPACE_BYTES;
    int64_t all = bytes + (is_kept ? record->workspace_bytes : 0);
    char *memory = NULL, *workspace = NULL;
    void *own = NULL;
    if (all > 0) {
        if ((memory = scratch_of(all)) == NULL)
            return -1;
        workspace = memory + bytes;
    }
    if (!is_kept && (workspace = scratch_alone(record->workspace_bytes, &own)) == NULL)
        return -1;
    int is_done;
    if (effort->is_long) {
        Py_BEGIN_ALLOW_THREADS
        is_done = launch(record, addresses, workspace, memory, effort);
        Py_END_ALLOW_THREADS
    } else
        is_done = launch(record, addresses, workspace, memory, effort);
    PyMem_RawFree(own);
    return is_done;
}

/* Collect the operands' addresses; return 0 if `out` may overlap one of them. */
static int read_addresses(void **addresses, const Record *record, const Call *call) {
    const char *lowest = NULL, *beyond = NULL;
    if (call->out != NULL) {
        lowest = PyArray_BYTES(call->out) + record->out.lowest;
        beyond = PyArray_BYTES(call->out) + record->out.beyond;
    }
    for (Py_ssize_t i = 0, n = 0; i < record->n_arguments; i++) {
        const Argument *argument = &record->arguments[i];
        if (argument->value != NULL)
            continue;
        char *data = PyArray_BYTES((PyArrayObject *)call->items[i]);
        if (data + argument->lowest < beyond && lowest < data + argument->beyond)
            return 0;
        addresses[n++] = data;
    }
    return 1;
}

/* Memory of results that become NumPy scalars. */
typedef struct {
    _Alignas(SCRATCH_ALIGNMENT) char bytes[SCALAR_BYTES];
} Scalar;

/* Make the arrays that are written; return -1 with an error set. */
static int make_results(const Record *record, const Call *call, PyObject **made) {
    for (Py_ssize_t i = 0; i < record->n_results; i++) {
        const Result *result = &record->results[i];
        if (call->out != NULL)
            made[i] = Py_NewRef((PyObject *)call->out);
        else if (!result->is_scalar) {
            made[i] = result_new(result->type, result->dtype, result->ndim, result->layout,
                                 result->layout + result->ndim, result->bytes);
            if (made[i] == NULL)
                return -1;
        }
    }
    return 0;
}

/* Return what a call returns, which takes over the references to what was made. */
static PyObject *returned(const Record *record, PyObject **made) {
    if (!record->is_tuple) {
        PyObject *only = made[0];
        made[0] = NULL;
        return only;
    }
    PyObject *tuple = PyTuple_New(record->n_results);
    if (tuple == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < record->n_results; i++) {
        PyTuple_SET_ITEM(tuple, i, made[i]);
        made[i] = NULL;
    }
    if (record->finish == NULL)
        return tuple;
    PyObject *finished = PyObject_CallOneArg(record->finish, tuple);
    Py_DECREF(tuple);
    return finished;
}

/* Return the result of a call by its record; NULL with an error set, or without one if the call
 * must be made in Python. */
static PyObject *run(const Caller *caller, const Record *record, const Call *call) {
    void *addresses[MAX_ARGUMENTS + MAX_RESULTS];
    PyObject *made[MAX_RESULTS];
    Effort effort;
    Py_ssize_t n = record->n_results;
    if (settle(&effort, caller, record, call) < 0)
        return NULL;
    if (effort.is_parallel && !record->uses_pool)
        return NULL;
    if (!read_addresses(addresses, record, call))
        return NULL;
    Scalar *scalars = alloca((size_t)n * sizeof *scalars + SCRATCH_ALIGNMENT);
    scalars = (Scalar *)(((uintptr_t)scalars + SCRATCH_ALIGNMENT - 1) & -(uintptr_t)SCRATCH_ALIGNMENT);
    PyObject *result = NULL;
    memset(made, 0, (size_t)n * sizeof *made);
    if (make_results(record, call, made) < 0)
        goto done;
    for (Py_ssize_t i = 0; i < n; i++)
        addresses[record->n_operands + i] =
            made[i] == NULL ? scalars[i].bytes : PyArray_DATA((PyArrayObject *)made[i]);
    if (launch_all(record, addresses, &effort) <= 0)
        goto done;
    for (Py_ssize_t i = 0; i < n; i++)
        if (made[i] == NULL &&
            (made[i] = PyArray_Scalar(scalars[i].bytes, record->results[i].dtype, NULL)) == NULL)
            goto done;
    result = returned(record, made);
done:
    for (Py_ssize_t i = 0; i < n; i++)
        Py_XDECREF(made[i]);
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
    if (caller->table.n_records > 0 && is_enabled) {
        Call call;
        if (call_read(&call, caller->takes_threads, values, PyVectorcall_NARGS(n_flagged),
                      keywords)) {
            Record *record = table_find(&caller->table, &call);
            if (record != NULL) {
                record->n_references++; /* it may be dropped meanwhile */
                PyObject *result = run(caller, record, &call);
                record_release(record);
                if (result != NULL || PyErr_Occurred())
                    return result;
            }
        }
    }
    return call_python(self, values, n_flagged, keywords);
}

/* --- keeping a record ------------------------------------------------------------------------ */

PyDoc_STRVAR(keep_doc,
             "keep($self, arguments, keywords, plan, /)\n--\n\n"
             "Remember a call that passed all checks; say whether it can be remembered.\n\n"
             "Its arrays are operand slots 0, 1, ... in order, the results are the next slots, then\n"
             "come the intermediates. See record.h for the plan.");

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
    int can_be = call_read(&call, caller->takes_threads, values, n, names);
    int is_new = can_be && table_find(&caller->table, &call) == NULL;
    if (is_new)
        record = record_new(&call, plan);
    Py_DECREF(names);
    if (!is_new)
        return PyBool_FromLong(can_be);
    if (record == NULL)
        return NULL;
    if (table_add(&caller->table, record) < 0)
        return NULL;
    Py_RETURN_TRUE;
}

static PyObject *Caller_forget(Caller *caller, PyObject *Py_UNUSED(ignored)) {
    table_clear(&caller->table);
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
    for (Record *record = caller->table.oldest; record != NULL; record = record->younger)
        if (record->n_references == 1) {
            Py_VISIT(record->owners);
            Py_VISIT(record->finish);
        }
    return 0;
}

static int Caller_clear(Caller *caller) {
    table_clear(&caller->table);
    return 0;
}

static void Caller_dealloc(Caller *caller) {
    PyObject_GC_UnTrack(caller);
    Caller_clear(caller);
    Py_TYPE(caller)->tp_free((PyObject *)caller);
}

static PyMemberDef Caller_members[] = {
    {"_default_threads", T_PYSSIZET, offsetof(Caller, threads), 0,
     "Threads of a call that does not say; 0 lets the work decide."},
    {"_takes_threads", T_BOOL, offsetof(Caller, takes_threads), 0,
     "Whether threads= is a keyword of its calls."},
    {"_n_kept", T_PYSSIZET, offsetof(Caller, table.n_records), READONLY, "Number of calls kept."},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef Caller_methods[] = {
    {"_keep", (PyCFunction)Caller_keep, METH_VARARGS, keep_doc},
    {"_forget", (PyCFunction)Caller_forget, METH_NOARGS,
     "_forget($self, /)\n--\n\nForget all calls."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject CallerType = {
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

/* CPython does not give a Python class its base's vectorcall where it defines __call__ (and before
 * 3.12 never), since the two might differ. For these classes they agree: __call__ is what
 * Caller_vectorcall falls back on. */
void caller_adopt(PyTypeObject *type) {
    type->tp_vectorcall_offset = offsetof(Caller, vectorcall);
    type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
    PyType_Modified(type);
}

void caller_disown(PyTypeObject *type) {
    type->tp_flags &= ~Py_TPFLAGS_HAVE_VECTORCALL;
    PyType_Modified(type);
}

int caller_set_enabled(int value) {
    int before = is_enabled;
    is_enabled = value;
    return before;
}

void caller_set_available_threads(PyObject *function) {
    Py_XSETREF(available_threads, Py_NewRef(function));
}
