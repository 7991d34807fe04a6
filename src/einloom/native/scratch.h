/* Scratch memory: one buffer a thread, grown and reused, freed when the thread ends. */
#ifndef EINLOOM_SCRATCH_H
#define EINLOOM_SCRATCH_H

#include <stdint.h>

/* Kernels load whole cache lines. */
enum { SCRATCH_ALIGNMENT = 64 };

/* Prepare the key under which threads keep their buffers; return 0, or an error number. */
int scratch_prepare(void);

/* Return this thread's buffer of at least so many bytes, NULL with MemoryError set. What an earlier
 * call returned is gone if the buffer had to grow. */
char *scratch_of(int64_t bytes);

/* Return memory that is freed by PyMem_RawFree(*owner), NULL with MemoryError set. */
char *scratch_alone(int64_t bytes, void **owner);

#endif
