/* Memory of large results: kept when they are dropped, and given to later ones.
 *
 * New pages are cleared by the system, which takes longer than most kernels take to fill them.
 */
#ifndef EINLOOM_RESULTS_H
#define EINLOOM_RESULTS_H

#include "numpy_api.h"

/* Prepare NumPy's handler of such memory; return 0, or -1 with an error set. */
int results_prepare(void);

/* Return a new array that owns its memory, its elements not set; NULL with an error set. */
PyObject *result_new(PyTypeObject *type, PyArray_Descr *dtype, int ndim, const npy_intp *shape,
                     const npy_intp *strides, npy_intp bytes);

#endif
