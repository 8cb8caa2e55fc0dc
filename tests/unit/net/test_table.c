#include "net/table.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/unit.h"

static const struct command_row *find(const char *name)
{
    return command_row_find_full(name, strlen(name));
}

START_TEST(every_name_is_found_in_any_case)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        char name[64];
        const char *from = command_rows[i].command.name;
        ck_assert_int_eq(command_rows[i].id, i);
        ck_assert_ptr_eq(find(from), &command_rows[i]);
        for (size_t n = 0; n <= strlen(from); n++) {
            name[n] = (char)toupper((unsigned char)from[n]);
        }
        ck_assert_ptr_eq(find(name), &command_rows[i]);
    }
    ck_assert_ptr_eq(command_find("GeT", 3), &command_rows[CMD_ID_GET].command);
}
END_TEST

START_TEST(no_other_name_is_found)
{
    static const char *const names[] = {"",         "g",     "ge",    "gett",
                                        "get ",     "\07et", "GE\0",  "client|",
                                        "client|x", "|get",  "get|x", "clientclientclientclient"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        ck_assert_ptr_null(find(names[i]));
    }
    /* One byte changed anywhere. */
    for (int i = 0; i < COMMAND_COUNT; i++) {
        char name[64];
        strcpy(name, command_rows[i].command.name);
        for (size_t n = 0; n < strlen(name); n++) {
            char old = name[n];
            for (int c = 1; c < 256; c++) {
                name[n] = (char)c;
                const struct command_row *row = find(name);
                ck_assert(row == NULL || strcasecmp(row->command.name, name) == 0);
            }
            name[n] = old;
        }
    }
}
END_TEST

START_TEST(subcommands_follow_their_parent)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        const struct command_row *row = &command_rows[i];
        if (row->parent == CMD_ID_NONE) {
            continue;
        }
        const struct command_row *parent = &command_rows[row->parent];
        size_t len = strlen(parent->command.name);
        ck_assert_int_lt(row->parent, i);
        ck_assert((parent->command.flags & CMD_CONTAINER) != 0);
        ck_assert_int_eq(strncmp(row->command.name, parent->command.name, len), 0);
        ck_assert_int_eq(row->command.name[len], '|');
        ck_assert(command_rows[i - 1].parent == row->parent || i - 1 == row->parent);
    }
}
END_TEST

START_TEST(key_counts)
{
    static const struct {
        const char *name;
        int argc;
        uint32_t n;
    } rows[] = {{"get", 2, 1},  {"mget", 2, 1},   {"mget", 5, 4},       {"mset", 3, 1},
                {"mset", 7, 3}, {"rename", 3, 2}, {"copy", 6, 2},       {"ping", 1, 0},
                {"del", 4, 3},  {"mset", 4, 2},   {"object|freq", 3, 1}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct command_row *row = find(rows[i].name);
        ck_assert_msg(command_key_count(&row->command, rows[i].argc) == rows[i].n, "%s %d",
                      rows[i].name, rows[i].argc);
    }
}
END_TEST

START_TEST(arity)
{
    ck_assert(command_arity_fits(&command_rows[CMD_ID_GET].command, 2));
    ck_assert(!command_arity_fits(&command_rows[CMD_ID_GET].command, 3));
    ck_assert(command_arity_fits(&command_rows[CMD_ID_DEL].command, 9));
    ck_assert(!command_arity_fits(&command_rows[CMD_ID_DEL].command, 1));
}
END_TEST

/* "flags begin last step limit[ notes]", and the first one agrees with the row's key positions. */
START_TEST(key_specifications_are_well_formed)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        const struct command_row *row = &command_rows[i];
        char flags[64];
        int begin = 0;
        int last = 0;
        int step = 0;
        int limit = 0;
        if (row->key_specs[0] == '\0') {
            ck_assert_msg(row->command.first_key == 0, "%s", row->command.name);
            continue;
        }
        ck_assert_int_eq(sscanf(row->key_specs, "%63s %d %d %d %d", flags, &begin, &last, &step,
                                &limit),
                         5);
        ck_assert_msg(begin == row->command.first_key && step == row->command.key_step, "%s",
                      row->command.name);
    }
}
END_TEST

UNIT_MAIN("table", {every_name_is_found_in_any_case}, {no_other_name_is_found},
          {subcommands_follow_their_parent}, {key_counts}, {arity},
          {key_specifications_are_well_formed})
