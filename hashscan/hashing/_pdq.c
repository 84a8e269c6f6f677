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
#define LANES 8 /* Rows blurred along themselves at a time. */
#define LONG_ROW (1 << 17) /* From this width on one at a time, since each takes memory. */
#define SAMPLES 128 /* As in kernel.py. */
#define COLUMNS 512 /* Measured at a time. */
#define BINS 32

#if !defined(__GNUC__) && !defined(__clang__)
#error "vectors of numbers are written as gcc and clang know them"
#endif
#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define WITH_AVX2 __attribute__((target("avx2")))
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

#define ADD_FLOATS(sums, weight, from)                     \
    for (int part = 0; part < VECTORS; part++) {           \
        Eight values_;                                     \
        memcpy(&values_, (from) + 8 * part, sizeof values_); \
        (sums).part[part] += (weight) * values_;           \
    }

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
    int lowest, quality, highest, few, rows_and_columns;
    unsigned char above[WAYS_MAX * WAYS_MAX * BITS];
} Judged;

/* out[place across][place down] = sums of the plane by both tables of weights. */
INLINE void reduce_body(const Plane *plane, const Taps *down, const Taps *across, float *out)
{
    float block[LANES][STRIP], turned[STRIP * WAYS_MAX * SIDE];
    int64_t lines = down->places;
    memset(out, 0, (size_t)(lines * across->places) * sizeof *out);
    for (int64_t left = 0; left < plane->width; left += STRIP) {
        int64_t wide = plane->width - left < STRIP ? plane->width - left : STRIP;
        for (int64_t line = 0; line < lines; line += LANES) {
            for (int lane = 0; lane < LANES; lane++) {
                const int32_t *span = down->spans + 2 * (line + lane);
                const float *weights = down->weights + (line + lane) * down->most;
                const uint8_t *row = plane->pixels + span[0] * plane->stride + left;
                float sums[STRIP] = {0};
                if (wide == STRIP)
                    for (int32_t tap = 0; tap < span[1]; tap++, row += plane->stride)
                        for (int place = 0; place < STRIP; place++)
                            sums[place] += weights[tap] * (float)row[place];
                else
                    for (int32_t tap = 0; tap < span[1]; tap++, row += plane->stride)
                        for (int64_t place = 0; place < wide; place++)
                            sums[place] += weights[tap] * (float)row[place];
                memcpy(block[lane], sums, sizeof sums);
            }
            for (int64_t place = 0; place < wide; place++)
                for (int lane = 0; lane < LANES; lane++)
                    turned[place * lines + line + lane] = block[lane][place];
        }
        for (int64_t column = 0; column < across->places; column++) {
            int64_t first = across->spans[2 * column], end = first + across->spans[2 * column + 1];
            const float *weights = across->weights + column * across->most - first;
            if (first < left)
                first = left;
            if (end > left + wide)
                end = left + wide;
            if (first >= end)
                continue;
            for (int64_t line = 0; line < lines; line += STRIP) {
                Sums sums;
                float *place = out + column * lines + line;
                memcpy(&sums, place, sizeof sums);
                for (int64_t pixel = first; pixel < end; pixel++)
                    ADD_FLOATS(sums, weights[pixel], turned + (pixel - left) * lines + line)
                memcpy(place, &sums, sizeof sums);
            }
        }
    }
}

/* Floats as whole numbers in the same order. */
INLINE int32_t ordered(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits < 0 ? bits ^ INT32_MAX : bits;
}

/* Whether each frequency lies above their median; how far the next above it lies.
 *
 * The median is the least number that half of the frequencies don't exceed, found bit by bit: that has no branches
 * to guess wrong, and compares many at a time.
 */
INLINE double above_median(const float *found, unsigned char *above)
{
    int32_t keys[BITS], median = INT32_MIN, next = INT32_MAX, least = 0;
    float at = 0, after = 0;
    for (int place = 0; place < BITS; place++)
        keys[place] = ordered(found[place]);
    for (int bit = 31; bit >= 0; bit--) {
        int32_t tried = (int32_t)((uint32_t)median ^ (UINT32_C(1) << bit));
        least = 0;
        for (int place = 0; place < BITS; place++)
            least += keys[place] < tried;
        if (least < BITS / 2)
            median = tried;
    }
    least = 0;
    for (int place = 0; place < BITS; place++) {
        least += keys[place] <= median;
        next = keys[place] > median && keys[place] < next ? keys[place] : next;
    }
    if (least > BITS / 2 || next == INT32_MAX)
        next = median;
    int32_t bits = median < 0 ? median ^ INT32_MAX : median;
    memcpy(&at, &bits, sizeof at);
    bits = next < 0 ? next ^ INT32_MAX : next;
    memcpy(&after, &bits, sizeof after);
    for (int place = 0; place < BITS; place++)
        above[place] = found[place] > at;
    return (double)after - (double)at;
}

/* Adds what one line of gradients counts for, at least, as it is and at most. */
INLINE void add_gradients(const float *one, const float *other, int number, float slack, int *totals)
{
    int low = 0, middle = 0, high = 0;
    for (int place = 0; place < number; place++) {
        float step = fabsf((one[place] - other[place]) * 100.0f / 255.0f);
        /* Of less than nothing the whole part is 0 too, unless the slack is so large that nothing is sure. */
        low += (int)(step - slack);
        middle += (int)step;
        high += (int)(step + slack);
    }
    totals[0] += low;
    totals[1] += middle;
    totals[2] += high;
}

/* The quality, and what it is at least and at most. Down or across is the same to it. */
INLINE void qualities(const float *small, int64_t stride, float slack, Judged *judged)
{
    int totals[3] = {0, 0, 0};
    for (int line = 0; line < SIDE; line++) {
        const float *values = small + line * stride;
        add_gradients(values, values + 1, SIDE - 1, slack, totals);
        if (line < SIDE - 1)
            add_gradients(values, values + stride, SIDE, slack, totals);
    }
    judged->lowest = totals[0] / 90 < 100 ? totals[0] / 90 : 100;
    judged->quality = totals[1] / 90 < 100 ? totals[1] / 90 : 100;
    judged->highest = totals[2] / 90 < 100 ? totals[2] / 90 : 100;
}

/* See structure.py. */
INLINE void doubt_body(const float *small, int64_t stride, const double *limits, Judged *judged)
{
    /* Several tables, or one count would wait for the last where neighbours are alike. */
    int counts[BINS] = {0}, tables[4][BINS] = {{0}}, most = 0;
    double columns[SIDE] = {0}, rows[SIDE], total = 0, squares = 0, explained = 0;
    for (int line = 0; line < SIDE; line++) {
        const float *values = small + line * stride;
        unsigned char bins[SIDE];
        double parts[LANES] = {0};
        for (int place = 0; place < SIDE; place++) {
            int step = (int)(values[place] + 0.5f);
            step = step > 0 ? step : 0;
            bins[place] = (unsigned char)((step < 255 ? step : 255) >> 3);
            columns[place] += values[place];
        }
        for (int place = 0; place < SIDE; place++)
            tables[place & 3][bins[place]]++;
        for (int place = 0; place < SIDE; place += LANES)
            for (int lane = 0; lane < LANES; lane++)
                parts[lane] += values[place + lane];
        rows[line] = 0;
        for (int lane = 0; lane < LANES; lane++)
            rows[line] += parts[lane];
        total += rows[line];
    }
    double mean = total / SMALL, apart[SIDE] = {0};
    for (int line = 0; line < SIDE; line++) {
        double of_row = rows[line] / SIDE - mean, of_column = columns[line] / SIDE - mean;
        explained += of_row * of_row + of_column * of_column;
        for (int place = 0; place < SIDE; place++) {
            double difference = small[line * stride + place] - mean;
            apart[place] += difference * difference;
        }
    }
    for (int place = 0; place < SIDE; place++)
        squares += apart[place];
    for (int bin = 0; bin < BINS; bin++)
        for (int table = 0; table < 4; table++)
            counts[bin] += tables[table][bin];
    for (int bin = 0; bin < BINS; bin++)
        if (counts[bin] > most)
            most = counts[bin];
    judged->few = 0;
    if ((double)most / SMALL > limits[0]) {
        double bits = 0;
        for (int bin = 0; bin < BINS; bin++)
            if (counts[bin])
                bits -= (double)counts[bin] / SMALL * log2((double)counts[bin] / SMALL);
        judged->few = bits < limits[1];
    }
    judged->rows_and_columns = explained / SIDE > limits[2] * (squares / SMALL);
}

/* small[way][column][way][row]; the signs of every other frequency change where a way is mirrored. */
INLINE void judge_body(const float *small, int64_t ways, const float *dct, float slack, const double *limits,
                       Judged *judged)
{
    /* Of one way alone, the other half of each strip stays zero. */
    int64_t lines = ways * SIDE, wide = (ways * FREQUENCIES + STRIP - 1) / STRIP * STRIP;
    float half[WAYS_MAX * SIDE * WAYS_MAX * FREQUENCIES], found[FREQUENCIES][WAYS_MAX * FREQUENCIES], whole[BITS];
    memset(half, 0, (size_t)(lines * wide) * sizeof *half);
    for (int64_t way = 0; way < ways; way++)
        for (int frequency = 0; frequency < FREQUENCIES; frequency++)
            for (int64_t line = 0; line < lines; line += STRIP) {
                Sums sums = {{{0}}};
                for (int column = 0; column < SIDE; column++)
                    ADD_FLOATS(sums, dct[frequency * SIDE + column], small + (way * SIDE + column) * lines + line)
                float *place = half + line * wide + way * FREQUENCIES + frequency;
                for (int lane = 0; lane < STRIP; lane++)
                    place[lane * wide] = sums.part[lane / 8][lane % 8];
            }
    for (int64_t down = 0; down < ways; down++) {
        for (int frequency = 0; frequency < FREQUENCIES; frequency++)
            for (int64_t start = 0; start < wide; start += STRIP) {
                Sums sums = {{{0}}};
                for (int row = 0; row < SIDE; row++)
                    ADD_FLOATS(sums, dct[frequency * SIDE + row], half + (down * SIDE + row) * wide + start)
                memcpy(found[frequency] + start, &sums, sizeof sums);
            }
        for (int64_t across = 0; across < ways; across++) {
            /* Frequencies count from 1. */
            for (int frequency = 0; frequency < FREQUENCIES; frequency++)
                for (int lane = 0; lane < FREQUENCIES; lane++) {
                    int turns = (int)((across & ~lane) ^ (down & ~frequency));
                    float value = found[frequency][across * FREQUENCIES + lane];
                    whole[frequency * FREQUENCIES + lane] = turns & 1 ? -value : value;
                }
            double gap = above_median(whole, judged->above + (across * ways + down) * BITS);
            if (!across && !down)
                judged->gap = gap;
        }
    }
    qualities(small, lines, slack, judged);
    doubt_body(small, lines, limits, judged);
}

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

/* Blur some rows along themselves, bytes or floats; all columns, or those that are kept. */
INLINE void across_body(const uint8_t *const *bytes, const float *const *floats, Window window, int lanes,
                        int kept, float *const *out)
{
    float total[LANES] = {0};
    int64_t given = 0;
    for (int64_t newest = 0; newest < window.length + window.after; newest++) {
        int64_t position = newest - window.after, oldest = position - window.before - 1;
        if (newest < window.length)
            for (int lane = 0; lane < lanes; lane++) {
                float value = bytes ? (float)bytes[lane][newest] : floats[lane][newest];
                total[lane] = newest ? total[lane] + value : value;
            }
        if (oldest >= 0)
            for (int lane = 0; lane < lanes; lane++)
                total[lane] -= bytes ? (float)bytes[lane][oldest] : floats[lane][oldest];
        if (position < 0)
            continue;
        int64_t last = newest < window.length ? newest : window.length - 1;
        float held = (float)(last - (oldest >= 0 ? oldest + 1 : 0) + 1);
        if (!kept)
            for (int lane = 0; lane < lanes; lane++)
                out[lane][position] = total[lane] / held;
        else
            for (; given < SIDE && kept_position(given, window.length) == position; given++)
                for (int lane = 0; lane < lanes; lane++)
                    out[lane][given] = total[lane] / held;
    }
}

/* Rows blurred downwards as they come. */
typedef struct {
    Window window;
    int64_t width, rows, newest, held;
    float *ring, *total;
} Down;

/* Take the next row, or NULL behind the last. Returns its position, of which `total` is the sum; or a negative. */
INLINE int64_t go_down(Down *down, const float *row)
{
    int64_t newest = down->newest++, position = newest - down->window.after;
    int64_t oldest = position - down->window.before - 1;
    float *total = down->total;
    if (row) {
        memcpy(down->ring + newest % down->rows * down->width, row, (size_t)down->width * sizeof *row);
        if (newest)
            for (int64_t place = 0; place < down->width; place++)
                total[place] += row[place];
        else
            memcpy(total, row, (size_t)down->width * sizeof *row);
    }
    if (oldest >= 0) {
        const float *gone = down->ring + oldest % down->rows * down->width;
        for (int64_t place = 0; place < down->width; place++)
            total[place] -= gone[place];
    }
    int64_t last = newest < down->window.length ? newest : down->window.length - 1;
    down->held = last - (oldest >= 0 ? oldest + 1 : 0) + 1;
    return position;
}

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

INLINE void second_pass(Rounding *work, int lanes, float *out)
{
    int64_t width = work->first.width, height = work->first.window.length;
    float columns[LANES][SIDE], *into[LANES];
    const float *rows[LANES];
    for (int lane = 0; lane < lanes; lane++) {
        /* Where there are fewer, the last is blurred again. */
        rows[lane] = work->twice + (lane < work->waiting ? lane : work->waiting - 1) * width;
        into[lane] = columns[lane];
    }
    across_body(NULL, rows, window_for(width), lanes, 1, into);
    int64_t steps = work->waiting;
    if (work->second.newest + work->waiting == height)
        steps += work->second.window.after;
    for (int64_t lane = 0; lane < steps; lane++) {
        int64_t position = go_down(&work->second, lane < work->waiting ? columns[lane] : NULL);
        for (; work->given < SIDE && kept_position(work->given, height) == position; work->given++)
            for (int place = 0; place < SIDE; place++)
                out[work->given * SIDE + place] = work->second.total[place] / (float)work->second.held;
    }
    work->waiting = 0;
}

INLINE void rounded_lanes(const Plane *plane, Rounding *work, int lanes, float *out)
{
    int64_t height = plane->height, width = plane->width;
    for (int64_t top = 0; top < height; top += lanes) {
        const uint8_t *rows[LANES];
        float *into[LANES];
        int64_t many = height - top < lanes ? height - top : lanes;
        for (int lane = 0; lane < lanes; lane++) {
            rows[lane] = plane->pixels + (top + (lane < many ? lane : many - 1)) * plane->stride;
            into[lane] = work->blurred + lane * width;
        }
        across_body(rows, NULL, window_for(width), lanes, 0, into);
        int64_t steps = many + (top + many == height ? work->first.window.after : 0);
        for (int64_t lane = 0; lane < steps; lane++) {
            int64_t position = go_down(&work->first, lane < many ? work->blurred + lane * width : NULL);
            if (position < 0)
                continue;
            float *row = work->twice + work->waiting++ * width, held = (float)work->first.held;
            for (int64_t place = 0; place < width; place++)
                row[place] = work->first.total[place] / held;
            if (work->waiting == lanes || position == height - 1)
                second_pass(work, lanes, out);
        }
    }
}

INLINE void rounded_body(const Plane *plane, Rounding *work, float *out)
{
    if (plane->width < LONG_ROW)
        rounded_lanes(plane, work, LANES, out);
    else
        rounded_lanes(plane, work, 1, out);
}

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

static void reduce_plain(const Plane *p, const Taps *d, const Taps *a, float *out) { reduce_body(p, d, a, out); }
static void judge_plain(const float *s, int64_t w, const float *d, float k, const double *l, Judged *out)
{
    judge_body(s, w, d, k, l, out);
}
static void rounded_plain(const Plane *p, Rounding *w, float *out) { rounded_body(p, w, out); }

#if CHECKS_AVX2
WITH_AVX2 static void reduce_avx2(const Plane *p, const Taps *d, const Taps *a, float *out)
{
    reduce_body(p, d, a, out);
}
WITH_AVX2 static void judge_avx2(const float *s, int64_t w, const float *d, float k, const double *l, Judged *out)
{
    judge_body(s, w, d, k, l, out);
}
WITH_AVX2 static void rounded_avx2(const Plane *p, Rounding *w, float *out) { rounded_body(p, w, out); }
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
    return Py_BuildValue("(Ndiiiii)", digests, judged->gap, judged->lowest, judged->quality, judged->highest,
                         judged->few, judged->rows_and_columns);
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
    static const Py_ssize_t numbers[4] = {-1, FREQUENCIES * SIDE, 3, -1};
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
    static const Py_ssize_t numbers[7] = {-1, -1, -1, -1, FREQUENCIES * SIDE, 3, -1};
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

static PyObject *least_edge(PyObject *module, PyObject *luma)
{
    Py_buffer seen;
    Plane plane;
    float mean, spread[4], least;
    (void)module;
    if (!take_plane(luma, &seen, &plane))
        return NULL;
    measure(plane.pixels, plane.width, 1, &mean, &spread[0]);
    measure(plane.pixels + (plane.height - 1) * plane.stride, plane.width, 1, &mean, &spread[1]);
    measure(plane.pixels, plane.height, plane.stride, &mean, &spread[2]);
    measure(plane.pixels + plane.width - 1, plane.height, plane.stride, &mean, &spread[3]);
    PyBuffer_Release(&seen);
    least = spread[0];
    for (int edge = 1; edge < 4; edge++)
        least = spread[edge] < least ? spread[edge] : least;
    return PyFloat_FromDouble((double)least);
}

static PyMethodDef methods[] = {
    {"reduce", reduce, METH_VARARGS, "Sum up a picture by two tables of weights."},
    {"judge", judge, METH_VARARGS, "Digests, what they hang on, qualities and doubts of a reduced picture."},
    {"hashed", hashed, METH_VARARGS, "Sum up a picture, and judge what comes of it."},
    {"rounded", rounded, METH_VARARGS, "Reduce a picture in the reference's order."},
    {"lines", lines, METH_VARARGS, "Means and standard deviations of all rows or columns."},
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
