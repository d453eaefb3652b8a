/*
 * A descriptor from 0 to 2 that is closed when the client begins (`client >&-`)
 * is opened on /dev/null, an output for reading only and the input for writing only:
 * using it fails, as it should, and no socket or database gets its number. Rust's standard library opens such a
 * descriptor for writing, too, before main; then nothing tells it from an output
 * that is thrown away on purpose, and mail that nobody saw would count as read.
 */
#include <fcntl.h>

__attribute__((constructor)) static void hold_closed(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) == -1)
            return; /* The standard library reports it. */
}
