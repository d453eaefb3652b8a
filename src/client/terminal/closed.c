/*
 * Opens /dev/null for each of the descriptors 0 to 2 that is closed when the client begins
 * (`client >&-`): an output for reading only, the input for writing only. Using it then fails, as
 * it should, and no socket or database gets its number. Otherwise Rust's standard library would
 * open it for reading and writing before main. Such an output could not be told from one that is
 * discarded on purpose, and mail that nobody saw would count as read.
 */
#include <fcntl.h>

__attribute__((constructor)) static void hold_closed(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) == -1)
            return; /* The standard library reports it. */
}
