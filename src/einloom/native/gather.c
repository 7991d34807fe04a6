#include "gather.h"

#include <string.h>

/* Words of the argument block, behind the addresses. */
enum { EXTENT = GATHER_REFUSED + 1, STRIDE, INDEX_BYTES, IS_SIGNED, RUN, N_INDICES, N_RUNS, AXES };

static int64_t read_index(const char *at, int64_t bytes, int64_t is_signed) {
    switch (bytes) {
    case 1:
        return is_signed ? *(const int8_t *)at : *(const uint8_t *)at;
    case 2:
        return is_signed ? *(const int16_t *)at : *(const uint16_t *)at;
    case 4:
        return is_signed ? *(const int32_t *)at : (int64_t) * (const uint32_t *)at;
    default: /* what an int64_t does not hold is negative, and refused */
        return *(const int64_t *)at;
    }
}

/* Copy one row, run by run. */
static void copy_row(char *target, const char *row, int64_t run, int64_t n_axes,
                     const int64_t *axes) {
    if (n_axes == 0) {
        memcpy(target, row, (size_t)run);
        return;
    }
    for (int64_t i = 0; i < axes[0]; i++)
        copy_row(target + i * axes[2], row + i * axes[1], run, n_axes - 1, axes + 3);
}

void einloom_gather(int64_t *block, int64_t acc_0, int64_t lo, int64_t hi) {
    (void)acc_0;
    const char *table = (const char *)(intptr_t)block[0];
    const char *indices = (const char *)(intptr_t)block[1];
    char *target = (char *)(intptr_t)block[2];
    const int64_t *axes = block + AXES, *runs = axes + 3 * block[N_INDICES];
    for (int64_t position = lo; position < hi; position++) {
        int64_t rest = position, from = 0, to = 0;
        for (int64_t axis = block[N_INDICES] - 1; axis >= 0; axis--) {
            int64_t extent = axes[3 * axis], here = rest % extent;
            rest /= extent;
            from += here * axes[3 * axis + 1];
            to += here * axes[3 * axis + 2];
        }
        int64_t index = read_index(indices + from, block[INDEX_BYTES], block[IS_SIGNED]);
        if (index < 0 || index >= block[EXTENT]) {
            __atomic_store_n(&block[GATHER_REFUSED], 1, __ATOMIC_RELAXED);
            continue;
        }
        copy_row(target + to, table + index * block[STRIDE], block[RUN], block[N_RUNS], runs);
    }
}
