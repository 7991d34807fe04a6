/* Calls from CPython without ctypes. The library has no symbols of Python: the loader hands over the
 * addresses of the few functions used here, which every CPython since 3.11 has, and of NumPy's C API,
 * and gets a class of callable objects. What this cannot serve at once goes to the loader's function in
 * Python: errors, arrays of other layouts, results that overlap operands.
 */

#include <stddef.h>

enum {
    NUMPY_C_ORDER = 0x1,
    NUMPY_ALIGNED = 0x100,
    NUMPY_WRITEABLE = 0x400,
    TYPE_FLAGS = 1 << 18 | 1 << 11, /* Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL */
    TP_CALL = 50, TP_MEMBERS = 72,  /* of typeslots.h */
    T_SIZE = 19, READ_ONLY = 1,     /* of structmember.h */
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
typedef Object *(*Vectorcall)(Object *, Object *const *, size_t, Object *);

/* PyMemberDef, PyType_Slot, PyType_Spec. */
typedef struct {
    const char *name;
    int type;
    int64_t offset;
    int flags;
    const char *text;
} Member;

typedef struct {
    int slot;
    void *value;
} Slot;

typedef struct {
    const char *name;
    int bytes, item_bytes;
    unsigned flags;
    const Slot *slots;
} Specification;

typedef Object *(*NewArray)(Object *, Object *, int, const int64_t *, const int64_t *, void *, int,
                            Object *);

/* What the loader hands over, in its order. */
typedef struct {
    int64_t head_bytes; /* of an object */
    int64_t base_bytes; /* of one of the loader's class */
    Object *base;       /* that class */
    Object *array_type;
    Object *out_name;
    Object *threads_name;
    Object *none;
    void (*increment)(Object *);
    void (*decrement)(Object *);
    Object *(*call)(Object *, Object *const *, size_t, Object *);
    Object *(*call_slot)(Object *, Object *, Object *); /* PyVectorcall_Call */
    Object *(*new_type)(Specification *, Object *);
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
    Object *slow;
} Caller;

/* What objects of the library's own class have behind those of the loader's. */
typedef struct {
    Vectorcall call;
    const Caller *caller;
} Tail;

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

/* Where the tail of an object begins; 0 before there is a class. */
static int64_t tail_at = 0;

static Tail *tail_of(Object *object) { return (Tail *)(void *)((char *)object + tail_at); }

static Object *called(Object *self, Object *const *arguments, size_t n_flagged, Object *names) {
    const Caller *caller = tail_of(self)->caller;
    int64_t n = (int64_t)(n_flagged & SIZE_MAX >> 1);
    Object *result = served(caller, arguments, n, names);
    return result != NULL ? result
                          : caller->python.call(caller->slow, arguments, (size_t)n, names);
}

/* Return a class derived from the loader's whose objects are called by CPython's vectorcall; NULL
 * where the table, of so many bytes, is another version's, or arrays are unknown ones. */
__attribute__((visibility("default"))) Object *LIBRARY(type)(const Python *python, int64_t bytes) {
    if (bytes != (int64_t)sizeof *python || !is_known(python) ||
        (tail_at != 0 && tail_at != python->base_bytes))
        return NULL;
    tail_at = python->base_bytes;
    /* CPython keeps members of a class where they are. */
    static Member members[] = {{"__vectorcalloffset__", T_SIZE, 0, READ_ONLY, NULL}, {0}};
    members[0].offset = tail_at + (int64_t)offsetof(Tail, call);
    const Slot slots[] = {
        {TP_CALL, (void *)(uintptr_t)python->call_slot}, {TP_MEMBERS, members}, {0, NULL}};
    Specification own = {"einloom." LIBRARY_NAME, (int)(tail_at + (int64_t)sizeof(Tail)), 0,
                         TYPE_FLAGS, slots};
    Object *bases = python->new_tuple(1), *type = NULL;
    if (bases != NULL) {
        python->increment(python->base);
        python->set_item(bases, 0, python->base);
        type = python->new_type(&own, bases);
        python->decrement(bases);
    }
    if (type == NULL)
        python->clear();
    return type;
}

/* Let an object of that class, whose calls `slow` serves otherwise, be called. What it needs lives
 * as long as the process: so does the library. Return whether there is memory. */
__attribute__((visibility("default"))) int LIBRARY(attach)(const Python *python, Object *object,
                                                           Object *slow) {
    Caller *made = calloc(1, sizeof *made);
    if (made == NULL)
        return 0;
    *made = (Caller){*python, (NewArray)python->numpy[NEW_ARRAY], slow};
    for (int i = 0; i < N_INPUTS + N_OUTPUTS; i++)
        python->increment(made->python.dtypes[i]);
    python->increment(slow);
    python->increment(made->python.out_name);
    python->increment(made->python.threads_name);
    *tail_of(object) = (Tail){called, made};
    return 1;
}
