/* Search for pictures within a text: data URLs (RFC 2397) in pages, drawings and style sheets.
 * Search for bytes in others.
 *
 * Every scanned text is searched, so the search goes from colon to colon by memchr, which takes a twentieth of
 * a microsecond for 2 kB of prose. formats.py has the same rules in Python.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#define SCHEME 4 /* Length of "data". */

static int is_space(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static int is_quote(char byte)
{
    return byte == '"' || byte == '\'';
}

static int is_name(char byte)
{
    char lower = byte | 32;
    return (lower >= 'a' && lower <= 'z') || (byte >= '0' && byte <= '9') || (byte && strchr("+-._", byte));
}

/* Compare with lower-case letters, in any case; no other byte becomes one of these letters. */
static int equals(const char *text, const char *letters, Py_ssize_t length)
{
    Py_ssize_t at;
    for (at = 0; at < length; at++)
        if ((text[at] | 32) != letters[at])
            return 0;
    return 1;
}

/* The start of the spaces before a place. */
static Py_ssize_t before_spaces(const char *text, Py_ssize_t place)
{
    while (place > 0 && is_space(text[place - 1]))
        place--;
    return place;
}

static int is_url(const char *text, Py_ssize_t length, Py_ssize_t place, int markup)
{
    Py_ssize_t before = before_spaces(text, place), after = place + SCHEME + 1, first = after;
    if (!markup) {
        if (before > 0 && is_quote(text[before - 1]))
            before = before_spaces(text, before - 1);
        return before >= 4 && text[before - 1] == '(' && equals(text + before - 4, "url", 3);
    }
    if (before > 0 && (is_quote(text[before - 1]) || text[before - 1] == '=' || text[before - 1] == '('))
        return 1;
    while (after < length && is_name(text[after]))
        after++;
    if (after == length)
        return 0;
    return after > first ? text[after] == '/' : text[after] == ';' || text[after] == ',';
}

static PyObject *has_data_url(PyObject *module, PyObject *arguments)
{
    Py_buffer seen;
    const char *text, *colon;
    Py_ssize_t length, place = 0;
    int markup, found = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*p", &seen, &markup))
        return NULL;
    text = seen.buf;
    length = seen.len;
    while (!found && place < length && (colon = memchr(text + place, ':', (size_t)(length - place)))) {
        Py_ssize_t at = colon - text;
        if (at >= SCHEME && equals(colon - SCHEME, "data", SCHEME))
            found = is_url(text, length, at - SCHEME, markup);
        place = at + 1;
    }
    PyBuffer_Release(&seen);
    return PyBool_FromLong(found);
}

static PyObject *contains(PyObject *module, PyObject *arguments)
{
    Py_buffer seen, sought;
    int found;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*", &seen, &sought))
        return NULL;
    found = memmem(seen.buf, (size_t)seen.len, sought.buf, (size_t)sought.len) != NULL;
    PyBuffer_Release(&seen);
    PyBuffer_Release(&sought);
    return PyBool_FromLong(found);
}

static PyMethodDef methods[] = {
    {"contains", contains, METH_VARARGS, "True if bytes have other bytes in them."},
    {"has_data_url", has_data_url, METH_VARARGS, "True if a text contains a data URL."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_text", "Search for pictures within a text.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__text(void)
{
    return PyModuleDef_Init(&definition);
}
