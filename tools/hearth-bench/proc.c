/*
 * A process' CPU clock (clock_getcpuclockid) is the sum of its threads' run times in nanoseconds and
 * keeps those of threads that ended; /proc/PID/stat tells the same in ticks of 10 ms, and
 * /proc/PID/task/TID/schedstat in nanoseconds but of living threads only. VmRSS comes from
 * /proc/PID/status, the number operators look at.
 */
#include "tools/hearth-bench/proc.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool proc_cpu(int64_t pid, struct proc_cpu *cpu_out)
{
    clockid_t clock;
    struct timespec ts;
    if (clock_getcpuclockid((pid_t)pid, &clock) != 0 || clock_gettime(clock, &ts) != 0) {
        return false;
    }
    cpu_out->total_ns = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;

    char path[64];
    char line[1024];
    snprintf(path, sizeof(path), "/proc/%lld/stat", (long long)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }
    size_t n = fread(line, 1, sizeof(line) - 1, file);
    fclose(file);
    line[n] = '\0';
    unsigned long long system_ticks = 0;
    const char *name_end = strrchr(line, ')'); /* the name may hold blanks and brackets */
    if (name_end == NULL ||
        sscanf(name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %llu",
               &system_ticks) != 1) {
        return false;
    }
    cpu_out->system_ns = (int64_t)(system_ticks * (1000000000ull / (unsigned)sysconf(_SC_CLK_TCK)));
    return true;
}

bool proc_rss(int64_t pid, int64_t *bytes_out)
{
    char path[64];
    char line[256];
    long long kib = -1;
    snprintf(path, sizeof(path), "/proc/%lld/status", (long long)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }
    while (kib < 0 && fgets(line, sizeof(line), file) != NULL) {
        sscanf(line, "VmRSS: %lld kB", &kib);
    }
    fclose(file);
    *bytes_out = kib * 1024;
    return kib >= 0;
}
