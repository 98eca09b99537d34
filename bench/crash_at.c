/* crash_at: kills its own process at the N-th storage call, for crash tests.
 *
 * Preloaded (LD_PRELOAD) into one process. Storage calls are those by which SQLite reaches the disk (pwrite, fsync,
 * fdatasync, ftruncate, unlink) and those by which bytes go to PostgreSQL (send to a socket called .s.PGSQL.*).
 * CRASH_AT=N: kill -9 at the N-th; 0 or unset: never. CRASH_WHEN=before|after the call is made.
 * CRASH_COUNT=FILE: at a clean exit the number of calls is written there.
 *
 *   cc -O2 -shared -fPIC -o crash_at.so crash_at.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

static atomic_long calls;
static long at;
static int after;

__attribute__((constructor)) static void begin(void) {
    const char *n = getenv("CRASH_AT"), *when = getenv("CRASH_WHEN");
    at = n ? atol(n) : 0;
    after = when && !strcmp(when, "after");
    /* Programs that this one starts are not meant. */
    unsetenv("LD_PRELOAD");
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("CRASH_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", atomic_load(&calls));
        fclose(file);
    }
}

static int mine(void) { return atomic_fetch_add(&calls, 1) + 1 == at; }

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define CALL(type, call)                      \
    int hit = mine();                         \
    if (hit && !after) die();                 \
    type result = (call);                     \
    if (hit) die();                           \
    return result

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset) {
    REAL(pwrite64);
    CALL(ssize_t, real(fd, data, n, offset));
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t offset) {
    REAL(pwrite);
    CALL(ssize_t, real(fd, data, n, offset));
}
int fsync(int fd) {
    REAL(fsync);
    CALL(int, real(fd));
}
int fdatasync(int fd) {
    REAL(fdatasync);
    CALL(int, real(fd));
}
int ftruncate64(int fd, off64_t n) {
    REAL(ftruncate64);
    CALL(int, real(fd, n));
}
int ftruncate(int fd, off_t n) {
    REAL(ftruncate);
    CALL(int, real(fd, n));
}
int unlink(const char *path) {
    REAL(unlink);
    CALL(int, real(path));
}

static int to_postgres(int fd) {
    struct sockaddr_un name;
    socklen_t n = sizeof name;
    memset(&name, 0, sizeof name);
    return !getpeername(fd, (struct sockaddr *)&name, &n) && name.sun_family == AF_UNIX &&
           strstr(name.sun_path, ".s.PGSQL.") != NULL;
}

ssize_t send(int fd, const void *data, size_t n, int flags) {
    REAL(send);
    if (!to_postgres(fd)) return real(fd, data, n, flags);
    CALL(ssize_t, real(fd, data, n, flags));
}
