/* The inner loops of the Euclidean search; see euclidean.py for why no match is missed.
 *
 * Every row read from a column is checked before it is used as an index, so a damaged file causes an error and never
 * a read out of bounds. Buffers are only read; the GIL is released while they are searched.
 */
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_hits.h"

#define DAMAGE "a leaf names a row that is not there"

#define AXES 16 /* Coordinates of an entry; as in euclidean.py. */
#define LEAF 128 /* Entries of a leaf; as in euclidean.py. */
#define LEAVES 512 /* Leaves whose boxes are compared together. */
#define SIZE_MAX_BYTES 1024 /* Longest vector: its squared distance fits into 32 bits. */
#define PIECE 48 /* Bytes compared before a vector may be abandoned. */
#define GROUP 16 /* Boxes compared at once; as in euclidean.py. */
#define PADDED(leaves) (((leaves) + GROUP - 1) / GROUP * GROUP)
#define AHEAD 4 /* Leaves that are loaded while others are compared. */
#define SCAN_BLOCK 1024

#if defined(__GNUC__) || defined(__clang__)
#define FETCH(place) __builtin_prefetch(place)
#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define WITH_AVX2 __attribute__((target("avx2")))
#define CHECKS_AVX2 1
#include <immintrin.h>
#endif
#else
#define FETCH(place) ((void)(place))
#define INLINE static inline
#endif
#ifndef CHECKS_AVX2
#define CHECKS_AVX2 0
#endif

typedef struct {
    const uint8_t *values, *codes, *low, *high;
    const uint32_t *rows;
    uint64_t entries, leaves;
    size_t size; /* Bytes of a vector. */
} Index;

/* Return the squared distance of two vectors, or some number over the limit if it is over the limit. */
INLINE uint32_t distance_within(const uint8_t *one, const uint8_t *other, size_t size, uint32_t limit)
{
    uint32_t sum = 0;
    size_t place = 0;
    while (place + PIECE <= size) {
        int32_t piece = 0;
        for (size_t step = 0; step < PIECE; step++) {
            int16_t d = (int16_t)(one[place + step] - other[place + step]);
            piece += d * d;
        }
        sum += (uint32_t)piece;
        place += PIECE;
        if (sum > limit)
            return sum;
    }
    for (; place < size; place++) {
        int32_t d = one[place] - other[place];
        sum += (uint32_t)(d * d);
    }
    return sum;
}

/* Add the squares of what lies between the query and each box to its sum, along some pairs of axes.
 *
 * A box of one point is an entry. The boxes of a pair of axes follow each other, two bytes each; the next pair begins
 * `stride` bytes later. More than 127 counts as 127, and a sum ends at 32,767: both can only let a box pass.
 * `count` is a multiple of GROUP. */
typedef void AddPairs(int16_t *sums, const uint8_t *low, const uint8_t *high, size_t stride, const uint8_t *query,
                      int pairs, size_t count);

static void add_pairs_plain(int16_t *sums, const uint8_t *low, const uint8_t *high, size_t stride,
                            const uint8_t *query, int pairs, size_t count)
{
    for (int pair = 0; pair < pairs; pair++)
        for (size_t box = 0; box < count; box++) {
            int32_t sum = sums[box];
            for (size_t axis = 0; axis < 2; axis++) {
                size_t place = (size_t)pair * stride + 2 * box + axis;
                int32_t of_query = query[2 * (size_t)pair + axis];
                int32_t under = low[place] - of_query, over = of_query - high[place];
                int32_t d = under > over ? under : over;
                d = d < 0 ? 0 : d > 127 ? 127 : d;
                sum += d * d;
            }
            sums[box] = (int16_t)(sum > INT16_MAX ? INT16_MAX : sum);
        }
}

#if CHECKS_AVX2
WITH_AVX2 static void add_pairs_avx2(int16_t *sums, const uint8_t *low, const uint8_t *high, size_t stride,
                                     const uint8_t *query, int pairs, size_t count)
{
    const __m256i most = _mm256_set1_epi8(127);
    for (size_t box = 0; box < count; box += GROUP) {
        __m256i sum = _mm256_loadu_si256((const __m256i *)(sums + box));
        for (int pair = 0; pair < pairs; pair++) {
            size_t place = (size_t)pair * stride + 2 * box;
            __m256i of_query = _mm256_set1_epi16((short)(query[2 * pair] | query[2 * pair + 1] << 8));
            __m256i under = _mm256_subs_epu8(_mm256_loadu_si256((const __m256i *)(low + place)), of_query);
            __m256i over = _mm256_subs_epu8(of_query, _mm256_loadu_si256((const __m256i *)(high + place)));
            __m256i d = _mm256_min_epu8(_mm256_or_si256(under, over), most);
            sum = _mm256_adds_epi16(sum, _mm256_maddubs_epi16(d, d));
        }
        _mm256_storeu_si256((__m256i *)(sums + box), sum);
    }
}
#endif

INLINE int least(const int16_t *sums)
{
    int16_t found = sums[0];
    for (int entry = 1; entry < LEAF; entry++)
        found = sums[entry] < found ? sums[entry] : found;
    return found;
}

INLINE Outcome search_leaf(
    const Index *index, uint64_t leaf, const uint8_t *code, int32_t limit, const uint8_t *query, uint64_t query_row,
    uint32_t threshold, Hits *hits, AddPairs *add)
{
    int16_t sums[LEAF] = {0};
    const uint8_t *codes = index->codes + leaf * (AXES * LEAF);
    add(sums, codes, codes, 2 * LEAF, code, AXES / 4, LEAF);
    if (least(sums) > limit)
        return FINE;
    codes += AXES / 2 * LEAF;
    add(sums, codes, codes, 2 * LEAF, code + AXES / 2, AXES / 4, LEAF);
    if (least(sums) > limit)
        return FINE;
    uint64_t begin = leaf * LEAF, count = index->entries - begin < LEAF ? index->entries - begin : LEAF;
    uint32_t near[LEAF];
    uint64_t kept = 0;
    for (uint64_t entry = 0; entry < count; entry++) {
        if (sums[entry] > limit)
            continue;
        uint32_t row = index->rows[begin + entry];
        if (row >= index->entries)
            return DAMAGED;
        near[kept++] = row;
        FETCH(index->values + row * (uint64_t)index->size);
    }
    for (uint64_t place = 0; place < kept; place++) {
        const uint8_t *value = index->values + near[place] * (uint64_t)index->size;
        uint32_t distance = distance_within(value, query, index->size, threshold);
        if (distance <= threshold && !add_hit(hits, query_row, near[place], distance))
            return NO_MEMORY;
    }
    return FINE;
}

/* Have the codes of a leaf loaded that are compared first. */
INLINE void fetch_leaf(const Index *index, uint64_t leaf)
{
    const uint8_t *codes = index->codes + leaf * (AXES * LEAF);
    for (size_t place = 0; place < AXES / 2 * LEAF; place += 64)
        FETCH(codes + place);
}

INLINE Outcome probe_query(
    const Index *index, const uint8_t *code, int32_t limit, const uint8_t *query, uint64_t query_row,
    uint32_t threshold, Hits *hits, AddPairs *add)
{
    size_t padded = (size_t)PADDED(index->leaves);
    for (size_t begin = 0; begin < padded; begin += LEAVES) {
        int16_t sums[LEAVES] = {0};
        size_t count = padded - begin < LEAVES ? padded - begin : LEAVES;
        add(sums, index->low + 2 * begin, index->high + 2 * begin, 2 * padded, code, AXES / 2, count);
        uint64_t near[LEAVES + AHEAD];
        size_t kept = 0;
        for (size_t leaf = 0; leaf < count && begin + leaf < index->leaves; leaf++)
            if (sums[leaf] <= limit)
                near[kept++] = begin + leaf;
        for (size_t place = 0; place < AHEAD; place++)
            near[kept + place] = kept ? near[kept - 1] : 0;
        for (size_t place = 0; place < kept; place++) {
            fetch_leaf(index, near[place + AHEAD]);
            Outcome outcome = search_leaf(index, near[place], code, limit, query, query_row, threshold, hits, add);
            if (outcome != FINE)
                return outcome;
        }
    }
    return FINE;
}

INLINE Outcome scan_all(
    const uint8_t *values, uint64_t entries, size_t size, const uint8_t *queries, uint64_t count,
    const int64_t *thresholds, Hits *hits)
{
    for (uint64_t begin = 0; begin < entries; begin += SCAN_BLOCK) {
        uint64_t end = entries - begin < SCAN_BLOCK ? entries : begin + SCAN_BLOCK;
        for (uint64_t query_row = 0; query_row < count; query_row++) {
            uint32_t threshold = (uint32_t)thresholds[query_row];
            for (uint64_t row = begin; row < end; row++) {
                uint32_t distance = distance_within(values + row * size, queries + query_row * size, size, threshold);
                if (distance <= threshold && !add_hit(hits, query_row, row, distance))
                    return NO_MEMORY;
            }
        }
    }
    return FINE;
}

typedef Outcome ProbeQuery(const Index *, const uint8_t *, int32_t, const uint8_t *, uint64_t, uint32_t, Hits *);
typedef Outcome ScanAll(const uint8_t *, uint64_t, size_t, const uint8_t *, uint64_t, const int64_t *, Hits *);

static Outcome probe_plain(
    const Index *i, const uint8_t *c, int32_t l, const uint8_t *q, uint64_t r, uint32_t t, Hits *out)
{
    return probe_query(i, c, l, q, r, t, out, add_pairs_plain);
}

static Outcome scan_plain(
    const uint8_t *v, uint64_t e, size_t s, const uint8_t *q, uint64_t c, const int64_t *t, Hits *out)
{
    return scan_all(v, e, s, q, c, t, out);
}

#if CHECKS_AVX2
WITH_AVX2 static Outcome probe_avx2(
    const Index *i, const uint8_t *c, int32_t l, const uint8_t *q, uint64_t r, uint32_t t, Hits *out)
{
    return probe_query(i, c, l, q, r, t, out, add_pairs_avx2);
}

WITH_AVX2 static Outcome scan_avx2(
    const uint8_t *v, uint64_t e, size_t s, const uint8_t *q, uint64_t c, const int64_t *t, Hits *out)
{
    return scan_all(v, e, s, q, c, t, out);
}
#endif

static ProbeQuery *best_probe(void)
{
#if CHECKS_AVX2
    if (__builtin_cpu_supports("avx2"))
        return probe_avx2;
#endif
    return probe_plain;
}

static ScanAll *best_scan(void)
{
#if CHECKS_AVX2
    if (__builtin_cpu_supports("avx2"))
        return scan_avx2;
#endif
    return scan_plain;
}

/* Take contiguous arrays as bytes, after checking length and alignment; return how many were taken. */
static int take(PyObject *const *from, Py_buffer *views, const size_t *items, int count)
{
    for (int taken = 0; taken < count; taken++) {
        if (PyObject_GetBuffer(from[taken], &views[taken], PyBUF_SIMPLE) < 0)
            return taken;
        if ((size_t)views[taken].len % items[taken]
            || (views[taken].len && (uintptr_t)views[taken].buf % items[taken])) {
            PyErr_Format(PyExc_ValueError, "array %d is not aligned, or of another type", taken);
            PyBuffer_Release(&views[taken]);
            return taken;
        }
    }
    return count;
}

/* Return if some vectors of `size` bytes have a threshold each. */
static int fit(const Py_buffer *queries, const Py_buffer *thresholds, size_t size)
{
    size_t count = (size_t)thresholds->len / 8;
    const int64_t *limits = thresholds->buf;
    if (count > UINT32_MAX || (size_t)queries->len / size != count || (size_t)queries->len % size)
        return 0;
    for (size_t row = 0; row < count; row++)
        if (limits[row] < 0 || limits[row] > INT32_MAX)
            return 0;
    return 1;
}

enum { VALUES, CODES, LOW, HIGH, ROWS, QUERY_CODES, LIMITS, QUERIES, THRESHOLDS, ARRAYS };

static PyObject *probe(PyObject *module, PyObject *arguments)
{
    static const size_t items[ARRAYS] = {1, 1, 1, 1, 4, 1, 8, 1, 8};
    PyObject *given[ARRAYS], *result = NULL;
    Py_buffer view[ARRAYS];
    long long size;
    Hits hits = {NULL, 0, 0};
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOOOOOOOL", &given[VALUES], &given[CODES], &given[LOW], &given[HIGH],
                          &given[ROWS], &given[QUERY_CODES], &given[LIMITS], &given[QUERIES], &given[THRESHOLDS],
                          &size))
        return NULL;
    int taken = take(given, view, items, ARRAYS);
    if (taken < ARRAYS)
        goto done;
    Index index = {view[VALUES].buf, view[CODES].buf, view[LOW].buf, view[HIGH].buf, view[ROWS].buf,
                   (uint64_t)view[ROWS].len / 4, 0, (size_t)size};
    index.leaves = (index.entries + LEAF - 1) / LEAF;
    size_t count = (size_t)view[THRESHOLDS].len / 8;
    const int64_t *limits = view[LIMITS].buf, *thresholds = view[THRESHOLDS].buf;
    int fits = size > 0 && size <= SIZE_MAX_BYTES && index.entries <= UINT32_MAX
        && (uint64_t)view[VALUES].len == index.entries * (uint64_t)size
        && (uint64_t)view[CODES].len == index.leaves * (AXES * LEAF)
        && (uint64_t)view[LOW].len == PADDED(index.leaves) * AXES && view[HIGH].len == view[LOW].len
        && (size_t)view[QUERY_CODES].len == count * AXES && (size_t)view[LIMITS].len / 8 == count
        && fit(&view[QUERIES], &view[THRESHOLDS], (size_t)size);
    for (size_t row = 0; fits && row < count; row++)
        fits = limits[row] >= 0 && limits[row] <= INT32_MAX;
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "the arrays don't fit together");
        goto done;
    }
    Outcome outcome = FINE;
    ProbeQuery *ask = best_probe();
    Py_BEGIN_ALLOW_THREADS
    for (size_t row = 0; row < count && outcome == FINE; row++)
        outcome = ask(&index, (const uint8_t *)view[QUERY_CODES].buf + row * AXES, (int32_t)limits[row],
                      (const uint8_t *)view[QUERIES].buf + row * index.size, row, (uint32_t)thresholds[row], &hits);
    Py_END_ALLOW_THREADS
    result = answer(outcome, &hits, DAMAGE);
done:
    free(hits.numbers);
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    return result;
}

static PyObject *scan(PyObject *module, PyObject *arguments)
{
    static const size_t items[3] = {1, 1, 8};
    PyObject *given[3], *result = NULL;
    Py_buffer view[3];
    long long size;
    Hits hits = {NULL, 0, 0};
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOL", &given[0], &given[1], &given[2], &size))
        return NULL;
    int taken = take(given, view, items, 3);
    if (taken < 3)
        goto done;
    if (size <= 0 || size > SIZE_MAX_BYTES || (size_t)view[0].len % (size_t)size
        || (size_t)view[0].len / (size_t)size > UINT32_MAX || !fit(&view[1], &view[2], (size_t)size)) {
        PyErr_SetString(PyExc_ValueError, "the arrays don't fit together");
        goto done;
    }
    Outcome outcome;
    ScanAll *ask = best_scan();
    Py_BEGIN_ALLOW_THREADS
    outcome = ask(view[0].buf, (uint64_t)view[0].len / (uint64_t)size, (size_t)size, view[1].buf,
                  (uint64_t)view[2].len / 8, view[2].buf, &hits);
    Py_END_ALLOW_THREADS
    result = answer(outcome, &hits, DAMAGE);
done:
    free(hits.numbers);
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    return result;
}

static int prepare(PyObject *module)
{
    return add_error(module, "hashscan.lists.index._euclid.DamagedFileError");
}

static PyMethodDef methods[] = {
    {"probe", probe, METH_VARARGS, "Search by leaves: hits as bytes."},
    {"scan", scan, METH_VARARGS, "Compare with every entry: hits as bytes."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)prepare}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_euclid", "The inner loops of the Euclidean search.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__euclid(void)
{
    return PyModuleDef_Init(&definition);
}
