/*
 * The arguments of a command are kept as one line of text (command_docs.def) and parsed while
 * they are told: documentation is asked for once per redis-cli, and text can be read and compared.
 */
#include "net/command_docs.h"

#include <stdlib.h>
#include <string.h>

#include "net/client.h"

struct docs {
    const char *history, *flags, *deprecated_since, *replaced_by, *arguments;
};

#define X(id, hist, fl, since, by, args) [CMD_ID_##id] = {hist, fl, since, by, args},
static const struct docs docs[COMMAND_COUNT] = {
#include "net/command_docs.def"
};
#undef X

struct piece {
    const char *text;
    size_t len;
};

/* One argument: [?*+]name<type>#key=TOKEN@since!deprecated(children) */
struct argument {
    bool is_optional, is_multiple, is_multiple_token;
    struct piece name, type, key, token, since, deprecated, children;
};

static struct piece take(const char **p, const char *until)
{
    struct piece piece = {.text = *p, .len = strcspn(*p, until)};
    *p += piece.len;
    return piece;
}

static struct piece take_parens(const char **p)
{
    int depth = 1;
    const char *begin = ++*p;
    for (; depth > 0; ++*p) {
        depth += (**p == '(') - (**p == ')');
    }
    return (struct piece){.text = begin, .len = (size_t)(*p - begin) - 1};
}

static struct argument argument_parse(const char **p)
{
    struct argument a = {.type = {.text = "pure-token", .len = 10}};
    for (; **p == '?' || **p == '*' || **p == '+'; ++*p) {
        a.is_optional |= **p == '?';
        a.is_multiple |= **p == '*';
        a.is_multiple_token |= **p == '+';
    }
    a.name = take(p, "<#=@!( )");
    for (;;) {
        switch (*(*p)++) {
        case '<':
            a.type = take(p, ">");
            ++*p;
            break;
        case '#':
            a.key = take(p, "=@!( )");
            break;
        case '=':
            a.token = take(p, "@!( )");
            break;
        case '@':
            a.since = take(p, "=!( )");
            break;
        case '!':
            a.deprecated = take(p, "( )");
            break;
        case '(':
            --*p;
            a.children = take_parens(p);
            break;
        default:
            --*p;
            return a;
        }
    }
}

static void pair(struct client *c, const char *name, struct piece value)
{
    if (value.text != NULL) {
        reply_bulk_text(c, name);
        reply_bulk(c, value.text, value.len);
    }
}

static size_t count_arguments(const char *p, const char *end)
{
    size_t n = 0;
    while (p < end) {
        (void)argument_parse(&p);
        p += *p == ' ';
        n++;
    }
    return n;
}

static void arguments_reply(struct client *c, const char *p, const char *end);

static void argument_reply(struct client *c, const struct argument *a)
{
    size_t n_flags = (size_t)a->is_optional + a->is_multiple + a->is_multiple_token;
    reply_map(c, 2U + (a->key.text != NULL) + (a->token.text != NULL) + (a->since.text != NULL) +
                     (a->deprecated.text != NULL) + (n_flags > 0) + (a->children.text != NULL));
    pair(c, "name", a->name);
    pair(c, "type", a->type);
    if (a->key.text != NULL) {
        reply_bulk_text(c, "key_spec_index");
        reply_integer(c, strtol(a->key.text, NULL, 10));
    }
    pair(c, "token", a->token);
    pair(c, "since", a->since);
    pair(c, "deprecated_since", a->deprecated);
    if (n_flags > 0) {
        reply_bulk_text(c, "flags");
        reply_set(c, n_flags);
        if (a->is_optional) {
            reply_simple(c, "optional");
        }
        if (a->is_multiple) {
            reply_simple(c, "multiple");
        }
        if (a->is_multiple_token) {
            reply_simple(c, "multiple_token");
        }
    }
    if (a->children.text != NULL) {
        reply_bulk_text(c, "arguments");
        arguments_reply(c, a->children.text, a->children.text + a->children.len);
    }
}

/* Nests as deep as the table does: three levels. */
static void arguments_reply(struct client *c, const char *p, const char *end)
{
    reply_array(c, count_arguments(p, end));
    while (p < end) {
        struct argument a = argument_parse(&p);
        p += *p == ' ';
        argument_reply(c, &a);
    }
}

static void history_reply(struct client *c, const char *p)
{
    size_t n = 1;
    for (const char *q = p; *q != '\0'; q++) {
        n += *q == '|';
    }
    reply_bulk_text(c, "history");
    reply_set(c, n);
    while (*p != '\0') {
        struct piece version = take(&p, " ");
        p++;
        struct piece text = take(&p, "|");
        p += *p == '|';
        reply_array(c, 2);
        reply_bulk(c, version.text, version.len);
        reply_bulk(c, text.text, text.len);
    }
}

static bool has(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static void text_pair(struct client *c, const char *name, const char *value)
{
    if (has(value)) {
        reply_bulk_text(c, name);
        reply_bulk_text(c, value);
    }
}

void command_docs_reply(struct client *c, const struct command_row *row, bool with_subcommands)
{
    const struct docs *d = &docs[row->id];
    const struct command *command = &row->command;
    reply_map(c, 3U + has(command->complexity) + has(d->flags) + has(d->deprecated_since) +
                     has(d->replaced_by) + has(d->history) + has(d->arguments) + with_subcommands);
    text_pair(c, "summary", command->summary);
    text_pair(c, "since", command->since);
    text_pair(c, "group", command->group);
    text_pair(c, "complexity", command->complexity);
    if (has(d->flags)) {
        reply_bulk_text(c, "doc_flags");
        reply_set(c, 1);
        reply_simple(c, d->flags);
    }
    text_pair(c, "deprecated_since", d->deprecated_since);
    text_pair(c, "replaced_by", d->replaced_by);
    if (has(d->history)) {
        history_reply(c, d->history);
    }
    if (has(d->arguments)) {
        reply_bulk_text(c, "arguments");
        arguments_reply(c, d->arguments, d->arguments + strlen(d->arguments));
    }
}
