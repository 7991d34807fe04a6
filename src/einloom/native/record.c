#include "record.h"

#include "gather.h"

static void *zeroed(Py_ssize_t n, size_t size) {
    void *memory = PyMem_Calloc(n > 0 ? (size_t)n : 1, size);
    if (memory == NULL)
        PyErr_NoMemory();
    return memory;
}

void record_release(Record *record) {
    if (record == NULL || --record->n_references > 0)
        return;
    for (Py_ssize_t i = 0; record->arguments != NULL && i < record->n_arguments; i++)
        argument_clear(&record->arguments[i]);
    for (Py_ssize_t i = 0; record->steps != NULL && i < record->n_steps; i++) {
        PyMem_Free(record->steps[i].words);
        PyMem_Free(record->steps[i].patches);
    }
    argument_clear(&record->out);
    PyMem_Free(record->arguments);
    PyMem_Free(record->steps);
    PyMem_Free(record->buffers);
    for (Py_ssize_t i = 0; record->results != NULL && i < record->n_results; i++) {
        PyMem_Free(record->results[i].layout);
        Py_XDECREF((PyObject *)record->results[i].type);
        Py_XDECREF((PyObject *)record->results[i].dtype);
    }
    PyMem_Free(record->results);
    Py_XDECREF(record->keywords);
    Py_XDECREF(record->finish);
    Py_XDECREF(record->owners);
    PyMem_Free(record);
}

int record_is(const Record *record, const Call *call) {
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
        if (!argument_is(kept, item))
            return 0;
    }
    return call->out == NULL ||
           (argument_is_array(&record->out, call->out) && PyArray_ISWRITEABLE(call->out));
}

/* --- making one ------------------------------------------------------------------------------ */

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
        record->n_operands += PyArray_Check(item);
        if (argument_keep(&record->arguments[i], item) < 0)
            return -1;
    }
    if (call->out != NULL) {
        record->has_out = 1;
        return argument_keep_array(&record->out, call->out);
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

static int keep_step(Record *record, Step *step, PyObject *given) {
    unsigned long long entry;
    long long total, acc_step, scratch_bytes, most_awake;
    PyObject *words, *slots;
    if (!PyArg_ParseTuple(given, "KLLLpLO!O!", &entry, &total, &acc_step, &scratch_bytes,
                          &step->is_large, &most_awake, &PyTuple_Type, &words, &PyTuple_Type, &slots))
        return -1;
    step->entry = (einloom_entry)(uintptr_t)entry;
    step->total = total;
    step->acc_step = acc_step;
    step->scratch_bytes = scratch_bytes;
    step->most_awake = most_awake > 1 ? most_awake : 1;
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
        if (numbers[i] >= record->n_operands + record->n_results + record->n_buffers ||
            i >= step->n_words) {
            PyErr_Format(PyExc_ValueError, "word %zd is to hold slot %lld, which is not there", i,
                         (long long)numbers[i]);
            is_kept = 0;
        }
        step->patches[step->n_patches++] = (Patch){(int32_t)i, (int32_t)numbers[i]};
    }
    PyMem_Free(numbers);
    if (!is_kept)
        return -1;
    if (entry == 0 || step->n_words < 1 || step->n_words > MAX_WORDS || total < 0) {
        PyErr_SetString(PyExc_ValueError, "a kept launch needs an entry and words");
        return -1;
    }
    if (step->n_words > record->max_words)
        record->max_words = step->n_words;
    if (scratch_bytes > record->scratch_bytes)
        record->scratch_bytes = scratch_bytes;
    step->is_refusable = step->entry == einloom_gather;
    record->has_large |= step->is_large;
    record->has_shared |= step->is_large || step->most_awake > 1;
    return 0;
}

static int keep_result(Result *kept, PyObject *result) {
    if (PyArray_Check(result)) {
        PyArrayObject *array = (PyArrayObject *)result;
        kept->type = (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(array));
        kept->dtype = (PyArray_Descr *)Py_NewRef((PyObject *)PyArray_DESCR(array));
        kept->ndim = PyArray_NDIM(array);
        kept->layout = copied_layout(array);
        kept->bytes = PyArray_NBYTES(array);
        return kept->layout == NULL ? -1 : 0;
    }
    if (!PyArray_IsScalar(result, Generic)) {
        PyErr_SetString(PyExc_TypeError, "a kept result is an array or a NumPy scalar");
        return -1;
    }
    kept->is_scalar = 1;
    kept->dtype = PyArray_DescrFromScalar(result);
    if (kept->dtype == NULL)
        return -1;
    if (PyDataType_ELSIZE(kept->dtype) > SCALAR_BYTES) {
        PyErr_SetString(PyExc_ValueError, "the scalar is too large to be kept");
        return -1;
    }
    return 0;
}

static int keep_results(Record *record, PyObject *result) {
    record->is_tuple = PyTuple_Check(result);
    Py_ssize_t n = record->is_tuple ? PyTuple_GET_SIZE(result) : 1;
    if (n > MAX_RESULTS || (n != 1 && record->has_out)) {
        PyErr_SetString(PyExc_ValueError, "a call with so many results is not kept");
        return -1;
    }
    if ((record->results = zeroed(n, sizeof *record->results)) == NULL)
        return -1;
    record->n_results = n;
    for (Py_ssize_t i = 0; i < n; i++)
        if (keep_result(&record->results[i], record->is_tuple ? PyTuple_GET_ITEM(result, i) : result) < 0)
            return -1;
    return 0;
}

Record *record_new(const Call *call, PyObject *plan) {
    PyObject *result, *finish, *steps, *buffers, *owners;
    long long workspace_bytes;
    int uses_pool, releases_gil;
    if (!PyArg_ParseTuple(plan, "OOO!O!LppO", &result, &finish, &PyTuple_Type, &steps,
                          &PyTuple_Type, &buffers, &workspace_bytes, &releases_gil, &uses_pool,
                          &owners))
        return NULL;
    Record *record = zeroed(1, sizeof *record);
    if (record == NULL)
        return NULL;
    record->n_references = 1;
    record->workspace_bytes = workspace_bytes;
    record->uses_pool = uses_pool;
    record->releases_gil = releases_gil;
    record->owners = Py_NewRef(owners);
    record->finish = finish == Py_None ? NULL : Py_NewRef(finish);
    if (keep_arguments(record, call) < 0 || keep_results(record, result) < 0)
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
    record_release(record);
    return NULL;
}
