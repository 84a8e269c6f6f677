/* The inner loops of unpacking kept digests; see unpacking.py for their interface, packing.py for the format.
 *
 * Every offset is compared with the length of its buffer before it is used, so that a damaged column causes an error
 * and never a read out of bounds. The GIL is released during the loops.
 */
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define MOST_BITS 28 /* As in packing.py, like the two marks below: of digests of 8 bytes, and of all others. */
#define SHORT_MARK 254
#define OTHER_MARK 255
#define SHORT_SIZE 8
#define WHOLE_SIZE 32 /* Of a PDQ digest; only digests of this length are predicted. */

typedef enum { FINE, BEYOND, NO_GUESS, WRONG_LENGTH } Outcome;

static uint32_t table[8][256];

/* CRC-32 as in zlib, eight bytes at a time. */
static void make_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t sum = byte;
        for (int bit = 0; bit < 8; bit++)
            sum = sum & 1 ? sum >> 1 ^ 0xEDB88320u : sum >> 1;
        table[0][byte] = sum;
    }
    for (int ahead = 1; ahead < 8; ahead++)
        for (int byte = 0; byte < 256; byte++)
            table[ahead][byte] = table[ahead - 1][byte] >> 8 ^ table[0][table[ahead - 1][byte] & 0xFF];
}

static uint32_t crc(const unsigned char *data, uint64_t length, uint32_t sum)
{
    sum = ~sum;
    for (; length >= 8; length -= 8, data += 8) {
        uint32_t low = sum ^ (data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24);
        sum = table[7][low & 0xFF] ^ table[6][low >> 8 & 0xFF] ^ table[5][low >> 16 & 0xFF] ^ table[4][low >> 24]
            ^ table[3][data[4]] ^ table[2][data[5]] ^ table[1][data[6]] ^ table[0][data[7]];
    }
    for (; length; length--, data++)
        sum = sum >> 8 ^ table[0][(sum ^ *data) & 0xFF];
    return ~sum;
}

#define SIDE 16

/* A digest with the axes of its frequencies swapped: blocks of 8, 4, 2 and 1 change places. */
static void swap(const unsigned char *from, unsigned char *to)
{
    uint16_t rows[SIDE], mask = 0x00FF;
    for (int row = 0; row < SIDE; row++)
        rows[row] = (uint16_t)(from[2 * row] << 8 | from[2 * row + 1]);
    for (int width = 8; width; width >>= 1, mask = (uint16_t)(mask ^ mask << width))
        for (int row = 0; row < SIDE; row = ((row | width) + 1) & ~width) {
            uint16_t moved = (uint16_t)((rows[row] ^ rows[row | width] >> width) & mask);
            rows[row] ^= moved;
            rows[row | width] = (uint16_t)(rows[row | width] ^ moved << width);
        }
    for (int row = 0; row < SIDE; row++) {
        to[2 * row] = (unsigned char)(rows[row] >> 8);
        to[2 * row + 1] = (unsigned char)rows[row];
    }
}

typedef struct {
    const unsigned char *known, *mask; /* There is no prediction if mask is NULL. */
    int swapped;
} Guess;

static Outcome step_all(
    const unsigned char *data, uint64_t room, int64_t *at, uint64_t count, unsigned char *values, uint64_t size,
    const Guess *guess)
{
    unsigned char mark_of_size = size == SHORT_SIZE ? SHORT_MARK : OTHER_MARK;
    for (uint64_t row = 0; row < count; row++) {
        uint64_t place = (uint64_t)at[row];
        unsigned char *value = values + row * size;
        if (at[row] < 0 || place >= room)
            return BEYOND;
        unsigned char mark = data[place++];
        if (mark <= MOST_BITS) {
            /* Only digests of the full size are predicted, so that every bit index is inside them. */
            if (!guess->mask)
                return NO_GUESS;
            if (mark > room - place)
                return BEYOND;
            if (guess->swapped)
                swap(guess->known + row * WHOLE_SIZE, value);
            else
                memcpy(value, guess->known + row * WHOLE_SIZE, WHOLE_SIZE);
            for (int byte = 0; byte < WHOLE_SIZE; byte++)
                value[byte] ^= guess->mask[byte];
            for (unsigned char number = 0; number < mark; number++) {
                unsigned char bit = data[place + number];
                value[bit >> 3] ^= (unsigned char)(0x80 >> (bit & 7));
            }
            place += mark;
        } else {
            if (mark != mark_of_size)
                return WRONG_LENGTH;
            if (size > room - place)
                return BEYOND;
            memcpy(value, data + place, size);
            place += size;
        }
        at[row] = (int64_t)place;
    }
    return FINE;
}

static int take(PyObject *from, Py_buffer *view, size_t item, int writable)
{
    if (PyObject_GetBuffer(from, view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
        return 0;
    if ((size_t)view->len % item || (view->len && (uintptr_t)view->buf % item)) {
        PyErr_SetString(PyExc_TypeError, "not an aligned array of such numbers");
        PyBuffer_Release(view);
        return 0;
    }
    return 1;
}

static PyObject *sums(PyObject *module, PyObject *arguments)
{
    static const size_t items[5] = {1, 8, 8, 1, 1};
    PyObject *given[5], *result = NULL;
    Py_buffer view[5];
    int taken = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOOO", &given[0], &given[1], &given[2], &given[3], &given[4]))
        return NULL;
    for (; taken < 5; taken++)
        if (!take(given[taken], &view[taken], items[taken], 0))
            goto done;
    {
        const unsigned char *data = view[0].buf, *values = view[3].buf, *apart = view[4].buf;
        const int64_t *at = view[1].buf, *length = view[2].buf;
        int64_t room = view[0].len;
        size_t count = (size_t)view[1].len / 8;
        if (view[2].len != view[1].len || (size_t)view[4].len != count
            || (size_t)view[3].len != count * WHOLE_SIZE) {
            PyErr_SetString(PyExc_TypeError, "the arrays don't fit together");
            goto done;
        }
        if (!(result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * 4))))
            goto done;
        char *out = PyBytes_AsString(result);
        int beyond = 0;
        Py_BEGIN_ALLOW_THREADS
        for (size_t row = 0; row < count; row++) {
            if (at[row] < 0 || length[row] < 0 || at[row] > room || length[row] > room - at[row]) {
                beyond = 1;
                break;
            }
            uint32_t sum = crc(data + at[row], (uint64_t)length[row], 0);
            if (apart[row])
                sum = crc(values + row * WHOLE_SIZE, WHOLE_SIZE, sum);
            memcpy(out + row * 4, &sum, 4);
        }
        Py_END_ALLOW_THREADS
        if (beyond) {
            PyErr_SetString(PyExc_IndexError, "beyond the end");
            Py_CLEAR(result);
        }
    }
done:
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    return result;
}

static PyObject *step(PyObject *module, PyObject *arguments)
{
    static const size_t items[5] = {1, 8, 1, 1, 1};
    PyObject *given[5], *result = NULL;
    Py_buffer view[5];
    long long size;
    int taken = 0, guessed, swapped;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOLpOpO", &given[0], &given[1], &given[2], &size, &guessed, &given[3],
                          &swapped, &given[4]))
        return NULL;
    for (; taken < 5; taken++)
        if (!take(given[taken], &view[taken], items[taken], taken == 1 || taken == 2))
            goto done;
    {
        size_t count = (size_t)view[1].len / 8;
        Guess guess = {view[3].buf, guessed ? view[4].buf : NULL, swapped};
        Outcome outcome;
        if (size < 1 || (size_t)view[2].len % (size_t)size || (size_t)view[2].len / (size_t)size != count
            || (guessed
                && (size != WHOLE_SIZE || view[3].len != view[2].len || view[4].len != WHOLE_SIZE))) {
            PyErr_SetString(PyExc_TypeError, "the arrays don't fit together");
            goto done;
        }
        Py_BEGIN_ALLOW_THREADS
        outcome = step_all(
            view[0].buf, (uint64_t)view[0].len, view[1].buf, count, view[2].buf, (uint64_t)size, &guess);
        Py_END_ALLOW_THREADS
        if (outcome == BEYOND)
            PyErr_SetString(PyExc_IndexError, "beyond the end");
        else if (outcome == NO_GUESS)
            PyErr_SetString(PyExc_ValueError, "what is kept of a picture refers to a digest that it hasn't");
        else if (outcome == WRONG_LENGTH)
            PyErr_SetString(PyExc_ValueError, "what is kept of a picture has a digest of another length");
        else
            result = Py_NewRef(Py_None);
    }
done:
    while (taken > 0)
        PyBuffer_Release(&view[--taken]);
    return result;
}

static int prepare(PyObject *module)
{
    (void)module;
    make_table();
    return 0;
}

static PyMethodDef methods[] = {
    {"sums", sums, METH_VARARGS, "The checksums of many records, 4 bytes each."},
    {"step", step, METH_VARARGS, "One digest of each record, and go on behind it."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)prepare}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_unpack", "The inner loops of unpacking.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__unpack(void)
{
    return PyModuleDef_Init(&definition);
}
