/*
 * HELP of every container command, in Redis 7.0's words where Redis has the subcommand, and what a
 * container answers to a subcommand it does not have.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "net/client.h"
#include "net/table.h"

#define NAME_MAX_TEXT 32
#define UNKNOWN_MAX 128 /* bytes of an unknown subcommand that are quoted; Redis' number */

static const char *const client_help[] = {
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
    NULL,
};

static const char *const config_help[] = {
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
    NULL,
};

static const char *const command_help[] = {
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
    NULL,
};

static const char *const memory_help[] = {
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
    NULL,
};

static const char *const latency_help[] = {
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the "
    "specified "
    "command names.",
    "    If no commands are specified then all histograms are replied.",
    NULL,
};

static const char *const slowlog_help[] = {
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
    NULL,
};

static const char *const object_help[] = {
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    NULL,
};

static const char *const hearth_help[] = {
    "EXPLAIN <key>",
    "    Tell in which tier the key is, what it costs there, and why.",
    "DEMOTE <key>",
    "    Move the key from RAM to NVMe.",
    "PROMOTE <key>",
    "    Copy the key from NVMe to RAM.",
    NULL,
};

static const struct {
    int16_t id;
    const char *const *lines;
} helps[] = {
    {CMD_ID_CLIENT, client_help}, {CMD_ID_CONFIG, config_help},   {CMD_ID_COMMAND, command_help},
    {CMD_ID_MEMORY, memory_help}, {CMD_ID_LATENCY, latency_help}, {CMD_ID_SLOWLOG, slowlog_help},
    {CMD_ID_OBJECT, object_help}, {CMD_ID_HEARTH, hearth_help},
};

static const char *const *help_lines(int16_t id)
{
    for (size_t i = 0; i < sizeof(helps) / sizeof(helps[0]); i++) {
        if (helps[i].id == id) {
            return helps[i].lines;
        }
    }
    static const char *const none[] = {NULL};
    return none;
}

static void upper(const char *name, char out[NAME_MAX_TEXT])
{
    size_t i = 0;
    for (; name[i] != '\0' && i < NAME_MAX_TEXT - 1; i++) {
        out[i] = (char)toupper((unsigned char)name[i]);
    }
    out[i] = '\0';
}

void cmd_help(struct client *c)
{
    int16_t parent = command_row_of(c->context.command)->parent;
    const char *const *lines = help_lines(parent);
    char name[NAME_MAX_TEXT];
    char title[NAME_MAX_TEXT + 64];
    upper(command_rows[parent].command.name, name);
    (void)snprintf(title, sizeof(title),
                   "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", name);
    size_t n = 0;
    while (lines[n] != NULL) {
        n++;
    }
    reply_array(c, n + 3);
    reply_simple(c, title);
    for (size_t i = 0; i < n; i++) {
        reply_simple(c, lines[i]);
    }
    reply_simple(c, "HELP");
    reply_simple(c, "    Prints this help.");
}

void cmd_container(struct client *c)
{
    char name[NAME_MAX_TEXT];
    const struct arg *sub = &c->context.argv[1];
    upper(c->context.command->name, name);
    reply_errorf(c, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                 (int)(sub->len < UNKNOWN_MAX ? sub->len : UNKNOWN_MAX), sub->data, name);
}
