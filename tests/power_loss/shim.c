/* A disk that can lose its power: preloaded into a program (LD_PRELOAD), it keeps
 * beside a folder what a power cut would leave of it.
 *
 * POWER_LOSS_DISK    the folder: the disk.
 * POWER_LOSS_SHADOW  another folder: the disk as of each file's last sync.
 *
 *   SHADOW/ino/N       the synced bytes of the file with inode N on the disk
 *   SHADOW/tree/PATH   the synced names: hard links into SHADOW/ino. A name counts
 *                      once its folder was synced, not when its file was.
 *   SHADOW/tree/DIR/.unsynced   DIR's own name does not count yet
 *
 * The program works on the disk as ever. Written ranges are remembered, and a sync
 * copies them to the shadow after the real sync has returned. So whoever kills the
 * program, at whatever instant, finds both states: the shadow is what must survive,
 * and what differs between the two is what a cut may or may not leave (disk.rs
 * decides, sector by sector). A kill during a sync leaves part of it, as a cut does.
 *
 * Files that steer it, looked for at each call:
 *
 *   SHADOW/full       writes that add to a file, and new files, fail with ENOSPC; all but
 *                     the first N of a process if the file holds a number N
 *   SHADOW/fail-sync  the next sync of a file fails with EIO, and what it should have
 *                     written is lost unless it is written again, as on Linux; the
 *                     file is removed by it
 *   SHADOW/no-sync    syncs do nothing and say that all is well: to the disk, that is
 *                     SQLite with synchronous=OFF
 *
 *   SHADOW/kill-at    holds a number: of the calls that change the disk, that one
 *                     kills the program before anything is done
 *
 * What it relies on: one process at a time works on a file; nobody writes through a
 * memory map, a duplicated descriptor or an unlinked file. SQLite's -shm file is all
 * of that and not tracked: SQLite makes it anew, and a cut takes it away. It never
 * opens a database by itself, since closing it would drop the program's locks. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAX_FDS = 65536, MAX_FILES = 512 };

struct range {
    off_t from, to;
};

/* A file on the disk that this process has opened. */
struct file {
    ino_t ino;
    int shadow; /* descriptor of SHADOW/ino/N */
    struct range *dirty;
    size_t count, room;
};

/* An open descriptor: of a file, or of the folder `dir`. */
struct handle {
    struct file *file;
    char *dir;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct handle handles[MAX_FDS];
static struct file files[MAX_FILES];
static size_t file_count;
static char disk[PATH_MAX], shadow[PATH_MAX];
static size_t disk_length;

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_unlink)(const char *);
static int (*real_rename)(const char *, const char *);
static int (*real_mkdir)(const char *, mode_t);

__attribute__((constructor)) static void begin(void) {
    const char *root = getenv("POWER_LOSS_DISK"), *beside = getenv("POWER_LOSS_SHADOW");
    real_open = dlsym(RTLD_NEXT, "open64");
    real_close = dlsym(RTLD_NEXT, "close");
    real_write = dlsym(RTLD_NEXT, "write");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_mkdir = dlsym(RTLD_NEXT, "mkdir");
    if (root && beside && realpath(root, disk) && realpath(beside, shadow))
        disk_length = strlen(disk);
}

/* A test that goes on with a broken shim would show nothing. */
static void give_up(const char *what) {
    dprintf(2, "power-loss shim: %s: %s\n", what, strerror(errno));
    _exit(99);
}

static void need(int fine, const char *what) {
    if (!fine)
        give_up(what);
}

/* The path below the disk, "" for the disk itself; NULL if it lies elsewhere. */
static const char *on_disk(const char *path) {
    if (!disk_length || strncmp(path, disk, disk_length) != 0)
        return NULL;
    const char *rest = path + disk_length;
    return *rest == '/' || *rest == 0 ? rest : NULL;
}

static int is_shm(const char *path) {
    size_t length = strlen(path);
    return length >= 4 && strcmp(path + length - 4, "-shm") == 0;
}

static void in_shadow(char *into, const char *part, const char *path, const char *last) {
    need(snprintf(into, PATH_MAX, "%s/%s%s%s", shadow, part, path, last) < PATH_MAX, path);
}

static void ino_path(char *into, ino_t ino) {
    char number[32];
    snprintf(number, sizeof number, "/%lu", (unsigned long)ino);
    in_shadow(into, "ino", number, "");
}

static int told(const char *what) {
    char path[PATH_MAX];
    in_shadow(path, what, "", "");
    return access(path, F_OK) == 0;
}

/* A step that changes the disk is about to be taken. */
static void step(void) {
    static int taken;
    char path[PATH_MAX], number[16] = {0};
    if (!disk_length)
        return;
    in_shadow(path, "kill-at", "", "");
    int fd = real_open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    need(read(fd, number, sizeof number - 1) > 0, path);
    real_close(fd);
    if (__atomic_add_fetch(&taken, 1, __ATOMIC_SEQ_CST) == atoi(number))
        kill(getpid(), SIGKILL);
}

static int full(void) {
    static int added;
    char path[PATH_MAX], number[16] = {0};
    in_shadow(path, "full", "", "");
    int fd = real_open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    need(read(fd, number, sizeof number - 1) >= 0, path);
    real_close(fd);
    if (__atomic_add_fetch(&added, 1, __ATOMIC_SEQ_CST) <= atoi(number))
        return 0;
    errno = ENOSPC;
    return 1;
}

/* Dirty ranges */

static void add_dirty(struct file *file, off_t from, off_t to) {
    if (from >= to)
        return;
    if (file->count) {
        struct range *last = &file->dirty[file->count - 1];
        if (from <= last->to && to >= last->from) {
            last->from = from < last->from ? from : last->from;
            last->to = to > last->to ? to : last->to;
            return;
        }
    }
    if (file->count == file->room) {
        file->room = file->room ? file->room * 2 : 64;
        file->dirty = realloc(file->dirty, file->room * sizeof *file->dirty);
        need(file->dirty != NULL, "memory");
    }
    file->dirty[file->count++] = (struct range){from, to};
}

static struct file *find(ino_t ino) {
    for (size_t i = 0; i < file_count; i++)
        if (files[i].ino == ino)
            return &files[i];
    return NULL;
}

/* The file behind a descriptor, known from now on. */
static struct file *meet(const struct stat *stat) {
    struct file *file = find(stat->st_ino);
    if (file)
        return file;
    for (size_t i = 0; !file && i < file_count; i++)
        if (files[i].ino == 0)
            file = &files[i];
    if (!file) {
        need(file_count < MAX_FILES, "too many files");
        file = &files[file_count++];
    }
    char path[PATH_MAX];
    ino_path(path, stat->st_ino);
    file->ino = stat->st_ino;
    file->count = 0;
    file->shadow = real_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    need(file->shadow >= 0, path);
    /* What an earlier process wrote and did not sync goes with the first sync. */
    add_dirty(file, 0, stat->st_size);
    return file;
}

/* Its inode may be another file's soon. The synced names keep the synced bytes. */
static void forget(ino_t ino) {
    char path[PATH_MAX];
    struct file *file = find(ino);
    if (file) {
        real_close(file->shadow);
        file->ino = 0;
        for (int fd = 0; fd < MAX_FDS; fd++)
            if (handles[fd].file == file)
                handles[fd].file = NULL;
    }
    ino_path(path, ino);
    real_unlink(path);
}

/* Syncing */

static void copy(int fd, struct file *file, struct range range) {
    char buffer[65536];
    while (range.from < range.to) {
        size_t part = sizeof buffer;
        if (range.to - range.from < (off_t)part)
            part = range.to - range.from;
        ssize_t got = pread(fd, buffer, part, range.from);
        need(got >= 0, "reading back what was written");
        if (got == 0)
            return; /* truncated since */
        need(real_pwrite(file->shadow, buffer, got, range.from) == got, "the shadow");
        range.from += got;
    }
}

static void sync_file(int fd, struct file *file) {
    struct stat stat;
    need(fstat(fd, &stat) == 0, "fstat");
    /* A descriptor that only writes can't be read back. */
    int reading = fd;
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        reading = real_open(path, O_RDONLY | O_CLOEXEC);
        need(reading >= 0, path);
    }
    for (size_t i = 0; i < file->count; i++)
        copy(reading, file, file->dirty[i]);
    need(real_ftruncate(file->shadow, stat.st_size) == 0, "the shadow's length");
    file->count = 0;
    if (reading != fd)
        real_close(reading);
}

/* Makes the folder's names in the shadow those on the disk. */
static void sync_folder(const char *dir) {
    char there[PATH_MAX], here[PATH_MAX], source[PATH_MAX], fresh[PATH_MAX];
    in_shadow(there, "tree", dir, "");
    struct dirent *entry;
    DIR *names = opendir(there);
    need(names != NULL, there);
    while ((entry = readdir(names))) {
        struct stat stat;
        need(snprintf(here, sizeof here, "%s%s/%s", disk, dir, entry->d_name) < PATH_MAX, dir);
        if (entry->d_type == DT_REG && entry->d_name[0] != '.' && lstat(here, &stat) != 0)
            need(unlinkat(dirfd(names), entry->d_name, 0) == 0, here);
    }
    closedir(names);
    snprintf(here, sizeof here, "%s%s", disk, dir);
    names = opendir(here);
    need(names != NULL, here);
    while ((entry = readdir(names))) {
        char name[NAME_MAX + 2];
        snprintf(name, sizeof name, "/%s", entry->d_name);
        need(snprintf(here, sizeof here, "%s%s", there, name) < PATH_MAX, here);
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
            need(snprintf(source, sizeof source, "%s/.unsynced", here) < PATH_MAX, here);
            real_unlink(source);
        } else if (entry->d_type == DT_REG && !is_shm(name)) {
            ino_path(source, entry->d_ino);
            in_shadow(fresh, "fresh", "", "");
            real_unlink(fresh);
            /* Without a shadow it was neither opened nor synced: an old one's file. */
            if (link(source, fresh) == 0)
                need(real_rename(fresh, here) == 0, here);
            real_unlink(fresh); /* renaming a link to itself does nothing */
        }
    }
    closedir(names);
}

static int do_sync(int fd) {
    struct handle *handle = fd >= 0 && fd < MAX_FDS ? &handles[fd] : NULL;
    if (!handle || (!handle->file && !handle->dir))
        return real_fsync(fd);
    step();
    if (told("no-sync"))
        return 0;
    int result = real_fsync(fd);
    pthread_mutex_lock(&lock);
    if (result == 0 && handle->file && told("fail-sync")) {
        char path[PATH_MAX];
        in_shadow(path, "fail-sync", "", "");
        real_unlink(path);
        handle->file->count = 0;
        errno = EIO;
        result = -1;
    } else if (result == 0 && handle->file) {
        sync_file(fd, handle->file);
    } else if (result == 0 && handle->dir) {
        sync_folder(handle->dir);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return do_sync(fd); }
int fdatasync(int fd) { return do_sync(fd); }

/* Opening and closing */

static int do_open(const char *path, int flags, mode_t mode) {
    const char *below = on_disk(path);
    if (!below)
        return real_open(path, flags, mode);
    int creates = (flags & O_CREAT) && access(path, F_OK) != 0;
    if (creates)
        step();
    if (creates && full())
        return -1;
    pthread_mutex_lock(&lock);
    struct stat before = {0}, stat;
    if ((flags & O_TRUNC) && lstat(path, &before) != 0)
        before.st_size = 0;
    int fd = real_open(path, flags, mode);
    if (fd >= 0 && fd < MAX_FDS && !is_shm(path) && fstat(fd, &stat) == 0) {
        struct handle *handle = &handles[fd];
        if (S_ISDIR(stat.st_mode)) {
            handle->dir = strdup(below);
            size_t length = strlen(handle->dir);
            if (length && handle->dir[length - 1] == '/')
                handle->dir[length - 1] = 0;
        } else if (S_ISREG(stat.st_mode)) {
            handle->file = meet(&stat);
            add_dirty(handle->file, 0, before.st_size);
        }
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

static mode_t mode_of(int flags, va_list arguments) {
    return flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(NAME)                                     \
    int NAME(const char *path, int flags, ...) {       \
        va_list arguments;                             \
        va_start(arguments, flags);                    \
        mode_t mode = mode_of(flags, arguments);       \
        va_end(arguments);                             \
        return do_open(path, flags, mode);             \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (fd >= 0 && fd < MAX_FDS && (handles[fd].file || handles[fd].dir)) {
        pthread_mutex_lock(&lock);
        free(handles[fd].dir);
        handles[fd] = (struct handle){0};
        pthread_mutex_unlock(&lock);
    }
    return real_close(fd);
}

/* Writing */

static struct file *file_of(int fd) {
    return fd >= 0 && fd < MAX_FDS ? handles[fd].file : NULL;
}

static int refuses(int fd, off_t end) {
    struct stat stat;
    return fstat(fd, &stat) == 0 && end > stat.st_size && full();
}

static ssize_t written(int fd, off_t from, ssize_t count) {
    pthread_mutex_lock(&lock);
    struct file *file = file_of(fd);
    if (file && count > 0)
        add_dirty(file, from, from + count);
    pthread_mutex_unlock(&lock);
    return count;
}

static ssize_t do_pwrite(int fd, const void *bytes, size_t count, off_t from) {
    if (!file_of(fd))
        return real_pwrite(fd, bytes, count, from);
    step();
    if (refuses(fd, from + (off_t)count))
        return -1;
    return written(fd, from, real_pwrite(fd, bytes, count, from));
}

ssize_t pwrite(int fd, const void *b, size_t n, off_t at) { return do_pwrite(fd, b, n, at); }
ssize_t pwrite64(int fd, const void *b, size_t n, off_t at) { return do_pwrite(fd, b, n, at); }

/* Where a plain write goes. */
static off_t place(int fd) {
    struct stat stat;
    if ((fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &stat) == 0)
        return stat.st_size;
    return lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (!file_of(fd))
        return real_write(fd, bytes, count);
    step();
    off_t from = place(fd);
    if (refuses(fd, from + (off_t)count))
        return -1;
    return written(fd, from, real_write(fd, bytes, count));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!file_of(fd))
        return real_writev(fd, parts, count);
    off_t from = place(fd), end = from;
    for (int i = 0; i < count; i++)
        end += parts[i].iov_len;
    if (refuses(fd, end))
        return -1;
    return written(fd, from, real_writev(fd, parts, count));
}

static int do_ftruncate(int fd, off_t length) {
    if (!file_of(fd))
        return real_ftruncate(fd, length);
    step();
    if (refuses(fd, length))
        return -1;
    struct stat stat;
    need(fstat(fd, &stat) == 0, "fstat");
    int result = real_ftruncate(fd, length);
    /* If it grows again, zeros stand where the old bytes were. */
    if (result == 0)
        written(fd, length, stat.st_size - length);
    return result;
}

int ftruncate(int fd, off_t length) { return do_ftruncate(fd, length); }
int ftruncate64(int fd, off_t length) { return do_ftruncate(fd, length); }

/* Names */

int unlink(const char *path) {
    struct stat stat;
    int ours = on_disk(path) && !is_shm(path) && lstat(path, &stat) == 0;
    if (ours)
        step();
    pthread_mutex_lock(&lock);
    int result = real_unlink(path);
    if (ours && result == 0 && stat.st_nlink == 1)
        forget(stat.st_ino);
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to) {
    struct stat stat;
    int replaces = on_disk(to) && lstat(to, &stat) == 0;
    if (on_disk(to))
        step();
    pthread_mutex_lock(&lock);
    int result = real_rename(from, to);
    if (replaces && result == 0 && stat.st_nlink == 1)
        forget(stat.st_ino);
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode) {
    const char *below = on_disk(path);
    if (below)
        step();
    if (below && access(path, F_OK) != 0 && full())
        return -1;
    int result = real_mkdir(path, mode);
    if (below && result == 0) {
        char there[PATH_MAX], mark[PATH_MAX];
        in_shadow(there, "tree", below, "");
        need(real_mkdir(there, 0700) == 0 || errno == EEXIST, there);
        in_shadow(mark, "tree", below, "/.unsynced");
        int fd = real_open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        need(fd >= 0, mark);
        real_close(fd);
    }
    return result;
}
