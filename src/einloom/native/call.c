#include "call.h"

#include <string.h>

static PyObject *text_out, *text_threads;

int call_prepare(void) {
    text_out = PyUnicode_InternFromString("out");
    text_threads = PyUnicode_InternFromString("threads");
    return text_out == NULL || text_threads == NULL ? -1 : 0;
}

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
    if (type == &PyFloat_Type) { /* by its bits: -0.0 is not 0.0, and NaN is itself */
        double number = PyFloat_AS_DOUBLE(value);
        uint64_t bits;
        memcpy(&bits, &number, sizeof bits);
        *hash = mixed(*hash, bits);
        return 1;
    }
    if (value == Py_None || type == &PyBool_Type || type == &PyType_Type ||
        PyArray_DescrCheck(value)) {
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
    if (type == &PyFloat_Type) {
        double one = PyFloat_AS_DOUBLE(kept), other = PyFloat_AS_DOUBLE(value);
        return memcmp(&one, &other, sizeof one) == 0;
    }
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

int argument_is_array(const Argument *kept, PyArrayObject *array) {
    if (Py_TYPE(array) != kept->type || PyArray_TYPE(array) != kept->type_num ||
        PyArray_NDIM(array) != kept->ndim || !is_ready(array))
        return 0;
    const npy_intp *shape = PyArray_DIMS(array), *strides = PyArray_STRIDES(array);
    for (int axis = 0; axis < kept->ndim; axis++)
        if (shape[axis] != kept->layout[axis] || strides[axis] != kept->layout[kept->ndim + axis])
            return 0;
    return 1;
}

int call_read(Call *call, int takes_threads, PyObject *const *values, Py_ssize_t n_positional,
              PyObject *keywords) {
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
            if (takes_threads &&
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

/* --- kept arguments ------------------------------------------------------------------------- */

npy_intp *copied_layout(PyArrayObject *array) {
    int ndim = PyArray_NDIM(array);
    npy_intp *layout = PyMem_Calloc((size_t)(ndim > 0 ? 2 * ndim : 1), sizeof *layout);
    if (layout == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (int axis = 0; axis < ndim; axis++) {
        layout[axis] = PyArray_DIM(array, axis);
        layout[ndim + axis] = PyArray_STRIDE(array, axis);
    }
    return layout;
}

int argument_keep_array(Argument *argument, PyArrayObject *array) {
    if (!is_ready(array)) {
        PyErr_SetString(PyExc_ValueError, "arrays of a kept call are aligned, in native order");
        return -1;
    }
    argument->type = (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(array));
    argument->type_num = PyArray_TYPE(array);
    argument->ndim = PyArray_NDIM(array);
    if ((argument->layout = copied_layout(array)) == NULL)
        return -1;
    argument->beyond = PyArray_SIZE(array) == 0 ? 0 : PyArray_ITEMSIZE(array);
    for (int axis = 0; argument->beyond > 0 && axis < argument->ndim; axis++) {
        npy_intp reach = (PyArray_DIM(array, axis) - 1) * PyArray_STRIDE(array, axis);
        *(reach < 0 ? &argument->lowest : &argument->beyond) += reach;
    }
    return 0;
}

int argument_keep(Argument *argument, PyObject *value) {
    if (PyArray_Check(value))
        return argument_keep_array(argument, (PyArrayObject *)value);
    argument->value = frozen(value);
    return argument->value == NULL ? -1 : 0;
}

void argument_clear(Argument *argument) {
    Py_CLEAR(argument->value);
    Py_CLEAR(argument->type);
    PyMem_Free(argument->layout);
    argument->layout = NULL;
}

int argument_is(const Argument *kept, PyObject *value) {
    if (kept->value != NULL)
        return is_same_plain(kept->value, value);
    return PyArray_Check(value) && argument_is_array(kept, (PyArrayObject *)value);
}
