/* Asks the kernel whether anybody has a file open for writing or mapped writable; see ctime.py for what follows from it.
 *
 * Whoever opens the file for writing while the lease is held waits until it is given back, up to
 * /proc/sys/fs/lease-break-time. So nothing is done between the two calls, and the GIL, which another thread might keep
 * for long, is not released.
 */
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define _FILE_OFFSET_BITS 64
#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>

/* Take a read lease and give it back: 0, or the number of the error that kept it from being taken. */
static PyObject *lease(PyObject *module, PyObject *args)
{
    int descriptor, error = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "i", &descriptor))
        return NULL;
    /* The holder of a lease is told by a signal that somebody waits. The usual one, SIGIO, ends a process. */
    if (fcntl(descriptor, F_SETSIG, SIGURG) != 0 || fcntl(descriptor, F_SETLEASE, F_RDLCK) != 0 ||
        fcntl(descriptor, F_SETLEASE, F_UNLCK) != 0)
        error = errno;
    return PyLong_FromLong(error);
}

/* Have what is changed of a file in memory written out: 0, or the number of the error. */
static PyObject *write_out(PyObject *module, PyObject *args)
{
    int descriptor, error = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "i", &descriptor))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    if (sync_file_range(descriptor, 0, 0,
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) != 0)
        error = errno;
    Py_END_ALLOW_THREADS
    return PyLong_FromLong(error);
}

static PyMethodDef methods[] = {
    {"lease", lease, METH_VARARGS, NULL},
    {"write_out", write_out, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_lease", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__lease(void)
{
    return PyModule_Create(&definition);
}
