/* Reads a folder by its descriptor, with what lstat says of its files; see look.py for what it answers.
 *
 * Nothing is opened and no link followed. What the kernel hands over is checked before it is used, since file systems
 * are strangers' too; the GIL is released meanwhile.
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
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROOM (64 * 1024) /* For one call of getdents64; more than its longest entry. */
#define INTERRUPTIONS 100
#define IDENTITY 4 /* Inode, size, mtime, ctime. */
#define FURTHER 5 /* Device, links, owner, seconds of mtime and of ctime. */
#define NAME_AT 19 /* Of struct linux_dirent64: inode and offset of 8 bytes, length of 2, kind of 1. */

typedef struct {
    char *data;
    size_t used, room;
} Bytes;

typedef struct {
    uint64_t identity[IDENTITY];
    uint64_t further[FURTHER];
} Row;

typedef struct {
    Bytes rows, names, folders, odd; /* Odd: errno, mode and length of a name, each of 4 bytes, and the name. */
    size_t files, odd_ones;
    uint64_t links, specials, size;
    int one_device, ended, error;
} Found;

/* Room for so many bytes more, or NULL. */
static char *extend(Bytes *bytes, size_t more)
{
    if (more > SIZE_MAX / 4 || bytes->used > SIZE_MAX / 4)
        return NULL;
    if (bytes->used + more > bytes->room) {
        size_t room = (bytes->used + more) * 2 + 1024;
        char *data = realloc(bytes->data, room);
        if (!data)
            return NULL;
        bytes->data = data;
        bytes->room = room;
    }
    char *place = bytes->data + bytes->used;
    bytes->used += more;
    return place;
}

static int add_name(Bytes *names, const char *name, size_t length)
{
    int first = names->used == 0;
    char *place = extend(names, length + !first);
    if (!place)
        return 0;
    if (!first)
        *place++ = '/';
    memcpy(place, name, length);
    return 1;
}

static int add_odd(Found *found, int error, uint32_t mode, const char *name, size_t length)
{
    uint32_t head[3] = {(uint32_t)error, mode, (uint32_t)length};
    char *place = extend(&found->odd, sizeof head + length);
    if (!place)
        return 0;
    memcpy(place, head, sizeof head);
    memcpy(place + sizeof head, name, length);
    found->odd_ones++;
    return 1;
}

static int add_file(Found *found, const struct stat *status, const char *name, size_t length)
{
    Row row = {
        {
            (uint64_t)status->st_ino,
            (uint64_t)status->st_size,
            /* Wraps in the year 2262, as what is stored does. */
            (uint64_t)status->st_mtim.tv_sec * 1000000000u + (uint64_t)status->st_mtim.tv_nsec,
            (uint64_t)status->st_ctim.tv_sec * 1000000000u + (uint64_t)status->st_ctim.tv_nsec,
        },
        {
            (uint64_t)status->st_dev,
            (uint64_t)status->st_nlink,
            (uint64_t)status->st_uid,
            (uint64_t)status->st_mtim.tv_sec,
            (uint64_t)status->st_ctim.tv_sec,
        },
    };
    char *place = extend(&found->rows, sizeof row);
    if (!place || !add_name(&found->names, name, length))
        return 0;
    memcpy(place, &row, sizeof row);
    if (found->files++ && ((Row *)(void *)found->rows.data)->further[0] != row.further[0])
        found->one_device = 0;
    found->size += row.identity[1];
    return 1;
}

/* Take in one name; 0 where there is no memory. */
static int take(Found *found, int folder, unsigned char kind, const char *name, size_t length)
{
    struct stat status;
    switch (kind) {
    case DT_DIR:
        return add_name(&found->folders, name, length);
    case DT_LNK:
        found->links++;
        return 1;
    case DT_REG:
    case DT_UNKNOWN:
        break;
    default:
        found->specials++;
        return 1;
    }
    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0)
        return add_odd(found, errno, 0, name, length);
    if (S_ISREG(status.st_mode))
        return add_file(found, &status, name, length);
    if (kind == DT_REG)
        return add_odd(found, 0, (uint32_t)status.st_mode, name, length);
    if (S_ISDIR(status.st_mode))
        return add_name(&found->folders, name, length);
    if (S_ISLNK(status.st_mode))
        found->links++;
    else
        found->specials++;
    return 1;
}

/* Read on until `most` names were seen or the folder ends; 0 where there is no memory. */
static int read_some(Found *found, int folder, size_t most, char *buffer)
{
    size_t seen = 0;
    int interruptions = 0;
    while (seen < most) {
        long got = syscall(SYS_getdents64, folder, buffer, (size_t)ROOM);
        if (got < 0 && errno == EINTR && interruptions++ < INTERRUPTIONS)
            continue;
        if (got < 0) {
            found->error = errno;
            return 1;
        }
        if (got == 0) {
            found->ended = 1;
            return 1;
        }
        for (long at = 0; at < got;) {
            uint16_t length;
            if (got - at <= NAME_AT) {
                found->error = EIO;
                return 1;
            }
            memcpy(&length, buffer + at + 16, sizeof length);
            if (length <= NAME_AT || length > got - at) {
                found->error = EIO;
                return 1;
            }
            const char *name = buffer + at + NAME_AT;
            size_t name_length = strnlen(name, (size_t)length - NAME_AT);
            if (name_length == 0 || name_length == (size_t)length - NAME_AT || memchr(name, '/', name_length)) {
                found->error = EIO;
                return 1;
            }
            unsigned char kind = (unsigned char)buffer[at + 18];
            at += length;
            if (name[0] == '.' && (name_length == 1 || (name_length == 2 && name[1] == '.')))
                continue;
            seen++;
            if (!take(found, folder, kind, name, name_length))
                return 0;
        }
    }
    return 1;
}

/* Columns out of rows: `first` and `count` say which fields. */
static PyObject *columns(const Found *found, size_t offset, size_t count)
{
    if (found->files > (size_t)PY_SSIZE_T_MAX / (count * 8))
        return PyErr_NoMemory();
    PyObject *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(found->files * count * 8));
    if (!made)
        return NULL;
    char *to = PyBytes_AsString(made);
    for (size_t field = 0; field < count; field++)
        for (size_t row = 0; row < found->files; row++, to += 8)
            memcpy(to, found->rows.data + row * sizeof(Row) + offset + field * 8, 8);
    return made;
}

static PyObject *odd_ones(const Found *found)
{
    PyObject *list = PyList_New(0);
    const char *at = found->odd.data;
    for (size_t number = 0; list && number < found->odd_ones; number++) {
        uint32_t head[3];
        memcpy(head, at, sizeof head);
        at += sizeof head;
        PyObject *one = Py_BuildValue("(y#II)", at, (Py_ssize_t)head[2], head[0], head[1]);
        at += head[2];
        if (!one || PyList_Append(list, one) != 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

static PyObject *look(PyObject *module, PyObject *args)
{
    int descriptor;
    Py_ssize_t most;
    PyObject *identities = NULL, *further = NULL, *odd = NULL, *answer = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "in", &descriptor, &most))
        return NULL;
    if (most < 1) {
        PyErr_SetString(PyExc_ValueError, "at least one name must be asked for");
        return NULL;
    }
    Found found = {.one_device = 1};
    int fine = 0;
    Py_BEGIN_ALLOW_THREADS
    char *buffer = malloc(ROOM);
    if (buffer)
        fine = read_some(&found, descriptor, (size_t)most, buffer);
    free(buffer);
    Py_END_ALLOW_THREADS
    if (!fine) {
        PyErr_NoMemory();
    } else if ((identities = columns(&found, offsetof(Row, identity), IDENTITY)) &&
               (further = columns(&found, offsetof(Row, further), FURTHER)) && (odd = odd_ones(&found))) {
        answer = Py_BuildValue(
            "(ny#OOiKy#KKOii)", (Py_ssize_t)found.files, found.names.used ? found.names.data : "",
            (Py_ssize_t)found.names.used, identities, further, found.one_device, (unsigned long long)found.size,
            found.folders.used ? found.folders.data : "", (Py_ssize_t)found.folders.used,
            (unsigned long long)found.links, (unsigned long long)found.specials, odd, found.ended, found.error);
    }
    Py_XDECREF(identities);
    Py_XDECREF(further);
    Py_XDECREF(odd);
    free(found.rows.data);
    free(found.names.data);
    free(found.folders.data);
    free(found.odd.data);
    return answer;
}

static PyMethodDef methods[] = {
    {"look", look, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_look", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__look(void)
{
    return PyModule_Create(&definition);
}
