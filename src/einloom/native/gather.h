/* Lookups of rows of a table, as a kernel: target[i..., j...] = table[indices[i...], j...].
 *
 * Its argument block is, in words: the addresses of table, indices and target; GATHER_REFUSED; then
 * the table's extent and its stride along the rows, the bytes of an index, whether it has a sign,
 * the bytes of a run (neighbours in table and target), the number of axes of the indices and of
 * axes of runs; for each axis of the indices its extent and its strides in indices and target; for
 * each axis of runs its extent and its strides in table and target. Strides are in bytes. The
 * range is of indices, in C order.
 */
#ifndef EINLOOM_GATHER_H
#define EINLOOM_GATHER_H

#include <stdint.h>

/* The word that is 1 once an index was outside of the table; nothing is written for it. */
enum { GATHER_REFUSED = 3 };

void einloom_gather(int64_t *block, int64_t acc_0, int64_t lo, int64_t hi);

#endif
