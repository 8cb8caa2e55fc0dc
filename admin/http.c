/*
 * One thread, one libevent loop, evhttp. Requests are small and rare; answers are built in memory.
 *
 * Not a way in: GET only, no bodies, headers up to 16 KiB, 15 s per request, and a Host
 * header that is an address or `localhost` (a page in an operator's browser cannot reach the port
 * through a name it controls: DNS rebinding).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/exposition.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"
#include "engine/base/options.h"

#define HEADERS_MAX (16 * 1024)
#define TIMEOUT_S 15

struct admin {
    struct engine *engine;
    struct event_base *base;
    struct evhttp *http;
    struct event *stop_event;
    int stop_fd;
    pthread_t thread;
};

/* ---- answers ---- */

static void send_text(struct evhttp_request *req, int code, const char *type, const char *text,
                      size_t len)
{
    struct evbuffer *body = evbuffer_new();
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    if (body == NULL) {
        evhttp_send_error(req, HTTP_INTERNAL, NULL);
        return;
    }
    evhttp_add_header(headers, "Content-Type", type);
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
    evbuffer_add(body, text, len);
    evhttp_send_reply(req, code, NULL, body);
    evbuffer_free(body);
}

static void send_json(struct evhttp_request *req, int code, const char *type, json_t *json)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);
    if (text == NULL) {
        evhttp_send_error(req, HTTP_INTERNAL, NULL);
    } else {
        send_text(req, code, type, text, strlen(text));
    }
    free(text);
    json_decref(json);
}

/* RFC 9457. */
static void send_problem(struct evhttp_request *req, int code, const char *title,
                         const char *detail)
{
    send_json(req, code, "application/problem+json",
              json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title", title, "status",
                        code, "detail", detail));
}

static void get_metrics(struct admin *admin, struct evhttp_request *req)
{
    const char *accept = evhttp_find_header(evhttp_request_get_input_headers(req), "Accept");
    bool is_openmetrics = accept != NULL && strstr(accept, "application/openmetrics-text") != NULL;
    char *text;
    size_t len;
    (void)admin;
    if (exposition_write(is_openmetrics, &text, &len) != OK) {
        send_problem(req, HTTP_INTERNAL, "Out of memory", "the metrics could not be written");
        return;
    }
    send_text(req, HTTP_OK,
              is_openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                             : "text/plain; version=0.0.4; charset=utf-8",
              text, len);
    free(text);
}

static void get_healthz(struct admin *admin, struct evhttp_request *req)
{
    (void)admin;
    send_text(req, HTTP_OK, "text/plain; charset=utf-8", "ok\n", 3);
}

static void get_readyz(struct admin *admin, struct evhttp_request *req)
{
    struct engine_stats stats;
    bool is_ready = metric_value_raw(M_READY) > 0;
    engine_stats(admin->engine, &stats);
    send_json(req, is_ready ? HTTP_OK : HTTP_SERVUNAVAIL, "application/json",
              json_pack("{s:s, s:f, s:s}", "state",
                        is_ready           ? "ready"
                        : stats.is_loading ? "loading"
                                           : "stopping",
                        "progress_ratio", stats.loading_ratio, "device_state", stats.device_state));
}

static void get_root(struct admin *admin, struct evhttp_request *req)
{
    static const char text[] = "Hearth admin port\n\n"
                               "  /metrics   Prometheus or OpenMetrics text\n"
                               "  /healthz   200 while the process is alive\n"
                               "  /readyz    200 when it serves commands\n";
    (void)admin;
    send_text(req, HTTP_OK, "text/plain; charset=utf-8", text, sizeof(text) - 1);
}

static const struct route {
    const char *path;
    void (*get)(struct admin *admin, struct evhttp_request *req);
} routes[] = {
    {"/", get_root},
    {"/metrics", get_metrics},
    {"/healthz", get_healthz},
    {"/readyz", get_readyz},
};

/* ---- requests ---- */

/* "host", "host:port", "[v6]:port": an address or localhost. */
static bool is_host_allowed(const char *host)
{
    char name[64];
    unsigned char address[sizeof(struct in6_addr)];
    if (host == NULL) {
        return true; /* HTTP/1.0: not a browser */
    }
    bool is_v6 = host[0] == '[';
    size_t len = is_v6 ? strcspn(host + 1, "]") : strcspn(host, ":");
    if (len >= sizeof(name)) {
        return false;
    }
    memcpy(name, host + (is_v6 ? 1 : 0), len);
    name[len] = '\0';
    return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, address) == 1 ||
           inet_pton(AF_INET6, name, address) == 1;
}

static void on_request(struct evhttp_request *req, void *arg)
{
    struct admin *admin = arg;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    const char *path = uri != NULL ? evhttp_uri_get_path(uri) : NULL;
    const char *host = evhttp_find_header(evhttp_request_get_input_headers(req), "Host");
    enum evhttp_cmd_type method = evhttp_request_get_command(req);
    if (!is_host_allowed(host)) {
        send_problem(req, 403, "Forbidden", "Host must be an IP address or localhost");
        return;
    }
    if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
        evhttp_add_header(evhttp_request_get_output_headers(req), "Allow", "GET, HEAD");
        send_problem(req, HTTP_BADMETHOD, "Method not allowed", "only GET is served");
        return;
    }
    for (size_t i = 0; path != NULL && i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (strcmp(path, routes[i].path) == 0) {
            routes[i].get(admin, req);
            return;
        }
    }
    send_problem(req, HTTP_NOTFOUND, "Not found", "see / for what there is");
}

/* ---- life ---- */

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    struct admin *admin = arg;
    (void)fd;
    (void)what;
    (void)event_base_loopbreak(admin->base);
}

static void *admin_main(void *arg)
{
    struct admin *admin = arg;
    (void)event_base_dispatch(admin->base);
    return NULL;
}

static enum status admin_open(struct admin *admin, const char *address, uint16_t port,
                              char *error_out)
{
    admin->base = event_base_new();
    admin->http = admin->base != NULL ? evhttp_new(admin->base) : NULL;
    admin->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (admin->http == NULL || admin->stop_fd < 0) {
        (void)snprintf(error_out, ENGINE_ERROR_MAX, "cannot start the admin port: out of memory");
        return NO_MEMORY;
    }
    evhttp_set_allowed_methods(admin->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
                                                EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |
                                                EVHTTP_REQ_PATCH | EVHTTP_REQ_OPTIONS);
    evhttp_set_max_headers_size(admin->http, HEADERS_MAX);
    evhttp_set_max_body_size(admin->http, 0);
    evhttp_set_timeout(admin->http, TIMEOUT_S);
    evhttp_set_gencb(admin->http, on_request, admin);
    admin->stop_event = event_new(admin->base, admin->stop_fd, EV_READ, on_stop, admin);
    if (admin->stop_event == NULL || event_add(admin->stop_event, NULL) != 0) {
        return NO_MEMORY;
    }
    if (evhttp_bind_socket(admin->http, address, port) != 0) {
        (void)snprintf(error_out, ENGINE_ERROR_MAX,
                       "cannot listen on admin port %s:%u: %s (another server? --admin-port 0 "
                       "turns it off)",
                       address, port, strerror(errno));
        return INVALID;
    }
    return OK;
}

static void admin_free(struct admin *admin)
{
    if (admin->http != NULL) {
        evhttp_free(admin->http);
    }
    if (admin->stop_event != NULL) {
        event_free(admin->stop_event);
    }
    if (admin->base != NULL) {
        event_base_free(admin->base);
    }
    if (admin->stop_fd >= 0) {
        (void)close(admin->stop_fd);
    }
    mem_free(admin);
}

enum status admin_start(struct engine *engine, struct admin **out, char *error_out)
{
    char address[128];
    uint16_t port = (uint16_t)option_i64(OPT_ADMIN_PORT);
    *out = NULL;
    if (port == 0) {
        return OK;
    }
    (void)option_str(OPT_ADMIN_BIND, address, sizeof(address));
    struct admin *admin = mem_zalloc(1, sizeof(*admin));
    if (admin == NULL) {
        return NO_MEMORY;
    }
    admin->engine = engine;
    admin->stop_fd = -1;
    enum status st = admin_open(admin, address, port, error_out);
    if (st == OK && pthread_create(&admin->thread, NULL, admin_main, admin) != 0) {
        st = NO_MEMORY;
    }
    if (st != OK) {
        admin_free(admin);
        return st;
    }
    *out = admin;
    return OK;
}

void admin_stop(struct admin **admin)
{
    struct admin *a = *admin;
    uint64_t one = 1;
    if (a == NULL) {
        return;
    }
    if (write(a->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one)) {
        (void)pthread_join(a->thread, NULL);
    }
    admin_free(a);
    *admin = NULL;
}
