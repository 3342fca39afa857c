// Preloaded, has the kernel stop chosen system calls of a program, and lets the test decide what becomes
// of each: a death, a power cut, an error, or nothing at all. A library in front of the C library would
// miss the calls that Rust makes beside it; a seccomp filter misses none, and costs microseconds.
//
// TRAP holds the rules, with a semicolon between two. A rule: ROLE CALLS PATH FIRST COUNT ACTION
//   ROLE    supervisor, worker or any: of which process
//   CALLS   write, sync, rename, link, unlink, truncate, watch (a folder), or any of them; or read
//   PATH    a part of the file's path, * for every file; pipes, sockets and devices are never meant
//   FIRST   the first call that is meant, from 1, counted in the process for each rule
//   COUNT   how many calls are meant, from the first one on
//   ACTION  kill (this process), killall (its group), cut:FOLDER (power off for the filesystem there,
//           and killall), errno:NUMBER, nothing (success without the call), delay:MILLISECONDS
// Reads alone are those of the C library: the kernel would stop the loader's, before there is a handler.
// For a rule that comes to its first call, a line is added to the file TRAP_TOLD, before the action.
//
// TRAP_CLOCK names a file of one 64-bit number: by so many seconds the time of day is another one.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

// The sixth argument of a call that the handler makes itself: no call that is trapped has one.
#define OURS 0x7a696d67
#define RULES_MAX 8
// EXT4_IOC_SHUTDOWN, and its flag that leaves the journal as it is on the disk.
#define SHUTDOWN 0x8004587dUL
#define NO_LOG_FLUSH 2

static const struct { int number; const char *name; int is_path; } CALLS[] = {
    {SYS_write, "write", 0},     {SYS_pwrite64, "write", 0},  {SYS_writev, "write", 0},
    {SYS_fsync, "sync", 0},      {SYS_fdatasync, "sync", 0},  {SYS_rename, "rename", 1},
    {SYS_renameat, "rename", 2}, {SYS_renameat2, "rename", 2}, {SYS_link, "link", 1},
    {SYS_linkat, "link", 2},     {SYS_unlink, "unlink", 1},   {SYS_unlinkat, "unlink", 2},
    {SYS_ftruncate, "truncate", 0}, {SYS_inotify_init1, "watch", 3}, {SYS_inotify_add_watch, "watch", 2},
};
#define CALLS_COUNT (sizeof CALLS / sizeof *CALLS)

static struct rule {
    char role[16], calls[16], path[256], action[256];
    long first, count;
    atomic_long seen;
} rules[RULES_MAX];
static int rules_count;
static const char *told;
static const char *role = "other";
static const volatile int64_t *shift_s;

static long raw(long number, long a, long b, long c, long d, long e) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = OURS;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static void path_of(int file, char *path, size_t bytes) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, bytes - 1);
    path[length < 0 ? 0 : length] = 0;
}

// The file of a call, as far as it has a name.
static void file_of(int is_path, long a, long b, char *path, size_t bytes) {
    const char *name = is_path == 1 ? (const char *)a : (const char *)b;
    if (!is_path) path_of((int)a, path, bytes);
    else if (is_path == 3) snprintf(path, bytes, "inotify");
    else if (is_path == 1 || (int)a == AT_FDCWD || name[0] == '/') snprintf(path, bytes, "%s", name);
    else {
        path_of((int)a, path, bytes);
        size_t length = strlen(path);
        snprintf(path + length, bytes - length, "/%s", name);
    }
}

static void tell(const struct rule *rule, const char *call, const char *path) {
    char line[4600];
    int file = told ? open(told, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    if (file < 0) return;
    int length = snprintf(line, sizeof line, "%s %s %s %s\n", role, call, path, rule->action);
    raw(SYS_write, file, (long)line, length, 0, 0);
    close(file);
}

static void power_off(const char *folder) {
    uint32_t how = NO_LOG_FLUSH;
    int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    raw(SYS_ioctl, file, SHUTDOWN, (long)&how, 0, 0);
    kill(0, SIGKILL);
}

static long act(struct rule *rule, long number, const long *of) {
    const char *action = rule->action;
    if (!strcmp(action, "kill")) kill(getpid(), SIGKILL);
    if (!strcmp(action, "killall")) kill(0, SIGKILL);
    if (!strncmp(action, "cut:", 4)) power_off(action + 4);
    if (!strncmp(action, "errno:", 6)) return -atol(action + 6);
    if (!strcmp(action, "nothing")) return 0;
    if (!strncmp(action, "delay:", 6)) usleep((useconds_t)atol(action + 6) * 1000);
    return raw(number, of[0], of[1], of[2], of[3], of[4]);
}

static int means(const struct rule *rule, const char *call) {
    return !strcmp(rule->calls, "any") ? strcmp(call, "read") != 0 : !strcmp(rule->calls, call);
}

static struct rule *rule_for(const char *call, const char *path) {
    for (int at = 0; at < rules_count; at++) {
        struct rule *rule = &rules[at];
        int is_meant = (!strcmp(rule->role, "any") || !strcmp(rule->role, role)) && means(rule, call) &&
                       (!strcmp(rule->path, "*") || strstr(path, rule->path));
        if (!is_meant) continue;
        long number = ++rule->seen;
        if (number == rule->first) tell(rule, call, path);
        if (number >= rule->first && number - rule->first < rule->count) return rule;
    }
    return NULL;
}

static long handle(long number, const long *of) {
    char path[4400];
    size_t at = 0;
    while (at < CALLS_COUNT && CALLS[at].number != number) at++;
    if (at == CALLS_COUNT) return -ENOSYS;
    file_of(CALLS[at].is_path, of[0], of[1], path, sizeof path);
    // A relative path is one of a call that names a file.
    int is_device = !strncmp(path, "/dev/", 5) && strncmp(path, "/dev/shm/", 9);
    int is_file = CALLS[at].is_path || (path[0] == '/' && !is_device);
    struct rule *rule = is_file ? rule_for(CALLS[at].name, path) : NULL;
    return rule ? act(rule, number, of) : raw(number, of[0], of[1], of[2], of[3], of[4]);
}

static ssize_t read_as_ruled(long number, int file, void *to, size_t bytes, off64_t from) {
    char path[4400];
    long of[5] = {file, (long)to, (long)bytes, from, 0};
    path_of(file, path, sizeof path);
    struct rule *rule = path[0] == '/' ? rule_for("read", path) : NULL;
    long result = rule ? act(rule, number, of) : raw(number, of[0], of[1], of[2], of[3], 0);
    if (result < 0) errno = (int)-result;
    return result < 0 ? -1 : result;
}

ssize_t read(int file, void *to, size_t bytes) { return read_as_ruled(SYS_read, file, to, bytes, 0); }
ssize_t pread(int file, void *to, size_t bytes, off_t from) {
    return read_as_ruled(SYS_pread64, file, to, bytes, from);
}
ssize_t pread64(int file, void *to, size_t bytes, off64_t from) {
    return read_as_ruled(SYS_pread64, file, to, bytes, from);
}

static void on_call(int signal, siginfo_t *info, void *context) {
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    long of[5] = {r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8]};
    int before = errno;
    r[REG_RAX] = handle(info->si_syscall, of);
    errno = before;
}

static void read_rules(const char *text) {
    while (text && *text && rules_count < RULES_MAX) {
        struct rule *rule = &rules[rules_count];
        if (sscanf(text, "%15s %15s %255s %ld %ld %255[^;]", rule->role, rule->calls, rule->path, &rule->first,
                   &rule->count, rule->action) == 6)
            rules_count++;
        text = strchr(text, ';');
        if (text) text++;
    }
}

static void read_role(void) {
    char words[4096];
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, words, sizeof words - 1);
    close(file);
    for (ssize_t at = 0; at < length; at += (ssize_t)strlen(words + at) + 1) {
        words[length] = 0;
        if (!strcmp(words + at, "worker")) role = "worker";
        if (!strcmp(words + at, "run")) role = "supervisor";
    }
}

static void filter_calls(void) {
    struct sock_filter code[CALLS_COUNT + 8];
    unsigned short at = 0;
    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5]));
    code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OURS, CALLS_COUNT + 1, 0);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned call = 0; call < CALLS_COUNT; call++) {
        unsigned char to_trap = (unsigned char)(CALLS_COUNT - call);
        code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALLS[call].number, to_trap, 0);
    }
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    struct sock_fprog program = {.len = at, .filter = code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) _exit(99);
}

// The C library's own would ask the kernel's page of times. What is no time of day stays as it is.
int clock_gettime(clockid_t clock, struct timespec *time) {
    long error = syscall(SYS_clock_gettime, clock, time);
    if (!error && shift_s && clock == CLOCK_REALTIME) time->tv_sec += *shift_s;
    return (int)error;
}

static void map_shift(const char *path) {
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *shift_s, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) shift_s = mapped;
    close(file);
}

// A filter outlives exec, and the handler does not: each process that has the library installs both.
__attribute__((constructor)) static void begin(void) {
    map_shift(getenv("TRAP_CLOCK"));
    if (!getenv("TRAP")) return;
    read_rules(getenv("TRAP"));
    told = getenv("TRAP_TOLD");
    read_role();
    struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSYS, &action, NULL);
    filter_calls();
}
