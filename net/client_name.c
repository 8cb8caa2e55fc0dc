#include "net/client_name.h"

#include <string.h>

#include "engine/base/mem.h"
#include "net/args.h"
#include "net/loop.h"

static bool is_printable(const struct arg *a)
{
    for (size_t i = 0; i < a->len; i++) {
        if (a->data[i] < '!' || a->data[i] > '~') {
            return false;
        }
    }
    return true;
}

static bool set_word(struct client *c, char **word, const struct arg *a)
{
    char *copy = NULL;
    if (a->len > 0) {
        copy = mem_alloc(a->len + 1);
        if (copy == NULL) {
            reply_status(c, NO_MEMORY);
            return false;
        }
        memcpy(copy, a->data, a->len);
        copy[a->len] = '\0';
    }
    lock_acquire(&c->worker->list_lock);
    char *old = *word;
    *word = copy;
    lock_release(&c->worker->list_lock);
    mem_free(old);
    return true;
}

bool client_set_name(struct client *c, const struct arg *name)
{
    if (!is_printable(name)) {
        reply_error(c, "ERR Client names cannot contain spaces, newlines or special characters.");
        return false;
    }
    return set_word(c, &c->name, name);
}

bool client_set_library(struct client *c, const struct arg *attribute, const struct arg *value)
{
    bool is_name = arg_is(attribute, "LIB-NAME");
    if (!is_name && !arg_is(attribute, "LIB-VER")) {
        reply_errorf(c, "ERR Unrecognized option '%.*s'", (int)arg_text_len(attribute),
                     attribute->data);
        return false;
    }
    if (!is_printable(value)) {
        reply_errorf(c, "ERR %s cannot contain spaces, newlines or special characters.",
                     is_name ? "lib-name" : "lib-ver");
        return false;
    }
    return set_word(c, is_name ? &c->lib_name : &c->lib_version, value);
}
