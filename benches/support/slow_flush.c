/* Makes every flush of a process longer: put in front of the C library by `BENCH_FLUSH_DELAY_US`. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int slow(long number, int file) {
    long result = syscall(number, file);
    const char *delay = getenv("BENCH_FLUSH_DELAY_US");
    usleep(delay ? (useconds_t) atoi(delay) : 0);
    return (int) result;
}

int fdatasync(int file) { return slow(SYS_fdatasync, file); }

int fsync(int file) { return slow(SYS_fsync, file); }
