/* The inner loops of the Hamming search; multi_index.py says why no match is missed, kernel.py what comes back.
 *
 * Every number read from a column is checked before it is used as an index, so a damaged file causes an error and
 * never a read out of bounds. Buffers are only read; the GIL is released while they are searched.
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

#define DAMAGE "a bucket names something that is not there"

#define WORDS_MAX 64
#define AT_ONCE 16 /* Number of candidates compared at once. */
#define PAIRS_MAX (1 << 18) /* Number of buckets sorted at once; at least all those of a chunk. */
#define SORTED_FROM 5 /* Number of queries from which on their buckets are read in order. */
#define KEYS_AHEAD 24 /* Number of buckets whose bounds are prefetched. */
#define BUCKETS_AHEAD 10 /* Number of buckets of which candidates are prefetched, */
#define BYTES_AHEAD 512 /* and how many bytes of each. */
#define LINE 64
#define SURVIVOR_COST 64 /* Cost of comparing a whole digest, in candidates; as in kernel.py. */

#if defined(__GNUC__) || defined(__clang__)
#define FETCH(place) __builtin_prefetch(place)
#define POPCOUNT32(number) ((int64_t)__builtin_popcount(number))
#define POPCOUNT64(number) ((int64_t)__builtin_popcountll(number))
#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define CHECKS_PROCESSOR 1
#endif
#else
#define FETCH(place) ((void)(place))
#define INLINE static inline
INLINE int64_t POPCOUNT64(uint64_t x)
{
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (int64_t)((x * 0x0101010101010101u) >> 56);
}
#define POPCOUNT32(number) POPCOUNT64(number)
#endif

/* The columns of `ChunkTables`, and the numbers of `flips` by the number of bits set. */
typedef struct {
    const uint64_t *words;
    const uint32_t *starts, *rows;
    const uint16_t *near, *after, *masks;
    const int64_t *upto; /* By radius, how many of the masks it has. */
    uint64_t entries;
    int64_t size; /* Number of words of a digest. */
    int64_t chunks, length;
} Tables;

typedef struct {
    const uint64_t *words;
    const int64_t *thresholds;
    uint64_t *spent;
    uint64_t count, budget;
} Queries;

/* What one query asks of one chunk. */
typedef struct {
    uint64_t row;
    int64_t near_limit, both_limit; /* Bits that may differ in chunk and `near`, and in these and `after`. */
    uint32_t key;
    uint16_t near, after;
} Asked;

/* A bucket, and the place of who asks for it among all that are asked; in this order, as numbers are sorted. */
#define PAIR(key, place) ((uint64_t)(key) << 32 | (place))
#define KEY(pair) ((uint32_t)((pair) >> 32))
#define PLACE(pair) ((uint32_t)(pair))

/* Return 16 bits of a digest from bit `start` on, a multiple of 8, round its end once; on little-endian machines. */
INLINE uint16_t cut(const uint64_t *words, int64_t size, int64_t start)
{
    const unsigned char *bytes = (const unsigned char *)words;
    int64_t byte = start / 8, next = start / 8 + 1;
    byte -= byte < 8 * size ? 0 : 8 * size;
    next -= next < 8 * size ? 0 : 8 * size;
    return (uint16_t)(bytes[byte] | bytes[next] << 8);
}

/* Sort by key, of 8 or 16 bits; return where the result is, `pairs` or `other`. */
static uint64_t *by_key(uint64_t *pairs, uint64_t *other, uint64_t count, int64_t length)
{
    for (int shift = 32; shift < 32 + length; shift += 8) {
        uint64_t begin[256] = {0}, at = 0;
        for (uint64_t number = 0; number < count; number++)
            begin[pairs[number] >> shift & 255]++;
        for (int digit = 0; digit < 256; digit++) {
            uint64_t here = begin[digit];
            begin[digit] = at;
            at += here;
        }
        for (uint64_t number = 0; number < count; number++)
            other[begin[pairs[number] >> shift & 255]++] = pairs[number];
        uint64_t *sorted = other;
        other = pairs;
        pairs = sorted;
    }
    return pairs;
}

INLINE int64_t distance_of(const uint64_t *value, const uint64_t *query, int64_t size)
{
    if (size == 4)
        return POPCOUNT64(value[0] ^ query[0]) + POPCOUNT64(value[1] ^ query[1])
            + POPCOUNT64(value[2] ^ query[2]) + POPCOUNT64(value[3] ^ query[3]);
    int64_t distance = 0;
    for (int64_t word = 0; word < size; word++)
        distance += POPCOUNT64(value[word] ^ query[word]);
    return distance;
}

/* Return true if any of 16 numbers differs in at most `limit` bits; without branches, for vectors. */
INLINE int any_near(const uint16_t *numbers, uint16_t query, int64_t limit)
{
    uint16_t near = 0;
    for (int number = 0; number < AT_ONCE; number++) {
        uint16_t bits = numbers[number] ^ query;
        bits -= (bits >> 1) & 0x5555;
        bits = (bits & 0x3333) + ((bits >> 2) & 0x3333);
        bits = (bits + (bits >> 4)) & 0x0f0f;
        bits = (bits + (bits >> 8)) & 0x1f;
        /* The highest bit stays set where the count is within the limit. */
        near |= (uint16_t)((uint16_t)(0x8000 + limit) - bits);
    }
    return near >> 15;
}

INLINE Outcome search_bucket(
    const Tables *tables, int64_t chunk, const Asked *asked, uint32_t key, const Queries *queries, Hits *hits)
{
    const uint32_t *bounds = tables->starts + chunk * ((INT64_C(1) << tables->length) + 1) + key;
    uint64_t first = bounds[0], last = bounds[1], *spent = queries->spent + asked->row;
    if (first > last || last > tables->entries)
        return DAMAGED;
    *spent += last - first;
    if (first == last || *spent > queries->budget)
        return FINE;
    int64_t weight = POPCOUNT32(key ^ asked->key), threshold = queries->thresholds[asked->row];
    int64_t near_limit = asked->near_limit - weight, both_limit = asked->both_limit - weight;
    const uint64_t *query = queries->words + asked->row * (uint64_t)tables->size;
    uint64_t column = (uint64_t)chunk * tables->entries, end = (uint64_t)tables->chunks * tables->entries;
    for (uint64_t place = column + first, behind = column + last; place < behind; place += AT_ONCE) {
        uint16_t rest[AT_ONCE] = {0};
        const uint16_t *near = tables->near + place;
        if (end - place < AT_ONCE)
            near = memcpy(rest, near, (end - place) * sizeof *near);
        if (!any_near(near, asked->near, near_limit))
            continue;
        int64_t here = (int64_t)(behind - place < AT_ONCE ? behind - place : AT_ONCE);
        for (int64_t number = 0; number < here; number++) {
            int64_t differing = POPCOUNT32((uint32_t)(near[number] ^ asked->near));
            if (differing > near_limit)
                continue;
            differing += POPCOUNT32((uint32_t)(tables->after[place + (uint64_t)number] ^ asked->after));
            if (differing > both_limit)
                continue;
            uint64_t row = tables->rows[place + (uint64_t)number];
            if (row >= tables->entries)
                return DAMAGED;
            /* Reading its digest is a random memory access: if most entries get here, a scan is cheaper. */
            *spent += SURVIVOR_COST;
            if (*spent > queries->budget)
                return FINE;
            int64_t distance = distance_of(tables->words + row * (uint64_t)tables->size, query, tables->size);
            if (distance <= threshold && !add_hit(hits, asked->row, row, distance))
                return NO_MEMORY;
        }
    }
    return FINE;
}

INLINE void fetch_bucket(const Tables *tables, int64_t chunk, uint32_t key)
{
    const uint32_t *bounds = tables->starts + chunk * ((INT64_C(1) << tables->length) + 1) + key;
    uint64_t first = bounds[0], last = bounds[1];
    if (first >= last || last > tables->entries)
        return;
    const char *from = (const char *)(tables->near + (uint64_t)chunk * tables->entries + first);
    uint64_t bytes = (last - first) * sizeof *tables->near;
    for (uint64_t byte = 0; byte < bytes && byte < BYTES_AHEAD; byte += LINE)
        FETCH(from + byte);
    if (bytes <= BYTES_AHEAD)
        FETCH(from + bytes - 1);
}

/* What a threshold allows in a chunk. */
typedef struct {
    int64_t threshold, radius, near_limit, both_limit;
} Limits;

/* Return the number of flipped bits to search in a chunk; as in `Chunks.radii`. */
INLINE int64_t radius_of(const Tables *tables, int64_t threshold, int64_t chunk)
{
    int64_t total = threshold + 1;
    chunk %= tables->chunks;
    return (chunk + 1) * total / tables->chunks - chunk * total / tables->chunks - 1;
}

/* As `Chunks.limits`. */
static Limits limits_of(const Tables *tables, int64_t threshold, int64_t chunk)
{
    int64_t step = 16 / tables->length, radius = radius_of(tables, threshold, chunk), near = radius, both;
    for (int64_t number = 1; number <= step; number++)
        near += radius_of(tables, threshold, chunk + number) + 1;
    both = near;
    for (int64_t number = step + 1; number <= 2 * step; number++)
        both += radius_of(tables, threshold, chunk + number) + 1;
    return (Limits){threshold, radius, near, both};
}

/* Fill `asked` with what some queries from `*next` on ask of a chunk and `pairs` with their buckets, PAIRS_MAX at
 * most, and return the number of pairs. */
INLINE uint64_t ask_chunk(
    const Tables *tables, int64_t chunk, const Queries *queries, uint64_t *next, Asked *asked, uint64_t *pairs)
{
    uint64_t count = 0, place = 0;
    uint32_t keys = (UINT32_C(1) << tables->length) - 1;
    int64_t bit = chunk * tables->length + tables->length;
    Limits limits = {-1, -1, 0, 0};
    for (; *next < queries->count; ++*next) {
        if (queries->thresholds[*next] != limits.threshold)
            limits = limits_of(tables, queries->thresholds[*next], chunk);
        if (limits.radius < 0 || queries->spent[*next] > queries->budget)
            continue;
        uint64_t flips = (uint64_t)tables->upto[limits.radius < tables->length ? limits.radius : tables->length];
        if (count + flips > PAIRS_MAX)
            break;
        const uint64_t *words = queries->words + *next * (uint64_t)tables->size;
        Asked *here = asked + place;
        here->row = *next;
        here->key = cut(words, tables->size, bit - tables->length) & keys;
        here->near = cut(words, tables->size, bit);
        here->after = cut(words, tables->size, bit + 16);
        here->near_limit = limits.near_limit;
        here->both_limit = limits.both_limit;
        for (uint64_t number = 0; number < flips; number++)
            pairs[count++] = PAIR((here->key ^ tables->masks[number]) & keys, place);
        place++;
    }
    return count;
}

/* Search one chunk after another, and in it one bucket after another, so that what several queries ask for is
 * read once. */
INLINE Outcome probe_all(
    const Tables *tables, const Queries *queries, Asked *asked, uint64_t *pairs, uint64_t *other, Hits *hits)
{
    for (int64_t chunk = 0; chunk < tables->chunks; chunk++) {
        const uint32_t *table = tables->starts + chunk * ((INT64_C(1) << tables->length) + 1);
        for (uint64_t next = 0; next < queries->count;) {
            uint64_t begin = next, count = ask_chunk(tables, chunk, queries, &next, asked, pairs);
            uint64_t *sorted = next - begin < SORTED_FROM ? pairs : by_key(pairs, other, count, tables->length);
            for (uint64_t number = 0; number < count; number++) {
                if (number + KEYS_AHEAD < count)
                    FETCH(table + KEY(sorted[number + KEYS_AHEAD]));
                if (number + BUCKETS_AHEAD < count
                    && KEY(sorted[number + BUCKETS_AHEAD]) != KEY(sorted[number + BUCKETS_AHEAD - 1]))
                    fetch_bucket(tables, chunk, KEY(sorted[number + BUCKETS_AHEAD]));
                Outcome outcome = search_bucket(
                    tables, chunk, asked + PLACE(sorted[number]), KEY(sorted[number]), queries, hits);
                if (outcome != FINE)
                    return outcome;
            }
        }
    }
    return FINE;
}

#define SCAN_BLOCK 2048

INLINE Outcome scan_all(
    const uint64_t *words, uint64_t entries, int64_t size, const Queries *queries, Hits *hits)
{
    for (uint64_t begin = 0; begin < entries; begin += SCAN_BLOCK) {
        uint64_t end = entries - begin < SCAN_BLOCK ? entries : begin + SCAN_BLOCK;
        for (uint64_t query_row = 0; query_row < queries->count; query_row++) {
            const uint64_t *query = queries->words + query_row * (uint64_t)size;
            int64_t threshold = queries->thresholds[query_row];
            for (uint64_t row = begin; row < end; row++) {
                int64_t distance = distance_of(words + row * (uint64_t)size, query, size);
                if (distance <= threshold && !add_hit(hits, query_row, row, distance))
                    return NO_MEMORY;
            }
        }
    }
    return FINE;
}

typedef struct {
    const char *name;
    Outcome (*probe)(const Tables *, const Queries *, Asked *, uint64_t *, uint64_t *, Hits *);
    Outcome (*scan)(const uint64_t *, uint64_t, int64_t, const Queries *, Hits *);
} Loops;

/* The loops as compiled for some processors. */
#define VARIANT(name, attributes) \
    attributes static Outcome probe_##name( \
        const Tables *t, const Queries *q, Asked *a, uint64_t *p, uint64_t *o, Hits *h) \
    { \
        return probe_all(t, q, a, p, o, h); \
    } \
    attributes static Outcome scan_##name(const uint64_t *w, uint64_t e, int64_t s, const Queries *q, Hits *h) \
    { \
        return scan_all(w, e, s, q, h); \
    } \
    static const Loops name = {#name, probe_##name, scan_##name};

VARIANT(plain, )
#ifdef CHECKS_PROCESSOR
VARIANT(popcnt, __attribute__((target("popcnt"))))
VARIANT(avx2, __attribute__((target("avx2,popcnt"))))
#endif

/* Return the fastest for this processor. */
static const Loops *best_loops(void)
{
#ifdef CHECKS_PROCESSOR
    if (__builtin_cpu_supports("popcnt"))
        return __builtin_cpu_supports("avx2") ? &avx2 : &popcnt;
#endif
    return &plain;
}

/* Take contiguous arrays as bytes, after checking their length and alignment; return how many were taken. */
static int take(int count, PyObject *const *from, Py_buffer *view, const size_t *items, const char *const *names)
{
    for (int taken = 0; taken < count; taken++) {
        if (PyObject_GetBuffer(from[taken], &view[taken], PyBUF_SIMPLE) < 0)
            return taken;
        if ((size_t)view[taken].len % items[taken]
            || (view[taken].len && (uintptr_t)view[taken].buf % items[taken])) {
            PyErr_Format(PyExc_ValueError, "%s is not an aligned array of %d-byte numbers", names[taken],
                         (int)items[taken]);
            return taken + 1;
        }
    }
    return count;
}

enum { WORDS, STARTS, NEAR, AFTER, ROWS, MASKS, UPTO, QUERIES, THRESHOLDS, ARRAYS };

/* Return true if the arrays fit together, and fill `tables` and `queries` but for what they cost. */
static int lay_out(const Py_buffer *view, long long length, Tables *tables, Queries *queries)
{
    size_t keys, bits, entries, masks = (size_t)view[MASKS].len / 2;
    if (length != 8 && length != 16)
        return 0;
    keys = ((size_t)1 << length) + 1;
    tables->length = length;
    tables->chunks = (int64_t)((size_t)view[STARTS].len / 4 / keys);
    bits = (size_t)(tables->chunks * length);
    tables->size = (int64_t)(bits / 64);
    queries->count = (size_t)view[THRESHOLDS].len / 8;
    if ((size_t)view[STARTS].len / 4 % keys || !bits || bits % 64 || tables->size > WORDS_MAX
        || (size_t)view[WORDS].len % (bits / 8) || queries->count > UINT32_MAX
        || (size_t)view[QUERIES].len / 8 != queries->count * (size_t)tables->size)
        return 0;
    entries = (size_t)view[WORDS].len / (bits / 8);
    if (entries > UINT32_MAX || (size_t)view[ROWS].len / 4 != (size_t)tables->chunks * entries
        || (size_t)view[NEAR].len / 2 != (size_t)tables->chunks * entries
        || view[AFTER].len != view[NEAR].len || view[UPTO].len / 8 != length + 1)
        return 0;
    tables->words = view[WORDS].buf;
    tables->starts = view[STARTS].buf;
    tables->near = view[NEAR].buf;
    tables->after = view[AFTER].buf;
    tables->rows = view[ROWS].buf;
    tables->masks = view[MASKS].buf;
    tables->upto = view[UPTO].buf;
    tables->entries = entries;
    queries->words = view[QUERIES].buf;
    queries->thresholds = view[THRESHOLDS].buf;
    for (int64_t radius = 0; radius <= length; radius++)
        if (tables->upto[radius] < 0 || (size_t)tables->upto[radius] > masks
            || tables->upto[radius] > PAIRS_MAX)
            return 0;
    for (size_t row = 0; row < queries->count; row++)
        if (queries->thresholds[row] < 0 || queries->thresholds[row] > (int64_t)bits)
            return 0;
    return 1;
}

static PyObject *probe(PyObject *module, PyObject *arguments)
{
    static const char *const names[ARRAYS] = {"words", "starts", "near", "after", "rows", "masks", "upto",
                                              "queries", "thresholds"};
    static const size_t items[ARRAYS] = {8, 4, 2, 2, 4, 2, 8, 8, 8};
    PyObject *given[ARRAYS], *result = NULL, *found = NULL, *costs = NULL;
    Py_buffer view[ARRAYS];
    long long length, budget;
    int taken;
    Hits hits = {NULL, 0, 0};
    Tables tables;
    Queries queries;
    Asked *asked = NULL;
    uint64_t *pairs = NULL, flips = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOOOOOOOLL", &given[0], &given[1], &given[2], &given[3], &given[4],
                          &given[5], &given[6], &given[7], &given[8], &length, &budget))
        return NULL;
    queries.spent = NULL;
    taken = take(ARRAYS, given, view, items, names);
    if (PyErr_Occurred())
        goto done;
    if (budget < 0 || !lay_out(view, length, &tables, &queries)) {
        PyErr_SetString(PyExc_ValueError, "the arrays, the length or the budget don't fit together");
        goto done;
    }
    queries.budget = (uint64_t)budget;
    for (uint64_t row = 0; row < queries.count && flips < PAIRS_MAX; row++) {
        int64_t radius = (queries.thresholds[row] + tables.chunks) / tables.chunks - 1;
        flips += (uint64_t)tables.upto[radius < length ? radius : length];
    }
    if (flips > PAIRS_MAX)
        flips = PAIRS_MAX;
    queries.spent = calloc(queries.count + 1, sizeof *queries.spent);
    asked = malloc((queries.count + 1) * sizeof *asked);
    pairs = malloc((2 * flips + 1) * sizeof *pairs);
    if (!queries.spent || !asked || !pairs) {
        PyErr_NoMemory();
        goto done;
    }
    {
        Outcome outcome;
        const Loops *loops = best_loops();
        Py_BEGIN_ALLOW_THREADS
        outcome = loops->probe(&tables, &queries, asked, pairs, pairs + flips, &hits);
        Py_END_ALLOW_THREADS
        found = answer(outcome, &hits, DAMAGE);
    }
    if (found)
        costs = PyBytes_FromStringAndSize(
            (const char *)queries.spent, (Py_ssize_t)(queries.count * sizeof *queries.spent));
    if (costs)
        result = PyTuple_Pack(2, found, costs);
done:
    Py_XDECREF(found);
    Py_XDECREF(costs);
    free(hits.numbers);
    free(queries.spent);
    free(asked);
    free(pairs);
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    return result;
}

static PyObject *scan(PyObject *module, PyObject *arguments)
{
    static const char *const names[3] = {"words", "queries", "thresholds"};
    static const size_t items[3] = {8, 8, 8};
    PyObject *given[3], *result = NULL;
    Py_buffer view[3];
    long long size;
    int taken;
    Hits hits = {NULL, 0, 0};
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOL", &given[0], &given[1], &given[2], &size))
        return NULL;
    taken = take(3, given, view, items, names);
    if (PyErr_Occurred())
        goto done;
    {
        size_t count = (size_t)view[2].len / 8, entries;
        Outcome outcome;
        const Loops *loops = best_loops();
        if (size < 1 || size > WORDS_MAX || count > UINT32_MAX || (size_t)view[0].len % ((size_t)size * 8)
            || (size_t)view[1].len / 8 != count * (size_t)size
            || (entries = (size_t)view[0].len / ((size_t)size * 8)) > UINT32_MAX) {
            PyErr_SetString(PyExc_ValueError, "the arrays don't fit together");
            goto done;
        }
        Queries queries = {view[1].buf, view[2].buf, NULL, count, 0};
        Py_BEGIN_ALLOW_THREADS
        outcome = loops->scan(view[0].buf, entries, size, &queries, &hits);
        Py_END_ALLOW_THREADS
        result = answer(outcome, &hits, DAMAGE);
    }
done:
    free(hits.numbers);
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    return result;
}

static int prepare(PyObject *module)
{
    if (PyModule_AddStringConstant(module, "LOOPS", best_loops()->name) < 0)
        return -1;
    return add_error(module, "hashscan.lists.index._probe.DamagedFileError");
}

static PyMethodDef methods[] = {
    {"probe", probe, METH_VARARGS, "Search by chunks: hits as bytes, and what each query cost, in 8 bytes."},
    {"scan", scan, METH_VARARGS, "Compare with every entry: hits as bytes."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)prepare}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_probe", "The inner loops of the Hamming search.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__probe(void)
{
    return PyModuleDef_Init(&definition);
}
