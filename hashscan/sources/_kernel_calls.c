/* System calls on open files that Python's os module lacks. */
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
#include <sys/syscall.h>
#include <unistd.h>

/* Take a read lease and give it back: 0, or the number of the error that kept it from being taken.
 *
 * It is refused while anybody has the file open for writing or mapped writable; see ctime.py for what follows from that.
 * Whoever opens the file for writing while the lease is held waits until it is given back, up to
 * /proc/sys/fs/lease-break-time. So nothing is done between the two calls, and the GIL, which another thread might keep
 * for long, is not released.
 */
static PyObject *lease(PyObject *module, PyObject *args)
{
    int descriptor, error = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "i", &descriptor))
        return NULL;
    /* The holder of a lease gets a signal when somebody waits. The default one, SIGIO, ends the process. */
    if (fcntl(descriptor, F_SETSIG, SIGURG) != 0 || fcntl(descriptor, F_SETLEASE, F_RDLCK) != 0 ||
        fcntl(descriptor, F_SETLEASE, F_UNLCK) != 0)
        error = errno;
    return PyLong_FromLong(error);
}

/* Write out the changed pages of a file; return 0, or the number of the error. */
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

#ifndef __NR_cachestat
#define __NR_cachestat 451 /* on all architectures but Alpha, where it fails */
#endif

/* The number of pages of a part of a file that are in memory, or minus the number of the error. */
static PyObject *cached_pages(PyObject *module, PyObject *args)
{
    int descriptor;
    unsigned long long part[2]; /* struct cachestat_range: first byte, length or 0 for all to the end */
    unsigned long long pages[5]; /* struct cachestat: cached, dirty, in writeback, evicted, recently evicted */
    (void)module;
    if (!PyArg_ParseTuple(args, "iKK", &descriptor, &part[0], &part[1]))
        return NULL;
    if (syscall(__NR_cachestat, descriptor, part, pages, 0) != 0)
        return PyLong_FromLong(-errno);
    return PyLong_FromUnsignedLongLong(pages[0]);
}

static PyMethodDef methods[] = {
    {"cached_pages", cached_pages, METH_VARARGS, NULL},
    {"lease", lease, METH_VARARGS, NULL},
    {"write_out", write_out, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernel_calls", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernel_calls(void)
{
    return PyModule_Create(&definition);
}
