/* A record: a call that passed all checks, as addresses and numbers. */
#ifndef EINLOOM_RECORD_H
#define EINLOOM_RECORD_H

#include "call.h"
#include "pool.h"

enum {
    MAX_WORDS = 8192,  /* of an argument block, which lives on the stack */
    SCALAR_BYTES = 64, /* no dtype of a kernel is larger */
};

typedef struct {
    int32_t word, slot;
} Patch;

/* One launch of a kernel. */
typedef struct {
    einloom_entry entry;
    int64_t total, acc_step, scratch_bytes;
    int is_large; /* it uses threads unasked */
    Py_ssize_t n_words, n_patches;
    int64_t *words; /* numbers, offsets, and addresses of tables and constants */
    Patch *patches; /* which words need addresses of operands, result, intermediates */
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
    npy_intp result_bytes;
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

/* Return a new record, NULL with an error set, of a call and its plan:
 * (result, steps, buffers, workspace_bytes, releases_gil, uses_pool, owners).
 *
 * `result` stands for the results to come; a step is (entry, total, acc_step, scratch_bytes,
 * is_large, words, slots), to whose first words the addresses of these slots are
 * added where they are no -1; a buffer is the offset of an intermediate. The call's arrays are slots
 * 0, 1, ... in order, the result is the next slot, then come the buffers. */
Record *record_new(const Call *call, PyObject *plan);

/* Give up a reference. */
void record_release(Record *record);

/* Say whether a call, if it has the same key, may be run by the record. */
int record_is(const Record *record, const Call *call);

#endif
