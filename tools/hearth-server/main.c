/*
 * hearth-server: reads the options, opens the engine, starts the network and the admin port, waits for
 * a signal or SHUTDOWN, and stops in the opposite order.
 *
 *     main thread    start … wait for SIGTERM, SIGINT or SHUTDOWN … stop, drain, exit
 *     workers        net/loop.c        admin thread    admin/        the engine's own    engine/
 *
 * Exit codes: 0 stopped as asked, 1 could not start or lost something while stopping, 2 usage.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <poll.h>
#include <unistd.h>

#include "engine/api_control.h"
#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/log.h"
#include "engine/base/metrics.h"
#include "engine/base/options.h"
#include "net/net.h"
#include "tools/hearth-server/system.h"

#if __has_include("admin/admin.h")
#include "admin/admin.h"
#else /* a checkout without the admin layer still makes a server */
struct admin;
static enum status admin_start(struct engine *engine, struct admin **out, char *error_out)
{
    *out = NULL;
    return OK;
}
static void admin_stop(struct admin **admin)
{
}
#endif

#define EXIT_USAGE 2
#define ERROR_MAX 512

/* Pages that nobody uses go back to the kernel within a second: the option memory bounds RSS. No
 * huge pages, which would round small heaps up to 2 MB steps. */
extern const char *malloc_conf;
const char *malloc_conf = "dirty_decay_ms:200,muzzy_decay_ms:0,background_thread:true,thp:never,"
                          "metadata_thp:disabled";

struct server {
    struct engine *engine;
    struct net *net;
    struct admin *admin;
    int signal_fd;
    int shutdown_fd;         /* readable: SHUTDOWN was received */
    _Atomic bool keeps_data; /* written by a worker before it signals shutdown_fd */
    int64_t started_us;
};

/* --- options ------------------------------------------------------------------------------------ */

static enum status on_log_level(enum option_id id, void *arg, char *error_out)
{
    static const enum log_level levels[] = {LOG_DEBUG, LOG_INFO, LOG_INFO, LOG_WARN};
    log_set_level(levels[option_i64(id)]);
    return OK;
}

static enum status on_log_format(enum option_id id, void *arg, char *error_out)
{
    log_set_json(option_i64(id) == 1);
    return OK;
}

static bool has_word(int argc, char **argv, const char *word, const char *short_word)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], word) == 0 || strcmp(argv[i], short_word) == 0) {
            return true;
        }
    }
    return false;
}

static void print_help(void)
{
    printf(
        "Usage: hearth-server [config-file] [--option value ...]\n\n"
        "A cache server for data sets larger than RAM: hot values in memory, warm ones compressed\n"
        "on NVMe. It speaks Redis' protocol.\n\n"
        "  hearth-server --memory 4gb --warm-size 200gb --dir /var/lib/hearth\n"
        "  hearth-server /etc/hearth/hearth.conf --port 6380\n\n"
        "  --help     this text\n  --version  the version\n\nOptions:\n");
    options_print_help(stdout);
}

/* An exit code, or -1: go on. */
static int read_options(int argc, char **argv)
{
    char why[ERROR_MAX];
    options_init();
    if (has_word(argc, argv, "--help", "-h")) {
        print_help();
        return EXIT_SUCCESS;
    }
    if (has_word(argc, argv, "--version", "-v")) {
        printf("hearth-server %s (answers as Redis %s)\n", HEARTH_VERSION, NET_REDIS_VERSION);
        return EXIT_SUCCESS;
    }
    if (options_load_args(argc, argv, why) != OK) {
        fprintf(stderr, "hearth-server: %s\nTry hearth-server --help.\n", why);
        return EXIT_USAGE;
    }
    option_on_change(OPT_LOGLEVEL, on_log_level, NULL);
    option_on_change(OPT_LOG_FORMAT, on_log_format, NULL);
    IGNORE(on_log_level(OPT_LOGLEVEL, NULL, why));
    IGNORE(on_log_format(OPT_LOG_FORMAT, NULL, why));
    return -1;
}

/* --- start and stop ----------------------------------------------------------------------------- */

static void on_shutdown(void *arg, bool keep_data)
{
    struct server *s = arg;
    uint64_t one = 1;
    s->keeps_data = keep_data;
    if (write(s->shutdown_fd, &one, sizeof(one)) < 0) {
        log_error("server", "shutdown not noted", "errno=%d", errno);
    }
}

static void refresh_uptime(void *arg)
{
    const struct server *s = arg;
    metric_set(M_UPTIME, (double)(clock_mono_us() - s->started_us) / 1e6);
}

static bool open_signals(struct server *s)
{
    sigset_t set;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) {
        return false;
    }
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    s->shutdown_fd = eventfd(0, EFD_CLOEXEC);
    return s->signal_fd >= 0 && s->shutdown_fd >= 0;
}

/* From here on a second Ctrl-C ends the process at once. */
static void let_signals_kill(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    (void)signal(SIGINT, SIG_DFL);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void wait_for_end(struct server *s)
{
    struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
                           {.fd = s->shutdown_fd, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    struct signalfd_siginfo info;
    if ((fds[0].revents & POLLIN) != 0 && read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        log_info("server", "stopping", "why=%s", info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
    } else {
        log_info("server", "stopping", "why=SHUTDOWN keep_data=%d", (int)s->keeps_data);
    }
}

static void stop(struct server *s)
{
    metric_set(M_READY, 0);
    net_stop(&s->net);
    admin_stop(&s->admin);
}

static enum status start(struct server *s, unsigned n_workers)
{
    enum status st = OK;
    char why[ERROR_MAX] = "";
    st = engine_open(n_workers, &s->engine, why);
    if (st != OK) {
        fprintf(stderr, "hearth-server: %s\n", why);
        return st;
    }
    struct net_config config = {.engine = s->engine,
                                .n_workers = n_workers,
                                .on_shutdown = on_shutdown,
                                .arg = s};
    TRY(net_start(&config, &s->net, why));
    TRY(admin_start(s->engine, &s->admin, why));
    metrics_on_refresh(refresh_uptime, s);
    metric_set(M_READY, 1);
out:
    if (st != OK) {
        fprintf(stderr, "hearth-server: %s\n", why);
        stop(s);
    }
    return st;
}

static int run(struct server *s)
{
    unsigned n_workers = system_worker_count();
    s->started_us = clock_mono_us();
    s->keeps_data = true;
    if (!open_signals(s)) {
        fprintf(stderr, "hearth-server: cannot receive signals: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    system_prepare(n_workers);
    enum status st = start(s, n_workers);
    if (st == OK) {
        system_print_banner(s->net, n_workers);
        wait_for_end(s);
        let_signals_kill();
        stop(s);
        metrics_off_refresh(refresh_uptime, s);
    }
    if (s->engine != NULL) {
        enum status closed = engine_close(&s->engine, s->keeps_data);
        st = st != OK ? st : closed;
    }
    log_info("server", "stopped", "status=\"%s\"", status_text(st));
    return st == OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    int code = read_options(argc, argv);
    if (code >= 0) {
        return code;
    }
    (void)umask(077);
#ifdef HEARTH_TEST
    if (fault_arm(getenv("HEARTH_FAULTS")) != OK) {
        fprintf(stderr, "hearth-server: HEARTH_FAULTS: unknown fault point or syntax\n");
        return EXIT_USAGE;
    }
#endif
    static struct server server;
    return run(&server);
}
