/* Constants packed as the kernels of a level read them: panel after panel, each with all contracted
 * points. The driver includes it where a level wants some. They are packed once a process, when the
 * library is loaded or, where they are many, by the threads of the first call that reads them.
 */

/* Numbers as constants hold them. Packed elements are the last four kinds, or unsigned ones of the
 * same bytes as signed ones. */
typedef enum {
    KIND_HALF,
    KIND_BFLOAT,
    KIND_INT8,
    KIND_INT16,
    KIND_UINT8,
    KIND_UINT16,
    KIND_UINT32,
    KIND_UINT64,
    KIND_INT32,
    KIND_INT64,
    KIND_FLOAT,
    KIND_DOUBLE,
} Kind;

enum {
    PANELS_AT_ONCE = 8,
    POINTS_AHEAD = 8,
    HUGE_PAGE_BYTES = 2 << 20,
    /* Packed constants of so many bytes get huge pages, although one is not filled then: a usual page
     * costs 3 us when it is written first, a huge one 150 us. Measured 2026-11 (AVX2, in a virtual
     * machine): 4 MB were packed in 3.1 ms of usual pages and in 1.0 ms of huge ones. */
    HUGE_PACKED_BYTES = 512 << 10,
};

static const int kind_bytes[] = {2, 2, 1, 2, 1, 2, 4, 8, 4, 8, 4, 8};

/* Strides are in elements of the constant; complex elements are two numbers. */
struct Packing {
    int64_t source, target; /* bytes from the start of constants, and of the packed ones */
    int64_t size;           /* rows or columns of a panel */
    int64_t extent, stride; /* of the index that panels are cut from */
    Kind from, to;
    int from_parts, parts; /* 2 of complex numbers */
    int is_conjugated;
    int n_batch, n_inner; /* batch axes; digits and contracted ones */
    const int64_t *axes;  /* extent and stride of each, the slowest first */
};

static int64_t as_integer(const char *number, Kind kind) {
    switch (kind) {
    case KIND_INT8:
        return *(const int8_t *)(const void *)number;
    case KIND_INT16:
        return *(const int16_t *)(const void *)number;
    case KIND_UINT8:
        return *(const uint8_t *)(const void *)number;
    case KIND_UINT16:
        return *(const uint16_t *)(const void *)number;
    case KIND_INT32:
        return *(const int32_t *)(const void *)number;
    case KIND_UINT32:
        return *(const uint32_t *)(const void *)number;
    default:
        return *(const int64_t *)(const void *)number;
    }
}

static float of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float half_value(uint32_t bits) {
    uint32_t sign = (bits & 0x8000) << 16, exponent = bits >> 10 & 31, rest = bits & 0x3ff;
    if (exponent == 0) { /* the number of halves' smallest steps */
        float magnitude = (float)rest * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return of_bits(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | rest << 13);
}

static double as_real(const char *number, Kind kind) {
    switch (kind) {
    case KIND_HALF:
        return half_value(*(const uint16_t *)(const void *)number);
    case KIND_BFLOAT:
        return of_bits((uint32_t)*(const uint16_t *)(const void *)number << 16);
    case KIND_FLOAT:
        return *(const float *)(const void *)number;
    case KIND_DOUBLE:
        return *(const double *)(const void *)number;
    case KIND_UINT64:
        return (double)*(const uint64_t *)(const void *)number;
    default:
        return (double)as_integer(number, kind);
    }
}

static void convert(char *to, const char *from, const struct Packing *p, int is_negated) {
    int bytes = kind_bytes[p->to];
    if (p->from == p->to && !is_negated) {
        memcpy(to, from, (size_t)bytes);
    } else if (p->to == KIND_FLOAT || p->to == KIND_DOUBLE) {
        double real = as_real(from, p->from), value = is_negated ? -real : real;
        float narrow = (float)value;
        memcpy(to, p->to == KIND_FLOAT ? (const void *)&narrow : &value, (size_t)bytes);
    } else {
        int64_t value = as_integer(from, p->from); /* little-endian: its low bytes come first */
        memcpy(to, &value, (size_t)bytes);
    }
}

/* The offset of a point among axes, in elements. */
static int64_t offset_of(int64_t point, const int64_t *axes, int n_axes) {
    int64_t offset = 0;
    for (int axis = n_axes - 1; axis >= 0; axis--) {
        offset += point % axes[2 * axis] * axes[2 * axis + 1];
        point /= axes[2 * axis];
    }
    return offset;
}

static int64_t points_of(const int64_t *axes, int n_axes) {
    int64_t points = 1;
    for (int axis = 0; axis < n_axes; axis++)
        points *= axes[2 * axis];
    return points;
}

/* Pack one point of one panel. */
static void pack_point(const struct Packing *p, const char *from, char *to, int64_t n, int is_plain) {
    int64_t bytes = kind_bytes[p->to], from_bytes = kind_bytes[p->from];
    int64_t step = p->stride * from_bytes * p->from_parts;
    for (int part = 0; part < p->parts; part++, to += p->size * bytes) {
        int64_t known = part < p->from_parts ? n : 0;
        if (is_plain)
            memcpy(to, from, (size_t)(n * bytes));
        else
            for (int64_t i = 0; i < known; i++)
                convert(to + i * bytes, from + i * step + part * from_bytes, p,
                        part == 1 && p->is_conjugated);
        memset(to + known * bytes, 0, (size_t)((p->size - known) * bytes));
    }
}

/* Copy a point of a whole panel; of the usual sizes without a call. */
static inline void copy_point(char *to, const char *from, int64_t bytes) {
    if (bytes == 64)
        memcpy(to, from, 64);
    else if (bytes == 128)
        memcpy(to, from, 128);
    else if (bytes == 32)
        memcpy(to, from, 32);
    else
        memcpy(to, from, (size_t)bytes);
}

/* Fetch what is copied some points later: points are a large stride apart, which the CPU does not
 * foresee. Measured 2026-12 (AVX2), 12 MB of 16 columns a panel: 3.9 ms, with this 2.7 ms. */
static inline void fetch(const char *from, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += ALIGNMENT)
        __builtin_prefetch(from + at);
}

/* How many pieces a constant is packed in: some panels of a batch are one. */
static int64_t pieces_of(const struct Packing *p) {
    int64_t at_once = PANELS_AT_ONCE * p->size;
    return points_of(p->axes, p->n_batch) * ((p->extent + at_once - 1) / at_once);
}

/* Pack one piece. Several panels are packed at once: a point of one panel is often a cache line, and
 * the next one a large power of two away, which caches hold few of. Measured 2026-11 (AVX2),
 * 1024 x 1024 in float32: 1 panel at once 3.0 ms, 8 panels 1.2 ms. */
static void pack(const struct Packing *p, const char *constants, char *packed, int64_t piece) {
    const int64_t *inner = p->axes + 2 * p->n_batch;
    int64_t n_points = points_of(inner, p->n_inner), at_once = PANELS_AT_ONCE * p->size;
    int64_t element = kind_bytes[p->from] * p->from_parts;
    int64_t point_bytes = p->size * p->parts * kind_bytes[p->to];
    int64_t panel_bytes = point_bytes * n_points;
    int64_t n_pieces = (p->extent + at_once - 1) / at_once, n_panels = (p->extent + p->size - 1) / p->size;
    int64_t batch = piece / n_pieces, first = piece % n_pieces * at_once;
    int64_t end = p->extent - first < at_once ? p->extent : first + at_once;
    const char *start = constants + p->source + offset_of(batch, p->axes, p->n_batch) * element;
    char *to = packed + p->target + (batch * n_panels + first / p->size) * panel_bytes;
    int is_plain = p->from == p->to && p->parts == 1 && p->stride == 1;
    for (int64_t point = 0; point < n_points; point++) {
        const char *from = start + offset_of(point, inner, p->n_inner) * element;
        char *target = to + point * point_bytes;
        int64_t i = first;
        if (is_plain && point + POINTS_AHEAD < n_points)
            fetch(start + (offset_of(point + POINTS_AHEAD, inner, p->n_inner) + first) * element,
                  (end - first) * element);
        for (; is_plain && end - i >= p->size; i += p->size, target += panel_bytes)
            copy_point(target, from + i * element, point_bytes);
        for (; i < end; i += p->size, target += panel_bytes)
            pack_point(p, from + i * p->stride * element, target,
                       end - i < p->size ? end - i : p->size, is_plain);
    }
}

/* Pack pieces lo..hi of all that a level wants; a kernel's entry, so that threads share them. */
static void pack_pieces(int64_t *block, int64_t unused, int64_t lo, int64_t hi) {
    const Level *level = (const Level *)(uintptr_t)block[0];
    char *made = (char *)(uintptr_t)block[1];
    (void)unused;
    for (int i = 0; i < level->n_packings && hi > 0; i++) {
        int64_t n = pieces_of(&level->packings[i]);
        for (int64_t piece = lo < 0 ? 0 : lo; piece < n && piece < hi; piece++)
            pack(&level->packings[i], constants(), made, piece);
        lo -= n, hi -= n;
    }
}

static char *packed_constants = NULL;

static inline char *packed(void) {
    return __atomic_load_n(&packed_constants, __ATOMIC_ACQUIRE);
}

/* Pack what a level wants, once, on so many threads, or all available ones where 0; return 0 where
 * there is no memory. */
static int has_packed(const Level *level, int64_t threads) {
    if (level->n_packings == 0 || packed() != NULL)
        return 1;
    void *made;
    int is_huge = level->packed_bytes >= HUGE_PACKED_BYTES;
    int64_t bytes = level->packed_bytes;
    if (is_huge) /* whole pages, or the last would be none */
        bytes = (bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    if (posix_memalign(&made, is_huge ? HUGE_PAGE_BYTES : ALIGNMENT, (size_t)bytes) != 0)
        return 0;
    if (is_huge)
        want_huge_pages(made, bytes);
    int64_t block[] = {(int64_t)(uintptr_t)level, (int64_t)(uintptr_t)made};
    int64_t total = 0;
    for (int i = 0; i < level->n_packings; i++)
        total += pieces_of(&level->packings[i]);
    launch(pack_pieces, block, 0, total, threads > 0 ? threads : available_threads());
    char *none = NULL;
    /* Another thread may have been faster: then what it packed serves. No lock is held, so that
     * children of a fork meet none. */
    if (!__atomic_compare_exchange_n(&packed_constants, &none, (char *)made, 0, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
        free(made);
    return 1;
}
