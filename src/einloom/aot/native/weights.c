/* Constants in a file beside the library. The driver includes it where they are not linked in, and
 * defines WEIGHTS_FILE, CONSTANTS_BYTES, WEIGHTS_DIGEST.
 */
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { WEIGHTS_HEAD = 128 };

static char *mapped_weights = NULL;

static int map_weights(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe's other end may be missing */
    if (file < 0)
        return 0;
    struct stat status;
    char *found = MAP_FAILED;
    size_t size = (size_t)CONSTANTS_BYTES + WEIGHTS_HEAD;
    if (fstat(file, &status) == 0 && status.st_size == (off_t)size)
        found = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (found == MAP_FAILED)
        return 0;
    static const char head[] = "einloom weights " WEIGHTS_DIGEST "\n";
    if (memcmp(found, head, sizeof head - 1) != 0) {
        munmap(found, size);
        return 0;
    }
    char *none = NULL;
    /* Another thread may have been faster: then its mapping serves. */
    if (!__atomic_compare_exchange_n(&mapped_weights, &none, found + WEIGHTS_HEAD, 0,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        munmap(found, size);
    return 1;
}

/* The file lies beside the object that holds this function. */
static int map_beside(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size;
    (void)unused;
    uintptr_t here = (uintptr_t)&map_weights;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t start = (uintptr_t)info->dlpi_addr + (uintptr_t)part->p_vaddr;
        if (part->p_type != PT_LOAD || here < start || here >= start + part->p_memsz)
            continue;
        char path[PATH_MAX];
        const char *name = info->dlpi_name;
        if (name == NULL || *name == '\0')
            name = "/proc/self/exe";
        if (realpath(name, path) == NULL)
            return 1;
        char *slash = strrchr(path, '/');
        size_t room = sizeof path - (size_t)(slash + 1 - path);
        if (slash != NULL && room > sizeof WEIGHTS_FILE) {
            memcpy(slash + 1, WEIGHTS_FILE, sizeof WEIGHTS_FILE);
            map_weights(path);
        }
        return 1;
    }
    return 0;
}

static int has_weights(void) {
    if (__atomic_load_n(&mapped_weights, __ATOMIC_ACQUIRE) == NULL)
        dl_iterate_phdr(map_beside, NULL);
    return __atomic_load_n(&mapped_weights, __ATOMIC_ACQUIRE) != NULL;
}
