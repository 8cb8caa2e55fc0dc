/*
 * A line is built on the stack and leaves with one write(2), so that lines of several threads never
 * mix and no lock is held over I/O. Whatever the arguments contain, a line stays one line: control
 * characters are escaped in both forms.
 *
 * Rate limit: the generic cell rate algorithm in one word per call site. next_us is the time at which
 * the site's bucket would be empty again; a line may run LOG_BURST lines ahead of it. Hence a start
 * that names ten addresses is printed whole, while a failing device prints one line a second, each
 * saying how many it stands for. Debug lines are never limited: who asks for them wants them all.
 */
#include "engine/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"

#define LOG_MESSAGE_MAX 1024 /* bytes of a formatted message; the rest is cut */
#define LOG_LINE_MAX 16384   /* a message of six-byte escapes only, twice (JSON), and the frame */
#define LOG_INTERVAL_US 1000000
#define LOG_BURST 10

static _Atomic int min_level = LOG_INFO; /* relaxed: a change may show one line late */
static _Atomic bool is_json_form;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&min_level, (int)level, memory_order_relaxed);
}

void log_set_json(bool is_json)
{
    atomic_store_explicit(&is_json_form, is_json, memory_order_relaxed);
}

struct line {
    size_t len;
    char text[LOG_LINE_MAX];
};

static void add(struct line *line, const char *data, size_t len)
{
    size_t room = sizeof(line->text) - 1 - line->len; /* 1 for the newline */
    len = len < room ? len : room;
    memcpy(line->text + line->len, data, len);
    line->len += len;
}

static void add_text(struct line *line, const char *text)
{
    add(line, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) static void addf(struct line *line, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (n > 0) {
        add(line, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
    }
}

/* Length of the well-formed UTF-8 sequence at s (RFC 3629), 0 if it is none. */
static size_t utf8_len(const unsigned char *s, size_t len)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    if (n == 0 || n > len || s[0] > 0xF4) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    bool is_overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    bool is_outside = (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF4 && s[1] > 0x8F);
    return is_overlong || is_outside ? 0 : n;
}

/* Text form: \n, \t and \xHH for control characters and bytes that are no UTF-8. */
static void add_escaped(struct line *line, const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t i = 0; i < len;) {
        size_t n = utf8_len(s + i, len - i);
        if (n == 0 || s[i] == 0x7F || (s[i] < 0x20)) {
            char escape = s[i] == '\n' ? 'n' : s[i] == '\t' ? 't' : s[i] == '\r' ? 'r' : '\0';
            if (escape != '\0') {
                addf(line, "\\%c", escape);
            } else {
                addf(line, "\\x%02x", s[i]);
            }
            n = 1;
        } else {
            add(line, text + i, n);
        }
        i += n;
    }
}

/* Inside a JSON string (RFC 8259); a byte that is no UTF-8 becomes U+FFFD. */
static void add_json(struct line *line, const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t i = 0; i < len;) {
        size_t n = utf8_len(s + i, len - i);
        if (n == 0) {
            add_text(line, "\\ufffd");
            n = 1;
        } else if (s[i] == '"' || s[i] == '\\') {
            addf(line, "\\%c", s[i]);
        } else if (s[i] < 0x20 || s[i] == 0x7F) {
            addf(line, "\\u%04x", s[i]);
        } else {
            add(line, text + i, n);
        }
        i += n;
    }
}

static bool is_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

/* Length of the key at text if "key=" stands there, else 0. */
static size_t key_len(const char *text)
{
    size_t n = 0;
    while (is_key_char(text[n])) {
        n++;
    }
    return text[n] == '=' ? n : 0;
}

/* The pairs of a message as "labels":{…}. A value reaches to the next " key=", blanks included. */
static void add_labels(struct line *line, const char *pairs)
{
    const char *separator = ",\"labels\":{\"";
    while (*pairs != '\0') {
        size_t n = key_len(pairs);
        const char *value = pairs + n + 1;
        const char *end = n > 0 ? value : pairs + 1;
        while (*end != '\0' && !(*end == ' ' && key_len(end + 1) > 0)) {
            end++;
        }
        if (n > 0) {
            add_text(line, separator);
            add_json(line, pairs, n);
            add_text(line, "\":\"");
            add_json(line, value, (size_t)(end - value));
            add_text(line, "\"");
            separator = ",\"";
        }
        pairs = *end == ' ' ? end + 1 : end;
    }
    if (separator[1] == '"' && separator[2] == '\0') {
        add_text(line, "}");
    }
}

static void add_time(struct line *line, int64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    char text[32] = "";
    if (gmtime_r(&seconds, &tm) != NULL) {
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    }
    addf(line, "%s.%03dZ", text, (int)(wall_us / 1000 % 1000));
}

static void format_text(struct line *line, enum log_level level, const char *component,
                        const char *event, const char *pairs)
{
    static const char *const words[] = {"debug", "info ", "warn ", "error"};
    add_time(line, clock_wall_us());
    addf(line, " %s ", words[level]);
    add_text(line, component);
    add_text(line, ": ");
    add_escaped(line, event, strlen(event));
    if (*pairs != '\0') {
        add_text(line, " ");
        add_escaped(line, pairs, strlen(pairs));
    }
}

/* Elastic Common Schema: @timestamp, log.*, message, ecs.version come first, in this order
 * (ecs-logging specification). */
static void format_json(struct line *line, enum log_level level, const char *component,
                        const char *event, const char *pairs)
{
    static const char *const words[] = {"debug", "info", "warn", "error"};
    add_text(line, "{\"@timestamp\":\"");
    add_time(line, clock_wall_us());
    addf(line, "\",\"log.level\":\"%s\",\"message\":\"", words[level]);
    add_json(line, event, strlen(event));
    if (*pairs != '\0') {
        add_text(line, " ");
        add_json(line, pairs, strlen(pairs));
    }
    add_text(line, "\",\"ecs.version\":\"1.6.0\",\"log.logger\":\"hearth.");
    add_json(line, component, strlen(component));
    addf(line, "\",\"service.name\":\"hearth\",\"process.pid\":%d", (int)getpid());
    add_labels(line, pairs);
    add_text(line, "}");
}

/* Whether the site may print now; *suppressed_out: lines it has swallowed since it last did. */
static bool site_may_print(struct log_site *site, uint32_t *suppressed_out)
{
    int64_t now = clock_mono_us();
    int64_t next = atomic_load_explicit(&site->next_us, memory_order_relaxed);
    if (next - now > (LOG_BURST - 1) * (int64_t)LOG_INTERVAL_US) {
        atomic_fetch_add_explicit(&site->suppressed, 1, memory_order_relaxed);
        return false;
    }
    next = (next > now ? next : now) + LOG_INTERVAL_US;
    atomic_store_explicit(&site->next_us, next, memory_order_relaxed);
    *suppressed_out = atomic_exchange_explicit(&site->suppressed, 0, memory_order_relaxed);
    return true;
}

void log_write(enum log_level level, struct log_site *site, const char *component,
               const char *event, const char *fmt, ...)
{
    if ((int)level < atomic_load_explicit(&min_level, memory_order_relaxed)) {
        return;
    }
    uint32_t n_suppressed = 0;
    if (site != NULL && level != LOG_DEBUG && !site_may_print(site, &n_suppressed)) {
        return;
    }
    int saved_errno = errno;
    char pairs[LOG_MESSAGE_MAX + 32];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(pairs, LOG_MESSAGE_MAX, fmt, args);
    va_end(args);
    size_t len = n < 0 ? 0 : n < LOG_MESSAGE_MAX ? (size_t)n : LOG_MESSAGE_MAX - 1;
    pairs[len] = '\0';
    if (n_suppressed > 0) {
        const char *blank = len > 0 ? " " : "";
        snprintf(pairs + len, sizeof(pairs) - len, "%ssuppressed=%u", blank, n_suppressed);
    }
    struct line line;
    line.len = 0;
    if (atomic_load_explicit(&is_json_form, memory_order_relaxed)) {
        format_json(&line, level, component, event, pairs);
    } else {
        format_text(&line, level, component, event, pairs);
    }
    line.text[line.len++] = '\n';
    /* Nobody is left to tell if stderr cannot be written. */
    ssize_t written = write(STDERR_FILENO, line.text, line.len);
    (void)written;
    errno = saved_errno;
}
