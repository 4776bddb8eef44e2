/* Makes disk calls of a program fail: load it with LD_PRELOAD.
 *
 * While the file named by DISK_FAULTS exists, each call that it lists fails on every file whose
 * path contains DISK_FAULTS_PATH. It holds an errno and the calls: `28 pwrite ftruncate`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* The errno with which `call` must fail on `fd`, or 0. Leaves errno as it was. */
static int fault(int fd, const char *call)
{
    const char *control = getenv("DISK_FAULTS"), *filter = getenv("DISK_FAULTS_PATH");
    char link[32], path[4096], faults[256] = " ";
    int before = errno, file = control && filter ? open(control, O_RDONLY | O_CLOEXEC) : -1;
    int code = 0;

    if (file >= 0) {
        static ssize_t (*real_read)(int, void *, size_t);
        if (!real_read)
            real_read = dlsym(RTLD_NEXT, "read");
        ssize_t length = real_read(file, faults + 1, sizeof faults - 3);
        close(file);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t end = readlink(link, path, sizeof path - 1);
        if (length > 0 && end > 0) {
            char padded[32];
            path[end] = '\0';
            strcpy(faults + 1 + length - (faults[length] == '\n'), " ");
            snprintf(padded, sizeof padded, " %s ", call);
            if (strstr(path, filter) && strstr(faults, padded))
                code = atoi(faults);
        }
    }
    errno = before;
    return code;
}

#define FAIL_OR_CALL(type, call, name, parameters, arguments)      \
    type name parameters                                           \
    {                                                              \
        static type(*real) parameters;                             \
        int code = fault(fd, call);                                \
        if (code) {                                                \
            errno = code;                                          \
            return -1;                                             \
        }                                                          \
        if (!real)                                                 \
            real = (type(*) parameters)dlsym(RTLD_NEXT, #name);    \
        return real arguments;                                     \
    }

FAIL_OR_CALL(ssize_t, "read", read, (int fd, void *to, size_t n), (fd, to, n))
FAIL_OR_CALL(ssize_t, "pread", pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at))
FAIL_OR_CALL(ssize_t, "pread", pread64, (int fd, void *to, size_t n, off64_t at), (fd, to, n, at))
FAIL_OR_CALL(ssize_t, "write", write, (int fd, const void *from, size_t n), (fd, from, n))
FAIL_OR_CALL(ssize_t, "pwrite", pwrite, (int fd, const void *from, size_t n, off_t at),
             (fd, from, n, at))
FAIL_OR_CALL(ssize_t, "pwrite", pwrite64, (int fd, const void *from, size_t n, off64_t at),
             (fd, from, n, at))
FAIL_OR_CALL(int, "fsync", fsync, (int fd), (fd))
FAIL_OR_CALL(int, "fsync", fdatasync, (int fd), (fd))
FAIL_OR_CALL(int, "ftruncate", ftruncate, (int fd, off_t length), (fd, length))
FAIL_OR_CALL(int, "ftruncate", ftruncate64, (int fd, off64_t length), (fd, length))
