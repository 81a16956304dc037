/* Lets system calls fail, or kill their process, at a moment that is chosen by number.

   Preload this library. Calls are counted from faults_begin(folder, how, at, error) on, in the
   process that has called it, if they concern `folder` or a file in it that was opened since.
   Call number `at` then does what `how` says; every other is passed on to the C library. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum how {
    COUNT,     /* nothing happens */
    FAIL,      /* that call fails */
    FULL,      /* that call and all later ones that need space fail */
    SHORTEN,   /* that call writes only a part */
    KILL,      /* the process is killed instead of that call */
    TEAR       /* it is killed when that call has written a part */
};

#define DESCRIPTORS 65536
#define MOST 100000

static char folder[4096];
static size_t folder_size;
static enum how chosen;
static int chosen_number, chosen_error;
static atomic_int counting, calls;
static atomic_uchar ours[DESCRIPTORS];
static const char *met[MOST];

void faults_begin(const char *path, int how, int at, int error) {
    folder_size = strlen(path);
    memcpy(folder, path, folder_size + 1);
    chosen = how;
    chosen_number = at;
    chosen_error = error;
    atomic_store(&calls, 0);
    atomic_store(&counting, 1);
}

int faults_end(void) {
    atomic_store(&counting, 0);
    return atomic_load(&calls);
}

const char *faults_name(int number) {
    return number < MOST && met[number] ? met[number] : "";
}

static int inside(const char *path) {
    return path && atomic_load(&counting) && !strncmp(path, folder, folder_size)
        && (path[folder_size] == '/' || path[folder_size] == '\0');
}

static int is_ours(int descriptor) {
    return atomic_load(&counting) && descriptor >= 0 && descriptor < DESCRIPTORS
        && atomic_load(&ours[descriptor]);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

enum fate { PASS, REFUSED, PARTLY };

static enum fate meet(const char *name, int needs_space, int writes) {
    int number = atomic_fetch_add(&calls, 1);
    if (number < MOST)
        met[number] = name;
    if (chosen == FULL && needs_space && number >= chosen_number)
        return errno = chosen_error, REFUSED;
    if (number != chosen_number)
        return PASS;
    if (chosen == FAIL)
        return errno = chosen_error, REFUSED;
    if (chosen == KILL || (chosen == TEAR && !writes))
        die();
    return (chosen == TEAR || chosen == SHORTEN) && writes ? PARTLY : PASS;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define REFUSE(concerned, name, needs_space, failure) \
    if ((concerned) && meet(name, needs_space, 0) == REFUSED) \
        return failure

#define OPEN(name, parameters, arguments) \
    int name parameters { \
        mode_t mode = 0; \
        REAL(name); \
        if (flags & (O_CREAT | __O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        int concerned = inside(path); \
        REFUSE(concerned, "open", flags & O_CREAT, -1); \
        int descriptor = real arguments; \
        if (descriptor >= 0 && descriptor < DESCRIPTORS) \
            atomic_store(&ours[descriptor], concerned); \
        return descriptor; \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))

int close(int descriptor) {
    REAL(close);
    int concerned = is_ours(descriptor);
    enum fate fate = concerned ? meet("close", 0, 0) : PASS;
    int error = errno;
    if (descriptor >= 0 && descriptor < DESCRIPTORS)
        atomic_store(&ours[descriptor], 0);
    int result = real(descriptor);
    if (fate == REFUSED) {
        errno = error;
        return -1;
    }
    return result;
}

#define WRITE(name, parameters, whole, part) \
    ssize_t name parameters { \
        REAL(name); \
        enum fate fate = is_ours(descriptor) ? meet("write", 1, 1) : PASS; \
        if (fate == REFUSED) \
            return -1; \
        if (fate == PASS) \
            return real whole; \
        ssize_t result = real part; \
        if (chosen == TEAR) \
            die(); \
        return result; \
    }

WRITE(write, (int descriptor, const void *data, size_t size),
      (descriptor, data, size), (descriptor, data, (size + 1) / 2))
WRITE(pwrite, (int descriptor, const void *data, size_t size, off_t at),
      (descriptor, data, size, at), (descriptor, data, (size + 1) / 2, at))
WRITE(pwrite64, (int descriptor, const void *data, size_t size, off64_t at),
      (descriptor, data, size, at), (descriptor, data, (size + 1) / 2, at))
WRITE(writev, (int descriptor, const struct iovec *data, int count),
      (descriptor, data, count), (descriptor, data, (count + 1) / 2))
WRITE(pwritev, (int descriptor, const struct iovec *data, int count, off_t at),
      (descriptor, data, count, at), (descriptor, data, (count + 1) / 2, at))
WRITE(pwritev64, (int descriptor, const struct iovec *data, int count, off64_t at),
      (descriptor, data, count, at), (descriptor, data, (count + 1) / 2, at))

#define ON_DESCRIPTOR(name, type, failure, needs_space, parameters, arguments) \
    type name parameters { \
        REAL(name); \
        REFUSE(is_ours(descriptor), #name, needs_space, failure); \
        return real arguments; \
    }

ON_DESCRIPTOR(flock, int, -1, 0, (int descriptor, int how), (descriptor, how))
ON_DESCRIPTOR(fstat, int, -1, 0, (int descriptor, struct stat *into), (descriptor, into))
ON_DESCRIPTOR(fstat64, int, -1, 0, (int descriptor, struct stat64 *into), (descriptor, into))
ON_DESCRIPTOR(ftruncate, int, -1, 1, (int descriptor, off_t size), (descriptor, size))
ON_DESCRIPTOR(ftruncate64, int, -1, 1, (int descriptor, off64_t size), (descriptor, size))
ON_DESCRIPTOR(posix_fallocate, int, chosen_error, 1, (int descriptor, off_t from, off_t size),
              (descriptor, from, size))
ON_DESCRIPTOR(posix_fallocate64, int, chosen_error, 1,
              (int descriptor, off64_t from, off64_t size), (descriptor, from, size))
ON_DESCRIPTOR(read, ssize_t, -1, 0, (int descriptor, void *into, size_t size),
              (descriptor, into, size))
ON_DESCRIPTOR(pread64, ssize_t, -1, 0, (int descriptor, void *into, size_t size, off64_t at),
              (descriptor, into, size, at))
ON_DESCRIPTOR(preadv64, ssize_t, -1, 0,
              (int descriptor, const struct iovec *into, int count, off64_t at),
              (descriptor, into, count, at))
ON_DESCRIPTOR(preadv64v2, ssize_t, -1, 0,
              (int descriptor, const struct iovec *into, int count, off64_t at, int flags),
              (descriptor, into, count, at, flags))
ON_DESCRIPTOR(mmap, void *, MAP_FAILED, 0,
              (void *where, size_t size, int allow, int flags, int descriptor, off_t at),
              (where, size, allow, flags, descriptor, at))
ON_DESCRIPTOR(mmap64, void *, MAP_FAILED, 0,
              (void *where, size_t size, int allow, int flags, int descriptor, off64_t at),
              (where, size, allow, flags, descriptor, at))

/* The page cache outlives its process, so these need not be waited for. */
#define SYNC(name) \
    int name(int descriptor) { \
        REAL(name); \
        REFUSE(is_ours(descriptor), #name, 1, -1); \
        return is_ours(descriptor) ? 0 : real(descriptor); \
    }

SYNC(fsync)
SYNC(fdatasync)

#define ON_PATH(name, type, failure, needs_space, path, parameters, arguments) \
    type name parameters { \
        REAL(name); \
        REFUSE(inside(path), #name, needs_space, failure); \
        return real arguments; \
    }

ON_PATH(stat, int, -1, 0, path, (const char *path, struct stat *into), (path, into))
ON_PATH(stat64, int, -1, 0, path, (const char *path, struct stat64 *into), (path, into))
ON_PATH(fstatat64, int, -1, 0, path,
        (int at, const char *path, struct stat64 *into, int flags), (at, path, into, flags))
ON_PATH(opendir, DIR *, NULL, 0, path, (const char *path), (path))
ON_PATH(mkdir, int, -1, 1, path, (const char *path, mode_t mode), (path, mode))
ON_PATH(unlink, int, -1, 0, path, (const char *path), (path))
ON_PATH(unlinkat, int, -1, 0, path, (int at, const char *path, int flags), (at, path, flags))
ON_PATH(rename, int, -1, 1, to, (const char *from, const char *to), (from, to))
ON_PATH(renameat, int, -1, 1, to,
        (int at, const char *from, int into, const char *to), (at, from, into, to))
ON_PATH(link, int, -1, 1, to, (const char *from, const char *to), (from, to))
ON_PATH(linkat, int, -1, 1, to,
        (int at, const char *from, int into, const char *to, int flags),
        (at, from, into, to, flags))
