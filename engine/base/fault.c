/*
 * Each fault's rule is one 64-bit word, so that arming is a store and passing is a load, and a passage
 * beside an arming sees the old rule or the new one, never a mixture:
 *
 *     63      44 43    32 31      8     7     6   2 1  0
 *     [delay us  ][1 in n ][passage ][onward][status][kind]
 *
 * A spec is parsed whole before anything changes. Killing is SIGKILL, not abort: no handler, exit
 * hook or sanitizer's report may tidy up what a kill -9 would have left behind.
 */
#include "engine/base/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum fault_kind { FAULT_NONE, FAULT_STATUS, FAULT_KILL, FAULT_DELAY };

#define FAULT_DELAY_MAX_US ((1u << 20) - 1)
#define FAULT_ONE_IN_MAX ((1u << 12) - 1)
#define FAULT_PASSAGE_MAX ((1u << 24) - 1)

struct rule {
    enum fault_kind kind;
    enum status st;
    bool is_onward;   /* from `passage` on, else that one only */
    unsigned passage; /* from 1 */
    unsigned delay_us;
    unsigned one_in;
};

static const char *const names[FAULT_COUNT] = {
#define X(id, name, help) [FAULT_##id] = name,
#include "engine/base/fault.def"
#undef X
};

static const char *const status_names[STATUS_COUNT] = {
#define X(name, blame, text) [name] = #name,
#include "engine/base/status.def"
#undef X
};

/* atomic, relaxed: each word is complete in itself */
static _Atomic uint64_t rules[FAULT_COUNT];
static _Atomic uint64_t passages[FAULT_COUNT];

_Static_assert(STATUS_COUNT <= 32, "a status has 5 bits in a rule");

static uint64_t rule_pack(const struct rule *r)
{
    return (uint64_t)r->kind | (uint64_t)r->st << 2 | (uint64_t)r->is_onward << 7 |
           (uint64_t)r->passage << 8 | (uint64_t)r->one_in << 32 | (uint64_t)r->delay_us << 44;
}

static struct rule rule_unpack(uint64_t word)
{
    return (struct rule){
        .kind = word & 3,
        .st = word >> 2 & 31,
        .is_onward = word >> 7 & 1,
        .passage = word >> 8 & FAULT_PASSAGE_MAX,
        .one_in = word >> 32 & FAULT_ONE_IN_MAX,
        .delay_us = (unsigned)(word >> 44),
    };
}

/* A decimal number of 1..max at *text, which moves behind it. */
static bool parse_number(const char **text, unsigned max, unsigned *out)
{
    if (**text < '0' || **text > '9') {
        return false;
    }
    char *end;
    errno = 0;
    unsigned long value = strtoul(*text, &end, 10);
    if (errno != 0 || value == 0 || value > max) {
        return false;
    }
    *text = end;
    *out = (unsigned)value;
    return true;
}

static bool parse_word(const char **text, const char *word)
{
    size_t len = strlen(word);
    if (strncmp(*text, word, len) != 0) {
        return false;
    }
    char after = (*text)[len];
    if (after != '\0' && after != '@' && after != ':') {
        return false;
    }
    *text += len;
    return true;
}

static bool parse_action(const char **text, struct rule *r)
{
    if (parse_word(text, "KILL")) {
        r->kind = FAULT_KILL;
        return true;
    }
    if (parse_word(text, "DELAY")) {
        r->kind = FAULT_DELAY;
        if (*(*text)++ != ':' || !parse_number(text, FAULT_DELAY_MAX_US, &r->delay_us)) {
            return false;
        }
        return **text != ':' || (++*text, parse_number(text, FAULT_ONE_IN_MAX, &r->one_in));
    }
    r->kind = FAULT_STATUS;
    for (int st = OK + 1; st < STATUS_COUNT; st++) {
        if (parse_word(text, status_names[st])) {
            r->st = (enum status)st;
            return true;
        }
    }
    return false;
}

/* "name=ACTION[@N[+]]", terminated. */
static bool parse_rule(const char *text, enum fault_id *id_out, struct rule *r)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL) {
        return false;
    }
    int id = 0;
    size_t len = (size_t)(equals - text);
    while (id < FAULT_COUNT && (strlen(names[id]) != len || strncmp(names[id], text, len) != 0)) {
        id++;
    }
    *r = (struct rule){.passage = 1, .is_onward = true, .one_in = 1};
    const char *rest = equals + 1;
    if (id == FAULT_COUNT || !parse_action(&rest, r)) {
        return false;
    }
    if (*rest == '@') {
        rest++;
        if (!parse_number(&rest, FAULT_PASSAGE_MAX, &r->passage)) {
            return false;
        }
        r->is_onward = *rest == '+';
        rest += r->is_onward;
    }
    *id_out = (enum fault_id)id;
    return *rest == '\0';
}

enum status fault_arm(const char *spec)
{
    uint64_t wanted[FAULT_COUNT] = {0};
    char *copy = strdup(spec != NULL ? spec : "");
    if (copy == NULL) {
        return NO_MEMORY;
    }
    bool is_valid = true;
    char *rest = *copy != '\0' ? copy : NULL;
    while (is_valid && rest != NULL) {
        enum fault_id id;
        struct rule r;
        is_valid = parse_rule(strsep(&rest, ","), &id, &r);
        if (is_valid) {
            wanted[id] = rule_pack(&r);
        }
    }
    free(copy);
    if (!is_valid) {
        return INVALID;
    }
    for (int id = 0; id < FAULT_COUNT; id++) {
        atomic_store_explicit(&passages[id], 0, memory_order_relaxed);
        atomic_store_explicit(&rules[id], wanted[id], memory_order_relaxed);
    }
    return OK;
}

/* xorshift64, seeded by the thread's own address: threads differ, and no thread waits for another. */
static uint64_t random_u64(void)
{
    static _Thread_local uint64_t state;
    if (state == 0) {
        state = (uint64_t)(uintptr_t)&state * UINT64_C(0x9E3779B97F4A7C15) | 1;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void delay(const struct rule *r)
{
    if (random_u64() % r->one_in != 0) {
        return;
    }
    long us = (long)(random_u64() % (r->delay_us + 1));
    struct timespec ts = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&ts, NULL);
}

enum status fault_point(enum fault_id id)
{
    uint64_t passage = atomic_fetch_add_explicit(&passages[id], 1, memory_order_relaxed) + 1;
    struct rule r = rule_unpack(atomic_load_explicit(&rules[id], memory_order_relaxed));
    bool is_due = r.is_onward ? passage >= r.passage : passage == r.passage;
    if (r.kind == FAULT_NONE || !is_due) {
        return OK;
    }
    if (r.kind == FAULT_KILL) {
        kill(getpid(), SIGKILL);
    } else if (r.kind == FAULT_DELAY) {
        delay(&r);
    }
    return r.kind == FAULT_STATUS ? r.st : OK;
}

void fault_kill_point(enum fault_id id)
{
    fault_point(id);
}

void fault_seq_point(enum fault_id id)
{
    fault_point(id);
}

uint64_t fault_passages(enum fault_id id)
{
    return atomic_load_explicit(&passages[id], memory_order_relaxed);
}
