/* The type of callables that run calls seen before without Python.
 *
 * A call that equals the key of a record is run from the record: argument blocks are filled in, the
 * result is allocated, kernels are launched. Any other call is made by the type's `__call__`, which
 * may keep it.
 */
#ifndef EINLOOM_CALLER_H
#define EINLOOM_CALLER_H

#include "numpy_api.h"

extern PyTypeObject CallerType;

/* Let a subclass be called by vectorcall, or by its __call__ only. */
void caller_adopt(PyTypeObject *type);
void caller_disown(PyTypeObject *type);

/* Use records, or make all calls in Python; return what was. */
int caller_set_enabled(int value);

/* Set the Python function that says how many threads large work gets. */
void caller_set_available_threads(PyObject *function);

#endif
