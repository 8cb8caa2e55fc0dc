/*
 * A reader marks the entry it is in, so that unregistering can wait for it; the callback itself runs
 * outside the lock. An entry that is going away is no longer found, so the wait ends.
 */
#include "engine/base/provider.h"

#include <sched.h>
#include <string.h>

#include "engine/base/lock.h"

struct provider {
    const char *name;
    provider_fn fn;
    void *arg;
    unsigned n_readers;
    bool is_leaving;
};

static struct lock registry_lock = {.rank = LOCK_RANK_LEAF};
/* registry lock */
static struct provider *providers[PROVIDER_MAX]; /* in the order of registering, without gaps */
static size_t n_providers;
static struct provider slots[PROVIDER_MAX]; /* name NULL: free */

/* Its place, n_providers when there is none. */
static size_t find_locked(const char *name) REQUIRES(registry_lock)
{
    size_t i = 0;
    while (i < n_providers && (providers[i]->is_leaving || strcmp(providers[i]->name, name) != 0)) {
        i++;
    }
    return i;
}

enum status provider_register(const char *name, provider_fn fn, void *arg)
{
    enum status st = NO_SPACE;
    lock_acquire(&registry_lock);
    if (find_locked(name) < n_providers) {
        st = INVALID;
    } else if (n_providers < PROVIDER_MAX) {
        struct provider *slot = slots;
        while (slot->name != NULL) {
            slot++;
        }
        *slot = (struct provider){.name = name, .fn = fn, .arg = arg};
        providers[n_providers++] = slot;
        st = OK;
    }
    lock_release(&registry_lock);
    return st;
}

/* By identity: other entries may have moved while the lock was free. */
static void remove_locked(struct provider *p) REQUIRES(registry_lock)
{
    size_t i = 0;
    while (providers[i] != p) {
        i++;
    }
    n_providers--;
    memmove(&providers[i], &providers[i + 1], (n_providers - i) * sizeof(providers[0]));
    p->name = NULL;
}

void provider_unregister(const char *name)
{
    lock_acquire(&registry_lock);
    size_t i = find_locked(name);
    if (i < n_providers) {
        struct provider *p = providers[i];
        p->is_leaving = true;
        while (p->n_readers > 0) {
            lock_release(&registry_lock);
            sched_yield();
            lock_acquire(&registry_lock);
        }
        remove_locked(p);
    }
    lock_release(&registry_lock);
}

enum status provider_read(const char *name, const struct provider_visitor *visitor)
{
    lock_acquire(&registry_lock);
    size_t i = find_locked(name);
    struct provider *p = i < n_providers ? providers[i] : NULL;
    if (p != NULL) {
        p->n_readers++;
    }
    lock_release(&registry_lock);
    if (p == NULL) {
        return NOT_FOUND;
    }
    enum status st = p->fn(p->arg, visitor);
    lock_acquire(&registry_lock);
    p->n_readers--;
    lock_release(&registry_lock);
    return st;
}

const char *provider_name(size_t i)
{
    const char *name = NULL;
    lock_acquire(&registry_lock);
    for (size_t at = 0; at < n_providers && name == NULL; at++) {
        if (!providers[at]->is_leaving && i-- == 0) {
            name = providers[at]->name;
        }
    }
    lock_release(&registry_lock);
    return name;
}
