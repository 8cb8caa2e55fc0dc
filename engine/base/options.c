/*
 * One table, one value per option: an atomic number (INT, BYTES, BOOL, and an ENUM's index) that any
 * thread reads without a lock, or a string behind a short lock. The text form is made from the value,
 * never kept beside it.
 *
 * Setters take turns (set_turn, recursive, so a hook may set another option); readers never wait for
 * one. A hook runs after the value is stored and visible, in the setter's turn but with no lock of the
 * lock order held; if it refuses, the old value comes back. A hook must not wait for a thread that may
 * itself be setting.
 *
 * Files and the command line are in options_file.c.
 */
#include "engine/base/options.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/check.h"
#include "engine/base/lock.h"
#include "engine/base/options_internal.h"

static const struct option_info infos[OPTION_COUNT] = {
#define X(id, name, type, def, min, max, words, flags, help)                                       \
    [OPT_##id] = {name, OPTION_##type, def, min, max, words, flags, help},
#include "engine/base/options.def"
#undef X
};

static _Atomic int64_t numbers[OPTION_COUNT]; /* atomic, relaxed: each is complete in itself */
static struct lock strings_lock = {.rank = LOCK_RANK_LEAF};
static char *strings[OPTION_COUNT]; /* strings lock */

static pthread_mutex_t set_turn = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
/* set_turn */
static struct {
    option_hook_fn fn;
    void *arg;
} hooks[OPTION_COUNT];

/* A parsed value; a string is owned by whoever holds the struct. */
struct value {
    int64_t number;
    char *string;
};

void option_explain(char *error_out, const char *fmt, ...)
{
    if (error_out == NULL) {
        return;
    }
    va_list args;
    va_start(args, fmt);
    vsnprintf(error_out, OPTION_ERROR_MAX, fmt, args);
    va_end(args);
}

const struct option_info *option_info(enum option_id id)
{
    return &infos[id];
}

static bool find_exact(const char *name, enum option_id *id_out)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        if (strcasecmp(infos[id].name, name) == 0) {
            *id_out = (enum option_id)id;
            return true;
        }
    }
    return false;
}

static enum option_id resolve(enum option_id id)
{
    if (infos[id].flags & OPTION_ALIAS) {
        CHECK(find_exact(infos[id].words, &id));
    }
    return id;
}

enum status option_lookup(const char *name, enum option_id *id_out)
{
    if (!find_exact(name, id_out)) {
        return NOT_FOUND;
    }
    *id_out = resolve(*id_out);
    return OK;
}

/* Levenshtein, case-blind, one row at a time. */
#define NAME_MAX_LEN 64
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned row[NAME_MAX_LEN + 1];
    size_t len_a = strlen(a);
    size_t len_b = strlen(b);
    if (len_a > NAME_MAX_LEN || len_b > NAME_MAX_LEN) {
        return UINT_MAX;
    }
    for (unsigned j = 0; j <= len_b; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; i <= len_a; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= len_b; j++) {
            bool is_same = strncasecmp(&a[i - 1], &b[j - 1], 1) == 0;
            unsigned replaced = diagonal + !is_same;
            diagonal = row[j];
            unsigned shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = replaced < shorter ? replaced : shorter;
        }
    }
    return row[len_b];
}

const char *option_nearest(const char *name)
{
    const char *nearest = NULL;
    unsigned limit = (unsigned)strlen(name) / 4 + 1; /* more mistyped: no guess */
    unsigned best = limit + 1;
    for (int id = 0; id < OPTION_COUNT; id++) {
        unsigned distance = edit_distance(name, infos[id].name);
        if (distance < best) {
            best = distance;
            nearest = infos[id].name;
        }
    }
    return nearest;
}

/* --- values from text ----------------------------------------------------------------------------- */

static bool parse_int(const char *text, int64_t *out)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    if (*digits < '0' || *digits > '9') {
        return false;
    }
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    *out = value;
    return errno == 0 && *end == '\0';
}

enum status option_parse_bytes(const char *text, int64_t *bytes_out)
{
    static const struct {
        const char *unit;
        int64_t bytes;
    } units[] = {
        {"", 1},        {"b", 1},        {"k", 1000},       {"kb", 1 << 10},
        {"m", 1000000}, {"mb", 1 << 20}, {"g", 1000000000}, {"gb", 1 << 30},
    };
    *bytes_out = 0;
    if (*text < '0' || *text > '9') {
        return INVALID;
    }
    char *end;
    errno = 0;
    long long count = strtoll(text, &end, 10);
    if (errno != 0) {
        return INVALID;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        int64_t bytes;
        if (strcasecmp(end, units[i].unit) == 0 &&
            !__builtin_mul_overflow((int64_t)count, units[i].bytes, &bytes)) {
            *bytes_out = bytes;
            return OK;
        }
    }
    return INVALID;
}

/* Index of the word among "a|b|c", -1 if it is none. */
static int word_index(const char *words, const char *word)
{
    size_t len = strlen(word);
    for (int i = 0;; i++) {
        size_t n = strcspn(words, "|");
        if (n == len && strncasecmp(words, word, n) == 0) {
            return i;
        }
        if (words[n] == '\0') {
            return -1;
        }
        words += n + 1;
    }
}

static const char *word_at(const char *words, int64_t index, size_t *len_out)
{
    while (index-- > 0) {
        words += strcspn(words, "|") + 1;
    }
    *len_out = strcspn(words, "|");
    return words;
}

void option_format_bytes(int64_t bytes, char *buf, size_t cap)
{
    static const char *const units[] = {"", "kb", "mb", "gb"};
    int unit = 0;
    while (unit < 3 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buf, cap, "%" PRId64 "%s", bytes, units[unit]);
}

static enum status check_bounds(const struct option_info *info, const char *text, int64_t number,
                                char *error_out)
{
    if (number >= info->min && number <= info->max) {
        return OK;
    }
    char low[32];
    char high[32];
    if (info->type == OPTION_BYTES) {
        option_format_bytes(info->min, low, sizeof(low));
        option_format_bytes(info->max, high, sizeof(high));
    } else {
        snprintf(low, sizeof(low), "%" PRId64, info->min);
        snprintf(high, sizeof(high), "%" PRId64, info->max);
    }
    option_explain(error_out, "%s: %.64s is out of bounds, %s to %s", info->name, text, low, high);
    return INVALID;
}

static enum status refuse(const struct option_info *info, const char *text, const char *wanted,
                          char *error_out)
{
    option_explain(error_out, "%s: '%.64s' is not %s", info->name, text, wanted);
    return INVALID;
}

static enum status parse_value(const struct option_info *info, const char *text, struct value *out,
                               char *error_out)
{
    *out = (struct value){0};
    switch (info->type) {
    case OPTION_INT:
        if (!parse_int(text, &out->number)) {
            return refuse(info, text, "a whole number", error_out);
        }
        return check_bounds(info, text, out->number, error_out);
    case OPTION_BYTES:
        if (option_parse_bytes(text, &out->number) != OK) {
            return refuse(info, text, "a size such as 512, 64mb or 10gb", error_out);
        }
        return check_bounds(info, text, out->number, error_out);
    case OPTION_BOOL:
        out->number = word_index("no|yes", text);
        return out->number >= 0 ? OK : refuse(info, text, "yes or no", error_out);
    case OPTION_ENUM:
        out->number = word_index(info->words, text);
        if (out->number < 0) {
            char wanted[160];
            snprintf(wanted, sizeof(wanted), "one of %s", info->words);
            return refuse(info, text, wanted, error_out);
        }
        return OK;
    default:
        out->string = strdup(text);
        if (out->string == NULL) {
            option_explain(error_out, "%s: out of memory", info->name);
            return NO_MEMORY;
        }
        return OK;
    }
}

/* --- storing -------------------------------------------------------------------------------------- */

/* Puts the value in and the old one out, so that the caller can swap back. */
static void swap_value(enum option_id id, struct value *value)
{
    value->number = atomic_exchange_explicit(&numbers[id], value->number, memory_order_relaxed);
    lock_acquire(&strings_lock);
    char *old = strings[id];
    strings[id] = value->string;
    lock_release(&strings_lock);
    value->string = old;
}

/* In set_turn, where nobody else stores. */
static bool is_current(enum option_id id, const struct value *value)
{
    if (infos[id].type != OPTION_STRING) {
        return atomic_load_explicit(&numbers[id], memory_order_relaxed) == value->number;
    }
    return strings[id] != NULL && strcmp(strings[id], value->string) == 0;
}

void options_turn_begin(void)
{
    pthread_mutex_lock(&set_turn);
}

void options_turn_end(void)
{
    pthread_mutex_unlock(&set_turn);
}

void options_init(void)
{
    options_turn_begin();
    for (int i = 0; i < OPTION_COUNT; i++) {
        enum option_id id = (enum option_id)i;
        hooks[id].fn = NULL;
        if (infos[id].flags & OPTION_ALIAS) {
            continue;
        }
        struct value value;
        char error[OPTION_ERROR_MAX];
        CHECK(parse_value(&infos[id], infos[id].default_text, &value, error) == OK);
        swap_value(id, &value);
        free(value.string);
    }
    options_file_forget();
    options_turn_end();
}

enum status option_check(enum option_id id, const char *text, char *error_out)
{
    struct value value;
    enum status st = parse_value(&infos[resolve(id)], text, &value, error_out);
    free(value.string);
    return st;
}

enum status option_set(enum option_id id, const char *text, char *error_out)
{
    id = resolve(id);
    struct value value;
    enum status st = parse_value(&infos[id], text, &value, error_out);
    if (st != OK) {
        return st;
    }
    options_turn_begin();
    if (!is_current(id, &value)) {
        swap_value(id, &value);
        if (hooks[id].fn != NULL) {
            option_explain(error_out, "%s: refused", infos[id].name); /* if the hook is silent */
            st = hooks[id].fn(id, hooks[id].arg, error_out);
        }
        if (st != OK) {
            swap_value(id, &value);
        } else {
            option_explain(error_out, "%s", "");
        }
    }
    options_turn_end();
    free(value.string);
    return st;
}

void option_on_change(enum option_id id, option_hook_fn fn, void *arg)
{
    id = resolve(id);
    options_turn_begin();
    hooks[id].fn = fn;
    hooks[id].arg = arg;
    options_turn_end();
}

/* --- reading -------------------------------------------------------------------------------------- */

int64_t option_i64(enum option_id id)
{
    return atomic_load_explicit(&numbers[resolve(id)], memory_order_relaxed);
}

static size_t copy_text(const char *text, size_t len, char *buf, size_t cap)
{
    if (cap > 0) {
        size_t n = len < cap ? len : cap - 1;
        memcpy(buf, text, n);
        buf[n] = '\0';
    }
    return len;
}

size_t option_str(enum option_id id, char *buf, size_t cap)
{
    id = resolve(id);
    lock_acquire(&strings_lock);
    const char *text = strings[id] != NULL ? strings[id] : "";
    size_t len = copy_text(text, strlen(text), buf, cap);
    lock_release(&strings_lock);
    return len;
}

size_t option_text(enum option_id id, char *buf, size_t cap)
{
    id = resolve(id);
    const struct option_info *info = &infos[id];
    if (info->type == OPTION_STRING) {
        return option_str(id, buf, cap);
    }
    int64_t number = option_i64(id);
    if (info->type == OPTION_INT || info->type == OPTION_BYTES) {
        char text[32];
        int len = snprintf(text, sizeof(text), "%" PRId64, number);
        return copy_text(text, (size_t)len, buf, cap);
    }
    size_t len;
    const char *words = info->type == OPTION_BOOL ? "no|yes" : info->words;
    const char *word = word_at(words, number, &len);
    return copy_text(word, len, buf, cap);
}

static void print_bounds(FILE *out, const struct option_info *info)
{
    char low[32];
    char high[32];
    switch (info->type) {
    case OPTION_INT:
        fprintf(out, ", %" PRId64 " to %" PRId64, info->min, info->max);
        break;
    case OPTION_BYTES:
        option_format_bytes(info->min, low, sizeof(low));
        option_format_bytes(info->max, high, sizeof(high));
        fprintf(out, ", %s to %s", low, high);
        break;
    case OPTION_ENUM:
        fprintf(out, ", one of %s", info->words);
        break;
    case OPTION_BOOL:
        fprintf(out, ", yes or no");
        break;
    default:
        break;
    }
}

void options_print_help(FILE *out)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct option_info *info = &infos[id];
        if (info->flags & OPTION_ALIAS) {
            continue;
        }
        const char *none = info->default_text[0] == '\0' ? "empty" : "";
        fprintf(out, "  --%s\n      %s\n      default %s%s", info->name, info->help,
                info->default_text, none);
        print_bounds(out, info);
        fprintf(out, "%s\n", info->flags & OPTION_MUTABLE ? "; CONFIG SET at run time" : "");
    }
}
