/* The inner loops of the Hamming search; see chunks.py for why no match is missed, kernel.py for the results.
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

#define SKETCH_BITS 32
#define CHUNKS_MAX 64
#define CHUNK_BITS_MAX 24
#define WORDS_MAX 64
#define AHEAD 128 /* Number of buckets prefetched. */
#define SURVIVOR_COST 16 /* Cost of comparing a whole digest, in candidates; as in kernel.py. */

#if defined(__GNUC__) || defined(__clang__)
#define FETCH(place) __builtin_prefetch(place)
#define POPCOUNT32(number) ((int64_t)__builtin_popcount(number))
#define POPCOUNT64(number) ((int64_t)__builtin_popcountll(number))
#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define WITH_POPCNT __attribute__((target("popcnt")))
#define CHECKS_POPCNT 1
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
#ifndef CHECKS_POPCNT
#define CHECKS_POPCNT 0
#endif

typedef struct {
    const uint64_t *words;
    const uint32_t *starts, *rows, *sketch;
    uint64_t entries;
    int64_t size; /* Number of words of a digest. */
    int64_t chunks;
    int64_t first_bit[CHUNKS_MAX], length[CHUNKS_MAX];
    uint64_t table[CHUNKS_MAX]; /* Start of each chunk's buckets in starts. */
} Tables;

/* Return up to 32 bits of a digest from `start` on, wrapping round its end. */
static uint32_t cut(const uint64_t *words, int64_t size, int64_t start, int64_t length)
{
    int64_t word = start / 64, shift = start % 64;
    uint64_t bits = words[word] >> shift;
    if (shift + length > 64)
        bits |= words[(word + 1) % size] << (64 - shift);
    return (uint32_t)(bits & ((UINT64_C(1) << length) - 1));
}

/* Return the next larger number with as many bits set (Gosper's method). */
static uint64_t next_combination(uint64_t mask)
{
    uint64_t low = mask & (~mask + 1), carried = mask + low;
    return carried | (((mask ^ carried) / low) >> 2);
}

INLINE Outcome probe_query(
    const Tables *tables, const uint64_t *query, uint64_t query_row, int64_t threshold, uint64_t budget,
    Hits *hits, unsigned char *given_up)
{
    int64_t count = tables->chunks, every = (threshold + 1) / count, more = (threshold + 1) % count;
    uint64_t spent = 0;
#define RADIUS(chunk) (every - 1 + ((chunk) < more))
    for (int64_t chunk = 0; chunk < count; chunk++) {
        int64_t length = tables->length[chunk], radius = RADIUS(chunk);
        if (radius < 0)
            continue;
        if (radius > length)
            radius = length;
        const uint32_t *table = tables->starts + tables->table[chunk];
        const uint32_t *sketches = tables->sketch + (uint64_t)chunk * tables->entries;
        const uint32_t *rows = tables->rows + (uint64_t)chunk * tables->entries;
        uint32_t key = cut(query, tables->size, tables->first_bit[chunk], length);
        int64_t after = (tables->first_bit[chunk] + length) % (64 * tables->size);
        uint32_t sketch = cut(query, tables->size, after, SKETCH_BITS);
        int64_t next_length = tables->length[(chunk + 1) % count];
        uint32_t of_next = (uint32_t)((UINT64_C(1) << next_length) - 1);
        int64_t near = RADIUS(chunk), total = near, covered = 0;
        for (int64_t step = 1; covered < SKETCH_BITS; step++) {
            int64_t following = (chunk + step) % count;
            total += RADIUS(following) + 1;
            covered += tables->length[following];
            if (step == 1)
                near = total;
        }
        int64_t weight = 0;
        uint64_t mask = 0, end = UINT64_C(1) << length;
        while (weight <= radius) {
            uint32_t keys[AHEAD];
            int64_t weights[AHEAD];
            int filled = 0;
            while (filled < AHEAD && weight <= radius) {
                keys[filled] = key ^ (uint32_t)mask;
                weights[filled] = weight;
                FETCH(table + keys[filled]);
                filled++;
                mask = mask ? next_combination(mask) : end;
                if (mask >= end) {
                    weight++;
                    mask = (UINT64_C(1) << weight) - 1;
                }
            }
            for (int number = 0; number < filled; number++)
                if (table[keys[number]] < tables->entries)
                    FETCH(sketches + table[keys[number]]);
            for (int number = 0; number < filled; number++) {
                uint64_t first = table[keys[number]], last = table[keys[number] + 1];
                if (first > last || last > tables->entries)
                    return DAMAGED;
                spent += last - first;
                if (spent > budget) {
                    *given_up = 1;
                    return FINE;
                }
                int64_t near_left = near - weights[number], total_left = total - weights[number];
                for (uint64_t place = first; place < last; place++) {
                    uint32_t differing = sketches[place] ^ sketch;
                    if (POPCOUNT32(differing & of_next) > near_left || POPCOUNT32(differing) > total_left)
                        continue;
                    uint64_t row = rows[place];
                    if (row >= tables->entries)
                        return DAMAGED;
                    /* Reading its digest is a random memory access: if most entries get here, a scan is cheaper. */
                    spent += SURVIVOR_COST;
                    if (spent > budget) {
                        *given_up = 1;
                        return FINE;
                    }
                    const uint64_t *value = tables->words + row * (uint64_t)tables->size;
                    int64_t distance = 0;
                    for (int64_t word = 0; word < tables->size; word++)
                        distance += POPCOUNT64(value[word] ^ query[word]);
                    if (distance <= threshold && !add_hit(hits, query_row, row, distance))
                        return NO_MEMORY;
                }
            }
        }
    }
#undef RADIUS
    return FINE;
}

/* Buckets with each entry under its own key and under all keys that are one bit away; see multi_index.py. */
typedef struct {
    const uint64_t *words;
    const uint32_t *starts, *pairs; /* In pairs, the first number is the sketch, the second the row. */
    const uint16_t *first; /* The next chunk of the first eight pairs of each bucket, filled up with anything. */
    const unsigned char *crowded; /* A bit for each bucket: 1 if it has more pairs than that. */
    /* Three for each chunk: of the next chunk; of the next two, below 0 for none; 1 if the buckets one bit away
     * from the query's are read, too. */
    const int64_t *limits;
    uint64_t entries;
    int64_t size, chunks, threshold;
} NeighbourTable;

#define NEIGHBOUR_KEYS 65536
#define NEIGHBOUR_BITS 16
#define NEIGHBOUR_FIRST 8
#define NEIGHBOUR_AHEAD 32 /* Number of buckets prefetched. */

/* Return true if any of the first pairs of a bucket may match. No branches, since they could not be predicted. */
#if defined(__GNUC__) || defined(__clang__)
typedef uint16_t Eight __attribute__((vector_size(2 * NEIGHBOUR_FIRST)));

INLINE int may_be_near(const uint16_t *first, uint32_t of_query, uint32_t limit)
{
    Eight bits;
    uint64_t near[2];
    memcpy(&bits, first, sizeof bits);
    bits ^= (uint16_t)of_query;
    bits -= (bits >> 1) & 0x5555;
    bits = (bits & 0x3333) + ((bits >> 2) & 0x3333);
    bits = (bits + (bits >> 4)) & 0x0f0f;
    bits = (bits + (bits >> 8)) & 0x1f;
    /* The highest bit stays set where the count is within the limit. */
    bits = ((uint16_t)(0x8000 + limit) - bits) & 0x8000;
    memcpy(near, &bits, sizeof near);
    return (near[0] | near[1]) != 0;
}
#else
INLINE int may_be_near(const uint16_t *first, uint32_t of_query, uint32_t limit)
{
    int near = 0;
    for (int place = 0; place < NEIGHBOUR_FIRST; place++)
        near |= POPCOUNT32((first[place] ^ of_query) & (NEIGHBOUR_KEYS - 1)) <= (int64_t)limit;
    return near;
}
#endif

INLINE Outcome probe_table(
    const NeighbourTable *neighbours, const uint64_t *queries, uint64_t count, uint64_t budget,
    uint64_t *spent, Hits *hits)
{
    uint64_t every = neighbours->entries * (NEIGHBOUR_BITS + 1);
    /* Chunk by chunk, so that the buckets of one stay in the cache. */
    for (int64_t chunk = 0; chunk < neighbours->chunks; chunk++) {
        int64_t of_next = neighbours->limits[3 * chunk], of_both = neighbours->limits[3 * chunk + 1];
        const uint32_t *table = neighbours->starts + chunk * (NEIGHBOUR_KEYS + 1);
        const uint32_t *pairs = neighbours->pairs + 2 * (uint64_t)chunk * every;
        const uint16_t *beginnings = neighbours->first + chunk * NEIGHBOUR_KEYS * NEIGHBOUR_FIRST;
        const unsigned char *crowded = neighbours->crowded + chunk * NEIGHBOUR_KEYS / 8;
        int64_t following = (chunk + 1) % neighbours->chunks * NEIGHBOUR_BITS;
        int64_t word = chunk / 4, shift = chunk % 4 * NEIGHBOUR_BITS;
        int64_t word_after = following / 64, shift_after = following % 64;
        if (of_both < 0)
            continue;
        /* The query's own bucket, then those whose keys are one bit away. */
        int64_t flips = neighbours->limits[3 * chunk + 2] ? NEIGHBOUR_BITS : 0;
        for (int64_t flip = 0; flip <= flips; flip++) {
            uint64_t flipped = flip ? UINT64_C(1) << (shift + flip - 1) : 0;
            for (uint64_t query_row = 0; query_row < count; query_row++) {
                const uint64_t *query = queries + query_row * (uint64_t)neighbours->size;
                uint32_t key = (query[word] ^ flipped) >> shift & (NEIGHBOUR_KEYS - 1);
                uint32_t of_query = query[word_after] >> shift_after & (NEIGHBOUR_KEYS - 1);
                if (query_row + NEIGHBOUR_AHEAD < count) {
                    uint64_t later = query[word + NEIGHBOUR_AHEAD * neighbours->size] ^ flipped;
                    FETCH(beginnings + (later >> shift & (NEIGHBOUR_KEYS - 1)) * NEIGHBOUR_FIRST);
                }
                if (!may_be_near(beginnings + (uint64_t)key * NEIGHBOUR_FIRST, of_query, (uint32_t)of_next)
                    && !(crowded[key >> 3] >> (key & 7) & 1))
                    continue;
                uint64_t first = table[key], last = table[key + 1];
                if (first > last || last > every)
                    return DAMAGED;
                if (first == last || spent[query_row] > budget)
                    continue;
                spent[query_row] += last - first;
                uint32_t sketch = cut(query, neighbours->size, following, SKETCH_BITS);
                for (uint64_t place = first; place < last; place++) {
                    uint32_t differing = pairs[2 * place] ^ sketch;
                    if (POPCOUNT32(differing) > of_both || POPCOUNT32(differing & (NEIGHBOUR_KEYS - 1)) > of_next)
                        continue;
                    uint64_t row = pairs[2 * place + 1];
                    if (row >= neighbours->entries)
                        return DAMAGED;
                    spent[query_row] += SURVIVOR_COST;
                    const uint64_t *value = neighbours->words + row * (uint64_t)neighbours->size;
                    int64_t distance = 0;
                    for (int64_t word = 0; word < neighbours->size; word++)
                        distance += POPCOUNT64(value[word] ^ query[word]);
                    if (distance <= neighbours->threshold && !add_hit(hits, query_row, row, distance))
                        return NO_MEMORY;
                }
            }
        }
    }
    return FINE;
}

#define SCAN_BLOCK 2048

INLINE Outcome scan_all(
    const uint64_t *words, uint64_t entries, int64_t size, const uint64_t *queries, uint64_t count,
    const int64_t *thresholds, Hits *hits)
{
    for (uint64_t begin = 0; begin < entries; begin += SCAN_BLOCK) {
        uint64_t end = entries - begin < SCAN_BLOCK ? entries : begin + SCAN_BLOCK;
        for (uint64_t query_row = 0; query_row < count; query_row++) {
            const uint64_t *query = queries + query_row * (uint64_t)size;
            int64_t threshold = thresholds[query_row];
            for (uint64_t row = begin; row < end; row++) {
                const uint64_t *value = words + row * (uint64_t)size;
                int64_t distance = 0;
                if (size == 4)
                    distance = POPCOUNT64(value[0] ^ query[0]) + POPCOUNT64(value[1] ^ query[1])
                        + POPCOUNT64(value[2] ^ query[2]) + POPCOUNT64(value[3] ^ query[3]);
                else
                    for (int64_t word = 0; word < size; word++)
                        distance += POPCOUNT64(value[word] ^ query[word]);
                if (distance <= threshold && !add_hit(hits, query_row, row, distance))
                    return NO_MEMORY;
            }
        }
    }
    return FINE;
}

typedef Outcome ProbeQuery(
    const Tables *, const uint64_t *, uint64_t, int64_t, uint64_t, Hits *, unsigned char *);
typedef Outcome ProbeNeighbours(
    const NeighbourTable *, const uint64_t *, uint64_t, uint64_t, uint64_t *, Hits *);
typedef Outcome ScanAll(
    const uint64_t *, uint64_t, int64_t, const uint64_t *, uint64_t, const int64_t *, Hits *);

static Outcome probe_plain(
    const Tables *t, const uint64_t *q, uint64_t r, int64_t h, uint64_t b, Hits *out, unsigned char *g)
{
    return probe_query(t, q, r, h, b, out, g);
}

static Outcome neighbours_plain(
    const NeighbourTable *h, const uint64_t *q, uint64_t c, uint64_t b, uint64_t *s, Hits *out)
{
    return probe_table(h, q, c, b, s, out);
}

static Outcome scan_plain(
    const uint64_t *w, uint64_t e, int64_t s, const uint64_t *q, uint64_t c, const int64_t *t, Hits *out)
{
    return scan_all(w, e, s, q, c, t, out);
}

#if CHECKS_POPCNT
WITH_POPCNT static Outcome probe_popcnt(
    const Tables *t, const uint64_t *q, uint64_t r, int64_t h, uint64_t b, Hits *out, unsigned char *g)
{
    return probe_query(t, q, r, h, b, out, g);
}

WITH_POPCNT static Outcome neighbours_popcnt(
    const NeighbourTable *h, const uint64_t *q, uint64_t c, uint64_t b, uint64_t *s, Hits *out)
{
    return probe_table(h, q, c, b, s, out);
}

WITH_POPCNT static Outcome scan_popcnt(
    const uint64_t *w, uint64_t e, int64_t s, const uint64_t *q, uint64_t c, const int64_t *t, Hits *out)
{
    return scan_all(w, e, s, q, c, t, out);
}
#endif

static int has_popcnt(void)
{
#if CHECKS_POPCNT
    return __builtin_cpu_supports("popcnt");
#else
    return 0;
#endif
}

static ProbeQuery *best_probe(void)
{
#if CHECKS_POPCNT
    if (has_popcnt())
        return probe_popcnt;
#endif
    return probe_plain;
}

static ProbeNeighbours *best_neighbours(void)
{
#if CHECKS_POPCNT
    if (has_popcnt())
        return neighbours_popcnt;
#endif
    return neighbours_plain;
}

static ScanAll *best_scan(void)
{
#if CHECKS_POPCNT
    if (has_popcnt())
        return scan_popcnt;
#endif
    return scan_plain;
}

/* Take a contiguous array as bytes, after checking its length and alignment. */
static int take(PyObject *from, Py_buffer *view, size_t item, const char *name)
{
    if (PyObject_GetBuffer(from, view, PyBUF_SIMPLE) < 0)
        return 0;
    if ((size_t)view->len % item || (view->len && (uintptr_t)view->buf % item)) {
        PyErr_Format(PyExc_ValueError, "%s is not an aligned array of %d-byte numbers", name, (int)item);
        PyBuffer_Release(view);
        return 0;
    }
    return 1;
}

static int lay_out(Tables *tables, const Py_buffer *view, int64_t size, uint64_t entries)
{
    const int64_t *lengths = view[4].buf;
    uint64_t table = 0, numbers = (uint64_t)view[1].len / 4;
    int64_t bit = 0;
    memset(tables, 0, sizeof *tables);
    tables->chunks = (int64_t)((size_t)view[4].len / 8);
    if (tables->chunks < 2 || tables->chunks > CHUNKS_MAX)
        return 0;
    for (int64_t chunk = 0; chunk < tables->chunks; chunk++) {
        if (lengths[chunk] < 1 || lengths[chunk] > CHUNK_BITS_MAX)
            return 0;
        tables->length[chunk] = lengths[chunk];
        tables->first_bit[chunk] = bit;
        tables->table[chunk] = table;
        bit += lengths[chunk];
        table += (UINT64_C(1) << lengths[chunk]) + 1;
    }
    if (bit != 64 * size || table != numbers || entries > UINT32_MAX)
        return 0;
    if ((uint64_t)view[2].len / 4 != (uint64_t)tables->chunks * entries || view[2].len != view[3].len)
        return 0;
    tables->words = view[0].buf;
    tables->starts = view[1].buf;
    tables->rows = view[2].buf;
    tables->sketch = view[3].buf;
    tables->entries = entries;
    tables->size = size;
    return 1;
}

static PyObject *probe(PyObject *module, PyObject *arguments)
{
    static const char *const names[7] = {"words", "starts", "rows", "sketch", "lengths", "queries", "thresholds"};
    static const size_t items[7] = {8, 4, 4, 4, 8, 8, 8};
    PyObject *given[7], *result = NULL, *found = NULL, *marks = NULL;
    Py_buffer view[7];
    long long budget;
    int taken = 0;
    Hits hits = {NULL, 0, 0};
    unsigned char *given_up = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOOOOOL", &given[0], &given[1], &given[2], &given[3], &given[4],
                          &given[5], &given[6], &budget))
        return NULL;
    for (; taken < 7; taken++)
        if (!take(given[taken], &view[taken], items[taken], names[taken]))
            goto done;
    {
        size_t count = (size_t)view[6].len / 8, bits = 0;
        const int64_t *lengths = view[4].buf, *thresholds = view[6].buf;
        const uint64_t *queries = view[5].buf;
        Tables tables;
        Outcome outcome = FINE;
        ProbeQuery *ask = best_probe();
        for (size_t chunk = 0; chunk < (size_t)view[4].len / 8 && chunk < CHUNKS_MAX; chunk++)
            if (lengths[chunk] > 0 && lengths[chunk] <= CHUNK_BITS_MAX)
                bits += (size_t)lengths[chunk];
        size_t size = bits / 64;
        if (!size || size > WORDS_MAX || count > UINT32_MAX || (size_t)view[0].len % (size * 8)
            || (size_t)view[5].len / 8 != count * size || budget < 0
            || !lay_out(&tables, view, (int64_t)size, (uint64_t)((size_t)view[0].len / (size * 8)))) {
            PyErr_SetString(PyExc_ValueError, "the arrays don't fit together");
            goto done;
        }
        for (size_t row = 0; row < count; row++)
            if (thresholds[row] < 0 || thresholds[row] > (int64_t)bits) {
                PyErr_SetString(PyExc_ValueError, "a threshold lies outside of the digest's bits");
                goto done;
            }
        if (!(given_up = calloc(count ? count : 1, 1))) {
            PyErr_NoMemory();
            goto done;
        }
        Py_BEGIN_ALLOW_THREADS
        for (size_t row = 0; row < count && outcome == FINE; row++)
            outcome = ask(&tables, queries + row * size, row, thresholds[row], (uint64_t)budget, &hits,
                          &given_up[row]);
        Py_END_ALLOW_THREADS
        found = answer(outcome, &hits, DAMAGE);
        marks = found ? PyBytes_FromStringAndSize((const char *)given_up, (Py_ssize_t)count) : NULL;
        if (marks)
            result = PyTuple_Pack(2, found, marks);
    }
done:
    Py_XDECREF(found);
    Py_XDECREF(marks);
    free(hits.numbers);
    free(given_up);
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    return result;
}

static PyObject *probe_neighbours(PyObject *module, PyObject *arguments)
{
    static const char *const names[7] = {"words", "starts", "pairs", "first", "crowded", "limits", "queries"};
    static const size_t items[7] = {8, 4, 4, 2, 1, 8, 8};
    PyObject *given[7], *result = NULL, *found = NULL, *marks = NULL;
    Py_buffer view[7];
    long long threshold, budget;
    int taken = 0;
    Hits hits = {NULL, 0, 0};
    uint64_t *spent = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOOOOOLL", &given[0], &given[1], &given[2], &given[3], &given[4],
                          &given[5], &given[6], &threshold, &budget))
        return NULL;
    for (; taken < 7; taken++)
        if (!take(given[taken], &view[taken], items[taken], names[taken]))
            goto done;
    {
        size_t chunks = (size_t)view[5].len / 24, size = chunks / 4, count, entries;
        Outcome outcome;
        ProbeNeighbours *ask = best_neighbours();
        if (!size || size > WORDS_MAX || chunks % 4 || (size_t)view[5].len != chunks * 24
            || (size_t)view[0].len % (size * 8) || (size_t)view[6].len % (size * 8) || threshold < 0
            || budget < 0 || (entries = (size_t)view[0].len / (size * 8)) > UINT32_MAX / (NEIGHBOUR_BITS + 1)
            || (count = (size_t)view[6].len / (size * 8)) > UINT32_MAX
            || (size_t)view[1].len / 4 != chunks * (NEIGHBOUR_KEYS + 1)
            || (size_t)view[3].len != chunks * NEIGHBOUR_KEYS * NEIGHBOUR_FIRST * 2
            || (size_t)view[4].len != chunks * NEIGHBOUR_KEYS / 8
            || (size_t)view[2].len / 8 != chunks * entries * (NEIGHBOUR_BITS + 1)
            || (size_t)view[2].len % 8) {
            PyErr_SetString(PyExc_ValueError, "the arrays don't fit together");
            goto done;
        }
        NeighbourTable table = {view[0].buf, view[1].buf, view[2].buf, view[3].buf, view[4].buf, view[5].buf,
                                entries, (int64_t)size, (int64_t)chunks, threshold};
        if (!(spent = calloc(count ? count : 1, sizeof *spent))) {
            PyErr_NoMemory();
            goto done;
        }
        Py_BEGIN_ALLOW_THREADS
        outcome = ask(&table, view[6].buf, count, (uint64_t)budget, spent, &hits);
        Py_END_ALLOW_THREADS
        found = answer(outcome, &hits, DAMAGE);
        marks = found ? PyBytes_FromStringAndSize((const char *)spent, (Py_ssize_t)(count * sizeof *spent)) : NULL;
        if (marks)
            result = PyTuple_Pack(2, found, marks);
    }
done:
    Py_XDECREF(found);
    Py_XDECREF(marks);
    free(hits.numbers);
    free(spent);
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    return result;
}

static PyObject *scan(PyObject *module, PyObject *arguments)
{
    static const char *const names[3] = {"words", "queries", "thresholds"};
    PyObject *given[3], *result = NULL;
    Py_buffer view[3];
    long long size;
    int taken = 0;
    Hits hits = {NULL, 0, 0};
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOL", &given[0], &given[1], &given[2], &size))
        return NULL;
    for (; taken < 3; taken++)
        if (!take(given[taken], &view[taken], 8, names[taken]))
            goto done;
    {
        size_t count = (size_t)view[2].len / 8, entries;
        Outcome outcome;
        ScanAll *ask = best_scan();
        if (size < 1 || size > WORDS_MAX || count > UINT32_MAX || (size_t)view[0].len % ((size_t)size * 8)
            || (size_t)view[1].len / 8 != count * (size_t)size
            || (entries = (size_t)view[0].len / ((size_t)size * 8)) > UINT32_MAX) {
            PyErr_SetString(PyExc_ValueError, "the arrays don't fit together");
            goto done;
        }
        Py_BEGIN_ALLOW_THREADS
        outcome = ask(view[0].buf, entries, size, view[1].buf, count, view[2].buf, &hits);
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
    return add_error(module, "hashscan.lists.index._probe.DamagedFileError");
}

static PyMethodDef methods[] = {
    {"probe", probe, METH_VARARGS, "Search by chunks: hits as bytes, and a byte for each query that was given up."},
    {"halo", probe_neighbours, METH_VARARGS,
     "Search by a table of neighbours: hits as bytes, and what each query cost, in 8 bytes."},
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
