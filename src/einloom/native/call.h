/* A call's arguments, and what is compared of them.
 *
 * Of arrays that is their type, dtype, shape and strides, of other arguments their values: numbers,
 * texts, None, types, and tuples and lists of these. A call with other arguments has no key.
 */
#ifndef EINLOOM_CALL_H
#define EINLOOM_CALL_H

#include "numpy_api.h"

enum { MAX_ARGUMENTS = 128 /* of a call that has a key */ };

/* An argument: an array's layout, or a plain value. */
typedef struct {
    PyObject *value;    /* a plain value; NULL for an array */
    PyTypeObject *type; /* ndarray, or a subclass that the Python side vouches for */
    int type_num, ndim;
    npy_intp *layout;        /* extents, then strides in bytes */
    npy_intp lowest, beyond; /* bytes it covers, from its first element */
} Argument;

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

/* Prepare the names that are compared; return 0, or -1 with an error set. */
int call_prepare(void);

/* Read a call; return 0 if it has no key. No error is set. */
int call_read(Call *call, int takes_threads, PyObject *const *values, Py_ssize_t n_positional,
              PyObject *keywords);

/* Fill in an argument; return 0, or -1 with an error set. `argument` is zeroed before. */
int argument_keep_array(Argument *argument, PyArrayObject *array);
int argument_keep(Argument *argument, PyObject *value);
void argument_clear(Argument *argument);

int argument_is_array(const Argument *kept, PyArrayObject *array);
int argument_is(const Argument *kept, PyObject *value);

/* Return extents, then strides, to be freed by PyMem_Free; NULL with an error set. */
npy_intp *copied_layout(PyArrayObject *array);

#endif
