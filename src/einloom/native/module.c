/* The extension module: calls seen before, and kernels on the thread pool.
 *
 * Source: CPython's vectorcall protocol (C API reference, "Call Protocol") and NumPy's C API.
 */
#define EINLOOM_IMPORTS_NUMPY
#include "numpy_api.h"

#include "call.h"
#include "caller.h"
#include "gather.h"
#include "pool.h"
#include "results.h"
#include "scratch.h"

static PyTypeObject *subtype(PyObject *type) {
    if (PyType_Check(type) && PyType_IsSubtype((PyTypeObject *)type, &CallerType))
        return (PyTypeObject *)type;
    PyErr_SetString(PyExc_TypeError, "a class derived from Caller is needed");
    return NULL;
}

static PyObject *adopt(PyObject *Py_UNUSED(module), PyObject *given) {
    PyTypeObject *type = subtype(given);
    if (type == NULL)
        return NULL;
    caller_adopt(type);
    Py_RETURN_NONE;
}

static PyObject *disown(PyObject *Py_UNUSED(module), PyObject *given) {
    PyTypeObject *type = subtype(given);
    if (type == NULL)
        return NULL;
    caller_disown(type);
    Py_RETURN_NONE;
}

static PyObject *set_enabled(PyObject *Py_UNUSED(module), PyObject *value) {
    int is_true = PyObject_IsTrue(value);
    return is_true < 0 ? NULL : PyBool_FromLong(caller_set_enabled(is_true));
}

static PyObject *set_available_threads(PyObject *Py_UNUSED(module), PyObject *function) {
    caller_set_available_threads(function);
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
    if (call_prepare() < 0 || results_prepare() < 0 || PyType_Ready(&CallerType) < 0)
        return NULL;
    if (scratch_prepare() != 0)
        return PyErr_Format(PyExc_RuntimeError, "no key for thread-local memory is left");
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    if (PyModule_AddObjectRef(module, "Caller", (PyObject *)&CallerType) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    PyObject *entry = PyLong_FromVoidPtr((void *)(uintptr_t)einloom_gather);
    if (entry == NULL || PyModule_AddObjectRef(module, "gather_entry", entry) < 0) {
        Py_XDECREF(entry);
        Py_DECREF(module);
        return NULL;
    }
    Py_DECREF(entry);
    return module;
}
