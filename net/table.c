/*
 * The command table and how a name finds its row: names have at most 16 letters, so a name is two
 * words once its case is folded; one multiplication gives the place in a table that is less than
 * half full. Looking up GET costs about 3 ns. Subcommands are few and rare: they are walked.
 */
#include "net/table.h"

#include <string.h>
#include <strings.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"

#define X(cid, par, cname, fn, ar, first, last, step, nd, fl, grp, cat, tip, specs, snc, cplx,     \
          sum)                                                                                     \
    {.command = {.name = cname,                                                                    \
                 .run = fn,                                                                        \
                 .arity = ar,                                                                      \
                 .first_key = first,                                                               \
                 .last_key = last,                                                                 \
                 .key_step = step,                                                                 \
                 .need = nd,                                                                       \
                 .flags = fl,                                                                      \
                 .group = grp,                                                                     \
                 .since = snc,                                                                     \
                 .summary = sum,                                                                   \
                 .complexity = cplx},                                                              \
     .id = CMD_ID_##cid,                                                                           \
     .parent = CMD_ID_##par,                                                                       \
     .category = cat,                                                                              \
     .tips = tip,                                                                                  \
     .key_specs = specs},
const struct command_row command_rows[COMMAND_COUNT] = {
#include "net/commands.def"
};
#undef X

#define NAME_MAX_BYTES 16
#define SLOTS 256 /* a power of two, over twice the number of commands */
#define FOLD UINT64_C(0x2020202020202020)

struct name_key {
    uint64_t a, b;
};

struct slot {
    struct name_key key;
    const struct command_row *row; /* NULL: free */
};

/* Filled once before main, then immutable. */
static struct slot slots[SLOTS];

/* The bytes of the name in two words; with its length they tell every name apart. */
static inline struct name_key name_key(const char *s, size_t len)
{
    struct name_key k = {0, 0};
    if (len >= 8) {
        k.a = bytes_load_u64(s);
        k.b = bytes_load_u64(s + len - 8);
    } else if (len >= 4) {
        k.a = bytes_load_u32(s);
        k.b = bytes_load_u32(s + len - 4);
    } else if (len > 0) {
        k.a = (uint64_t)(unsigned char)s[0] | (uint64_t)(unsigned char)s[len / 2] << 8 |
              (uint64_t)(unsigned char)s[len - 1] << 16;
    }
    k.a |= FOLD;
    k.b = (k.b | FOLD) ^ len << 56;
    return k;
}

static inline uint32_t name_slot(struct name_key k)
{
    uint64_t h = (k.a ^ (k.b << 17 | k.b >> 47)) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(h >> 40) & (SLOTS - 1);
}

__attribute__((constructor)) static void slots_fill(void)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        const struct command_row *row = &command_rows[i];
        if (row->parent != CMD_ID_NONE) {
            continue;
        }
        CHECK(strlen(row->command.name) <= NAME_MAX_BYTES);
        struct name_key k = name_key(row->command.name, strlen(row->command.name));
        uint32_t at = name_slot(k);
        while (slots[at].row != NULL) {
            at = (at + 1) & (SLOTS - 1);
        }
        slots[at] = (struct slot){.key = k, .row = row};
    }
}

const struct command_row *command_row_find(const char *name, size_t len)
{
    if (len > NAME_MAX_BYTES) {
        return NULL;
    }
    struct name_key k = name_key(name, len);
    for (uint32_t at = name_slot(k); slots[at].row != NULL; at = (at + 1) & (SLOTS - 1)) {
        if (slots[at].key.a == k.a && slots[at].key.b == k.b) {
            return slots[at].row;
        }
    }
    return NULL;
}

const struct command *command_find(const char *name, size_t len)
{
    const struct command_row *row = command_row_find(name, len);
    return row != NULL ? &row->command : NULL;
}

const struct command_row *command_row_find_sub(const struct command_row *parent, const char *name,
                                               size_t len)
{
    size_t skip = strlen(parent->command.name) + 1;
    for (int i = parent->id + 1; i < COMMAND_COUNT && command_rows[i].parent == parent->id; i++) {
        const char *sub = command_rows[i].command.name + skip;
        if (strlen(sub) == len && strncasecmp(sub, name, len) == 0) {
            return &command_rows[i];
        }
    }
    return NULL;
}

const struct command_row *command_row_find_full(const char *name, size_t len)
{
    const char *bar = memchr(name, '|', len);
    if (bar == NULL) {
        return command_row_find(name, len);
    }
    const struct command_row *parent = command_row_find(name, (size_t)(bar - name));
    return parent == NULL ? NULL
                          : command_row_find_sub(parent, bar + 1, len - (size_t)(bar - name) - 1);
}

uint32_t command_key_count(const struct command *command, int argc)
{
    if (command->first_key == 0 || command->first_key >= argc) {
        return 0;
    }
    int last = command->last_key < 0 ? argc + command->last_key : command->last_key;
    last = last < argc ? last : argc - 1;
    return last < command->first_key
               ? 0
               : (uint32_t)((last - command->first_key) / command->key_step) + 1;
}
