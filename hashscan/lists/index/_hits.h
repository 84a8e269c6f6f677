/* The hits of a search, as it collects them and as it returns them; for _probe.c and _euclid.c. */
#ifndef HASHSCAN_HITS_H
#define HASHSCAN_HITS_H

#include <stdint.h>
#include <stdlib.h>

static PyObject *DamagedFileError;

typedef enum { FINE, NO_MEMORY, DAMAGED } Outcome;

typedef struct {
    uint32_t *numbers; /* Query row, entry row, distance; three for each hit. */
    size_t used, room;
} Hits;

static int add_hit(Hits *hits, uint64_t query, uint64_t row, int64_t distance)
{
    if (hits->used + 3 > hits->room) {
        size_t room = hits->room ? hits->room * 2 : 768;
        uint32_t *more;
        if (room > SIZE_MAX / sizeof *more || !(more = realloc(hits->numbers, room * sizeof *more)))
            return 0;
        hits->numbers = more;
        hits->room = room;
    }
    hits->numbers[hits->used++] = (uint32_t)query;
    hits->numbers[hits->used++] = (uint32_t)row;
    hits->numbers[hits->used++] = (uint32_t)distance;
    return 1;
}

/* Return the hits as bytes, or raise the error of another outcome. */
static PyObject *answer(Outcome outcome, const Hits *hits, const char *damage)
{
    if (outcome == NO_MEMORY || hits->used > (size_t)PY_SSIZE_T_MAX / sizeof *hits->numbers)
        return PyErr_NoMemory();
    if (outcome == DAMAGED) {
        PyErr_SetString(DamagedFileError, damage);
        return NULL;
    }
    return PyBytes_FromStringAndSize(
        hits->used ? (const char *)hits->numbers : "", (Py_ssize_t)(hits->used * sizeof *hits->numbers));
}

/* Add the error of a damaged file to a module, under its full name. */
static int add_error(PyObject *module, const char *name)
{
    DamagedFileError = PyErr_NewException(name, NULL, NULL);
    if (!DamagedFileError)
        return -1;
    Py_INCREF(DamagedFileError);
    if (PyModule_AddObject(module, "DamagedFileError", DamagedFileError) < 0) {
        Py_DECREF(DamagedFileError);
        return -1;
    }
    return 0;
}

#endif
