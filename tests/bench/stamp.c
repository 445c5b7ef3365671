/* The process of a measured pod: says when its first instruction ran and when its last one did.
 *
 *     stamp NAME MILLISECONDS [FILE]
 *
 * Each stamp is one line, "NAME start NANOSECONDS" or "NAME end NANOSECONDS" in boot time, appended to FILE
 * (/data/stamps). Static, so that nothing but exec stands before the first stamp. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec at;
    clock_gettime(CLOCK_BOOTTIME, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static int note(int file, const char *name, const char *what, long long at) {
    char line[256];
    int length = snprintf(line, sizeof line, "%s %s %lld\n", name, what, at);
    return write(file, line, length) == length;
}

int main(int argc, char **argv) {
    long long start = now();
    if (argc < 3) return 2;
    int file = open(argc > 3 ? argv[3] : "/data/stamps", O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (file < 0 || !note(file, argv[1], "start", start)) return 3;
    long ms = atol(argv[2]);
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    if (ms > 0) nanosleep(&pause, NULL);
    return note(file, argv[1], "end", now()) ? 0 : 3;
}
