/* Python's and NumPy's C API, for all files of the extension module. */
#ifndef EINLOOM_NUMPY_API_H
#define EINLOOM_NUMPY_API_H

#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL einloom_numpy_api
#ifndef EINLOOM_IMPORTS_NUMPY /* one file does */
#define NO_IMPORT_ARRAY
#endif
#include <Python.h>
#include <numpy/arrayobject.h>
#include <stdint.h>

#endif
