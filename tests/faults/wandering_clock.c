/*
 * The wall clock of whoever loads this (LD_PRELOAD): every half second a day ahead, or a day behind. CLOCK_MONOTONIC stays.
 * Not for Triton and its stubs: they hand wall-clock times to the kernel, whose clock has not moved.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int wanders(clockid_t clock)
{
    return (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) &&
           strncmp(program_invocation_short_name, "triton", 6) != 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    long failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && wanders(clock)) {
        struct timespec steady;
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &steady);
        now->tv_sec += steady.tv_nsec < 500000000 ? 86400 : -86400;
    }
    return (int)failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    now->tv_sec = wall.tv_sec;
    now->tv_usec = wall.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    if (result)
        *result = wall.tv_sec;
    return wall.tv_sec;
}
