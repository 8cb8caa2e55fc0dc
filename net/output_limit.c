/*
 * The text is parsed when it changes; the serving threads see three numbers. They are stored one by
 * one: a reader may for an instant combine an old hard limit with a new soft one.
 */
#include "net/output_limit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/options.h"

#define TEXT_MAX 256

struct parsed {
    int64_t hard_bytes, soft_bytes, soft_s;
};

static enum status fail(char *error_out, size_t cap, const char *text)
{
    if (error_out != NULL) {
        (void)snprintf(error_out, cap, "%s", text);
    }
    return INVALID;
}

static bool is_class(const char *word)
{
    return strcasecmp(word, "normal") == 0 || strcasecmp(word, "slave") == 0 ||
           strcasecmp(word, "replica") == 0 || strcasecmp(word, "pubsub") == 0;
}

static bool parse_limits(char **save, struct parsed *out)
{
    const char *hard = strtok_r(NULL, " ", save);
    const char *soft = strtok_r(NULL, " ", save);
    const char *seconds = strtok_r(NULL, " ", save);
    if (seconds == NULL || option_parse_bytes(hard, &out->hard_bytes) != OK ||
        option_parse_bytes(soft, &out->soft_bytes) != OK) {
        return false;
    }
    char *end = NULL;
    out->soft_s = strtol(seconds, &end, 10);
    return *end == '\0' && out->soft_s >= 0 && out->hard_bytes >= 0 && out->soft_bytes >= 0;
}

enum status output_limit_set(struct output_limit *limit, const char *text, char *error_out,
                             size_t cap)
{
    char copy[TEXT_MAX];
    if (strlen(text) >= sizeof(copy)) {
        return fail(error_out, cap, "Wrong number of arguments in buffer limit configuration.");
    }
    strcpy(copy, text);
    struct parsed normal = {0, 0, 0};
    char *save = NULL;
    bool is_set = false;
    for (char *word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        struct parsed parsed;
        if (!is_class(word)) {
            return fail(error_out, cap,
                        "Invalid client class specified in buffer limit configuration.");
        }
        if (!parse_limits(&save, &parsed)) {
            return fail(
                error_out, cap,
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
        }
        if (strcasecmp(word, "normal") == 0) {
            normal = parsed;
        }
        is_set = true;
    }
    if (!is_set) {
        return fail(error_out, cap, "Wrong number of arguments in buffer limit configuration.");
    }
    atomic_store_explicit(&limit->hard_bytes, (uint64_t)normal.hard_bytes, memory_order_relaxed);
    atomic_store_explicit(&limit->soft_bytes, (uint64_t)normal.soft_bytes, memory_order_relaxed);
    atomic_store_explicit(&limit->soft_ms, (uint64_t)normal.soft_s * 1000, memory_order_relaxed);
    return OK;
}

bool output_limit_is_over_hard(const struct output_limit *limit, size_t bytes)
{
    uint64_t hard = atomic_load_explicit(&limit->hard_bytes, memory_order_relaxed);
    return hard > 0 && bytes > hard;
}

bool output_limit_is_over_soft(const struct output_limit *limit, size_t bytes, int64_t now_ms,
                               int64_t *since_ms)
{
    uint64_t soft = atomic_load_explicit(&limit->soft_bytes, memory_order_relaxed);
    if (soft == 0 || bytes <= soft) {
        *since_ms = 0;
        return false;
    }
    if (*since_ms == 0) {
        *since_ms = now_ms;
    }
    return output_limit_is_too_long(limit, now_ms - *since_ms);
}

bool output_limit_is_too_long(const struct output_limit *limit, int64_t ms)
{
    uint64_t soft = atomic_load_explicit(&limit->soft_bytes, memory_order_relaxed);
    uint64_t soft_ms = atomic_load_explicit(&limit->soft_ms, memory_order_relaxed);
    return soft > 0 && ms > (int64_t)soft_ms;
}
