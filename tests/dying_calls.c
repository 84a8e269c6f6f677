/* Kills a process at one of its own calls of the system; see dying_calls.py.

Calls count that change a file or folder beneath a place; if the place is empty, those that send to a socket
count, too. Of a write or send, the first half is done before; of any other call, nothing. Threads count
together. Forked processes count nothing. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char place[PATH_MAX];
atomic_long calls_left;
static pid_t armed;

void die_at(long number, const char *folder)
{
    snprintf(place, sizeof place, "%s", folder);
    armed = getpid();
    atomic_store(&calls_left, number);
}

static int is_counted(const char *path)
{
    if (!strncmp(path, "/dev/", 5) || !strncmp(path, "/proc/", 6))
        return 0;
    return strncmp(path, place, strlen(place)) == 0 && (path[0] == '/' || !strncmp(path, "socket:", 7));
}

static int is_last(void)
{
    return atomic_fetch_sub(&calls_left, 1) == 1;
}

/* An empty path stands for the descriptor itself. */
static int is_end(int folder, const char *path)
{
    char link[64], full[2 * PATH_MAX];
    ssize_t length = 0;

    if (atomic_load(&calls_left) <= 0 || getpid() != armed)
        return 0;
    if (path[0] != '/') {
        if (folder == AT_FDCWD)
            snprintf(link, sizeof link, "/proc/self/cwd");
        else
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        length = readlink(link, full, PATH_MAX - 1);
        if (length < 0)
            return 0;
        full[length++] = path[0] ? '/' : 0;
    }
    snprintf(full + length, sizeof full - length, "%s", path);
    return is_counted(full) && is_last();
}

static void die(void)
{
    kill(getpid(), SIGKILL);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define CALL(name, parameters, arguments, folder, path) \
    int name parameters \
    { \
        if (is_end(folder, path)) \
            die(); \
        return NEXT(name) arguments; \
    }

#define WRITE(name, parameters, arguments, half) \
    ssize_t name parameters \
    { \
        if (is_end(fd, "")) { \
            NEXT(name) half; \
            die(); \
        } \
        return NEXT(name) arguments; \
    }

#define OPEN(name, parameters, arguments, folder) \
    int name parameters \
    { \
        va_list rest; \
        mode_t mode = 0; \
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) { \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        if (flags & (O_CREAT | O_TRUNC) && is_end(folder, path)) \
            die(); \
        return NEXT(name) arguments; \
    }

WRITE(write, (int fd, const void *data, size_t size), (fd, data, size), (fd, data, size / 2))
WRITE(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), (fd, data, size / 2, at))
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at),
      (fd, data, size / 2, at))
WRITE(send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags),
      (fd, data, size / 2, flags))
OPEN(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), folder)
OPEN(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), folder)
CALL(ftruncate, (int fd, off_t size), (fd, size), fd, "")
CALL(ftruncate64, (int fd, off64_t size), (fd, size), fd, "")
CALL(fchmod, (int fd, mode_t mode), (fd, mode), fd, "")
CALL(chmod, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
CALL(mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
CALL(rmdir, (const char *path), (path), AT_FDCWD, path)
CALL(unlink, (const char *path), (path), AT_FDCWD, path)
CALL(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), folder, path)
CALL(rename, (const char *from, const char *to), (from, to), AT_FDCWD, to)
CALL(renameat, (int from, const char *old, int to, const char *new), (from, old, to, new), to, new)
CALL(link, (const char *from, const char *to), (from, to), AT_FDCWD, to)
CALL(linkat, (int from, const char *old, int to, const char *new, int flags), (from, old, to, new, flags), to,
     new)
CALL(symlink, (const char *target, const char *path), (target, path), AT_FDCWD, path)
