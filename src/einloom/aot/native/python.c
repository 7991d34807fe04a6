/* Calls from CPython without ctypes. The library has no symbols of Python: the loader hands over the
 * addresses of the few functions used here, all of the stable ABI of CPython 3.11 and of NumPy's C
 * API, and gets a function object. What this cannot serve at once goes to the loader's function in
 * Python: errors, arrays of other layouts, results that overlap operands.
 */

enum {
    NUMPY_C_ORDER = 0x1,
    NUMPY_ALIGNED = 0x100,
    NUMPY_WRITEABLE = 0x400,
    METHOD_FLAGS = 0x80 | 0x2, /* METH_FASTCALL | METH_KEYWORDS */
    NEW_ARRAY = 94,            /* PyArray_NewFromDescr in NumPy's table; first is its version */
};

/* PyArrayObject_fields behind the object's head, the same in NumPy 1.x and 2.x. */
typedef struct {
    char *data;
    int rank;
    int64_t *shape;
    int64_t *strides;
    void *base;
    void *dtype;
    int flags;
} Array;

typedef void Object;
typedef Object *(*Method)(Object *, Object *const *, int64_t, Object *);

/* PyMethodDef. */
typedef struct {
    const char *name;
    Method method;
    int flags;
    const char *text;
} MethodDefinition;

typedef Object *(*NewArray)(Object *, Object *, int, const int64_t *, const int64_t *, void *, int,
                            Object *);

/* What the loader hands over, in its order. */
typedef struct {
    int64_t head_bytes; /* of an object */
    Object *array_type;
    Object *out_name;
    Object *threads_name;
    Object *none;
    Object *slow;
    void (*increment)(Object *);
    void (*decrement)(Object *);
    Object *(*call)(Object *, Object *const *, size_t, Object *);
    Object *(*new_function)(MethodDefinition *, Object *, Object *);
    Object *(*new_capsule)(void *, const char *, void *);
    void *(*capsule_pointer)(Object *, const char *);
    long (*as_long)(Object *);
    Object *(*occurred)(void);
    void (*clear)(void);
    void *(*release_gil)(void);
    void (*take_gil)(void *);
    Object *(*new_tuple)(int64_t);
    int (*set_item)(Object *, int64_t, Object *);
    Object *(*item)(Object *, int64_t);
    int64_t (*length)(Object *);
    void *const *numpy;   /* the table of its C API */
    const Object *sample; /* an array of 2 x 3, in C order; its dtype and its address */
    const void *sample_dtype, *sample_data;
    Object *dtypes[N_INPUTS + N_OUTPUTS]; /* of inputs, then of outputs */
} Python;

typedef struct {
    Python python;
    NewArray new_array;
    MethodDefinition definition;
} Caller;

static const Array *array_of(const Python *python, const Object *object) {
    const char *start = object;
    Object *const *type = (Object *const *)(const void *)(start + python->head_bytes) - 1;
    return *type == python->array_type ? (const Array *)(const void *)(start + python->head_bytes)
                                       : NULL;
}

/* Whether arrays of this NumPy, and their versions of its binary interface, are those known here. */
static int is_known(const Python *python) {
    unsigned version = ((unsigned (*)(void))python->numpy[0])();
    const Array *array = array_of(python, python->sample);
    int flags = NUMPY_C_ORDER | NUMPY_ALIGNED | NUMPY_WRITEABLE;
    return (version == 0x01000009 || version == 0x02000000) && array != NULL &&
           array->data == python->sample_data && array->rank == 2 && array->shape[0] == 2 &&
           array->shape[1] == 3 && array->dtype == python->sample_dtype &&
           (array->flags & flags) == flags;
}

static int has_shape(const Array *array, const int64_t *shape, int rank) {
    for (int axis = 0; axis < rank; axis++)
        if (array->shape[axis] != shape[axis])
            return 0;
    return 1;
}

/* Compute into new or given results; return NULL where the slow function has to. */
static Object *served(const Caller *caller, Object *const *arguments, int64_t n, Object *names) {
    const Python *python = &caller->python;
    int64_t n_names = names == NULL ? 0 : python->length(names);
    const Object *given = NULL;
    long threads = 0;
    if (n != N_INPUTS)
        return NULL;
    for (int64_t i = 0; i < n_names; i++) {
        Object *name = python->item(names, i), *value = arguments[n + i];
        if (value == python->none)
            continue;
        if (name == python->out_name && N_OUTPUTS == 1)
            given = value;
        else if (name == python->threads_name) {
            threads = python->as_long(value);
            if (threads < 1 || threads > INT_MAX) {
                if (python->occurred() != NULL)
                    python->clear();
                return NULL;
            }
        } else
            return NULL;
    }
    const Array *arrays[N_INPUTS + 1];
    const void *inputs[N_INPUTS + 1];
    for (int i = 0; i < N_INPUTS; i++) {
        const Array *array = arrays[i] = array_of(python, arguments[i]);
        if (array == NULL || array->rank != input_ranks[i] || array->dtype != python->dtypes[i] ||
            (array->flags & (NUMPY_C_ORDER | NUMPY_ALIGNED)) != (NUMPY_C_ORDER | NUMPY_ALIGNED))
            return NULL;
        inputs[i] = array->data;
    }
    int64_t sizes[N_SYMBOLS + 1], shape[MAX_RANK];
    for (int i = 0; i < N_SYMBOLS; i++)
        sizes[i] = arrays[symbol_inputs[i]]->shape[symbol_axes[i]];
    for (int i = 0; i < N_INPUTS; i++) {
        input_shape(i, sizes, shape);
        if (!has_shape(arrays[i], shape, input_ranks[i]))
            return NULL;
    }
    if (check(sizes) != 0)
        return NULL;
    void *outputs[N_OUTPUTS];
    Object *results[N_OUTPUTS];
    if (given != NULL) {
        const Array *array = array_of(python, given);
        int wanted = NUMPY_C_ORDER | NUMPY_ALIGNED | NUMPY_WRITEABLE;
        output_shape(0, sizes, shape);
        if (array == NULL || array->rank != output_ranks[0] ||
            array->dtype != python->dtypes[N_INPUTS] || (array->flags & wanted) != wanted ||
            !has_shape(array, shape, output_ranks[0]))
            return NULL;
        const char *start = array->data;
        const char *end = start + shape_bytes(shape, output_ranks[0], output_itemsizes[0]);
        for (int i = 0; i < N_INPUTS; i++) {
            const char *from = arrays[i]->data;
            if (from < end &&
                start < from + shape_bytes(arrays[i]->shape, input_ranks[i], input_itemsizes[i]))
                return NULL;
        }
        results[0] = (Object *)(uintptr_t)given;
        python->increment(results[0]);
        outputs[0] = array->data;
    } else {
        for (int i = 0; i < N_OUTPUTS; i++) {
            output_shape(i, sizes, shape);
            Object *dtype = python->dtypes[N_INPUTS + i];
            python->increment(dtype); /* the new array takes it */
            results[i] = caller->new_array(python->array_type, dtype, output_ranks[i], shape, NULL,
                                           NULL, 0, NULL);
            if (results[i] == NULL) {
                python->clear();
                while (i-- > 0)
                    python->decrement(results[i]);
                return NULL;
            }
            outputs[i] = array_of(python, results[i])->data;
        }
    }
    Pause pause = {python->release_gil, python->take_gil};
    int code = run(inputs, outputs, sizes, NULL, NULL, NULL, 0, (int)threads, &pause);
    if (code != 0) {
        for (int i = 0; i < N_OUTPUTS; i++)
            python->decrement(results[i]);
        return NULL;
    }
    if (N_OUTPUTS == 1)
        return results[0];
    Object *all = python->new_tuple(N_OUTPUTS);
    for (int i = 0; i < N_OUTPUTS; i++)
        if (all == NULL)
            python->decrement(results[i]);
        else
            python->set_item(all, i, results[i]);
    if (all == NULL)
        python->clear();
    return all;
}

/* PyCapsule_GetPointer, one in a process. */
static void *(*capsule_pointer)(Object *, const char *);

static Object *called(Object *self, Object *const *arguments, int64_t n, Object *names) {
    const Caller *found = capsule_pointer(self, NULL);
    Object *result = served(found, arguments, n, names);
    return result != NULL ? result
                          : found->python.call(found->python.slow, arguments, (size_t)n, names);
}

/* Return a function object for the table of the loader, of so many bytes; None where arrays are
 * unknown ones. What it needs lives as long as the process: so does the library. */
__attribute__((visibility("default"))) Object *LIBRARY(callable)(const Python *python,
                                                                 int64_t bytes) {
    if (bytes != (int64_t)sizeof *python)
        return NULL; /* the loader of another version, which finds that no object came back */
    Caller *made = is_known(python) ? calloc(1, sizeof *made) : NULL;
    Object *function = NULL;
    if (made != NULL) {
        made->python = *python;
        made->new_array = (NewArray)python->numpy[NEW_ARRAY];
        made->definition = (MethodDefinition){"call", called, METHOD_FLAGS, NULL};
        capsule_pointer = python->capsule_pointer;
        Object *capsule = python->new_capsule(made, NULL, NULL);
        if (capsule != NULL) {
            for (int i = 0; i < N_INPUTS + N_OUTPUTS; i++)
                python->increment(made->python.dtypes[i]);
            python->increment(made->python.slow);
            python->increment(made->python.out_name);
            python->increment(made->python.threads_name);
            function = python->new_function(&made->definition, capsule, NULL);
            python->decrement(capsule);
        }
    }
    if (function == NULL) {
        free(made);
        python->clear();
        function = python->none;
        python->increment(function);
    }
    return function;
}
