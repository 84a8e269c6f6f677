/* The inner loops of PDQ; kernel.py says what they answer, and has the same in numpy.
 *
 * Every position read from a table of weights is checked before a pixel is read by it. Buffers are only read, but
 * for the ones named `out`. To be compiled without fused multiply-adds: `rounded` repeats the reference's rounding.
 */
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SIDE 64
#define SMALL (SIDE * SIDE)
#define FREQUENCIES 16
#define BITS (FREQUENCIES * FREQUENCIES)
#define WAYS_MAX 4
#define STRIP 32 /* Columns whose sums are in registers at a time. */
#define WIDE 32 /* Columns of a picture reduced at a time. */
#define LANES 8 /* Rows blurred along themselves at a time. */
#define LONG_ROW (1 << 17) /* From this width on one at a time, since each takes memory. */
#define SAMPLES 128 /* As in kernel.py. */
#define COLUMNS 512 /* Measured at a time. */
#define BOXES 128 /* Along a side, for restorations. */
#define SUMMED 4 /* Lines summed at a time to their frequencies. */
#define MAP 6 /* Numbers that say how a restoration is sampled. */
#define BINS 32
#define TILES 16 /* Along a side; this and what follows as in kernel.py. */
#define TILE (SIDE / TILES)
#define EVEN 12.0f
#define BLACK 8.0f
#define WHITE 248.0f
#define LEAST_PRODUCT 1e-12

#if !defined(__GNUC__) && !defined(__clang__)
#error "vectors of numbers are written as gcc and clang know them"
#endif
#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define CHECKS_AVX2 1
#else
#define CHECKS_AVX2 0
#endif

/* Sums are kept in such: of an array, compilers write every sum to memory before they add to it again. */
typedef float Eight __attribute__((vector_size(32)));
#define VECTORS (STRIP / 8)

typedef struct {
    Eight part[VECTORS];
} Sums;

typedef struct {
    Eight part[SUMMED * FREQUENCIES / 8];
} LineSums;

#define ADD_FLOATS(sums, weight, from)                     \
    for (int part = 0; part < VECTORS; part++) {           \
        Eight values_;                                     \
        memcpy(&values_, (from) + 8 * part, sizeof values_); \
        (sums).part[part] += (weight) * values_;           \
    }

typedef int32_t EightInts __attribute__((vector_size(32)));

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLES 1
#endif
#endif

typedef struct {
    const uint8_t *pixels;
    int64_t height, width;
    ptrdiff_t stride; /* Bytes from one row to the next. */
} Plane;

typedef struct {
    const int32_t *spans; /* First pixel and number of pixels of each of 64 places of each way. */
    const float *weights;
    int64_t places, most; /* `most` weights are held for each place. */
} Taps;

typedef struct {
    double gap; /* Between the median and the next frequency above it. */
    int lowest, quality, highest, few, rows_and_columns, even;
    unsigned char above[WAYS_MAX * WAYS_MAX * BITS];
} Judged;

typedef struct {
    int64_t length, before, after; /* Positions a window reaches before and after its own. */
} Window;

static Window window_for(int64_t length)
{
    int64_t size = (length + 2 * SIDE - 1) / (2 * SIDE), after = (size + 2) / 2 - 1;
    Window window = {length, size - 1 - after, after};
    return window;
}

static int64_t kept_position(int64_t index, int64_t length)
{
    return (int64_t)(((double)index + 0.5) * (double)length / SIDE);
}

/* The weights by which a side's boxes are summed to its frequencies. */
typedef struct {
    int first, end; /* The boxes before, and those from there on, weigh nothing: no sum changes without them. */
    float weights[BOXES * FREQUENCIES];
} Transform;

/* Whether a restoration only moves rows, and columns, apart from each other. */
static int is_moved(const float *map)
{
    return map[1] == 0 && map[3] == 0;
}

static int has_rows_of(const float *map, const float *moved)
{
    /* As bytes, since even what is no number must equal itself. */
    return is_moved(map) && !memcmp(map + 4, moved + 4, 2 * sizeof *map);
}

/* Rows blurred downwards as they come. */
typedef struct {
    Window window;
    int64_t width, rows, newest, held;
    float *ring, *total;
} Down;

static int open_down(Down *down, int64_t height, int64_t width)
{
    memset(down, 0, sizeof *down);
    down->window = window_for(height);
    down->width = width;
    down->rows = down->window.before + down->window.after + 2;
    down->ring = malloc((size_t)(down->rows * width) * sizeof *down->ring);
    down->total = malloc((size_t)width * sizeof *down->total);
    return down->ring && down->total;
}

static void close_down(Down *down)
{
    free(down->ring);
    free(down->total);
}

typedef struct {
    Down first, second;
    float *blurred; /* Rows blurred along themselves. */
    float *twice; /* Rows blurred both ways, until there are enough for the next pass. */
    int64_t waiting, given;
} Rounding;

/* The 16x16 lowest frequencies, summed in the reference's order. */
static void in_order(const float *small, const float *dct, float *out)
{
    float half[FREQUENCIES][SIDE] = {{0}};
    memset(out, 0, BITS * sizeof *out);
    for (int frequency = 0; frequency < FREQUENCIES; frequency++)
        for (int row = 0; row < SIDE; row++)
            for (int column = 0; column < SIDE; column++)
                half[frequency][column] += dct[frequency * SIDE + row] * small[row * SIDE + column];
    for (int down = 0; down < FREQUENCIES; down++)
        for (int column = 0; column < SIDE; column++)
            for (int across = 0; across < FREQUENCIES; across++)
                out[down * FREQUENCIES + across] += half[down][column] * dct[across * SIDE + column];
}

#define FOR(name) name##_plain
#include "_pdq_loops.h"
#undef FOR

#if CHECKS_AVX2
/* A function's vectors are broken up for its own processor before it becomes part of another, so all are there
 * once more. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define FOR(name) name##_avx2
#define WIDENS /* In one instruction; without it, this way would take twice as long. */
#include "_pdq_loops.h"
#undef WIDENS
#undef FOR
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#define BEST(name) (__builtin_cpu_supports("avx2") ? name##_avx2 : name##_plain)
#else
#define BEST(name) name##_plain
#endif

static int take(PyObject *from, Py_buffer *view, int flags, size_t item, Py_ssize_t items, const char *name)
{
    if (PyObject_GetBuffer(from, view, flags) < 0)
        return 0;
    if ((size_t)view->len % item || (view->len && (uintptr_t)view->buf % item)
        || (items >= 0 && view->len != items * (Py_ssize_t)item)) {
        PyErr_Format(PyExc_ValueError, "%s is not an aligned array of the right size", name);
        PyBuffer_Release(view);
        return 0;
    }
    return 1;
}

/* Brightness, whose rows may lie apart. */
static int take_plane(PyObject *from, Py_buffer *view, Plane *plane)
{
    if (PyObject_GetBuffer(from, view, PyBUF_STRIDES) < 0)
        return 0;
    if (view->ndim != 2 || view->itemsize != 1 || view->shape[0] < 1 || view->shape[1] < 1
        || view->shape[0] > INT32_MAX || view->shape[1] > INT32_MAX
        || (view->strides[1] != 1 && view->shape[1] > 1)) {
        PyErr_SetString(PyExc_ValueError, "luma is not a picture of bytes with contiguous rows");
        PyBuffer_Release(view);
        return 0;
    }
    plane->pixels = view->buf;
    plane->height = view->shape[0];
    plane->width = view->shape[1];
    plane->stride = view->strides[0];
    return 1;
}

static int lay_out(Taps *taps, const Py_buffer *spans, const Py_buffer *weights, int64_t kept)
{
    taps->places = spans->len / 8;
    if (taps->places < SIDE || taps->places > WAYS_MAX * SIDE || taps->places % SIDE
        || (weights->len / 4) % taps->places)
        return 0;
    taps->spans = spans->buf;
    taps->weights = weights->buf;
    taps->most = weights->len / 4 / taps->places;
    for (int64_t place = 0; place < taps->places; place++) {
        int64_t first = taps->spans[2 * place], count = taps->spans[2 * place + 1];
        if (first < 0 || count < 0 || count > taps->most || first + count > kept)
            return 0;
    }
    return 1;
}

static PyObject *reduce(PyObject *module, PyObject *arguments)
{
    static const char *const names[5] = {"spans down", "weights down", "spans across", "weights across", "out"};
    static const size_t items[5] = {4, 4, 4, 4, 4};
    PyObject *luma, *given[5], *result = NULL;
    Py_buffer seen, view[5];
    Plane plane;
    int taken = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOOOO", &luma, &given[0], &given[1], &given[2], &given[3], &given[4])
        || !take_plane(luma, &seen, &plane))
        return NULL;
    for (; taken < 5; taken++)
        if (!take(given[taken], &view[taken], taken == 4 ? PyBUF_WRITABLE : PyBUF_SIMPLE, items[taken], -1,
                  names[taken]))
            goto done;
    {
        Taps down, across;
        if (!lay_out(&down, &view[0], &view[1], plane.height) || !lay_out(&across, &view[2], &view[3], plane.width)
            || view[4].len / 4 != down.places * across.places) {
            PyErr_SetString(PyExc_ValueError, "the weights don't fit the picture");
            goto done;
        }
        Py_BEGIN_ALLOW_THREADS
        BEST(reduce)(&plane, &down, &across, view[4].buf);
        Py_END_ALLOW_THREADS
        result = Py_NewRef(Py_None);
    }
done:
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    PyBuffer_Release(&seen);
    return result;
}

/* The digests of the turns whose bits stand at `places`, and all else that was judged; NULL with an exception. */
static PyObject *answer(const Judged *judged, const Py_buffer *places)
{
    Py_ssize_t bits = places->len / 4;
    const int32_t *place = places->buf;
    PyObject *digests;
    unsigned char *bytes = calloc(bits ? (size_t)(bits / 8) : 1, 1);
    if (!bytes)
        return PyErr_NoMemory();
    for (Py_ssize_t bit = 0; bit < bits; bit++)
        bytes[bit / 8] |= (unsigned char)(judged->above[place[bit]] << (7 - bit % 8));
    digests = PyBytes_FromStringAndSize((const char *)bytes, bits / 8);
    free(bytes);
    if (!digests)
        return NULL;
    return Py_BuildValue("(Ndiiiiii)", digests, judged->gap, judged->lowest, judged->quality, judged->highest,
                         judged->few, judged->rows_and_columns, judged->even);
}

/* Whether the places of some turns' bits lie among those of so many ways. */
static int in_places(const Py_buffer *view, int64_t ways)
{
    const int32_t *places = view->buf;
    if (view->len % (4 * BITS)) {
        PyErr_SetString(PyExc_ValueError, "the arrays don't fit together");
        return 0;
    }
    for (Py_ssize_t place = 0; place < view->len / 4; place++)
        if (places[place] < 0 || places[place] >= ways * ways * BITS) {
            PyErr_SetString(PyExc_ValueError, "a place lies outside of the bits");
            return 0;
        }
    return 1;
}

static PyObject *judge(PyObject *module, PyObject *arguments)
{
    PyObject *given[4], *result = NULL;
    Py_buffer view[4];
    static const char *const names[4] = {"small", "dct", "limits", "places"};
    static const size_t items[4] = {4, 4, 8, 4};
    static const Py_ssize_t numbers[4] = {-1, FREQUENCIES * SIDE, 4, -1};
    double slack;
    int taken = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOOd", &given[0], &given[1], &given[2], &given[3], &slack))
        return NULL;
    for (; taken < 4; taken++)
        if (!take(given[taken], &view[taken], PyBUF_SIMPLE, items[taken], numbers[taken], names[taken]))
            goto done;
    {
        Judged judged;
        int64_t ways = 0;
        for (int64_t number = 1; number <= WAYS_MAX; number++)
            if (view[0].len == number * number * SMALL * 4)
                ways = number;
        if (!ways) {
            PyErr_SetString(PyExc_ValueError, "the arrays don't fit together");
            goto done;
        }
        if (!in_places(&view[3], ways))
            goto done;
        BEST(judge)(view[0].buf, ways, view[1].buf, (float)slack, view[2].buf, &judged);
        result = answer(&judged, &view[3]);
    }
done:
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    return result;
}

/* `reduce` and `judge` at once. */
static PyObject *hashed(PyObject *module, PyObject *arguments)
{
    static const char *const names[7] = {"spans down", "weights down", "spans across", "weights across",
                                         "dct", "limits", "places"};
    static const size_t items[7] = {4, 4, 4, 4, 4, 8, 4};
    static const Py_ssize_t numbers[7] = {-1, -1, -1, -1, FREQUENCIES * SIDE, 4, -1};
    PyObject *luma, *given[7], *result = NULL;
    Py_buffer seen, view[7];
    Plane plane;
    double slack;
    int taken = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOOOOOOd", &luma, &given[0], &given[1], &given[2], &given[3], &given[4],
                          &given[5], &given[6], &slack)
        || !take_plane(luma, &seen, &plane))
        return NULL;
    for (; taken < 7; taken++)
        if (!take(given[taken], &view[taken], PyBUF_SIMPLE, items[taken], numbers[taken], names[taken]))
            goto done;
    {
        Taps down, across;
        Judged judged;
        float *small;
        if (!lay_out(&down, &view[0], &view[1], plane.height) || !lay_out(&across, &view[2], &view[3], plane.width)
            || down.places != across.places) {
            PyErr_SetString(PyExc_ValueError, "the weights don't fit the picture");
            goto done;
        }
        if (!in_places(&view[6], down.places / SIDE))
            goto done;
        if (!(small = malloc((size_t)(down.places * across.places) * sizeof *small))) {
            PyErr_NoMemory();
            goto done;
        }
        Py_BEGIN_ALLOW_THREADS
        BEST(reduce)(&plane, &down, &across, small);
        BEST(judge)(small, down.places / SIDE, view[4].buf, (float)slack, view[5].buf, &judged);
        Py_END_ALLOW_THREADS
        free(small);
        result = answer(&judged, &view[6]);
    }
done:
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    PyBuffer_Release(&seen);
    return result;
}

/* The digests of restorations of a picture reduced to boxes. */
static PyObject *restored(PyObject *module, PyObject *arguments)
{
    static const char *const names[3] = {"small", "maps", "dct"};
    static const Py_ssize_t numbers[3] = {BOXES * BOXES, -1, FREQUENCIES * SIDE};
    PyObject *given[3], *result = NULL;
    Py_buffer view[3];
    int taken = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOO", &given[0], &given[1], &given[2]))
        return NULL;
    for (; taken < 3; taken++)
        if (!take(given[taken], &view[taken], PyBUF_SIMPLE, 4, numbers[taken], names[taken]))
            goto done;
    if (view[1].len % (MAP * 4)) {
        PyErr_SetString(PyExc_ValueError, "the arrays don't fit together");
        goto done;
    }
    if ((result = PyBytes_FromStringAndSize(NULL, view[1].len / (MAP * 4) * (BITS / 8)))) {
        unsigned char *digests = (unsigned char *)PyBytes_AsString(result);
        Py_BEGIN_ALLOW_THREADS
        BEST(restored)(view[0].buf, view[1].buf, view[1].len / (MAP * 4), view[2].buf, digests);
        Py_END_ALLOW_THREADS
    }
done:
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    return result;
}

static PyObject *rounded(PyObject *module, PyObject *arguments)
{
    static const char *const names[3] = {"dct", "out", "out_frequencies"};
    static const Py_ssize_t numbers[3] = {FREQUENCIES * SIDE, SMALL, BITS};
    PyObject *luma, *given[3], *result = NULL;
    Py_buffer seen, view[3];
    Plane plane;
    int taken = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOO", &luma, &given[0], &given[1], &given[2])
        || !take_plane(luma, &seen, &plane))
        return NULL;
    for (; taken < 3; taken++)
        if (!take(given[taken], &view[taken], taken ? PyBUF_WRITABLE : PyBUF_SIMPLE, 4, numbers[taken],
                  names[taken]))
            goto done;
    {
        Rounding work;
        int64_t lanes = plane.width < LONG_ROW ? LANES : 1;
        int ready = open_down(&work.first, plane.height, plane.width);
        ready &= open_down(&work.second, plane.height, SIDE);
        work.blurred = malloc((size_t)(lanes * plane.width) * sizeof *work.blurred);
        work.twice = malloc((size_t)(lanes * plane.width) * sizeof *work.twice);
        work.waiting = work.given = 0;
        if (ready && work.blurred && work.twice) {
            Py_BEGIN_ALLOW_THREADS
            BEST(rounded)(&plane, &work, view[1].buf);
            in_order(view[1].buf, view[0].buf, view[2].buf);
            Py_END_ALLOW_THREADS
            result = Py_NewRef(Py_None);
        } else
            PyErr_NoMemory();
        close_down(&work.first);
        close_down(&work.second);
        free(work.blurred);
        free(work.twice);
    }
done:
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    PyBuffer_Release(&seen);
    return result;
}

/* The sums of at most 255 pixels are exact as floats, so it is no matter in which order they came. */
static void measured(uint32_t sum, uint32_t squares, int64_t count, float *mean, float *spread)
{
    float variance;
    *mean = (float)sum / (float)count;
    variance = (float)squares / (float)count - *mean * *mean;
    *spread = sqrtf(variance > 0 ? variance : 0);
}

static int64_t sampling(int64_t length)
{
    return length / SAMPLES > 1 ? length / SAMPLES : 1;
}

/* Mean and standard deviation of every n-th pixel of a line. */
static void measure(const uint8_t *pixels, int64_t length, ptrdiff_t apart, float *mean, float *spread)
{
    int64_t step = sampling(length), count = 0;
    uint32_t sum = 0, squares = 0;
    for (int64_t place = 0; place < length; place += step, count++) {
        uint32_t value = pixels[place * apart];
        sum += value;
        squares += value * value;
    }
    measured(sum, squares, count, mean, spread);
}

/* The same of all columns, as many at a time as fit into a core's cache. */
static void measure_columns(const Plane *plane, float *means, float *spreads)
{
    for (int64_t left = 0; left < plane->width; left += COLUMNS) {
        int64_t wide = plane->width - left < COLUMNS ? plane->width - left : COLUMNS, count = 0;
        uint32_t sums[COLUMNS] = {0}, squares[COLUMNS] = {0};
        for (int64_t row = 0; row < plane->height; row += sampling(plane->height), count++) {
            const uint8_t *pixels = plane->pixels + row * plane->stride + left;
            for (int64_t column = 0; column < wide; column++) {
                uint32_t value = pixels[column];
                sums[column] += value;
                squares[column] += value * value;
            }
        }
        for (int64_t column = 0; column < wide; column++)
            measured(sums[column], squares[column], count, means + left + column, spreads + left + column);
    }
}

static PyObject *lines(PyObject *module, PyObject *arguments)
{
    PyObject *luma, *given, *result = NULL;
    Py_buffer seen, view;
    Plane plane;
    int across;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OpO", &luma, &across, &given) || !take_plane(luma, &seen, &plane))
        return NULL;
    int64_t number = across ? plane.width : plane.height;
    if (take(given, &view, PyBUF_WRITABLE, 4, (Py_ssize_t)(2 * number), "out")) {
        float *means = view.buf, *spreads = means + number;
        if (across)
            measure_columns(&plane, means, spreads);
        else
            for (int64_t line = 0; line < number; line++)
                measure(plane.pixels + line * plane.stride, plane.width, 1, means + line, spreads + line);
        result = Py_NewRef(Py_None);
        PyBuffer_Release(&view);
    }
    PyBuffer_Release(&seen);
    return result;
}

static float edges(const Plane *plane)
{
    float mean, spread[4], least;
    measure(plane->pixels, plane->width, 1, &mean, &spread[0]);
    measure(plane->pixels + (plane->height - 1) * plane->stride, plane->width, 1, &mean, &spread[1]);
    measure(plane->pixels, plane->height, plane->stride, &mean, &spread[2]);
    measure(plane->pixels + plane->width - 1, plane->height, plane->stride, &mean, &spread[3]);
    least = spread[0];
    for (int edge = 1; edge < 4; edge++)
        least = spread[edge] < least ? spread[edge] : least;
    return least;
}

static PyObject *least_edge(PyObject *module, PyObject *luma)
{
    Py_buffer seen;
    Plane plane;
    float least;
    (void)module;
    if (!take_plane(luma, &seen, &plane))
        return NULL;
    least = edges(&plane);
    PyBuffer_Release(&seen);
    return PyFloat_FromDouble((double)least);
}

/* The picture within a picture: the same as borders.py, whose words are used here, with the same numbers. */
#define QUIET 2.0f
#define LOOSE 5.0f
#define NARROW 12
#define STILL 1.0f
#define ALIKE 6.0f
#define STEP 0.5f
#define NEAR 8
#define LEAST_SIDE 32
#define LEAST_SHARE 0.1
#define LEVELS 3
#define LOOKED_AT 16 /* Of a line's pixels, which mostly show already that it isn't still. */

typedef struct {
    int64_t top, bottom, left, right;
} Box;

/* The rows or columns of a box, each measured when it is first asked for. */
typedef struct {
    const Plane *plane;
    Box box;
    int across; /* Whether they are columns. */
    int64_t number, length;
    float *means, *spreads; /* As many as the longer side of the plane. */
    unsigned char *known;
} Lines;

static void open_lines(Lines *lines, Box box, int across)
{
    lines->box = box;
    lines->across = across;
    lines->number = across ? box.right - box.left : box.bottom - box.top;
    lines->length = across ? box.bottom - box.top : box.right - box.left;
    memset(lines->known, 0, (size_t)lines->number);
}

static const uint8_t *line_of(const Lines *lines, int64_t line, ptrdiff_t *apart)
{
    const Plane *plane = lines->plane;
    const uint8_t *corner = plane->pixels + lines->box.top * plane->stride + lines->box.left;
    *apart = lines->across ? plane->stride : 1;
    return corner + (lines->across ? line : line * plane->stride);
}

static void know(Lines *lines, int64_t line)
{
    ptrdiff_t apart;
    const uint8_t *pixels;
    if (lines->known[line])
        return;
    pixels = line_of(lines, line, &apart);
    measure(pixels, lines->length, apart, &lines->means[line], &lines->spreads[line]);
    lines->known[line] = 1;
}

static float mean_of(Lines *lines, int64_t line)
{
    know(lines, line);
    return lines->means[line];
}

static float spread_of(Lines *lines, int64_t line)
{
    know(lines, line);
    return lines->spreads[line];
}

static int is_unlike(Lines *lines, int64_t line, float mean)
{
    return fabsf(mean_of(lines, line) - mean) > ALIKE;
}

/* How many lines belong to a border, from `first` on in steps of 1 or -1. */
static int64_t border(Lines *lines, int64_t first, int64_t step, int outermost)
{
    float edge = mean_of(lines, first);
    for (int64_t line = 0; outermost && line <= NARROW && line < lines->number; line++)
        if (is_unlike(lines, first + line * step, edge) || spread_of(lines, first + line * step) >= LOOSE)
            return line;
    for (int64_t line = 0; line < lines->number; line++)
        if (is_unlike(lines, first + line * step, edge) || spread_of(lines, first + line * step) >= QUIET)
            return line;
    return lines->number;
}

/* How many of the first lines are as bright as the border, and vary much less than those behind them. */
static int64_t blurred(Lines *lines, int64_t first, int64_t step, float beside)
{
    float inner[NEAR];
    for (int64_t line = 0; line < NEAR; line++) {
        float spread = spread_of(lines, first + (NEAR + line) * step);
        int64_t place = line;
        for (; place > 0 && inner[place - 1] > spread; place--)
            inner[place] = inner[place - 1];
        inner[place] = spread;
    }
    for (int64_t line = 0; line < NEAR; line++)
        if (spread_of(lines, first + line * step) >= STEP * inner[NEAR / 2]
            || is_unlike(lines, first + line * step, beside))
            return line;
    return 0;
}

static void sharpen(Lines *lines, int64_t *start, int64_t *end)
{
    if (*end - *start <= 4 * NEAR)
        return;
    if (*start)
        *start += blurred(lines, *start, 1, mean_of(lines, *start - 1));
    if (*end < lines->number)
        *end -= blurred(lines, *end - 1, -1, mean_of(lines, *end));
}

static void inside_border(Lines *lines, int outermost, int64_t *start, int64_t *end)
{
    *start = border(lines, 0, 1, outermost);
    *end = lines->number;
    if (*start == lines->number) {
        *start = 0;
        return;
    }
    *end -= border(lines, lines->number - 1, -1, outermost);
    sharpen(lines, start, end);
}

/* Whether the pixels of a line that are looked at vary so much that all that are measured must. */
static int surely_varies(const Lines *lines, int64_t line)
{
    int64_t step = sampling(lines->length), count = (lines->length + step - 1) / step;
    ptrdiff_t apart;
    const uint8_t *pixels = line_of(lines, line, &apart);
    uint32_t sum = 0, squares = 0;
    if (count < LOOKED_AT)
        return 0;
    for (int64_t place = 0; place < LOOKED_AT; place++) {
        uint32_t value = pixels[place * (count / LOOKED_AT) * step * apart];
        sum += value;
        squares += value * value;
    }
    /* Together they lie no farther from their mean than from that of all. What is added is for rounding. */
    return (double)(LOOKED_AT * squares - sum * sum) / LOOKED_AT > 1.1 * STILL * STILL * (double)count;
}

static int is_still(Lines *lines, int64_t line)
{
    return (lines->known[line] || !surely_varies(lines, line)) && spread_of(lines, line) < STILL;
}

static void largest_run(Lines *lines, int outermost, int64_t *start, int64_t *end)
{
    int64_t first = 0;
    (void)outermost;
    if (lines->across) {
        /* All at once they are read row by row. */
        const Plane *plane = lines->plane;
        Plane part = {plane->pixels + lines->box.top * plane->stride + lines->box.left, lines->length,
                      lines->number, plane->stride};
        measure_columns(&part, lines->means, lines->spreads);
        memset(lines->known, 1, (size_t)lines->number);
    }
    *start = *end = 0;
    for (int64_t line = 0; line <= lines->number; line++)
        if (line == lines->number || is_still(lines, line)) {
            if (line - first > *end - *start) {
                *start = first;
                *end = line;
            }
            first = line + 1;
        }
    if (*start == *end) {
        *start = 0;
        *end = lines->number;
        return;
    }
    sharpen(lines, start, end);
}

typedef void (*Cut)(Lines *lines, int outermost, int64_t *start, int64_t *end);

static Box repeated(Lines *lines, Box box, Cut cut)
{
    for (int level = 0; level < LEVELS; level++) {
        Box inner = box;
        int64_t first, end;
        open_lines(lines, box, 0);
        cut(lines, level == 0, &first, &end);
        if (end - first < LEAST_SIDE)
            return box;
        inner.top = box.top + first;
        inner.bottom = box.top + end;
        open_lines(lines, inner, 1);
        cut(lines, level == 0, &first, &end);
        if (end - first < LEAST_SIDE)
            return box;
        inner.left = box.left + first;
        inner.right = box.left + end;
        if (!memcmp(&inner, &box, sizeof box))
            break;
        box = inner;
    }
    return box;
}

static int is_worth(Box box, const Plane *plane)
{
    int64_t rows = box.bottom - box.top, columns = box.right - box.left;
    return rows >= LEAST_SIDE && columns >= LEAST_SIDE
           && (double)(rows * columns) >= LEAST_SHARE * (double)plane->height * (double)plane->width
           && (rows != plane->height || columns != plane->width);
}

static PyObject *inner_boxes(PyObject *module, PyObject *luma)
{
    Py_buffer seen;
    Plane plane;
    Box found[2];
    int number = 0;
    PyObject *boxes;
    (void)module;
    if (!take_plane(luma, &seen, &plane))
        return NULL;
    if (plane.height >= LEAST_SIDE && plane.width >= LEAST_SIDE && edges(&plane) < LOOSE) {
        Lines lines;
        size_t most = (size_t)(plane.height > plane.width ? plane.height : plane.width);
        Box box = {0, plane.height, 0, plane.width};
        float *floats = malloc(2 * most * sizeof *floats + most);
        if (!floats) {
            PyBuffer_Release(&seen);
            return PyErr_NoMemory();
        }
        lines.plane = &plane;
        lines.means = floats;
        lines.spreads = floats + most;
        lines.known = (unsigned char *)(floats + 2 * most);
        box = repeated(&lines, box, inside_border);
        if (is_worth(box, &plane))
            found[number++] = box;
        box = repeated(&lines, box, largest_run);
        if (is_worth(box, &plane) && (!number || memcmp(&box, &found[0], sizeof box)))
            found[number++] = box;
        free(floats);
    }
    PyBuffer_Release(&seen);
    if (!(boxes = PyList_New(0)))
        return NULL;
    for (int place = 0; place < number; place++) {
        PyObject *box = Py_BuildValue("(LLLL)", (long long)found[place].top, (long long)found[place].bottom,
                                      (long long)found[place].left, (long long)found[place].right);
        if (!box || PyList_Append(boxes, box) < 0) {
            Py_XDECREF(box);
            Py_DECREF(boxes);
            return NULL;
        }
        Py_DECREF(box);
    }
    return boxes;
}

#include "_pdq_weights.h"

static PyMethodDef methods[] = {
    {"weights", weights, METH_VARARGS, "The tables of weights of a side, as bytes."},
    {"reduce", reduce, METH_VARARGS, "Sum up a picture by two tables of weights."},
    {"judge", judge, METH_VARARGS, "Digests, what they hang on, qualities and doubts of a reduced picture."},
    {"hashed", hashed, METH_VARARGS, "Sum up a picture, and judge what comes of it."},
    {"restored", restored, METH_VARARGS, "Digests of restorations of a picture reduced to boxes."},
    {"rounded", rounded, METH_VARARGS, "Reduce a picture in the reference's order."},
    {"lines", lines, METH_VARARGS, "Means and standard deviations of all rows or columns."},
    {"inner_boxes", inner_boxes, METH_O, "The picture inside a border, and its largest panel."},
    {"least_edge", least_edge, METH_O, "The least standard deviation of the four edges."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_pdq", "The inner loops of PDQ.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__pdq(void)
{
    return PyModuleDef_Init(&definition);
}
