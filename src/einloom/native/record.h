/* A record: a call that passed all checks, as addresses and numbers. */
#ifndef EINLOOM_RECORD_H
#define EINLOOM_RECORD_H

#include "call.h"
#include "pool.h"

enum {
    MAX_WORDS = 8192,  /* of an argument block, which lives on the stack */
    MAX_RESULTS = 64,  /* of a call that is kept */
    SCALAR_BYTES = 64, /* no dtype of a kernel is larger */
};

typedef struct {
    int32_t word, slot;
} Patch;

/* One launch of a kernel. */
typedef struct {
    einloom_entry entry;
    int64_t total, acc_step, scratch_bytes;
    int is_large;     /* it uses threads unasked */
    int64_t most_awake; /* if not: how many it is shared among if they are awake */
    int is_refusable; /* a lookup, which may meet an index that is not there */
    Py_ssize_t n_words, n_patches;
    int64_t *words; /* numbers, offsets, and addresses of tables and constants */
    Patch *patches; /* which words need addresses of operands, result, intermediates */
} Step;

/* What a result is made as: an array of this layout, or a NumPy scalar. */
typedef struct {
    PyTypeObject *type;
    PyArray_Descr *dtype;
    npy_intp bytes;
    int is_scalar;
    int ndim;
    npy_intp *layout;
} Result;

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
    Py_ssize_t n_results;
    Result *results;
    int is_tuple;     /* calls return a tuple of the results, or what `finish` makes of it */
    PyObject *finish; /* NULL where nothing is */
    /* the launches */
    Py_ssize_t n_steps, n_buffers;
    Step *steps;
    int64_t *buffers; /* offset of each intermediate in the workspace */
    int64_t workspace_bytes, scratch_bytes, max_words;
    int has_large, has_shared, uses_pool, releases_gil;
    PyObject *owners; /* of the memory that words point to */
} Record;

/* Return a new record, NULL with an error set, of a call and its plan:
 * (result, finish, steps, buffers, workspace_bytes, releases_gil, uses_pool, owners).
 *
 * `result` stands for the results to come, a tuple of them where there are several; `finish` is
 * called with a tuple of them unless it is None. A step is (entry, total, acc_step, scratch_bytes,
 * is_large, most_awake, words, slots), to whose first words the addresses of these slots are
 * added where they are no -1; a buffer is the offset of an intermediate. The call's arrays are slots
 * 0, 1, ... in order, the results are the next slots, then come the buffers. */
Record *record_new(const Call *call, PyObject *plan);

/* Give up a reference. */
void record_release(Record *record);

/* Say whether a call, if it has the same key, may be run by the record. */
int record_is(const Record *record, const Call *call);

#endif
