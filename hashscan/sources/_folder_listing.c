/* List a folder by its descriptor, with the lstat results of its files, and open the files that were listed.
 *
 * folder_listing.py describes the listing; nothing is opened for it. No symlink is followed. Data from the kernel is
 * checked before it is used, because file systems can be made by attackers, too. The GIL is released meanwhile.
 *
 * A FUSE can be mounted over a file, and its server may never answer. So statx must not ask servers
 * (AT_STATX_DONT_SYNC) until it has reported that a name is not a mount. File systems of this machine ignore this
 * flag; others are then asked as usual.
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ROOM (64 * 1024) /* Buffer for one call of getdents64; larger than its longest entry. */
#define INTERRUPTIONS 100
#define IDENTITY 4 /* Inode, size, mtime, ctime. */
#define FURTHER 5 /* Device, links, owner, seconds of mtime and of ctime. */
#define DONT_SYNC 0x4000 /* AT_STATX_DONT_SYNC */
#define BASIC_STATS 0x7ff
#define MNT_ID 0x1000
#define TYPE_AND_INODE 0x101
#define MOUNT_ROOT 0x2000 /* Bit of the attributes; since Linux 5.8. */
#define NAME_AT 19 /* Offset in struct linux_dirent64: inode and offset of 8 bytes, length of 2, kind of 1. */

typedef struct {
    char *data;
    size_t used, room;
} Bytes;

typedef struct {
    uint64_t identity[IDENTITY];
    uint64_t further[FURTHER];
} Row;

/* struct statx of linux/stat.h, for headers that don't define all of it. */
typedef struct {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, spare;
    uint64_t ino, size, blocks, attributes_mask;
    struct {
        int64_t sec;
        uint32_t nsec, spare;
    } atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t mount, spares[13];
} Statx;

_Static_assert(sizeof(Statx) == 256 && offsetof(Statx, mount) == 144, "struct statx of the kernel");

typedef struct {
    Bytes rows, names, folders, odd; /* Odd: errno, mode and length of a name, 4 bytes each, and the name. */
    size_t files, odd_ones;
    uint64_t links, specials, size;
    int one_device, ended, error;
    int local; /* 1 if the file system is local; DONT_SYNC then has no effect. */
    dev_t device; /* Device of the folder. */
} Found;

static int do_statx(int folder, const char *name, int flags, unsigned mask, Statx *status)
{
#ifdef SYS_statx
    return (int)syscall(SYS_statx, folder, name, flags | DONT_SYNC, mask, status);
#else
    (void)folder, (void)name, (void)flags, (void)mask, (void)status;
    errno = ENOSYS;
    return -1;
#endif
}

static int has_no_statx(int error)
{
    return error == ENOSYS || error == EPERM; /* An old kernel, or the system call filter of a container. */
}

static int is_local(int folder)
{
    struct statfs status;
    if (fstatfs(folder, &status) != 0)
        return 0;
    switch ((uint32_t)status.f_type) {
    case 0x0000EF53: /* ext2, 3, 4 */
    case 0x58465342: /* XFS */
    case 0x9123683E: /* Btrfs */
    case 0x01021994: /* tmpfs */
    case 0x794C7630: /* overlay */
    case 0x2FC12FC1: /* ZFS */
    case 0xF2F52010: /* F2FS */
    case 0xCA451A4E: /* bcachefs */
        return 1;
    default:
        return 0;
    }
}

/* Like fstatat, but with EXDEV if something is mounted over the file. */
static int look_at(const Found *found, int folder, const char *name, struct stat *status)
{
    Statx seen;
    memset(&seen, 0, sizeof seen);
    if (do_statx(folder, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, BASIC_STATS, &seen) != 0) {
        if (!has_no_statx(errno))
            return -1;
        return fstatat(folder, name, status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT);
    }
    dev_t device = makedev(seen.dev_major, seen.dev_minor);
    int crossed = seen.attributes_mask & MOUNT_ROOT ? (seen.attributes & MOUNT_ROOT) != 0 : device != found->device;
    if (crossed && !S_ISDIR(seen.mode)) {
        errno = EXDEV;
        return -1;
    }
    if (!found->local && !crossed)
        return fstatat(folder, name, status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT);
    memset(status, 0, sizeof *status);
    status->st_dev = device;
    status->st_ino = (ino_t)seen.ino;
    status->st_mode = seen.mode;
    status->st_nlink = seen.nlink;
    status->st_uid = seen.uid;
    status->st_size = (off_t)seen.size;
    status->st_mtim.tv_sec = (time_t)seen.mtime.sec;
    status->st_mtim.tv_nsec = (long)seen.mtime.nsec;
    status->st_ctim.tv_sec = (time_t)seen.ctime.sec;
    status->st_ctim.tv_nsec = (long)seen.ctime.nsec;
    return 0;
}

/* Extend a buffer by `more` bytes and return their address, or NULL. */
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
            /* Wraps in the year 2262, like the stored times. */
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

/* Add one name; return 0 if there is no memory. */
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
    if (look_at(found, folder, name, &status) != 0)
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

/* Read until `most` names were seen or the folder ends; return 0 if there is no memory. */
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

/* Make columns of rows: `count` fields from `offset`. */
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
    Statx own;
    memset(&own, 0, sizeof own);
    if (do_statx(descriptor, "", AT_EMPTY_PATH, TYPE_AND_INODE, &own) == 0)
        found.device = makedev(own.dev_major, own.dev_minor);
    found.local = is_local(descriptor);
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

static PyObject *identify(PyObject *module, PyObject *args)
{
    int descriptor;
    Statx seen;
    (void)module;
    if (!PyArg_ParseTuple(args, "i", &descriptor))
        return NULL;
    memset(&seen, 0, sizeof seen);
    dev_t device;
    if (do_statx(descriptor, "", AT_EMPTY_PATH, TYPE_AND_INODE | MNT_ID, &seen) == 0) {
        device = makedev(seen.dev_major, seen.dev_minor);
    } else {
        struct stat status;
        if (!has_no_statx(errno) || fstat(descriptor, &status) != 0)
            return PyErr_SetFromErrno(PyExc_OSError);
        device = status.st_dev;
        seen.ino = (uint64_t)status.st_ino;
        seen.mode = (uint16_t)status.st_mode;
    }
    unsigned long long mount = seen.mask & MNT_ID ? seen.mount : 0;
    return Py_BuildValue("(KKIK)", (unsigned long long)device, (unsigned long long)seen.ino, (unsigned)seen.mode,
                         mount);
}

/* A time in nanoseconds since 1970, as a Python integer of any size: any user can set an mtime beyond 2262. */
static PyObject *nanoseconds(struct timespec time)
{
    long long whole;
    if (!__builtin_mul_overflow((long long)time.tv_sec, 1000000000LL, &whole) &&
        !__builtin_add_overflow(whole, (long long)time.tv_nsec, &whole))
        return PyLong_FromLongLong(whole);
    PyObject *seconds = PyLong_FromLongLong(time.tv_sec), *billion = PyLong_FromLong(1000000000);
    PyObject *rest = PyLong_FromLong(time.tv_nsec), *product = NULL, *sum = NULL;
    if (seconds && billion && rest)
        product = PyNumber_Multiply(seconds, billion);
    if (product)
        sum = PyNumber_Add(product, rest);
    Py_XDECREF(seconds);
    Py_XDECREF(billion);
    Py_XDECREF(rest);
    Py_XDECREF(product);
    return sum;
}

/* Whether a time equals a Python integer; -1 with an exception set if it can't be compared. */
static int is_time(struct timespec time, PyObject *expected)
{
    PyObject *found = nanoseconds(time);
    if (!found)
        return -1;
    int equal = PyObject_RichCompareBool(found, expected, Py_EQ);
    Py_DECREF(found);
    return equal;
}

/* Open for reading the regular file of a known identity; return its descriptor, or -1 in any other case.
 *
 * The name is looked up first, which opens nothing and needs no server; what was found is then opened through
 * /proc/self/fd, if it is that file. See open_regular in regular_files.py, which does the same and finds the error.
 */
static int open_identified(int folder, const char *name, int own, unsigned long long device, unsigned long long inode,
                           struct stat *status)
{
    Statx seen;
    char number[16];
    int descriptor = -1;
    int found = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (found < 0)
        return -1;
    memset(&seen, 0, sizeof seen);
    if (do_statx(found, "", AT_EMPTY_PATH, TYPE_AND_INODE, &seen) == 0 && S_ISREG(seen.mode) &&
        makedev(seen.dev_major, seen.dev_minor) == device && seen.ino == inode) {
        snprintf(number, sizeof number, "%d", found);
        descriptor = openat(own, number, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    }
    close(found);
    if (descriptor >= 0 && (fstat(descriptor, status) != 0 || !S_ISREG(status->st_mode) ||
                            status->st_dev != device || status->st_ino != inode)) {
        close(descriptor);
        descriptor = -1;
    }
    return descriptor;
}

/* Open a listed file: its descriptor, the fields of FileStat, and its blocks of 512 bytes; None where it can't be. */
static PyObject *open_listed(PyObject *module, PyObject *args)
{
    int folder, own, descriptor = -1;
    const char *name;
    unsigned long long device, inode;
    struct stat status;
    (void)module;
    if (!PyArg_ParseTuple(args, "iyiKK", &folder, &name, &own, &device, &inode))
        return NULL;
    if (*name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !strchr(name, '/')) {
        Py_BEGIN_ALLOW_THREADS
        descriptor = open_identified(folder, name, own, device, inode, &status);
        Py_END_ALLOW_THREADS
    }
    if (descriptor < 0)
        Py_RETURN_NONE;
    PyObject *answer =
        Py_BuildValue("i(KKLNNKk)L", descriptor, (unsigned long long)status.st_dev, (unsigned long long)status.st_ino,
                      (long long)status.st_size, nanoseconds(status.st_mtim), nanoseconds(status.st_ctim),
                      (unsigned long long)status.st_nlink, (unsigned long)status.st_uid, (long long)status.st_blocks);
    if (!answer)
        close(descriptor);
    return answer;
}

/* Whether an open file has the given device, inode, size, mtime and ctime. */
static PyObject *unchanged(PyObject *module, PyObject *args)
{
    int descriptor;
    unsigned long long device, inode;
    long long size;
    PyObject *mtime, *ctime;
    struct stat now;
    (void)module;
    if (!PyArg_ParseTuple(args, "iKKLO!O!", &descriptor, &device, &inode, &size, &PyLong_Type, &mtime, &PyLong_Type,
                          &ctime))
        return NULL;
    int failed;
    Py_BEGIN_ALLOW_THREADS
    failed = fstat(descriptor, &now);
    Py_END_ALLOW_THREADS
    if (failed)
        return PyErr_SetFromErrno(PyExc_OSError);
    int equal = now.st_size == size && now.st_ino == inode && now.st_dev == device;
    if (equal)
        equal = is_time(now.st_ctim, ctime);
    if (equal > 0)
        equal = is_time(now.st_mtim, mtime);
    return equal < 0 ? NULL : PyBool_FromLong(equal);
}

static PyMethodDef methods[] = {
    {"identify", identify, METH_VARARGS, NULL},
    {"look", look, METH_VARARGS, NULL},
    {"open_listed", open_listed, METH_VARARGS, NULL},
    {"unchanged", unchanged, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_folder_listing", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__folder_listing(void)
{
    return PyModule_Create(&definition);
}
