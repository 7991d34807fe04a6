/* The functions of a library that do not depend on what it computes. The driver includes it last:
 * it names them by LIBRARY, and has defined ports, levels, cells and checks.
 */

/* The number of the level that this CPU runs, -1 where it runs none. The best comes first; the
 * variable EINLOOM_AOT_CPU may name another. */
static int level = -1;

/* What is done when the library is loaded, so that a first call need not: bytes of constants whose
 * pages are mapped, in 2 ms, and of packed ones that are made, in 2 ms; more of them are made by the
 * threads of the first call that reads them. No thread is started here: a process that loads a
 * library may be one that only forks. */
enum { TOUCHED_AT_LOAD = 64 << 20, PACKED_AT_LOAD = 8 << 20 };

static void prepare_constants(void) {
#ifdef WEIGHTS_FILE
    if (!has_weights()) /* a call looks for the file again, and says that it is missing */
        return;
#endif
#ifdef CONSTANTS_BYTES
    touch_pages(constants(), CONSTANTS_BYTES < TOUCHED_AT_LOAD ? CONSTANTS_BYTES : TOUCHED_AT_LOAD);
#endif
#ifdef PACKED_CONSTANTS
    if (levels[level].packed_bytes <= PACKED_AT_LOAD)
        has_packed(&levels[level], 1); /* else the first call that reads them fails */
#endif
}

__attribute__((constructor)) static void prepare(void) {
    const char *named = getenv("EINLOOM_AOT_CPU");
    int n_levels = (int)(sizeof levels / sizeof *levels), own = cpu_level();
    prepare_memory();
    for (int i = n_levels - 1; i >= 0; i--)
        if (runs_here(&levels[i], own))
            level = i;
    for (int i = 0; i < n_levels && named != NULL; i++)
        if (runs_here(&levels[i], own) && strcmp(named, levels[i].name) == 0)
            level = i;
    if (level >= 0)
        prepare_constants();
}

/* Strides that are NULL mean C order; so do entries that are. */
static int run(const void *const *inputs, void *const *outputs, const int64_t *sizes,
               const int64_t *const *input_strides, const int64_t *const *output_strides,
               void *workspace, int64_t workspace_bytes, int threads, const Pause *pause) {
    char *placed_inputs[N_INPUTS + 1], *placed_outputs[N_OUTPUTS];
    int64_t staged_inputs[N_INPUTS + 1], staged_outputs[N_OUTPUTS];
    int64_t shape[MAX_RANK], staged = 0, arrays = 0;
    int code = check(sizes);
    if (code != 0)
        return code;
    if (threads < 0)
        return LIBRARY_ERROR(THREADS);
    if (level < 0)
        return LIBRARY_ERROR(CPU);
    for (int i = 0; i < N_INPUTS; i++) {
        input_shape(i, sizes, shape);
        int64_t bytes = shape_bytes(shape, input_ranks[i], input_itemsizes[i]);
        if (bytes < 0)
            return LIBRARY_ERROR(SIZE);
        if (bytes > 0 && inputs[i] == NULL)
            return LIBRARY_ERROR(NULL_POINTER);
        arrays += bytes;
        if ((uintptr_t)inputs[i] % (uintptr_t)input_alignments[i] != 0)
            return LIBRARY_ERROR(ALIGNMENT);
        /* Kernels do not write to inputs. */
        placed_inputs[i] = (char *)(uintptr_t)inputs[i];
        staged_inputs[i] = -1;
        if (input_strides != NULL && input_strides[i] != NULL &&
            !is_c_order(shape, input_strides[i], input_ranks[i])) {
            staged_inputs[i] = staged;
            staged += aligned(bytes);
        }
    }
    for (int i = 0; i < N_OUTPUTS; i++) {
        output_shape(i, sizes, shape);
        int64_t bytes = shape_bytes(shape, output_ranks[i], output_itemsizes[i]);
        if (bytes < 0)
            return LIBRARY_ERROR(SIZE);
        if (bytes > 0 && outputs[i] == NULL)
            return LIBRARY_ERROR(NULL_POINTER);
        arrays += bytes;
        if ((uintptr_t)outputs[i] % (uintptr_t)output_alignments[i] != 0)
            return LIBRARY_ERROR(ALIGNMENT);
        placed_outputs[i] = outputs[i];
        staged_outputs[i] = -1;
        if (output_strides != NULL && output_strides[i] != NULL &&
            !is_c_order(shape, output_strides[i], output_ranks[i])) {
            staged_outputs[i] = staged;
            staged += aligned(bytes);
        }
    }
#ifdef WEIGHTS_FILE
    if (!has_weights())
        return LIBRARY_ERROR(WEIGHTS);
#endif
    Variant variant = levels[level].choice[cell_of(sizes)];
    if (variant == NULL)
        return LIBRARY_ERROR(SIZE);
    Request request = {placed_inputs, placed_outputs, sizes, NULL, threads, threads > 0, 0, 0, 0};
    int64_t need = staged + variant(&request);
#ifdef PACKED_CONSTANTS
    if (request.reads_packed && !has_packed(&levels[level], threads))
        return LIBRARY_ERROR(NO_MEMORY);
#endif
    _Alignas(ALIGNMENT) char stack[STACK_MEMORY];
    char *memory = stack;
    if (workspace != NULL) {
        if (workspace_bytes < need || (uintptr_t)workspace % ALIGNMENT != 0)
            return LIBRARY_ERROR(WORKSPACE);
        memory = workspace;
    } else if (need > STACK_MEMORY) {
        memory = own_memory(need, arrays + need - request.scratch);
        if (memory == NULL)
            return LIBRARY_ERROR(NO_MEMORY);
    }
    if (staged > 0) {
        for (int i = 0; i < N_INPUTS; i++)
            if (staged_inputs[i] >= 0) {
                char *source = placed_inputs[i];
                placed_inputs[i] = memory + staged_inputs[i];
                input_shape(i, sizes, shape);
                copy_strided(source, placed_inputs[i], shape, input_strides[i], input_ranks[i],
                             input_itemsizes[i], 1);
            }
        for (int i = 0; i < N_OUTPUTS; i++)
            if (staged_outputs[i] >= 0)
                placed_outputs[i] = memory + staged_outputs[i];
    }
    request.memory = memory + staged;
    void *paused = pause != NULL && request.is_long ? pause->begin() : NULL;
    int64_t ended = variant(&request);
    if (paused != NULL)
        pause->end(paused);
    if (ended < 0)
        return (int)-ended;
    for (int i = 0; staged > 0 && i < N_OUTPUTS; i++)
        if (staged_outputs[i] >= 0) {
            output_shape(i, sizes, shape);
            copy_strided(outputs[i], placed_outputs[i], shape, output_strides[i], output_ranks[i],
                         output_itemsizes[i], 0);
        }
    return 0;
}

int LIBRARY(run)(const void *const *inputs, void *const *outputs, const int64_t *extents,
                 int threads) {
    if (outputs == NULL || (inputs == NULL && N_INPUTS > 0) || (extents == NULL && N_SYMBOLS > 0))
        return LIBRARY_ERROR(NULL_POINTER);
    return run(inputs, outputs, extents, NULL, NULL, NULL, 0, threads, NULL);
}

int LIBRARY(run_with)(const void *const *inputs, void *const *outputs, const int64_t *extents,
                      const int64_t *const *input_strides, const int64_t *const *output_strides,
                      void *workspace, int64_t workspace_bytes, int threads) {
    if (outputs == NULL || (inputs == NULL && N_INPUTS > 0) || (extents == NULL && N_SYMBOLS > 0))
        return LIBRARY_ERROR(NULL_POINTER);
    return run(inputs, outputs, extents, input_strides, output_strides, workspace, workspace_bytes,
               threads, NULL);
}

int64_t LIBRARY(workspace_bytes)(const int64_t *extents, int threads) {
    if (extents == NULL && N_SYMBOLS > 0)
        return -LIBRARY_ERROR(NULL_POINTER);
    int code = check(extents);
    if (code == 0 && threads < 0)
        code = LIBRARY_ERROR(THREADS);
    if (code == 0 && level < 0)
        code = LIBRARY_ERROR(CPU);
    if (code != 0)
        return -code;
    Variant variant = levels[level].choice[cell_of(extents)];
    if (variant == NULL)
        return -LIBRARY_ERROR(SIZE);
    int64_t shape[MAX_RANK], staged = 0;
    for (int i = 0; i < N_INPUTS; i++) {
        input_shape(i, extents, shape);
        int64_t bytes = shape_bytes(shape, input_ranks[i], input_itemsizes[i]);
        if (bytes < 0)
            return -LIBRARY_ERROR(SIZE);
        staged += aligned(bytes);
    }
    for (int i = 0; i < N_OUTPUTS; i++) {
        output_shape(i, extents, shape);
        int64_t bytes = shape_bytes(shape, output_ranks[i], output_itemsizes[i]);
        if (bytes < 0)
            return -LIBRARY_ERROR(SIZE);
        staged += aligned(bytes);
    }
    Request request = {NULL, NULL, extents, NULL, threads, threads > 0, 0, 0, 0};
    return staged + variant(&request);
}

int LIBRARY(shape)(int output, const int64_t *extents, int64_t *shape) {
    if (output < 0 || output >= N_OUTPUTS)
        return LIBRARY_ERROR(OUTPUT);
    if (shape == NULL || (extents == NULL && N_SYMBOLS > 0))
        return LIBRARY_ERROR(NULL_POINTER);
    int code = check(extents);
    if (code == 0)
        output_shape(output, extents, shape);
    return code;
}

const char *LIBRARY(cpu)(void) { return level < 0 ? "" : levels[level].name; }

void LIBRARY(release)(void) { release_memory(); }

#include "python.c"
