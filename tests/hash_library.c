/* A stand-in for a licensee's library: the same interface, another descriptor.

The digest sums gradients of 36 cells; it is not PhotoDNA, nor derived from it. The width of a picture asks for
a fault. The constructor tries what a library must not be able to do, and keeps the results for a picture of
REPORT pixels width. */

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CRASH = 101, HANG, OUTSIDE, SHORT, ERROR, NOTHING, REPORT, UNTOUCHED };
enum { SIZE = 144, CELLS = 6, FAILED = -5, NO_DIGEST = -6 };

static unsigned char tried[SIZE];
static int ready;

/* Of another library, which must have been loaded before. */
extern int standin_scale(void);

static unsigned char result(long value)
{
    return value < 0 ? (unsigned char)errno : 0;
}

__attribute__((constructor)) static void try_out(void)
{
    if (getuid() == 0)
        /* Nothing was given up, so that all would succeed. */
        return;
    tried[0] = 1;
    tried[1] = result(open("/etc/passwd", O_RDONLY));
    tried[2] = result(open("/tmp/standin-was-here", O_CREAT | O_WRONLY, 0600));
    tried[3] = result(socket(AF_INET, SOCK_STREAM, 0));
    tried[4] = result(socket(AF_UNIX, SOCK_STREAM, 0));
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    tried[5] = result(child);
    tried[6] = result((long)mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                                 -1, 0));
    tried[7] = result(unlink("/tmp"));
    tried[8] = result(open("/proc/self/mem", O_RDONLY));
    /* With each descriptor that there may be; the decoder has a socket. */
    struct sockaddr_un log = {AF_UNIX, "/dev/log"};
    tried[9] = EPERM;
    for (int descriptor = 0; descriptor < 256 && tried[9] == EPERM; descriptor++)
        tried[9] = result(connect(descriptor, (struct sockaddr *)&log, sizeof log));
#ifdef EXEC
    char *none[] = {NULL};
    execve("/bin/true", none, none);
#endif
#ifdef TRACE
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
#endif
#ifdef DIES
    abort();
#endif
}

int standin_init(const char *name, int version)
{
    ready = strcmp(name, "standin") == 0 ? 1 : 0;
    return ready && version == 3 ? 0 : FAILED;
}

static double mean(const unsigned char *pixels, int width, int height, int stride, int column, int row)
{
    int side = CELLS * 4 + 2;
    int top = row * height / side, bottom = (row + 1) * height / side;
    int left = column * width / side, right = (column + 1) * width / side;
    double sum = 0;
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++) {
            const unsigned char *pixel = pixels + (long)y * stride + 3 * x;
            sum += 0.3 * pixel[0] + 0.6 * pixel[1] + 0.1 * pixel[2];
        }
    return sum / ((bottom - top) * (right - left));
}

static void describe(const unsigned char *pixels, int width, int height, int stride, unsigned char *digest)
{
    double sums[SIZE] = {0}, longest = 1e-9;
    for (int row = 1; row <= CELLS * 4; row++)
        for (int column = 1; column <= CELLS * 4; column++) {
            double *cell = sums + 4 * ((row - 1) / 4 * CELLS + (column - 1) / 4);
            double across = mean(pixels, width, height, stride, column + 1, row) -
                            mean(pixels, width, height, stride, column - 1, row);
            double down = mean(pixels, width, height, stride, column, row + 1) -
                          mean(pixels, width, height, stride, column, row - 1);
            cell[across < 0] += fabs(across);
            cell[2 + (down < 0)] += fabs(down);
        }
    for (int i = 0; i < SIZE; i++)
        longest = fmax(longest, sums[i]);
    for (int i = 0; i < SIZE; i++)
        digest[i] = (unsigned char)lround(standin_scale() * sqrt(sums[i] / longest));
}

int standin_hash(const unsigned char *pixels, int width, int height, int stride, unsigned char *digest,
                 int *length, int option)
{
    if (option != 7 || !ready || (length && *length != SIZE))
        return FAILED;
    switch (width) {
    case CRASH:
        *(volatile int *)8 = 1;
        return 0;
    case HANG:
        for (volatile int i = 0;; i++)
            ;
    case OUTSIDE:
        memset(digest, 1, SIZE + 1);
        return 0;
    case SHORT:
        memset(digest, 1, SIZE);
        *length = SIZE - 44;
        return 0;
    case ERROR:
        return FAILED;
    case NOTHING:
        return NO_DIGEST;
    case REPORT:
        memcpy(digest, tried, SIZE);
        return 0;
    case UNTOUCHED:
        return 0;
    }
    describe(pixels, width, height, stride, digest);
    return 0;
}
