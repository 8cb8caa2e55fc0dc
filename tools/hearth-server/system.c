/*
 * Limits of the process and the lines it greets with.
 */
#include "tools/hearth-server/system.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/options.h"
#include "net/net.h"

#define FDS_OWN 256      /* listeners, RocksDB's files, the warm file, admin's connections */
#define FDS_PER_WORKER 8 /* epoll, eventfds */
#define TEXT_MAX 1024

unsigned system_worker_count(void)
{
    int64_t wanted = option_i64(OPT_THREADS);
    if (wanted > 0) {
        return (unsigned)wanted;
    }
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    int64_t max = option_info(OPT_THREADS)->max;
    return n > max ? (unsigned)max : (unsigned)n;
}

static void raise_fd_limit(unsigned n_workers)
{
    struct rlimit limit;
    rlim_t own = FDS_OWN + FDS_PER_WORKER * (rlim_t)n_workers;
    rlim_t wanted = (rlim_t)option_i64(OPT_MAXCLIENTS) + own;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
        return;
    }
    struct rlimit more = {.rlim_cur = wanted, .rlim_max = limit.rlim_max};
    if (more.rlim_max < wanted) {
        more.rlim_max = wanted; /* root may */
    }
    if (setrlimit(RLIMIT_NOFILE, &more) == 0) {
        return;
    }
    more.rlim_cur = more.rlim_max = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &more);
    char text[32];
    char why[OPTION_ERROR_MAX];
    rlim_t left = limit.rlim_max > own + 1 ? limit.rlim_max - own : 1;
    (void)snprintf(text, sizeof(text), "%lu", (unsigned long)left);
    if (option_set(OPT_MAXCLIENTS, text, why) == OK) {
        log_warn("server", "maxclients lowered",
                 "maxclients=%s file_descriptors=%lu hint=\"raise ulimit -n\"", text,
                 (unsigned long)limit.rlim_max);
    }
}

void system_prepare(unsigned n_workers)
{
    raise_fd_limit(n_workers);
    (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

static void print_text(const char *addresses, const char *memory, const char *warm,
                       const char *warm_path, unsigned n_workers)
{
    char dir[TEXT_MAX];
    char socket[TEXT_MAX];
    int port = (int)option_i64(OPT_PORT);
    (void)option_str(OPT_DIR, dir, sizeof(dir));
    printf("\n  Hearth %s: a cache for data sets larger than RAM, speaking Redis' protocol\n\n",
           HEARTH_VERSION);
    printf("  listening   %s\n", addresses);
    printf("  memory      %s, all included; %u worker thread%s\n", memory, n_workers,
           n_workers == 1 ? "" : "s");
    if (option_i64(OPT_WARM_SIZE) > 0) {
        printf("  warm tier   %s in %s\n", warm, warm_path);
    } else {
        printf("  warm tier   off (warm-size 0)\n");
    }
    printf("  data        %s\n", dir);
    if (port > 0) {
        printf("  try it      redis-cli -p %d set hello world\n", port);
    } else if (option_str(OPT_UNIXSOCKET, socket, sizeof(socket)) > 0) {
        printf("  try it      redis-cli -s %s set hello world\n", socket);
    }
    printf("  stop it     Ctrl-C (waits until everything is on the device)\n\n");
    (void)fflush(stdout);
}

/* "256 MB", "1.5 GB". */
static void format_bytes(int64_t bytes, char *buf, size_t cap)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    double v = (double)bytes;
    unsigned unit = 0;
    while (v >= 1024 && unit < 4) {
        v /= 1024;
        unit++;
    }
    (void)snprintf(buf, cap, "%.4g %s", v, units[unit]);
}

void system_print_banner(const struct net *net, unsigned n_workers)
{
    char addresses[TEXT_MAX];
    char memory[32];
    char warm[32];
    char warm_path[TEXT_MAX];
    net_addresses(net, addresses, sizeof(addresses));
    format_bytes(option_i64(OPT_MEMORY), memory, sizeof(memory));
    format_bytes(option_i64(OPT_WARM_SIZE), warm, sizeof(warm));
    if (option_str(OPT_WARM_PATH, warm_path, sizeof(warm_path)) == 0) {
        (void)option_str(OPT_DIR, warm_path, sizeof(warm_path) - 10);
        strcat(warm_path, "/warm.log");
    }
    if (option_i64(OPT_LOG_FORMAT) == 0) {
        print_text(addresses, memory, warm, warm_path, n_workers);
    }
    log_info("server", "ready",
             "version=%s pid=%d listen=\"%s\" threads=%u memory=\"%s\" warm=\"%s\"", HEARTH_VERSION,
             getpid(), addresses, n_workers, memory, warm);
}
