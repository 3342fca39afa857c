// Preloaded, lets one system call on one file fail for a while. FAULT says which:
// the call, the end of the path, the error, how many calls succeed before, how many fail. FAULT_WHILE
// names a file: without it every call succeeds, and none is counted.
// An fsync can be held until the test has removed a file.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

static int is_due(const char *call, const char *path) {
    static atomic_int seen;
    char name[16], end[64];
    int error, before, failing;
    const char *fault = getenv("FAULT");
    if (!fault || sscanf(fault, "%15s %63s %d %d %d", name, end, &error, &before, &failing) != 5) return 0;
    size_t length = strlen(path), ending = strlen(end);
    if (strcmp(call, name) || length < ending || strcmp(path + length - ending, end)) return 0;
    const char *gate = getenv("FAULT_WHILE");
    if (gate && access(gate, F_OK)) return 0;
    int number = seen++;
    if (number < before || number - before >= failing) return 0;
    errno = error;
    return 1;
}

// HOLD says which fsync waits: the end of the path, and the file that it waits for to be gone.
static void hold(const char *path) {
    char end[64], gate[512];
    const char *held = getenv("HOLD");
    if (!held || sscanf(held, "%63s %511s", end, gate) != 2) return;
    size_t length = strlen(path), ending = strlen(end);
    if (length < ending || strcmp(path + length - ending, end)) return;
    while (!access(gate, F_OK)) usleep(10000);
}

static int is_due_at(const char *call, int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strcmp(call, "fsync")) hold(path);
    return is_due(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pread(int file, void *to, size_t bytes, off_t at) {
    return is_due_at("pread", file) ? -1 : REAL(pread)(file, to, bytes, at);
}
ssize_t pread64(int file, void *to, size_t bytes, off64_t at) {
    return is_due_at("pread", file) ? -1 : REAL(pread64)(file, to, bytes, at);
}
ssize_t pwrite(int file, const void *from, size_t bytes, off_t at) {
    return is_due_at("pwrite", file) ? -1 : REAL(pwrite)(file, from, bytes, at);
}
ssize_t pwrite64(int file, const void *from, size_t bytes, off64_t at) {
    return is_due_at("pwrite", file) ? -1 : REAL(pwrite64)(file, from, bytes, at);
}
int fsync(int file) { return is_due_at("fsync", file) ? -1 : REAL(fsync)(file); }
int fdatasync(int file) { return is_due_at("fsync", file) ? -1 : REAL(fdatasync)(file); }

#define OPEN(name)                                                        \
    int name(const char *path, int flags, ...) {                          \
        va_list more;                                                     \
        va_start(more, flags);                                            \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                     \
        return is_due("open", path) ? -1 : REAL(name)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

int inotify_init1(int flags) {
    return is_due("inotify", "inotify") ? -1 : REAL(inotify_init1)(flags);
}

#define FCNTL(name)                                                                 \
    int name(int file, int command, ...) {                                          \
        va_list more;                                                               \
        va_start(more, command);                                                    \
        void *argument = va_arg(more, void *);                                      \
        va_end(more);                                                               \
        if (command == F_SETLK && is_due_at("lock", file)) return -1;               \
        return REAL(name)(file, command, argument);                                 \
    }
FCNTL(fcntl)
FCNTL(fcntl64)
